//! One data directory served in turn by Apache Kafka and Ottla, and what each leaves on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Setting;
use super::capture::capture;
use super::mask::mask;
use super::node::{Maker, Node};
use super::reference::{ClassPath, Reference};
use super::tools;
use super::transcript::Transcript;
use crate::workspace::Outcome;

const LIMIT: Duration = Duration::from_secs(120);

/// How a server leaves.
#[derive(Clone, Copy)]
enum Leave {
    Stop,
    Kill,
}

/// The scenario `roundtrip`: what the one before read last, the next one must read first; and no byte of a
/// segment that was there may change.
pub fn run(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let candidate = &setting.candidate;
    // Where a log starts is written down once a minute: a server that is killed may forget it.
    let turns = [
        (&Maker::Kafka, "all:1", Leave::Stop),
        (candidate, "plain:2", Leave::Stop),
        (&Maker::Kafka, "all:3", Leave::Stop),
        (candidate, "plain:4:keep", Leave::Kill),
        (&Maker::Kafka, "all:5:keep", Leave::Kill),
        (candidate, "plain:6", Leave::Stop),
        (&Maker::Kafka, "all:7", Leave::Stop),
    ];
    let mut node = Node::new(Maker::Kafka, setting.reference, setting.folder.join("roundtrip"), 2)?;
    node.format()?;
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let mut left: Option<(Transcript, BTreeMap<PathBuf, Vec<u8>>)> = None;
    for (turn, (maker, instalment, leave)) in turns.into_iter().enumerate() {
        node.hand_to(maker.clone());
        node.start()?;
        let mut found =
            trip(setting.reference, &node, ClassPath::Server, &["read", "mark", instalment, "read"])?;
        let told = found.split_off("mark");
        if let Some((told, _)) = &left {
            expected.append_under(&format!("turn {turn}"), told);
            seen.append_under(&format!("turn {turn}"), &found);
        }
        match leave {
            Leave::Stop => drop(node.stop()?),
            Leave::Kill => node.kill()?,
        }
        let segments = segments(&node)?;
        let name = format!("turn {turn}: segments that were there before");
        expected.section(&name);
        seen.section(&name);
        for (path, before) in left.iter().flat_map(|it| &it.1) {
            expected.line(format!("{} unchanged", path.display()));
            let kept = segments.get(path).is_some_and(|now| now.starts_with(before));
            seen.line(format!("{} {}", path.display(), if kept { "unchanged" } else { "changed" }));
        }
        left = Some((told, segments));
    }
    Ok((expected, seen))
}

/// The scenario `files`: the same batches written to each, and every file they leave after a clean stop.
pub fn files(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let expected = files_of(setting, Maker::Kafka, "files-kafka")?;
    let seen = files_of(setting, setting.candidate.clone(), "files-ottla")?;
    Ok((expected, seen))
}

