//! Log directories: whose they are, whether they can be used, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ottla_base::{Offset, Uuid};
use ottla_host::disk::{DirectoryEntry, Space};
use ottla_host::{Disk, Host};
use ottla_metadata::Image;
use ottla_storage::checkpoint_file::{RECOVERY_POINT_CHECKPOINT, read_offsets};
use ottla_storage::clean_shutdown::CLEAN_SHUTDOWN_FILE;
use ottla_storage::dump::walk_batches;
use ottla_storage::file_names::{
    CLUSTER_METADATA_DIRECTORY, DirectoryStanding, FileName, REMOTE_INDEX_CACHE_DIRECTORY, SegmentFile,
    Standing, parse_directory_name,
};
use ottla_storage::log_directory::{LOCK_FILE, lock_log_directory};
use ottla_storage::meta_properties::{MetaProperties, verify_directories};
use ottla_storage::{BatchAt, TopicPartition};

use super::{Finding, Weight};
use crate::config::BrokerSettings;
use crate::replicas;

#[cfg(test)]
mod tests;

const UNFORMATTED: &str = "not formatted: run `ottla format --standalone -t $(ottla cluster random-id) -c \
                           <server.properties>` first";
const TOO_OLD: &str = "meta.properties lacks cluster.id: start Apache Kafka 3.7 or later on it once";

/// The directories of a server, read and held against each other and against the settings.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// Those that can be used, and what they were formatted with.
    pub(crate) usable: BTreeMap<PathBuf, MetaProperties>,
    /// Why others cannot.
    pub(crate) failed: BTreeMap<PathBuf, String>,
    /// Where the metadata log is.
    pub(crate) metadata: PathBuf,
}

impl Claim {
    /// Reads what every directory was formatted with. A log directory whose disk fails is offline from the beginning,
    /// as long as it is not that of the metadata (`KafkaRaftServer.initializeLogDirs`).
    pub(crate) fn read(&mut self, disk: &Disk, settings: &BrokerSettings) -> Result<(), Finding> {
        self.metadata = settings.metadata_directory().to_owned();
        let mut refusals = Vec::new();
        for path in all_directories(settings) {
            // Every directory is looked at, so that one call tells everything.
            refusals.extend(self.read_one(disk, &path).err());
        }
        if let Some(refusal) = refusals.into_iter().next() {
            return Err(refusal);
        }
        verify_directories(&self.usable, None, settings.node_id())
            .map_err(|error| Finding::new(Weight::Refusal, "", error.to_string()))?;
        self.check_metadata_location(disk)
    }

    fn read_one(&mut self, disk: &Disk, path: &Path) -> Result<(), Finding> {
        match MetaProperties::read(disk, path) {
            Err(error) => self.fail(path, &error),
            Ok(None) => Err(unusable(path, UNFORMATTED)),
            Ok(Some(meta)) if meta.cluster_id.is_none() => Err(unusable(path, TOO_OLD)),
            Ok(Some(meta)) => {
                self.usable.insert(path.to_owned(), meta);
                Ok(())
            }
        }
    }

    /// Goes on without a directory, if it is not that of the metadata.
    pub(crate) fn fail(&mut self, path: &Path, error: &io::Error) -> Result<(), Finding> {
        if path == self.metadata {
            return Err(unusable(path, error.to_string()));
        }
        self.usable.remove(path);
        self.failed.insert(path.to_owned(), error.to_string());
        Ok(())
    }

    /// The metadata log is in its own directory and in no other, or the settings name the wrong one.
    fn check_metadata_location(&mut self, disk: &Disk) -> Result<(), Finding> {
        for path in self.usable.keys().cloned().collect::<Vec<_>>() {
            let log = path.join(CLUSTER_METADATA_DIRECTORY);
            match disk.exists(&log) {
                Ok(true) if path != self.metadata => {
                    let (log, metadata) = (log.display(), self.metadata.display());
                    let reason = format!(
                        "it has a metadata log, {log}, but the directory of the metadata is {metadata}"
                    );
                    return Err(unusable(&path, reason));
                }
                Ok(_) => {}
                Err(error) => self.fail(&path, &error)?,
            }
        }
        Ok(())
    }

    /// The cluster that the directories belong to.
    pub(crate) fn cluster_id(&self) -> Option<String> {
        self.usable.values().find_map(|it| it.cluster_id.clone())
    }

    /// The id of a directory, if it has one.
    pub(crate) fn id(&self, path: &Path) -> Option<Uuid> {
        self.usable.get(path).and_then(|it| it.directory_id)
    }
}

pub(crate) fn unusable(path: &Path, reason: impl Into<String>) -> Finding {
    Finding::new(Weight::Refusal, path.display().to_string(), reason)
}

/// The log directories in their order, and that of the metadata behind them if it is none of them.
fn all_directories(settings: &BrokerSettings) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = settings.log_directories().map(Path::to_owned).collect();
    if !all.iter().any(|it| it == settings.metadata_directory()) {
        all.push(settings.metadata_directory().to_owned());
    }
    all
}

