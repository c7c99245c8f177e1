//! What a run of the benchmark says, for people and for programs.

use comfy_table::{CellAlignment, Table, presets};

use super::aims::{AIMS, Aim};
use super::results::Run;
use super::statistics::{Ratio, median, ratio};
use crate::compat::reference::KAFKA;

/// The figures of all workloads.
pub struct Report {
    /// What the other server is called if it is not Apache Kafka.
    rival: Option<String>,
    rows: Vec<Row>,
    failures: Vec<String>,
}

struct Row {
    workload: String,
    name: String,
    /// Ottla's values and the other's by pair; the machine's own stand in the first.
    values: [Vec<(usize, f64)>; 2],
    of_the_machine: bool,
    /// What it shall be beside Apache Kafka.
    aim: Option<&'static Aim>,
}

impl Row {
    fn of(&self, which: usize) -> Vec<f64> {
        self.values[which].iter().map(|it| it.1).collect()
    }

    fn ratio(&self) -> Ratio {
        let theirs = |pair| self.values[1].iter().find(|it| it.0 == pair).map(|it| it.1);
        let pairs = self.values[0].iter().filter_map(|(pair, ours)| Some((*ours, theirs(*pair)?)));
        let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.unzip();
        ratio(&ours, &theirs)
    }

    fn cells(&self) -> [String; 7] {
        let (ours, ratio) = (median(&self.of(0)), self.ratio());
        [
            self.name.clone(),
            number(ours),
            number(median(&self.of(1))),
            number(ratio.median),
            match self.values[1].is_empty() {
                true => String::new(),
                false => format!("{} – {}", number(ratio.interval.0), number(ratio.interval.1)),
            },
            self.aim.map(Aim::shown).unwrap_or_default(),
            self.aim.map(|it| it.verdict(ours, ratio.median).to_owned()).unwrap_or_default(),
        ]
    }
}

impl Report {
    /// Orders Ottla's runs, the machine's and those of one other server by workload and figure: Apache Kafka's if no
    /// rival is named. What the figures shall be is about Apache Kafka alone.
    pub fn of(runs: &[Run], rival: Option<&str>) -> Report {
        let theirs = rival.unwrap_or("kafka");
        let mut report = Report { rival: rival.map(str::to_owned), rows: Vec::new(), failures: Vec::new() };
        for run in runs.iter().filter(|it| ["ottla", "machine", theirs].contains(&it.maker.as_str())) {
            if let Some(error) = &run.error {
                let line = format!("{} on {}, pair {}: {error}", run.workload, run.maker, run.pair + 1);
                report.failures.push(line);
            }
            for (name, value) in &run.figures {
                let known = report.rows.iter().position(|it| it.workload == run.workload && it.name == *name);
                let index = known.unwrap_or_else(|| {
                    report.rows.push(Row {
                        workload: run.workload.clone(),
                        name: name.clone(),
                        values: Default::default(),
                        of_the_machine: run.maker == "machine",
                        aim: if rival.is_none() { Aim::of(name) } else { None },
                    });
                    report.rows.len() - 1
                });
                report.rows[index].values[usize::from(run.maker == theirs)].push((run.pair, *value));
            }
        }
        report
    }

    /// What could not be measured.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The names of the workloads, in the order in which they were run.
    fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.workload.as_str()) {
                names.push(&row.workload);
            }
        }
        names
    }

    fn header(&self) -> [&str; 7] {
        let theirs = self.rival.as_deref().unwrap_or("Apache Kafka");
        ["figure", "Ottla", theirs, "ratio", "95 % interval", "target", "verdict"]
    }

    /// A table for a terminal.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(self.header());
        for workload in self.workloads() {
            for row in self.rows.iter().filter(|it| it.workload == workload) {
                table.add_row(row.cells());
            }
        }
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
                let ratio = row.ratio();
                serde_json::json!({
                    "workload": row.workload,
                    "figure": row.name,
                    if row.of_the_machine { "machine" } else { "ottla" }: row.of(0),
                    self.rival.as_deref().unwrap_or("kafka"): row.of(1),
                    "ratio": { "median": ratio.median, "low": ratio.interval.0, "high": ratio.interval.1 },
                    "target": row.aim.map(Aim::shown),
                    "verdict": row.aim.map(|it| it.verdict(median(&row.of(0)), ratio.median)),
                })
            })
            .collect();
        let all = serde_json::json!({ "figures": rows, "failures": self.failures });
        serde_json::to_string_pretty(&all).unwrap_or_default()
    }

    /// `docs/performance.md`.
    pub fn page(&self, command: &str) -> String {
        let mut text = format!("# Performance beside Apache Kafka {KAFKA}\n\nWritten by `{command}`.\n");
        text += include_str!("preamble.md");
        text += "\n## Targets\n\nThe number in parentheses is what is hoped for.\n\n";
        text += &format!("| {} |\n|---|---:|---:|---:|---:|---:|---|\n", self.header().join(" | "));
        for aim in &AIMS {
            match self.rows.iter().find(|it| it.name == aim.figure) {
                Some(row) => text += &format!("| {} |\n", row.cells().join(" | ")),
                None => text += &format!("| {} | | | | | {} | not measured |\n", aim.figure, aim.shown()),
            }
        }
        for workload in self.workloads() {
            text += &format!("\n## {workload}\n\n");
            let rows = || self.rows.iter().filter(|it| it.workload == workload);
            if rows().all(|it| it.of_the_machine) {
                text += "| what the machine itself does | |\n|---|---:|\n";
                rows()
                    .for_each(|row| text += &format!("| {} | {} |\n", row.name, number(median(&row.of(0)))));
            } else {
                text += &format!("| {} |\n|---|---:|---:|---:|---:|\n", self.header()[..5].join(" | "));
                rows().for_each(|row| text += &format!("| {} |\n", row.cells()[..5].join(" | ")));
            }
        }
        if !self.failures.is_empty() {
            text += "\n## What could not be measured\n\n";
            self.failures.iter().for_each(|it| text += &format!("- {}\n", it.replace('\n', " ")));
        }
        text
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => String::new(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(maker: &str, pair: usize, value: f64) -> Run {
        let figures = vec![("resident idle, MiB".to_owned(), value)];
        Run { workload: "start".to_owned(), pair, maker: maker.to_owned(), figures, error: None }
    }

    #[test]
    fn values_are_paired_by_their_pair() {
        let runs =
            [run("kafka", 1, 400.0), run("ottla", 0, 20.0), run("ottla", 1, 10.0), run("kafka", 0, 200.0)];
        let report = Report::of(&runs, None);
        assert!((report.rows[0].ratio().median - 0.0625).abs() < 1e-9, "the median of 0.1 and 0.025");
        assert!(report.page("x").contains(
            "| resident idle, MiB | 15.0 | 300 | 0.062 | 0.025 – 0.100 | ≤ 0.05 (0.03) | missed |"
        ));
    }

    #[test]
    fn a_rival_stands_in_its_own_column_and_without_aims() {
        let runs = [run("ottla", 0, 20.0), run("kafka", 0, 400.0), run("other", 0, 40.0)];
        let report = Report::of(&runs, Some("other"));
        assert_eq!(report.header()[2], "other");
        assert_eq!(
            report.rows[0].cells(),
            ["resident idle, MiB", "20.0", "40.0", "0.500", "0.500 – 0.500", "", ""]
        );
    }
}
