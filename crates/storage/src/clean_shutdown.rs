//! `.kafka_cleanshutdown`: left in a log directory by a clean stop, so that the next start need not scan it
//! (`CleanShutdownFileHandler`).

use std::io;
use std::path::Path;

use ottla_base::BrokerEpoch;
use ottla_host::Disk;

#[cfg(test)]
mod tests;

/// The file's name within a log directory.
pub const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

const MAX_BYTES: u64 = 4096;

/// A log directory was stopped cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker epoch that stopped; unknown if the file does not say, as before Apache Kafka 3.7.
    pub broker_epoch: Option<BrokerEpoch>,
}

/// Says, durably, that everything in the directory was flushed.
pub fn write_clean_shutdown(disk: &Disk, directory: &Path, broker_epoch: BrokerEpoch) -> io::Result<()> {
    let content = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    disk.write_atomically(directory.join(CLEAN_SHUTDOWN_FILE), content.as_bytes())
}

/// Whether the directory was stopped cleanly, and forgets that durably: whoever crashes from here on did
/// not stop cleanly. That the file exists counts, whatever it says.
pub fn take_clean_shutdown(disk: &Disk, directory: &Path) -> io::Result<Option<CleanShutdown>> {
    let path = directory.join(CLEAN_SHUTDOWN_FILE);
    let content = match disk.read(&path, MAX_BYTES) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
        Err(error) => return Err(error),
    };
    disk.remove_file(&path)?;
    disk.sync_dir(directory)?;
    Ok(Some(CleanShutdown { broker_epoch: parse(&content) }))
}

/// The broker epoch that stopped every directory of a broker cleanly; `None` if some directory does not say
/// so, or they differ. `found` has one element for every configured directory, also for one that is offline.
pub fn agreed_broker_epoch(found: &[Option<CleanShutdown>]) -> Option<BrokerEpoch> {
    let epoch_of = |found: &Option<CleanShutdown>| found.and_then(|it| it.broker_epoch);
    let first = epoch_of(found.first()?)?;
    found.iter().all(|it| epoch_of(it) == Some(first)).then_some(first)
}

fn parse(content: &[u8]) -> Option<BrokerEpoch> {
    let content: serde_json::Value = serde_json::from_slice(content).ok()?;
    content.get("brokerEpoch")?.as_i64().map(BrokerEpoch)
}
