//! The programs of Apache Kafka's system tests: the transactional copier and the verifiable clients.

use super::Stage;
use super::reference::ClassPath;
use super::tools;
use super::transcript::Transcript;
use crate::workspace::Outcome;

/// The scenario `java-verifiable`.
pub fn run(stage: &Stage<'_>) -> Outcome<Transcript> {
    let mut script = include_str!("copier.script").to_owned();
    for (protocol, session) in [("classic", "--session-timeout 6000 "), ("consumer", "")] {
        let text = include_str!("verifiable.script");
        script += &text.replace("{protocol}", protocol).replace("{session}", session);
    }
    script += include_str!("verifiable-share.script");
    tools::play_with(&["Launcher", "Verified"], ClassPath::Tools, &script, stage)
}
