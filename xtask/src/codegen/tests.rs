//! The notation, read; and the committed Rust, which must be what it gives.

use super::emit::{condition, snake};
use super::schema::{Kind, Primitive, Type, Versions, parse};

const SAMPLE: &str = "\
response SampleResponse key=7 versions=1-4 flexible=3+ streamed
  ErrorCode: int16 0+ ignorable
  Topics: []SampleTopic 2+ null=4+ tag=0@3+ default=null key
    Name: string 2+
    Cursor: Shared 3
  struct Shared 0+
    Offset: int64 0+ default=-1
";

#[test]
fn the_notation_is_read() {
    let messages = parse(SAMPLE).expect("reads");
    let [message] = &messages[..] else { panic!("one message") };
    assert_eq!((message.name(), message.kind, message.key), ("SampleResponse", Kind::Response, Some(7)));
    assert_eq!(message.versions, Versions { first: 1, last: 4 });
    assert!(message.streamed && !message.unstable);
    let names: Vec<&str> = message.structs.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["SampleResponse", "Shared", "SampleTopic"]);
    let topics = &message.structs[0].fields[1];
    assert_eq!(topics.kind, Type::Array(Box::new(Type::Struct("SampleTopic".to_owned()))));
    assert_eq!(topics.tag, Some((0, Versions { first: 3, last: i16::MAX })));
    assert_eq!(topics.nullable, Versions { first: 4, last: i16::MAX });
    assert_eq!(topics.default.as_deref(), Some("null"));
    assert_eq!(message.structs[2].versions, Versions { first: 2, last: 4 });
    assert_eq!(message.structs[1].fields[0].kind, Type::Primitive(Primitive::Int64));
}

#[test]
fn a_line_that_says_something_unknown_is_refused() {
    let refused = parse("request A key=1 versions=0 flexible=none\n  X: int32 0+ sometimes\n");
    assert!(refused.is_err_and(|it| it.to_string().contains("sometimes")));
}

#[test]
fn names_are_spelt_as_rust_spells_them() {
    let check = |name: &str, expected: &str| assert_eq!(snake(name), expected);
    check("ErrorCode", "error_code");
    check("IsKRaft", "is_k_raft");
    check("SubtopologyId", "subtopology_id");
    check("commitTimestamp", "commit_timestamp");
    check("Type", "kind");
    check("Match", "matches");
}

#[test]
fn a_condition_says_no_more_than_it_must() {
    let check = |first, last, expected: Option<&str>| {
        let within = Versions { first: 2, last: 9 };
        assert_eq!(condition(Versions { first, last }, within).as_deref(), expected);
    };
    check(0, i16::MAX, None);
    check(4, i16::MAX, Some("version >= 4"));
    check(0, 5, Some("version <= 5"));
    check(4, 5, Some("(4..=5).contains(&version)"));
    check(4, 4, Some("version == 4"));
    check(10, 12, Some("false"));
}

#[test]
fn the_committed_rust_is_fresh() {
    super::check().expect("`cargo xtask codegen` writes what is committed");
}
