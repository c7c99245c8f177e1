//! What is found in settings, and on simulated disks, which must be as they were afterwards.

use std::path::{Path, PathBuf};

use ottla_host::Host;
use ottla_storage::file_names::CLUSTER_METADATA_DIRECTORY;
use ottla_storage::log_directory::lock_log_directory;

use super::*;
use crate::config::Sources;
use crate::format::{InitialQuorum, Options, format};

const COMBINED: [&str; 5] = [
    "process.roles=broker,controller",
    "log.dirs=/d1,/d2",
    "controller.quorum.bootstrap.servers=localhost:39093",
    "listeners=PLAINTEXT://localhost:39092,CONTROLLER://localhost:39093",
    "controller.listener.names=CONTROLLER",
];

fn load(host: &Host, more: &[&str]) -> BrokerSettings {
    let overrides = COMBINED.iter().chain(more).map(|it| (*it).to_owned()).collect();
    let sources = Sources { overrides, ..Sources::default() };
    BrokerSettings::load(&host.disk(), &sources).expect("valid settings")
}

fn formatted(host: &Host, settings: &BrokerSettings) {
    let options = Options {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        quorum: InitialQuorum::Standalone,
        ..Options::default()
    };
    format(host, &settings.server, &options).expect("formatted");
}

fn write(host: &Host, path: &str, content: &[u8]) {
    let path = Path::new(path);
    host.disk().create_dir_all(path.parent().expect("a directory")).expect("made");
    host.disk().write_atomically(path, content).expect("written");
}

/// Looks, and checks that nothing was changed by it.
fn look_only(host: &Host, settings: &BrokerSettings) -> Readiness {
    let before = everything(host, Path::new("/"));
    let found = look(host, settings);
    assert_eq!(everything(host, Path::new("/")), before, "the doctor changed something");
    found
}

/// Every file with its content.
fn everything(host: &Host, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in host.disk().list(folder).expect("listed") {
        let path = folder.join(&entry.name);
        match entry.is_dir {
            true => files.extend(everything(host, &path)),
            false => files.push((path.clone(), host.disk().read(&path, 1 << 20).expect("read"))),
        }
    }
    files
}

fn says(found: &Readiness, weight: Weight) -> Vec<String> {
    found.findings.iter().filter(|it| it.weight == weight).map(Finding::to_string).collect()
}

#[test]
fn settings_are_told_by_their_kinds() {
    let host = Host::simulated(1);
    let settings = load(
        &host,
        &[
            "inter.broker.protocol.version=3.9",
            "zookeeper.connect=localhost:2181",
            "my.own=1",
            "num.network.threads=8",
            "principal.builder.class=org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
            "metric.reporters=org.apache.kafka.common.metrics.JmxReporter,com.example.Reporter",
            "listener.name.plaintext.sasl.server.callback.handler.class=com.example.Handler",
            "group.streams.assignors=sticky,highly_available,com.example.Assignor",
        ],
    );
    let of = |kind| {
        let findings = settings.findings.iter().filter(|it| it.kind == kind);
        findings.map(|it| it.about.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Kind::Removed), ["inter.broker.protocol.version", "zookeeper.connect"]);
    assert_eq!(of(Kind::Unknown), ["my.own"]);
    assert_eq!(of(Kind::Idle), ["num.network.threads"]);
    let handler = "listener.name.plaintext.sasl.server.callback.handler.class";
    assert_eq!(of(Kind::PlugIn), ["group.streams.assignors", handler, "metric.reporters"]);
    let assignor = settings.findings.iter().find(|it| it.about == "group.streams.assignors").expect("found");
    assert!(assignor.says.starts_with("com.example.Assignor is not loaded: the assignors"), "{assignor}");
    let reporter = settings.findings.iter().find(|it| it.about == "metric.reporters").expect("found");
    assert!(reporter.says.starts_with("com.example.Reporter is not loaded: Prometheus"), "{reporter}");
    assert!(settings::of_server(&settings).is_empty());
}

#[test]
fn every_key_of_a_plug_in_is_one_of_kafkas() {
    use ottla_metadata::settings::layers::declaration;
    for it in plugins::PLUG_INS.iter().filter(|it| it.key != "interceptor.classes") {
        assert!(declaration(it.key).is_some(), "{}", it.key);
    }
}

