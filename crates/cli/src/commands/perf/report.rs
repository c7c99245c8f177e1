//! Latencies as a distribution, and results as people and programs read them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::failure::Outcome;
use crate::output::{Output, Style};

/// The longest latency that is told from longer ones: ten minutes.
const MAX_MICROS: u64 = 600_000_000;
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// How long things took.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Latencies {
        Latencies(Histogram::new_with_max(MAX_MICROS, 3).expect("the bounds are in order"))
    }

    pub(super) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(MAX_MICROS));
    }

    pub(super) fn add(&mut self, others: &Latencies) {
        self.0.add(&others.0).expect("all have the same bounds");
    }

    fn quantiles(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let millis = |micros: u64| micros as f64 / 1000.0;
        QUANTILES.into_iter().map(move |(name, quantile)| (name, millis(self.0.value_at_quantile(quantile))))
    }

    fn mean_ms(&self) -> f64 {
        self.0.mean() / 1000.0
    }
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) latencies: Option<Latencies>,
}

impl Result {
    pub(super) fn print(&self, style: Style, output: &mut Output) -> Outcome {
        let per_second = super::rate(self.records, self.took);
        let mib_per_second = super::rate(self.bytes, self.took) / super::MIB;
        if style.json {
            let mut value = json!({
                "records": self.records,
                "bytes": self.bytes,
                "seconds": self.took.as_secs_f64(),
                "records_per_second": per_second,
                "mib_per_second": mib_per_second,
            });
            if let (Some(latencies), Some(fields)) = (&self.latencies, value.as_object_mut()) {
                let mut quantiles: Map<String, Value> =
                    latencies.quantiles().map(|(name, ms)| (name.to_owned(), json!(ms))).collect();
                quantiles.insert("mean".to_owned(), json!(latencies.mean_ms()));
                fields.insert("latency_ms".to_owned(), Value::Object(quantiles));
            }
            return output.json(&value);
        }
        output.line(format_args!(
            "{} records, {:.1} MiB in {:.2} s: {per_second:.0} records/s, {mib_per_second:.2} MiB/s",
            self.records,
            self.bytes as f64 / super::MIB,
            self.took.as_secs_f64()
        ))?;
        let Some(latencies) = &self.latencies else { return Ok(()) };
        let quantiles: Vec<String> =
            latencies.quantiles().map(|(name, ms)| format!("{name} {ms:.2} ms")).collect();
        output.line(format_args!("latency: mean {:.2} ms, {}", latencies.mean_ms(), quantiles.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(json: bool) -> String {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|it| latencies.record(Duration::from_millis(it)));
        let took = Duration::from_secs(2);
        let result = Result { records: 1000, bytes: 2 << 20, took, latencies: Some(latencies) };
        let mut output = Output::in_memory();
        result.print(Style { json }, &mut output).unwrap();
        output.text().to_owned()
    }

    #[test]
    fn results_are_told_in_words_and_as_json() {
        let text = print(false);
        assert!(
            text.starts_with(
                "1000 records, 2.0 MiB in 2.00 s: 500 records/s, 1.00 MiB/s\nlatency: mean 500."
            )
        );
        assert!(text.contains("p99 990.") && text.contains("p50 500."), "{text}");
        let value: Value = serde_json::from_str(&print(true)).unwrap();
        assert_eq!(value["records_per_second"], 500.0);
        assert!(value["latency_ms"]["max"].as_f64().unwrap() >= 1000.0);
    }
}
