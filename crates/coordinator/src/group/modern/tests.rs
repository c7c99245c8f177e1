//! What is known of topics, and counts of subscriptions.

use ottla_base::{Moment, Str, Timestamp, Uuid};
use ottla_metadata::Image;
use ottla_wire::records::metadata::{MetadataRecord, PartitionChangeRecord, PartitionRecord, TopicRecord};

use super::TargetMetadata;
use super::subscriptions::{SubscriptionCounts, SubscriptionKind};
use super::topics::{MetadataWatch, changed_topics};
use crate::topic_hash::{group_hash, topic_hash};

fn apply(image: &mut Image, record: MetadataRecord) {
    image.apply(&record).expect("a possible record");
}

fn topic(image: &mut Image, name: &str, id: Uuid, partitions: &[Vec<i32>]) {
    let record = TopicRecord { name: Str::from(name), topic_id: id, ..TopicRecord::default() };
    apply(image, MetadataRecord::TopicRecord(record));
    for (index, replicas) in partitions.iter().enumerate() {
        apply(image, partition(id, index as i32, replicas));
    }
}

fn partition(topic_id: Uuid, index: i32, replicas: &[i32]) -> MetadataRecord {
    MetadataRecord::PartitionRecord(PartitionRecord {
        topic_id,
        partition_id: index,
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        directories: vec![Uuid::ZERO; replicas.len()],
        ..PartitionRecord::default()
    })
}

#[test]
fn a_hash_is_of_topics_that_exist_and_is_computed_anew_when_told() {
    let mut image = Image::default();
    topic(&mut image, "t", Uuid::from_number(1 << 100), &[vec![1]]);
    let (gone, name) = (Str::from("gone"), Str::from("t"));
    let mut watch = MetadataWatch::default();
    assert_eq!(watch.group_hash([&gone], &image), 0);
    let hash = watch.group_hash([&gone, &name], &image);
    assert_eq!(hash, group_hash([topic_hash("t", &image)]));
    apply(&mut image, partition(Uuid::from_number(1 << 100), 1, &[1]));
    assert_eq!(watch.group_hash([&name], &image), hash);
    watch.forget_topics([&name]);
    assert_eq!(watch.group_hash([&name], &image), group_hash([topic_hash("t", &image)]));
    assert_ne!(watch.group_hash([&name], &image), hash);
}

#[test]
fn a_topic_changes_with_its_partitions_and_replicas_but_not_with_its_leaders() {
    let mut old = Image::default();
    let id = Uuid::from_number(1 << 100);
    topic(&mut old, "t", id, &[vec![1, 2]]);
    let check = |record: MetadataRecord, changed: &[&str]| {
        let mut new = old.clone();
        apply(&mut new, record);
        assert_eq!(changed_topics(&old, &new).into_iter().collect::<Vec<Str>>(), changed);
    };
    check(partition(id, 1, &[1]), &["t"]);
    let change = |replicas: Option<Vec<i32>>, leader: i32| {
        let record = PartitionChangeRecord {
            topic_id: id,
            partition_id: 0,
            directories: replicas.as_ref().map(|replicas| vec![Uuid::ZERO; replicas.len()]),
            replicas,
            leader,
            ..PartitionChangeRecord::default()
        };
        MetadataRecord::PartitionChangeRecord(record)
    };
    check(change(Some(vec![1, 3]), 1), &["t"]);
    check(change(None, 2), &[]);
    let record =
        TopicRecord { name: Str::from("u"), topic_id: Uuid::from_number(2 << 100), ..TopicRecord::default() };
    check(MetadataRecord::TopicRecord(record), &["u"]);
}

#[test]
fn a_group_looks_again_after_a_change_or_when_its_epoch_was_lost() {
    let mut watch = MetadataWatch::default();
    let group = Str::from("g");
    assert!(watch.is_due("g", 1, Moment::default()));
    watch.looked(&group, 5, Moment::default());
    assert!(!watch.is_due("g", 5, Moment::default()));
    assert!(watch.is_due("g", 4, Moment::default()));
    watch.forget_group("g");
    assert!(watch.is_due("g", 5, Moment::default()));
}

#[test]
fn counts_go_up_and_down() {
    let (a, b) = (Str::from("a"), Str::from("b"));
    let mut counts = SubscriptionCounts::default();
    counts.add_names([&a, &b]);
    counts.add_names([&a]);
    counts.add_matches([&b]);
    assert_eq!(counts.kind(2), SubscriptionKind::Heterogeneous);
    counts.remove_names([&b]);
    assert!(counts.contains("b"));
    counts.remove_matches([&b]);
    assert!(!counts.contains("b"));
    assert_eq!(counts.kind(2), SubscriptionKind::Homogeneous);
    counts.remove_names([&a, &b]);
    counts.remove_names([&a]);
    assert_eq!(counts, SubscriptionCounts::default());
}

#[test]
fn assignments_keep_their_distance() {
    let target = TargetMetadata { epoch: 3, computed_at: Timestamp(1000) };
    assert!(!target.may_be_replaced(1000, Timestamp(1999)));
    assert!(target.may_be_replaced(1000, Timestamp(2000)));
    assert!(target.may_be_replaced(0, Timestamp(1000)));
    assert!(TargetMetadata::default().may_be_replaced(1000, Timestamp(0)));
}
