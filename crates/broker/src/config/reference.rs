//! The page `docs/configuration.md`, written from the tables so that it cannot say anything else.

use std::fmt::Write;

use ottla_base::settings::{Effect, Fallback, Scope, Setting, Table, Visibility};
use ottla_metadata::settings::{
    ClientMetricsSettings, GroupSettings, ServerSettings, TopicSettings, derived,
};

use super::PRESET;

const INTRODUCTION: &str = "\
# Configuration reference

Generated from the tables of settings by `UPDATE_DOCS=1 cargo test -p ottla-broker config`; do not edit.

Ottla reads the settings of Apache Kafka 4.4 under their own names: a `server.properties` is used unchanged. Every key
is known with its type, default, accepted values and scope, and `kafka-configs --describe` answers as Kafka does. A key
that changes nothing in Ottla says so below, and in one line of the log when it is set.

## Where settings come from

The first of these that has a value wins:

1. what an administrator set for one broker (`ottla config alter`, `kafka-configs --entity-name 1`);
2. what an administrator set for all brokers (`--entity-default`);
3. flags: `ottla start --override log.retention.hours=24`;
4. the environment: `KAFKA_` and the key in capitals with `_` for `.`, `__` for `_` and `___` for `-`, as in the
   container images of Apache Kafka. `KAFKA_LOG_RETENTION_HOURS=24` is `log.retention.hours=24`. Ottla's own keys are
   `OTTLA_METRICS_LISTENER` for `ottla.metrics.listener`. A variable that names no setting is reported and ignored;
5. the file: `ottla start --config server.properties`, in the format of Java's properties (ISO 8859-1, `\\uXXXX`);
6. without a file the preset below;
7. the default.

A topic's own settings win over those that the server gives it, in the same order. A key may be set for one listener by
the prefix `listener.name.<listener>.`, with the listener's name in small letters. Where a setting has several names
(`log.retention.ms`, `.minutes`, `.hours`), the finest unit wins among all that the server was started with, and what an
administrator sets under any of them wins over those.

`config.providers` names providers that resolve references inside values: `${env:NAME}`, `${file:/path:key}` and
`${directory:/path:file}`, declared as in Kafka by `config.providers.<name>.class` with the class names
`EnvVarConfigProvider`, `FileConfigProvider` and `DirectoryConfigProvider`, and bounded by
`config.providers.<name>.param.allowed.paths` and `.param.allowlist.pattern`.

## Without any configuration

`ottla start` without a file is one node, broker and controller, for this computer alone:

```properties
";

const LEGEND: &str = "\
```

## How to read the tables

*Changes*: `restart` is read at start only; `broker` can be changed while the server runs for one broker, `cluster` for
one or for all. *Effect*: `yes`; `waits for …` is checked and kept until that part of Ottla exists; any other text says
why there is nothing to act on. Keys marked *internal* are listed by `DescribeConfigs` only where they are set.
";

/// The page.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (key, value) in PRESET {
        writeln!(page, "{key}={value}").expect("a string takes everything");
    }
    page.push_str(LEGEND);
    for (subject, settings) in ServerSettings::subjects() {
        section(&mut page, &format!("Server: {subject}"), settings, |_| None);
    }
    section(&mut page, "Topics", TopicSettings::SETTINGS, derived::topic_fallback);
    section(&mut page, "Groups", GroupSettings::SETTINGS, derived::group_fallback);
    section(&mut page, "Subscriptions to the metrics of clients", ClientMetricsSettings::SETTINGS, |_| None);
    page
}

fn section(page: &mut String, title: &str, settings: &[Setting], fallback: fn(&str) -> Option<&'static str>) {
    let head =
        "| key | type | default | accepted | changes | effect | meaning |\n|---|---|---|---|---|---|---|\n";
    write!(page, "\n## {title}\n\n{head}").expect("a string takes everything");
    for setting in settings {
        let default = match (fallback(setting.name), setting.fallback) {
            (Some(server), _) => format!("`{server}`"),
            (None, Fallback::Required) => "must be set".to_owned(),
            (None, Fallback::Null | Fallback::Text("")) => "none".to_owned(),
            (None, Fallback::Text(text)) => format!("`{text}`"),
        };
        let changes = match setting.scope {
            Scope::ReadOnly => "restart",
            Scope::PerBroker => "broker",
            Scope::ClusterWide => "cluster",
            Scope::Dynamic => "any time",
        };
        let effect = match setting.effect {
            Effect::Honoured => "yes".to_owned(),
            Effect::Later(part) => format!("waits for {part}"),
            Effect::Never(reason) => reason.to_owned(),
        };
        let internal = match setting.visibility {
            Visibility::Internal => " *Internal.*",
            Visibility::Public => "",
        };
        let accepted = setting.check.to_string();
        let kind = setting.kind.name().to_lowercase();
        let name = setting.name;
        let meaning = setting.documentation;
        writeln!(
            page,
            "| `{name}` | {kind} | {default} | {accepted} | {changes} | {effect} | {meaning}{internal} |"
        )
        .expect("a string takes everything");
    }
}
