//! Servers that speak the clouds' protocols for objects: moto and Azurite; with one bucket.
//!
//! No server for tests speaks Google's XML protocol with deletion and parts. It is S3's in all that a tier asks for, but
//! for how a request is signed, which moto does not look at: so Google's client is run against moto.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::capture::capture;
use super::reference::Reference;
use crate::command;
use crate::workspace::{Outcome, root};

const LIMIT: Duration = Duration::from_secs(60);
/// Nothing in the name has to be escaped: Google's client escapes hyphens, which moto takes for a part of the name.
const BUCKET: &str = "ottlatier";
/// Below this, objects lie in the bucket.
const PREFIX: &str = "prefix";
/// An account of Azurite, and what it calls its key: base64 of a word.
const AZURE_ACCOUNT: &str = "ottla";
const AZURE_KEY: &str = "b3R0bGE=";

/// Whose protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon S3, by moto.
    S3,
    /// Google Cloud Storage, by moto, which takes its requests for those of S3.
    Google,
    /// Azure Blob Storage, by Azurite.
    Azure,
}

/// A server with an empty bucket; ended when dropped.
pub struct StoreServer {
    cloud: Cloud,
    process: Child,
    port: u16,
}

impl StoreServer {
    /// Installs the server of a cloud, starts it with its files in `folder`, and makes the bucket.
    pub fn start(reference: &Reference, cloud: Cloud, folder: &Path) -> Outcome<StoreServer> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = program(reference, cloud, port)?;
        let said = folder.join(format!("{cloud:?}.log"));
        let file = std::fs::File::create(&said)?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process =
            command.spawn().map_err(|error| format!("cannot start the server of {cloud:?}: {error}"))?;
        let mut server = StoreServer { cloud, process, port };
        let end = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end || server.process.try_wait()?.is_some() {
                let said = std::fs::read_to_string(&said)?;
                return Err(format!("the server of {cloud:?} did not start: {said}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        server.ask(reference, "make")?;
        Ok(server)
    }

    /// Whose protocol it speaks.
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    fn address(&self) -> String {
        let account = if self.cloud == Cloud::Azure { format!("/{AZURE_ACCOUNT}") } else { String::new() };
        format!("http://127.0.0.1:{}{account}", self.port)
    }

    /// What a broker is told to keep its segments here.
    pub fn settings(&self) -> String {
        let address = self.address();
        match self.cloud {
            Cloud::S3 => format!(
                "ottla.remote.storage.url=s3://{BUCKET}/{PREFIX}\n\
                 rsm.config.aws.endpoint={address}\nrsm.config.aws.allow.http=true\n\
                 rsm.config.aws.region=us-east-1\nrsm.config.aws.access.key.id=test\n\
                 rsm.config.aws.secret.access.key=test\n"
            ),
            Cloud::Google => format!(
                "ottla.remote.storage.url=gs://{BUCKET}/{PREFIX}\n\
                 rsm.config.google.base.url={address}\nrsm.config.google.bearer.token=test\n"
            ),
            Cloud::Azure => format!(
                "ottla.remote.storage.url=az://{BUCKET}/{PREFIX}\n\
                 rsm.config.azure.storage.endpoint={address}\nrsm.config.azure.allow.http=true\n\
                 rsm.config.azure.storage.account.name={AZURE_ACCOUNT}\n\
                 rsm.config.azure.storage.account.key={AZURE_KEY}\n"
            ),
        }
    }

    /// Every object, by its key, with its size.
    pub fn objects(&self, reference: &Reference) -> Outcome<Vec<(String, u64)>> {
        let mut objects = Vec::new();
        for line in self.ask(reference, "list")?.lines() {
            let (size, key) = line.split_once(' ').ok_or("a line without a size")?;
            let key = key.strip_prefix(PREFIX).and_then(|it| it.strip_prefix('/')).unwrap_or(key);
            objects.push((key.to_owned(), size.parse()?));
        }
        Ok(objects)
    }

    /// Has somebody else's client, in `xtask/clients`, make or list the bucket.
    fn ask(&self, reference: &Reference, what: &str) -> Outcome<String> {
        let (python, script) = match self.cloud {
            Cloud::S3 | Cloud::Google => (moto(reference)?, "s3.py"),
            Cloud::Azure => (reference.python("azure", &["azure-storage-blob==12.26.0"])?, "azure_blob.py"),
        };
        let mut command = Command::new(python);
        command.arg(root().join("xtask/clients").join(script)).args([&self.address(), BUCKET, what]);
        if self.cloud == Cloud::Azure {
            command.args([AZURE_ACCOUNT, AZURE_KEY]);
        }
        capture(&mut command, b"", LIMIT)?.success(script)
    }

    /// Sends it a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) -> Outcome {
        command::show_nothing("kill", &[signal, &self.process.id().to_string()])
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        // It holds nothing that outlives the run.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn moto(reference: &Reference) -> Outcome<PathBuf> {
    reference.python("moto", &["moto[s3,server]==5.2.5"])
}

/// The server's program, which keeps everything in memory and listens on one port of this machine.
fn program(reference: &Reference, cloud: Cloud, port: u16) -> Outcome<Command> {
    let port = port.to_string();
    match cloud {
        Cloud::S3 | Cloud::Google => {
            let python = moto(reference)?;
            let mut command = Command::new(python.parent().unwrap_or(Path::new("")).join("moto_server"));
            command.args(["-H", "127.0.0.1", "-p", &port]);
            Ok(command)
        }
        Cloud::Azure => {
            let folder = reference.node_modules("azurite", &["azurite@3.37.0"])?;
            let mut command = Command::new("node");
            command.arg(folder.join("node_modules/azurite/dist/src/blob/main.js"));
            command.env("AZURITE_ACCOUNTS", format!("{AZURE_ACCOUNT}:{AZURE_KEY}"));
            command.args([
                "--inMemoryPersistence",
                "--disableTelemetry",
                "--silent",
                "--skipApiVersionCheck",
            ]);
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port]);
            Ok(command)
        }
    }
}
