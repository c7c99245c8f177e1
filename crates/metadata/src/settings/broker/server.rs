//! Settings of a server: topics, metrics, plugins and everything else.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{ClassName, any, at_least, honoured, later, list, never};

use crate::settings::effects::{JAVA, PLUGINS, TELEMETRY, THREADS};

settings! {
    /// Topics, metrics, plugins and everything else.
    pub struct GeneralSettings {
        /// A Java class that may forbid changes of settings.
        alter_config_policy_class_name: Option<ClassName> = "alter.config.policy.class.name", null, any(),
            LOW, read_only, never(PLUGINS);
        /// Whether a topic that a client asks for is created when it does not exist.
        auto_create_topics_enable: bool = "auto.create.topics.enable", "true", any(), HIGH, read_only,
            honoured();
        /// How many threads Kafka gives to its background work.
        background_threads: i32 = "background.threads", "10", at_least(1), HIGH, cluster_wide, never(THREADS);
        /// The rack or zone the broker is in, told to clients and used to spread replicas.
        broker_rack: Option<String> = "broker.rack", null, any(), MEDIUM, read_only, honoured();
        /// The names of the providers that resolve references such as `${env:NAME}` inside values.
        config_providers: Vec<String> = "config.providers", "", list(MayBeEmpty), LOW, cluster_wide,
            honoured();
        /// A Java class that may forbid the creation of topics.
        create_topic_policy_class_name: Option<ClassName> = "create.topic.policy.class.name", null, any(),
            LOW, read_only, never(PLUGINS);
        /// The replicas of a topic that is created without a number of its own.
        default_replication_factor: i32 = "default.replication.factor", "1", any(), MEDIUM, read_only,
            honoured();
        /// Whether topics can be deleted.
        delete_topic_enable: bool = "delete.topic.enable", "true", any(), HIGH, read_only, honoured();
        /// How often Yammer metrics reporters look at the metrics.
        kafka_metrics_polling_interval_secs: i32 = "kafka.metrics.polling.interval.secs", "10", at_least(1),
            LOW, read_only, never(JAVA);
        /// Java classes that report Yammer metrics.
        kafka_metrics_reporters: Vec<String> = "kafka.metrics.reporters", "", list(MayBeEmpty), LOW,
            read_only, never(PLUGINS);
        /// Java classes that report metrics; Ottla has its Prometheus port instead.
        metric_reporters: Vec<String> = "metric.reporters", "org.apache.kafka.common.metrics.JmxReporter",
            list(MayBeEmpty), LOW, cluster_wide, never(PLUGINS);
        /// How many samples Kafka's metrics are computed from.
        metrics_num_samples: i32 = "metrics.num.samples", "2", at_least(1), LOW, read_only, never(JAVA);
        /// How detailed Kafka's metrics are.
        metrics_recording_level: String = "metrics.recording.level", "INFO", any(), LOW, read_only,
            never(JAVA);
        /// How long one sample of Kafka's metrics is.
        metrics_sample_window_ms: i64 = "metrics.sample.window.ms", "30000", at_least(1), LOW, read_only,
            never(JAVA);
        /// The partitions of a topic that is created without a number of its own.
        num_partitions: i32 = "num.partitions", "1", at_least(1), MEDIUM, read_only, honoured();
        /// The most bytes of metrics a client may push at once.
        telemetry_max_bytes: i32 = "telemetry.max.bytes", "1048576", at_least(1), LOW, read_only,
            later(TELEMETRY);
    }
}
