//! The differences that are meant, with the place in `docs/clients.md` that says why.

use regex_lite::Regex;
use serde::Deserialize;

use super::difference::{Difference, Side};
use crate::workspace::{Outcome, root};

/// The list in `explained.toml`.
pub struct Explained {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    difference: Vec<Row>,
}

/// Patterns match anywhere in the text; an absent one matches everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    scenario: String,
    #[serde(default)]
    section: String,
    kafka: Option<String>,
    ottla: Option<String>,
    /// The heading in `docs/clients.md` under which it is explained.
    reason: String,
}

struct Entry {
    scenario: Regex,
    section: Regex,
    kafka: Option<Regex>,
    ottla: Option<Regex>,
    reason: String,
}

impl Explained {
    /// Reads the list; a reason that `docs/clients.md` does not have is an error.
    pub fn load() -> Outcome<Self> {
        let document = std::fs::read_to_string(root().join("docs/clients.md"))?;
        let file: File = toml::from_str(include_str!("explained.toml"))?;
        let mut entries = Vec::new();
        for row in file.difference {
            if !document
                .lines()
                .any(|it| it.trim_start_matches('#').trim() == row.reason && it.starts_with('#'))
            {
                return Err(format!("docs/clients.md has no heading `{}`", row.reason).into());
            }
            let pattern = |it: Option<String>| it.map(|it| Regex::new(&it)).transpose();
            entries.push(Entry {
                scenario: Regex::new(&format!("^(?:{})$", row.scenario))?,
                section: Regex::new(&row.section)?,
                kafka: pattern(row.kafka)?,
                ottla: pattern(row.ottla)?,
                reason: row.reason,
            });
        }
        Ok(Self { entries })
    }

    /// Why this difference is meant, if it is.
    pub fn reason(&self, scenario: &str, difference: &Difference) -> Option<&str> {
        let matches = |it: &&Entry| {
            let line = match difference.side {
                Side::Kafka => it.kafka.as_ref(),
                Side::Ottla => it.ottla.as_ref(),
            };
            it.scenario.is_match(scenario)
                && it.section.is_match(&difference.section)
                && line.is_some_and(|it| it.is_match(&difference.line))
        };
        self.entries.iter().find(matches).map(|it| it.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_points_into_the_document() {
        assert!(Explained::load().is_ok());
    }
}
