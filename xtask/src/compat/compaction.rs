//! Compaction: the same log cleaned by Apache Kafka and by Ottla, and by both in turn; and Apache Kafka's own tester.

use std::time::Duration;

use super::Setting;
use super::capture::capture;
use super::node::{Maker, Node};
use super::reference::ClassPath;
use super::transcript::Transcript;
use crate::workspace::{Outcome, copy_folder};

const LIMIT: Duration = Duration::from_secs(240);
const TESTER_LIMIT: Duration = Duration::from_secs(900);
/// Cleaners look for work all the time.
const SETTINGS: &str = "log.cleaner.backoff.ms=100\nlog.segment.delete.delay.ms=1000\n";
/// Segments of topics that have no setting of their own are as small as they may be.
const TESTER_SETTINGS: &str = "log.segment.bytes=1048576\nlog.cleaner.min.cleanable.ratio=0.01\n";

/// The scenario `compaction`: one server writes logs that nobody may compact yet; two of them begin with what brokers
/// before 0.11 wrote. A copy of it is compacted by Apache
/// Kafka, goes on with more records in Ottla's hands, and is compacted again; another the other way about. What is in
/// the files after each pass, and what consumers see, must be the same.
pub fn run(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let mut node = node(setting, Maker::Kafka, "compaction")?;
    node.start()?;
    play(setting, &node, &["write:1"])?;
    node.stop()?;
    let mut writer = setting.reference.program(ClassPath::Server, "LegacyLogs", &["-Dlog4j2.level=OFF"])?;
    capture(writer.arg(&node.log_dirs()[0]), b"", LIMIT)?.success("LegacyLogs")?;
    let written = setting.folder.join("compaction-written");
    copy_folder(&node.log_dirs()[0], &written)?;
    let expected = passes(setting, &mut node, &[Maker::Kafka, setting.candidate.clone()])?;
    std::fs::remove_dir_all(&node.log_dirs()[0])?;
    copy_folder(&written, &node.log_dirs()[0])?;
    let seen = passes(setting, &mut node, &[setting.candidate.clone(), Maker::Kafka])?;
    Ok((expected, seen))
}

/// Has each maker compact the log, the later ones after writing more; the first reads what they have left.
fn passes(setting: &Setting<'_>, node: &mut Node<'_>, makers: &[Maker]) -> Outcome<Transcript> {
    let mut transcript = Transcript::default();
    let directory = node.log_dirs()[0].clone();
    for (turn, maker) in makers.iter().enumerate() {
        node.hand_to(maker.clone());
        node.start()?;
        let (write, clean) = (format!("write:{}", turn + 1), format!("clean:{}", directory.display()));
        let mut steps = vec![clean.as_str(), "records"];
        if turn > 0 {
            steps.splice(0..0, ["read", write.as_str()]);
        }
        transcript.append_under(&format!("turn {turn}"), &play(setting, node, &steps)?);
        node.stop()?;
        let mut dump = setting.reference.program(ClassPath::Server, "Compaction", &["-Dlog4j2.level=OFF"])?;
        let said = capture(dump.arg("dump").arg(&directory), b"", LIMIT)?;
        transcript.append_under(&format!("turn {turn}"), &Transcript::parse(&said.success("Compaction")?));
    }
    node.hand_to(makers[0].clone());
    node.start()?;
    transcript.append_under("in the end", &play(setting, node, &["read"])?);
    node.stop()?;
    Ok(transcript)
}

fn node<'a>(setting: &Setting<'a>, maker: Maker, name: &str) -> Outcome<Node<'a>> {
    let node = Node::new(maker, setting.reference, setting.folder.join(name), 1)?;
    let settings = node.folder().join("server.properties");
    let text = std::fs::read_to_string(&settings)?;
    std::fs::write(&settings, text + SETTINGS + TESTER_SETTINGS)?;
    node.format()?;
    Ok(node)
}

fn play(setting: &Setting<'_>, node: &Node<'_>, steps: &[&str]) -> Outcome<Transcript> {
    let mut program = setting.reference.program(ClassPath::Server, "Compaction", &["-Dlog4j2.level=OFF"])?;
    let said = capture(program.arg(node.address()).args(steps), b"", LIMIT)?;
    Ok(Transcript::parse(&said.success("Compaction")?))
}

/// The scenario `compaction-tester`: `LogCompactionTester` of the tools writes keys and tombstones, waits, reads them back
/// and compares; it must be content with Ottla.
pub fn tester(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let mut node = node(setting, setting.candidate.clone(), "compaction-tester")?;
    node.start()?;
    let mut java = setting.reference.java(ClassPath::Tools, "256m", &["-Dlog4j2.level=ERROR"]);
    java.args(["org.apache.kafka.tools.LogCompactionTester", "--bootstrap-server", &node.address()]);
    java.args(["--messages", "200000", "--duplicates", "5", "--percent-deletes", "20", "--sleep", "30"]);
    let said = capture(&mut java, b"", TESTER_LIMIT)?;
    node.stop()?;
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let told = said.stdout.lines().find(|it| it.contains("% reduction")).unwrap_or_default();
    eprintln!("{told}");
    let reduced = !told.is_empty() && !told.contains("(0.0% reduction)");
    for (transcript, reduced, line) in
        [(&mut expected, true, "Data verification is completed"), (&mut seen, reduced, last_of(&said.stdout))]
    {
        transcript.section("LogCompactionTester");
        transcript.line(format!("something was compacted: {reduced}"));
        transcript.line(line);
    }
    if said.code != Some(0) {
        seen.line(format!("it ended with {:?}: {}{}", said.code, said.stdout, said.stderr));
    }
    Ok((expected, seen))
}

fn last_of(text: &str) -> &str {
    text.lines().rfind(|it| !it.trim().is_empty()).unwrap_or_default()
}
