//! Where two transcripts part.

use std::fmt;

use super::transcript::{Section, Transcript};

/// One line that only one side has, or a section that is not on both.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// The section it is in.
    pub section: String,
    /// Who said it.
    pub side: Side,
    /// What was said.
    pub line: String,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Only Apache Kafka gives it.
    Kafka,
    /// Only Ottla gives it.
    Ottla,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.side {
            Side::Kafka => '-',
            Side::Ottla => '+',
        };
        write!(formatter, "[{}] {sign} {}", self.section, self.line)
    }
}

/// Every difference, in the order of the sections.
pub fn between(kafka: &Transcript, ottla: &Transcript) -> Vec<Difference> {
    let mut found = Vec::new();
    for section in &kafka.sections {
        match named(ottla, &section.name) {
            Some(other) => lines(section, other, &mut found),
            None => lines(section, &absent(section), &mut found),
        }
    }
    for section in &ottla.sections {
        if named(kafka, &section.name).is_none() {
            lines(&absent(section), section, &mut found);
        }
    }
    found
}

fn named<'a>(transcript: &'a Transcript, name: &str) -> Option<&'a Section> {
    transcript.sections.iter().find(|it| it.name == name)
}

fn absent(section: &Section) -> Section {
    Section { name: section.name.clone(), lines: vec!["(no such section)".to_owned()] }
}

/// The most that the table of [`lines`] may hold.
const MAX_TABLE: usize = 4_000_000;

/// The lines outside a longest common subsequence.
fn lines(kafka: &Section, ottla: &Section, found: &mut Vec<Difference>) {
    let (mut left, mut right) = (kafka.lines.as_slice(), ottla.lines.as_slice());
    while let ([first, left_rest @ ..], [other, right_rest @ ..]) = (left, right)
        && first == other
    {
        (left, right) = (left_rest, right_rest);
    }
    while let ([left_rest @ .., last], [right_rest @ .., other]) = (left, right)
        && last == other
    {
        (left, right) = (left_rest, right_rest);
    }
    let mut add = |side, line: &str| {
        found.push(Difference { section: kafka.name.clone(), side, line: line.to_owned() });
    };
    if (left.len() + 1) * (right.len() + 1) > MAX_TABLE {
        add(Side::Kafka, &format!("{} lines that do not agree", left.len()));
        add(Side::Ottla, &format!("{} lines that do not agree", right.len()));
        return;
    }
    let width = right.len() + 1;
    // common[i * width + j]: the length of the longest common subsequence of left[i..] and right[j..].
    let mut common = vec![0_u32; (left.len() + 1) * width];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i * width + j] = if left[i] == right[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == right.len()
            || (i < left.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            add(Side::Kafka, &left[i]);
            i += 1;
        } else {
            add(Side::Ottla, &right[j]);
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kafka: &str, ottla: &str) -> Vec<String> {
        between(&Transcript::parse(kafka), &Transcript::parse(ottla))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn equal_transcripts_have_none() {
        assert!(shown("## a\none\ntwo\n## b\n", "## a\none\ntwo\n## b\n").is_empty());
    }

    #[test]
    fn lines_are_matched_by_longest_common_subsequence() {
        assert_eq!(
            shown("## a\none\ntwo\nthree", "## a\none\n2\nthree\nfour"),
            ["[a] - two", "[a] + 2", "[a] + four"]
        );
    }

    #[test]
    fn a_missing_section_is_told() {
        assert_eq!(shown("## a\none\n## b\ntwo", "## a\none"), ["[b] - two", "[b] + (no such section)"]);
    }

    #[test]
    fn a_repeated_name_is_numbered() {
        let transcript = Transcript::parse("## a\n## a\n## a\n");
        let names: Vec<_> = transcript.sections.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a", "a #2", "a #3"]);
    }
}
