//! Opening every log of every log directory, a bounded number at a time.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ottla_base::{BrokerEpoch, Offset, Uuid};
use ottla_host::Host;
use ottla_host::disk::{Open, is_exhausted, parent_of};
use parking_lot::{Mutex, RwLock};

use super::duties::{Checkpoint, digest};
use super::{Changes, ClosedCopy, Damaged, DirectoryOptions, Entry, LogDirectory, LogSet, LogSetOptions};
use crate::checkpoint_file::{
    CLEANER_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    read_offsets,
};
use crate::clean_shutdown::{CLEAN_SHUTDOWN_FILE, CleanShutdown, agreed_broker_epoch, take_clean_shutdown};
use crate::error::StorageError;
use crate::file_names::{
    CLUSTER_METADATA_DIRECTORY, DirectoryStanding, REMOTE_INDEX_CACHE_DIRECTORY, TopicPartition,
    parse_directory_name,
};
use crate::files::{Directory, OpenFiles};
use crate::log::{LastShutdown, Log, OpenLog};
use crate::partition_metadata::read_topic_id;
use crate::progress::{Listener, Progress};

/// A log that was found on a disk.
#[derive(Debug, Clone)]
pub struct FoundLog {
    /// The log.
    pub log: Arc<Log>,
    /// The topic it belongs to, if it says so.
    pub topic_id: Option<Uuid>,
    /// The log directory it is in.
    pub directory_id: Uuid,
}

/// What opening found.
#[derive(Debug, Default)]
pub struct Found {
    /// Every log that can be used, by partition.
    pub logs: Vec<FoundLog>,
    /// The epoch in which this broker was last stopped in an orderly way, if all directories agree.
    pub last_broker_epoch: Option<BrokerEpoch>,
}

/// Progress is told every so many logs.
const TELL_EVERY_LOGS: usize = 1000;
/// How long a start waits for descriptors, memory or room that it lacks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits before it tries again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The checkpoints of a log directory.
#[derive(Debug, Default)]
struct Checkpoints {
    recovery_points: BTreeMap<TopicPartition, Offset>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    cleaned: BTreeMap<TopicPartition, Offset>,
}

/// What becomes of a log for whose opening something is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacking {
    /// It is tried again a little later.
    Postpone,
    /// The start goes on without it: it is opened when it is asked for ([`LogSet::get_or_create`]).
    GoOn,
}

/// A log directory whose logs are to be opened.
struct Job {
    at: usize,
    last_shutdown: LastShutdown,
    checkpoints: Checkpoints,
    /// Names that are still to be opened.
    names: Mutex<Vec<String>>,
    /// Names that could not be opened for lack of descriptors, memory or room.
    postponed: Mutex<Vec<String>>,
    total: usize,
    done: AtomicUsize,
}

