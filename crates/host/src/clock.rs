//! Time: the real clock, or one that a test moves.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ottla_base::{Moment, Timestamp};

/// The time ran out before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time ran out")
    }
}

impl std::error::Error for Elapsed {}

/// The computer's own clock. Moments count from when it was made.
#[derive(Debug)]
pub(crate) struct RealClock {
    start: Instant,
}

impl RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is what the ban names as its replacement")]
    pub(crate) fn new() -> RealClock {
        RealClock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is what the ban names as its replacement")]
    pub(crate) fn wall_clock(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that a test moves: by [`SimulatedClock::advance`], and inside a tokio runtime with paused time
/// also by that runtime, which jumps to the next timer when nothing else can run.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    advanced_nanos: AtomicU64,
    runtime_start: OnceLock<tokio::time::Instant>,
}

/// The wall clock of every simulated host at moment zero: 2024-01-01T00:00:00Z.
const SIMULATED_EPOCH_MS: i64 = 1_704_067_200_000;

impl SimulatedClock {
    pub(crate) fn new() -> SimulatedClock {
        SimulatedClock { advanced_nanos: AtomicU64::new(0), runtime_start: OnceLock::new() }
    }

    #[expect(clippy::disallowed_methods, reason = "inside a runtime with paused time this is simulated")]
    pub(crate) fn now(&self) -> Moment {
        let advanced = Duration::from_nanos(self.advanced_nanos.load(Ordering::SeqCst));
        if tokio::runtime::Handle::try_current().is_err() {
            return Moment(advanced);
        }
        let instant = tokio::time::Instant::now();
        let start = *self.runtime_start.get_or_init(|| instant);
        Moment(advanced + instant.saturating_duration_since(start))
    }

    pub(crate) fn wall_clock(&self) -> Timestamp {
        let elapsed_ms = i64::try_from(self.now().0.as_millis()).unwrap_or(i64::MAX);
        Timestamp(SIMULATED_EPOCH_MS.saturating_add(elapsed_ms))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.advanced_nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}