#[test]
fn what_is_not_supported_refuses_in_plain_words() {
    let host = Host::simulated(1);
    let settings = load(
        &host,
        &[
            "listener.security.protocol.map=PLAINTEXT:SSL,CONTROLLER:SASL_PLAINTEXT",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ],
    );
    let refusals: Vec<String> = settings::of_server(&settings).iter().map(Finding::to_string).collect();
    assert_eq!(refusals.len(), 3, "{refusals:#?}");
    assert!(refusals[0].contains("listener PLAINTEXT wants SSL"));
    assert!(refusals[1].contains("listener CONTROLLER wants SASL_PLAINTEXT"));
    assert!(refusals[2].contains("ACLs are not enforced yet"));
    let overrides = [
        "process.roles=broker",
        "node.id=4",
        "log.dirs=/d1",
        "controller.quorum.voters=1@a:1,2@b:1",
        "controller.listener.names=CONTROLLER",
        "listeners=PLAINTEXT://localhost:39092",
        "advertised.listeners=PLAINTEXT://localhost:39092",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.bootstrap.servers=",
    ];
    let overrides = overrides.map(str::to_owned).to_vec();
    let sources = Sources { overrides, ..Sources::default() };
    let settings = BrokerSettings::load(&host.disk(), &sources).expect("valid");
    let refusals: Vec<String> = settings::of_server(&settings).iter().map(Finding::to_string).collect();
    assert!(refusals[0].contains("a node that is a broker only is not supported yet"), "{refusals:?}");
    assert!(refusals[1].contains("a quorum of 2 voters is not supported yet"), "{refusals:?}");
}

#[test]
fn a_directory_is_described_and_left_as_it_is() {
    let host = Host::simulated(1);
    let settings = load(&host, &[]);
    let found = look_only(&host, &settings);
    assert!(says(&found, Weight::Refusal)[0].starts_with("/d1: not formatted"), "{found:?}");
    formatted(&host, &settings);
    let found = look_only(&host, &settings);
    assert_eq!(found.weight(), Weight::Note, "{:?}", found.findings);
    assert_eq!(found.cluster_id.as_deref(), Some("4L6g3nShT-eMCtK--X86sw"));
    assert!(found.directories.iter().all(|it| it.id.is_some() && it.format == Some(1)));
    let cluster = found.cluster.expect("a cluster");
    assert_eq!(cluster.metadata_version.map(|it| it.name()), Some("4.4-IV2"));
    assert!(cluster.features.contains(&("kraft.version".to_owned(), 1)), "{:?}", cluster.features);
}

const AIVEN: &str = "io.aiven.kafka.tieredstorage.RemoteStorageManager";

#[test]
fn a_store_that_is_a_java_class_is_told_with_what_there_is_instead() {
    let host = Host::simulated(1);
    formatted(&host, &load(&host, &[]));
    let class = format!("remote.log.storage.manager.class.name={AIVEN}");
    let aivens = [
        "remote.log.storage.system.enable=true",
        class.as_str(),
        "remote.log.storage.manager.class.path=/opt/tiered-storage/*",
        "remote.log.storage.manager.impl.prefix=rsm.config.",
        "rsm.config.storage.backend.class=io.aiven.kafka.tieredstorage.storage.s3.S3Storage",
        "rsm.config.storage.s3.bucket.name=segments",
        "rsm.config.chunk.size=4194304",
    ];
    let found = look_only(&host, &load(&host, &aivens));
    let refusals = says(&found, Weight::Refusal);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    for word in ["remote.log.storage.system.enable", AIVEN, "ottla.remote.storage.url", "cannot be read"] {
        assert!(refusals[0].contains(word), "{refusals:?}");
    }
    let plug_in = found.findings.iter().find(|it| it.kind == Kind::PlugIn).expect("told");
    assert_eq!(plug_in.about, "remote.log.storage.manager.class.name");
    assert!(plug_in.says.contains(AIVEN) && plug_in.says.contains("ottla.remote.storage.url"), "{plug_in}");
    let unknown = found.findings.iter().filter(|it| it.kind == Kind::Unknown).collect::<Vec<_>>();
    assert!(unknown.is_empty(), "{unknown:?}");
    // With a store of Ottla's own it would start.
    let mut replaced = aivens.to_vec();
    replaced.push("ottla.remote.storage.url=memory:///");
    let found = look_only(&host, &load(&host, &replaced));
    assert_eq!(says(&found, Weight::Refusal), Vec::<String>::new());
}

