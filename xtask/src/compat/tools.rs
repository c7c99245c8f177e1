//! Apache Kafka's command-line tools, as `tools.script` calls them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::Stage;
use super::capture::capture;
use super::mask::mask;
use super::node::Node;
use super::reference::{ClassPath, Reference};
use super::transcript::Transcript;
use crate::workspace::Outcome;

/// The whole script, however many tools it runs.
const LIMIT: Duration = Duration::from_secs(300);

/// The scenario `tools`.
pub fn run(stage: &Stage<'_>) -> Outcome<Transcript> {
    let mut transcript =
        play(include_str!("tools.script"), stage.setting.reference, stage.node, &stage.folder)?;
    transcript.map_lines(log_dirs_in_order);
    Ok(transcript)
}

/// The scenario `group-tools`: groups and transactions, as `group-tools.script` has them.
pub fn groups(stage: &Stage<'_>) -> Outcome<Transcript> {
    let transcript =
        play(include_str!("group-tools.script"), stage.setting.reference, stage.node, &stage.folder)?;
    Ok(with_groups_in_order(transcript))
}

/// The scenario `share-tools`: share groups, as `share.script` has them.
pub fn share(stage: &Stage<'_>) -> Outcome<Transcript> {
    let transcript = play(include_str!("share.script"), stage.setting.reference, stage.node, &stage.folder)?;
    Ok(with_groups_in_order(transcript))
}

/// Apache Kafka lists groups in the order of a hash map.
fn with_groups_in_order(mut transcript: Transcript) -> Transcript {
    for section in &mut transcript.sections {
        if section.name.starts_with("kafka-groups ") {
            section.lines.sort();
        }
    }
    transcript
}

/// Apache Kafka lists log directories in the order of a hash map.
fn log_dirs_in_order(line: String) -> String {
    let Ok(mut answer) = serde_json::from_str::<Value>(&line) else {
        return line;
    };
    for broker in answer["brokers"].as_array_mut().into_iter().flatten() {
        if let Some(folders) = broker["logDirs"].as_array_mut() {
            folders.sort_by_key(|it| it["logDir"].to_string());
        }
    }
    answer.to_string()
}

/// Runs a script of tools against `node`, with `folder` for the files that it names.
pub fn play(script: &str, reference: &Reference, node: &Node<'_>, folder: &Path) -> Outcome<Transcript> {
    let steps = steps(script, node, folder)?;
    Ok(Transcript::parse(&mask(&drive(reference, ClassPath::Tools, &steps, folder)?, node)))
}

/// The same with programs of `xtask/java` that go on while tools look at what they do, or are tools themselves.
pub fn play_with(
    programs: &[&str],
    class_path: ClassPath,
    script: &str,
    stage: &Stage<'_>,
) -> Outcome<Transcript> {
    let steps = steps(script, stage.node, &stage.folder)?;
    let mut driver = stage.setting.reference.program_among(
        class_path,
        "ToolsDriver",
        programs,
        &["-Dlog4j2.level=OFF"],
    )?;
    let said = drive_with(driver.current_dir(&stage.folder), &steps, &stage.folder)?;
    Ok(Transcript::parse(&mask(&said, stage.node)))
}

/// Writes the files of a script and returns its steps as the driver takes them.
fn steps(script: &str, node: &Node<'_>, folder: &Path) -> Outcome<String> {
    let mut text = String::new();
    for step in read(script, &|text| place(text, node, folder))? {
        match step {
            Step::File { name, content } => std::fs::write(folder.join(name), content)?,
            Step::Tool(value) => text += &format!("{value}\n"),
        }
    }
    Ok(text)
}

/// Runs steps, one JSON object a line, in one virtual machine.
pub fn drive(reference: &Reference, class_path: ClassPath, steps: &str, folder: &Path) -> Outcome<String> {
    drive_with(&mut reference.program(class_path, "ToolsDriver", &["-Dlog4j2.level=OFF"])?, steps, folder)
}

