//! Large answers written straight from state have the bytes of the same answers built as trees.

use bytes::Bytes;
use ottla_base::Uuid;
use ottla_wire::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartitionView,
    DescribeTopicPartitionsResponseTopicView, DescribeTopicPartitionsResponseView,
};
use ottla_wire::messages::fetch_response::{
    EpochEndOffset, FetchResponse, FetchResponseView, FetchableTopicResponse, FetchableTopicResponseView,
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, PartitionDataView, SnapshotId,
};
use ottla_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponsePartitionView, MetadataResponseTopicView, MetadataResponseView,
};
use ottla_wire::{EncodeAs, EncodeError, Message, Reader, Records, Writer};

/// Every golden value of a type, at every version: the tree and what `stream` makes of it.
fn check<M: Message>(stream: impl Fn(&M, &mut Writer, i16) -> Result<(), EncodeError>) {
    let mut compared = 0;
    for entry in crate::every::golden().into_iter().filter(|it| it.name == M::NAME) {
        let tree = M::decode(&mut Reader::new(entry.body), entry.version).expect("golden bytes decode");
        for version in M::FIRST_VERSION..=M::LAST_VERSION {
            let (mut built, mut streamed) = (Writer::default(), Writer::default());
            let expected = tree.encode(&mut built, version);
            assert_eq!(stream(&tree, &mut streamed, version), expected, "{tree:?} at {version}");
            if expected.is_ok() {
                assert_eq!(streamed.into_bytes(), built.into_bytes(), "{tree:?} at {version}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 3, "{} has too few golden values", M::NAME);
}

#[test]
fn metadata() {
    check(|it: &MetadataResponse, writer, version| {
        let topics = it.topics.iter().map(|topic| MetadataResponseTopicView {
            error_code: topic.error_code,
            name: topic.name.as_deref(),
            topic_id: topic.topic_id,
            is_internal: topic.is_internal,
            partitions: topic.partitions.iter().map(|partition| MetadataResponsePartitionView {
                error_code: partition.error_code,
                partition_index: partition.partition_index,
                leader_id: partition.leader_id,
                leader_epoch: partition.leader_epoch,
                replica_nodes: partition.replica_nodes.iter().copied(),
                isr_nodes: partition.isr_nodes.iter().copied(),
                offline_replicas: partition.offline_replicas.iter().copied(),
                unknown_tagged_fields: &partition.unknown_tagged_fields,
            }),
            topic_authorized_operations: topic.topic_authorized_operations,
            unknown_tagged_fields: &topic.unknown_tagged_fields,
        });
        let view = MetadataResponseView {
            throttle_time_ms: it.throttle_time_ms,
            brokers: it.brokers.iter().cloned(),
            cluster_id: it.cluster_id.as_deref(),
            controller_id: it.controller_id,
            topics,
            cluster_authorized_operations: it.cluster_authorized_operations,
            error_code: it.error_code,
            unknown_tagged_fields: &it.unknown_tagged_fields,
        };
        view.encode_as(writer, version)
    });
}

#[test]
fn describe_topic_partitions() {
    check(|it: &DescribeTopicPartitionsResponse, writer, version| {
        let topics = it.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopicView {
            error_code: topic.error_code,
            name: topic.name.as_deref(),
            topic_id: topic.topic_id,
            is_internal: topic.is_internal,
            partitions: topic.partitions.iter().map(|it| DescribeTopicPartitionsResponsePartitionView {
                error_code: it.error_code,
                partition_index: it.partition_index,
                leader_id: it.leader_id,
                leader_epoch: it.leader_epoch,
                replica_nodes: it.replica_nodes.iter().copied(),
                isr_nodes: it.isr_nodes.iter().copied(),
                eligible_leader_replicas: it.eligible_leader_replicas.as_ref().map(|it| it.iter().copied()),
                last_known_elr: it.last_known_elr.clone(),
                offline_replicas: it.offline_replicas.iter().copied(),
                unknown_tagged_fields: &it.unknown_tagged_fields,
            }),
            topic_authorized_operations: topic.topic_authorized_operations,
            unknown_tagged_fields: &topic.unknown_tagged_fields,
        });
        let view = DescribeTopicPartitionsResponseView {
            throttle_time_ms: it.throttle_time_ms,
            topics,
            next_cursor: it.next_cursor.as_ref(),
            unknown_tagged_fields: &it.unknown_tagged_fields,
        };
        view.encode_as(writer, version)
    });
}

/// A partition's view, with its records inside or outside of the frame.
fn partition<'a>(it: &'a PartitionData, records: Option<Records<'a>>) -> impl EncodeAs<PartitionData> + 'a {
    PartitionDataView {
        partition_index: it.partition_index,
        error_code: it.error_code,
        high_watermark: it.high_watermark,
        last_stable_offset: it.last_stable_offset,
        log_start_offset: it.log_start_offset,
        diverging_epoch: &it.diverging_epoch,
        current_leader: &it.current_leader,
        snapshot_id: &it.snapshot_id,
        aborted_transactions: it.aborted_transactions.as_ref(),
        preferred_read_replica: it.preferred_read_replica,
        records,
        unknown_tagged_fields: &it.unknown_tagged_fields,
    }
}

fn fetch(it: &FetchResponse, inside: bool, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
    let place = move |records: &'_ Bytes| Records::External(records.len());
    let responses = it.responses.iter().map(|topic: &FetchableTopicResponse| FetchableTopicResponseView {
        topic: &topic.topic,
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(move |it| {
            let records = it.records.as_ref();
            partition(it, if inside { records.map(|it| Records::Inline(it)) } else { records.map(place) })
        }),
        unknown_tagged_fields: &topic.unknown_tagged_fields,
    });
    let view = FetchResponseView {
        throttle_time_ms: it.throttle_time_ms,
        error_code: it.error_code,
        session_id: it.session_id,
        responses,
        node_endpoints: &it.node_endpoints as &Vec<NodeEndpoint>,
        unknown_tagged_fields: &it.unknown_tagged_fields,
    };
    view.encode_as(writer, version)
}

#[test]
fn fetch_with_records_inside() {
    check(|it: &FetchResponse, writer, version| fetch(it, true, writer, version));
}

#[test]
fn fetch_with_records_outside() {
    check(|it: &FetchResponse, writer, version| {
        let mut cut = Writer::default();
        fetch(it, false, &mut cut, version)?;
        let len = cut.len();
        let (bytes, cuts) = cut.into_parts();
        let partitions = it.responses.iter().flat_map(|it| &it.partitions);
        let mut external = partitions.filter_map(|it| it.records.as_ref()).filter(|it| !it.is_empty());
        let mut start = 0;
        for cut in cuts {
            writer.raw(&bytes[start..cut.position]);
            let records = external.next().expect("a cut for every set of records");
            assert_eq!(records.len(), cut.len);
            writer.raw(records);
            start = cut.position;
        }
        writer.raw(&bytes[start..]);
        assert_eq!(writer.len(), len, "the length of a frame counts what is outside of it");
        Ok(())
    });
}

#[test]
fn an_answer_of_ten_thousand_partitions_is_one_buffer() {
    let unknown = &[];
    let ids: Vec<Uuid> = (1..=100).map(Uuid::from_number).collect();
    let topics = ids.iter().map(|id| FetchableTopicResponseView {
        topic: "",
        topic_id: *id,
        partitions: (0..100).map(|index| PartitionData {
            partition_index: index,
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: SnapshotId::default(),
            ..PartitionData::default()
        }),
        unknown_tagged_fields: unknown,
    });
    let view = FetchResponseView {
        throttle_time_ms: 0,
        error_code: 0,
        session_id: 0,
        responses: topics,
        node_endpoints: [] as [NodeEndpoint; 0],
        unknown_tagged_fields: unknown,
    };
    let mut writer = Writer::default();
    view.encode_as(&mut writer, 17).expect("encodes");
    let read = FetchResponse::decode(&mut Reader::new(writer.into_bytes()), 17).expect("decodes");
    assert_eq!(read.responses.iter().map(|it| it.partitions.len()).sum::<usize>(), 10_000);
}
