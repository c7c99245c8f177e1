//! What a program said while it ran a script, in sections.

use std::fmt;

/// One step of a script and the lines it gave.
pub struct Section {
    /// Names the step; unique within a transcript.
    pub name: String,
    /// Masked lines, in order.
    pub lines: Vec<String>,
}

/// The sections of one run, in order.
#[derive(Default)]
pub struct Transcript {
    /// The steps.
    pub sections: Vec<Section>,
}

impl Transcript {
    /// Reads the form that the programs in `xtask/java` and `xtask/clients` print: a line `## name` opens a
    /// section, every other line belongs to the open one.
    pub fn parse(text: &str) -> Self {
        let mut transcript = Self::default();
        for line in text.lines() {
            match line.strip_prefix("## ") {
                Some(name) => transcript.section(name),
                None => transcript.line(line.trim_end()),
            }
        }
        transcript
    }

    /// Opens a section; a name used before gets a number.
    pub fn section(&mut self, name: &str) {
        let again = |it: &&Section| {
            it.name == name || it.name.strip_prefix(name).is_some_and(|s| s.starts_with(" #"))
        };
        let before = self.sections.iter().filter(again).count();
        let name = if before == 0 { name.to_owned() } else { format!("{name} #{}", before + 1) };
        self.sections.push(Section { name, lines: Vec::new() });
    }

    /// Adds a line to the open section.
    pub fn line(&mut self, line: impl Into<String>) {
        if self.sections.is_empty() {
            self.section("begin");
        }
        if let Some(section) = self.sections.last_mut() {
            section.lines.push(line.into());
        }
    }

    /// Takes away the sections after the one of this name, and that one.
    pub fn split_off(&mut self, name: &str) -> Self {
        let position = self.sections.iter().position(|it| it.name == name);
        let mut after = self.sections.split_off(position.unwrap_or(self.sections.len()));
        if !after.is_empty() {
            after.remove(0);
        }
        Self { sections: after.into_iter().map(unnumbered).collect() }
    }

    /// Sorts the lines of the sections whose name satisfies `which`.
    pub fn sort(&mut self, which: impl Fn(&str) -> bool) {
        for section in self.sections.iter_mut().filter(|it| which(&it.name)) {
            section.lines.sort();
        }
    }

    /// Sorts the lines of the open section, whose order means nothing.
    pub fn sort_last(&mut self) {
        if let Some(section) = self.sections.last_mut() {
            section.lines.sort();
        }
    }

    /// Adds all sections of another, with `prefix` before their names.
    pub fn append_under(&mut self, prefix: &str, other: &Self) {
        for section in &other.sections {
            let name =
                if prefix.is_empty() { section.name.clone() } else { format!("{prefix}: {}", section.name) };
            self.section(&name);
            for line in &section.lines {
                self.line(line);
            }
        }
    }

    /// Puts `change` of each section's name in its place.
    pub fn rename(&mut self, change: impl Fn(&str) -> String) {
        for section in &mut self.sections {
            section.name = change(&section.name);
        }
    }

    /// Puts `change` of each line in its place.
    pub fn map_lines(&mut self, change: impl Fn(String) -> String) {
        for line in self.sections.iter_mut().flat_map(|it| &mut it.lines) {
            *line = change(std::mem::take(line));
        }
    }
}

/// Without the number that told it from an earlier section of the same name.
fn unnumbered(section: Section) -> Section {
    let name = match section.name.rsplit_once(" #") {
        Some((name, number)) if number.parse::<u32>().is_ok() => name.to_owned(),
        _ => section.name,
    };
    Section { name, lines: section.lines }
}

impl fmt::Display for Transcript {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            writeln!(formatter, "## {}", section.name)?;
            for line in &section.lines {
                writeln!(formatter, "{line}")?;
            }
        }
        Ok(())
    }
}