#[test]
fn tiered_storage_without_a_tiered_topic_is_told() {
    let host = Host::simulated(1);
    formatted(&host, &load(&host, &[]));
    let on = ["remote.log.storage.system.enable=true", "ottla.remote.storage.url=file:///tier"];
    let told =
        |found: &Readiness| says(found, Weight::Note).into_iter().find(|it| it.starts_with("tiered storage"));
    let note = told(&look_only(&host, &load(&host, &on))).expect("a note");
    for word in ["/tier", "no topic is tiered", "remote.storage.enable=true"] {
        assert!(note.contains(word), "{note}");
    }
    assert_eq!(told(&look_only(&host, &load(&host, &[]))), None, "it is off");
}

#[test]
fn what_another_plug_in_has_tiered_is_told_to_be_out_of_reach() {
    let host = Host::simulated(1);
    formatted(&host, &load(&host, &[]));
    let class = format!("remote.log.storage.manager.class.name={AIVEN}");
    let own =
        ["remote.log.storage.system.enable=true", "ottla.remote.storage.url=memory:///", class.as_str()];
    for (settings, weight, word) in [
        (load(&host, &own), Weight::Warning, AIVEN),
        (load(&host, &own[..2]), Weight::Note, "1 topics are tiered, in memory:///"),
    ] {
        let mut cluster = look_only(&host, &settings).cluster.expect("a cluster");
        cluster.tiered.push("orders".to_owned());
        let findings = cluster.findings(&settings);
        let told: Vec<_> = findings.iter().filter(|it| it.about == "tiered storage").collect();
        let [told] = &told[..] else { panic!("{findings:?}") };
        assert!(told.weight == weight && told.says.contains(word), "{told}");
    }
}

#[test]
fn logs_are_counted_and_sorted() {
    let host = Host::simulated(1);
    let settings = load(&host, &[]);
    formatted(&host, &settings);
    let legacy = include_bytes!("../../../storage/testdata/kafka-3.9.1/legacy.log");
    let suffix = "0123456789abcdef0123456789abcdef";
    for name in ["old-0".to_owned(), format!("old-1.{suffix}-future"), format!("gone-0.{suffix}-stray")] {
        write(&host, &format!("/d1/{name}/00000000000000000000.log"), legacy);
    }
    write(&host, &format!("/d1/gone-1.{suffix}-delete/00000000000000000000.log"), b"");
    write(&host, "/d1/notes/readme", b"");
    write(&host, "/d2/.kafka_cleanshutdown", b"{\"version\":0,\"brokerEpoch\":7}");
    let found = look_only(&host, &settings);
    let [first, second] = &found.directories[..] else { panic!("{:?}", found.directories) };
    assert_eq!((&first.state, &second.state), (&DirectoryState::Unclean, &DirectoryState::Clean));
    let size = legacy.len() as u64;
    assert_eq!((first.topics, first.partitions, first.bytes, first.recovery_bytes), (1, 1, size, size));
    assert_eq!((first.strays.len(), first.futures.len(), first.deleted.len()), (1, 1, 1));
    assert_eq!(
        (&first.unwanted[..], &first.foreign[..]),
        (&["old-0".to_owned()][..], &["notes".to_owned()][..])
    );
    assert_eq!(first.legacy_segments["old"], 1);
    let warnings = says(&found, Weight::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("old-0"), "{warnings:?}");
}

#[test]
fn a_server_that_runs_is_seen() {
    let host = Host::simulated(1);
    let settings = load(&host, &[]);
    formatted(&host, &settings);
    let lock = lock_log_directory(&host.disk(), Path::new("/d2")).expect("locked");
    let found = look_only(&host, &settings);
    assert_eq!(found.directories[1].state, DirectoryState::InUse);
    assert_eq!(says(&found, Weight::Refusal), ["/d2: a broker is running on it: stop it first"]);
    drop(lock);
    assert_eq!(look_only(&host, &settings).weight(), Weight::Note);
}

#[test]
fn damage_in_the_metadata_is_a_refusal() {
    let host = Host::simulated(1);
    let settings = load(&host, &[]);
    formatted(&host, &settings);
    let folder = Path::new("/d1").join(CLUSTER_METADATA_DIRECTORY);
    let snapshot = folder.join("00000000000000000000-0000000000.checkpoint");
    let mut bytes = host.disk().read(&snapshot, 1 << 20).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    host.disk().write_atomically(&snapshot, &bytes).expect("written");
    let refusals = says(&look_only(&host, &settings), Weight::Refusal);
    assert!(refusals[0].contains("is corrupt"), "{refusals:?}");
    // The directory of the metadata is another than the settings say.
    let moved = load(&host, &["metadata.log.dir=/d2"]);
    let refusals = says(&look_only(&host, &moved), Weight::Refusal);
    assert!(refusals[0].contains("but the directory of the metadata is /d2"), "{refusals:?}");
}
