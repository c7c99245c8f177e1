//! All logs of a broker, in one or several log directories: opened together, made, deleted, looked after, closed.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Offset, Uuid};
use ottla_host::Host;
use ottla_host::disk::Space;
use parking_lot::{Mutex, RwLock};

use crate::config::LogConfig;
use crate::error::StorageError;
use crate::file_names::{DirectoryStanding, TopicPartition, directory_name};
use crate::files::{Directory, FlushObserver, OpenFiles};
use crate::log::{LastShutdown, Log, OpenLog};
use crate::producer_state::ProducerRules;
use crate::progress::{Listener, Progress};

mod cleaner;
mod duties;
mod moves;
mod open;

pub use cleaner::{CleanerDirectory, DirtyLogs};
pub use moves::{CopyStep, Move};
pub use open::{Found, FoundLog};

/// One of `log.dirs`.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// Where it is.
    pub path: PathBuf,
    /// Its id, from `meta.properties`; zero if that could not be read.
    pub id: Uuid,
    /// Why it cannot be used; nothing in it is looked at then.
    pub failure: Option<String>,
}

/// How often what is done now and then is done.
#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    /// `log.initial.task.delay.ms`: how long retention, flushing and checkpoints wait after the start.
    pub initial_delay: Duration,
    /// `log.flush.scheduler.interval.ms`: how often logs are looked at whose topics bound the time to a flush
    /// (`flush.ms`).
    pub flush: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_point_checkpoint: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_start_checkpoint: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiration: Duration,
}

/// How often logs are flushed that are due unless told otherwise.
pub const FLUSH_CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Default for Intervals {
    fn default() -> Intervals {
        Intervals {
            initial_delay: Duration::from_secs(30),
            flush: FLUSH_CHECK_INTERVAL,
            retention: Duration::from_secs(300),
            recovery_point_checkpoint: Duration::from_secs(60),
            log_start_checkpoint: Duration::from_secs(60),
            high_watermark_checkpoint: Duration::from_secs(5),
            producer_expiration: Duration::from_secs(600),
        }
    }
}

/// What the configuration of a topic's logs is; `None` for topics that are not known.
pub type TopicConfigs = dyn Fn(&str) -> Option<Arc<LogConfig>> + Send + Sync;

/// What is needed to open the logs of a broker.
pub struct LogSetOptions {
    /// The computer.
    pub host: Host,
    /// The log directories.
    pub directories: Vec<DirectoryOptions>,
    /// The configuration of topics that have none.
    pub default_config: Arc<LogConfig>,
    /// The configuration of topics that are known already; the broker sets those of others when it knows them. After
    /// an unclean stop it matters which are compacted: in other logs a missing offset is damage.
    pub topic_configs: Arc<TopicConfigs>,
    /// What idempotent producers are held against.
    pub producers: ProducerRules,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_directory: usize,
    /// How many files of sealed segments are kept open.
    pub open_files_max: usize,
    /// How often what is done now and then is done.
    pub intervals: Intervals,
}

/// How many files of sealed segments are kept open unless told otherwise.
pub const OPEN_FILES_MAX: usize = 2048;

/// How many wishes are remembered for logs that are not here yet.
const PREFERENCES_MAX: usize = 10_000;

/// Why a log cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogSetError {
    /// The log is there, for another topic of the same name.
    #[error("the log of {partition} belongs to topic {found}, not to {wanted}")]
    InconsistentTopicId {
        /// Whose log it is.
        partition: TopicPartition,
        /// The topic it belongs to.
        found: Uuid,
        /// The topic it was wanted for.
        wanted: Uuid,
    },
    /// There is no such log directory, or none that is online.
    #[error("no log directory is available for {0}")]
    NoDirectory(TopicPartition),
    /// The log cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl LogSetError {
    /// The answer to whoever wanted the log.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            LogSetError::InconsistentTopicId { .. } => ErrorCode::InconsistentTopicId,
            LogSetError::NoDirectory(_) => ErrorCode::KafkaStorageError,
            LogSetError::Storage(error) => error.error_code(),
        }
    }
}

/// What can be said of a log directory.
#[derive(Debug, Clone)]
pub struct DirectoryStatus {
    /// Its id.
    pub id: Uuid,
    /// Where it is.
    pub path: PathBuf,
    /// Why it is offline; `None` while it is online.
    pub failure: Option<String>,
    /// The size of its file system, if that can be known.
    pub space: Option<Space>,
}

/// A log directory in use.
#[derive(Debug)]
struct LogDirectory {
    id: Uuid,
    directory: Arc<Directory>,
    /// Whether every log in it was opened or is known to be damaged.
    loaded: AtomicBool,
    /// Digests of the checkpoints as they are on the disk, to write only what changed.
    written: Mutex<[Option<u64>; 4]>,
}

