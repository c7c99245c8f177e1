//! One server of either maker: its folder, settings and process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::capture::{capture, wait};
use super::reference::{ClassPath, Reference};
use crate::command;
use crate::workspace::Outcome;

/// The same identifier everywhere, so that it need not be masked.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Who made the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Apache Kafka, the release that is compared with.
    Kafka,
    /// Another release of Apache Kafka.
    Release(ClassPath),
    /// Ottla, with its binary.
    Ottla(PathBuf),
}

impl Maker {
    /// Ottla's binary from `$OTTLA_BIN`, or built in release mode.
    pub fn ottla() -> Outcome<Self> {
        if let Some(binary) = std::env::var_os("OTTLA_BIN") {
            return Ok(Self::Ottla(PathBuf::from(binary)));
        }
        command::show("cargo", &["build", "--quiet", "--locked", "--release", "-p", "ottla-cli"])?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| crate::workspace::root().join("target"), PathBuf::from);
        Ok(Self::Ottla(target.join("release/ottla")))
    }

    /// The jars of an Apache Kafka.
    fn class_path(&self) -> ClassPath {
        match self {
            Self::Release(class_path) => *class_path,
            Self::Kafka | Self::Ottla(_) => ClassPath::Server,
        }
    }
}

/// How the settings say who the controllers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StatedQuorum {
    /// By `controller.quorum.bootstrap.servers`: the voters are in the metadata log.
    Dynamic,
    /// By `controller.quorum.voters`.
    Static,
}

/// A server that can be formatted, started, stopped and killed; killed when dropped.
pub struct Node<'a> {
    maker: Maker,
    reference: &'a Reference,
    folder: PathBuf,
    log_dirs: Vec<PathBuf>,
    port: u16,
    controller_port: u16,
    /// Jars beside those of the server, where Apache Kafka runs.
    more_jars: Option<PathBuf>,
    process: Option<Child>,
}

