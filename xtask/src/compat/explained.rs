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

/// Patterns match anywhere in the text. Without one for its side, a line is not explained.
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
    /// The scenarios as the list names them.
    named: String,
    /// Whether a difference of this run needed it.
    seen: bool,
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
                named: row.scenario,
                seen: false,
            });
        }
        Ok(Self { entries })
    }

    /// Whether this difference is meant.
    pub fn explains(&mut self, scenario: &str, difference: &Difference) -> bool {
        let matches = |it: &&mut Entry| {
            let line = match difference.side {
                Side::Kafka => it.kafka.as_ref(),
                Side::Ottla => it.ottla.as_ref(),
            };
            it.scenario.is_match(scenario)
                && it.section.is_match(&difference.section)
                && line.is_some_and(|it| it.is_match(&difference.line))
        };
        let found = self.entries.iter_mut().find(matches);
        found.map(|it| it.seen = true).is_some()
    }

    /// The entries for scenarios that `ran` and that no difference needed.
    pub fn unseen(&self, ran: impl Fn(&str) -> bool) -> Vec<String> {
        let unseen = |it: &&Entry| !it.seen && it.named.split('|').any(&ran);
        self.entries.iter().filter(unseen).map(|it| format!("{}: {}", it.named, it.section)).collect()
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
