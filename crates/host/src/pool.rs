//! The few threads for what may block: fsync, cold reads, segment creation, compaction.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// How long a thread waits for work before it ends.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(10);

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
    pub(crate) fn new(max_threads: usize, idle_limit: Duration) -> Pool {
        let max_threads = max_threads.max(1);
        let queue =
            Arc::new(Queue { state: Mutex::default(), wake: Condvar::new(), max_threads, idle_limit });
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
        let thread = std::thread::Builder::new().name("blocking".to_owned());
        if let Err(error) = thread.spawn(move || work(&queue)) {
            let mut state = self.queue.state.lock();
            state.threads -= 1;
            // The threads there are will come to it.
            assert!(state.threads > 0, "no thread can be started: {error}");
        }
    }
}

fn work(queue: &Queue) {
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

#[cfg(test)]
mod tests;
