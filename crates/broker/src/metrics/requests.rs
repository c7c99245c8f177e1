//! `kafka.network:type=RequestMetrics`: how many requests of each API came, and where their time went.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use ottla_base::ErrorCode;
use parking_lot::Mutex;

use super::exposition::{Kind, Page};
use super::instrument::{Counter, Histogram};

/// One more than the highest API key of Kafka 4.4.
const API_KEYS: usize = 95;
/// No API has more versions than this.
const MAX_VERSIONS: usize = 32;

/// What is known of every API that was called at least once.
pub struct RequestMetrics {
    apis: [OnceLock<Box<ApiMetrics>>; API_KEYS],
}

impl Default for RequestMetrics {
    fn default() -> Self {
        RequestMetrics { apis: [const { OnceLock::new() }; API_KEYS] }
    }
}

/// What is known of the requests of one API.
pub struct ApiMetrics {
    name: &'static str,
    versions: [Counter; MAX_VERSIONS],
    without_error: Counter,
    errors: Mutex<BTreeMap<ErrorCode, u64>>,
    request_bytes: Histogram,
    total_time_us: Histogram,
    local_time_us: Histogram,
    remote_time_us: Histogram,
    send_time_us: Histogram,
    throttle_time_us: Histogram,
}

/// Where the time of one request went.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestTimes {
    /// Stage one: on the connection's task, in order (`LocalTimeMs`).
    pub local: Duration,
    /// Stage two: waiting for replicas, for data, for the controller (`RemoteTimeMs`).
    pub remote: Duration,
    /// Waiting for earlier answers and writing to the socket (`ResponseSendTimeMs`).
    pub send: Duration,
}

impl RequestMetrics {
    /// The metrics of an API, made when it is called first.
    pub fn api(&self, key: i16, name: &'static str) -> Option<&ApiMetrics> {
        let slot = self.apis.get(usize::try_from(key).ok()?)?;
        Some(slot.get_or_init(|| Box::new(ApiMetrics::new(name))))
    }

    /// Ends a window of every histogram; called every few minutes.
    pub fn rotate(&self) {
        for api in self.apis.iter().filter_map(OnceLock::get) {
            for histogram in api.histograms() {
                histogram.rotate();
            }
        }
    }

    /// Writes every family.
    pub fn render(&self, page: &mut Page) {
        let apis = || self.apis.iter().filter_map(OnceLock::get);
        let mut family = page.family(
            "kafka_network_requestmetrics_requests_total",
            Kind::Counter,
            "Requests, by API and version.",
        );
        for api in apis() {
            for (version, counter) in api.versions.iter().enumerate().filter(|it| it.1.get() > 0) {
                family.sample(&[("request", api.name), ("version", &version.to_string())], counter.get());
            }
        }
        let mut family = page.family(
            "kafka_network_requestmetrics_errors_total",
            Kind::Counter,
            "Answers, by API and error code.",
        );
        for api in apis() {
            family.sample(&[("request", api.name), ("error", "NONE")], api.without_error.get());
            for (code, count) in api.errors.lock().iter() {
                family.sample(&[("request", api.name), ("error", code.name())], count);
            }
        }
        for (name, help, unit, of) in FAMILIES {
            let mut family = page.family(name, Kind::Summary, help);
            for api in apis() {
                family.histogram(&[("request", api.name)], of(api), *unit);
            }
        }
    }
}

type HistogramFamily = (&'static str, &'static str, f64, fn(&ApiMetrics) -> &Histogram);

const MILLISECONDS: f64 = 1000.0;

const FAMILIES: &[HistogramFamily] = &[
    (
        "kafka_network_requestmetrics_totaltimems",
        "First byte handled to last byte sent, in ms.",
        MILLISECONDS,
        |it| &it.total_time_us,
    ),
    (
        "kafka_network_requestmetrics_localtimems",
        "Time on the connection's own task, in ms.",
        MILLISECONDS,
        |it| &it.local_time_us,
    ),
    (
        "kafka_network_requestmetrics_remotetimems",
        "Time spent waiting for others, in ms.",
        MILLISECONDS,
        |it| &it.remote_time_us,
    ),
    (
        "kafka_network_requestmetrics_responsesendtimems",
        "Time to send the answer, in ms.",
        MILLISECONDS,
        |it| &it.send_time_us,
    ),
    (
        "kafka_network_requestmetrics_throttletimems",
        "Time a quota held the client, in ms.",
        MILLISECONDS,
        |it| &it.throttle_time_us,
    ),
    ("kafka_network_requestmetrics_requestbytes", "Size of requests, in bytes.", 1.0, |it| &it.request_bytes),
];

impl ApiMetrics {
    fn new(name: &'static str) -> ApiMetrics {
        ApiMetrics {
            name,
            versions: [const { Counter::new() }; MAX_VERSIONS],
            without_error: Counter::default(),
            errors: Mutex::default(),
            request_bytes: Histogram::default(),
            total_time_us: Histogram::default(),
            local_time_us: Histogram::default(),
            remote_time_us: Histogram::default(),
            send_time_us: Histogram::default(),
            throttle_time_us: Histogram::default(),
        }
    }

    fn histograms(&self) -> [&Histogram; 6] {
        [
            &self.request_bytes,
            &self.total_time_us,
            &self.local_time_us,
            &self.remote_time_us,
            &self.send_time_us,
            &self.throttle_time_us,
        ]
    }

    /// Notes a request as it arrives.
    pub fn received(&self, version: i16, bytes: usize) {
        if let Some(counter) = usize::try_from(version).ok().and_then(|it| self.versions.get(it)) {
            counter.increment();
        }
        self.request_bytes.record(bytes as u64);
    }

    /// Notes the error code of an answer, or of one part of it.
    pub fn answered(&self, code: ErrorCode) {
        match code {
            ErrorCode::None => self.without_error.increment(),
            _ => *self.errors.lock().entry(code).or_default() += 1,
        }
    }

    /// Notes where the time of a request went once its answer has left.
    pub fn sent(&self, times: RequestTimes) {
        let microseconds = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        self.local_time_us.record(microseconds(times.local));
        self.remote_time_us.record(microseconds(times.remote));
        self.send_time_us.record(microseconds(times.send));
        self.total_time_us.record(microseconds(times.local + times.remote + times.send));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_called_apis_are_shown() {
        let metrics = RequestMetrics::default();
        assert!(metrics.api(95, "Beyond").is_none());
        assert!(metrics.api(-1, "Before").is_none());
        let api = metrics.api(1, "Fetch").expect("key 1 exists");
        api.received(18, 100);
        api.answered(ErrorCode::None);
        api.answered(ErrorCode::OffsetOutOfRange);
        api.sent(RequestTimes { local: Duration::from_millis(1), ..RequestTimes::default() });
        let mut page = Page::default();
        metrics.render(&mut page);
        let text = page.into_text();
        for line in [
            "kafka_network_requestmetrics_requests_total{request=\"Fetch\",version=\"18\"} 1",
            "kafka_network_requestmetrics_errors_total{request=\"Fetch\",error=\"NONE\"} 1",
            "kafka_network_requestmetrics_errors_total{request=\"Fetch\",error=\"OFFSET_OUT_OF_RANGE\"} 1",
            "kafka_network_requestmetrics_totaltimems_count{request=\"Fetch\"} 1",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
        assert!(!text.contains("Produce"));
    }
}
