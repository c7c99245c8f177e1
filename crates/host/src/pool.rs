//! The few threads for what may block: fsync, cold reads, segment creation, compaction.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// How long a thread waits for work before it ends.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// The `nice` value of background threads: a tenth of the weight of others.
const BACKGROUND_NICE: i32 = 10;
/// The slice of background threads: the most that Linux gives, from 6.12 on. Whoever wakes up and has a shorter one (3 ms
/// unless it says otherwise) gets the core at once; with slices alike it waits for the end of the other's, or for the
/// next tick, however low the priority is.
const BACKGROUND_SLICE: Duration = Duration::from_millis(100);

/// Threads that start when there is work for them, up to a bound, and end when there is none for a while or with the
/// pool.
#[derive(Clone)]
pub(crate) struct Pool {
    queue: Arc<Queue>,
    _guard: Arc<CloseOnDrop>,
}

struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    max_threads: usize,
    idle_limit: Duration,
    kind: Kind,
}

/// Whose turn it is when there are fewer cores than threads that could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody waits for the work: its threads are as good as all others.
    Blocking,
    /// A reader waits for the disk, as many may; others do not wait behind them.
    Reading,
    /// Nobody waits for the work: its threads run when no other wants to, and get a share of a busy core.
    Background,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct CloseOnDrop(Arc<Queue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Pool {
    pub(crate) fn new(max_threads: usize, idle_limit: Duration, kind: Kind) -> Pool {
        let max_threads = max_threads.max(1);
        let queue =
            Arc::new(Queue { state: Mutex::default(), wake: Condvar::new(), max_threads, idle_limit, kind });
        Pool { _guard: Arc::new(CloseOnDrop(queue.clone())), queue }
    }

    pub(crate) fn run(&self, job: Job) {
        let mut state = self.queue.state.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= self.queue.max_threads {
            drop(state);
            self.queue.wake.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let queue = self.queue.clone();
        let name = match queue.kind {
            Kind::Blocking => "blocking",
            Kind::Reading => "reading",
            Kind::Background => "background",
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(move || work(&queue)) {
            let mut state = self.queue.state.lock();
            state.threads -= 1;
            // The threads there are will come to it.
            assert!(state.threads > 0, "no thread can be started: {error}");
        }
    }
}

fn work(queue: &Queue) {
    if queue.kind == Kind::Background {
        yield_to_others();
    }
    let mut state = queue.state.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // The panic reaches the caller, who waits for an answer that was dropped.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = queue.state.lock();
        } else if state.closed {
            state.threads -= 1;
            return;
        } else {
            state.idle += 1;
            let waited = queue.wake.wait_for(&mut state, queue.idle_limit);
            state.idle -= 1;
            // Work may have come while the lock was waited for.
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Lowers the priority of the calling thread, and lets whoever wakes up have its core. Linux takes both for the
/// thread's alone; elsewhere the priority is the process's, so it stays.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix has no sched_setattr")]
fn yield_to_others() {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: BACKGROUND_NICE,
        sched_priority: 0,
        // The length of its slices, for a thread of this policy.
        sched_runtime: BACKGROUND_SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: zero is the calling thread; the structure has the size that it says and outlives the call.
    // Refused only where the whole process has a lower priority already.
    let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

#[cfg(not(target_os = "linux"))]
fn yield_to_others() {}

#[cfg(test)]
mod tests;
