//! One partition's log: its batches in order, from the log start to the end, and what readers may see of them.
//!
//! Appends go through one lock, which is held for one write and never across an await. After each change the appender
//! publishes an immutable [`View`]; readers work on that and take no lock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ottla_base::{LeaderEpoch, Offset};
use ottla_host::Host;
use parking_lot::Mutex;

use crate::clean::CleaningState;
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::file_names::TopicPartition;
use crate::files::{Directory, LogFiles, OpenFiles};
use crate::leader_epochs::{EpochEnd, LeaderEpochs};
use crate::load::load;
use crate::producer_state::{ProducerRules, ProducerStates};
use crate::progress::{Listener, Progress};
use crate::segment::Segment;

mod append;
mod copy;
mod flush;
mod lookup;
mod read;
mod replace;
mod retention;
mod retire;
mod tail;
mod tiering;
mod truncate;

pub(crate) use append::Appender;
pub use append::{AppendError, AppendOptions, Appended, Commit, Duplicate};
pub use lookup::TimestampedOffset;
pub use read::{FileRange, FirstBatch, ReadAnswer, ReadError, ReadLimit, ReadRequest};
pub(crate) use replace::Replaced;
pub use tiering::{SealedSegment, SegmentFiles};
pub use truncate::LogStartReason;

/// An immutable look at a log: four offsets that belong together, and the files behind them.
#[derive(Debug, Clone)]
pub struct View {
    /// The first offset that may be read.
    pub log_start: Offset,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// Everything below is committed and belongs to no open transaction.
    pub last_stable: Offset,
    /// The offset that the next record gets.
    pub end: Offset,
    /// Never empty; the last is the active one.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    /// Bytes of the active segment that belong to this view.
    pub(crate) active_len: u32,
}

impl View {
    /// Bytes of all `.log` files.
    pub fn size(&self) -> u64 {
        let sealed = &self.segments[..self.segments.len() - 1];
        sealed.iter().map(|segment| u64::from(segment.len())).sum::<u64>() + u64::from(self.active_len)
    }

    /// The first offset that may be read from this disk; what is between the log start and it was tiered.
    pub fn local_start(&self) -> Offset {
        self.log_start.max(self.first_base())
    }

    /// The offset in the name of the first segment.
    pub(crate) fn first_base(&self) -> Offset {
        self.segments[0].base()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.log_start == self.end
    }
}

/// How the process that used a log directory before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastShutdown {
    /// It wrote everything and said so.
    Clean,
    /// It may have been in the middle of anything.
    Unclean,
}

/// What is needed to open a log.
#[derive(Debug, Clone)]
pub struct OpenLog {
    /// The computer.
    pub host: Host,
    /// The log directory it is in.
    pub directory: Arc<Directory>,
    /// Who keeps files open.
    pub open_files: Arc<OpenFiles>,
    /// Whose log it is.
    pub partition: TopicPartition,
    /// The log's own directory; made if missing.
    pub path: PathBuf,
    /// The topic's configuration.
    pub config: Arc<LogConfig>,
    /// What idempotent producers are held against.
    pub producers: ProducerRules,
    /// How the last process ended.
    pub last_shutdown: LastShutdown,
    /// Everything below was made durable, as the checkpoint says.
    pub recovery_point: Offset,
    /// The log start, as the checkpoint says.
    pub log_start: Offset,
    /// The high watermark, as the checkpoint says.
    pub high_watermark: Offset,
    /// Everything below was compacted, as the checkpoint says; nothing if it says nothing.
    pub cleaned: Option<Offset>,
}

/// One partition's log.
#[derive(Debug)]
pub struct Log {
    partition: TopicPartition,
    pub(crate) files: LogFiles,
    config: ArcSwap<LogConfig>,
    view: ArcSwap<View>,
    appender: Mutex<Appender>,
    progress: Progress,
    /// Everything below is durable.
    recovery_point: AtomicI64,
    /// Everything below was tiered; nothing is known to be if it is negative.
    tiered_end: AtomicI64,
    flush: flush::FlushState,
    retired: retire::RetiredFiles,
    closed: AtomicBool,
    future: AtomicBool,
    /// How often the log was cut.
    cuts: AtomicU64,
    pub(crate) cleaning: CleaningState,
}

