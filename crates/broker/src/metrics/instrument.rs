//! What measures: counters that only grow, and histograms whose quantiles follow the last minutes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Each power of two is cut into this many buckets: quantiles are right within 6 %.
const BUCKETS_PER_POWER: usize = 16;
/// Values from 2^40 on (12 days in microseconds) share the last bucket.
const POWERS: usize = 37;
const BUCKETS: usize = BUCKETS_PER_POWER * POWERS;

/// The quantiles that Kafka's histograms export, as thousandths.
pub const QUANTILES: [u32; 6] = [500, 750, 950, 980, 990, 999];

/// How often each size of value was seen in this window and in the one before it.
pub struct Histogram {
    count: AtomicU64,
    sum: AtomicU64,
    windows: [Box<[AtomicU32; BUCKETS]>; 2],
}

impl Default for Histogram {
    fn default() -> Self {
        let window = || Box::new([const { AtomicU32::new(0) }; BUCKETS]);
        Histogram { count: AtomicU64::new(0), sum: AtomicU64::new(0), windows: [window(), window()] }
    }
}

impl Histogram {
    /// Notes one value.
    pub fn record(&self, value: u64) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.windows[0][bucket(value)].fetch_add(1, Relaxed);
    }

    /// How many values were ever noted.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The sum of all values ever noted.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The values below which the asked [`QUANTILES`] of the last two windows lie; zeros if there were none.
    pub fn quantiles(&self) -> [u64; QUANTILES.len()] {
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|it| {
                u64::from(self.windows[0][it].load(Relaxed)) + u64::from(self.windows[1][it].load(Relaxed))
            })
            .collect();
        let total: u64 = counts.iter().sum();
        QUANTILES.map(|thousandths| {
            let rank = (total * u64::from(thousandths)).div_ceil(1000).max(1);
            let mut seen = 0;
            for (index, count) in counts.iter().enumerate() {
                seen += count;
                if seen >= rank {
                    return upper_bound(index);
                }
            }
            0
        })
    }

    /// The largest value of the last two windows, as far as buckets tell; zero if there was none.
    pub fn max(&self) -> u64 {
        let is_seen = |it: &usize| self.windows.iter().any(|window| window[*it].load(Relaxed) > 0);
        (0..BUCKETS).rev().find(is_seen).map_or(0, upper_bound)
    }

    /// Ends the window: what was the present becomes the past, the past is forgotten.
    pub fn rotate(&self) {
        for (present, past) in self.windows[0].iter().zip(self.windows[1].iter()) {
            past.store(present.swap(0, Relaxed), Relaxed);
        }
    }
}

/// How long something takes: noted in microseconds, told in milliseconds.
#[derive(Default)]
pub struct Times(Histogram);

impl Times {
    /// Notes one time.
    pub fn note(&self, took: Duration) {
        self.0.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many were ever noted.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The average of all that were ever noted, in milliseconds; zero if there were none.
    pub fn average_ms(&self) -> f64 {
        milliseconds(self.0.sum()) / self.0.count().max(1) as f64
    }

    /// The longest of the last two windows, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        milliseconds(self.0.max())
    }

    /// What [`Histogram::quantiles`] gives, in milliseconds.
    pub fn quantiles_ms(&self) -> [f64; QUANTILES.len()] {
        self.0.quantiles().map(milliseconds)
    }

    /// Ends the window.
    pub fn rotate(&self) {
        self.0.rotate();
    }
}

fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

fn bucket(value: u64) -> usize {
    let linear = BUCKETS_PER_POWER as u64;
    if value < linear {
        return value as usize;
    }
    let power = value.ilog2() as usize; // at least 4
    let within = (value >> (power - 4)) as usize & (BUCKETS_PER_POWER - 1);
    ((power - 3) * BUCKETS_PER_POWER + within).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn upper_bound(index: usize) -> u64 {
    if index < BUCKETS_PER_POWER {
        return index as u64;
    }
    let power = index / BUCKETS_PER_POWER + 3;
    let within = (index % BUCKETS_PER_POWER + BUCKETS_PER_POWER) as u64;
    ((within + 1) << (power - 4)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket() {
        for value in (0..100_000).chain([1 << 30, (1 << 39) + 12_345]) {
            let index = bucket(value);
            assert!(upper_bound(index) >= value, "{value}");
            assert!(index == 0 || upper_bound(index - 1) < value, "{value}");
            assert!(upper_bound(index) <= value + value / 16, "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn times_are_told_in_milliseconds() {
        let times = Times::default();
        assert_eq!((times.count(), times.average_ms(), times.max_ms()), (0, 0.0, 0.0));
        times.note(Duration::from_millis(1));
        times.note(Duration::from_millis(3));
        assert_eq!((times.count(), times.average_ms()), (2, 2.0));
        assert!((3.0..3.2).contains(&times.max_ms()), "{}", times.max_ms());
        assert!((1.0..1.1).contains(&times.quantiles_ms()[0]));
        times.note(Duration::MAX);
        assert_eq!(times.count(), 3);
    }

    #[test]
    fn quantiles_follow_the_last_two_windows() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantiles(), [0; 6]);
        (1..=1000).for_each(|it| histogram.record(it));
        let [median, .., last] = histogram.quantiles();
        assert!((500..=532).contains(&median), "{median}");
        assert!((999..=1063).contains(&last), "{last}");
        assert!((1000..=1063).contains(&histogram.max()), "{}", histogram.max());
        histogram.rotate();
        assert_eq!(histogram.quantiles()[0], median);
        assert!(histogram.max() >= 1000);
        histogram.rotate();
        assert_eq!(histogram.quantiles(), [0; 6]);
        assert_eq!(histogram.max(), 0);
        assert_eq!((histogram.count(), histogram.sum()), (1000, 500_500));
    }
}
