//! Tiered storage: the same script against Apache Kafka with its `LocalTieredStorage` and against Ottla, one
//! directory and one bucket of each cloud.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Setting;
use super::capture::capture;
use super::mask::mask;
use super::node::{Maker, Node};
use super::reference::{ClassPath, Reference};
use super::store_server::{Cloud, StoreServer};
use super::transcript::Transcript;
use super::{roundtrip, tools};
use crate::workspace::Outcome;

const LIMIT: Duration = Duration::from_secs(300);
const EMPTY_LIMIT: Duration = Duration::from_secs(60);

/// What both servers are told.
const SETTINGS: &str = "remote.log.storage.system.enable=true\n\
                        remote.log.metadata.manager.listener.name=PLAINTEXT\n\
                        rlmm.config.remote.log.metadata.topic.num.partitions=5\n\
                        rlmm.config.remote.log.metadata.topic.replication.factor=1\n\
                        rlmm.config.remote.log.metadata.topic.min.isr=1\n\
                        remote.log.manager.task.interval.ms=300\n\
                        log.retention.check.interval.ms=300\nlog.initial.task.delay.ms=300\n";

/// What Kafka's tools are asked.
const TOOLS: &str = "kafka-get-offsets --bootstrap-server {server} --topic tier-plain --time earliest\n\
    kafka-get-offsets --bootstrap-server {server} --topic tier-plain --time earliest-local\n\
    kafka-get-offsets --bootstrap-server {server} --topic tier-plain --time latest-tiered\n\
    kafka-get-offsets --bootstrap-server {server} --topic tier-plain --time -6\n\
    kafka-get-offsets --bootstrap-server {server} --topic tier-plain --time latest\n\
    kafka-console-consumer --bootstrap-server {server} --topic tier-plain --partition 0 --offset earliest \
    --max-messages 5 --formatter-property print.offset=true --formatter-property print.value=false\n\
    kafka-topics --bootstrap-server {server} --describe --topic __remote_log_metadata\n";

/// Where segments go.
enum Place<'a> {
    /// A directory, in the way of Kafka's class for tests.
    Directory(PathBuf),
    /// The bucket of a server.
    Bucket(&'a StoreServer),
}

impl Place<'_> {
    fn settings(&self) -> String {
        match self {
            Place::Directory(path) => format!(
                "{SETTINGS}remote.log.storage.manager.class.name=\
                 org.apache.kafka.server.log.remote.storage.LocalTieredStorage\n\
                 rsm.config.dir={}\n",
                path.display()
            ),
            Place::Bucket(server) => format!("{SETTINGS}{}", server.settings()),
        }
    }

    /// Every object, by its key, with its size.
    fn objects(&self, reference: &Reference) -> Outcome<Vec<(String, u64)>> {
        let mut objects = Vec::new();
        match self {
            Place::Directory(path) => {
                let folder = path.join("kafka-tiered-storage");
                let mut found = Vec::new();
                if folder.exists() {
                    roundtrip::list(&folder, &mut found)?;
                }
                for file in found {
                    let key = file.strip_prefix(&folder)?.display().to_string();
                    objects.push((key, std::fs::metadata(&file)?.len()));
                }
            }
            Place::Bucket(server) => objects = server.objects(reference)?,
        }
        Ok(objects)
    }
}

/// The scenario `tier`: what clients see and what is left in the directory; then one directory served by Apache
/// Kafka and Ottla in turn.
pub fn run(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let mut expected = alone(setting, Maker::Kafka, "tier-kafka", None)?;
    let mut seen = alone(setting, setting.candidate.clone(), "tier-ottla", None)?;
    let (before, after) = in_turn(setting)?;
    expected.append_under("in turn", &before);
    seen.append_under("in turn", &after);
    Ok((expected, seen))
}

/// The scenario `tier-s3`.
pub fn s3(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    in_cloud(setting, Cloud::S3)
}

