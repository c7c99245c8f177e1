//! Configurations are described, changed, and take effect.

use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::alter_configs_request::{
    AlterConfigsRequest, AlterConfigsResource as Replaced, AlterableConfig as ReplacedConfig,
};
use ottla_wire::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use crate::fixture::{Made, Node, batch, batch_of, code};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(crate) fn set(node: &Node, kind: i8, name: &str, key: &str, value: &str) -> (ErrorCode, Option<Str>) {
    let config =
        AlterableConfig { name: Str::from(key), value: Some(Str::from(value)), ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: Str::from(name),
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = node.ask(1, &request).responses[0].clone();
    (code(answer.error_code), answer.error_message)
}

/// The value of a configuration, and where it comes from.
fn value(node: &Node, kind: i8, name: &str, key: &str) -> (Option<Str>, i8) {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: Str::from(name),
        configuration_keys: Some(vec![Str::from(key)]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = node.ask(4, &request).results[0].clone();
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    (answer.configs[0].value.clone(), answer.configs[0].config_source)
}

#[test]
fn a_topics_configuration_takes_effect() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    assert_eq!(code(node.produce("t", batch(&[&"x".repeat(300)])).error_code), ErrorCode::None);
    assert_eq!(set(&node, TOPIC, "t", "max.message.bytes", "200").0, ErrorCode::None);
    assert_eq!(code(node.produce("t", batch(&[&"x".repeat(300)])).error_code), ErrorCode::MessageTooLarge);
    assert_eq!(value(&node, TOPIC, "t", "max.message.bytes"), (Some(Str::from("200")), 1));

    assert_eq!(set(&node, TOPIC, "t", "compression.type", "zstd").0, ErrorCode::None);
    let taken = node.produce("t", batch_of(&[(Some("k"), "v")], Made::default()));
    let records = node.fetch("t", taken.base_offset).records.unwrap();
    assert_eq!(records[22] & 7, 4, "the codec in the attributes is zstd");

    assert_eq!(set(&node, TOPIC, "t", "max.message.bytes", "many").0, ErrorCode::InvalidConfig);
    assert_eq!(set(&node, TOPIC, "missing", "retention.ms", "1").0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn retention_that_is_shortened_deletes() {
    let node = Node::start(&["log.retention.check.interval.ms=50", "log.initial.task.delay.ms=10"]);
    node.create_topic("t", 1, &[("internal.segment.bytes", "300"), ("retention.ms", "-1")]);
    for _ in 0..5 {
        assert_eq!(node.produce("t", batch(&[&"x".repeat(150)])).error_code, 0);
    }
    assert_eq!(node.fetch("t", 0).log_start_offset, 0);
    assert_eq!(set(&node, TOPIC, "t", "retention.bytes", "1").0, ErrorCode::None);
    let mut start = 0;
    for _ in 0..300 {
        node.pause(10);
        start = node.fetch("t", 4).log_start_offset;
        if start > 0 {
            break;
        }
    }
    assert!(start > 0, "segments beyond retention.bytes are deleted");
}

#[test]
fn a_brokers_configuration_takes_effect_for_topics_without_their_own() {
    let node = Node::start(&[]);
    node.create_topic("default", 1, &[]);
    node.create_topic("own", 1, &[("max.message.bytes", "100000")]);
    assert_eq!(set(&node, BROKER, "", "message.max.bytes", "200"), (ErrorCode::None, None));
    let long = || batch(&[&"x".repeat(300)]);
    assert_eq!(code(node.produce("default", long()).error_code), ErrorCode::MessageTooLarge);
    assert_eq!(code(node.produce("own", long()).error_code), ErrorCode::None);
    assert_eq!(value(&node, BROKER, "1", "message.max.bytes"), (Some(Str::from("200")), 3));
    assert_eq!(set(&node, BROKER, "1", "message.max.bytes", "1000"), (ErrorCode::None, None));
    assert_eq!(code(node.produce("default", long()).error_code), ErrorCode::None);
    assert_eq!(value(&node, BROKER, "1", "message.max.bytes"), (Some(Str::from("1000")), 2));
    assert_eq!(set(&node, BROKER, "1", "node.id", "7").0, ErrorCode::InvalidRequest);
    assert_eq!(set(&node, BROKER, "2", "message.max.bytes", "7").0, ErrorCode::InvalidRequest);
    assert_eq!(set(&node, 9, "x", "a", "b").0, ErrorCode::InvalidRequest);
}

#[test]
fn a_configuration_is_replaced_as_a_whole() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[("retention.ms", "5000"), ("flush.ms", "7")]);
    let config = ReplacedConfig {
        name: Str::from("retention.ms"),
        value: Some(Str::from("6000")),
        ..Default::default()
    };
    let resource = Replaced {
        resource_type: TOPIC,
        resource_name: Str::from("t"),
        configs: vec![config],
        ..Default::default()
    };
    let twice =
        AlterConfigsRequest { resources: vec![resource.clone(), resource.clone()], ..Default::default() };
    let answer = node.ask(2, &twice);
    assert!(answer.responses.iter().all(|it| code(it.error_code) == ErrorCode::InvalidRequest), "{answer:?}");
    let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    assert_eq!(node.ask(2, &request).responses[0].error_code, 0);
    assert_eq!(value(&node, TOPIC, "t", "retention.ms"), (Some(Str::from("6000")), 1));
    assert_eq!(value(&node, TOPIC, "t", "flush.ms").1, 5, "the default holds again");
}

#[test]
fn all_keys_of_a_broker_are_described() {
    let node = Node::start(&[]);
    let resource = DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: Str::from("1"),
        configuration_keys: None,
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    let answer = node.ask(4, &request).results[0].clone();
    assert!(answer.configs.len() >= 300, "{}", answer.configs.len());
    let secret = answer.configs.iter().find(|it| &*it.name == "ssl.key.password").unwrap();
    assert!(secret.is_sensitive && secret.value.is_none());
}

#[test]
fn the_metrics_page_has_the_names_of_kafkas_exporter() {
    let node = Node::start(&[]);
    node.create_topic("t", 2, &[]);
    node.produce("t", batch(&["a", "b"]));
    node.fetch("t", 0);
    let page = node.metrics();
    for line in [
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 2",
        "kafka_server_brokertopicmetrics_totalproducerequests_total 1",
        "kafka_network_requestmetrics_requests_total{request=\"Produce\",version=\"9\"} 1",
        "kafka_server_replicamanager_partitioncount 2",
        "kafka_server_replicamanager_leadercount 2",
        "kafka_server_replicamanager_underreplicatedpartitions 0",
        "kafka_log_log_logendoffset{topic=\"t\",partition=\"0\"} 2",
        "kafka_controller_kafkacontroller_activecontrollercount 1",
        "kafka_controller_kafkacontroller_globaltopiccount 1",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is missing in\n{page}");
    }
    for line in page.lines().filter(|it| !it.starts_with('#') && !it.is_empty()) {
        let (name, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(number.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().unwrap_or_default();
        assert!(
            name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_'),
            "{line}"
        );
    }
}

#[test]
fn log_levels_are_described_and_changed_until_the_server_stops() {
    const LOGGER: i8 = 8;
    let mut node = Node::start(&[]);
    let api = "kafka.server.KafkaApis";
    assert_eq!(value(&node, LOGGER, "1", api), (Some(Str::from("INFO")), 6));
    assert_eq!(set(&node, LOGGER, "1", api, "DEBUG"), (ErrorCode::None, None));
    assert_eq!(value(&node, LOGGER, "1", api), (Some(Str::from("DEBUG")), 6));
    assert_eq!(value(&node, LOGGER, "1", "root").0.as_deref(), Some("INFO"));
    assert_eq!(set(&node, LOGGER, "1", api, "LOUD").0, ErrorCode::InvalidConfig);
    assert_eq!(set(&node, LOGGER, "1", "kafka.server.Nobody", "DEBUG").0, ErrorCode::InvalidConfig);
    assert_eq!(set(&node, LOGGER, "2", api, "DEBUG").0, ErrorCode::InvalidRequest);
    node.stop();
    node.resume();
    assert_eq!(value(&node, LOGGER, "1", api).0.as_deref(), Some("INFO"));
}
