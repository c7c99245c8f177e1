//! The client's members of groups, its transactions and its administrator against a server.

use std::time::Duration;

use crate::running::{Server, free_ports};
use bytes::Bytes;
use ottla_base::settings::{Table, Texts};
use ottla_base::{Offset, PartitionIndex, Str};
use ottla_client::admin::{Admin, MemberToRemove};
use ottla_client::{
    Acknowledge, Cluster, ClusterOptions, Consumer, ConsumerOptions, FetcherOptions, ProducerOptions,
    ProducerRecord, ShareConsumer, ShareOptions, TopicPartition, TransactionalProducer,
};
use ottla_host::Host;

/// How often something is looked at before a test gives up on it.
const ROUNDS: usize = 300;
const POLL: Duration = Duration::from_millis(100);

const QUICK: [&str; 4] = [
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=1",
    "transaction.state.log.num.partitions=1",
    "share.coordinator.state.topic.num.partitions=1",
];

fn texts(all: &[(&str, &str)]) -> Texts {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn connect(server: &Server) -> Cluster {
    let texts = texts(&[("bootstrap.servers", &server.address)]);
    Cluster::connect(&Host::real(), ClusterOptions::read(&texts).unwrap()).await.unwrap()
}

async fn member(server: &Server, protocol: &str, instance: &str) -> Consumer {
    let options = texts(&[("group.id", "g"), ("group.protocol", protocol), ("group.instance.id", instance)]);
    let options = ConsumerOptions::read(&options).unwrap();
    let mut consumer =
        Consumer::new(&connect(server).await, options, FetcherOptions::read(&texts(&[])).unwrap()).unwrap();
    consumer.subscribe(["orders"]).unwrap();
    consumer
}

fn assigned(consumer: &Consumer) -> Vec<i32> {
    let mut assigned: Vec<i32> = consumer.assignment().map(|it| it.partition.0).collect();
    assigned.sort_unstable();
    assigned
}

/// Polls members until each has as much as it should.
async fn until(members: &mut [&mut Consumer], counts: &[usize]) {
    for _ in 0..ROUNDS {
        if members.iter().zip(counts).all(|(member, count)| assigned(member).len() == *count) {
            return;
        }
        for member in members.iter_mut() {
            member.poll(POLL).await.unwrap();
        }
    }
    let all: Vec<_> = members.iter().map(|it| assigned(it)).collect();
    panic!("{all:?} instead of {counts:?} partitions");
}

async fn static_members(server: &Server, protocol: &str) {
    let (mut one, mut two) = (member(server, protocol, "one").await, member(server, protocol, "two").await);
    until(&mut [&mut one, &mut two], &[2, 2]).await;
    let (ones, twos) = (assigned(&one), assigned(&two));
    // It goes for a while, and comes back to what it had; nobody else is disturbed.
    one.close().await.unwrap();
    let mut one = member(server, protocol, "one").await;
    until(&mut [&mut one, &mut two], &[2, 2]).await;
    assert_eq!(assigned(&one), ones, "{protocol}");
    assert_eq!(assigned(&two), twos, "{protocol}");
    // Gone for a while again, it is removed: the other has everything.
    one.close().await.unwrap();
    let admin = Admin::new(connect(server).await);
    let gone = MemberToRemove::Instance("one".into());
    let removed = admin.remove_members(&"g".into(), &[gone], "it will not come back").await.unwrap();
    assert!(removed.iter().all(|(_, result)| result.is_ok()), "{protocol}: {removed:?}");
    until(&mut [&mut two], &[4]).await;
    two.close().await.unwrap();
    let gone = MemberToRemove::Instance("two".into());
    let removed = admin.remove_members(&"g".into(), &[gone], "").await.unwrap();
    assert!(removed.iter().all(|(_, result)| result.is_ok()), "{protocol}: {removed:?}");
    let deleted = admin.delete_groups(&["g".into()]).await;
    assert!(deleted.iter().all(|(_, result)| result.is_ok()), "{protocol}: {deleted:?}");
}

#[tokio::test]
async fn static_members_keep_their_place_until_they_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), free_ports(), &QUICK);
    server.prints(&["topic", "create", "orders", "--partitions", "4"], "");
    static_members(&server, "classic").await;
    static_members(&server, "consumer").await;
}

/// Polls until there are so many records, and returns their offsets.
async fn take(consumer: &mut ShareConsumer, count: usize) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for _ in 0..ROUNDS {
        for records in consumer.poll(POLL).await.unwrap() {
            for batch in records.batches() {
                offsets.extend(batch.unwrap().records().map(|it| it.unwrap().0.offset));
            }
        }
        if offsets.len() >= count {
            return offsets;
        }
    }
    panic!("{} records instead of {count}", offsets.len());
}

