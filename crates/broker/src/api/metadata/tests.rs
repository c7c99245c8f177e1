//! A large answer costs next to nothing but its bytes, and says the same as a tree of it.

use std::sync::Arc;

use ottla_base::{Moment, NodeId, Uuid};
use ottla_metadata::Image;
use ottla_wire::messages::metadata_request::MetadataRequest;
use ottla_wire::messages::metadata_response::MetadataResponse;
use ottla_wire::records::metadata::{
    BrokerEndpoint, MetadataRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord,
};
use ottla_wire::{ApiKey, Message, Reader};

use super::{Found, MetadataAnswer};
use crate::call::{Call, ListenerRole, Serves};

const PARTITIONS: i32 = 10_000;
const TOPIC: Uuid = Uuid([7; 16]);

fn image() -> Image {
    let endpoint = BrokerEndpoint {
        name: "PLAINTEXT".into(),
        host: "localhost".into(),
        port: 9092,
        ..Default::default()
    };
    let broker = RegisterBrokerRecord {
        broker_id: 1,
        broker_epoch: 1,
        end_points: vec![endpoint],
        fenced: false,
        ..Default::default()
    };
    let topic = TopicRecord { name: "wide".into(), topic_id: TOPIC, ..Default::default() };
    let mut image = Image::default();
    let mut apply = |record| image.apply(&record).expect("the record is possible");
    apply(MetadataRecord::RegisterBrokerRecord(broker));
    apply(MetadataRecord::TopicRecord(topic));
    for partition_id in 0..PARTITIONS {
        apply(MetadataRecord::PartitionRecord(PartitionRecord {
            partition_id,
            topic_id: TOPIC,
            replicas: vec![1, 2],
            isr: vec![1],
            leader: 1,
            leader_epoch: 3,
            directories: vec![Uuid([1; 16]), Uuid([2; 16])],
            ..Default::default()
        }));
    }
    image
}

#[test]
fn ten_thousand_partitions_are_answered_without_a_tree() {
    let image = image();
    let found = [Found::Known(image.topics.get(TOPIC).expect("the topic is there").clone())];
    let request = MetadataRequest::default();
    let listener = Arc::new(ListenerRole { name: "PLAINTEXT".into(), serves: Serves::Broker });
    for version in 0..=13 {
        let call = Call {
            key: ApiKey::Metadata,
            version,
            correlation_id: 1,
            client_id: None,
            listener: listener.clone(),
            peer: ([127, 0, 0, 1], 1).into(),
            received: Moment::default(),
        };
        let answer = MetadataAnswer {
            node_id: NodeId(1),
            cluster_id: "cluster",
            call: &call,
            image: &image,
            found: &found,
            request: &request,
        };
        let mut written = None;
        let allocated = allocation_counter::measure(|| written = Some(call.encode(0, |it| answer.write(it))));
        // A frame that doubles from nothing to a megabyte, and no more.
        assert!(allocated.count_total <= 24, "{allocated:?} in version {version}");
        let frame = written.expect("it ran").expect("it is written").into_bytes();
        let header = if version >= 9 { 9 } else { 8 };
        let mut reader = Reader::new(frame.slice(header..));
        let read = MetadataResponse::decode(&mut reader, version).expect("what is written can be read");
        reader.finish().expect("nothing follows");
        let topic = &read.topics[0];
        assert_eq!((topic.partitions.len(), topic.error_code), (10_000, 0));
        let partition = &topic.partitions[4_711];
        assert_eq!((partition.partition_index, partition.leader_id), (4_711, 1));
        assert_eq!((&partition.replica_nodes[..], &partition.isr_nodes[..]), (&[1, 2][..], &[1][..]));
        assert_eq!(partition.offline_replicas, if version >= 5 { vec![2] } else { vec![] });
    }
}