impl Log {
    /// Opens a log, repairs what an unclean stop left behind, and makes it if there is none.
    pub fn open(open: OpenLog) -> Result<Arc<Log>, StorageError> {
        let files = LogFiles::new(
            open.host.clone(),
            open.directory.clone(),
            open.open_files.clone(),
            open.path.clone(),
        );
        files.set_index_interval_bytes(open.config.index_interval_bytes);
        open.directory.check()?;
        let loaded = load(&files, &open)?;
        let recovery_point = loaded.recovery_point;
        let future = open.path.extension().is_some_and(|it| it.to_string_lossy().ends_with("-future"));
        let flush = flush::FlushState::new(open.host.now());
        let appender = Appender::new(&files, &open, loaded);
        let cleaning = CleaningState::new(open.cleaned);
        let log = Log {
            partition: open.partition,
            config: ArcSwap::new(open.config),
            view: ArcSwap::from_pointee(appender.view()),
            appender: Mutex::new(appender),
            progress: Progress::new(),
            recovery_point: AtomicI64::new(recovery_point.get()),
            tiered_end: AtomicI64::new(-1),
            flush,
            retired: retire::RetiredFiles::default(),
            closed: AtomicBool::new(false),
            future: AtomicBool::new(future),
            cuts: AtomicU64::new(0),
            cleaning,
            files,
        };
        Ok(Arc::new(log))
    }

    /// Whose log it is.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The log directory it is in.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.files.directory
    }

    /// The log's own directory.
    pub fn path(&self) -> Arc<PathBuf> {
        self.files.path()
    }

    /// Whether it is a copy that is being moved here from another log directory.
    pub fn is_future(&self) -> bool {
        self.future.load(Ordering::Acquire)
    }

    /// The topic's configuration.
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    /// Replaces the topic's configuration, for everything from now on.
    pub fn set_config(&self, config: Arc<LogConfig>) {
        self.files.set_index_interval_bytes(config.index_interval_bytes);
        self.config.store(config);
    }

    /// The log as it is now.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Wakes `listener` once when the log next moves: its end, high watermark, last stable offset or log start.
    pub fn listen(&self, listener: &Listener) {
        self.progress.listen(listener);
    }

    /// Everything below is durable.
    pub fn recovery_point(&self) -> Offset {
        Offset(self.recovery_point.load(Ordering::Acquire))
    }

    /// Says that what is at `offset` and above is not to be counted on, before it is cut off.
    pub(crate) fn lower_recovery_point(&self, offset: Offset) {
        self.recovery_point.fetch_min(offset.get(), Ordering::AcqRel);
        self.cleaning.lower(offset);
    }

    /// Moves when records are cut off, so that who works on them finds out.
    pub(crate) fn generation(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Moves the high watermark to `offset`, or as close as the log start and the end allow. Gives what it became.
    pub fn set_high_watermark(&self, offset: Offset) -> Offset {
        let mut appender = self.appender.lock();
        let bounded = offset.clamp(appender.log_start, appender.tail.end);
        if bounded < appender.high_watermark {
            tracing::debug!(partition = %self.partition, from = %appender.high_watermark, to = %bounded, "high watermark moves back");
        }
        if bounded != appender.high_watermark {
            appender.set_high_watermark(bounded);
            self.publish(appender);
        }
        bounded
    }

    /// As [`Log::set_high_watermark`], but never moves it back.
    pub fn advance_high_watermark(&self, offset: Offset) -> Offset {
        let mut appender = self.appender.lock();
        let bounded = offset.clamp(appender.log_start, appender.tail.end).max(appender.high_watermark);
        if bounded > appender.high_watermark {
            appender.set_high_watermark(bounded);
            self.publish(appender);
        }
        bounded
    }

    /// Publishes what the appender made and wakes who waits for it, after the lock is released.
    fn publish(&self, appender: parking_lot::MutexGuard<'_, Appender>) {
        self.view.store(Arc::new(appender.view()));
        drop(appender);
        self.progress.moved();
    }

    /// Looks at the idempotent producers.
    pub fn with_producers<T>(&self, look: impl FnOnce(&mut ProducerStates) -> T) -> T {
        look(&mut self.appender.lock().producers)
    }

    /// Looks at the leader epochs.
    pub fn with_epochs<T>(&self, look: impl FnOnce(&LeaderEpochs) -> T) -> T {
        look(&self.appender.lock().epochs)
    }

    /// The epoch of the last record, or of the last leader that began here.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.with_epochs(|epochs| epochs.latest().map(|latest| latest.epoch))
    }

    /// Where the largest epoch ends that is not above `epoch` (`OffsetForLeaderEpoch`).
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> EpochEnd {
        let appender = self.appender.lock();
        appender.epochs.end_of(epoch, appender.tail.end)
    }

    /// A leader of `epoch` begins here, at the end of the log. It is remembered across a stop from its first record
    /// on; a leader that wrote none begins again.
    pub fn begin_epoch(&self, epoch: LeaderEpoch) {
        let mut appender = self.appender.lock();
        let end = appender.tail.end;
        let _ = appender.epochs.assign(epoch, end);
    }

    /// Forgets the producers that were idle for too long.
    pub fn expire_producers(&self) {
        let now = self.files.host.wall_clock();
        self.appender.lock().producers.remove_expired(now);
    }

    pub(crate) fn check(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::Closed);
        }
        self.files.directory.check()
    }
}

#[cfg(test)]
mod tests;