impl LogSet {
    /// Opens the log directories and every log in them; repairs what an unclean stop left behind. A directory that
    /// fails is offline, a log that is damaged is unavailable; the rest is used. Refused if
    /// none can be used. The caller has locked the directories, see [`crate::log_directory`].
    pub async fn open(options: LogSetOptions) -> io::Result<(Arc<LogSet>, Found)> {
        let options = Arc::new(options);
        let begun = options.host.now();
        let failures = Arc::new(Progress::new());
        let mut directories = Vec::new();
        let mut shutdowns = Vec::new();
        for directory in &options.directories {
            let (opened, shutdown) = claim(&options.host, directory, &failures).await;
            directories.push(opened);
            shutdowns.push(shutdown);
        }
        let (stopped, stop) = (Listener::new(), Progress::new());
        stop.listen(&stopped);
        let set = Arc::new(LogSet {
            host: options.host.clone(),
            directories,
            open_files: Arc::new(OpenFiles::new(options.open_files_max)),
            producers: Mutex::new(options.producers),
            intervals: options.intervals,
            logs: RwLock::default(),
            futures: RwLock::default(),
            closed_copies: RwLock::default(),
            damaged: RwLock::default(),
            cordoned: RwLock::default(),
            changes: Mutex::new(Changes::default()),
            failures,
            stopped,
            stop,
        });
        let mut working = Vec::new();
        let mut jobs = Vec::new();
        for (at, shutdown) in shutdowns.iter().enumerate() {
            let Some(job) = set.prepare(at, shutdown.is_some()).await else { continue };
            let job = Arc::new(job);
            jobs.push(job.clone());
            for _ in 0..options.recovery_threads_per_directory.clamp(1, job.total.max(1)) {
                let (set, job, options) = (set.clone(), job.clone(), options.clone());
                working.push(options.host.clone().blocking(move || set.work(&job, &options)));
            }
        }
        for work in working {
            work.await;
        }
        for job in &jobs {
            set.open_postponed(job, &options).await;
        }
        for directory in &set.directories {
            directory.loaded.store(true, Ordering::Release);
        }
        set.changes.lock().checkpoints_stale = jobs.iter().any(|job| set.is_stale(job));
        let settling = set.clone();
        options.host.clone().blocking(move || settling.settle_moves()).await;
        if set.directories.iter().all(|it| it.directory.failure().is_some()) {
            return Err(io::Error::other("no log directory can be used"));
        }
        let found = Found { logs: set.found(), last_broker_epoch: agreed_broker_epoch(&shutdowns) };
        let elapsed_ms = options.host.now().since(begun).as_millis() as u64;
        tracing::info!(
            logs = found.logs.len(),
            damaged = set.damaged.read().len(),
            elapsed_ms,
            "loaded all logs"
        );
        Ok((set, found))
    }

    /// Whether a checkpoint tells of a log that is not there: it was deleted just before the last process ended.
    fn is_stale(&self, job: &Job) -> bool {
        let (logs, damaged) = (self.logs.read(), self.damaged.read());
        let checkpoints = &job.checkpoints;
        let all = [&checkpoints.recovery_points, &checkpoints.log_starts, &checkpoints.high_watermarks];
        all.into_iter().chain([&checkpoints.cleaned]).flat_map(|offsets| offsets.keys()).any(|it| {
            let here = logs
                .get(it)
                .is_some_and(|entry| Arc::ptr_eq(entry.log.directory(), &self.directories[job.at].directory));
            !here && !damaged.contains_key(it)
        })
    }

    fn found(&self) -> Vec<FoundLog> {
        let found = |entry: &Entry| {
            let (log, topic_id) = (entry.log.clone(), entry.topic_id);
            self.directory_id(&log).map(|directory_id| FoundLog { log, topic_id, directory_id })
        };
        self.logs.read().values().filter_map(found).collect()
    }

