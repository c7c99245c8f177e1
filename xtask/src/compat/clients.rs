//! Clients in other languages, each with its own program in `xtask/clients`.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Stage;
use super::capture::capture;
use super::mask::mask;
use super::reference::need;
use super::tools;
use super::transcript::Transcript;
use crate::workspace::{Outcome, root};

const LIMIT: Duration = Duration::from_secs(180);
const KCAT_LIMIT: Duration = Duration::from_secs(20);

/// kcat, as `xtask/clients/kcat.script` calls it.
pub fn kcat(stage: &Stage<'_>) -> Outcome<Transcript> {
    need("kcat", "kcat")?;
    let script = std::fs::read_to_string(root().join("xtask/clients/kcat.script"))?;
    let mut transcript = Transcript::default();
    for call in tools::calls(&script, stage.node, &stage.folder)? {
        transcript.section(&call.name);
        let said =
            capture(Command::new(&call.program).args(&call.arguments), call.input.as_bytes(), KCAT_LIMIT)?;
        for line in mask(&said.stdout, stage.node).lines() {
            transcript.line(topics_in_order(line));
        }
        for line in mask(&said.stderr, stage.node).lines().filter(|it| !it.starts_with('%')) {
            transcript.line(format!("err: {line}"));
        }
        transcript.line(said.code.map_or("was ended".to_owned(), |it| format!("exit {it}")));
    }
    Ok(transcript)
}

/// Apache Kafka lists topics in the order of a hash map.
fn topics_in_order(line: &str) -> String {
    let Ok(mut answer) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    if let Some(Value::Array(topics)) = answer.get_mut("topics") {
        topics.sort_by_key(|it| it["topic"].to_string());
    }
    answer.to_string()
}

/// confluent-kafka for Python, which is librdkafka.
pub fn confluent(stage: &Stage<'_>) -> Outcome<Transcript> {
    confluent_program(stage, "confluent.py")
}

/// The same, as member of groups and in transactions.
pub fn confluent_groups(stage: &Stage<'_>) -> Outcome<Transcript> {
    confluent_program(stage, "confluent_groups.py")
}

fn confluent_program(stage: &Stage<'_>, name: &str) -> Outcome<Transcript> {
    let python = stage.setting.reference.python("confluent", &["confluent-kafka==2.16.1"])?;
    play(stage, Command::new(python).arg(root().join("xtask/clients").join(name)))
}

/// kafka-python, with the codecs that it leaves to others.
pub fn kafka_python(stage: &Stage<'_>) -> Outcome<Transcript> {
    kafka_python_program(stage, "kafka_python.py")
}

/// The same, as member of groups and in transactions.
pub fn kafka_python_groups(stage: &Stage<'_>) -> Outcome<Transcript> {
    kafka_python_program(stage, "kafka_python_groups.py")
}

fn kafka_python_program(stage: &Stage<'_>, name: &str) -> Outcome<Transcript> {
    let packages = ["kafka-python==3.0.12", "lz4==4.4.5", "zstandard==0.25.0", "python-snappy==0.7.3"];
    let python = stage.setting.reference.python("kafka-python", &packages)?;
    play(stage, Command::new(python).arg(root().join("xtask/clients").join(name)))
}

/// KafkaJS.
pub fn kafkajs(stage: &Stage<'_>) -> Outcome<Transcript> {
    kafkajs_program(stage, "kafkajs.js")
}

/// The same, as member of groups and in transactions.
pub fn kafkajs_groups(stage: &Stage<'_>) -> Outcome<Transcript> {
    kafkajs_program(stage, "kafkajs_groups.js")
}

fn kafkajs_program(stage: &Stage<'_>, name: &str) -> Outcome<Transcript> {
    need("node", "nodejs")?;
    let folder =
        stage.setting.reference.node_modules("kafkajs", &["kafkajs@2.2.4", "kafkajs-snappy@1.1.0"])?;
    let mut node = Command::new("node");
    node.env("NODE_PATH", folder.join("node_modules"));
    play(stage, node.arg(root().join("xtask/clients").join(name)))
}

/// franz-go.
pub fn franz(stage: &Stage<'_>) -> Outcome<Transcript> {
    let program = stage.setting.reference.go_program("franz")?;
    play(stage, &mut Command::new(program))
}

/// The same, as member of groups and in transactions.
pub fn franz_groups(stage: &Stage<'_>) -> Outcome<Transcript> {
    let program = stage.setting.reference.go_program("franz")?;
    play_as(stage, &mut Command::new(program), &["groups"])
}

/// Runs a program that takes the server's address and prints a transcript.
fn play(stage: &Stage<'_>, command: &mut Command) -> Outcome<Transcript> {
    play_as(stage, command, &[])
}

/// As [`play`], for a program that takes more words behind the address.
fn play_as(stage: &Stage<'_>, command: &mut Command, more: &[&str]) -> Outcome<Transcript> {
    let said = capture(command.arg(stage.node.address()).args(more), b"", LIMIT)?;
    std::fs::write(stage.folder.join("errors.txt"), &said.stderr)?;
    if said.code != Some(0) {
        let end = said.code.map_or("was ended".to_owned(), |it| format!("exited with {it}"));
        return Err(format!("the program {end}: {}", said.stderr.lines().last().unwrap_or_default()).into());
    }
    Ok(Transcript::parse(&mask(&said.stdout, stage.node)))
}
