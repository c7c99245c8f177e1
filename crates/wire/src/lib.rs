//! Kafka's messages and internal records as values, and their bytes in every version.
//!
//! | part | holds |
//! |---|---|
//! | `messages` | every request and response of Apache Kafka 4.4.0, one module each |
//! | `records` | what Kafka writes for itself: internal topics, control records, headers |
//! | `ApiKey`, `Request`, `Response` | the closed sets |
//! | `Reader`, `Writer` | bytes from outside, bytes to the outside |
//! | `frame` | headers, and records with their type and version in front |
//! | `describe` | records as people look at them |
//!
//! An answer can be written from its struct, or straight from state through its view (`EncodeAs`), and records can
//! stay outside of the frame ([`Cut`]).
//!
//! Decoded text, bytes and records are slices of the frame they came in. Nothing is allocated on the word of
//! a length: it is held against the bytes that remain first.
//!
//! Unlike Kafka, text must be UTF-8, and a tagged field must fill the length it announces.
//!
//! Absent on purpose: sockets, files, `async`; record batches are bytes here.

mod describe;
mod frame;
mod generated;
mod message;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use describe::{Describe, DescribedFields, Description};
pub use frame::{
    decode_consumer_protocol, decode_coordinator_key, decode_coordinator_value, decode_metadata_record,
    decode_request_header, encode_consumer_protocol, encode_coordinator_key, encode_coordinator_value,
    encode_metadata_record, request_header_version, response_header_version,
};
pub use generated::api::{ApiKey, Request, Response};
pub use generated::every::visit_every_message;
pub use generated::{messages, records};
pub use message::{
    DecodeError, EncodeAs, EncodeError, Message, RequestMessage, TypedRecord, UnknownTaggedField, Visitor,
};
pub use reader::Reader;
pub use writer::{Cut, Records, Writer};