    /// Reads what a directory says of its logs, and which there are.
    async fn prepare(&self, at: usize, was_clean: bool) -> Option<Job> {
        let directory = &self.directories[at].directory;
        directory.failure().is_none().then_some(())?;
        let (disk, path) = (self.host.disk(), directory.path());
        let read = async |name: &str| {
            let path = path.join(name);
            match patiently(&self.host, || read_offsets(&disk, &path)).await {
                Ok(offsets) => Some(offsets),
                Err(error) if is_exhausted(&error) => {
                    directory.fail_for_good(&path, &error);
                    None
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "checkpoint cannot be read, going on without it");
                    Some(BTreeMap::new())
                }
            }
        };
        let checkpoints = Checkpoints {
            recovery_points: read(RECOVERY_POINT_CHECKPOINT).await?,
            log_starts: read(LOG_START_CHECKPOINT).await?,
            high_watermarks: read(HIGH_WATERMARK_CHECKPOINT).await?,
            cleaned: read(CLEANER_CHECKPOINT).await?,
        };
        // Written when something else is to be said: most servers clean nothing for long.
        let cleaned = digest(&checkpoints.cleaned);
        self.directories[at].written.lock()[Checkpoint::Cleaned as usize] = Some(cleaned);
        let listed = match patiently(&self.host, || disk.list(path)).await {
            Ok(listed) => listed,
            Err(error) => {
                directory.fail_for_good(path, &error);
                return None;
            }
        };
        let names: Vec<String> = listed
            .into_iter()
            .filter(|entry| entry.is_dir)
            .map(|entry| entry.name)
            .filter(|name| name != CLUSTER_METADATA_DIRECTORY && name != REMOTE_INDEX_CACHE_DIRECTORY)
            .rev()
            .collect();
        let last_shutdown = if was_clean { LastShutdown::Clean } else { LastShutdown::Unclean };
        if !names.is_empty() {
            tracing::info!(directory = %path.display(), logs = names.len(), ?last_shutdown, "loading logs");
        }
        let (total, names) = (names.len(), Mutex::new(names));
        let (postponed, done) = (Mutex::default(), AtomicUsize::new(0));
        Some(Job { at, last_shutdown, checkpoints, names, postponed, total, done })
    }

    /// Opens logs of a directory until none is left.
    fn work(&self, job: &Job, options: &LogSetOptions) {
        let directory = &self.directories[job.at].directory;
        loop {
            let Some(name) = job.names.lock().pop() else { return };
            if directory.failure().is_some() {
                return;
            }
            self.load_one(job, options, &name, Lacking::Postpone);
            let done = job.done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(TELL_EVERY_LOGS) && done < job.total {
                tracing::info!(directory = %directory.path().display(), done, of = job.total, "loading logs");
            }
        }
    }

    /// Opens what could not be opened at first for lack of descriptors, memory or room, one after the other.
    async fn open_postponed(self: &Arc<Self>, job: &Arc<Job>, options: &Arc<LogSetOptions>) {
        let deadline = self.host.now() + PATIENCE;
        loop {
            let names = std::mem::take(&mut *job.postponed.lock());
            if names.is_empty() || self.directories[job.at].directory.failure().is_some() {
                return;
            }
            tracing::warn!(
                logs = names.len(),
                "descriptors, memory or room are lacking to open logs, trying again"
            );
            self.host.sleep(TRY_AGAIN).await;
            let lacking = if self.host.now() < deadline { Lacking::Postpone } else { Lacking::GoOn };
            let (set, job, options) = (self.clone(), job.clone(), options.clone());
            let open = move || names.iter().for_each(|name| set.load_one(&job, &options, name, lacking));
            self.host.blocking(open).await;
        }
    }

    fn load_one(&self, job: &Job, options: &LogSetOptions, name: &str, lacking: Lacking) {
        let directory = &self.directories[job.at].directory;
        let path = directory.path().join(name);
        let Some((partition, standing)) = parse_directory_name(name) else {
            tracing::warn!(path = %path.display(), "a directory that is no partition's is in the way, leaving it alone");
            return;
        };
        match standing {
            DirectoryStanding::Delete => {
                self.changes.lock().deleted.push_back((self.host.now(), directory.clone(), path));
                return;
            }
            DirectoryStanding::Stray => {
                tracing::warn!(path = %path.display(), "a log that was set aside is still here");
                return;
            }
            DirectoryStanding::Current | DirectoryStanding::Future => {}
        }
        let of = |offsets: &BTreeMap<TopicPartition, Offset>| offsets.get(&partition).copied();
        let current = standing == DirectoryStanding::Current;
        // Checkpoints are about the current log; a copy has none and is read from its start.
        let (recovery_point, log_start, high_watermark, cleaned) = if current {
            let (recovery_points, log_starts) =
                (&job.checkpoints.recovery_points, &job.checkpoints.log_starts);
            let (high_watermarks, cleaned) = (&job.checkpoints.high_watermarks, &job.checkpoints.cleaned);
            (of(recovery_points), of(log_starts), of(high_watermarks), of(cleaned))
        } else {
            (None, None, None, None)
        };
        let topic = (options.topic_configs)(&partition.topic);
        let opened = Log::open(OpenLog {
            host: self.host.clone(),
            directory: directory.clone(),
            open_files: self.open_files.clone(),
            partition: partition.clone(),
            path: path.clone(),
            config: topic.unwrap_or_else(|| options.default_config.clone()),
            producers: options.producers,
            last_shutdown: if current { job.last_shutdown } else { LastShutdown::Unclean },
            recovery_point: recovery_point.unwrap_or(Offset::ZERO),
            log_start: log_start.unwrap_or(Offset::ZERO),
            high_watermark: high_watermark.unwrap_or(Offset::ZERO),
            cleaned,
        });
        let opened = opened.and_then(|log| Ok((log, self.topic_id_of(directory, &path)?)));
        match opened {
            Ok((log, topic_id)) if current => self.add(partition, Entry { log, topic_id }),
            Ok((log, _)) => {
                self.futures.write().insert(partition, log);
            }
            Err(StorageError::Offline { .. }) => {}
            Err(StorageError::Full { .. }) if lacking == Lacking::Postpone => {
                job.postponed.lock().push(name.to_owned());
            }
            Err(error) => {
                tracing::error!(%partition, path = %path.display(), %error, "a log cannot be opened and is unavailable");
                let directory = directory.clone();
                if !current {
                    let copy = ClosedCopy { error, directory, path, source: None };
                    self.closed_copies.write().insert(partition, copy);
                    return;
                }
                let damaged = Damaged {
                    error,
                    directory,
                    last_shutdown: job.last_shutdown,
                    recovery_point: recovery_point.unwrap_or(Offset::ZERO),
                    log_start,
                    high_watermark,
                    cleaned,
                };
                self.damaged.write().insert(partition, damaged);
            }
        }
    }

    pub(super) fn topic_id_of(
        &self,
        directory: &Arc<Directory>,
        path: &Path,
    ) -> Result<Option<Uuid>, StorageError> {
        read_topic_id(&self.host.disk(), path).map_err(|error| directory.fail(path, &error))
    }

    fn add(&self, partition: TopicPartition, entry: Entry) {
        let mut logs = self.logs.write();
        if let Some(other) = logs.get(&partition) {
            let error = StorageError::Corrupt {
                path: entry.log.path().to_path_buf(),
                position: 0,
                reason: format!("the partition has another log in {}", other.log.path().display()),
            };
            tracing::error!(%partition, %error, "two directories have a log of the same partition, remove one of them");
            entry.log.close();
            other.log.close();
            let damaged = Damaged {
                error,
                directory: other.log.directory().clone(),
                last_shutdown: LastShutdown::Unclean,
                recovery_point: other.log.recovery_point(),
                log_start: Some(other.log.view().log_start),
                high_watermark: Some(other.log.view().high_watermark),
                cleaned: other.log.cleaning.cleaned(),
            };
            logs.remove(&partition);
            self.damaged.write().insert(partition, damaged);
            return;
        }
        if !self.damaged.read().contains_key(&partition) {
            logs.insert(partition, entry);
        }
    }
}

