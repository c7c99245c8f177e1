//! The tables against the facts of Kafka 4.4.0, and against themselves.

use std::collections::BTreeMap;

use ottla_base::NodeId;
use ottla_base::settings::{Fallback, Kind, Setting, Table, Texts, Visibility, parse_properties};

use super::alter::{self, Availability, Change, Operation, Origin, Refusal, Rules};
use super::broker::{DynamicQuotaSettings, OttlaSettings};
use super::derived;
use super::describe::{self, Entry, Source};
use super::layers::ServerLayers;
use super::{ClientMetricsSettings, GroupSettings, ResourceKind, TopicSettings};

const FACTS: &str = include_str!("testdata/kafka_4.4.0_settings.tsv");

fn shown(kind: &str, setting: &Setting) -> String {
    let default = match setting.fallback {
        Fallback::Required => "<required>",
        Fallback::Null => "<null>",
        Fallback::Text(text) => text,
    };
    let visibility = match setting.visibility {
        Visibility::Public => "public",
        Visibility::Internal => "internal",
    };
    let check = setting.check.to_string();
    let columns = [
        kind,
        setting.name,
        setting.kind.name(),
        default,
        setting.importance.name(),
        &check,
        visibility,
        setting.scope.name(),
    ];
    columns.join("\t")
}

#[test]
fn the_tables_say_what_kafka_says() {
    let own: Vec<&str> = OttlaSettings::SETTINGS.iter().map(|it| it.name).collect();
    let broker = ResourceKind::Broker.settings().values().copied().filter(|it| !own.contains(&it.name));
    let mut ours: Vec<String> = broker.map(|it| shown("broker", it)).collect();
    ours.extend(DynamicQuotaSettings::SETTINGS.iter().map(|it| shown("quota", it)));
    ours.extend(TopicSettings::SETTINGS.iter().map(|it| shown("topic", it)));
    ours.extend(GroupSettings::SETTINGS.iter().map(|it| shown("group", it)));
    ours.extend(ClientMetricsSettings::SETTINGS.iter().map(|it| shown("client-metrics", it)));
    ours.sort();
    let mut facts: Vec<&str> = FACTS.lines().filter(|it| !it.starts_with('#')).collect();
    facts.sort_unstable();
    for (ours, fact) in ours.iter().zip(&facts) {
        assert_eq!(ours, fact);
    }
    assert_eq!(ours.len(), facts.len());

    let mut counts = BTreeMap::new();
    for kind in facts.iter().filter_map(|it| it.split('\t').next()) {
        *counts.entry(kind).or_insert(0) += 1;
    }
    let expected = [("broker", 379), ("client-metrics", 3), ("group", 27), ("quota", 3), ("topic", 38)];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn every_default_is_accepted_by_its_own_check() {
    let required = Texts::from([
        ("node.id".to_owned(), "1".to_owned()),
        ("process.roles".to_owned(), "broker".to_owned()),
        ("controller.listener.names".to_owned(), "CONTROLLER".to_owned()),
    ]);
    super::ServerSettings::read(&required).expect("defaults");
    TopicSettings::read(&Texts::new()).expect("defaults");
    GroupSettings::read(&Texts::new()).expect("defaults");
    ClientMetricsSettings::read(&Texts::new()).expect("defaults");
}

#[test]
fn every_setting_has_a_sentence() {
    let kinds = [ResourceKind::Broker, ResourceKind::Topic, ResourceKind::Group, ResourceKind::ClientMetrics];
    for setting in kinds.iter().flat_map(|kind| kind.settings().values()) {
        assert!(setting.documentation.ends_with('.'), "{}", setting.name);
        assert!(!setting.documentation.contains("  "), "{}", setting.name);
    }
}

const STARTED_WITH: &[u8] = include_bytes!("testdata/server.properties");
const DESCRIBED: &str = include_str!("testdata/kafka_4.4.0_describe.txt");

fn texts(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Topic => "DYNAMIC_TOPIC_CONFIG",
        Source::Broker => "DYNAMIC_BROKER_CONFIG",
        Source::AllBrokers => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        Source::Fixed => "STATIC_BROKER_CONFIG",
        Source::Default => "DEFAULT_CONFIG",
        Source::BrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        Source::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        Source::Group => "DYNAMIC_GROUP_CONFIG",
    }
}

fn line(entry: &Entry) -> String {
    let or_null = |it: &Option<String>| it.clone().unwrap_or_else(|| "null".to_owned());
    let synonym =
        |it: &describe::Synonym| format!("{}={}@{}", it.name, or_null(&it.value), source_name(it.source));
    [
        entry.name.clone(),
        or_null(&entry.value),
        source_name(entry.source).to_owned(),
        if entry.read_only { "ro" } else { "rw" }.to_owned(),
        if entry.sensitive { "sensitive" } else { "" }.to_owned(),
        entry.kind.map_or("UNKNOWN", Kind::name).to_owned(),
        entry.synonyms.iter().map(synonym).collect::<Vec<_>>().join("|"),
    ]
    .join("\t")
}