/// The scenario `tier-gcs`.
pub fn gcs(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    in_cloud(setting, Cloud::Google)
}

/// The scenario `tier-azure`.
pub fn azure(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    in_cloud(setting, Cloud::Azure)
}

/// The same in a bucket of a server that speaks a cloud's protocol as in a directory.
fn in_cloud(setting: &Setting<'_>, cloud: Cloud) -> Outcome<(Transcript, Transcript)> {
    let server = StoreServer::start(setting.reference, cloud, &setting.folder)?;
    let directory = format!("tier-directory-{cloud:?}");
    let mut expected = alone(setting, setting.candidate.clone(), &directory, None)?;
    let (bucket, place) = (format!("tier-bucket-{cloud:?}"), Place::Bucket(&server));
    let mut seen = alone(setting, setting.candidate.clone(), &bucket, Some(place))?;
    seen.append_under("a store that hangs", &hanging(setting, &server)?);
    expected.append_under(
        "a store that hangs",
        &Transcript::parse(
            "## others\n20 records from 0 to 19, hash HASH\n## patient\n0 records from the store\n\
             5 records from the end\n## tier-plain afterwards\n350 records",
        ),
    );
    Ok((expected, seen))
}

/// While the store does not answer, whoever needs nothing of it is served, and whoever does waits and loses nothing. Nor
/// is a stop held up.
fn hanging(setting: &Setting<'_>, server: &StoreServer) -> Outcome<Transcript> {
    let reference = setting.reference;
    let (name, place) = (format!("tier-hanging-{:?}", server.cloud()), Place::Bucket(server));
    let mut node = node(setting, setting.candidate.clone(), &name, &place)?;
    node.start()?;
    tiered(reference, &node, &["write:1", "settle"])?;
    // Nothing of it is in memory then.
    node.stop()?;
    node.start()?;
    server.signal("-STOP")?;
    let found = tiered(reference, &node, &["others", "patient"]);
    let stopped = node.stop();
    server.signal("-CONT")?;
    let mut transcript = found?;
    stopped?;
    node.start()?;
    let without_hash = |line: String| match line.split_once(", hash ") {
        Some((told, _)) => format!("{told}, hash HASH"),
        None => line,
    };
    transcript.map_lines(without_hash);
    let read = tiered(reference, &node, &["read"])?;
    transcript.section("tier-plain afterwards");
    let line = read.sections.first().and_then(|it| it.lines.first()).cloned().unwrap_or_default();
    transcript.line(line.split(" from").next().unwrap_or_default());
    node.stop()?;
    Ok(transcript)
}

fn node<'a>(setting: &Setting<'a>, maker: Maker, name: &str, place: &Place<'_>) -> Outcome<Node<'a>> {
    let mut node = Node::new(maker, setting.reference, setting.folder.join(name), 1)?;
    node.add_settings(&place.settings())?;
    node.add_jars(setting.reference.tiered_storage()?);
    node.format()?;
    Ok(node)
}

/// One server, from the first record to the last deletion.
fn alone(setting: &Setting<'_>, maker: Maker, name: &str, place: Option<Place<'_>>) -> Outcome<Transcript> {
    let place = place.unwrap_or_else(|| Place::Directory(setting.folder.join(format!("{name}-tier"))));
    let mut node = node(setting, maker, name, &place)?;
    node.start()?;
    let reference = setting.reference;
    let mut transcript = tiered(
        reference,
        &node,
        &[
            "write:1", "settle", "offsets", "read", "times", "refusals", "write:2", "settle", "offsets",
            "read", "large",
        ],
    )?;
    transcript.append_under("", &tools::play(TOOLS, reference, &node, &tools_folder(&node)?)?);
    transcript.section("objects");
    tell(&place.objects(reference)?, &node, &mut transcript);
    // What is tiered is known to the next process.
    node.stop()?;
    node.start()?;
    let again = tiered(reference, &node, &["settle", "offsets", "read", "delete", "disable"])?;
    transcript.append_under("after a restart", &again);
    tiered(reference, &node, &["drop"])?;
    let end = Instant::now() + EMPTY_LIMIT;
    let mut left = place.objects(reference)?;
    while !left.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(300));
        left = place.objects(reference)?;
    }
    transcript.section("objects after the topics were deleted");
    tell(&left, &node, &mut transcript);
    // The last records follow the last objects.
    std::thread::sleep(Duration::from_secs(2));
    node.stop()?;
    transcript.section("records");
    for record in records(reference, &node)? {
        transcript.line(record);
    }
    transcript.sort_last();
    Ok(transcript)
}

