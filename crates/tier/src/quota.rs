//! How many bytes a second may be copied or read (`RLMQuotaManager`, KIP-956).

use std::collections::VecDeque;
use std::time::Duration;

use ottla_base::Moment;

/// A rate over the last windows, held against a bound. Work is let through while the rate is within the bound, and
/// counted when it begins: a large piece is paid for afterwards.
#[derive(Debug)]
pub struct Quota {
    bytes_per_second: u64,
    window: Duration,
    windows: usize,
    /// When each window began, and its bytes.
    samples: VecDeque<(Moment, u64)>,
}

impl Quota {
    /// A bound, and over how many windows of which length it holds.
    pub fn new(bytes_per_second: u64, windows: usize, window: Duration) -> Quota {
        let window = window.max(Duration::from_millis(1));
        Quota { bytes_per_second, window, windows: windows.max(1), samples: VecDeque::new() }
    }

    /// Changes the bound.
    pub fn set_bound(&mut self, bytes_per_second: u64) {
        self.bytes_per_second = bytes_per_second;
    }

    /// Counts bytes.
    pub fn record(&mut self, bytes: u64, now: Moment) {
        self.forget(now);
        match self.samples.back_mut() {
            Some((begun, count)) if now.since(*begun) < self.window => *count = count.saturating_add(bytes),
            _ => self.samples.push_back((now, bytes)),
        }
    }

    /// How long to wait until the rate is within the bound again; zero if it is.
    pub fn throttle(&mut self, now: Moment) -> Duration {
        self.forget(now);
        let Some((oldest, _)) = self.samples.front() else { return Duration::ZERO };
        let bytes: u64 = self.samples.iter().map(|it| it.1).fold(0, u64::saturating_add);
        let elapsed = now.since(*oldest).max(self.window).as_secs_f64();
        let bound = self.bytes_per_second.max(1) as f64;
        let rate = bytes as f64 / elapsed;
        if rate <= bound {
            return Duration::ZERO;
        }
        // After so much more time without work the rate is the bound; or a window is forgotten before.
        let wait = bytes as f64 / bound - elapsed;
        let longest = self.window.as_secs_f64() * self.windows as f64;
        Duration::from_secs_f64(wait.clamp(0.001, longest))
    }

    fn forget(&mut self, now: Moment) {
        let kept = self.window * u32::try_from(self.windows).unwrap_or(u32::MAX);
        while self.samples.front().is_some_and(|it| now.since(it.0) >= kept) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_above_the_bound_waits_until_it_is_the_bound() {
        let at = |ms| Moment(Duration::from_millis(ms));
        let mut quota = Quota::new(100, 11, Duration::from_secs(1));
        assert_eq!(quota.throttle(at(0)), Duration::ZERO);
        quota.record(100, at(0));
        assert_eq!(quota.throttle(at(0)), Duration::ZERO);
        quota.record(300, at(500));
        assert_eq!(quota.throttle(at(500)), Duration::from_secs(3));
        assert!(quota.throttle(at(3_900)) > Duration::ZERO);
        assert_eq!(quota.throttle(at(4_000)), Duration::ZERO);
        assert_eq!(quota.throttle(at(20_000)), Duration::ZERO);
        quota.set_bound(u64::MAX);
        quota.record(u64::MAX, at(20_000));
        assert_eq!(quota.throttle(at(20_000)), Duration::ZERO);
    }
}
