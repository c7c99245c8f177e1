//! Kafka Streams: its examples and a job of our own, in groups of either protocol, and the tools on these.

use super::Stage;
use super::reference::ClassPath;
use super::tools;
use super::transcript::Transcript;
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
