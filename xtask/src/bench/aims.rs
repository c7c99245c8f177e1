//! What the figures shall be, as ratios of Ottla to Apache Kafka or as numbers of Ottla's own.

/// What is held against an aim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// The median of the ratios, which must not be larger.
    RatioAtMost,
    /// The median of the ratios, which must not be smaller.
    RatioAtLeast,
    /// Ottla's own median, which must not be larger.
    OwnAtMost,
}

/// What one figure shall be.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// The figure's name.
    pub figure: &'static str,
    /// What is compared.
    pub measure: Measure,
    /// What it must be at the least.
    pub target: f64,
    /// What is hoped for.
    pub hope: f64,
}

const fn at_most(figure: &'static str, target: f64, hope: f64) -> Aim {
    Aim { figure, measure: Measure::RatioAtMost, target, hope }
}

const fn at_least(figure: &'static str, target: f64, hope: f64) -> Aim {
    Aim { figure, measure: Measure::RatioAtLeast, target, hope }
}

/// All of them, in the order of the page.
pub const AIMS: [Aim; 33] = [
    at_least("produce 1 KiB, MiB/s", 1.2, 1.5),
    at_least("consume 1 KiB, MiB/s", 1.0, 1.3),
    at_least("consume cold, MiB/s", 1.0, 1.3),
    at_most("produce 1 KiB, broker CPU-s/GB", 0.40, 0.25),
    at_most("consume 1 KiB, broker CPU-s/GB", 0.60, 0.35),
    at_most("10,000/s of 100 B, broker CPU-µs/record", 0.35, 0.20),
    at_most("10,000/s of 100 B, end to end p99 calm, ms", 0.4, 0.25),
    at_most("10,000/s of 100 B, end to end p99.9 calm, ms", 0.3, 0.1),
    at_most("half of the most, end to end p99 calm, ms", 0.4, 0.25),
    at_most("half of the most, end to end p99.9 calm, ms", 0.3, 0.1),
    at_most("resident idle, MiB", 0.05, 0.03),
    at_most("resident under load, MiB", 0.15, 0.08),
    at_most("start empty to first produce, ms", 0.05, 0.03),
    at_most("start with 10,000 partitions, ms", 0.15, 0.1),
    at_most("start after kill -9 with 10 GB, ms", 0.4, 0.2),
    at_most("cold start after kill -9 with 10 GB, ms", 0.6, 0.4),
    at_least("compaction, MiB/s", 1.0, 2.0),
    at_most("1,000/s of 100 B beside compaction, ack p99 calm, ms", 0.5, 0.25),
    at_least("tier upload, MiB/s", 1.0, 1.3),
    at_most("1,000/s of 100 B beside tier upload, ack p99 calm, ms", 0.5, 0.25),
    at_least("tier cold read, MiB/s", 1.0, 1.5),
    at_least("transactions back to back, 1 producer, /s", 2.0, 3.0),
    at_least("transactions back to back, 20 producers, /s", 2.0, 3.0),
    at_least("transactions of 10 ms, 1 producer, /s", 2.0, 3.0),
    at_least("transactions of 10 ms, 20 producers, /s", 2.0, 3.0),
    at_most("classic group of 1000 as it beats, broker CPU-µs per heartbeat", 0.3, 0.15),
    at_most("classic group of 1000 at 5,000/s, broker CPU-µs per heartbeat", 0.3, 0.15),
    at_most("consumer group of 1000 as it beats, broker CPU-µs per heartbeat", 0.3, 0.15),
    at_most("consumer group of 1000 at 5,000/s, broker CPU-µs per heartbeat", 0.3, 0.15),
    at_most("classic group of 1000, first join to stable, ms", 0.5, 0.25),
    at_most("consumer group of 1000, first join to stable, ms", 0.5, 0.25),
    at_least("share group of 50, records/s", 1.0, 1.5),
    Aim { figure: "10,000 idle connections, KiB each", measure: Measure::OwnAtMost, target: 8.0, hope: 4.0 },
];

impl Aim {
    /// The aim of a figure.
    pub fn of(figure: &str) -> Option<&'static Aim> {
        AIMS.iter().find(|it| it.figure == figure)
    }

    /// As it is shown: the target and the hope.
    pub fn shown(&self) -> String {
        match self.measure {
            Measure::RatioAtMost => format!("≤ {} ({})", self.target, self.hope),
            Measure::RatioAtLeast => format!("≥ {} ({})", self.target, self.hope),
            Measure::OwnAtMost => format!("Ottla ≤ {} ({})", self.target, self.hope),
        }
    }

    /// How far a figure is: beyond hope, met, or missed.
    pub fn verdict(&self, own: f64, ratio: f64) -> &'static str {
        let (value, more) = match self.measure {
            Measure::RatioAtMost => (ratio, false),
            Measure::RatioAtLeast => (ratio, true),
            Measure::OwnAtMost => (own, false),
        };
        let reaches = |bound: f64| if more { value >= bound } else { value <= bound };
        match () {
            () if value.is_nan() => "not measured",
            () if reaches(self.hope) => "exceeded",
            () if reaches(self.target) => "met",
            () => "missed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let more = at_least("a", 1.2, 1.5);
        assert_eq!([1.1, 1.3, 1.6].map(|it| more.verdict(0.0, it)), ["missed", "met", "exceeded"]);
        let less = at_most("a", 0.4, 0.2);
        assert_eq!([0.5, 0.4, 0.1].map(|it| less.verdict(0.0, it)), ["missed", "met", "exceeded"]);
        assert_eq!(less.verdict(1.0, f64::NAN), "not measured");
    }
}
