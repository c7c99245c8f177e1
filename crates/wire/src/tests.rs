//! Messages against bytes, and what hostile bytes are answered.

use bytes::Bytes;
use ottla_base::{Str, Uuid};

use crate::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use crate::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use crate::messages::metadata_request::MetadataRequest;
use crate::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::records::group::ConsumerGroupMemberMetadataValue;
use crate::records::metadata::{MetadataRecord, TopicRecord};
use crate::{
    ApiKey, Cut, DecodeError, EncodeError, Message, Reader, Request, Writer, decode_metadata_record,
    encode_metadata_record, request_header_version, response_header_version,
};

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::default();
    message.encode(&mut writer, version).expect("the version has all that is set");
    writer.into_bytes()
}

fn decode<M: Message>(bytes: Bytes, version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}

#[test]
fn api_keys_are_kafkas() {
    assert_eq!(ApiKey::ALL.len(), 91);
    assert_eq!(ApiKey::from_key(4), None);
    assert_eq!(ApiKey::from_key(94), Some(ApiKey::UnregisterController));
    assert_eq!((ApiKey::Produce.first_version(), ApiKey::Produce.last_version()), (3, 13));
    assert_eq!((ApiKey::InitProducerId.last_version(), ApiKey::InitProducerId.last_stable_version()), (6, 5));
    assert!(ApiKey::Vote.is_for_controllers() && !ApiKey::Vote.is_for_brokers());
    assert_eq!(request_header_version(ApiKey::Produce, 8), 1);
    assert_eq!(request_header_version(ApiKey::Produce, 9), 2);
    assert_eq!(response_header_version(ApiKey::Produce, 9), 1);
    assert_eq!(response_header_version(ApiKey::ApiVersions, 4), 0);
}

#[test]
fn produce_in_both_layouts() {
    let partition =
        PartitionProduceData { index: 7, records: Some(Bytes::from_static(b"rec")), ..Default::default() };
    let topic =
        TopicProduceData { name: Str::from("t"), partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 9, topic_data: vec![topic], ..Default::default() };
    let old = b"\xff\xff\xff\xff\0\0\0\x09\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x07\0\0\0\x03rec";
    assert_eq!(encode(&request, 8), old[..]);
    let flexible = b"\0\xff\xff\0\0\0\x09\x02\x02t\x02\0\0\0\x07\x04rec\0\0\0";
    assert_eq!(encode(&request, 9), flexible[..]);
    for version in 3..=12 {
        assert_eq!(decode(encode(&request, version), version), Ok(request.clone()), "version {version}");
    }
}

