//! Standard output and standard error; nothing else prints.
//!
//! On a terminal people read tables; `--json` is for programs. A reader that goes away ends the command
//! without complaint.

pub(crate) mod base64;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub(crate) struct Style {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Standard output.
pub(crate) struct Output {
    target: Target,
    terminal: bool,
}

enum Target {
    Stdout(BufWriter<Stdout>),
    #[cfg(test)]
    Memory(Vec<u8>),
}

impl Output {
    /// Standard output, buffered; flushed by [`Output::finish`], and at each line if a person reads.
    pub(crate) fn new() -> Output {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        Output { target: Target::Stdout(BufWriter::with_capacity(64 << 10, stdout)), terminal }
    }

    /// Output that a test reads.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Output {
        Output { target: Target::Memory(Vec::new()), terminal: false }
    }

    /// What was printed to memory.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        match &self.target {
            Target::Stdout(_) => panic!("only output to memory can be read"),
            Target::Memory(bytes) => std::str::from_utf8(bytes).expect("tests print text"),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.target {
            Target::Stdout(stdout) => stdout,
            #[cfg(test)]
            Target::Memory(bytes) => bytes,
        }
    }

    /// Whether a person reads.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, text: impl Display) -> Outcome {
        let written = writeln!(self.writer(), "{text}");
        self.written(written)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        let written = self.writer().write_all(bytes);
        self.written(written)
    }

    /// Prints a value on several lines, or on one if a program reads.
    pub(crate) fn json(&mut self, value: &Value) -> Outcome {
        if self.terminal { self.line(format_args!("{value:#}")) } else { self.line(value) }
    }

    /// Prints a table.
    pub(crate) fn table<R: IntoIterator<Item = String>>(
        &mut self,
        header: &[&str],
        rows: impl IntoIterator<Item = R>,
    ) -> Outcome {
        let text = table(header, rows, self.terminal);
        self.line(text)
    }

    /// Hands on what was printed so far.
    pub(crate) fn flush(&mut self) -> Outcome {
        let flushed = self.writer().flush();
        self.outcome(flushed)
    }

    fn written(&mut self, written: std::io::Result<()>) -> Outcome {
        self.outcome(written)?;
        if self.terminal { self.flush() } else { Ok(()) }
    }

    fn outcome(&self, written: std::io::Result<()>) -> Outcome {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::unread()),
            Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
        }
    }
}

/// Bytes as text if they are, else in Base64.
pub(crate) fn bytes_as_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": base64::encode(bytes)}),
    }
}

/// What [`bytes_as_json`] has made of bytes, as bytes. Null is none; nothing if it is something else.
pub(crate) fn bytes_of_json(value: &Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone().into_bytes())),
        Value::Object(fields) if fields.len() == 1 => {
            fields.get("base64")?.as_str().and_then(base64::decode).map(Some)
        }
        _ => None,
    }
}

/// A table as text: aligned columns without lines, wrapped to the terminal if there is one.
pub(crate) fn table<R: IntoIterator<Item = String>>(
    header: &[&str],
    rows: impl IntoIterator<Item = R>,
    terminal: bool,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(match terminal {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    });
    table.set_header(header.iter().map(|it| it.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    // Cells are padded on both sides; the left edge should be the edge.
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Says on standard error why a command failed, and what to do about it.
pub(crate) fn complain(message: &str, advice: Option<&str>) {
    let mut stderr = std::io::stderr().lock();
    // Who cannot write to standard error has nobody left to tell.
    let _ = writeln!(stderr, "error: {message}");
    if let Some(advice) = advice {
        let _ = writeln!(stderr, "  try: {advice}");
    }
}

/// Says something on standard error that is not what the command was asked for.
pub(crate) fn remark(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether a person reads what is remarked.
pub(crate) fn is_attended() -> bool {
    std::io::stderr().is_terminal()
}
