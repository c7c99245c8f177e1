//! How long the controller's decisions take: slow ones are told at once, all of them now and then
//! (`EventPerformanceMonitor`).

use std::time::Duration;

use ottla_base::Moment;
use ottla_metadata::settings::ServerSettings;

/// What is known of the decisions since the last summary.
#[derive(Debug)]
pub(super) struct DecisionTimes {
    /// What takes as long is told (`controller.performance.always.log.threshold.ms`).
    slow: Duration,
    /// How often a summary is told (`controller.performance.sample.period.ms`).
    period: Duration,
    began: Moment,
    count: u32,
    total: Duration,
    slowest: (Duration, &'static str),
}

/// What is to be told of the decisions of a period.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) decisions: u32,
    pub(super) average: Duration,
    pub(super) slowest: (Duration, &'static str),
}

impl DecisionTimes {
    pub(super) fn new(settings: &ServerSettings, now: Moment) -> DecisionTimes {
        let ms = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        DecisionTimes {
            slow: ms(settings.quorum.controller_performance_always_log_threshold_ms),
            period: ms(settings.quorum.controller_performance_sample_period_ms),
            began: now,
            count: 0,
            total: Duration::ZERO,
            slowest: (Duration::ZERO, ""),
        }
    }

    /// Takes note of a decision. Gives a summary when it is time for one.
    pub(super) fn note(&mut self, name: &'static str, asked: Moment, decided: Moment) -> Option<Summary> {
        let took = decided.since(asked);
        if took >= self.slow {
            tracing::info!(decision = name, ?took, "a decision of the controller was exceptionally slow");
        }
        self.count += 1;
        self.total += took;
        self.slowest = self.slowest.max((took, name));
        if decided.since(self.began) < self.period {
            return None;
        }
        let summary =
            Summary { decisions: self.count, average: self.total / self.count, slowest: self.slowest };
        (self.began, self.count, self.total, self.slowest) =
            (decided, 0, Duration::ZERO, (Duration::ZERO, ""));
        Some(summary)
    }
}

impl Summary {
    pub(super) fn tell(&self, period: &DecisionTimes) {
        tracing::debug!(
            period = ?period.period, decisions = self.decisions, average = ?self.average,
            slowest = self.slowest.1, took = ?self.slowest.0, "decisions of the controller"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ottla_base::Moment;
    use ottla_metadata::settings::ServerLayers;

    use super::{DecisionTimes, Summary};

    #[test]
    fn decisions_are_summed_up_once_in_a_period() {
        let texts = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("controller.listener.names", "CONTROLLER"),
            ("listeners", "PLAINTEXT://localhost:1,CONTROLLER://localhost:2"),
            ("controller.quorum.bootstrap.servers", "localhost:2"),
            ("controller.performance.sample.period.ms", "1000"),
        ];
        let texts = texts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = ServerLayers::new(texts).settings().unwrap();
        let at = |ms: u64| Moment(Duration::from_millis(ms));
        let mut times = DecisionTimes::new(&settings, at(0));
        assert_eq!(times.note("CreateTopics", at(0), at(30)), None);
        assert_eq!(times.note("WriteNoOp", at(500), at(510)), None);
        let summary = times.note("WriteNoOp", at(995), at(1000)).unwrap();
        let slowest = (Duration::from_millis(30), "CreateTopics");
        assert_eq!(summary, Summary { decisions: 3, average: Duration::from_millis(15), slowest });
        assert_eq!(times.note("WriteNoOp", at(1500), at(1510)), None);
    }
}
