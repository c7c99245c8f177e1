//! Points on a host's monotonic clock.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::Timestamp;

/// A point on the monotonic clock of the host that made it, counted from that clock's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;
    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}

/// When something happens: on the monotonic clock, which decides about durations, and on the wall clock, which is what
/// records tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock; every timeout is measured on it.
    pub moment: Moment,
    /// The wall clock; written into records and shown to people.
    pub wall_clock: Timestamp,
}