fn files_of(setting: &Setting<'_>, maker: Maker, name: &str) -> Outcome<Transcript> {
    let folder = setting.folder.join(name);
    let mut node = Node::new(maker, setting.reference, folder.clone(), 2)?;
    node.format()?;
    node.start()?;
    let mut transcript = trip(setting.reference, &node, ClassPath::Server, &["plain:1", "read"])?;
    transcript.map_lines(|it| mask(&it, &node));
    node.stop()?;
    let mut script = String::new();
    let mut found = Vec::new();
    for folder in node.log_dirs() {
        list(folder, &mut found)?;
    }
    // A deleted topic's folder stays for a minute; a stop does not wait for it.
    found.retain(|it| !it.to_string_lossy().contains("-delete/"));
    // Which of two empty directories a partition falls into does not matter; what is in it does.
    found.sort_by_key(|it| within(&node, it));
    for path in &found {
        let shown = within(&node, path);
        let (folder, file) = shown.rsplit_once('/').unwrap_or(("", &shown));
        let bytes = std::fs::read(path)?;
        let binary = ["log", "index", "timeindex", "txnindex", "snapshot", "checkpoint"];
        let is_binary = binary.iter().any(|it| file.ends_with(&format!(".{it}")));
        if folder.starts_with("__cluster_metadata") && is_binary {
            if file.ends_with("0000.log") {
                let path = path.display();
                script += &format!("kafka-dump-log --cluster-metadata-decoder --files {path}\n");
            }
        } else if is_binary {
            transcript.section(&shown);
            transcript.line(format!("{} bytes, hash {:016x}", bytes.len(), hash(&bytes)));
            script += &format!("kafka-dump-log --print-data-log --files {}\n", path.display());
        } else {
            // One section for both directories: partitions fall into either.
            if transcript.sections.last().is_none_or(|it| it.name != shown) {
                transcript.section(&shown);
            }
            // Checkpoints and properties list what a map held, in any order.
            let text = mask(&String::from_utf8_lossy(&bytes), &node);
            let counts = |line: &&str| folder.is_empty() && line.parse::<u32>().is_ok();
            let lines = text.lines().filter(|it| !counts(it));
            lines.for_each(|it| transcript.line(it));
            transcript.sort_last();
        }
    }
    std::fs::create_dir_all(folder.join("tools"))?;
    let mut dumped = tools::play(&script, setting.reference, &node, &folder.join("tools"))?;
    // The text is masked already.
    let placed = |it: &str| it.replace("FOLDER/data-1/", "").replace("FOLDER/data-2/", "");
    dumped.rename(|it| placed(it));
    dumped.map_lines(|it| placed(&it));
    for section in &mut dumped.sections {
        if section.name.contains("__cluster_metadata") {
            section.lines = payloads(&section.lines);
        }
    }
    transcript.append_under("", &dumped);
    Ok(transcript)
}

/// The records of a metadata log that say something about topics, configs or the broker, without those that the
/// passing of time writes, and in an order that does not depend on how threads interleave.
fn payloads(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        let Some((_, payload)) = line.split_once("payload: ") else { continue };
        let mut payload = payload.to_owned();
        for word in ["PORT", "CONTROLLER_PORT", "NUMBER", "TIME"] {
            payload = payload.replace(&format!(":{word}"), &format!(":\"{word}\""));
        }
        let Ok(mut record) = serde_json::from_str::<Value>(&payload) else {
            found.push(payload);
            continue;
        };
        if let Some(Value::Array(features)) = record["data"].get_mut("features") {
            features.sort_by_key(|it| it["name"].to_string());
        }
        if record["type"] != "NO_OP_RECORD" {
            found.push(record.to_string());
        }
    }
    found.sort();
    found.dedup();
    found
}

fn shorten(text: &str, node: &Node<'_>) -> String {
    node.log_dirs().iter().fold(text.to_owned(), |text, it| text.replace(&format!("{}/", it.display()), ""))
}

fn within(node: &Node<'_>, path: &Path) -> String {
    shorten(&path.display().to_string(), node)
}

/// A fingerprint for people to compare.
pub fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What `RoundTrip` says of these steps, as the Java client of a release sees the node.
pub fn trip(
    reference: &Reference,
    node: &Node<'_>,
    client: ClassPath,
    steps: &[&str],
) -> Outcome<Transcript> {
    let mut program = reference.program(client, "RoundTrip", &["-Dlog4j2.level=ERROR"])?;
    let said = capture(program.arg(node.address()).args(steps), b"", LIMIT)?;
    Ok(Transcript::parse(&said.success("RoundTrip")?))
}

/// The contents of every segment of the topics that `RoundTrip` writes.
pub fn segments(node: &Node<'_>) -> Outcome<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = Vec::new();
    for folder in node.log_dirs() {
        list(folder, &mut found)?;
    }
    let mut segments = BTreeMap::new();
    for path in found {
        let shown = PathBuf::from(within(node, &path));
        if path.extension().is_some_and(|it| it == "log")
            && shown.to_string_lossy().starts_with("rt-")
            && !shown.to_string_lossy().contains("-delete/")
        {
            segments.insert(shown, std::fs::read(path)?);
        }
    }
    Ok(segments)
}

/// Every file below a folder.
pub fn list(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            list(&entry?.path(), found)?;
        }
    } else {
        found.push(folder.to_path_buf());
    }
    Ok(())
}
