//! `.lock`: a log directory belongs to one process, ours or Apache Kafka's.

use std::io;
use std::path::Path;

use ottla_host::Disk;
use ottla_host::disk::FileLock;

#[cfg(test)]
mod tests;

/// The file's name within a log directory (`LogManager.LOCK_FILE_NAME`).
pub const LOCK_FILE: &str = ".lock";

/// Takes a log directory for this process, until the lock is dropped. Refused with
/// [`io::ErrorKind::WouldBlock`] while another has it.
pub fn lock_log_directory(disk: &Disk, directory: &Path) -> io::Result<FileLock> {
    disk.lock(directory.join(LOCK_FILE)).map_err(|error| {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let message = format!(
            "failed to acquire the lock on {}: a broker in another process or thread is using this directory",
            directory.join(LOCK_FILE).display()
        );
        io::Error::new(io::ErrorKind::WouldBlock, message)
    })
}
