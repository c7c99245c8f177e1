//! The quorum on simulated and real disks: it begins, remembers, survives crashes, and keeps its files small.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::settings::{Texts, parse_properties};
use ottla_base::{ErrorCode, NodeId, Offset};
use ottla_host::Host;
use ottla_host::disk::simulated::{Failure, Fault, Operation};
use ottla_metadata::controller::{AlterConfigs, FeatureLevels, Options, Reply, Request, TopicDeletion};
use ottla_metadata::settings::alter::Origin;
use ottla_metadata::settings::{ServerLayers, ServerSettings};
use ottla_metadata::{Image, MetadataVersion, Resource};
use ottla_raft::{LeaderAndEpoch, OffsetAndEpoch};
use ottla_storage::meta_properties::MetaProperties;
use ottla_storage::{Directory, OpenFiles, Progress};
use ottla_wire::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use ottla_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use super::{ControllerHandle, QuorumError, Running, Start, snapshot_files, start};
use crate::format::{InitialQuorum, Options as FormatOptions, format};

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

fn properties(directory: &str, more: &str) -> Texts {
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={directory}\n\
         controller.quorum.bootstrap.servers=localhost:39093\n\
         listeners=PLAINTEXT://localhost:39092,CONTROLLER://localhost:39093\n\
         controller.listener.names=CONTROLLER\n{more}"
    );
    parse_properties(text.as_bytes()).unwrap()
}

fn settings(texts: &Texts) -> ServerSettings {
    ServerLayers::new(texts.clone()).settings().unwrap()
}

/// A node whose directory is formatted.
struct Node {
    host: Host,
    texts: Texts,
    settings: ServerSettings,
}

impl Node {
    fn formatted(host: Host, directory: &str, more: &str) -> Node {
        let texts = properties(directory, more);
        let settings = settings(&texts);
        let quorum = InitialQuorum::Standalone;
        let options = FormatOptions { cluster_id: CLUSTER.to_owned(), quorum, ..FormatOptions::default() };
        format(&host, &settings, &options).unwrap();
        Node { host, texts, settings }
    }

    async fn try_start(&self) -> Result<Running, QuorumError> {
        let directory = Path::new(self.settings.metadata_directory());
        let meta = MetaProperties::read(&self.host.disk(), directory).unwrap().unwrap();
        start(Start {
            host: self.host.clone(),
            settings: self.settings.clone(),
            directory: Arc::new(Directory::new(directory, Arc::new(Progress::new()))),
            open_files: Arc::new(OpenFiles::new(16)),
            cluster_id: CLUSTER.to_owned(),
            directory_id: meta.directory_id.unwrap(),
            controller: Arc::new(Options {
                node: NodeId(1),
                cluster_id: CLUSTER.into(),
                server: self.settings.clone(),
                settings: self.texts.clone(),
                default_partitions: 1,
                default_replication_factor: 1,
                topic_deletion: TopicDeletion::Enabled,
                session_timeout: Duration::from_secs(9),
                leader_balance_interval: None,
                unclean_election_interval: Duration::from_secs(300),
                static_controllers: Vec::new(),
                feature_levels: FeatureLevels::Production,
            }),
        })
        .await
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap()
    }
}

/// Sets a cluster-wide configuration: the smallest write that leaves a trace.
async fn set(handle: &ControllerHandle, value: u64) -> Result<(), ErrorCode> {
    let config = AlterableConfig {
        name: "log.retention.ms".into(),
        value: Some(value.to_string().into()),
        ..Default::default()
    };
    let resource = AlterConfigsResource { resource_type: 4, configs: vec![config], ..Default::default() };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let request = AlterConfigs { request, origin: Origin::Forwarded };
    match handle.submit(Request::IncrementalAlterConfigs(request)).await? {
        Reply::IncrementalAlterConfigs(reply) => {
            assert_eq!(reply.responses[0].error_code, 0, "{:?}", reply.responses[0].error_message);
            Ok(())
        }
        other => panic!("{other:?}"),
    }
}