impl<'a> Node<'a> {
    /// Writes `server.properties` in `folder`, with `log_dirs` log directories.
    pub fn new(maker: Maker, reference: &'a Reference, folder: PathBuf, log_dirs: usize) -> Outcome<Self> {
        std::fs::create_dir_all(&folder)?;
        let (port, controller_port) = free_ports()?;
        let log_dirs: Vec<_> = (1..=log_dirs).map(|it| folder.join(format!("data-{it}"))).collect();
        let listed: Vec<_> = log_dirs.iter().map(|it| it.display().to_string()).collect();
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.bootstrap.servers=localhost:{controller_port}\n\
             listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller_port}\n\
             advertised.listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller_port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             log.retention.ms=-1\n\
             offsets.topic.replication.factor=1\n\
             group.initial.rebalance.delay.ms=300\n\
             group.consumer.min.session.timeout.ms=5000\ngroup.streams.min.session.timeout.ms=3000\ngroup.streams.session.timeout.ms=6000\n\
             group.streams.min.heartbeat.interval.ms=500\ngroup.streams.heartbeat.interval.ms=1000\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n",
            listed.join(",")
        );
        std::fs::write(folder.join("server.properties"), text)?;
        Ok(Self { maker, reference, folder, log_dirs, port, controller_port, more_jars: None, process: None })
    }

    /// Adds lines to `server.properties`.
    pub fn add_settings(&self, lines: &str) -> Outcome {
        let mut file = File::options().append(true).open(self.settings())?;
        file.write_all(lines.as_bytes())?;
        Ok(())
    }

    /// Takes lines away from `server.properties` that were added before.
    pub fn remove_settings(&self, lines: &str) -> Outcome {
        let text = std::fs::read_to_string(self.settings())?;
        std::fs::write(self.settings(), text.replace(lines, ""))?;
        Ok(())
    }

    /// Adds a folder of jars to those that Apache Kafka runs with.
    pub fn add_jars(&mut self, folder: PathBuf) {
        self.more_jars = Some(folder);
    }

    /// The port of the broker's listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the controller's listener.
    pub fn controller_port(&self) -> u16 {
        self.controller_port
    }

    /// `host:port` of the broker's listener.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `host:port` of the controller's listener.
    pub fn controller_address(&self) -> String {
        format!("localhost:{}", self.controller_port)
    }

    /// The folder with the settings, the logs of the process and the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log directories, in the order of `log.dirs`.
    pub fn log_dirs(&self) -> &[PathBuf] {
        &self.log_dirs
    }

    /// Puts another server in charge of the same folder; the present one must be stopped.
    pub fn hand_to(&mut self, maker: Maker) {
        assert!(self.process.is_none(), "a node is handed over while it is stopped");
        self.maker = maker;
    }

    /// The quorum is the one that the settings name, as before `kraft.version` 1; and more settings follow.
    pub fn settle(&self, quorum: StatedQuorum, more: &str) -> Outcome {
        let mut text = std::fs::read_to_string(self.settings())?;
        if quorum == StatedQuorum::Static {
            let servers = format!("bootstrap.servers=localhost:{}", self.controller_port);
            text = text.replace(&servers, &format!("voters=1@localhost:{}", self.controller_port));
        }
        std::fs::write(self.settings(), text + more)?;
        Ok(())
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    /// Formats the data directories for a quorum of this node alone.
    pub fn format(&self) -> Outcome {
        self.format_with(&["--standalone"])
    }

    /// Formats the data directories.
    pub fn format_with(&self, flags: &[&str]) -> Outcome {
        let mut command = match &self.maker {
            Maker::Kafka | Maker::Release(_) => {
                let class_path = self.maker.class_path();
                let mut command = self.reference.java(class_path, "256m", &["-Dlog4j2.level=OFF"]);
                command.args(["kafka.tools.StorageTool", "format"]);
                command
            }
            Maker::Ottla(binary) => {
                let mut command = Command::new(binary);
                command.arg("format");
                command
            }
        };
        command.args(["-t", CLUSTER_ID]).args(flags).arg("-c").arg(self.settings());
        capture(&mut command, b"", START_LIMIT)?.success("format")?;
        Ok(())
    }

    /// Starts the server and waits until it answers.
    pub fn start(&mut self) -> Outcome {
        let mut command = match &self.maker {
            Maker::Kafka | Maker::Release(_) => {
                let logging = self.folder.join("log4j2.properties");
                std::fs::write(
                    &logging,
                    "rootLogger.level=INFO\nrootLogger.appenderRef.out.ref=out\n\
                     appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n\
                     appender.out.layout.pattern=%d %p %c %m%n\n",
                )?;
                let flag = format!("-Dlog4j2.configurationFile={}", logging.display());
                let more = self.more_jars.as_deref();
                let mut command = self.reference.server(self.maker.class_path(), &[&flag], more);
                command.arg("kafka.Kafka").arg(self.settings());
                command
            }
            Maker::Ottla(binary) => {
                let mut command = Command::new(binary);
                command.args(["start", "--config"]).arg(self.settings());
                // The harness's own variables are no settings of a server.
                command.env_remove("OTTLA_BIN").env_remove("OTTLA_REFERENCE_DIR");
                command
            }
        };
        let out = File::options().create(true).append(true).open(self.output())?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).current_dir(&self.folder);
        self.process = Some(command.spawn().map_err(|error| format!("cannot start the server: {error}"))?);
        let end = Instant::now() + START_LIMIT;
        while !answers(self.port) {
            if !self.is_running() || Instant::now() > end {
                return Err(format!("{:?} did not start:\n{}", self.maker, self.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn output(&self) -> PathBuf {
        self.folder.join("server.out")
    }

    /// The last lines that the server logged.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.output()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| matches!(it.try_wait(), Ok(None)))
    }

    /// Asks the server to stop, waits for it, and returns how long it took.
    pub fn stop(&mut self) -> Outcome<Duration> {
        let begin = Instant::now();
        if let Some(mut child) = self.process.take() {
            command::show_nothing("kill", &["-TERM", &child.id().to_string()])?;
            if wait(&mut child, STOP_LIMIT)?.is_none() {
                return Err(format!("{:?} did not stop within {STOP_LIMIT:?}", self.maker).into());
            }
        }
        Ok(begin.elapsed())
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) -> Outcome {
        if let Some(mut child) = self.process.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cannot end a server: {error}");
        }
    }
}

/// Two ports that are free now.
fn free_ports() -> Outcome<(u16, u16)> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

/// Whether a Metadata request (version 0, all topics) is answered with one broker in it.
fn answers(port: u16) -> bool {
    const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(&REQUEST)?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        // Size, correlation id, number of brokers.
        Ok(head[8..] == [0, 0, 0, 1])
    };
    ask().unwrap_or(false)
}
