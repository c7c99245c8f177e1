//! Parsing and refusing as Kafka does.

use super::*;
use crate::settings;
use Emptiness::{MayBeEmpty, NeverEmpty};

settings! {
    /// A table for these tests.
    pub(super) struct Sample {
        /// A number.
        count: i32 = "count", "3", at_least(1), HIGH, read_only, honoured();
        /// A number that may be missing.
        age_ms: Option<i64> = "age.ms", null, any(), LOW, cluster_wide, later("tests");
        /// Names
        /// in two lines.
        names: Vec<String> = "names", "a", list_of(&["a", "b"], NeverEmpty), MEDIUM, internal dynamic, honoured();
        /// Must be there.
        id: i16 = "id", required, between(0, 9), HIGH, per_broker, honoured();
    }
}

fn texts(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_row_becomes_a_field_and_a_description() {
    let sample = Sample::read(&texts(&[("id", " 7 "), ("names", "b , a,b")])).expect("valid");
    assert_eq!(sample, Sample { count: 3, age_ms: None, names: vec!["b".into(), "a".into()], id: 7 });
    let names = &Sample::SETTINGS[2];
    assert_eq!(names.documentation, "Names in two lines.");
    assert_eq!((names.visibility, names.scope), (Visibility::Internal, Scope::Dynamic));
    assert_eq!(Sample::SETTINGS[3].check.to_string(), "[0,...,9]");
}

#[test]
fn refusals_speak_like_kafka() {
    let check = |pairs: &[(&str, &str)], message: &str| {
        let mut all = texts(&[("id", "1")]);
        all.extend(texts(pairs));
        assert_eq!(Sample::read(&all).expect_err("refused").to_string(), message);
    };
    check(&[("count", "x")], "Invalid value x for configuration count: Not a number of type INT");
    check(&[("count", "0")], "Invalid value 0 for configuration count: Value must be at least 1");
    check(&[("id", "10")], "Invalid value 10 for configuration id: Value must be no more than 9");
    check(&[("names", "")], "Configuration 'names' must not be empty. Valid values include: [a, b]");
    check(&[("names", "a,,b")], "Configuration 'names' values must not be empty.");
    check(&[("names", "c")], "Invalid value c for configuration names: String must be one of: a, b");
    let missing = Sample::read(&Texts::new()).expect_err("refused").to_string();
    assert_eq!(missing, "Missing required configuration \"id\" which has no default value.");
}

#[test]
fn text_becomes_typed_values() {
    let parse = |kind: Kind, text: &str| kind.parse("k", text).map(|it| it.to_text());
    assert_eq!(parse(Kind::Boolean, " TRUE ").as_deref(), Ok("true"));
    assert_eq!(
        parse(Kind::Boolean, "yes").expect_err("refused").to_string(),
        "Invalid value yes for configuration k: Expected value to be either true or false"
    );
    assert_eq!(parse(Kind::Long, "+5").as_deref(), Ok("5"));
    assert!(parse(Kind::Int, "2147483648").is_err());
    assert_eq!(parse(Kind::List, " a ,\tb,, c").as_deref(), Ok("a,b,,c"));
    assert_eq!(parse(Kind::List, "  ").as_deref(), Ok(""));
    assert_eq!(parse(Kind::Password, "secret").as_deref(), Ok("[hidden]"));
    for (text, shown) in [
        ("0.50", "0.5"),
        ("1", "1.0"),
        ("1.7976931348623157E308", "1.7976931348623157E308"),
        ("12345678", "1.2345678E7"),
        ("1e10", "1.0E10"),
        ("1e-4f", "1.0E-4"),
        ("Infinity", "Infinity"),
    ] {
        assert_eq!(parse(Kind::Double, text).as_deref(), Ok(shown));
    }
    assert!(parse(Kind::Double, "inf").is_err());
    assert!(parse(Kind::Double, "").is_err());
}

#[test]
fn properties_are_read_as_java_reads_them() {
    let check = |file: &[u8], expected: &[(&str, &str)]| {
        assert_eq!(parse_properties(file), Ok(texts(expected)), "{}", String::from_utf8_lossy(file));
    };
    check(b"a=1\nb = 2\r\nc:3\rd 4", &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    check(b"# no\n! no\n\n   # no\n  key  =  value  \n", &[("key", "value  ")]);
    check(b"long = one,\\\n    two,\\\r\n\tthree\n", &[("long", "one,two,three")]);
    check(b"a\\=b\\:c\\ d=e=f:g\n", &[("a=b:c d", "e=f:g")]);
    check(b"path=c:\\\\dir\\tx\\n\\u0041\\z\n", &[("path", "c:\\dir\tx\nAz")]);
    check(b"empty\nalso=\n=nameless\n", &[("", "nameless"), ("also", ""), ("empty", "")]);
    check(b"a=1\na=2\n", &[("a", "2")]);
    check(b"even=x\\\\\nnext=1", &[("even", "x\\"), ("next", "1")]);
    check(b"name=caf\xe9", &[("name", "caf\u{e9}")]);
    check(b"a=1\\\n# not a comment\n", &[("a", "1# not a comment")]);
    check(b"end=x\\", &[("end", "x")]);
    assert_eq!(parse_properties(b"a=1\nb=\\u00g0"), Err(MalformedProperties { line: 2 }));
}

#[test]
fn properties_never_panic() {
    let mut seed: u64 = 7;
    for _ in 0..2000 {
        let mut bytes = Vec::new();
        for _ in 0..24 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push(b"\\u0a=: \n\r\t#!f\xff"[(seed >> 33) as usize % 14]);
        }
        drop(parse_properties(&bytes));
    }
}

#[test]
fn references_are_resolved() {
    let mut all = texts(&[
        ("a", "${env:HOME}/x"),
        ("b", "${file:/etc/secret:key}-${file:/etc/secret:other}"),
        ("c", "$ {env:A} ${plain} ${env:unclosed"),
    ]);
    let mut lookup = |it: reference::Reference<'_>| -> Result<Option<String>, ()> {
        Ok(match (it.provider, it.path, it.key) {
            ("env", "", "HOME") => Some("/home".to_owned()),
            ("file", "/etc/secret", "key") => Some("42".to_owned()),
            _ => None,
        })
    };
    reference::resolve(&mut all, &mut lookup).expect("found");
    assert_eq!(all["a"], "/home/x");
    assert_eq!(all["b"], "42-${file:/etc/secret:other}");
    assert_eq!(all["c"], "$ {env:A} ${plain} ${env:unclosed");
}

