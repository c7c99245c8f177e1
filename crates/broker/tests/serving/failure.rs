//! A server whose disks fail, on a simulated host: it says why it cannot go on, and can still be stopped.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_broker::config::{BrokerSettings, Sources};
use ottla_broker::format::{self, InitialQuorum};
use ottla_broker::loggers::Loggers;
use ottla_broker::server::{self, RunningServer};
use ottla_host::Host;
use ottla_host::disk::simulated::{Failure, Fault, Operation};
use ottla_metadata::controller::{CreateTopics, Names, Reply, Request};
use ottla_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};

fn settings(host: &Host) -> BrokerSettings {
    let overrides = [
        "log.dirs=/d0,/d1",
        "metadata.log.dir=/m",
        "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        "ottla.metrics.listener=",
    ];
    let sources =
        Sources { overrides: overrides.iter().map(|it| (*it).to_owned()).collect(), ..Sources::default() };
    BrokerSettings::load(&host.disk(), &sources).unwrap()
}

async fn start(host: &Host) -> RunningServer {
    let options = format::Options {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        quorum: InitialQuorum::Standalone,
        ..format::Options::default()
    };
    format::format(host, &settings(host).server, &options).unwrap();
    resume(host).await
}

async fn resume(host: &Host) -> RunningServer {
    Box::pin(server::start(host, settings(host), Loggers::fixed())).await.unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

/// From now on the disk fails under these directories.
fn break_disk(host: &Host, directories: &'static [&'static str]) {
    for operation in [Operation::Open, Operation::Write, Operation::Sync, Operation::Rename] {
        let on = Box::new(|path: &Path| directories.iter().any(|it| path.starts_with(it)));
        let fault = Fault { operation, on, after: 0, times: u64::MAX, failure: Failure::InputOutput };
        host.simulation().unwrap().disk().inject(fault);
    }
}

/// From now on the process has no descriptor for what is called so.
fn lack_descriptors(host: &Host, name: &'static str) {
    let on = Box::new(move |path: &Path| path.to_string_lossy().contains(name));
    let failure = Failure::NoDescriptor;
    let fault = Fault { operation: Operation::Open, on, after: 0, times: u64::MAX, failure };
    host.simulation().unwrap().disk().inject(fault);
}

/// Makes a topic of two partitions.
async fn create_topic(running: &RunningServer, name: &'static str) -> Uuid {
    let topic = CreatableTopic {
        name: Str::from_static(name),
        num_partitions: 2,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let request = CreateTopics { request, creatable: Names::All, describable: Names::All };
    match running.broker().controller.submit(Request::CreateTopics(request)).await {
        Ok(Reply::CreateTopics(reply)) => reply.topics[0].topic_id,
        other => panic!("{other:?}"),
    }
}

/// Which of the two partitions are served.
fn served(running: &RunningServer, topic: Uuid) -> Vec<i32> {
    (0..2).filter(|it| running.broker().partitions.get(topic, *it).is_some()).collect()
}

#[test]
fn replicas_that_lack_descriptors_are_served_when_there_are_some() {
    run(async {
        let host = Host::simulated(4);
        let running = start(&host).await;
        let heal = || host.simulation().unwrap().disk().heal();
        lack_descriptors(&host, "orders-1");
        let topic = create_topic(&running, "orders").await;
        host.sleep(Duration::from_secs(30)).await;
        assert_eq!(served(&running, topic), [0]);
        heal();
        host.sleep(Duration::from_secs(5)).await;
        assert_eq!(served(&running, topic), [0, 1]);
        running.stop().await;
        // The same when the server starts.
        lack_descriptors(&host, "orders-0");
        let running = resume(&host).await;
        host.sleep(Duration::from_secs(30)).await;
        assert_eq!(served(&running, topic), [1]);
        heal();
        host.sleep(Duration::from_secs(5)).await;
        assert_eq!(served(&running, topic), [0, 1]);
        running.stop().await;
    });
}

/// What failed says, and that it says it again; and that the server can be stopped all the same.
async fn check_failure(host: &Host, mut running: RunningServer) -> String {
    let reason = host.timeout(Duration::from_secs(60), running.failed()).await.unwrap();
    assert_eq!(host.timeout(Duration::from_secs(60), running.failed()).await.unwrap(), reason);
    host.timeout(Duration::from_secs(60), Box::pin(running.stop())).await.unwrap();
    reason
}

#[test]
fn a_server_that_loses_the_disk_of_its_metadata_cannot_go_on() {
    run(async {
        let host = Host::simulated(1);
        let running = start(&host).await;
        break_disk(&host, &["/m"]);
        let refused = running.broker().controller.submit(Request::WriteNoOp(())).await;
        assert_eq!(refused, Err(ErrorCode::NotController));
        let reason = check_failure(&host, running).await;
        assert!(reason.contains("/m"), "{reason}");
    });
}

#[test]
fn a_server_that_loses_every_log_directory_cannot_go_on() {
    run(async {
        let host = Host::simulated(2);
        let running = start(&host).await;
        break_disk(&host, &["/d0", "/d1"]);
        // The next checkpoint finds out.
        let reason = check_failure(&host, running).await;
        assert!(reason.contains("every log directory has failed"), "{reason}");
    });
}

#[test]
fn a_server_that_keeps_a_log_directory_goes_on() {
    run(async {
        let host = Host::simulated(3);
        let mut running = start(&host).await;
        break_disk(&host, &["/d1"]);
        assert!(host.timeout(Duration::from_secs(60), running.failed()).await.is_err());
        assert_eq!(running.broker().offline_directories().len(), 1);
        host.timeout(Duration::from_secs(60), Box::pin(running.stop())).await.unwrap();
    });
}
