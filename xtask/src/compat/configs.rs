//! Every config of brokers and topics, described and altered through Apache Kafka's own tool.

use super::Stage;
use super::tools;
use super::transcript::Transcript;
use crate::workspace::Outcome;

/// The scenario `configs`.
pub fn run(stage: &Stage<'_>) -> Outcome<Transcript> {
    let mut transcript =
        tools::play(include_str!("configs.script"), stage.setting.reference, stage.node, &stage.folder)?;
    // Apache Kafka lists topics in the order of a hash map.
    transcript.sort(|it| it.ends_with("--describe --entity-type topics"));
    Ok(transcript)
}