/// A log and the topic it belongs to.
#[derive(Debug, Clone)]
struct Entry {
    log: Arc<Log>,
    topic_id: Option<Uuid>,
}

/// A log that cannot be opened: because of its files, or for lack of something that may be there later.
#[derive(Debug, Clone)]
struct Damaged {
    error: StorageError,
    directory: Arc<Directory>,
    last_shutdown: LastShutdown,
    recovery_point: Offset,
    log_start: Option<Offset>,
    high_watermark: Option<Offset>,
    cleaned: Option<Offset>,
}

/// A copy on its way to another directory that cannot be opened.
#[derive(Debug, Clone)]
struct ClosedCopy {
    error: StorageError,
    directory: Arc<Directory>,
    path: PathBuf,
    /// The directory, marked as deleted, of the log whose place it was about to take: the copy has everything.
    source: Option<(Arc<Directory>, PathBuf)>,
}

/// All logs of a broker.
pub struct LogSet {
    host: Host,
    directories: Vec<LogDirectory>,
    open_files: Arc<OpenFiles>,
    producers: Mutex<ProducerRules>,
    intervals: Intervals,
    logs: RwLock<BTreeMap<TopicPartition, Entry>>,
    /// Copies that are being moved here from another log directory.
    futures: RwLock<BTreeMap<TopicPartition, Arc<Log>>>,
    closed_copies: RwLock<BTreeMap<TopicPartition, ClosedCopy>>,
    damaged: RwLock<BTreeMap<TopicPartition, Damaged>>,
    /// Directories that get no new logs unless there is no other.
    cordoned: RwLock<Vec<PathBuf>>,
    /// Making and deleting, one at a time.
    changes: Mutex<Changes>,
    /// Moves when a log directory goes offline.
    failures: Arc<Progress>,
    stopped: Listener,
    stop: Progress,
}

#[derive(Debug, Default)]
struct Changes {
    /// Directories of deleted logs, and when they may go.
    deleted: VecDeque<(Moment, Arc<Directory>, PathBuf)>,
    /// In which directories logs are to be made that are not here yet.
    preferred: BTreeMap<TopicPartition, PathBuf>,
    /// Whether a checkpoint on a disk may have a log that was deleted: a new one of the same name must not be taken
    /// for it.
    checkpoints_stale: bool,
}

impl LogSet {
    /// The log of a partition, if it is here and can be used.
    pub fn get(&self, partition: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().get(partition).map(|entry| entry.log.clone())
    }

    /// Changes what idempotent producers are held against, in every log.
    pub fn set_producer_rules(&self, rules: ProducerRules) {
        *self.producers.lock() = rules;
        let futures = self.futures.read().values().cloned().collect::<Vec<_>>();
        for log in self.logs().into_iter().chain(futures) {
            log.with_producers(|producers| producers.set_rules(rules));
        }
    }

