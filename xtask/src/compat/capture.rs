//! Runs a program to its end under a deadline and keeps what it said.

use std::io::{Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::Outcome;

/// What a program left.
pub struct Captured {
    /// Its exit code; none when it was ended for taking too long or by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Captured {
    /// Its output, or an error with what it said when it did not exit with 0.
    pub fn success(self, what: &str) -> Outcome<String> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        let ending = self.code.map_or("was ended".to_owned(), |it| format!("exited with {it}"));
        Err(format!("{what} {ending}\n{}\n{}", tail(&self.stdout), tail(&self.stderr)).into())
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Runs `command` with `input` as its standard input, for at most `limit`.
pub fn capture(command: &mut Command, input: &[u8], limit: Duration) -> Outcome<Captured> {
    let mut given = tempfile::tempfile()?;
    given.write_all(input)?;
    given.rewind()?;
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::from(given))
        .stdout(Stdio::from(stdout.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?))
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
    let code = wait(&mut child, limit)?.and_then(|it| it.code());
    Ok(Captured { code, stdout: text(stdout)?, stderr: text(stderr)? })
}

fn text(mut file: std::fs::File) -> Outcome<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for `child` for at most `limit`, then kills it; how it ended, if it ended by itself.
pub fn wait(child: &mut Child, limit: Duration) -> Outcome<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