/// How a directory stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryState {
    /// Stopped in an orderly way.
    Clean,
    /// The last process did not stop in an orderly way: logs are checked from their recovery points on.
    Unclean,
    /// A process uses it.
    InUse,
    /// Formatted and never used.
    New,
    /// It cannot be used.
    Unusable(String),
}

/// What is in a directory.
#[derive(Debug, Clone)]
pub struct DirectoryReport {
    /// Where it is.
    pub path: PathBuf,
    /// Its id; none if it was never given one, which a start does.
    pub id: Option<Uuid>,
    /// How it stands.
    pub state: DirectoryState,
    /// The version of its `meta.properties`.
    pub format: Option<i32>,
    /// Its file system, if that can be asked.
    pub space: Option<Space>,
    /// Its topics.
    pub topics: usize,
    /// Its partitions.
    pub partitions: usize,
    /// How many bytes its segments have.
    pub bytes: u64,
    /// How many bytes are read and checked at the next start.
    pub recovery_bytes: u64,
    /// Moves to this directory that are under way.
    pub futures: Vec<String>,
    /// Logs that nobody wanted; they are left alone.
    pub strays: Vec<String>,
    /// Logs that are deleted a minute after the start.
    pub deleted: Vec<String>,
    /// Logs of topics that the cluster does not know; a start renames them and deletes nothing.
    pub unwanted: Vec<String>,
    /// Directories that are no logs; they are left alone.
    pub foreign: Vec<String>,
    /// Segments that begin with records of formats 0 and 1, by topic.
    pub legacy_segments: BTreeMap<String, usize>,
}

/// Looks into every directory of a server.
pub(super) fn look(
    host: &Host,
    settings: &BrokerSettings,
    claim: &Claim,
    image: Option<&Image>,
    findings: &mut Vec<Finding>,
) -> Vec<DirectoryReport> {
    let reports: Vec<DirectoryReport> = all_directories(settings)
        .into_iter()
        .map(|path| {
            let mut survey = Survey::new(host, claim, path);
            if let Err(error) = survey.take(image.map(|image| (image, settings))) {
                survey.report.state = DirectoryState::Unusable(error.to_string());
            }
            survey.report
        })
        .collect();
    for report in &reports {
        tell(report, claim, findings);
    }
    reports
}

/// What there is to say of a directory.
fn tell(report: &DirectoryReport, claim: &Claim, findings: &mut Vec<Finding>) {
    let about = report.path.display().to_string();
    let mut say = |weight, says: String| findings.push(Finding::new(weight, about.clone(), says));
    match &report.state {
        DirectoryState::InUse => {
            say(Weight::Refusal, "a broker is running on it: stop it first".to_owned());
        }
        DirectoryState::Unclean => {
            let mebibytes = report.recovery_bytes.div_ceil(1 << 20);
            say(
                Weight::Note,
                format!("not stopped in an orderly way: {mebibytes} MiB are checked at the start"),
            );
        }
        DirectoryState::Unusable(reason) if claim.failed.contains_key(&report.path) => {
            say(Weight::Warning, format!("offline: {reason}"));
        }
        DirectoryState::Clean | DirectoryState::New | DirectoryState::Unusable(_) => {}
    }
    let listed = |names: &[String]| names.join(", ");
    if !report.unwanted.is_empty() {
        let says = "logs that the cluster does not know, which the start renames and keeps";
        say(Weight::Warning, format!("{says}: {}", listed(&report.unwanted)));
    }
    if !report.strays.is_empty() {
        say(Weight::Note, format!("logs that were set aside before and stay: {}", listed(&report.strays)));
    }
    if !report.futures.is_empty() {
        say(Weight::Note, format!("moves that go on: {}", listed(&report.futures)));
    }
    if !report.foreign.is_empty() {
        say(Weight::Note, format!("no logs, left alone: {}", listed(&report.foreign)));
    }
    for (topic, segments) in &report.legacy_segments {
        let says = format!(
            "{segments} segments of {topic} have records of formats 0 or 1: they are served as they are"
        );
        say(Weight::Note, says);
    }
}

/// A directory that is being looked into.
struct Survey<'a> {
    host: &'a Host,
    report: DirectoryReport,
    recovery_points: BTreeMap<TopicPartition, Offset>,
    topics: BTreeSet<String>,
}

