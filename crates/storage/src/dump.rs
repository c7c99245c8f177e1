//! Reading the files of a log one by one, as they are, for whoever wants to look at them (`DumpLogSegments`).
//!
//! The other kinds have their readers beside their writers: [`TransactionIndex`](crate::transaction_index),
//! [`snapshot`](crate::producer_state::snapshot), [`LeaderEpochs`](crate::leader_epochs),
//! [`checkpoint_file`](crate::checkpoint_file), [`partition_metadata`](crate::partition_metadata).

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ottla_base::Offset;
use ottla_host::disk::{Open, parent_of};
use ottla_host::{Disk, Host};

use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile};
use crate::files::{Directory, LogFiles, OpenFiles};
use crate::index::{Entry, OffsetEntry, TimeEntry};
use crate::progress::Progress;
use crate::scan::{BatchAt, Depth, Scan, Step, Torn};

/// The largest index that is read: two million entries.
const INDEX_BYTES_MAX: u64 = 32 << 20;

/// How the walk over a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalkEnd {
    /// At the end of the file.
    Complete,
    /// Where whoever was looking had seen enough.
    Stopped,
    /// At bytes that are no batch. Zeros at the end of a file that Kafka reserved are none, either.
    Torn(Torn),
}

/// Shows every batch of a `.log` file, or of a snapshot of the quorum, with its bytes; checksums are for `see` to
/// compute.
pub fn walk_batches(
    host: &Host,
    path: &Path,
    mut see: impl FnMut(&BatchAt, &[u8]) -> ControlFlow<()>,
) -> Result<WalkEnd, StorageError> {
    // A directory of its own: that a file cannot be read takes nothing offline.
    let directory = Arc::new(Directory::new(parent_of(path), Arc::new(Progress::new())));
    let files =
        LogFiles::new(host.clone(), directory, Arc::new(OpenFiles::new(1)), parent_of(path).to_path_buf());
    let name = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
    let name = name.unwrap_or(FileName::live(Offset::ZERO, SegmentFile::Log));
    let file = files.result(path, host.disk().open(path, Open::Read))?;
    let len = files.result(path, file.len())?;
    let end = u32::try_from(len).unwrap_or(u32::MAX);
    let mut scan = Scan::new(&files, name, &file, Depth::Headers, 0..end, name.base);
    loop {
        match scan.next()? {
            Step::Batch(batch) => {
                let bytes = scan.batch_bytes(&batch)?;
                if see(&batch, bytes).is_break() {
                    return Ok(WalkEnd::Stopped);
                }
            }
            Step::End => return Ok(WalkEnd::Complete),
            Step::Torn(torn) => return Ok(WalkEnd::Torn(torn)),
        }
    }
}

/// The entries of an `.index` file.
pub fn read_offset_index(disk: &Disk, path: &Path) -> io::Result<Vec<OffsetEntry>> {
    read_index(disk, path)
}

/// The entries of a `.timeindex` file.
pub fn read_time_index(disk: &Disk, path: &Path) -> io::Result<Vec<TimeEntry>> {
    read_index(disk, path)
}

/// The entries of an index. Of a file that Kafka pre-sized and did not trim, what follows the last entry is left out.
fn read_index<E: Entry>(disk: &Disk, path: &Path) -> io::Result<Vec<E>> {
    let content = disk.read(path, INDEX_BYTES_MAX)?;
    let mut entries: Vec<E> = content.chunks_exact(E::BYTES).map(E::decode).collect();
    let is_zero = |at: usize| content[at * E::BYTES..(at + 1) * E::BYTES].iter().all(|byte| *byte == 0);
    let used = (0..entries.len()).rev().find(|at| !is_zero(*at)).map_or(0, |last| last + 1);
    entries.truncate(used);
    Ok(entries)
}

#[cfg(test)]
mod tests;
