//! What a server without any configuration is: one node that is broker and controller, for this computer
//! alone.

use ottla_base::settings::Texts;

/// The preset, lowest of all layers and only where no file is named.
pub const PRESET: [(&str, &str); 12] = [
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
    ("controller.listener.names", "CONTROLLER"),
    ("controller.quorum.bootstrap.servers", "localhost:9093"),
    ("log.dirs", "./ottla-data"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("ottla.metrics.listener", "localhost:9404"),
];

pub(super) fn texts() -> Texts {
    PRESET.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
