//! How much memory all requests together may take (`queued.max.request.bytes`).
//!
//! A connection charges what a large frame takes before it reads on, and gives it back when the request has
//! been answered. Above the limit connections wait, all but one: it may go on until its frame is complete,
//! so that half-read frames cannot block each other for ever. Small frames are charged but never wait: they
//! are in the connection's buffer already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

#[cfg(test)]
mod tests;

/// The memory of the requests of a whole server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    /// Whether some charge was let beyond the limit.
    overdrawn: AtomicBool,
    /// How many wait; a look at it spares the lock.
    waiting: AtomicUsize,
    wakers: Mutex<BTreeMap<u64, Waker>>,
    next_waiter: AtomicU64,
}

/// A part of the budget that is in use; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: usize,
    overdraws: bool,
    /// Under which number it waits, or did.
    waiter: Option<u64>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit_bytes: usize) -> Budget {
        let state = State {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            overdrawn: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            wakers: Mutex::default(),
            next_waiter: AtomicU64::new(0),
        };
        Budget { state: Arc::new(state) }
    }

    /// What is in use.
    pub fn used_bytes(&self) -> usize {
        self.state.used_bytes.load(Ordering::SeqCst)
    }

    /// What may be in use.
    pub fn limit_bytes(&self) -> usize {
        self.state.limit_bytes
    }

    /// A charge of nothing.
    pub(crate) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), bytes: 0, overdraws: false, waiter: None }
    }

    fn try_use(&self, bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.state.limit_bytes);
        self.state.used_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, within).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.state.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
        if self.state.waiting.load(Ordering::SeqCst) > 0 {
            let wakers = {
                let mut wakers = self.state.wakers.lock();
                self.state.waiting.store(0, Ordering::SeqCst);
                std::mem::take(&mut *wakers)
            };
            wakers.into_values().for_each(Waker::wake);
        }
    }
}

impl Charge {
    /// Grows the charge to `bytes` in all, or waits until that is possible. Never shrinks it.
    pub(crate) fn poll_grow(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        if self.try_grow(bytes) {
            return Poll::Ready(());
        }
        let state = &self.budget.state;
        let waiter = *self.waiter.get_or_insert_with(|| state.next_waiter.fetch_add(1, Ordering::SeqCst));
        {
            let mut wakers = state.wakers.lock();
            wakers.insert(waiter, cx.waker().clone());
            state.waiting.store(wakers.len(), Ordering::SeqCst);
        }
        // What was given back before the waker was there has woken nobody.
        if self.try_grow(bytes) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Makes the charge exactly `bytes`, whether they are there or not.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.budget.state.used_bytes.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else {
            self.budget.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    fn try_grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        if !self.budget.try_use(more) {
            let state = &self.budget.state;
            self.overdraws = self.overdraws || !state.overdrawn.swap(true, Ordering::SeqCst);
            if !self.overdraws {
                return false;
            }
            state.used_bytes.fetch_add(more, Ordering::SeqCst);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let state = &self.budget.state;
        if let Some(waiter) = self.waiter {
            let mut wakers = state.wakers.lock();
            wakers.remove(&waiter);
            state.waiting.store(wakers.len(), Ordering::SeqCst);
        }
        if self.overdraws {
            state.overdrawn.store(false, Ordering::SeqCst);
        }
        if self.bytes > 0 || self.overdraws {
            self.budget.give_back(self.bytes);
        }
    }
}
