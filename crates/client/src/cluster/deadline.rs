//! When a call must have ended, and how long to pause between its attempts.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::Moment;
use ottla_host::Host;

use crate::error::Error;

/// When a public call must have ended. Everything that is done for it is done by then.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    what: &'static str,
    limit: Duration,
    at: Moment,
}

impl Deadline {
    /// `limit` from now, for `what`, which messages name.
    pub fn after(host: &Host, what: &'static str, limit: Duration) -> Deadline {
        Deadline { what, limit, at: host.now() + limit }
    }

    /// The moment.
    pub fn at(&self) -> Moment {
        self.at
    }

    /// The error of a call that has not ended by then, with what went wrong last.
    pub(crate) fn passed(&self, cause: Option<Error>) -> Error {
        match cause {
            // It says what to do, and that is not to wait longer.
            Some(error @ Error::Unreachable(_)) => error,
            cause => Error::TimedOut { what: self.what, limit: self.limit, cause: cause.map(Arc::new) },
        }
    }
}

/// Pauses between attempts: doubling, with jitter, so that clients do not come back all at once (KIP-580).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first_ms: i64, longest_ms: i64) -> Backoff {
        let millis = |it: i64| Duration::from_millis(it.max(0) as u64);
        Backoff { first: millis(first_ms), longest: millis(longest_ms.max(first_ms)), attempts: 0 }
    }

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self, host: &Host) -> Duration {
        let pause = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        let jitter = 0.8 + 0.4 * (host.random_u64() >> 11) as f64 / (1u64 << 53) as f64;
        pause.mul_f64(jitter)
    }

    /// How many attempts there were.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts an attempt that was made without a pause.
    pub(crate) fn count(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}
