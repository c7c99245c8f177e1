//! Hides what differs between two runs of the same server: ports, folders, times and drawn identifiers.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use super::node::Node;

/// Patterns, and what stands in their place.
const PATTERNS: [(&str, &str); 12] = [
    (r"\b1[6-9]\d{11}\b", "TIME"),
    // As far before the present as a number reaches.
    (r"-922337\d{13}\b", "-TIME"),
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d+Z?", "TIME"),
    (r"\b[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\b", "ID"),
    (r"(?m)^#[A-Z][a-z]{2} [A-Z][a-z]{2} .*20\d\d$", "#DATE"),
    (r"\d+ ms ago", "AGO"),
    (r#"("brokerEpoch"): ?\d+"#, "${1}:NUMBER"),
    // How long the metadata log is when a question arrives depends on the moment.
    (r"\bEpoch: \d+", "Epoch: NUMBER"),
    (r"\b(HighWatermark: +)\d+", "${1}NUMBER"),
    (r"(\tID\t)\d+ +\t0 ", "${1}NUMBER\t0"),
    // kafka-producer-perf-test
    (r"\d+\.\d+ records/sec.*", "RATE"),
    (r" +\t", "\t"),
];

/// A UUID as Apache Kafka writes it, with the characters around it.
const UUID: &str = r"(^|[^A-Za-z0-9_.-])([A-Za-z0-9_-]{22})($|[^A-Za-z0-9_.-])";

/// Names that look like one.
const WORDS: [&str; 4] =
    ["eligibleLeaderReplicas", "MkU3OEVBNTcwNTJENDM2Qg", "ConsumerGroupHeartbeat", "AlterShareGroupOffsets"];

struct Compiled {
    identifier: Regex,
    patterns: Vec<(Regex, &'static str)>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let compile = |pattern| Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"));
    Compiled {
        identifier: compile(&format!("(?m){UUID}")),
        patterns: PATTERNS.iter().map(|(pattern, word)| (compile(pattern), *word)).collect(),
    }
});

/// `text` with everything hidden that belongs to this node or this moment.
pub fn mask(text: &str, node: &Node<'_>) -> String {
    let mut text = text.replace(&node.folder().display().to_string(), "FOLDER");
    for (port, word) in [(node.port(), "PORT"), (node.controller_port(), "CONTROLLER_PORT")] {
        // Not within a longer number.
        let port = Regex::new(&format!(r"\b{port}\b")).unwrap_or_else(|error| panic!("{error}"));
        text = port.replace_all(&text, word).into_owned();
    }
    hide(&text)
}

/// `text` with everything hidden that is drawn or belongs to this moment.
pub fn hide(text: &str) -> String {
    // A word of 22 characters is no identifier: one in capitals or small letters alone is never drawn.
    let hidden = |found: &Captures<'_>| {
        let drawn = found[2].contains(|it: char| it.is_ascii_uppercase())
            && found[2].contains(|it: char| it.is_ascii_lowercase())
            && !WORDS.contains(&&found[2]);
        format!("{}{}{}", &found[1], if drawn { "ID" } else { &found[2] }, &found[3])
    };
    // Twice: two identifiers may share the character between them.
    let once = COMPILED.identifier.replace_all(text, hidden).into_owned();
    let mut text = COMPILED.identifier.replace_all(&once, hidden).into_owned();
    for (pattern, word) in &COMPILED.patterns {
        text = pattern.replace_all(&text, *word).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_hidden_and_words_stay() {
        let hidden = hide("a q1lWWIYDReyf5i3785VcyA,2AEMvSpcRsiQyGekyTr5Dw at 1763719200123");
        assert_eq!(hidden, "a ID,ID at TIME");
        assert_eq!(hide("log.cleaner.backoff.ms=15000"), "log.cleaner.backoff.ms=15000");
        assert_eq!(hide("eligible-leader-choose"), "eligible-leader-choose");
    }
}
