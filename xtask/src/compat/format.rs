//! `kafka-storage` and its counterpart: whether they agree to do it, and the directories that they leave.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::Setting;
use super::capture::capture;
use super::mask::hide;
use super::node::Maker;
use super::reference::ClassPath;
use super::roundtrip::list;
use super::tools;
use super::transcript::Transcript;
use crate::workspace::Outcome;

const LIMIT: Duration = Duration::from_secs(60);

/// The scenario `format`.
pub fn run(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let expected = play(setting, &Maker::Kafka, &setting.folder.join("format-kafka"))?;
    let seen = play(setting, &setting.candidate, &setting.folder.join("format-ottla"))?;
    Ok((expected, seen))
}

/// One call of the tool.
struct Step {
    name: String,
    words: Vec<String>,
}

fn play(setting: &Setting<'_>, maker: &Maker, root: &Path) -> Outcome<Transcript> {
    let mut folder = PathBuf::new();
    let (mut folders, mut steps) = (Vec::new(), Vec::new());
    for line in include_str!("format.script").lines().filter(|it| !it.is_empty() && !it.starts_with('#')) {
        if let Some(settings) = line.strip_prefix("in ") {
            let (name, settings) = settings.split_once(' ').ok_or("a folder without settings")?;
            folder = root.join(name);
            write_settings(&folder, settings)?;
            folders.push(folder.clone());
            continue;
        }
        let placed = line.replace("{folder}", &folder.display().to_string()).replace('"', "");
        let words = placed.split(' ').map(str::to_owned).collect();
        let name = format!("{}: {line}", folder.file_name().unwrap_or_default().display());
        steps.push(Step { name, words });
    }
    let mut transcript = match maker {
        Maker::Kafka | Maker::Release(_) => kafka(setting, &steps, root)?,
        Maker::Ottla(binary) => ottla(binary, &steps)?,
    };
    let shown = root.display().to_string();
    let mut script = String::new();
    for folder in folders {
        leave(&folder, root, &mut script, &mut transcript)?;
    }
    let mut dumped = Transcript::parse(&tools::drive(setting.reference, ClassPath::Tools, &script, root)?);
    dumped.map_lines(|it| without_checksum(&hide(&it.replace(&shown, ""))));
    transcript.append_under("", &dumped);
    Ok(transcript)
}

fn kafka(setting: &Setting<'_>, steps: &[Step], root: &Path) -> Outcome<Transcript> {
    let mut script = String::new();
    for step in steps {
        let value = json!({ "name": step.name, "tool": "kafka-storage", "arguments": step.words });
        script += &format!("{value}\n");
    }
    let said = Transcript::parse(&tools::drive(setting.reference, ClassPath::Server, &script, root)?);
    let mut transcript = Transcript::default();
    for (step, section) in steps.iter().zip(said.sections) {
        transcript.section(&step.name);
        let fine = section.lines.last().is_some_and(|it| it == "exit 0");
        let printed = |it: &String| !it.starts_with("err: ") && it != "exit 0";
        let lines: Vec<_> = section.lines.into_iter().filter(printed).collect();
        tell(&mut transcript, fine, &lines.join("\n"), step);
    }
    Ok(transcript)
}

fn ottla(binary: &Path, steps: &[Step]) -> Outcome<Transcript> {
    let mut transcript = Transcript::default();
    for step in steps {
        let mut command = Command::new(binary);
        if step.words.first().is_some_and(|it| it != "format") {
            command.arg("storage");
        }
        let said = capture(command.args(&step.words), b"", LIMIT)?;
        transcript.section(&step.name);
        tell(&mut transcript, said.code == Some(0), &said.stdout, step);
    }
    Ok(transcript)
}

fn write_settings(folder: &Path, settings: &str) -> Outcome {
    std::fs::create_dir_all(folder)?;
    let shown = folder.display().to_string();
    let mut text = "node.id=1\n".to_owned();
    let roles = settings.split(' ').find_map(|it| it.strip_prefix("process.roles=")).unwrap_or_default();
    let mut listeners = Vec::new();
    if roles.contains("broker") {
        listeners.push("PLAINTEXT://localhost:9092");
    }
    if roles.contains("controller") {
        listeners.push("CONTROLLER://localhost:9093");
    }
    text += &format!("listeners={}\ncontroller.listener.names=CONTROLLER\n", listeners.join(","));
    text += "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n";
    if !settings.contains("log.dirs=") {
        text += &format!("log.dirs={shown}/data\n");
    }
    for setting in settings.split(' ') {
        text += &format!("{}\n", setting.replace("{folder}", &shown));
    }
    std::fs::write(folder.join("server.properties"), text)?;
    Ok(())
}

/// Whether it succeeded, and what it printed if that is for programs: the rest is said to people, in their
/// own words by each.
fn tell(transcript: &mut Transcript, fine: bool, said: &str, step: &Step) {
    transcript.line(if fine { "succeeds" } else { "fails" });
    let for_people = step.words.first().is_some_and(|it| it == "format" || it == "info");
    for line in said.lines().filter(|_| fine && !for_people) {
        transcript.line(line);
    }
}

/// Checksums cover the time of writing.
fn without_checksum(line: &str) -> String {
    let Some((before, after)) = line.split_once(" crc: ") else { return line.to_owned() };
    format!("{before}{}", after.trim_start_matches(|it: char| it.is_ascii_digit()))
}

/// The files in a folder and what they hold; those that a tool must read are added to `script`.
fn leave(folder: &Path, root: &Path, script: &mut String, transcript: &mut Transcript) -> Outcome {
    let mut found = Vec::new();
    list(folder, &mut found)?;
    found.sort();
    let shown = root.display().to_string();
    for path in found.iter().filter(|it| it.file_name().is_some_and(|it| it != "server.properties")) {
        let path = path.display().to_string();
        let name = path.replace(&shown, "");
        transcript.section(&format!("file {name}"));
        if path.ends_with(".properties") || path.ends_with("quorum-state") {
            let mut lines: Vec<_> = std::fs::read_to_string(&path)?.lines().map(hide).collect();
            lines.sort();
            lines.into_iter().for_each(|it| transcript.line(it));
        } else if path.ends_with(".checkpoint") {
            let arguments = ["--cluster-metadata-decoder", "--files", &path];
            let step = json!({ "name": format!("dump of {name}"), "tool": "kafka-dump-log", "arguments": arguments });
            *script += &format!("{step}\n");
        }
    }
    Ok(())
}
