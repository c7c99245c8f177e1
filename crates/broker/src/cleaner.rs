//! Compacted logs are cleaned in the background, some at a time and at a bounded pace, the dirtiest first
//! (`LogCleaner`).
//!
//! A cleaner has no thread of its own: a pass is taken in small steps on the threads for background work, with the
//! pauses of the throttle between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ottla_base::Moment;
use ottla_storage::{CleanError, CleanLimits, CleanStats, CleanStep, Cleaning, DirtyLogs};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::config::BrokerSettings;
use crate::metrics::instrument::Counter;

/// How much is read and written between two looks at the throttle, and at whether the server stops.
const STEP_BYTES: u64 = 4 << 20;
/// The same at a low rate.
const STEP_BYTES_MIN: u64 = 16 << 10;
/// How often a throttled cleaner goes on (`Throttler.checkIntervalMs`).
const THROTTLE_INTERVAL_S: f64 = 0.3;
/// The longest pause between two steps, however low the rate.
const PAUSE_MAX_S: f64 = 60.0;
/// Apache Kafka uses no more than this for the keys of one pass.
const DEDUPE_BYTES_MAX: i64 = i32::MAX as i64;

/// What the cleaners of a broker share.
#[derive(Debug, Default)]
pub(crate) struct Cleaners {
    /// Settings have changed.
    changed: Notify,
    stopping: AtomicBool,
    /// How many are at work.
    running: watch::Sender<usize>,
    /// Until when what was read and written counts, at the rate that is allowed to all together.
    paid_until: Mutex<Moment>,
    last: Mutex<Vec<LastPass>>,
    dirtiest_percent: AtomicU64,
    looked_at: Mutex<Option<Moment>>,
    dead: AtomicUsize,
    /// Bytes that were read to be cleaned, for keys or to be written again.
    pub(crate) bytes_read: Counter,
    /// Bytes that were written.
    pub(crate) bytes_written: Counter,
    /// Passes that came to their end.
    pub(crate) passes: Counter,
}

/// What a cleaner did last.
#[derive(Debug, Clone, Copy, Default)]
struct LastPass {
    stats: CleanStats,
    found: DirtyLogs,
}

/// What can be said of all cleaners together, as Apache Kafka's metrics do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CleanersState {
    pub(crate) buffer_utilization_percent: u64,
    pub(crate) recopy_percent: u64,
    pub(crate) clean_time_secs: u64,
    pub(crate) compaction_delay_secs: u64,
    pub(crate) dirty_percent: u64,
    pub(crate) since_last_run: Duration,
    pub(crate) dead: usize,
}

impl Cleaners {
    /// Settings have changed: who waits looks at them.
    pub(crate) fn settings_changed(&self) {
        self.changed.notify_waiters();
    }

    /// Lets every cleaner come to the end of its step, and waits for that.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_waiters();
        // The sender is here, so it is not gone.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    /// What can be said of all together.
    pub(crate) fn state(&self, now: Moment) -> CleanersState {
        let last = self.last.lock();
        let most = |of: fn(&LastPass) -> f64| last.iter().map(of).fold(0.0, f64::max);
        let (read, written) =
            last.iter().fold((0, 0), |sum, it| (sum.0 + it.stats.bytes_read, sum.1 + it.stats.bytes_written));
        CleanersState {
            buffer_utilization_percent: (100.0 * most(|it| it.stats.map_utilization)) as u64,
            recopy_percent: 100 * written / read.max(1),
            clean_time_secs: most(|it| it.stats.elapsed.as_secs_f64()) as u64,
            compaction_delay_secs: (most(|it| it.found.overdue_ms as f64) / 1000.0) as u64,
            dirty_percent: self.dirtiest_percent.load(Ordering::Relaxed),
            since_last_run: self.looked_at.lock().map_or(Duration::ZERO, |it| now.since(it)),
            dead: self.dead.load(Ordering::Relaxed),
        }
    }

    /// Takes note that so many bytes were read and written. Gives when more may be.
    fn pay(&self, now: Moment, bytes: u64, bytes_per_second: f64) -> Moment {
        if bytes_per_second >= f64::MAX {
            return now;
        }
        let seconds = bytes as f64 / bytes_per_second.max(1.0);
        let mut paid_until = self.paid_until.lock();
        *paid_until = now.max(*paid_until) + Duration::from_secs_f64(seconds.min(PAUSE_MAX_S));
        *paid_until
    }
}

/// Cleans for as long as the broker lives.
pub(crate) async fn run(broker: Arc<Broker>) {
    if !broker.settings.load().server.cleaner.log_cleaner_enable {
        tracing::warn!(
            "log.cleaner.enable is false: compacted topics, __consumer_offsets among them, grow without end"
        );
        return;
    }
    let preparing = broker.logs.clone();
    broker.host.blocking(move || preparing.prepare_cleaner()).await;
    *broker.cleaners.looked_at.lock() = Some(broker.host.now());
    let mut working = JoinSet::new();
    let mut begun = 0;
    while !broker.cleaners.stopping.load(Ordering::Acquire) {
        let changed = broker.cleaners.changed.notified();
        // One that was let go is begun again when there are to be more.
        while begun < threads(&broker) {
            working.spawn(work(Running::new(broker.clone()), begun));
            begun += 1;
        }
        tokio::select! {
            biased;
            Some(ended) = working.join_next() => match ended {
                Ok(()) => begun -= 1,
                // A bug, which was reported where it happened. The cleaner is not begun again, as in Apache Kafka.
                Err(_) => drop(broker.cleaners.dead.fetch_add(1, Ordering::Relaxed)),
            },
            () = changed => {}
        }
    }
    while working.join_next().await.is_some() {}
}

