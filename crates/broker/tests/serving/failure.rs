//! A server whose disks fail, on a simulated host: it says why it cannot go on, and can still be stopped.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use ottla_base::ErrorCode;
use ottla_broker::config::{BrokerSettings, Sources};
use ottla_broker::format::{self, InitialQuorum};
use ottla_broker::loggers::Loggers;
use ottla_broker::server::{self, RunningServer};
use ottla_host::Host;
use ottla_host::disk::simulated::{Failure, Fault, Operation};
use ottla_metadata::controller::Request;

async fn start(host: &Host) -> RunningServer {
    let overrides = [
        "log.dirs=/d0,/d1",
        "metadata.log.dir=/m",
        "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        "ottla.metrics.listener=",
    ];
    let sources =
        Sources { overrides: overrides.iter().map(|it| (*it).to_owned()).collect(), ..Sources::default() };
    let settings = BrokerSettings::load(&host.disk(), &sources).unwrap();
    let options = format::Options {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        quorum: InitialQuorum::Standalone,
        ..format::Options::default()
    };
    format::format(host, &settings.server, &options).unwrap();
    Box::pin(server::start(host, settings, Loggers::fixed())).await.unwrap()
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
