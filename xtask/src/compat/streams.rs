//! Kafka Streams: its examples and a job of our own, in groups of either protocol, and the tools on these.

use std::fs::File;

use super::grouptrip::Clients;
use super::node::{Maker, Node};
use super::reference::ClassPath;
use super::tools;
use super::transcript::Transcript;
use super::{Setting, Stage};
use crate::workspace::Outcome;

/// The scenario `streams-demos`.
pub fn demos(stage: &Stage<'_>) -> Outcome<Transcript> {
    play(stage, include_str!("streams-demos.script"))
}

/// The scenario `streams-job`: the same job by either protocol.
pub fn jobs(stage: &Stage<'_>) -> Outcome<Transcript> {
    let job = include_str!("streams-job.script");
    let mut script = String::new();
    for (protocol, tools) in [
        ("classic", include_str!("streams-job-classic.script")),
        ("streams", include_str!("streams-job-streams.script")),
    ] {
        script += &job.replace("{protocol}", protocol);
        script += tools;
    }
    play(stage, &script)
}

/// The scenario `streams-warmup`: an instance without state joins one with much of it, in a group whose tasks move at
/// once, as both servers do it, and in one whose tasks warm up first, which only Ottla does; then Apache Kafka takes a
/// directory over while tasks warm up.
pub fn warm_up(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let at_once = ["begin plain", "join 1", "move", "count"];
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    for (maker, transcript) in [(&Maker::Kafka, &mut expected), (&setting.candidate, &mut seen)] {
        let (mut node, mut clients) = warmer(setting, maker, "")?;
        at_once.iter().try_for_each(|command| told(&mut clients, command, transcript))?;
        node.stop()?;
    }
    if setting.candidate == Maker::Kafka {
        return Ok((expected, seen));
    }
    let served = "group.streams.assignors=sticky,highly_available\n";
    let (mut node, mut clients) = warmer(setting, &setting.candidate, served)?;
    for command in ["begin careful highly_available", "join 1", "warm", "move", "count"] {
        told(&mut clients, command, &mut seen)?;
    }
    for command in ["begin handed highly_available", "join 1", "warm"] {
        told(&mut clients, command, &mut seen)?;
    }
    node.stop()?;
    node.remove_settings(served)?;
    node.hand_to(Maker::Kafka);
    node.start()?;
    ["move", "count"].iter().try_for_each(|command| told(&mut clients, command, &mut seen))?;
    let after = Transcript::parse(include_str!("streams-warmup.txt"));
    expected.sections.extend(after.sections);
    Ok((expected, seen))
}

/// A server with more settings, and the program that runs the instances.
fn warmer<'a>(setting: &Setting<'a>, maker: &Maker, settings: &str) -> Outcome<(Node<'a>, Clients)> {
    let reference = setting.reference;
    reference.jars(ClassPath::NewStreams)?;
    let folder = tempfile::Builder::new().prefix("warmup-").tempdir_in(&setting.folder)?.keep();
    let mut node = Node::new(maker.clone(), reference, folder.clone(), 1)?;
    node.add_settings(settings)?;
    node.format()?;
    node.start()?;
    let mut program = reference.program(ClassPath::NewStreams, "WarmUp", &["-Dlog4j2.level=OFF"])?;
    let notes = File::create(folder.join("notes.txt"))?;
    let clients = Clients::start(program.arg(node.address()).arg(&folder).stderr(notes))?;
    Ok((node, clients))
}

fn told(clients: &mut Clients, command: &str, transcript: &mut Transcript) -> Outcome {
    transcript.section(command);
    clients.ask(command)?.into_iter().for_each(|line| transcript.line(line));
    Ok(())
}

fn play(stage: &Stage<'_>, script: &str) -> Outcome<Transcript> {
    stage.setting.reference.jars(ClassPath::Streams)?;
    let mut transcript = tools::play_with(&["Launcher", "StreamsJob"], ClassPath::Streams, script, stage)?;
    // Members come in the order of a hash map, whose keys are drawn.
    transcript.sort(|name| name.contains("--members"));
    transcript.map_lines(|line| {
        let line = in_order(line, "\tConfigs: ", ",");
        let line = in_order(line, "Deleting inferred internal topics [", ", ");
        let mut parts = line.split("(topicPartitions=");
        let mut line = parts.next().unwrap_or_default().to_owned();
        for assigned in parts {
            line += &format!("(topicPartitions={}", in_order_up_to(assigned, ')', ","));
        }
        in_order(line, "following members: [(memberId=", ", (memberId=")
    });
    Ok(transcript)
}

/// Sorts the list that follows `opening`: configs of a topic, topics and members come in the order of a hash map.
fn in_order(line: String, opening: &str, separator: &str) -> String {
    let Some((before, list)) = line.split_once(opening) else {
        return line;
    };
    format!("{before}{opening}{}", in_order_up_to(list, ']', separator))
}

/// Sorts what comes before `end`, or all.
fn in_order_up_to(text: &str, end: char, separator: &str) -> String {
    let (list, after) = text.split_at(text.find(end).unwrap_or(text.len()));
    let mut list: Vec<_> = list.split(separator).collect();
    list.sort_unstable();
    list.join(separator) + after
}
