//! Java classes that settings name, and what Ottla has in their place.

/// A setting whose value is one Java class or several.
pub(super) struct PlugIn {
    pub(super) key: &'static str,
    /// Classes of Kafka's own that change nothing.
    pub(super) harmless: &'static [&'static str],
    pub(super) instead: &'static str,
}

const NO_SASL: &str = "SASL is not there yet; its mechanisms will be built in";

/// Every such setting of a server.
pub(super) const PLUG_INS: &[PlugIn] = &[
    PlugIn {
        key: "principal.builder.class",
        harmless: &["org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"],
        instead: "principals are those of Kafka's own builder; ssl.principal.mapping.rules changes their names",
    },
    PlugIn {
        key: "client.quota.callback.class",
        harmless: &[],
        instead: "quotas by user, client id and address, as kafka-configs sets them, wait for quotas",
    },
    PlugIn {
        key: "metric.reporters",
        harmless: &["org.apache.kafka.common.metrics.JmxReporter"],
        instead: "Prometheus, under the names of Kafka's JMX exporter, at ottla.metrics.listener",
    },
    PlugIn {
        key: "kafka.metrics.reporters",
        harmless: &[],
        instead: "Prometheus, under the names of Kafka's JMX exporter, at ottla.metrics.listener",
    },
    PlugIn {
        key: "create.topic.policy.class.name",
        harmless: &[],
        instead: "nothing forbids a topic but its limits; creation is open to whoever may create",
    },
    PlugIn {
        key: "alter.config.policy.class.name",
        harmless: &[],
        instead: "nothing forbids a change but the ranges of the settings",
    },
    PlugIn {
        key: "replica.selector.class",
        harmless: &["org.apache.kafka.common.replica.LeaderSelector"],
        instead: "consumers read from the leader",
    },
    PlugIn {
        key: "remote.log.storage.manager.class.name",
        harmless: &["org.apache.kafka.server.log.remote.storage.LocalTieredStorage"],
        instead: "stores are built in; ottla.remote.storage.url names one",
    },
    PlugIn {
        key: "remote.log.metadata.manager.class.name",
        harmless: &["org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"],
        instead: "the records are in the topic __remote_log_metadata",
    },
    PlugIn {
        key: "ssl.engine.factory.class",
        harmless: &[],
        instead: "TLS is not there yet; keys and certificates will be read from PEM files",
    },
    PlugIn { key: "sasl.server.callback.handler.class", harmless: &[], instead: NO_SASL },
    PlugIn { key: "sasl.client.callback.handler.class", harmless: &[], instead: NO_SASL },
    PlugIn { key: "sasl.login.callback.handler.class", harmless: &[], instead: NO_SASL },
    PlugIn { key: "sasl.login.class", harmless: &[], instead: NO_SASL },
    PlugIn {
        key: "security.providers",
        harmless: &[],
        instead: "there is no Java; the cryptography is built in",
    },
    PlugIn {
        key: "interceptor.classes",
        harmless: &[],
        instead: "clients keep their interceptors; servers have none",
    },
    PlugIn {
        key: "group.streams.assignors",
        harmless: &["sticky", "highly_available"],
        instead: "the assignors of streams groups are sticky, Kafka's own, and highly_available",
    },
    PlugIn {
        key: "group.streams.topology.description.plugin.class",
        harmless: &[],
        instead: "descriptions of topologies are not kept",
    },
];

/// What is known of a key that names Java classes, with or without the prefix of a listener.
pub(super) fn of_key(key: &str) -> Option<&'static PlugIn> {
    let matches = |it: &&PlugIn| {
        key == it.key
            || key.starts_with("listener.name.")
                && key.strip_suffix(it.key).is_some_and(|it| it.ends_with('.'))
    };
    PLUG_INS.iter().find(matches)
}