/// Does what may lack descriptors, memory or room, again and again while it does and there is patience.
async fn patiently<T>(host: &Host, mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = host.now() + PATIENCE;
    loop {
        match ask() {
            Err(error) if is_exhausted(&error) && host.now() < deadline => {
                tracing::warn!(%error, "descriptors, memory or room are lacking to load logs, trying again");
                host.sleep(TRY_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// Takes a log directory for this process, and finds out how the last one left it. One that fails is offline.
async fn claim(
    host: &Host,
    options: &DirectoryOptions,
    failures: &Arc<Progress>,
) -> (LogDirectory, Option<CleanShutdown>) {
    let (disk, path) = (host.disk(), options.path.as_path());
    let directory = Arc::new(Directory::new(path, failures.clone()));
    let opened =
        LogDirectory { id: options.id, directory, loaded: AtomicBool::new(false), written: Mutex::default() };
    if let Some(reason) = &options.failure {
        opened.directory.fail_for_good(path, &io::Error::other(reason.clone()));
        return (opened, None);
    }
    let made = disk.exists(path).and_then(|there| {
        if there {
            return Ok(());
        }
        disk.create_dir_all(path)?;
        disk.sync_dir(parent_of(path))
    });
    // Only reading is tried again: what is changed below must be durable the first time.
    let said = path.join(CLEAN_SHUTDOWN_FILE);
    let readable = patiently(host, || match disk.open(&said, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    });
    let shutdown = match made.and(readable.await).and_then(|()| take_clean_shutdown(&disk, path)) {
        Ok(shutdown) => shutdown,
        Err(error) => {
            opened.directory.fail_for_good(path, &error);
            None
        }
    };
    (opened, shutdown)
}
