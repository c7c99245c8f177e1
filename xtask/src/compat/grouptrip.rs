//! Members of groups and an open transaction that live on while Apache Kafka and Ottla serve their directory in turn.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Setting;
use super::node::{Maker, Node};
use super::reference::ClassPath;
use super::transcript::Transcript;
use crate::workspace::Outcome;

/// Clients, spoken to command by command; ended when dropped.
pub struct Clients {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    /// Starts the program.
    pub fn start(command: &mut Command) -> Outcome<Clients> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = process.stdin.take().ok_or("no standard input")?;
        let answers = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Clients { process, commands, answers })
    }

    /// What a command is answered with, up to the dot.
    pub fn ask(&mut self, command: &str) -> Outcome<Vec<String>> {
        writeln!(self.commands, "{command}")?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                return Err(format!("the clients ended at `{command}`").into());
            }
            if line.trim_end() == "." {
                return Ok(lines);
            }
            lines.push(line.trim_end().to_owned());
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // They may have ended by themselves.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a server leaves.
#[derive(Clone, Copy)]
enum Leave {
    Stop,
    Kill,
}

/// The scenario `grouptrip`: what clients see last of one server they see first of the next: their partitions, epochs
/// and names, committed offsets, and the transaction that was open.
pub fn run(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let candidate = &setting.candidate;
    let turns: [(&Maker, &[&str], Leave); 5] = [
        (&Maker::Kafka, &["join", "produce", "commit", "begin"], Leave::Stop),
        (candidate, &["end", "produce", "commit", "begin"], Leave::Stop),
        (&Maker::Kafka, &["produce", "commit", "end", "begin"], Leave::Stop),
        (candidate, &["produce", "commit", "end", "begin"], Leave::Kill),
        (candidate, &["end", "produce", "commit"], Leave::Stop),
    ];
    let mut node = Node::new(Maker::Kafka, setting.reference, setting.folder.join("grouptrip"), 1)?;
    node.format()?;
    let mut program = setting.reference.program(ClassPath::Server, "GroupTrip", &["-Dlog4j2.level=OFF"])?;
    let mut clients = Clients::start(program.arg(node.address()).stderr(Stdio::null()))?;
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let mut told: Option<Vec<String>> = None;
    for (turn, (maker, commands, leave)) in turns.into_iter().enumerate() {
        node.hand_to(maker.clone());
        node.start()?;
        if let Some(told) = &told {
            let name = format!("turn {turn}: after the change of servers");
            expected.section(&name);
            told.iter().for_each(|it| expected.line(it.clone()));
            seen.section(&name);
            clients.ask("look")?.into_iter().for_each(|it| seen.line(it));
        }
        for command in commands {
            let name = format!("turn {turn}: {command}");
            for transcript in [&mut expected, &mut seen] {
                transcript.section(&name);
            }
            expected.line(match *command {
                "join" => "joined",
                "produce" => "produced and read",
                "commit" => "committed",
                "begin" => "began",
                _ => "ended",
            });
            clients.ask(command)?.into_iter().for_each(|it| seen.line(it));
        }
        told = Some(clients.ask("look")?);
        match leave {
            Leave::Stop => drop(node.stop()?),
            Leave::Kill => node.kill()?,
        }
    }
    let last = told.unwrap_or_default();
    let committed = "read_committed: 12 [0=t1, 1=t1 goes on, 3=t2, 4=t2 goes on, 6=t3, 7=t3 goes on, 9=t4, 10=t4 goes on]";
    for (transcript, lines) in [
        (&mut expected, vec!["classic read 100, twice 0", "consumer read 100, twice 0", committed]),
        (
            &mut seen,
            last.iter()
                .map(String::as_str)
                .filter(|it| it.contains(" read ") || it.starts_with("read_committed"))
                .collect(),
        ),
    ] {
        transcript.section("in the end");
        lines.into_iter().for_each(|it| transcript.line(it));
    }
    Ok((expected, seen))
}