fn value_in(image: &Image) -> Option<u64> {
    image.configs.value(&Resource::all_brokers(), "log.retention.ms").map(|value| value.parse().unwrap())
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

#[test]
fn a_new_cluster_begins_with_what_formatting_said() {
    run(async {
        let node = Node::formatted(Host::simulated(1), "/d1", "");
        let begun = node.host.now();
        let Running { handle, .. } = node.start().await;
        assert!(node.host.now().since(begun) < Duration::from_millis(1), "no timeout is waited for");
        assert_eq!(handle.leader(), NodeId(1));
        let published = handle.published();
        assert_eq!(published.image.features.version(), MetadataVersion::LATEST_PRODUCTION);
        assert_eq!(published.kraft_version.level(), 1);
        // As Kafka does: leader change, kraft.version, voters; begin, six features, min.insync.replicas, end.
        assert_eq!(published.last_offset, Offset(11));
        let state = node.host.disk().read("/d1/__cluster_metadata-0/quorum-state", 1000).unwrap();
        let text = r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        assert_eq!(String::from_utf8(state).unwrap(), text);
    });
}

#[test]
fn what_was_answered_is_published_and_survives_a_restart() {
    run(async {
        let node = Node::formatted(Host::simulated(2), "/d1", "");
        let Running { handle, task } = node.start().await;
        for value in 1..=20 {
            set(&handle, value).await.unwrap();
            assert_eq!(value_in(&handle.published().image), Some(value));
        }
        let before = handle.published();
        handle.shutdown().await;
        task.await.unwrap().unwrap();
        assert_eq!(set(&handle, 5).await, Err(ErrorCode::NotController));
        let Running { handle, .. } = node.start().await;
        let after = handle.published();
        assert_eq!(after.image, before.image);
        assert_eq!(after.last_epoch.0, before.last_epoch.0 + 1);
        assert!(after.last_offset > before.last_offset);
        set(&handle, 21).await.unwrap();
    });
}

#[test]
fn what_was_answered_survives_power_cuts() {
    for seed in 0..20 {
        let host = Host::simulated(seed);
        let node =
            Node::formatted(host.clone(), "/d1", "metadata.log.max.record.bytes.between.snapshots=300\n");
        let mut answered = 0;
        for round in 0..6 {
            answered = run(async {
                let Running { handle, .. } = node.start().await;
                assert!(
                    value_in(&handle.published().image).unwrap_or(0) >= answered,
                    "seed {seed}, round {round}"
                );
                let mut answered = answered;
                for value in 1..=(seed + round) % 7 {
                    set(&handle, round * 10 + value).await.unwrap();
                    answered = round * 10 + value;
                }
                // One more is under way when the lights go out.
                let more = handle.clone();
                let under_way = host.spawn(async move { set(&more, round * 10 + 9).await });
                if (seed + round) % 2 == 0 {
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
                if under_way.is_finished() {
                    answered = round * 10 + 9;
                }
                host.simulation().unwrap().disk().crash();
                answered
            });
        }
    }
}

#[test]
fn many_decisions_share_syncs() {
    run(async {
        let node = Node::formatted(Host::simulated(3), "/d1", "");
        let Running { handle, .. } = node.start().await;
        let writes: Vec<_> = (0..200)
            .map(|value| {
                let handle = handle.clone();
                node.host.spawn(async move { set(&handle, value + 1).await })
            })
            .collect();
        for write in writes {
            write.await.unwrap().unwrap();
        }
        assert!(value_in(&handle.published().image).is_some());
    });
}

#[test]
fn snapshots_replace_the_log() {
    run(async {
        let more = "metadata.log.max.record.bytes.between.snapshots=2000\nmetadata.max.retention.bytes=6000\n\
                    internal.metadata.log.segment.bytes=4000\nmetadata.max.idle.interval.ms=0\n";
        let node = Node::formatted(Host::simulated(4), "/d1", more);
        let Running { handle, task } = node.start().await;
        for value in 1..=200 {
            set(&handle, value).await.unwrap();
        }
        node.host.sleep(Duration::from_secs(200)).await;
        let path = Path::new("/d1/__cluster_metadata-0");
        let disk = node.host.disk();
        let snapshots = || {
            let names = disk.list(path).unwrap().into_iter().map(|entry| entry.name);
            names.filter(|name| name.ends_with(".checkpoint")).collect::<Vec<String>>()
        };
        let kept = snapshots();
        assert!(!kept.iter().any(|name| name.starts_with("00000000000000000000-")), "{kept:?}");
        let size = |names: Vec<_>| {
            let size = |name: &String| disk.metadata(path.join(name)).unwrap().len;
            names.iter().map(size).sum::<u64>()
        };
        let files = disk.list(path).unwrap().into_iter().map(|entry| entry.name);
        assert!(size(files.filter(|name| !name.ends_with("index")).collect()) < 12_000);
        let before = handle.published();
        handle.shutdown().await;
        task.await.unwrap().unwrap();
        let Running { handle, .. } = node.start().await;
        assert_eq!(handle.published().image, before.image);
        set(&handle, 201).await.unwrap();
    });
}

#[test]
fn an_idle_leader_writes_now_and_then() {
    run(async {
        let node = Node::formatted(Host::simulated(5), "/d1", "metadata.max.idle.interval.ms=500\n");
        let Running { handle, .. } = node.start().await;
        let before = handle.committed();
        node.host.sleep(Duration::from_millis(5_250)).await;
        let written = handle.committed().0 - before.0;
        assert!((9..=11).contains(&written), "{written} records in ten intervals");
    });
}

#[test]
fn a_snapshot_is_taken_when_enough_time_has_passed() {
    run(async {
        let more = "metadata.log.max.snapshot.interval.ms=10000\nmetadata.max.idle.interval.ms=0\n";
        let node = Node::formatted(Host::simulated(6), "/d1", more);
        let Running { handle, .. } = node.start().await;
        set(&handle, 1).await.unwrap();
        let committed = handle.published();
        node.host.sleep(Duration::from_secs(11)).await;
        let id = OffsetAndEpoch::new(committed.last_offset.after(1), committed.last_epoch);
        let found = snapshot_files::find(&node.host.disk(), Path::new("/d1/__cluster_metadata-0")).unwrap();
        assert!(found.contains_key(&id), "{found:?}");
    });
}

#[test]
fn the_quorum_describes_itself() {
    run(async {
        let node = Node::formatted(Host::simulated(7), "/d1", "");
        let Running { handle, .. } = node.start().await;
        let ask = |topic: &str| {
            let partitions = vec![PartitionData::default()];
            let topics = vec![TopicData { topic_name: topic.into(), partitions, ..Default::default() }];
            ottla_wire::Request::DescribeQuorum(DescribeQuorumRequest { topics, ..Default::default() })
        };
        let ottla_wire::Response::DescribeQuorum(response) =
            handle.raft(ask("__cluster_metadata"), 2).await.unwrap()
        else {
            panic!("another answer")
        };
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id, partition.leader_epoch), (0, 1, 1));
        assert_eq!(partition.high_watermark, handle.committed().0 + 1);
        let voter = &partition.current_voters[0];
        assert_eq!((voter.replica_id, voter.log_end_offset), (1, partition.high_watermark));
        assert!(!voter.replica_directory_id.is_zero());
        let listener = &response.nodes[0].listeners[0];
        assert_eq!(
            (listener.name.as_str(), listener.host.as_str(), listener.port),
            ("CONTROLLER", "localhost", 39093)
        );
        let ottla_wire::Response::DescribeQuorum(response) = handle.raft(ask("other"), 2).await.unwrap()
        else {
            panic!("another answer")
        };
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    });
}

