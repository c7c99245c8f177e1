//! A server of the program in a directory, and the program's commands against it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");

/// A server, stopped when the test ends.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// `host:port` of its listener for clients.
    pub(crate) address: String,
}

/// Ports that nobody listens on: for clients, controllers and metrics.
pub(crate) fn free_ports() -> [u16; 3] {
    let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|it| it.local_addr().unwrap().port())
}

fn overrides(directory: &Path, [clients, controllers, metrics]: [u16; 3], more: &[&str]) -> Vec<String> {
    let own = [
        format!("log.dirs={}", directory.display()),
        format!("listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controllers}"),
        format!("controller.quorum.bootstrap.servers=127.0.0.1:{controllers}"),
        format!("ottla.metrics.listener=127.0.0.1:{metrics}"),
    ];
    let all = own.into_iter().chain(more.iter().map(|it| (*it).to_owned()));
    all.flat_map(|it| ["--override".to_owned(), it]).collect()
}

impl Server {
    /// Starts one in `directory`, with `more` settings.
    pub(crate) fn start(directory: &Path, ports: [u16; 3], more: &[&str]) -> Server {
        let mut child = Command::new(OTTLA)
            .args(["start", "--log-level", "warn"])
            .args(overrides(directory, ports, more))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("Ctrl-C stops the server.") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the server ended before it was ready");
        }
        Server { child, stdout, address: format!("127.0.0.1:{}", ports[0]) }
    }

    /// Formats `directory` with the level of a feature, and starts one in it.
    pub(crate) fn start_with(directory: &Path, feature: &str, more: &[&str]) -> Server {
        let ports = free_ports();
        let formatted = Command::new(OTTLA)
            .args(["format", "--standalone", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--feature", feature])
            .args(overrides(directory, ports, more))
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        Server::start(directory, ports, more)
    }

    /// Runs a command of the client against the server.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(OTTLA)
            .args(arguments)
            .env("OTTLA_BOOTSTRAP_SERVER", &self.address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command prints, which must succeed.
    pub(crate) fn prints(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        assert!(self.child.wait().unwrap().success());
        let mut rest = String::new();
        while self.stdout.read_line(&mut rest).unwrap() > 0 {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
