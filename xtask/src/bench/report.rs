//! What a run of the benchmark says, for people and for programs.

use comfy_table::{CellAlignment, Table, presets};

use super::statistics::{median, ratio};
use super::work::Figure;

/// The figures of both servers, in the order in which they were first measured.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    /// Ottla's values and Apache Kafka's, pair by pair.
    values: [Vec<f64>; 2],
}

impl Report {
    /// Adds the figures of one run; `which` is 0 for Ottla and 1 for Apache Kafka.
    pub fn add(&mut self, which: usize, figures: Vec<Figure>) {
        for figure in figures {
            let known = self.rows.iter().position(|it| it.name == figure.name);
            let index = known.unwrap_or_else(|| {
                self.rows.push(Row { name: figure.name, values: Default::default() });
                self.rows.len() - 1
            });
            self.rows[index].values[which].push(figure.value);
        }
    }

    fn cells(&self) -> impl Iterator<Item = [String; 5]> {
        self.rows.iter().map(|row| {
            let [ours, theirs] = &row.values;
            let ratio = ratio(ours, theirs);
            [
                row.name.to_owned(),
                number(median(ours)),
                number(median(theirs)),
                number(ratio.median),
                format!("{} – {}", number(ratio.interval.0), number(ratio.interval.1)),
            ]
        })
    }

    /// A table for a terminal.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(HEADER);
        self.cells().for_each(|cells| {
            table.add_row(cells);
        });
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Everything measured, with the ratios.
    pub fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let [ours, theirs] = &row.values;
                let ratio = ratio(ours, theirs);
                serde_json::json!({
                    "figure": row.name,
                    "ottla": ours,
                    "kafka": theirs,
                    "ratio": { "median": ratio.median, "low": ratio.interval.0, "high": ratio.interval.1 },
                })
            })
            .collect();
        serde_json::to_string_pretty(&rows).unwrap_or_default()
    }

    /// `docs/performance.md`.
    pub fn page(&self, pairs: usize, mebibytes: usize, seconds: u64) -> String {
        let mut text = format!(
            "# Performance beside Apache Kafka 4.4.0\n\n\
             Written by `cargo xtask bench --write --pairs {pairs} --mebibytes {mebibytes} --seconds {seconds}`. Both servers \
             run on the same machine, one after the other in alternating order, in combined mode with one \
             replica, Apache Kafka with the flags of its own start script (1 GiB heap) and after a warm-up. \
             The load comes from a raw connection, not from Ottla's client. A ratio is the median of the \
             ratios pair by pair, with its 95 % bootstrap interval; absolute figures move with the machine. \
             \"Calm\" latencies leave out the samples during which the machine itself stood still.\n\n\
             A wide interval says that the machine was busy with other things: believe processor time per gigabyte and per \
             record, memory and starts before latencies and throughput then.\n\n\
             Neither server calls fsync on the produce path: `flush.messages` is at Kafka's default.\n\n",
        );
        text += &format!("| {} |\n|---|---:|---:|---:|---:|\n", HEADER.join(" | "));
        for cells in self.cells() {
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }
}

const HEADER: [&str; 5] = ["figure", "Ottla", "Apache Kafka", "ratio", "95 % interval"];

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