#[test]
fn other_nodes_quorums_are_not_led() {
    run(async {
        let mut node = Node::formatted(Host::simulated(8), "/d1", "");
        node.texts.insert("node.id".to_owned(), "2".to_owned());
        node.settings = settings(&node.texts);
        let error = node.try_start().await.err().unwrap().to_string();
        assert!(error.contains("the voters of its quorum are"), "{error}");
    });
}

#[test]
fn damage_is_reported() {
    for name in ["quorum-state", "00000000000000000000-0000000000.checkpoint"] {
        run(async {
            let node = Node::formatted(Host::simulated(9), "/d1", "");
            let Running { handle, task } = node.start().await;
            handle.shutdown().await;
            task.await.unwrap().unwrap();
            let path = Path::new("/d1/__cluster_metadata-0").join(name);
            let mut bytes = node.host.disk().read(&path, 10_000).unwrap();
            let middle = bytes.len() / 3;
            bytes[middle] ^= 0x55;
            bytes.truncate(bytes.len() - 3);
            node.host.disk().write_atomically(&path, &bytes).unwrap();
            let error = node.try_start().await.err().unwrap();
            assert!(matches!(error, QuorumError::Corrupt { .. }), "{error}");
        });
    }
}

#[test]
fn a_failing_disk_ends_the_quorum() {
    run(async {
        let node = Node::formatted(Host::simulated(10), "/d1", "");
        let Running { handle, task } = node.start().await;
        set(&handle, 1).await.unwrap();
        let fault = Fault {
            operation: Operation::Sync,
            on: Box::new(|path| path.starts_with("/d1/__cluster_metadata-0")),
            after: 0,
            times: u64::MAX,
            failure: Failure::InputOutput,
        };
        node.host.simulation().unwrap().disk().inject(fault);
        assert_eq!(set(&handle, 2).await, Err(ErrorCode::NotController));
        assert!(task.await.unwrap().is_err());
    });
}

