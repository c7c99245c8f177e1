//! What stands in front of bodies: request headers, and records with their type and version.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla_wire::records::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_wire::records::group::{GroupKey, GroupValue};
use ottla_wire::records::metadata::MetadataRecord;
use ottla_wire::records::remote_log::RemoteLogRecord;
use ottla_wire::records::share::{ShareKey, ShareValue};
use ottla_wire::records::transaction::{TransactionKey, TransactionValue};
use ottla_wire::{
    Reader, Request, decode_consumer_protocol, decode_coordinator_key, decode_coordinator_value,
    decode_metadata_record, decode_request_header,
};

fuzz_target!(|input: &[u8]| {
    let [kind, input @ ..] = input else { return };
    let bytes = Bytes::copy_from_slice(input);
    let mut reader = Reader::new(bytes.clone());
    if let Ok((key, header)) = decode_request_header(&mut reader) {
        let _ = Request::decode(key, &mut reader, header.request_api_version);
    }
    let _ = decode_metadata_record::<MetadataRecord>(bytes.clone());
    let _ = decode_metadata_record::<RemoteLogRecord>(bytes.clone());
    let _ = decode_coordinator_key::<GroupKey>(bytes.clone());
    let _ = decode_coordinator_key::<TransactionKey>(bytes.clone());
    let _ = decode_coordinator_key::<ShareKey>(bytes.clone());
    let _ = decode_coordinator_value::<GroupValue>(i16::from(*kind), bytes.clone());
    let _ = decode_coordinator_value::<TransactionValue>(i16::from(*kind), bytes.clone());
    let _ = decode_coordinator_value::<ShareValue>(i16::from(*kind), bytes.clone());
    let _ = decode_consumer_protocol::<ConsumerProtocolSubscription>(bytes.clone());
    let _ = decode_consumer_protocol::<ConsumerProtocolAssignment>(bytes);
});
