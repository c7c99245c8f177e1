//! A produce request around batches that stay where they are: they are spliced in when it is sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_base::{Str, Uuid};
use ottla_wire::messages::produce_request::ProduceRequest;
use ottla_wire::{EncodeError, Message, Writer};

/// The first version that names topics by id.
pub(super) const FIRST_WITH_IDS: i16 = 13;

/// The batches of a request, by topic, each with its partition.
pub(super) type Topics = BTreeMap<(Str, Uuid), Vec<(i32, Bytes)>>;

/// Writes what [`ProduceRequest`] would, with the records at cuts, in the order of `topics`.
pub(super) fn write(
    writer: &mut Writer,
    version: i16,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    topics: &Topics,
) -> Result<(), EncodeError> {
    let flexible = ProduceRequest::is_flexible(version);
    let end = |writer: &mut Writer| if flexible { writer.tagged_field_count(0) } else { Ok(()) };
    writer.nullable_string(flexible, transactional_id)?;
    writer.i16(acks);
    writer.i32(timeout_ms);
    writer.items(flexible, topics.iter(), |writer, ((name, id), batches)| {
        if version >= FIRST_WITH_IDS {
            writer.uuid(*id);
        } else {
            writer.string(flexible, name)?;
        }
        writer.items(flexible, batches.iter(), |writer, (index, bytes)| {
            writer.i32(*index);
            writer.external_bytes(flexible, bytes.len())?;
            end(writer)
        })?;
        end(writer)
    })?;
    end(writer)
}

#[cfg(test)]
mod tests {
    use ottla_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};

    use super::*;

    #[test]
    fn it_is_the_request_without_its_records() {
        let bytes = Bytes::from_static(b"records");
        let topics = Topics::from([(("topic".into(), Uuid::from_number(7)), vec![(3, bytes.clone())])]);
        for version in ProduceRequest::FIRST_VERSION..=ProduceRequest::LAST_VERSION {
            let mut written = Writer::default();
            write(&mut written, version, Some("mine"), -1, 30_000, &topics).unwrap();
            let (mut frame, cuts) = written.into_parts();
            let [cut] = cuts[..] else { panic!("one cut") };
            let behind = frame.split_off(cut.position);
            let spliced = [&frame[..], &bytes[..], &behind[..]].concat();

            let data = PartitionProduceData {
                index: 3,
                records: Some(bytes.clone()),
                ..PartitionProduceData::default()
            };
            let named = version < FIRST_WITH_IDS;
            let topic = TopicProduceData {
                name: if named { "topic".into() } else { Str::default() },
                topic_id: if named { Uuid::ZERO } else { Uuid::from_number(7) },
                partition_data: vec![data],
                ..TopicProduceData::default()
            };
            let request = ProduceRequest {
                transactional_id: Some("mine".into()),
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![topic],
                ..ProduceRequest::default()
            };
            let mut whole = Writer::default();
            request.encode(&mut whole, version).unwrap();
            assert_eq!(spliced, whole.into_bytes(), "version {version}");
        }
    }
}
