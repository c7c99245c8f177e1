//! Rules that hold for the text of every file.

use std::path::Path;

use crate::workspace::Outcome;

/// The longest a source file may be, tests and generated code apart.
const MAX_FILE_LINES: usize = 800;
/// The longest a function may be. A ratchet, not a target.
const MAX_FUNCTION_LINES: usize = 100;

/// Words that say a piece of work is unfinished. Split so that this file does not name itself.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ig", "nore"),
    concat!("not ", "implemented"),
];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "helper", "helpers", "common", "misc", "manager", "core", "shared"];

/// Text that would tie the project to one machine.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// Words outside `host` that only `host` may say.
const HOST_ONLY: [&str; 2] = [concat!("unsafe", " {"), concat!("unsafe", " fn")];

/// Words that the pure crates must not say.
const IMPURE: [&str; 5] = ["async fn", "std::fs::", "std::net::", "std::thread", "std::time::Instant"];
const PURE_CRATES: [&str; 7] = ["base", "wire", "record", "machine", "raft", "metadata", "coordinator"];

/// Adds a line to `broken` for every rule that the file at `path` breaks.
pub fn check(root: &Path, path: &Path, broken: &mut Vec<String>) -> Outcome {
    let shown = path.display().to_string();
    for part in path.iter().filter_map(|it| it.to_str()) {
        let stem = part.split('.').next().unwrap_or(part);
        if EMPTY_NAMES.contains(&stem) {
            broken
                .push(format!("{shown}: a file or folder called `{stem}` says nothing; name what it holds"));
        }
    }
    let Ok(text) = std::fs::read_to_string(root.join(path)) else {
        return Ok(()); // binary test data
    };
    for (number, line) in text.lines().enumerate() {
        for machine in MACHINE_PATHS.iter().filter(|it| line.contains(**it)) {
            broken.push(format!("{shown}:{}: the path `{machine}` belongs to one machine", number + 1));
        }
    }
    if path.extension().is_some_and(|it| it == "rs") {
        check_rust(&shown, &text, broken);
    }
    Ok(())
}

pub(super) fn check_rust(shown: &str, text: &str, broken: &mut Vec<String>) {
    if !text.starts_with("//!") {
        broken.push(format!("{shown}: must open with one `//!` sentence saying what it is for"));
    }
    for (number, line) in text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|it| line.contains(**it)) {
            broken.push(format!("{shown}:{}: unfinished work: `{word}`", number + 1));
        }
        let lint_silenced = line.contains("#[allow(") || line.contains("#![allow(");
        if lint_silenced && !shown.contains("/generated/") && !shown.contains("tidy") {
            broken.push(format!("{shown}:{}: use `#[expect(lint, reason = \"…\")]`", number + 1));
        }
    }
    let crate_name = shown.strip_prefix("crates/").and_then(|it| it.split('/').next()).unwrap_or_default();
    let is_test = shown.ends_with("tests.rs") || shown.contains("/tests/") || shown.contains("/benches/");
    if crate_name != "host" && !is_test && !shown.starts_with("xtask") {
        for word in HOST_ONLY.iter().filter(|it| text.contains(**it)) {
            broken.push(format!("{shown}: `{word}` is for `host` alone"));
        }
    }
    if PURE_CRATES.contains(&crate_name) && !is_test && shown.contains("/src/") {
        for word in IMPURE.iter().filter(|it| text.contains(**it)) {
            broken.push(format!("{shown}: `{word}` has no place in a pure crate"));
        }
    }
    if !is_test && !shown.contains("/generated/") {
        check_lengths(shown, text, broken);
    }
}

fn check_lengths(shown: &str, text: &str, broken: &mut Vec<String>) {
    let before_tests = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = before_tests.lines().count();
    if lines > MAX_FILE_LINES {
        broken
            .push(format!("{shown}: {lines} lines; the limit is {MAX_FILE_LINES}: split it by what it does"));
    }
    // rustfmt closes a function with a brace in the column where its `fn` line begins.
    let mut open: Option<(usize, String, usize)> = None;
    for (number, line) in before_tests.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start();
        let starts = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
            "pub(super) async fn ",
        ];
        if open.is_none() && starts.iter().any(|it| head.starts_with(it)) && !line.trim_end().ends_with(';') {
            let name =
                head.split("fn ").nth(1).and_then(|it| it.split(['(', '<']).next()).unwrap_or_default();
            open = Some((indent, name.to_owned(), number));
        } else if let Some((column, name, first)) = &open
            && indent == *column
            && (head == "}" || head.starts_with("} "))
        {
            let length = number - first + 1;
            if length > MAX_FUNCTION_LINES {
                broken.push(format!(
                    "{shown}:{}: `{name}` has {length} lines; the limit is {MAX_FUNCTION_LINES}",
                    first + 1
                ));
            }
            open = None;
        }
    }
}
