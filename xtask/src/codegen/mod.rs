//! `cargo xtask codegen`: the Rust of `wire` from the notation in `crates/wire/schema`.

mod describe;
mod dispatch;
mod emit;
mod schema;
#[cfg(test)]
mod tests;
mod view;
mod write;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace::{Outcome, root};
use schema::{Kind, Message};

/// What `cargo xtask codegen` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Writes nothing; fails if the committed Rust is not what the schema gives.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    if arguments.check {
        return check();
    }
    let folder = target();
    let files = generate()?;
    for old in std::fs::read_dir(&folder).into_iter().flatten() {
        let old = old?.path();
        if old.is_dir() {
            std::fs::remove_dir_all(old)?;
        }
    }
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Fails unless the committed Rust is what the schema gives today, no more and no less.
pub fn check() -> Outcome {
    let folder = target();
    let files = generate()?;
    for (path, text) in &files {
        let committed = std::fs::read_to_string(folder.join(path)).unwrap_or_default();
        if committed != *text {
            return Err(format!("{} is stale: run `cargo xtask codegen`", path.display()).into());
        }
    }
    for part in ["messages", "records"] {
        for entry in std::fs::read_dir(folder.join(part))? {
            let path = Path::new(part).join(entry?.file_name());
            if !files.contains_key(&path) {
                return Err(format!("{} is nothing's: run `cargo xtask codegen`", path.display()).into());
            }
        }
    }
    Ok(())
}

fn target() -> PathBuf {
    root().join("crates/wire/src/generated")
}

/// Every generated file, relative to the folder of generated code, formatted.
fn generate() -> Outcome<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    let mut messages: Vec<Message> = Vec::new();
    let mut modules = Vec::new();
    for (stem, found) in read("api")? {
        for message in &found {
            let module = emit::snake(message.name());
            files.insert(
                PathBuf::from(format!("messages/{module}.rs")),
                emit::file(std::slice::from_ref(message)),
            );
            modules.push(module);
        }
        if found.len() != 2 || found[0].kind != Kind::Request || found[1].kind != Kind::Response {
            return Err(format!("api/{stem}.txt must hold a request and its response").into());
        }
        messages.extend(found);
    }
    files.insert(
        "messages/mod.rs".into(),
        dispatch::modules("Requests and responses, one module each.", &modules),
    );
    files.insert("api.rs".into(), dispatch::apis(&messages));
    let mut modules = Vec::new();
    let mut places: Vec<(String, &Message)> = Vec::new();
    for message in &messages {
        places.push((format!("messages::{}", emit::snake(message.name())), message));
    }
    let records = read("record")?;
    for (stem, found) in &records {
        let mut text = emit::file(found);
        text += &dispatch::records(stem, found);
        text += &describe::file(stem, found);
        files.insert(PathBuf::from(format!("records/{stem}.rs")), text);
        modules.push(stem.clone());
        places.extend(found.iter().map(|it| (format!("records::{stem}"), it)));
    }
    files.insert("every.rs".into(), dispatch::visits(&places));
    let says = "What Kafka writes for itself: records of internal topics, control records, headers.";
    files.insert("records/mod.rs".into(), dispatch::modules(says, &modules));
    files.into_iter().map(|(path, text)| Ok((path, format(&text)?))).collect()
}

fn read(folder: &str) -> Outcome<Vec<(String, Vec<Message>)>> {
    let mut read = Vec::new();
    for entry in std::fs::read_dir(root().join("crates/wire/schema").join(folder))? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&path)?;
        read.push((stem, schema::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?));
    }
    read.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(read)
}

fn format(text: &str) -> Outcome<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout", "--config-path"])
        .arg(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("rustfmt has no input")?;
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the writer panicked")??;
    if !output.status.success() {
        return Err(format!("rustfmt: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
