//! Formatted directories hold what Kafka 4.4 writes. `testdata/` holds what `kafka-storage format` of 4.4.0 wrote.

use std::path::{Path, PathBuf};

use ottla_base::settings::parse_properties;
use ottla_base::{NodeId, Uuid};
use ottla_host::Host;
use ottla_metadata::settings::{ServerLayers, ServerSettings};
use ottla_record::{Batches, StoredBatch};
use ottla_storage::meta_properties::MetaProperties;

use super::{AlreadyFormatted, DirectoryKind, InitialQuorum, Options, format, info};

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
const COMBINED: &str = "process.roles=broker,controller\nnode.id=1\nlog.dirs=/d1,/d2\n\
    controller.quorum.bootstrap.servers=localhost:39093\n\
    listeners=PLAINTEXT://localhost:39092,CONTROLLER://localhost:39093\n\
    controller.listener.names=CONTROLLER\n";
const STATIC: &str = "process.roles=broker,controller\nnode.id=1\nlog.dirs=/d1,/d2\nmetadata.log.dir=/meta\n\
    controller.quorum.voters=1@localhost:39093\n\
    listeners=PLAINTEXT://localhost:39092,CONTROLLER://localhost:39093\n\
    controller.listener.names=CONTROLLER\n";
const BROKER: &str = "process.roles=broker\nnode.id=2\nlog.dirs=/d1,/d2\n\
    controller.quorum.bootstrap.servers=localhost:39093\nlisteners=PLAINTEXT://localhost:39092\n\
    controller.listener.names=CONTROLLER\n";

fn settings(properties: &str) -> ServerSettings {
    let texts = parse_properties(properties.as_bytes()).unwrap();
    ServerLayers::new(texts).settings().unwrap()
}

fn options(quorum: InitialQuorum) -> Options {
    Options { cluster_id: CLUSTER.to_owned(), quorum, ..Options::default() }
}

fn checkpoint(host: &Host, directory: &str) -> Option<Vec<u8>> {
    let path = Path::new(directory).join("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint");
    host.disk().read(path, 1 << 20).ok()
}

/// What remains of a snapshot without times, checksums and ids that are drawn.
fn timeless(snapshot: &[u8], directory: Uuid) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for batch in Batches::new(snapshot) {
        let StoredBatch::V2(batch) = batch.unwrap() else { panic!("old batch") };
        batch.verify_crc().unwrap();
        let mut bytes = batch.bytes().to_vec();
        for range in [17..21, 27..43] {
            bytes[range].fill(0);
        }
        if let Some(at) = bytes.windows(16).position(|window| window == directory.0) {
            bytes[at..at + 16].fill(0);
        }
        if batches.is_empty() {
            // The header's value: behind its record's lengths and key a version, then the time.
            bytes[73..81].fill(0);
        }
        batches.push(bytes);
    }
    batches
}

fn check_checkpoint(properties: &str, quorum: InitialQuorum, directory: &str, kafka: &[u8], kafkas_id: &str) {
    let host = Host::simulated(7);
    format(&host, &settings(properties), &options(quorum)).unwrap();
    let ours = checkpoint(&host, directory).unwrap();
    let id = MetaProperties::read(&host.disk(), Path::new(directory)).unwrap().unwrap().directory_id.unwrap();
    let kafkas_id: Uuid = kafkas_id.parse().unwrap_or_default();
    assert_eq!(timeless(&ours, id), timeless(kafka, kafkas_id));
}

#[test]
fn checkpoints_are_kafkas_but_for_times_and_ids() {
    let standalone = include_bytes!("testdata/standalone.checkpoint");
    check_checkpoint(COMBINED, InitialQuorum::Standalone, "/d1", standalone, "j4HANqAQS2qDbzr48C8K2w");
    let joining = include_bytes!("testdata/no_initial_controllers.checkpoint");
    check_checkpoint(COMBINED, InitialQuorum::NoInitialControllers, "/d1", joining, "");
    let fixed = include_bytes!("testdata/static.checkpoint");
    check_checkpoint(STATIC, InitialQuorum::Unstated, "/meta", fixed, "");
}

#[test]
fn directories_know_who_they_are() {
    let host = Host::simulated(1);
    let formatted = format(&host, &settings(STATIC), &options(InitialQuorum::Unstated)).unwrap();
    let kinds: Vec<(PathBuf, DirectoryKind)> = formatted.directories;
    assert_eq!(
        kinds,
        [
            ("/d1".into(), DirectoryKind::Data),
            ("/d2".into(), DirectoryKind::Data),
            ("/meta".into(), DirectoryKind::Metadata),
        ]
    );
    let info = info(&host, &settings(STATIC));
    assert_eq!((info.directories.len(), &info.problems[..]), (3, &[][..]));
    let properties = info.properties.unwrap();
    assert_eq!((properties.cluster_id.as_deref(), properties.node_id), (Some(CLUSTER), Some(NodeId(1))));
    assert!(checkpoint(&host, "/d1").is_none());
}

