//! What stands in front of bodies: request headers, and the type and version of records.

use bytes::Bytes;

use crate::records::header::RequestHeader;
use crate::{ApiKey, DecodeError, EncodeError, Message, Reader, TypedRecord, Writer};

impl ApiKey {
    /// Whether a version can be read and written.
    pub const fn has_version(self, version: i16) -> bool {
        self.first_version() <= version && version <= self.last_version()
    }

    /// The first version that `ApiVersions` tells. For `Produce` it is 0, which no broker can read any more: old
    /// releases of librdkafka take a higher one as a sign that the broker cannot compress.
    pub const fn first_offered_version(self) -> i16 {
        match self {
            ApiKey::Produce => 0,
            _ => self.first_version(),
        }
    }
}

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

/// Reads the header of a request and leaves the reader at the body. The version of the request itself may be
/// unknown: that is for the caller to answer. Fails if the API is unknown, for then so is the header's layout.
pub fn decode_request_header(reader: &mut Reader) -> Result<(ApiKey, RequestHeader), DecodeError> {
    let mut ahead = reader.clone();
    let (number, version) = (ahead.i16()?, ahead.i16()?);
    let key = ApiKey::from_key(number).ok_or(DecodeError::UnknownApi { key: number, version })?;
    let header = RequestHeader::decode(reader, request_header_version(key, version))?;
    Ok((key, header))
}

/// The version of the frame around records of the metadata log (`AbstractApiMessageSerde`).
const METADATA_FRAME_VERSION: u32 = 1;

/// Reads a record of the metadata log, or of `__remote_log_metadata`, which is framed alike: frame version,
/// type, version, body. Gives the record and the version it was written in.
pub fn decode_metadata_record<T: TypedRecord>(value: Bytes) -> Result<(T, i16), DecodeError> {
    let mut reader = Reader::new(value);
    let frame = reader.unsigned_varint()?;
    if frame != METADATA_FRAME_VERSION {
        return Err(DecodeError::UnknownFrame(frame));
    }
    let narrow = |number: u32| i16::try_from(number).map_err(|_| DecodeError::Length(i64::from(number)));
    let record_type = narrow(reader.unsigned_varint()?)?;
    let version = narrow(reader.unsigned_varint()?)?;
    let record = T::decode(record_type, &mut reader, version)?;
    reader.finish()?;
    Ok((record, version))
}

/// Writes a record of the metadata log, or of `__remote_log_metadata`, in the layout of a version.
pub fn encode_metadata_record<T: TypedRecord>(record: &T, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.unsigned_varint(METADATA_FRAME_VERSION);
    writer.unsigned_varint(u32::from(record.record_type().cast_unsigned()));
    writer.unsigned_varint(u32::from(version.cast_unsigned()));
    record.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Reads a coordinator's key: its type, then the body in version 0. A later release may have added to the end.
pub fn decode_coordinator_key<K: TypedRecord>(key: Bytes) -> Result<K, DecodeError> {
    let mut reader = Reader::new(key);
    let record_type = reader.i16()?;
    K::decode(record_type, &mut reader, 0)
}

/// Writes a coordinator's key.
pub fn encode_coordinator_key<K: TypedRecord>(key: &K) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.i16(key.record_type());
    key.encode(&mut writer, 0)?;
    Ok(writer.into_bytes())
}

/// Reads a coordinator's value, whose type its key has told: its version, then the body. Gives the value and the
/// version it was written in. A later release may have added to the end.
pub fn decode_coordinator_value<V: TypedRecord>(
    record_type: i16,
    value: Bytes,
) -> Result<(V, i16), DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    Ok((V::decode(record_type, &mut reader, version)?, version))
}

/// Writes a coordinator's value in the layout of a version.
pub fn encode_coordinator_value<V: TypedRecord>(value: &V, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(128);
    writer.i16(version);
    value.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Reads what consumers embed in `JoinGroup` and `SyncGroup` (`ConsumerProtocol`): a version, then the body. A later
/// version is read as the last one known, for its fields were added to the end.
pub fn decode_consumer_protocol<M: Message>(bytes: Bytes) -> Result<(M, i16), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    if version < M::FIRST_VERSION {
        return Err(DecodeError::UnknownFrame(u32::from(version.cast_unsigned())));
    }
    Ok((M::decode(&mut reader, version.min(M::LAST_VERSION))?, version))
}

/// Writes what consumers embed in `JoinGroup` and `SyncGroup`, in the layout of a version.
pub fn encode_consumer_protocol<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(128);
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}