fn drive_with(driver: &mut Command, steps: &str, folder: &Path) -> Outcome<String> {
    let file = folder.join("steps.json");
    std::fs::write(&file, steps)?;
    let captured = capture(driver.arg(&file), b"", LIMIT)?;
    std::fs::write(folder.join("times.txt"), &captured.stderr)?;
    captured.success("ToolsDriver")
}

/// What a script line stands for on this node.
fn place(text: &str, node: &Node<'_>, folder: &Path) -> String {
    text.replace("{server}", &node.address())
        .replace("{controller}", &node.controller_address())
        .replace("{folder}", &folder.display().to_string())
}

/// A program to run, from a script.
pub struct Call {
    /// The script's line.
    pub name: String,
    /// What to run.
    pub program: String,
    /// With these arguments.
    pub arguments: Vec<String>,
    /// And this standard input.
    pub input: String,
}

/// The calls of a script of ordinary programs.
pub fn calls(script: &str, node: &Node<'_>, folder: &Path) -> Outcome<Vec<Call>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut calls = Vec::new();
    for step in read(script, &|text| place(text, node, folder))? {
        match step {
            Step::File { name, content } => std::fs::write(folder.join(name), content)?,
            Step::Tool(step) => calls.push(Call {
                name: text(&step["name"]),
                program: text(&step["tool"]),
                arguments: step["arguments"].as_array().into_iter().flatten().map(text).collect(),
                input: text(&step["input"]),
            }),
        }
    }
    Ok(calls)
}

enum Step {
    File { name: String, content: String },
    Tool(Value),
}

/// Reads a script: a line is a tool and its arguments, quoted as in a shell. Before it may come `#` comments;
/// after it, `< text` for a line of its input, `? text` to repeat it until the output has that text, and
/// `! ms` for how long it may take. `@name text` writes a file, line by line.
fn read(script: &str, place: &dyn Fn(&str) -> String) -> Outcome<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in script.lines().filter(|it| !it.trim().is_empty() && !it.starts_with('#')) {
        if let Some(file) = line.strip_prefix('@') {
            let (name, content) =
                file.split_once(' ').ok_or_else(|| format!("a file without content: {line}"))?;
            match steps.last_mut() {
                Some(Step::File { name: before, content: lines }) if before == name => {
                    *lines += &format!("\n{}", place(content));
                }
                _ => steps.push(Step::File { name: name.to_owned(), content: place(content) }),
            }
            continue;
        }
        let (key, text) = match line.split_once(' ') {
            Some(("<", text)) => ("input", text),
            Some(("?", text)) => ("until", text),
            Some(("!", text)) => ("limit_ms", text),
            _ => ("", line),
        };
        if key.is_empty() {
            let words: Vec<String> = words(line)?.iter().map(|it| place(it)).collect();
            let (tool, arguments) = words.split_first().ok_or("an empty line")?;
            steps.push(Step::Tool(json!({ "name": line, "tool": tool, "arguments": arguments })));
            continue;
        }
        let Some(Step::Tool(step)) = steps.last_mut() else {
            return Err(format!("`{line}` follows no tool").into());
        };
        step[key] = match key {
            "input" => json!(format!("{}{text}\n", step["input"].as_str().unwrap_or_default())),
            "limit_ms" => json!(text.parse::<u64>()?),
            _ => json!(text),
        };
    }
    Ok(steps)
}

/// Splits at blanks outside quotes.
fn words(line: &str) -> Outcome<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let (mut open, mut quote) = (false, None);
    for character in line.chars() {
        match (character, quote) {
            ('\'' | '"', None) => {
                quote = Some(character);
                if !open {
                    words.push(String::new());
                    open = true;
                }
            }
            (_, Some(mark)) if mark == character => quote = None,
            (' ', None) => open = false,
            _ => {
                if !open {
                    words.push(String::new());
                    open = true;
                }
                if let Some(word) = words.last_mut() {
                    word.push(character);
                }
            }
        }
    }
    if quote.is_some() {
        return Err(format!("an open quote: {line}").into());
    }
    Ok(words)
}