#[test]
fn a_broker_has_no_checkpoint() {
    let host = Host::simulated(1);
    let formatted = format(&host, &settings(BROKER), &options(InitialQuorum::Unstated)).unwrap();
    assert_eq!(formatted.directories[0], ("/d1".into(), DirectoryKind::Metadata));
    assert!(checkpoint(&host, "/d1").is_none());
}

#[test]
fn a_named_voter_takes_the_directory_it_was_named_with() {
    let host = Host::simulated(1);
    let controllers = "1@localhost:39093:JEXY6aqzQY-32P5TStzaFg,2@localhost:39094:MvDxzVmcRsaTz33bUuRU6A";
    let quorum = InitialQuorum::InitialControllers(controllers.to_owned());
    let formatted = format(&host, &settings(COMBINED), &options(quorum)).unwrap();
    assert_eq!(formatted.directories[0].1, DirectoryKind::DynamicVoter);
    let properties = MetaProperties::read(&host.disk(), Path::new("/d1")).unwrap().unwrap();
    assert_eq!(properties.directory_id.unwrap().to_string(), "JEXY6aqzQY-32P5TStzaFg");
}

#[test]
fn what_is_formatted_is_not_formatted_again() {
    let host = Host::simulated(1);
    let mut options = options(InitialQuorum::Standalone);
    format(&host, &settings(COMBINED), &options).unwrap();
    let before = checkpoint(&host, "/d1");
    let error = format(&host, &settings(COMBINED), &options).unwrap_err().to_string();
    assert!(error.starts_with("Log directory /d1 is already formatted. Use --ignore-formatted"), "{error}");
    options.already_formatted = AlreadyFormatted::Skip;
    assert_eq!(format(&host, &settings(COMBINED), &options).unwrap().directories, []);
    host.disk().remove_file("/d2/meta.properties").unwrap();
    let again = format(&host, &settings(COMBINED), &options).unwrap();
    assert_eq!(again.directories, [("/d2".into(), DirectoryKind::Data)]);
    assert_eq!(checkpoint(&host, "/d1"), before);
    options.cluster_id = "otherclusteridAAAAAAAAA".to_owned();
    assert!(format(&host, &settings(COMBINED), &options).unwrap_err().to_string().contains("cluster.id"));
}

fn check_refused(properties: &str, change: impl FnOnce(&mut Options), words: &str) {
    let host = Host::simulated(1);
    let mut options = options(InitialQuorum::Standalone);
    change(&mut options);
    let error = format(&host, &settings(properties), &options).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    assert!(MetaProperties::read(&host.disk(), Path::new("/d1")).unwrap().is_none(), "nothing was written");
}

#[test]
fn nonsense_is_refused() {
    check_refused(COMBINED, |it| it.quorum = InitialQuorum::Unstated, "--no-initial-controllers");
    check_refused(STATIC, |_| (), "You cannot specify controller.quorum.voters and format");
    check_refused(BROKER, |_| (), "You can only use --standalone on a controller.");
    let kraft = |level| vec![("kraft.version".to_owned(), level)];
    check_refused(COMBINED, |it| it.features = kraft(0), "Cannot set kraft.version to 0");
    check_refused(COMBINED, |it| it.features = kraft(2), "No feature:kraft.version with feature level 2");
    let fixed = |it: &mut Options| {
        it.quorum = InitialQuorum::Unstated;
        it.features = kraft(1);
    };
    check_refused(STATIC, fixed, "Cannot set kraft.version to 1 unless controller.quorum.voters is empty");
    check_refused(COMBINED, |it| it.features = vec![("x".to_owned(), 1)], "Unsupported feature: x.");
    check_refused(
        COMBINED,
        |it| it.release_version = Some("9.9".to_owned()),
        "Unknown metadata.version '9.9'",
    );
    let old = |it: &mut Options| {
        it.release_version = Some("3.9-IV0".to_owned());
        it.features = vec![("eligible.leader.replicas.version".to_owned(), 1)];
    };
    check_refused(COMBINED, old, "depends on metadata.version level 23");
    let controllers = InitialQuorum::InitialControllers("1@host".to_owned());
    check_refused(COMBINED, |it| it.quorum = controllers, "voter '1@host'");
}
