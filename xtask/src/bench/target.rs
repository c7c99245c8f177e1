//! A server to measure: its data, settings and process, of either maker.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::work::{self, Server};
use crate::workspace::Outcome;

/// Who made the server.
#[derive(Debug, Clone)]
pub enum Maker {
    /// Apache Kafka, with the folder that holds its jars.
    Kafka(PathBuf),
    /// Ottla or what takes its command line, with its binary.
    Ottla(PathBuf),
}

/// The flags of Kafka's own start script.
const KAFKA_FLAGS: [&str; 7] = [
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// A server with a folder of its own; killed and removed when dropped.
pub struct Target {
    maker: Maker,
    folder: tempfile::TempDir,
    port: u16,
    /// A folder of jars that Apache Kafka runs with besides its own.
    more_jars: Option<PathBuf>,
    process: Option<Child>,
}

impl Target {
    /// Writes settings, in which `{folder}` stands for a fresh folder, into that and formats the data directory.
    pub fn format(maker: Maker, settings: &str) -> Outcome<Target> {
        let folder = tempfile::Builder::new().prefix("ottla-bench-").tempdir()?;
        let listen = || std::net::TcpListener::bind("127.0.0.1:0");
        let (one, two) = (listen()?, listen()?);
        let (port, controller) = (one.local_addr()?.port(), two.local_addr()?.port());
        drop((one, two));
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.bootstrap.servers=localhost:{controller}\n\
             listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}\n\
             advertised.listeners=PLAINTEXT://localhost:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             {}\n",
            folder.path().join("data").display(),
            settings.replace("{folder}", &folder.path().display().to_string())
        );
        std::fs::write(folder.path().join("server.properties"), text)?;
        let target = Target { maker, folder, port, more_jars: None, process: None };
        let mut format = match &target.maker {
            Maker::Kafka(jars) => {
                java(&[jars], &["-Xmx256m", "-Dlog4j2.level=OFF"], "kafka.tools.StorageTool")
            }
            Maker::Ottla(binary) => Command::new(binary),
        };
        format.args(["format", "-t", CLUSTER_ID, "--standalone", "-c"]).arg(target.settings());
        let output = format.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("format failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(target)
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    /// The folder of the data, the settings and what the server prints.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a folder of jars to those that Apache Kafka runs with.
    pub fn add_jars(&mut self, folder: PathBuf) {
        self.more_jars = Some(folder);
    }

    /// Starts the server and waits until a first produce is acknowledged; returns how long that took.
    pub fn start(&mut self) -> Outcome<Duration> {
        self.start_under(&[])
    }

    /// Starts the server as another program's argument.
    pub fn start_under(&mut self, wrapper: &[&str]) -> Outcome<Duration> {
        let inner = match &self.maker {
            Maker::Kafka(jars) => {
                let folders: Vec<&Path> =
                    [jars.as_path()].into_iter().chain(self.more_jars.as_deref()).collect();
                java(&folders, &KAFKA_FLAGS, "kafka.Kafka")
            }
            Maker::Ottla(binary) => {
                let mut command = Command::new(binary);
                command.args(["start", "--config"]);
                command
            }
        };
        let mut command = match wrapper {
            [] => inner,
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(inner.get_program()).args(inner.get_args());
                command
            }
        };
        let log = File::options().create(true).append(true).open(self.folder().join("server.out"))?;
        command.arg(self.settings()).current_dir(self.folder());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begin = Instant::now();
        self.process = Some(command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?);
        work::first_produce(self.port, "first", START_LIMIT)?;
        Ok(begin.elapsed())
    }

    /// The last lines that the server printed.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(self.folder().join("server.out")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The running server.
    pub fn server(&self) -> Outcome<Server> {
        let process = self.process.as_ref().ok_or("the server is not running")?;
        Ok(Server { port: self.port, pid: process.id() })
    }

    /// Ends the server as `kill -9` does.
    pub fn kill(&mut self) -> Outcome {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Asks the server to stop and returns how long it took.
    pub fn stop(&mut self) -> Outcome<Duration> {
        let begin = Instant::now();
        let Some(mut process) = self.process.take() else {
            return Ok(Duration::ZERO);
        };
        Command::new("kill").args(["-TERM", &process.id().to_string()]).status()?;
        while process.try_wait()?.is_none() {
            if begin.elapsed() > STOP_LIMIT {
                process.kill()?;
                process.wait()?;
                return Err(format!("the server did not stop within {STOP_LIMIT:?}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(begin.elapsed())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself; nothing else can be done here.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn java(folders: &[&Path], flags: &[&str], class: &str) -> Command {
    let jars: Vec<String> = folders.iter().map(|it| it.join("*").display().to_string()).collect();
    let mut command = Command::new("java");
    command.args(flags).arg("-cp").arg(jars.join(":")).arg(class);
    command
}
