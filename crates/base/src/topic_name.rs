//! Which names a topic may have (`org.apache.kafka.common.internals.Topic`).

use std::fmt;

use crate::limits::MAX_TOPIC_NAME_LEN;

/// Why a text cannot name a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidTopicName {
    /// It is empty.
    Empty,
    /// It is `.` or `..`.
    Dots,
    /// It is longer than [`MAX_TOPIC_NAME_LEN`].
    TooLong,
    /// It has a character outside `[a-zA-Z0-9._-]`.
    Character,
}

/// Checks a topic's name as `Topic.validate` does. Directory names are only ever built from names that
/// passed here.
pub fn validate_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    if name.is_empty() {
        return Err(InvalidTopicName::Empty);
    }
    if name == "." || name == ".." {
        return Err(InvalidTopicName::Dots);
    }
    if name.len() > MAX_TOPIC_NAME_LEN {
        return Err(InvalidTopicName::TooLong);
    }
    let legal = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-');
    if !name.bytes().all(legal) {
        return Err(InvalidTopicName::Character);
    }
    Ok(())
}

/// Whether two names would share metric names: they are equal once `.` and `_` are the same letter.
pub fn topic_name_collides(one: &str, other: &str) -> bool {
    let same = |letter: u8| if letter == b'.' { b'_' } else { letter };
    one.len() == other.len() && one.bytes().map(same).eq(other.bytes().map(same))
}

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidTopicName::Empty => f.write_str("the empty string is not allowed"),
            InvalidTopicName::Dots => f.write_str("'.' or '..' is not allowed"),
            InvalidTopicName::TooLong => {
                write!(f, "the length of the name is longer than the max allowed length {MAX_TOPIC_NAME_LEN}")
            }
            InvalidTopicName::Character => f.write_str(
                "the name contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
            ),
        }
    }
}

impl std::error::Error for InvalidTopicName {}