/// What Kafka's own tool finds in `__remote_log_metadata`.
fn records(reference: &Reference, node: &Node<'_>) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for folder in node.log_dirs() {
        roundtrip::list(folder, &mut found)?;
    }
    let mut script = String::new();
    for path in found.iter().map(|it| it.display().to_string()) {
        if path.contains("/__remote_log_metadata-") && path.ends_with(".log") {
            script += &format!("kafka-dump-log --remote-log-metadata-decoder --files {path}\n");
        }
    }
    let dumped = tools::play(&script, reference, node, &tools_folder(node)?)?;
    let lines = dumped.sections.iter().flat_map(|it| &it.lines);
    Ok(lines.filter_map(|it| Some(it.split_once("payload: ")?.1.to_owned())).collect())
}

fn tools_folder(node: &Node<'_>) -> Outcome<PathBuf> {
    let folder = node.folder().join("tools");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Keys without what is drawn, with sizes.
fn tell(objects: &[(String, u64)], node: &Node<'_>, transcript: &mut Transcript) {
    for (key, size) in objects {
        // Identifiers stand between a number and an extension, and at the end of a folder's name.
        let (folder, file) = key.split_once('/').unwrap_or(("", key));
        let folder = folder.get(..folder.len().saturating_sub(23)).unwrap_or(folder);
        let (start, rest) = file.split_at(file.len().min(20));
        let extension = rest.get(23..).unwrap_or(rest);
        transcript.line(mask(&format!("{folder}/{start}{extension}: {size} bytes"), node));
    }
    transcript.sort_last();
}

/// Apache Kafka, Ottla and Apache Kafka on one disk and one tier: what the one before read last, the next one must
/// read first.
fn in_turn(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let place = Place::Directory(setting.folder.join("tier-in-turn-tier"));
    let mut node = node(setting, Maker::Kafka, "tier-in-turn", &place)?;
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let mut left: Option<Transcript> = None;
    let turns = [Maker::Kafka, setting.candidate.clone(), Maker::Kafka, setting.candidate.clone()];
    for (turn, maker) in turns.into_iter().enumerate() {
        node.hand_to(maker);
        node.start()?;
        if let Some(told) = &left {
            let found = tiered(setting.reference, &node, &["settle", "offsets", "read", "times"])?;
            expected.append_under(&format!("turn {turn}"), told);
            seen.append_under(&format!("turn {turn}"), &found);
        }
        let write = format!("write:{}", turn + 1);
        tiered(setting.reference, &node, &[&write, "settle"])?;
        left = Some(tiered(setting.reference, &node, &["offsets", "read", "times"])?);
        node.stop()?;
    }
    Ok((expected, seen))
}

fn tiered(reference: &Reference, node: &Node<'_>, steps: &[&str]) -> Outcome<Transcript> {
    let mut program = reference.program(ClassPath::Server, "Tiered", &["-Dlog4j2.level=ERROR"])?;
    let said = capture(program.arg(node.address()).args(steps), b"", LIMIT)?;
    match said.success("Tiered") {
        Ok(text) => Ok(Transcript::parse(&mask(&text, node))),
        Err(error) => Err(format!("{error}\n{}", node.last_words()).into()),
    }
}