#[test]
fn decoded_records_are_slices_of_the_frame() {
    let frame = Bytes::from_static(b"\0\xff\xff\0\0\0\x09\x02\x02t\x02\0\0\0\x07\x04rec\0\0\0");
    let request: ProduceRequest = decode(frame.clone(), 9).expect("decodes");
    let records = request.topic_data[0].partition_data[0].records.clone().expect("has records");
    assert!(frame.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn what_a_version_lacks_is_refused_unless_ignorable() {
    let topic =
        TopicProduceData { name: Str::from("t"), topic_id: Uuid::from_number(5), ..Default::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..Default::default() };
    let mut writer = Writer::default();
    assert_eq!(request.encode(&mut writer, 12), Ok(()), "a topic id is ignorable");
    let request = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
    let refused = request.encode(&mut writer, 2);
    assert!(matches!(refused, Err(EncodeError::Unsupported { version: 2, .. })), "{refused:?}");
    let request = MetadataRequest { topics: None, ..Default::default() };
    let refused = request.encode(&mut writer, 0);
    assert!(matches!(refused, Err(EncodeError::Null { version: 0, .. })), "{refused:?}");
}

#[test]
fn tagged_fields_come_and_go() {
    let key = ApiVersion { api_key: 1, min_version: 4, max_version: 18, ..Default::default() };
    let response =
        ApiVersionsResponse { api_keys: vec![key], finalized_features_epoch: 42, ..Default::default() };
    assert_eq!(decode(encode(&response, 3), 3), Ok(response.clone()));
    // A tag of a later release is kept and written again.
    let frame = Bytes::from_static(b"\0\0\x01\0\0\0\0\x01\x63\x02xy");
    let kept: ApiVersionsResponse = decode(frame.clone(), 3).expect("decodes");
    assert_eq!(kept.unknown_tagged_fields[0].tag, 0x63);
    assert_eq!(encode(&kept, 3), frame);
}

/// Kafka says null in a tagged field with the unsigned varint 0, elsewhere with the byte -1.
#[test]
fn a_tagged_structure_has_its_own_null() {
    let value = ConsumerGroupMemberMetadataValue { classic_member_metadata: None, ..Default::default() };
    let bytes = encode(&value, 0);
    assert!(bytes.ends_with(&[1, 0, 1, 0]), "{bytes:02x?}");
    assert_eq!(decode(bytes, 0), Ok(value));
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    let check = |bytes: &'static [u8], version: i16, expected: DecodeError| {
        let refused = decode::<MetadataRequest>(Bytes::from_static(bytes), version);
        assert_eq!(refused, Err(expected), "{bytes:x?}");
    };
    check(&[0x0b, 0xeb, 0xc2, 0x00], 1, DecodeError::Length(200_000_000));
    check(&[0xff, 0xff, 0xff, 0xfe], 1, DecodeError::Length(-2));
    check(&[0xff, 0xff, 0xff, 0xff], 0, DecodeError::Null);
    check(&[0, 0, 0], 1, DecodeError::TooShort);
    check(&[0xff, 0xff, 0xff, 0xff, 0x7f], 9, DecodeError::Varint);
    check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 9, DecodeError::Varint);
    check(&[0, 0, 0, 0, 9], 1, DecodeError::TooLong);
    check(&[0, 0, 0, 1, 0, 2, 0xff, 0xfe], 1, DecodeError::Utf8);
}

#[test]
fn external_records_leave_a_cut() {
    let mut writer = Writer::default();
    writer.i32(1);
    writer.external_bytes(false, 100).expect("fits");
    writer.i32(2);
    writer.external_bytes(true, 0).expect("fits");
    assert_eq!(writer.len(), 113);
    let (bytes, cuts) = writer.into_parts();
    assert_eq!(bytes, b"\0\0\0\x01\0\0\0\x64\0\0\0\x02\x01"[..]);
    assert_eq!(cuts, [Cut { position: 8, len: 100 }]);
}

#[test]
fn metadata_records_have_a_frame() {
    let topic = TopicRecord { name: Str::from("t"), topic_id: Uuid::from_number(3), ..Default::default() };
    let record = MetadataRecord::TopicRecord(topic);
    let bytes = encode_metadata_record(&record, 0).expect("encodes");
    assert_eq!(bytes[..5], [1, 2, 0, 2, b't']);
    assert_eq!(decode_metadata_record(bytes), Ok((record, 0)));
    let unknown = decode_metadata_record::<MetadataRecord>(Bytes::from_static(&[1, 99, 0]));
    assert_eq!(unknown, Err(DecodeError::UnknownRecord { record_type: 99, version: 0 }));
}

#[test]
fn any_request_is_reached_by_its_key() {
    let topic = FetchTopic {
        topic: Str::from("t"),
        partitions: vec![FetchPartition::default()],
        ..Default::default()
    };
    let request = Request::Fetch(FetchRequest { topics: vec![topic], ..Default::default() });
    let mut writer = Writer::default();
    request.encode(&mut writer, 11).expect("encodes");
    let again = Request::decode(ApiKey::Fetch, &mut Reader::new(writer.into_bytes()), 11);
    assert_eq!(again, Ok(request));
}

/// No bytes make a decoder panic, and none decodes into something that cannot be decoded again.
#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..60 {
        for key in ApiKey::ALL {
            let len = (random() % 96) as usize;
            let bytes: Vec<u8> = (0..len)
                .map(|_| if random() % 3 == 0 { random() as u8 } else { (random() % 4) as u8 })
                .collect();
            let bytes = Bytes::from(bytes);
            let span = key.last_version() - key.first_version() + 1;
            let version = key.first_version() + (random() % span as u64) as i16;
            let _ = Request::decode(*key, &mut Reader::new(bytes.clone()), version);
            let _ = crate::Response::decode(*key, &mut Reader::new(bytes), version);
        }
    }
}