#[test]
fn providers_are_declared() {
    let all = texts(&[
        ("config.providers", "env, secrets"),
        ("config.providers.env.class", "org.apache.kafka.common.config.provider.EnvVarConfigProvider"),
        ("config.providers.env.param.allowlist.pattern", "A.*"),
        ("config.providers.secrets.class", "org.apache.kafka.common.config.provider.FileConfigProvider"),
        ("config.providers.secrets.param.allowed.paths", "/a,/b"),
    ]);
    let declared = reference::providers(&all).expect("known classes");
    assert_eq!(declared.len(), 2);
    assert_eq!(declared[0].allowed_names.as_deref(), Some("A.*"));
    assert_eq!(declared[1].kind, reference::ProviderKind::File);
    assert_eq!(declared[1].allowed_paths, ["/a", "/b"]);
    let unknown = texts(&[("config.providers", "v"), ("config.providers.v.class", "com.example.Vault")]);
    assert!(reference::providers(&unknown).is_err());
}

#[test]
fn addresses_are_taken_apart() {
    assert_eq!(address::split("localhost:9092"), Some(("", "localhost", 9092)));
    assert_eq!(address::split("PLAINTEXT://[::1]:9092"), Some(("PLAINTEXT", "::1", 9092)));
    assert_eq!(address::split("SSL://:9093"), Some(("SSL", "", 9093)));
    assert_eq!(address::split("localhost"), None);
    assert_eq!(address::split("bad host:1"), None);
    assert_eq!(address::split("host:x"), None);
}

#[test]
fn checks_fit_the_types_of_their_rows() {
    for setting in Sample::SETTINGS {
        assert!(setting.check.fits(setting.kind), "{}", setting.name);
    }
    assert!(!list(MayBeEmpty).fits(Kind::Int));
}