fn threads(broker: &Broker) -> usize {
    usize::try_from(broker.settings.load().server.cleaner.log_cleaner_threads).unwrap_or(0)
}

/// Counts a cleaner for as long as it is at work.
struct Running {
    broker: Arc<Broker>,
}

impl Running {
    fn new(broker: Arc<Broker>) -> Running {
        broker.cleaners.running.send_modify(|running| *running += 1);
        Running { broker }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.broker.cleaners.running.send_modify(|running| *running -= 1);
    }
}

/// One cleaner: looks for the dirtiest log, cleans it, applies retention to compacted logs, and waits if there was none.
async fn work(running: Running, number: usize) {
    let broker = &running.broker;
    let is_wanted = || !broker.cleaners.stopping.load(Ordering::Acquire) && number < threads(broker);
    while is_wanted() {
        let settings = broker.settings.load_full();
        let (logs, limits) = (broker.logs.clone(), limits(&settings));
        let (found, cleaning) = broker.host.blocking(move || logs.next_to_clean(limits)).await;
        *broker.cleaners.looked_at.lock() = Some(broker.host.now());
        broker.cleaners.dirtiest_percent.store((100.0 * found.dirtiest_ratio) as u64, Ordering::Relaxed);
        let cleaned = cleaning.is_some();
        if let Some(cleaning) = cleaning {
            clean(broker, number, found, cleaning).await;
        }
        if !is_wanted() {
            return;
        }
        let logs = broker.logs.clone();
        broker.host.blocking(move || logs.retain_compacted()).await;
        if !cleaned {
            let pause = u64::try_from(settings.server.cleaner.log_cleaner_backoff_ms).unwrap_or(0);
            let changed = broker.cleaners.changed.notified();
            if is_wanted() {
                let _ = broker.host.timeout(Duration::from_millis(pause), changed).await;
            }
        }
    }
}

/// What one pass may use.
fn limits(settings: &BrokerSettings) -> CleanLimits {
    let cleaner = &settings.server.cleaner;
    let threads = cleaner.log_cleaner_threads.max(1);
    let dedupe = (cleaner.log_cleaner_dedupe_buffer_size / i64::from(threads)).min(DEDUPE_BYTES_MAX);
    CleanLimits {
        dedupe_bytes: u64::try_from(dedupe).unwrap_or(0),
        load_factor: cleaner.log_cleaner_io_buffer_load_factor,
        io_bytes: usize::try_from(cleaner.log_cleaner_io_buffer_size / threads / 2).unwrap_or(0),
        message_bytes: u32::try_from(settings.server.log.message_max_bytes).unwrap_or(0),
    }
}

/// Takes a pass to its end, or as far as it goes.
async fn clean(broker: &Arc<Broker>, number: usize, found: DirtyLogs, mut cleaning: Cleaning) {
    let log = cleaning.log().clone();
    let outcome = loop {
        if broker.cleaners.stopping.load(Ordering::Acquire) || broker.logs.is_moving(&log) {
            break Err(CleanError::Outdated);
        }
        let rate = broker.settings.load().server.cleaner.log_cleaner_io_max_bytes_per_second;
        let budget = ((rate * THROTTLE_INTERVAL_S) as u64).clamp(STEP_BYTES_MIN, STEP_BYTES);
        let before = cleaning.stats();
        let (step, back) = broker
            .host
            .background(move || {
                let step = cleaning.step(budget);
                (step, cleaning)
            })
            .await;
        cleaning = back;
        let stats = cleaning.stats();
        let read = |it: &CleanStats| it.map_bytes_read + it.bytes_read;
        broker.cleaners.bytes_read.add(read(&stats) - read(&before));
        broker.cleaners.bytes_written.add(stats.bytes_written - before.bytes_written);
        match step {
            Ok(CleanStep::Worked(bytes)) => {
                let next = broker.cleaners.pay(broker.host.now(), bytes, rate);
                broker.host.sleep_until(next).await;
            }
            Ok(CleanStep::Done(end, bytes)) => {
                broker.cleaners.pay(broker.host.now(), bytes, rate);
                break Ok(end);
            }
            Err(error) => break Err(error),
        }
    };
    let (stats, first_dirty) = (cleaning.stats(), cleaning.first_dirty());
    let logs = broker.logs.clone();
    let (outcome, log) = broker
        .host
        .blocking(move || {
            match &outcome {
                Ok(_) => logs.cleaning_done(&log),
                Err(error) => logs.cleaning_failed(&log, error),
            }
            drop(cleaning);
            (outcome, log)
        })
        .await;
    let Ok(end) = outcome else { return };
    broker.cleaners.passes.increment();
    let mut last = broker.cleaners.last.lock();
    let slots = last.len().max(number + 1);
    last.resize(slots, LastPass::default());
    last[number] = LastPass { stats, found };
    drop(last);
    tracing::info!(
        partition = %log.partition(), from = %first_dirty, to = %end, bytes = stats.bytes_read,
        bytes_left = stats.bytes_written, records = stats.records_read, records_left = stats.records_written,
        keys_from_bytes = stats.map_bytes_read, index_ms = stats.index_elapsed.as_millis() as u64,
        elapsed_ms = stats.elapsed.as_millis() as u64, "cleaned a log"
    );
    if stats.keyless > 0 {
        tracing::warn!(partition = %log.partition(), records = stats.keyless, "records without a key were dropped");
    }
}
