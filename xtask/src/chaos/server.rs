//! The server under test: its folder, settings and process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::Outcome;

const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
/// How long a start or a stop may take before it counts as hanging.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Ottla's binary from `$OTTLA_BIN`, or built in release mode.
pub fn binary() -> Outcome<PathBuf> {
    match crate::compat::node::Maker::ottla()? {
        crate::compat::node::Maker::Ottla(binary) => Ok(binary),
        crate::compat::node::Maker::Kafka | crate::compat::node::Maker::Release(_) => {
            Err("Ottla cannot be built".into())
        }
    }
}

/// How a start ended.
#[derive(Debug)]
pub enum Started {
    /// It answers requests; this is how long it took.
    Ready(Duration),
    /// The process ended by itself.
    Ended(ExitStatus),
    /// Neither within [`LIMIT`].
    Hangs,
}

/// A server with a folder of its own; killed when dropped.
pub struct Server {
    binary: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Writes settings into `folder` and formats `folder/data`.
    pub fn lay_out(binary: &Path, folder: &Path, settings: &str) -> Outcome<Server> {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (one, two) = (listen()?, listen()?);
        let (port, controller) = (one.local_addr()?.port(), two.local_addr()?.port());
        drop((one, two));
        std::fs::create_dir_all(folder)?;
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.bootstrap.servers=localhost:{controller}\n\
             listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}\n\
             advertised.listeners=PLAINTEXT://localhost:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n{settings}\n",
            folder.join("data").display()
        );
        std::fs::write(folder.join("server.properties"), text)?;
        let server = Server { binary: binary.to_owned(), folder: folder.to_owned(), port, process: None };
        let mut format = Command::new(binary);
        format.args(["format", "-t", CLUSTER_ID, "--standalone", "-c"]).arg(server.settings());
        let output = format.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("format failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(server)
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    /// The log directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The broker's port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) -> Outcome {
        self.spawn_as(Command::new(&self.binary))
    }

    /// The same under another program, with its arguments.
    pub fn spawn_under(&mut self, program: &[&str]) -> Outcome {
        let mut command = Command::new(program.first().copied().unwrap_or_default());
        command.args(&program[1..]).arg(&self.binary);
        self.spawn_as(command)
    }

    /// Starts the process with variables of its own; it must come up.
    pub fn start_with(&mut self, environment: &[(String, String)]) -> Outcome<Duration> {
        let mut command = Command::new(&self.binary);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        self.spawn_as(command)?;
        self.came_up()
    }

    fn spawn_as(&mut self, mut command: Command) -> Outcome {
        let log = File::options().create(true).append(true).open(self.output())?;
        command.args(["start", "--config"]).arg(self.settings()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?);
        Ok(())
    }

    /// Waits until the process answers, ends, or has had time enough.
    pub fn wait(&mut self) -> Outcome<Started> {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if answers(self.port) {
                return Ok(Started::Ready(begin.elapsed()));
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                self.process = None;
                return Ok(Started::Ended(status));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Started::Hangs)
    }

    /// Starts the server, which must come up; returns how long that took.
    pub fn start(&mut self) -> Outcome<Duration> {
        self.spawn()?;
        self.came_up()
    }

    fn came_up(&mut self) -> Outcome<Duration> {
        match self.wait()? {
            Started::Ready(time) => Ok(time),
            Started::Ended(status) => {
                Err(format!("the server ended with {status} instead of starting:\n{}", self.last_words())
                    .into())
            }
            Started::Hangs => Err(format!("the server did not start:\n{}", self.last_words()).into()),
        }
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| matches!(it.try_wait(), Ok(None)))
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) -> Outcome {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Asks the server to stop, which must succeed; returns how long that took.
    pub fn stop(&mut self) -> Outcome<Duration> {
        let begin = Instant::now();
        let Some(mut process) = self.process.take() else {
            return Ok(Duration::ZERO);
        };
        crate::command::show_nothing("kill", &["-TERM", &process.id().to_string()])?;
        loop {
            if let Some(status) = process.try_wait()? {
                if status.success() {
                    return Ok(begin.elapsed());
                }
                return Err(format!("a clean stop ended with {status}:\n{}", self.last_words()).into());
            }
            if begin.elapsed() > LIMIT {
                process.kill()?;
                process.wait()?;
                return Err(
                    format!("the server did not stop within {LIMIT:?}:\n{}", self.last_words()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn output(&self) -> PathBuf {
        self.folder.join("server.out")
    }

    /// Throws away what the server printed.
    pub fn forget_words(&self) -> Outcome {
        Ok(std::fs::write(self.output(), b"")?)
    }

    /// Everything that the server printed since [`Self::forget_words`].
    pub fn words(&self) -> String {
        std::fs::read(self.output()).map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default()
    }

    /// The last lines that the server printed.
    pub fn last_words(&self) -> String {
        let text = self.words();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cannot end a server: {error}");
        }
    }
}

/// Whether a Metadata request (version 0, all topics) is answered with one broker in it.
fn answers(port: u16) -> bool {
    const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&REQUEST)?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        // Size, correlation id, number of brokers.
        Ok(head[8..] == [0, 0, 0, 1])
    };
    ask().unwrap_or(false)
}