#[test]
fn descriptions_are_those_of_kafka() {
    let check = |section: &str, mut entries: Vec<Entry>| {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let ours: Vec<String> = entries.iter().map(line).collect();
        let after = DESCRIBED.split(&format!("## {section}\n")).nth(1).expect("the section");
        let theirs: Vec<&str> = after.lines().take_while(|it| !it.starts_with("## ")).collect();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{section}");
        }
        assert_eq!(ours.len(), theirs.len(), "{section}");
    };
    let mut layers = ServerLayers::new(parse_properties(STARTED_WITH).expect("well-formed"));
    assert_eq!(layers.set_cluster(texts(&[("min.insync.replicas", "1")])), []);
    let none = Texts::new();
    check("broker 1", describe::broker(&layers).expect("valid"));
    check("broker default", describe::all_brokers(&layers));
    check("topic", describe::topic(&layers, &none).expect("valid"));
    check("group", describe::group(&layers, &none).expect("valid"));
    check("client-metrics", describe::client_metrics(&none).expect("valid"));

    let layers = changed_layers();
    check("broker 1 after", describe::broker(&layers).expect("valid"));
    check("broker default after", describe::all_brokers(&layers));
    let topic = texts(&TOPIC);
    check("topic after", describe::topic(&layers, &topic).expect("valid"));
    let group = texts(&GROUP);
    check("group after", describe::group(&layers, &group).expect("valid"));
    let subscription = texts(&SUBSCRIPTION);
    check("client-metrics after", describe::client_metrics(&subscription).expect("valid"));
}

const ALTERED: &str = include_str!("testdata/kafka_4.4.0_alter.txt");
const TOPIC: [(&str, &str); 2] = [("retention.ms", "5"), ("cleanup.policy", "compact")];
const GROUP: [(&str, &str); 1] = [("consumer.session.timeout.ms", "50000")];
const SUBSCRIPTION: [(&str, &str); 2] = [("interval.ms", "1000"), ("metrics", "a,b")];

fn changed_layers() -> ServerLayers {
    let mut layers = ServerLayers::new(parse_properties(STARTED_WITH).expect("well-formed"));
    let cluster = [
        ("min.insync.replicas", "1"),
        ("log.retention.ms", "1000000"),
        ("message.max.bytes", "2000000"),
        ("leader.replication.throttled.rate", "5"),
    ];
    assert_eq!(layers.set_cluster(texts(&cluster)), []);
    let own = [
        ("log.segment.bytes", "2000000"),
        ("log.cleaner.threads", "2"),
        ("leader.replication.throttled.rate", "7"),
    ];
    assert_eq!(layers.set_own(texts(&own)), []);
    layers
}

fn change(text: &str) -> Change {
    let operation = match &text[..1] {
        "=" => Operation::Set,
        "-" => Operation::Delete,
        "+" => Operation::Append,
        _ => Operation::Subtract,
    };
    let (name, value) = match text[1..].split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (&text[1..], None),
    };
    Change { name: name.to_owned(), operation, value }
}

fn judge(layers: &ServerLayers, kind: &str, resource: &str, changes: &[Change]) -> Result<(), Refusal> {
    let node = NodeId(1);
    let server = layers.settings().expect("valid");
    let defaults = derived::topic_defaults(&server, &layers.effective());
    let rules = Rules {
        server: &server,
        topic_defaults: &defaults,
        eligible_leader_replicas: Availability::Available,
        cordoned_directories: Availability::Available,
        origin: Origin::Forwarded,
    };
    alter::check_shape(changes)?;
    let (kind, own) = match kind {
        "TOPIC" => (ResourceKind::Topic, texts(&TOPIC)),
        "BROKER" => {
            alter::check_broker(layers, node, resource, changes)?;
            let own = if resource.is_empty() { layers.cluster() } else { layers.own() };
            (ResourceKind::Broker, own.clone())
        }
        "BROKER_LOGGER" => {
            return alter::check_loggers(node, resource, &texts(&[("root", "INFO")]), changes);
        }
        "CLIENT_METRICS" => (ResourceKind::ClientMetrics, texts(&SUBSCRIPTION)),
        _ => (ResourceKind::Group, texts(&GROUP)),
    };
    alter::alter(kind, resource, &own, changes, &rules).map(drop)
}

