//! A server to abuse, and raw connections to it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A server in a directory of its own, killed when the test ends.
pub(crate) struct Server {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// A fresh server with the topic `t` of four partitions.
    pub(crate) fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, controller] = sockets.map(|it| it.local_addr().unwrap().port());
        let mut child = Command::new(env!("CARGO_BIN_EXE_ottla"))
            .args(["start", "--log-level", "error"])
            .args(["--override", &format!("log.dirs={}", directory.path().display())])
            .args([
                "--override",
                &format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            ])
            .args(["--override", &format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}")])
            .args(["--override", "ottla.metrics.listener=127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("Ctrl-C stops the server.") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the server ended before it was ready");
        }
        let server = Server { child, _stdout: stdout, _directory: directory, port };
        let mut create = vec![];
        create.extend(1i32.to_be_bytes());
        create.extend(string("t"));
        create.extend(4i32.to_be_bytes());
        create.extend(1i16.to_be_bytes());
        create.extend([0; 8]);
        create.extend(30_000i32.to_be_bytes());
        create.push(0);
        let answer = server.connect().ask(19, 4, &create);
        assert_eq!(i16_at(&answer, 4 + 4 + 3), 0);
        server
    }

    /// A connection whose reads give up after a generous while.
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream }
    }

    /// The resident memory of the server, in MiB.
    pub(crate) fn resident_mebibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Another client is answered.
    pub(crate) fn is_well(&self) {
        let answer = self.connect().ask(18, 0, &[]);
        assert_eq!(i16_at(&answer, 0), 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    /// Sends one request with a header of the first kind.
    pub(crate) fn send(&mut self, key: i16, version: i16, body: &[u8]) {
        self.stream.write_all(&frame(key, version, body)).unwrap();
    }

    /// The body of the next answer, if there is one before the connection ends.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        match self.stream.read_exact(&mut len) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
        let mut bytes = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut bytes).unwrap();
        Some(bytes.split_off(4))
    }

    /// Sends a request and gives the body of its answer.
    pub(crate) fn ask(&mut self, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        self.send(key, version, body);
        self.receive().expect("an answer")
    }

    /// The server ends the connection without an answer.
    pub(crate) fn is_closed(&mut self) {
        assert_eq!(self.receive(), None);
    }
}

/// A request's bytes.
pub(crate) fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend((8 + string("test").len() as i32 + body.len() as i32).to_be_bytes());
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7i32.to_be_bytes());
    frame.extend(string("test"));
    frame.extend(body);
    frame
}

/// A STRING.
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// The INT16 at a place.
pub(crate) fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// The INT32 at a place.
pub(crate) fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The INT64 at a place.
pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}