#[tokio::test]
async fn a_share_consumer_renews_locks_gives_back_and_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), free_ports(), &QUICK);
    server.prints(&["topic", "create", "orders"], "");
    server.prints(&["produce", "orders"], "one\ntwo\nthree\n");
    let from_start = ["config", "alter", "group", "g", "--set", "share.auto.offset.reset=earliest"];
    server.prints(&from_start, "");
    let cluster = connect(&server).await;
    let options = texts(&[("group.id", "g"), ("share.acknowledgement.mode", "explicit")]);
    let mut consumer = ShareConsumer::new(&cluster, ShareOptions::read(&options).unwrap()).unwrap();
    consumer.subscribe(["orders"]);
    let orders = TopicPartition::new("orders", 0);
    let offsets = take(&mut consumer, 3).await;
    for offset in &offsets {
        consumer.acknowledge(&orders, *offset, Acknowledge::Renew).unwrap();
    }
    let renewed = consumer.commit().await.unwrap();
    assert!(!renewed.is_empty() && renewed.iter().all(|(_, it)| it.is_ok()), "{renewed:?}");
    // They are still to be acknowledged.
    for (offset, what) in offsets.iter().zip([Acknowledge::Accept, Acknowledge::Release, Acknowledge::Reject])
    {
        consumer.acknowledge(&orders, *offset, what).unwrap();
    }
    let told = consumer.commit().await.unwrap();
    assert!(!told.is_empty() && told.iter().all(|(_, it)| it.is_ok()), "{told:?}");
    // What was given back comes again.
    assert_eq!(take(&mut consumer, 1).await, [offsets[1]]);
    consumer.acknowledge(&orders, offsets[1], Acknowledge::Accept).unwrap();
    consumer.close().await.unwrap();
    let offsets = Admin::new(cluster).share_group_offsets(&"g".into(), None).await.unwrap();
    assert_eq!(offsets[0].1.as_ref().unwrap().lag, Some(0));
}

#[tokio::test]
async fn a_transaction_that_hangs_is_found_open_and_aborted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), free_ports(), &QUICK);
    server.prints(&["topic", "create", "orders"], "");
    let options = ProducerOptions::from_texts(&texts(&[("transactional.id", "import")])).unwrap();
    let mut producer = TransactionalProducer::new(&connect(&server).await, options).await.unwrap();
    let transaction = producer.begin().await.unwrap();
    let record = ProducerRecord {
        topic: Str::from("orders"),
        partition: Some(PartitionIndex(0)),
        value: Some(Bytes::from_static(b"lost")),
        ..ProducerRecord::default()
    };
    transaction.send(record).await.unwrap().await.unwrap();
    server.prints(&["produce", "orders"], "behind\n");
    let read = ["consume", "orders", "--from-beginning", "--until-end", "--isolation-level"];
    let committed = [&read[..], &["read_committed"]].concat();
    assert_eq!(server.prints(&committed, ""), "");
    let listed = server.prints(&["txn", "list", "--state", "Ongoing"], "");
    assert!(listed.contains("import"), "{listed}");
    let abort = ["txn", "abort", "--topic", "orders", "--partition", "0", "--start-offset", "0"];
    server.prints(&abort, "");
    assert_eq!(server.prints(&committed, ""), "behind\n");
    assert_eq!(server.prints(&[&read[..], &["read_uncommitted"]].concat(), ""), "lost\nbehind\n");
    // There is nothing left that begins there.
    assert_eq!(server.run(&abort, "").status.code(), Some(1));
}

#[test]
fn transactions_of_every_version_are_seen_together_or_not_at_all() {
    for version in ["transaction.version=0", "transaction.version=1", "transaction.version=2"] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start_with(directory.path(), version, &QUICK);
        server.prints(&["topic", "create", "orders", "--partitions", "2"], "");
        server.prints(&["produce", "orders", "--transactional-id", "import", "-K", ":"], "a:one\nb:two\n");
        // A line without a key ends the second transaction before its end.
        let broken = ["produce", "orders", "--transactional-id", "import", "-K", ":"];
        assert_eq!(server.run(&broken, "a:lost\nkeyless\n").status.code(), Some(1), "{version}");
        server.prints(&["produce", "orders", "--transactional-id", "import", "-K", ":"], "a:three\n");
        let read =
            ["consume", "orders", "--from-beginning", "--until-end", "--isolation-level", "read_committed"];
        let mut lines: Vec<String> = server.prints(&read, "").lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["one", "three", "two"], "{version}");
        assert_eq!(
            server.prints(&["txn", "find-hanging", "--topic", "orders"], ""),
            "No transaction hangs.\n",
            "{version}"
        );
    }
}
