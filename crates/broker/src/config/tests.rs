//! Layers, providers, the preset and what a server refuses to start with.

use ottla_host::Host;

use super::*;

fn sources(overrides: &[&str]) -> Sources {
    Sources { overrides: overrides.iter().map(|it| (*it).to_owned()).collect(), ..Sources::default() }
}

fn load(overrides: &[&str]) -> Result<BrokerSettings, String> {
    let host = Host::simulated(1);
    BrokerSettings::load(&host.disk(), &sources(overrides)).map_err(|it| it.to_string())
}

fn write(disk: &Disk, path: &str, content: &str) {
    let path = Path::new(path);
    disk.create_dir_all(path.parent().expect("a directory")).expect("created");
    disk.write_atomically(path, content.as_bytes()).expect("written");
}

#[test]
fn without_configuration_a_node_is_whole() {
    let settings = load(&[]).expect("valid");
    assert_eq!(settings.node_id(), NodeId(1));
    assert!(settings.is_broker() && settings.is_controller());
    let shown = |it: &[ottla_metadata::settings::listeners::Endpoint]| {
        it.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&settings.listeners.broker), ["PLAINTEXT://localhost:9092"]);
    assert_eq!(shown(&settings.listeners.controller), ["CONTROLLER://localhost:9093"]);
    assert_eq!(settings.listeners.advertised_broker, settings.listeners.broker);
    assert_eq!(settings.log_directories().collect::<Vec<_>>(), [Path::new("./ottla-data")]);
    assert_eq!(settings.metadata_directory(), Path::new("./ottla-data"));
    assert_eq!(settings.server.groups.offsets_topic_replication_factor, 1);
    assert_eq!(
        settings.server.ottla.ottla_metrics_listener.as_deref(),
        Some(&["localhost:9404".to_owned()][..])
    );
    assert_eq!(settings.topic_defaults["retention.ms"], "604800000");
}

#[test]
fn an_empty_text_switches_the_metrics_off() {
    let overrides = vec!["ottla.metrics.listener=".to_owned()];
    let sources = Sources { overrides, ..Sources::default() };
    let settings = BrokerSettings::load(&Host::simulated(1).disk(), &sources).expect("valid");
    assert_eq!(settings.server.ottla.ottla_metrics_listener.iter().flatten().count(), 0);
}

