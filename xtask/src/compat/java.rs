//! Apache Kafka's Java client and its message classes, driven by programs in `xtask/java`.

use std::process::Command;
use std::time::Duration;

use super::Stage;
use super::capture::capture;
use super::mask::mask;
use super::reference::ClassPath;
use super::transcript::Transcript;
use crate::workspace::Outcome;

const LIMIT: Duration = Duration::from_secs(240);

/// The scenario `java`: producer, consumer and admin client.
pub fn client(stage: &Stage<'_>) -> Outcome<Transcript> {
    let mut program =
        stage.setting.reference.program(ClassPath::Server, "ClientProbe", &["-Dlog4j2.level=OFF"])?;
    play(stage, program.arg(stage.node.address()))
}

/// The scenario `java-groups`: members of groups of either protocol, transactions, and the admin client on both.
pub fn group_client(stage: &Stage<'_>) -> Outcome<Transcript> {
    let mut program =
        stage.setting.reference.program(ClassPath::Server, "GroupClient", &["-Dlog4j2.level=OFF"])?;
    play(stage, program.arg(stage.node.address()))
}

/// The scenario `java-share`: members of share groups, and the admin client on them.
pub fn share_client(stage: &Stage<'_>) -> Outcome<Transcript> {
    let mut program =
        stage.setting.reference.program(ClassPath::Server, "ShareClient", &["-Dlog4j2.level=OFF"])?;
    play(stage, program.arg(stage.node.address()))
}

/// The scenario `probe`: every request of `probe.script` in every version.
pub fn probe(stage: &Stage<'_>) -> Outcome<Transcript> {
    requests(stage, include_str!("probe.script"))
}

/// The scenario `groups`: every request about groups and offsets, as `groups.script` has them.
pub fn groups(stage: &Stage<'_>) -> Outcome<Transcript> {
    requests(stage, include_str!("groups.script"))
}

/// The scenario `transactions`: every request about transactions, as `transactions.script` has them.
pub fn transactions(stage: &Stage<'_>) -> Outcome<Transcript> {
    requests(stage, include_str!("transactions.script"))
}

fn requests(stage: &Stage<'_>, text: &str) -> Outcome<Transcript> {
    let script = stage.folder.join("requests.script");
    std::fs::write(&script, text)?;
    let mut program = stage.setting.reference.program(ClassPath::Server, "Probe", &["-Dlog4j2.level=OFF"])?;
    program.args([stage.node.port().to_string(), stage.node.controller_port().to_string()]).arg(script);
    play(stage, &mut program)
}

fn play(stage: &Stage<'_>, program: &mut Command) -> Outcome<Transcript> {
    let said = capture(program, b"", LIMIT)?;
    Ok(Transcript::parse(&mask(&said.success("the Java program")?, stage.node)))
}
