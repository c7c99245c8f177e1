//! Entries and problems of files, as text like `kafka-dump-log` prints it or as JSON lines.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};

/// Where a dump goes.
pub(super) struct Report {
    output: Output,
    json: bool,
    verify_only: bool,
    file: String,
    announced: bool,
    problems: usize,
    files: usize,
}

impl Report {
    /// An empty report.
    pub(super) fn new(output: Output, style: Style, verify_only: bool) -> Report {
        let json = style.json;
        Report { output, json, verify_only, file: String::new(), announced: false, problems: 0, files: 0 }
    }

    /// What was reported.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        self.output.text()
    }

    /// How many problems there were.
    #[cfg(test)]
    pub(super) fn problems(&self) -> usize {
        self.problems
    }

    /// A file begins.
    pub(super) fn begin(&mut self, path: &Path, kind: &'static str) -> Outcome {
        self.file = path.display().to_string();
        self.files += 1;
        self.announced = false;
        if self.verify_only {
            return Ok(());
        }
        match self.json {
            true => self.print(json!({"file": self.file, "kind": kind}).to_string()),
            false => self.announce(),
        }
    }

    fn announce(&mut self) -> Outcome {
        if self.announced || self.json {
            return Ok(());
        }
        self.announced = true;
        self.print(format!("Dumping {}", self.file))
    }

    /// Words about the file as a whole, for people.
    pub(super) fn note(&mut self, text: impl Into<String>) -> Outcome {
        if self.json || self.verify_only { Ok(()) } else { self.print(text.into()) }
    }

    /// What one entry of the file says.
    pub(super) fn entry(&mut self, kind: &'static str, fields: Value) -> Outcome {
        self.show("", kind, fields)
    }

    /// What a part of the entry before says.
    pub(super) fn nested(&mut self, kind: &'static str, fields: Value) -> Outcome {
        self.show("| ", kind, fields)
    }

    fn show(&mut self, prefix: &str, kind: &'static str, fields: Value) -> Outcome {
        if self.verify_only {
            return Ok(());
        }
        let Value::Object(fields) = fields else {
            return self.print(format!("{prefix}{fields}"));
        };
        if self.json {
            let mut whole = Map::new();
            whole.insert("entry".to_owned(), json!(kind));
            whole.extend(fields);
            return self.print(Value::Object(whole).to_string());
        }
        let words: Vec<String> = fields.iter().map(|(name, value)| word(name, value)).collect();
        self.print(format!("{prefix}{}", words.join(" ")))
    }

    /// Something is wrong with the file.
    pub(super) fn problem(&mut self, what: impl Into<String>) -> Outcome {
        self.problems += 1;
        let what = what.into();
        if self.json {
            return self.print(json!({"entry": "problem", "file": self.file, "problem": what}).to_string());
        }
        self.announce()?;
        self.print(format!("PROBLEM: {what}"))
    }

    /// Ends the report; a failure if there was a problem.
    pub(super) fn finish(&mut self) -> Outcome {
        if self.verify_only && !self.json {
            let (files, problems) = (self.files, self.problems);
            self.print(format!("{files} files were checked, {problems} problems were found."))?;
        }
        self.output.flush()?;
        if self.problems == 0 { Ok(()) } else { Err(Failure::told()) }
    }

    fn print(&mut self, line: String) -> Outcome {
        self.output.line(line)
    }
}

/// A field as `kafka-dump-log` prints it, for scripts that read that.
fn word(name: &str, value: &Value) -> String {
    match (name, value) {
        ("deleteHorizonMs" | "currentTxnFirstOffset", Value::Null) => format!("{name}: OptionalLong.empty"),
        ("deleteHorizonMs" | "currentTxnFirstOffset", value) => format!("{name}: OptionalLong[{value}]"),
        ("SnapshotHeader" | "SnapshotFooter" | "KRaftVersion" | "KRaftVoters", value) => {
            format!("{name} {}", plain(value))
        }
        (name, value) => format!("{name}: {}", plain(value)),
    }
}

/// A value between words: text without quotes, lists of text without them too.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().collect(),
        Value::Array(values) if values.iter().all(Value::is_string) => {
            let values: Vec<String> = values.iter().map(plain).collect();
            format!("[{}]", values.join(","))
        }
        other => other.to_string(),
    }
}
