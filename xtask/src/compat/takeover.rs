//! A directory that a release of Apache Kafka made with its own tools and clients: Ottla serves it, is killed, serves
//! it again, and the same release goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Setting;
use super::capture::capture;
use super::node::{Maker, Node, StatedQuorum};
use super::reference::ClassPath;
use super::roundtrip::{segments, trip};
use super::transcript::Transcript;
use crate::workspace::{Outcome, copy_folder};

const LIMIT: Duration = Duration::from_secs(180);

/// Settings that 3.9 reads and 4.0 removed, as they stand in files that grew old.
const OLD_SETTINGS: &str = "inter.broker.protocol.version=3.9\n\
    log.message.format.version=3.0\n\
    log.message.downconversion.enable=true\n\
    log.message.timestamp.difference.max.ms=9223372036854775807\n\
    offsets.commit.required.acks=-1\n\
    password.encoder.iterations=4096\n\
    reserved.broker.max.id=1000\n\
    leader.imbalance.per.broker.percentage=10\n\
    zookeeper.session.timeout.ms=18000\n\
    group.coordinator.new.enable=false\n";

/// The release whose directory is taken over, and how it was made.
struct Release {
    name: &'static str,
    class_path: ClassPath,
    quorum: StatedQuorum,
    format: &'static [&'static str],
    /// Brokers before `metadata.version` 3.7-IV2 have one.
    log_dirs: usize,
    settings: &'static str,
}

/// The scenario `takeover-3.9`.
pub fn from_39(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    take_over(
        setting,
        &Release {
            name: "takeover-3.9",
            class_path: ClassPath::Kafka39,
            quorum: StatedQuorum::Static,
            format: &[],
            log_dirs: 2,
            settings: OLD_SETTINGS,
        },
    )
}

/// The scenario `takeover-3.3`.
pub fn from_33(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    take_over(
        setting,
        &Release {
            name: "takeover-3.3",
            class_path: ClassPath::Kafka39,
            quorum: StatedQuorum::Static,
            format: &["--release-version", "3.3"],
            log_dirs: 1,
            settings: "",
        },
    )
}

/// The scenario `takeover-4.0`.
pub fn from_40(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    take_over(
        setting,
        &Release {
            name: "takeover-4.0",
            class_path: ClassPath::Kafka40,
            quorum: StatedQuorum::Dynamic,
            format: &["--standalone"],
            log_dirs: 2,
            settings: OLD_SETTINGS,
        },
    )
}

/// The scenario `takeover-4.3`.
pub fn from_43(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    take_over(
        setting,
        &Release {
            name: "takeover-4.3",
            class_path: ClassPath::Tools,
            quorum: StatedQuorum::Static,
            format: &["--no-initial-controllers"],
            log_dirs: 2,
            settings: "",
        },
    )
}

/// The scenario `takeover-4.4`.
pub fn from_44(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    take_over(
        setting,
        &Release {
            name: "takeover-4.4",
            class_path: ClassPath::Server,
            quorum: StatedQuorum::Dynamic,
            format: &["--standalone"],
            log_dirs: 2,
            settings: "",
        },
    )
}

/// How a server leaves.
#[derive(Clone, Copy)]
enum Leave {
    Stop,
    Kill,
}

/// What the one before read last, the next one must read first; no byte of a segment that was there may change; and
/// what lies beside the logs stays or goes as it does with Kafka.
fn take_over(setting: &Setting<'_>, release: &Release) -> Outcome<(Transcript, Transcript)> {
    setting.reference.jars(release.class_path)?;
    setting.reference.jars(ClassPath::Kafka39)?;
    let kafka = Maker::Release(release.class_path);
    let candidate = if setting.candidate == Maker::Kafka { &kafka } else { &setting.candidate };
    let turns: [(&Maker, Option<u32>, Leave); 7] = [
        (&kafka, Some(1), Leave::Stop),
        // Kafka reads what was put beside its logs: that is what has to be equal.
        (&kafka, None, Leave::Stop),
        (candidate, Some(2), Leave::Kill),
        (candidate, Some(3), Leave::Stop),
        (&kafka, Some(4), Leave::Kill),
        (candidate, None, Leave::Stop),
        (&kafka, Some(5), Leave::Stop),
    ];
    let mut node =
        Node::new(kafka.clone(), setting.reference, setting.folder.join(release.name), release.log_dirs)?;
    node.settle(release.quorum, release.settings)?;
    node.format_with(release.format)?;
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let mut left: Option<(Transcript, BTreeMap<PathBuf, Vec<u8>>)> = None;
    for (turn, (maker, instalment, leave)) in turns.into_iter().enumerate() {
        eprintln!("  turn {turn}: {maker:?}");
        node.hand_to(maker.clone());
        node.start()?;
        if let Some((told, _)) = left.as_ref().filter(|_| turn > 1) {
            expected.append_under(&format!("turn {turn}"), told);
            seen.append_under(&format!("turn {turn}"), &read(setting, &node, release)?);
        }
        if let Some(number) = instalment {
            write(setting, &node, release, number)?;
        }
        let told = read(setting, &node, release)?;
        match leave {
            Leave::Stop => drop(node.stop()?),
            Leave::Kill => node.kill()?,
        }
        if turn == 0 {
            grow_old(setting, &node)?;
        }
        match turn {
            _ if release.log_dirs == 1 => {}
            0 | 1 => lay_aside(&node)?,
            _ => {
                let name = format!("turn {turn}: what was laid aside");
                expected.section(&name);
                expected.line(format!("rt-gone-3.{SUFFIX}-stray"));
                expected.line("rt-many-3");
                seen.section(&name);
                laid_aside(&node)?.into_iter().for_each(|it| seen.line(it));
            }
        }
        let segments = segments(&node)?;
        for transcript in [&mut expected, &mut seen] {
            transcript.section(&format!("turn {turn}: segments that were there before"));
        }
        // A copy that was under way is no log of its own: it becomes the log.
        for (path, before) in left.iter().flat_map(|it| &it.1).filter(|it| !is_copy(it.0)) {
            expected.line(format!("{} unchanged", path.display()));
            let kept = segments.get(path).is_some_and(|now| now.starts_with(before));
            seen.line(format!("{} {}", path.display(), if kept { "unchanged" } else { "changed" }));
        }
        left = Some((told, segments));
    }
    Ok((expected, seen))
}

