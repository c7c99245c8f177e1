//! The Prometheus text format, written straight from state.

use std::fmt::{Display, Write};

use super::instrument::{Histogram, QUANTILES};

/// The content type of [`Page::into_text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of samples is, as Prometheus names it.
#[derive(Clone, Copy)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Quantiles and a count.
    Summary,
}

/// A page of metrics under construction. All samples of a family must be written together.
#[derive(Default)]
pub struct Page {
    text: String,
}

/// The samples of one family.
pub struct Family<'page> {
    page: &'page mut Page,
    name: &'page str,
}

impl Page {
    /// Begins a family; `name` is what Kafka's JMX exporter yields for the MBean.
    pub fn family<'page>(&'page mut self, name: &'page str, kind: Kind, help: &str) -> Family<'page> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name }
    }

    /// A family with one sample and no labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// A family with one sample and no labels that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// Writes the quantiles and the count of a histogram; values are divided by `unit`.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram, unit: f64) {
        for (thousandths, value) in QUANTILES.iter().zip(histogram.quantiles()) {
            let quantile = format!("{}", f64::from(*thousandths) / 1000.0);
            let labelled = [labels, &[("quantile", quantile.as_str())]].concat();
            self.line("", &labelled, value as f64 / unit);
        }
        self.line("_sum", labels, histogram.sum() as f64 / unit);
        self.line("_count", labels, histogram.count());
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            text.push_str(if index == 0 { "{" } else { "," });
            text.push_str(name);
            text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    _ => text.push(letter),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.family("a_total", Kind::Counter, "Things.").sample(&[("x", "a\"b\\c\nd"), ("y", "z")], 3);
        assert_eq!(
            page.into_text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"a\\\"b\\\\c\\nd\",y=\"z\"} 3\n"
        );
    }

    #[test]
    fn a_histogram_is_a_summary() {
        let histogram = Histogram::default();
        histogram.record(2000);
        let mut page = Page::default();
        page.family("t", Kind::Summary, "Times.").histogram(&[("request", "Fetch")], &histogram, 1000.0);
        let text = page.into_text();
        assert!(text.contains("t{request=\"Fetch\",quantile=\"0.999\"} 2.0"), "{text}");
        assert!(text.ends_with("t_sum{request=\"Fetch\"} 2\nt_count{request=\"Fetch\"} 1\n"), "{text}");
    }
}
