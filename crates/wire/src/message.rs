//! What every message can do, and what can be wrong with one.

use std::fmt;

use bytes::Bytes;

use crate::{ApiKey, Reader, Writer};

/// A message of Kafka's protocol or a record that Kafka writes for itself.
pub trait Message: Clone + Default + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Kafka's name.
    const NAME: &'static str;
    /// The first version that can be read and written.
    const FIRST_VERSION: i16;
    /// The last version that can be read and written.
    const LAST_VERSION: i16;

    /// Whether a version has compact lengths and tagged fields (KIP-482).
    fn is_flexible(version: i16) -> bool;

    /// Reads the message in the layout of a version, which must be one of this type's.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message in the layout of a version.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// Something that is written as a `T`: the structure itself, or a view of state that is never built as one.
pub trait EncodeAs<T> {
    /// Writes it in the layout of a version.
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A request, and what answers it.
pub trait RequestMessage: Message {
    /// Its API.
    const KEY: ApiKey;
    /// What answers it.
    type Response: Message;
}

/// A closed set of records that are told apart by a number, in front of them or in front of their key.
pub trait TypedRecord: Sized {
    /// The number of the type.
    fn record_type(&self) -> i16;

    /// The last version of the type.
    fn last_version(&self) -> i16;

    /// Reads a record of a type in the layout of a version.
    fn decode(record_type: i16, reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the record, without its type and version, in the layout of a version.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// Something to be done for every type of message: a table for a test, a fuzz target.
pub trait Visitor {
    /// Does it for one type.
    fn visit<M: Message>(&mut self);
}

/// A tagged field that this release does not know, kept to be written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTaggedField {
    /// Its tag.
    pub tag: u32,
    /// Its bytes.
    pub data: Bytes,
}

/// What is wrong with received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the message does.
    TooShort,
    /// Bytes remain behind the message.
    TooLong,
    /// A length is negative where it must not be, or beyond a limit.
    Length(i64),
    /// Null where the version has no null.
    Null,
    /// A variable-length number has too many bytes.
    Varint,
    /// Text is not UTF-8.
    Utf8,
    /// The request's API or its version is unknown.
    UnknownApi {
        /// The API key.
        key: i16,
        /// The version.
        version: i16,
    },
    /// The record's type or its version is unknown.
    UnknownRecord {
        /// The type.
        record_type: i16,
        /// The version.
        version: i16,
    },
    /// The frame in front of a record has an unknown version.
    UnknownFrame(u32),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::TooShort => f.write_str("the bytes end before the message does"),
            DecodeError::TooLong => f.write_str("bytes remain behind the message"),
            DecodeError::Length(length) => write!(f, "the length {length} is out of bounds"),
            DecodeError::Null => f.write_str("null where the version has no null"),
            DecodeError::Varint => f.write_str("a variable-length number has too many bytes"),
            DecodeError::Utf8 => f.write_str("text is not UTF-8"),
            DecodeError::UnknownApi { key, version } => {
                write!(f, "no API of key {key} and version {version} is known")
            }
            DecodeError::UnknownRecord { record_type, version } => {
                write!(f, "no record of type {record_type} and version {version} is known")
            }
            DecodeError::UnknownFrame(version) => write!(f, "no frame of version {version} is known"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a value has no bytes in a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// A field is set that the version lacks and that must not be dropped.
    Unsupported {
        /// The field, as `Struct.Field`.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// A field is null where the version has no null.
    Null {
        /// The field, as `Struct.Field`.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// Text, bytes or a list is longer than the layout can say.
    Length(usize),
    /// A kept tagged field is not behind the one before it.
    Tag(u32),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Unsupported { field, version } => {
                write!(f, "{field} is set but version {version} lacks it")
            }
            EncodeError::Null { field, version } => {
                write!(f, "{field} is null but version {version} has no null")
            }
            EncodeError::Tag(tag) => write!(f, "the tagged field {tag} is out of order"),
            EncodeError::Length(length) => write!(f, "the length {length} does not fit its field"),
        }
    }
}

impl std::error::Error for EncodeError {}
