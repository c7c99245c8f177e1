//! The vocabulary against facts taken from Apache Kafka.

use std::hash::BuildHasher;

use crate::{ErrorCode, FastMap, InvalidTopicName, Retriability, Str, Uuid};
use crate::{topic_name_collides, validate_topic_name};

#[test]
fn uuid_text_is_kafkas() {
    // `new org.apache.kafka.common.Uuid(high, low).toString()` of Apache Kafka 4.4.0.
    assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    let id = Uuid::from_number(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
    assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
    assert_eq!("ASNFZ4mrze_-3LqYdlQyEA".parse(), Ok(id));
    assert_eq!("ASNFZ4mrze_-3LqYdlQyEA==".parse(), Ok(id));
    for text in ["", "ASNFZ4mrze_-3LqYdlQyE", "ASNFZ4mrze_-3LqYdlQyEA=", "ASNFZ4mrze/-3LqYdlQyEA"] {
        assert!(text.parse::<Uuid>().is_err(), "{text}");
    }
}

#[test]
fn random_uuids_are_version_four() {
    let id = Uuid::from_random([0xff; 16]);
    assert_eq!(id.0[6] >> 4, 4);
    assert_eq!(id.0[8] >> 6, 2);
    assert!(Uuid::from_number(99).is_reserved());
    assert!(!id.is_reserved());
}

#[test]
fn error_codes_are_kafkas() {
    assert_eq!(ErrorCode::ALL.len(), 138);
    assert_eq!(ErrorCode::ALL.first().map(|it| it.code()), Some(-1));
    assert_eq!(ErrorCode::ALL.last().map(|it| it.code()), Some(136));
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::known(code.code()), Some(*code));
    }
    assert_eq!(ErrorCode::from_code(3), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(ErrorCode::from_code(3).retriability(), Retriability::Retriable);
    assert_eq!(ErrorCode::from_code(12_345), ErrorCode::UnknownServerError);
    assert_eq!(ErrorCode::default().name(), "NONE");
}

#[test]
fn topic_names_follow_kafkas_rule() {
    assert_eq!(validate_topic_name("a.b_c-D9"), Ok(()));
    assert_eq!(validate_topic_name(&"a".repeat(249)), Ok(()));
    assert_eq!(validate_topic_name(&"a".repeat(250)), Err(InvalidTopicName::TooLong));
    assert_eq!(validate_topic_name(""), Err(InvalidTopicName::Empty));
    assert_eq!(validate_topic_name(".."), Err(InvalidTopicName::Dots));
    for name in ["a/b", "../x", "é", "a b", "a\0"] {
        assert_eq!(validate_topic_name(name), Err(InvalidTopicName::Character), "{name:?}");
    }
    assert!(topic_name_collides("a.b", "a_b"));
    assert!(!topic_name_collides("a.b", "a-b"));
}

#[test]
fn text_hashes_as_str_does() {
    let hasher = foldhash::fast::FixedState::default();
    assert_eq!(hasher.hash_one(Str::from("topic")), hasher.hash_one("topic"));
    let map: FastMap<Str, u8> = [(Str::from_static("topic"), 1)].into_iter().collect();
    assert_eq!(map.get("topic"), Some(&1));
}

#[test]
fn text_must_be_utf8() {
    assert!(Str::from_utf8(bytes::Bytes::from_static(&[0xff, 0xfe])).is_err());
    assert_eq!(Str::from_utf8(bytes::Bytes::from_static(b"abc")).as_deref(), Ok("abc"));
}
