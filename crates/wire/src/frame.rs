//! What stands in front of bodies: header versions, and the type and version of records.

use bytes::Bytes;

use crate::records::metadata::MetadataRecord;
use crate::{ApiKey, DecodeError, EncodeError, Message, Reader, Writer};

/// The version of the request header in front of a request.
pub const fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if key.is_flexible(version) { 2 } else { 1 }
}

/// The version of the response header in front of a response. `ApiVersions` always has version 0: a client
/// that asked in a version the server does not know must be able to read the answer.
pub const fn response_header_version(key: ApiKey, version: i16) -> i16 {
    match key {
        ApiKey::ApiVersions => 0,
        _ if key.is_flexible(version) => 1,
        _ => 0,
    }
}

/// The version of the frame around records of the metadata log (`MetadataRecordSerde`).
const METADATA_FRAME_VERSION: u32 = 1;

/// Reads a record of the metadata log: frame version, type, version, body.
pub fn decode_metadata_record(value: Bytes) -> Result<MetadataRecord, DecodeError> {
    let mut reader = Reader::new(value);
    let frame = reader.unsigned_varint()?;
    if frame != METADATA_FRAME_VERSION {
        return Err(DecodeError::UnknownFrame(frame));
    }
    let narrow = |number: u32| i16::try_from(number).map_err(|_| DecodeError::Length(i64::from(number)));
    let record_type = narrow(reader.unsigned_varint()?)?;
    let version = narrow(reader.unsigned_varint()?)?;
    let record = MetadataRecord::decode(record_type, &mut reader, version)?;
    reader.finish()?;
    Ok(record)
}

/// Writes a record of the metadata log in the layout of a version.
pub fn encode_metadata_record(record: &MetadataRecord, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.unsigned_varint(METADATA_FRAME_VERSION);
    writer.unsigned_varint(record.record_type() as u32);
    writer.unsigned_varint(version as u32);
    record.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Reads a coordinator's key: its type as a number, then the body in version 0.
pub fn decode_coordinator_key<K>(
    key: Bytes,
    decode: impl FnOnce(i16, &mut Reader, i16) -> Result<K, DecodeError>,
) -> Result<K, DecodeError> {
    let mut reader = Reader::new(key);
    let record_type = reader.i16()?;
    let key = decode(record_type, &mut reader, 0)?;
    reader.finish()?;
    Ok(key)
}

/// Writes a coordinator's key.
pub fn encode_coordinator_key<K: Message>(record_type: i16, key: &K) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.i16(record_type);
    key.encode(&mut writer, 0)?;
    Ok(writer.into_bytes())
}

/// Reads a coordinator's value: its version, then the body.
pub fn decode_coordinator_value<V>(
    value: Bytes,
    decode: impl FnOnce(&mut Reader, i16) -> Result<V, DecodeError>,
) -> Result<V, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    let value = decode(&mut reader, version)?;
    reader.finish()?;
    Ok(value)
}

/// Writes a coordinator's value in the layout of a version.
pub fn encode_coordinator_value<V: Message>(value: &V, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(128);
    writer.i16(version);
    value.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}
