//! The one kind of wake-up: somebody who waits on many logs hears once when any of them moved.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

/// Waits for the first of many events. Listen with it on any number of [`Progress`]es, look at what is
/// waited for once more, then wait.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    state: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    heard: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Listener {
    /// A listener that has heard nothing.
    pub fn new() -> Listener {
        Listener::default()
    }

    /// Whether anything listened on has moved since the listener was made or [`Listener::reset`].
    pub fn heard(&self) -> bool {
        self.state.heard.load(Ordering::Acquire)
    }

    /// Waits until something listened on moves; returns at once if it has.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.heard() {
                return Poll::Ready(());
            }
            let mut waker = self.state.waker.lock();
            // The wake-up sets the flag before it takes the waker: look again under the lock.
            if self.heard() {
                return Poll::Ready(());
            }
            match &mut *waker {
                Some(known) => known.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }

    /// Forgets what was heard. What had moved must be listened on again.
    pub fn reset(&self) {
        self.state.heard.store(false, Ordering::Release);
    }
}

impl Heard {
    fn wake(&self) {
        self.heard.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}

/// Something that moves and that others wait for. A move costs one atomic load when nobody listens.
#[derive(Debug, Default)]
pub struct Progress {
    count: AtomicUsize,
    listeners: Mutex<Vec<Arc<Heard>>>,
    /// The length at which listeners that went away are next looked for.
    sweep_at: AtomicUsize,
}

/// Fewer listeners than this are not worth sweeping.
const SWEEP_MIN: usize = 16;

impl Progress {
    /// Nobody listens.
    pub fn new() -> Progress {
        Progress::default()
    }

    /// The next move wakes `listener`, once. A listener that went away costs nothing for long.
    pub fn listen(&self, listener: &Listener) {
        let mut listeners = self.listeners.lock();
        if listeners.len() >= self.sweep_at.load(Ordering::Relaxed).max(SWEEP_MIN) {
            // Only this list still holds what its owner dropped.
            listeners.retain(|heard| Arc::strong_count(heard) > 1);
            self.sweep_at.store(listeners.len() * 2, Ordering::Relaxed);
        }
        if !listeners.iter().rev().take(1).any(|last| Arc::ptr_eq(last, &listener.state)) {
            listeners.push(listener.state.clone());
        }
        // Sequentially consistent with the load in `moved`: either that sees the listener, or the listener's
        // look at what it waits for, made after this, sees the move.
        self.count.store(listeners.len(), Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Wakes whoever listens. To be called after the move can be seen.
    pub fn moved(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = {
            let mut listeners = self.listeners.lock();
            self.count.store(0, Ordering::SeqCst);
            std::mem::take(&mut *listeners)
        };
        for heard in woken {
            heard.wake();
        }
    }
}

#[cfg(test)]
mod tests;