impl<'a> Survey<'a> {
    fn new(host: &'a Host, claim: &Claim, path: PathBuf) -> Survey<'a> {
        let meta = claim.usable.get(&path);
        let state = match (claim.failed.get(&path), meta) {
            (Some(reason), _) => DirectoryState::Unusable(reason.clone()),
            (None, None) => DirectoryState::Unusable("not formatted".to_owned()),
            (None, Some(_)) => DirectoryState::New,
        };
        let report = DirectoryReport {
            id: claim.id(&path),
            format: meta.map(|it| it.version.number()),
            space: host.disk().space(&path).ok(),
            state,
            path,
            topics: 0,
            partitions: 0,
            bytes: 0,
            recovery_bytes: 0,
            futures: Vec::new(),
            strays: Vec::new(),
            deleted: Vec::new(),
            unwanted: Vec::new(),
            foreign: Vec::new(),
            legacy_segments: BTreeMap::new(),
        };
        Survey { host, report, recovery_points: BTreeMap::new(), topics: BTreeSet::new() }
    }

    fn take(&mut self, cluster: Option<(&Image, &BrokerSettings)>) -> io::Result<()> {
        if matches!(self.report.state, DirectoryState::Unusable(_)) {
            return Ok(());
        }
        let (disk, path) = (self.host.disk(), self.report.path.clone());
        let clean = disk.exists(path.join(CLEAN_SHUTDOWN_FILE))?;
        // A damaged checkpoint means that everything is checked, as at a start.
        self.recovery_points = read_offsets(&disk, &path.join(RECOVERY_POINT_CHECKPOINT)).unwrap_or_default();
        let names: Vec<String> =
            disk.list(&path)?.into_iter().filter(|it| it.is_dir).map(|it| it.name).collect();
        for name in names {
            if name == CLUSTER_METADATA_DIRECTORY || name == REMOTE_INDEX_CACHE_DIRECTORY {
                continue;
            }
            self.take_log(&disk, name, clean, cluster)?;
        }
        self.report.topics = self.topics.len();
        self.report.state = match clean {
            _ if is_in_use(&disk, &path) => DirectoryState::InUse,
            true => DirectoryState::Clean,
            false
                if self.report.partitions == 0 && !disk.exists(path.join(CLUSTER_METADATA_DIRECTORY))? =>
            {
                DirectoryState::New
            }
            false => DirectoryState::Unclean,
        };
        if self.report.state == DirectoryState::InUse {
            self.report.recovery_bytes = 0;
        }
        Ok(())
    }

    fn take_log(
        &mut self,
        disk: &Disk,
        name: String,
        clean: bool,
        cluster: Option<(&Image, &BrokerSettings)>,
    ) -> io::Result<()> {
        let Some((partition, standing)) = parse_directory_name(&name) else {
            self.report.foreign.push(name);
            return Ok(());
        };
        let path = self.report.path.join(&name);
        match standing {
            DirectoryStanding::Stray => self.report.strays.push(name),
            DirectoryStanding::Delete => self.report.deleted.push(name),
            DirectoryStanding::Future => self.report.futures.push(name),
            DirectoryStanding::Current => {
                let files = match disk.list(&path) {
                    // A server that runs may have renamed or deleted it since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    listed => listed?,
                };
                let topic_id = ottla_storage::partition_metadata::read_topic_id(disk, &path).ok().flatten();
                let unwanted = cluster.is_some_and(|(image, settings)| {
                    let found = std::iter::once((partition.clone(), topic_id));
                    replicas::strays(image, settings.node_id(), found).next().is_some()
                });
                if unwanted {
                    self.report.unwanted.push(name);
                }
                self.topics.insert(partition.topic.to_string());
                self.report.partitions += 1;
                self.take_segments(disk, &path, files, &partition, clean);
            }
        }
        Ok(())
    }

    fn take_segments(
        &mut self,
        disk: &Disk,
        path: &Path,
        files: Vec<DirectoryEntry>,
        partition: &TopicPartition,
        clean: bool,
    ) {
        let mut segments: Vec<(Offset, u64)> = Vec::new();
        for entry in files {
            let parsed = FileName::parse(&entry.name);
            let is_live = |it: &FileName| it.kind == SegmentFile::Log && it.standing == Standing::Live;
            let Some(file) = parsed.filter(is_live) else { continue };
            // A server that runs may delete what was just listed.
            let Ok(found) = disk.metadata(path.join(&entry.name)) else { continue };
            segments.push((file.base, found.len));
            if found.len > 0 && begins_with_old_format(self.host, &path.join(&entry.name)) {
                *self.report.legacy_segments.entry(partition.topic.to_string()).or_default() += 1;
            }
        }
        segments.sort();
        self.report.bytes += segments.iter().map(|it| it.1).sum::<u64>();
        if !clean {
            let from = self.recovery_points.get(partition).copied().unwrap_or(Offset::ZERO);
            let first = segments.partition_point(|it| it.0 <= from).saturating_sub(1);
            self.report.recovery_bytes += segments[first..].iter().map(|it| it.1).sum::<u64>();
        }
    }
}

/// Whether a process has the directory. The lock is tested, not kept; a file that is not there is not made.
fn is_in_use(disk: &Disk, path: &Path) -> bool {
    if !disk.exists(path.join(LOCK_FILE)).unwrap_or(false) {
        return false;
    }
    lock_log_directory(disk, path).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn begins_with_old_format(host: &Host, path: &Path) -> bool {
    let mut old = false;
    let see = |batch: &BatchAt, _: &[u8]| {
        old = batch.header.is_none();
        ControlFlow::Break(())
    };
    // Whether the file is whole is for the start to say.
    walk_batches(host, path, see).is_ok() && old
}
