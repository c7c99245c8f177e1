//! The tables against the facts of Kafka 4.4.0, and against themselves.

use std::collections::BTreeMap;

use ottla_base::settings::{Fallback, Setting, Table, Texts, Visibility};

use super::broker::{DynamicQuotaSettings, OttlaSettings};
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