fn is_copy(segment: &Path) -> bool {
    let ends = |suffix| segment.parent().is_some_and(|it| it.to_string_lossy().ends_with(suffix));
    ends("-future") || ends("-stray")
}

fn write(setting: &Setting<'_>, node: &Node<'_>, release: &Release, number: u32) -> Outcome {
    // Where a log starts is written down once a minute: a server that is killed may forget it.
    let step = if number == 1 { "all:1".to_owned() } else { format!("all:{number}:keep") };
    let said = trip(setting.reference, node, release.class_path, &[&step])?;
    let told = program(setting, node, release.class_path, &[&format!("fill:{number}")])?;
    match said.to_string() + &told.to_string() {
        complaint if complaint.is_empty() => Ok(()),
        complaint => Err(format!("instalment {number} could not be written: {complaint}").into()),
    }
}

fn read(setting: &Setting<'_>, node: &Node<'_>, release: &Release) -> Outcome<Transcript> {
    let mut all = trip(setting.reference, node, release.class_path, &["read"])?;
    all.append_under("", &program(setting, node, release.class_path, &["read"])?);
    Ok(all)
}

fn program(setting: &Setting<'_>, node: &Node<'_>, client: ClassPath, steps: &[&str]) -> Outcome<Transcript> {
    let mut program = setting.reference.program(client, "Takeover", &["-Dlog4j2.level=ERROR"])?;
    let said = capture(program.arg(node.address()).args(steps), b"", LIMIT)?;
    Ok(Transcript::parse(&said.success("Takeover")?))
}

/// What a topic from before 0.11 begins with: records of old formats.
fn grow_old(setting: &Setting<'_>, node: &Node<'_>) -> Outcome {
    let legacy = folder(node, "tk-legacy-0")?;
    for entry in std::fs::read_dir(&legacy)? {
        let path = entry?.path();
        if !path.ends_with("partition.metadata") {
            std::fs::remove_file(path)?;
        }
    }
    // Old brokers knew no epochs.
    std::fs::write(legacy.join("leader-epoch-checkpoint"), "0\n0\n")?;
    let mut writer =
        setting.reference.program(ClassPath::Kafka39, "LegacySegment", &["-Dlog4j2.level=OFF"])?;
    let segment = legacy.join("00000000000000000000.log");
    capture(writer.arg(&segment), b"", LIMIT)?.success("LegacySegment")?;
    Ok(())
}

/// What makes the name of a directory unique that is no log in use.
const SUFFIX: &str = "0123456789abcdef0123456789abcdef";

/// What a server leaves that ends in the middle of its work: a log that was being deleted, one that nobody wanted, and
/// a move between directories that was under way.
fn lay_aside(node: &Node<'_>) -> Outcome {
    let moving = folder(node, "rt-many-3")?;
    let other = node.log_dirs().iter().find(|it| !moving.starts_with(it)).ok_or("only one directory")?;
    for name in laid_aside(node)?.iter().filter(|it| it.contains('.')) {
        std::fs::remove_dir_all(folder(node, name)?)?;
    }
    copy_folder(&moving, &other.join(format!("rt-many-3.{SUFFIX}-future")))?;
    copy_folder(&moving, &other.join(format!("rt-gone-3.{SUFFIX}-stray")))?;
    copy_folder(&moving, &other.join(format!("rt-gone-4.{SUFFIX}-delete")))?;
    Ok(())
}

/// The names of the directories that [`lay_aside`] made or copied from.
fn laid_aside(node: &Node<'_>) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for directory in node.log_dirs() {
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // The place that a moved log left is deleted a minute later.
            let left = name.starts_with("rt-many-3.") && name.ends_with("-delete");
            if (name.starts_with("rt-gone-") || name == "rt-many-3" || name.starts_with("rt-many-3."))
                && !left
            {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

fn folder(node: &Node<'_>, name: &str) -> Outcome<PathBuf> {
    let found = node.log_dirs().iter().map(|it| it.join(name)).find(|it| it.is_dir());
    found.ok_or_else(|| format!("there is no directory {name}").into())
}