#[test]
fn flags_win_over_environment_over_file() {
    let host = Host::simulated(1);
    let disk = host.disk();
    let file = "process.roles=broker,controller\nnode.id=3\nlisteners=PLAINTEXT://:19092,CONTROLLER://:19093\n\
                controller.listener.names=CONTROLLER\ncontroller.quorum.voters=3@localhost:19093\n\
                log.dirs=/data/a,/data/b\nnum.partitions=2\nlog.retention.hours=1\nlog.segment.bytes=2000000\n";
    write(&disk, "/etc/server.properties", file);
    let environment = [
        ("KAFKA_NUM_PARTITIONS", "3"),
        ("KAFKA_LOG_SEGMENT_BYTES", "3000000"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
        ("KAFKA_NUM_PARTITION", "9"),
        ("PATH", "/bin"),
        ("OTTLA_METRICS_LISTENER", "localhost:0"),
        ("KAFKA_LISTENER_NAME_PLAINTEXT_MAX_CONNECTIONS", "7"),
    ];
    let sources = Sources {
        file: Some(PathBuf::from("/etc/server.properties")),
        environment: environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        overrides: vec!["log.segment.bytes=4000000".to_owned()],
    };
    let settings = BrokerSettings::load(&disk, &sources).expect("valid");
    assert_eq!(settings.node_id(), NodeId(3));
    assert_eq!(settings.server.general.num_partitions, 3);
    assert_eq!(settings.server.log.log_segment_bytes, 4_000_000);
    assert_eq!(settings.topic_defaults["retention.ms"], "3600000");
    assert_eq!(settings.server.groups.offsets_topic_replication_factor, 3);
    assert_eq!(
        settings.server.ottla.ottla_metrics_listener.as_deref(),
        Some(&["localhost:0".to_owned()][..])
    );
    assert_eq!(settings.warnings(), ["environment variables that name no setting: KAFKA_NUM_PARTITION"]);
    assert_eq!(settings.listeners.advertised_controller[0].host.as_deref(), Some("localhost"));
    let fixed = settings.layers.fixed();
    assert_eq!(fixed["listener.name.plaintext.max.connections"], "7");
}

#[test]
fn settings_without_effect_are_named() {
    let settings = load(&["num.network.threads=8", "super.users=User:a", "ssl.client.auth=none", "my.key=1"])
        .expect("valid");
    let expected = [
        "settings without effect: num.network.threads (work spreads over all processors without fixed pools), \
         ssl.client.auth (waits for security), super.users (waits for security)",
        "unknown settings: my.key",
    ];
    assert_eq!(settings.warnings(), expected);
}

#[test]
fn references_find_their_values() {
    let host = Host::simulated(1);
    let disk = host.disk();
    write(&disk, "/secrets/all.properties", "partitions=5\n");
    write(&disk, "/secrets/dir/rack", "r7");
    write(&disk, "/other/x", "1");
    let provider = |name: &str, class: &str| {
        format!("config.providers.{name}.class=org.apache.kafka.common.config.provider.{class}ConfigProvider")
    };
    let overrides = vec![
        "config.providers=env,file,dir".to_owned(),
        provider("env", "EnvVar"),
        "config.providers.env.param.allowlist.pattern=ALLOWED_.*".to_owned(),
        provider("file", "File"),
        provider("dir", "Directory"),
        "config.providers.dir.param.allowed.paths=/secrets".to_owned(),
        "num.partitions=${file:/secrets/all.properties:partitions}".to_owned(),
        "broker.rack=${dir:/secrets/dir:rack}-${env:ALLOWED_A}-${env:B}-${dir:/secrets/../other:x}"
            .to_owned(),
    ];
    let environment = vec![("ALLOWED_A".to_owned(), "a".to_owned()), ("B".to_owned(), "b".to_owned())];
    let sources = Sources { file: None, environment, overrides };
    let settings = BrokerSettings::load(&disk, &sources).expect("valid");
    assert_eq!(settings.server.general.num_partitions, 5);
    let rack = settings.server.general.broker_rack.as_deref();
    assert_eq!(rack, Some("r7-a-${env:B}-${dir:/secrets/../other:x}"));
}

#[test]
fn what_cannot_be_is_refused() {
    let check = |overrides: &[&str], message: &str| {
        let refused = load(overrides).expect_err("refused");
        assert!(refused.contains(message), "{refused}");
    };
    check(&["num.partitions"], "--override num.partitions: expected key=value");
    check(
        &["num.partitions=0", "log.segment.bytes=x"],
        "Invalid value 0 for configuration num.partitions: Value must be at least 1",
    );
    check(
        &["num.partitions=0", "log.segment.bytes=x"],
        "Invalid value x for configuration log.segment.bytes: Not a number of type INT",
    );
    check(&["node.id=1", "broker.id=2"], "must be set to the same value");
    check(&["listeners=PLAINTEXT://:1,PLAINTEXT://:2"], "Each listener must have a different name");
    check(&["listeners=PLAINTEXT://:1,CONTROLLER://:1"], "Each listener must have a different port");
    check(&["listeners=NOWHERE"], "Unable to parse NOWHERE to a broker endpoint");
    check(
        &["listeners=PLAINTEXT://localhost:9092"],
        "must contain at least one value appearing in the 'listeners'",
    );
    check(
        &["advertised.listeners=PLAINTEXT://0.0.0.0:9092"],
        "cannot use the nonroutable meta-address 0.0.0.0",
    );
    check(&["advertised.listeners=OTHER://a:1"], "No security protocol defined for listener OTHER");
    check(&["controller.listener.names="], "Configuration 'controller.listener.names' must not be empty");
    check(&["process.roles=king"], "String must be one of: broker, controller");
    check(
        &["controller.quorum.bootstrap.servers="],
        "either controller.quorum.bootstrap.servers must contain",
    );
    check(&["controller.quorum.voters=2@localhost:1"], "the node id 1 must be included in the set of voters");
    check(&["cordoned.log.dirs=/nowhere"], "All entries in cordoned.log.dirs must be present");
    check(&["group.consumer.session.timeout.ms=1"], "must be greater than or equal to");
    check(&["queued.max.request.bytes=5"], "must be larger or equal to socket.request.max.bytes");
    check(&["log.retention.ms=0"], "log.retention.ms must be unlimited (-1)");
    let missing = Sources { file: Some(PathBuf::from("/nowhere")), ..Sources::default() };
    let refused = BrokerSettings::load(&Host::simulated(1).disk(), &missing).expect_err("refused");
    assert!(refused.to_string().starts_with("cannot read /nowhere"));
}

#[test]
fn two_families_may_share_a_port() {
    let listeners = "listeners=A://127.0.0.1:9092,B://[::1]:9092,CONTROLLER://localhost:9093";
    let map = "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT,CONTROLLER:PLAINTEXT";
    let settings = load(&[listeners, map, "inter.broker.listener.name=A"]).expect("valid");
    assert_eq!(settings.listeners.between_brokers, "A");
    assert_eq!(settings.listeners.broker[1].to_string(), "B://[::1]:9092");
}

#[test]
fn dynamic_settings_lie_above() {
    let settings = load(&["log.retention.ms=5000"]).expect("valid");
    let texts = |key: &str, value: &str| Texts::from([(key.to_owned(), value.to_owned())]);
    let (changed, left_out) =
        settings.with_dynamic(texts("message.max.bytes", "2000000"), texts("node.id", "7")).expect("valid");
    assert_eq!(changed.server.log.message_max_bytes, 2_000_000);
    assert_eq!(changed.topic_defaults["max.message.bytes"], "2000000");
    assert_eq!(changed.node_id(), NodeId(1));
    assert_eq!(left_out.len(), 1);
    let conflicting = settings.with_dynamic(Texts::new(), texts("log.roll.ms", "0"));
    assert!(conflicting.is_err());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a page of the repository, not a file of the server")]
fn the_reference_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, reference()).expect("written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let hint = "docs/configuration.md is stale: UPDATE_DOCS=1 cargo test -p ottla-broker config";
    assert!(committed == reference(), "{hint}");
}

#[test]
fn stores_of_tiered_segments_are_built_in_and_what_names_none_is_refused() {
    let on = "remote.log.storage.system.enable=true";
    let check = |more: &[&str]| -> Result<(), String> {
        let all: Vec<&str> = more.iter().copied().chain([on]).collect();
        crate::tier::settings::check_store(&load(&all)?)
    };
    let refused = |more: &[&str], words: &str| {
        let said = check(more).expect_err(words);
        assert!(said.contains(words), "{said}");
    };
    refused(&[], "ottla.remote.storage.url");
    refused(&["remote.log.storage.manager.class.name=com.example.Store"], "does not know com.example.Store");
    refused(&["ottla.remote.storage.url=nonsense"], "nonsense");
    refused(
        &[
            "ottla.remote.storage.url=memory:///",
            "remote.log.metadata.manager.class.name=com.example.Records",
        ],
        "__remote_log_metadata",
    );
    let kafkas = "remote.log.storage.manager.class.name=\
                  org.apache.kafka.server.log.remote.storage.LocalTieredStorage";
    refused(&[kafkas], "rsm.config.dir");
    check(&[kafkas, "rsm.config.dir=/tier"]).expect("Kafka's own");
    check(&["ottla.remote.storage.url=file:///tier"]).expect("a directory");
    check(&["ottla.remote.storage.url=s3://bucket/a", "rsm.config.aws.region=eu-west-1"]).expect("a bucket");
    // What stays on the disk cannot be more than what is kept at all.
    let url = "ottla.remote.storage.url=file:///tier";
    refused(&[url, "log.retention.bytes=10", "log.local.retention.bytes=11"], "local.retention.bytes");
    refused(&[url, "log.local.retention.ms=-1"], "Value must not be -1 as retention.ms");
    check(&[url, "log.retention.ms=-1", "log.local.retention.ms=-1"]).expect("for ever");
    assert!(load(&["log.retention.bytes=10", "log.local.retention.bytes=11"]).is_ok(), "nothing is tiered");
}