#[test]
fn a_full_disk_is_waited_for() {
    run(async {
        let node = Node::formatted(Host::simulated(11), "/d1", "");
        let Running { handle, task } = node.start().await;
        set(&handle, 1).await.unwrap();
        let disk = node.host.simulation().unwrap().disk();
        let full = |times| Fault {
            operation: Operation::Write,
            on: Box::new(|path| path.starts_with("/d1/__cluster_metadata-0")),
            after: 0,
            times,
            failure: Failure::NoSpace,
        };
        disk.inject(full(20));
        let waiting = node.host.spawn({
            let handle = handle.clone();
            async move { set(&handle, 2).await }
        });
        node.host.sleep(Duration::from_millis(500)).await;
        assert_eq!(set(&handle, 3).await, Err(ErrorCode::NotController), "nothing is decided meanwhile");
        waiting.await.unwrap().unwrap();
        set(&handle, 4).await.unwrap();
        // A server whose disk stays full can be stopped.
        disk.inject(full(u64::MAX));
        let waiting = node.host.spawn({
            let handle = handle.clone();
            async move { set(&handle, 5).await }
        });
        node.host.sleep(Duration::from_millis(500)).await;
        handle.shutdown().await;
        assert!(task.await.unwrap().is_err());
        assert_eq!(waiting.await.unwrap(), Err(ErrorCode::NotController));
        disk.heal();
        let Running { handle, .. } = node.start().await;
        handle.shutdown().await;
    });
}

#[test]
fn it_runs_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("d1");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::formatted(Host::real(), directory.to_str().unwrap(), "");
        let Running { handle, task } = node.start().await;
        let writes: BTreeMap<u64, _> = (1..100)
            .map(|value| {
                let handle = handle.clone();
                (value, node.host.spawn(async move { set(&handle, value).await }))
            })
            .collect();
        for write in writes.into_values() {
            write.await.unwrap().unwrap();
        }
        let before = handle.published();
        handle.shutdown().await;
        task.await.unwrap().unwrap();
        let Running { handle, .. } = node.start().await;
        assert_eq!(handle.published().image, before.image);
        assert_eq!(
            *handle.0.leadership.borrow(),
            LeaderAndEpoch { leader: Some(NodeId(1)), epoch: handle.published().last_epoch }
        );
        handle.shutdown().await;
    });
}