/// Where we answer otherwise: Kafka divides by zero, or looks for a Java class.
const DEPARTURES: [(&str, &str); 4] = [
    (
        "BROKER | 1 | =log.cleaner.threads=0",
        "INVALID_REQUEST\trequirement failed: log.cleaner.threads must be at least 1",
    ),
    (
        "BROKER | - | =principal.builder.class=x.y.Z",
        "INVALID_REQUEST\tCannot update these configs at default cluster level, broker id must be specified: \
         [principal.builder.class]",
    ),
    ("BROKER | 1 | =principal.builder.class=x.y.Z", "NONE"),
    ("BROKER | - | =metric.reporters=x.y.Z", "NONE"),
];

#[test]
fn changes_are_judged_as_kafka_judges_them() {
    let layers = changed_layers();
    for line in ALTERED.lines().filter(|it| !it.starts_with('#')) {
        let (request, answer) = line.split_once(" -> ").expect("an answer");
        let mut parts = request.split(" | ");
        let kind = parts.next().expect("a kind");
        let resource = parts.next().filter(|it| *it != "-").unwrap_or_default();
        let changes: Vec<Change> = parts.map(change).collect();
        let ours = match judge(&layers, kind, resource, &changes) {
            Ok(()) => "NONE".to_owned(),
            Err(refusal) => format!("{}\t{}", refusal.code.name(), refusal.message),
        };
        let departure = DEPARTURES.iter().find(|(it, _)| *it == request).map(|(_, answer)| *answer);
        // Whether a topic exists is asked elsewhere.
        let expected = if resource == "nosuch" { "NONE" } else { departure.unwrap_or(answer) };
        assert_eq!(ours, expected, "{request}");
    }
}

#[test]
fn a_topic_inherits_and_overrides() {
    let layers = ServerLayers::new(parse_properties(STARTED_WITH).expect("well-formed"));
    let server = layers.settings().expect("valid");
    let defaults = derived::topic_defaults(&server, &layers.effective());
    let inherited = derived::topic_settings(&defaults, &Texts::new()).expect("valid");
    assert_eq!((inherited.retention_ms, inherited.segment_ms), (360_000_000, 500_000));
    assert_eq!(inherited.cleanup_policy, ["delete", "compact"]);
    assert_eq!(inherited.compression_type, "lz4");
    let own = derived::topic_settings(&defaults, &texts(&TOPIC)).expect("valid");
    assert_eq!((own.retention_ms, own.segment_ms), (5, 500_000));
    assert_eq!(own.cleanup_policy, ["compact"]);
}

#[test]
fn a_group_stays_within_the_bounds_of_its_server() {
    let mut started = parse_properties(STARTED_WITH).expect("well-formed");
    started.insert("group.consumer.max.session.timeout.ms".to_owned(), "47000".to_owned());
    started.insert("group.streams.num.warmup.replicas".to_owned(), "3".to_owned());
    let layers = ServerLayers::new(started);
    let server = layers.settings().expect("valid");
    let defaults = derived::group_defaults(&layers.effective());
    let inherited = derived::group_settings(&server, &defaults, &Texts::new()).expect("valid");
    // What answers do not list follows the server too.
    assert_eq!((inherited.consumer_session_timeout_ms, inherited.streams_num_warmup_replicas), (46_000, 3));
    let own = derived::group_settings(&server, &defaults, &texts(&GROUP)).expect("valid");
    assert_eq!(own.consumer_session_timeout_ms, 47_000);
}

#[test]
fn a_dynamic_name_silences_the_other_names_of_its_setting() {
    let mut layers = ServerLayers::new(parse_properties(STARTED_WITH).expect("well-formed"));
    assert_eq!(layers.settings().expect("valid").log.roll_ms(), 500_000);
    let left_out = layers.set_cluster(texts(&[
        ("log.retention.ms", "7"),
        ("log.roll.hours", "2"),
        ("listeners", "PLAINTEXT://:1"),
        ("ssl.key.password", "x"),
        ("log.cleaner.threads", "many"),
    ]));
    let names: Vec<&str> = left_out.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["listeners", "log.cleaner.threads", "log.roll.hours", "ssl.key.password"]);
    assert_eq!(layers.settings().expect("valid").log.retention_ms(), 7);
    layers.set_own(texts(&[("log.retention.ms", "9"), ("group.consumer.assignment.interval.ms", "99999")]));
    let server = layers.settings().expect("valid");
    assert_eq!(server.log.retention_ms(), 9);
    assert_eq!(server.groups.group_consumer_assignment_interval_ms, 15_000);
}

#[test]
fn durations_are_read_as_java_reads_them() {
    use super::checks::duration_ms;
    let known = [
        ("PT1H", Some(3_600_000)),
        ("P2DT3H4M5.678S", Some(183_845_678)),
        ("-PT1M", Some(-60_000)),
        ("pt-1.5s", Some(-1500)),
        ("PT", None),
        ("P1Y", None),
        ("PT1H2", None),
        ("P9999999999999999D", None),
        ("1H", None),
    ];
    for (text, ms) in known {
        assert_eq!(duration_ms(text), ms, "{text}");
    }
}