    /// Every log, by partition.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.read().values().map(|entry| entry.log.clone()).collect()
    }

    /// Every copy that is being moved here, by partition.
    pub fn futures(&self) -> Vec<Arc<Log>> {
        self.futures.read().values().cloned().collect()
    }

    /// Logs, and copies of logs, that are damaged and what is wrong with them.
    pub fn damaged(&self) -> Vec<(TopicPartition, StorageError)> {
        let (damaged, copies) = (self.damaged.read(), self.closed_copies.read());
        let logs = damaged.iter().map(|(partition, it)| (partition, &it.error));
        let copies = copies.iter().map(|(partition, it)| (partition, &it.error));
        logs.chain(copies).map(|(partition, error)| (partition.clone(), error.clone())).collect()
    }

    /// The id of the log directory that a log is in.
    pub fn directory_id(&self, log: &Log) -> Option<Uuid> {
        self.directories.iter().find(|it| Arc::ptr_eq(&it.directory, log.directory())).map(|it| it.id)
    }

    /// What can be said of the log directories, in the order of the options. Asks the disks.
    pub fn directories(&self) -> Vec<DirectoryStatus> {
        let status = |it: &LogDirectory| {
            let failure = it.directory.failure().map(str::to_owned);
            let space = match failure {
                None => self.host.disk().space(it.directory.path()).ok(),
                Some(_) => None,
            };
            DirectoryStatus { id: it.id, path: it.directory.path().to_path_buf(), failure, space }
        };
        self.directories.iter().map(status).collect()
    }

    /// Wakes `listener` when a log directory goes offline.
    pub fn listen_for_failures(&self, listener: &Listener) {
        self.failures.listen(listener);
    }

    /// Has every flush of a segment told.
    pub fn observe_flushes(&self, observer: &FlushObserver) {
        self.directories.iter().for_each(|it| it.directory.observe_flushes(observer.clone()));
    }

    /// Forgets the logs of directories that are offline. Gives their partitions.
    pub fn drop_offline(&self) -> Vec<TopicPartition> {
        let offline = |log: &Log| log.directory().failure().is_some();
        self.futures.write().retain(|_, log| !offline(log));
        self.closed_copies.write().retain(|_, copy| copy.directory.failure().is_none());
        let mut dropped = Vec::new();
        self.logs.write().retain(|partition, entry| {
            let drop = offline(&entry.log);
            if drop {
                entry.log.close();
                dropped.push(partition.clone());
            }
            !drop
        });
        dropped
    }

    /// Keeps new logs out of these directories, as long as there are others.
    pub fn cordon(&self, directories: Vec<PathBuf>) {
        *self.cordoned.write() = directories;
    }

    /// Remembers in which directory the log of a partition is to be made that is not here.
    fn prefer(&self, changes: &mut Changes, partition: &TopicPartition, path: &Path) {
        if changes.preferred.len() < PREFERENCES_MAX || changes.preferred.contains_key(partition) {
            changes.preferred.insert(partition.clone(), path.to_path_buf());
        } else {
            tracing::warn!(%partition, limit = PREFERENCES_MAX, "too many wishes for replicas that are not here");
        }
    }

    /// The log of a partition of the topic `topic_id`; made if there is none, in the directory that was wished for, or
    /// in the given one, or in the one with the fewest logs. Its configuration is `config` from now on. Blocks.
    pub fn get_or_create(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        directory_id: Option<Uuid>,
    ) -> Result<Arc<Log>, LogSetError> {
        let mut changes = self.changes.lock();
        let damaged = self.damaged.read().get(partition).cloned();
        if let Some(damaged) = damaged {
            self.open_late(&mut changes, partition, &damaged, config.clone())?;
        }
        let existing = self.logs.read().get(partition).cloned();
        if let Some(Entry { log, topic_id: known }) = existing {
            match known {
                Some(found) if found != topic_id => {
                    let partition = partition.clone();
                    return Err(LogSetError::InconsistentTopicId { partition, found, wanted: topic_id });
                }
                Some(_) => {}
                None => {
                    log.draft_topic_id(topic_id)?;
                    let entry = Entry { log: log.clone(), topic_id: Some(topic_id) };
                    self.logs.write().insert(partition.clone(), entry);
                }
            }
            log.set_config(config);
            return Ok(log);
        }
        if let Some(entry) = self.promote_closed_copy(&mut changes, partition, &config)? {
            return Ok(entry.log);
        }
        if changes.checkpoints_stale {
            // The checkpoints may say of the log that was deleted how far it was durable.
            self.write_checkpoints();
            changes.checkpoints_stale = false;
        }
        let directory = match changes.preferred.get(partition) {
            Some(path) => self.directories.iter().map(|it| &it.directory).find(|it| it.path() == path),
            None => self.choose_directory(directory_id),
        };
        let directory = directory.ok_or_else(|| LogSetError::NoDirectory(partition.clone()))?;
        let log = self.create(partition, directory, config)?;
        log.draft_topic_id(topic_id)?;
        changes.preferred.remove(partition);
        let entry = Entry { log: log.clone(), topic_id: Some(topic_id) };
        self.logs.write().insert(partition.clone(), entry);
        drop(changes);
        tracing::info!(%partition, directory = %directory.path().display(), "created a log");
        Ok(log)
    }

    /// Opens a log that could not be opened before, if what was lacking may be there now.
    fn open_late(
        &self,
        changes: &mut Changes,
        partition: &TopicPartition,
        damaged: &Damaged,
        config: Arc<LogConfig>,
    ) -> Result<(), StorageError> {
        if !matches!(damaged.error, StorageError::Full { .. }) {
            return Err(damaged.error.clone());
        }
        let name = directory_name(partition, DirectoryStanding::Current, Uuid::ZERO);
        let path = damaged.directory.path().join(name);
        let log = Log::open(OpenLog {
            host: self.host.clone(),
            directory: damaged.directory.clone(),
            open_files: self.open_files.clone(),
            partition: partition.clone(),
            path: path.clone(),
            config,
            producers: *self.producers.lock(),
            last_shutdown: damaged.last_shutdown,
            recovery_point: damaged.recovery_point,
            log_start: damaged.log_start.unwrap_or(Offset::ZERO),
            high_watermark: damaged.high_watermark.unwrap_or(Offset::ZERO),
            cleaned: damaged.cleaned,
        })?;
        let entry = Entry { log, topic_id: self.topic_id_of(&damaged.directory, &path)? };
        let copy = self.futures.read().get(partition).cloned();
        if let Some(copy) = copy {
            self.settle_copy(changes, partition, &copy, &entry)?;
        }
        self.logs.write().insert(partition.clone(), entry);
        tracing::info!(%partition, "a log that could not be opened before is available");
        self.damaged.write().remove(partition);
        Ok(())
    }

    fn choose_directory(&self, id: Option<Uuid>) -> Option<&Arc<Directory>> {
        let online = || {
            let usable = self.directories.iter().filter(|it| it.directory.failure().is_none());
            usable.map(|it| (it.id, &it.directory))
        };
        if let Some(id) = id {
            return online().find(|it| it.0 == id).map(|it| it.1);
        }
        let cordoned = self.cordoned.read();
        let open = || online().map(|it| it.1).filter(|it| !cordoned.iter().any(|path| path == it.path()));
        if open().nth(1).is_none() {
            // Should all be cordoned, the first has to do (`LogManager.nextLogDirs`).
            return open().next().or_else(|| online().map(|it| it.1).next());
        }
        let logs = self.logs.read();
        let count = |directory: &Arc<Directory>| {
            logs.values().filter(|entry| Arc::ptr_eq(entry.log.directory(), directory)).count()
        };
        open().min_by_key(|it| count(it))
    }

    fn create(
        &self,
        partition: &TopicPartition,
        directory: &Arc<Directory>,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, StorageError> {
        let name = directory_name(partition, DirectoryStanding::Current, Uuid::ZERO);
        Log::open(OpenLog {
            host: self.host.clone(),
            directory: directory.clone(),
            open_files: self.open_files.clone(),
            partition: partition.clone(),
            path: directory.path().join(name),
            config,
            producers: *self.producers.lock(),
            // Should there be anything in a directory of this name, it is not trusted.
            last_shutdown: LastShutdown::Unclean,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            cleaned: None,
        })
    }

    /// Deletes the log of a partition: it is closed and out of the way when this returns, and its files go after
    /// `file.delete.delay.ms`. Says whether there was one. Blocks.
    pub fn delete(&self, partition: &TopicPartition) -> Result<bool, StorageError> {
        let mut changes = self.changes.lock();
        let current = self.logs.write().remove(partition).map(|entry| entry.log);
        let future = self.futures.write().remove(partition);
        let found = current.is_some();
        self.discard_closed_copy(&mut changes, partition)?;
        for log in current.into_iter().chain(future) {
            log.close();
            let name = directory_name(partition, DirectoryStanding::Delete, self.host.random_uuid());
            log.rename(&name)?;
            changes.checkpoints_stale = true;
            let due = self.host.now() + Duration::from_millis(log.config().file_delete_delay_ms);
            changes.deleted.push_back((due, log.directory().clone(), log.path().to_path_buf()));
            tracing::info!(%partition, path = %log.path().display(), "deleted a log, its files go later");
        }
        Ok(found)
    }

    /// Sets a log aside that belongs to no partition of this broker: its files stay, under another name, for the
    /// operator. Says whether there was one. Blocks.
    pub fn set_aside(&self, partition: &TopicPartition) -> Result<bool, StorageError> {
        let mut changes = self.changes.lock();
        let Some(Entry { log, .. }) = self.logs.write().remove(partition) else { return Ok(false) };
        log.close();
        log.rename(&directory_name(partition, DirectoryStanding::Stray, self.host.random_uuid()))?;
        changes.checkpoints_stale = true;
        tracing::warn!(%partition, path = %log.path().display(), "a log belongs to no partition of this broker, set it aside");
        Ok(true)
    }

    /// Cuts a log at `end`, so that a crash at any moment leaves it whole before or after the cut. Blocks.
    pub fn truncate_to(&self, log: &Log, end: Offset) -> Result<(), StorageError> {
        log.lower_recovery_point(end);
        self.write_checkpoints();
        log.truncate_to(end)?;
        // What is cut off may come back with other records.
        self.give_up_move(log.partition()).map(|_| ())
    }

    /// Empties a log; its next record gets the offset `start`. Blocks.
    pub fn truncate_fully(&self, log: &Log, start: Offset) -> Result<(), StorageError> {
        log.lower_recovery_point(Offset::ZERO);
        self.write_checkpoints();
        log.truncate_fully(start)?;
        self.give_up_move(log.partition()).map(|_| ())
    }

    /// Whether [`LogSet::stop`] was called.
    fn is_stopped(&self) -> bool {
        self.stopped.heard()
    }
}

impl LogDirectory {
    fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire) && self.directory.failure().is_none()
    }
}

#[cfg(test)]
pub(crate) mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod tests;
