//! The snapshots beside the metadata log, as files.

use std::io;
use std::path::Path;

use bytes::Bytes;
use ottla_host::Disk;
use ottla_host::disk::Open;
use ottla_raft::{OffsetAndEpoch, SnapshotFile};

/// Writes a whole snapshot so that after a crash there is all of it or none: a partial file, synced, renamed.
pub(crate) fn write_snapshot(
    disk: &Disk,
    directory: &Path,
    id: OffsetAndEpoch,
    batches: impl IntoIterator<Item = Bytes>,
) -> io::Result<u64> {
    let partial = directory.join(SnapshotFile::Partial(id).name());
    let file = disk.open(&partial, Open::Truncate)?;
    let mut position = 0;
    for batch in batches {
        file.write_all_at(&batch, position)?;
        position += batch.len() as u64;
    }
    file.sync_all()?;
    complete_snapshot(disk, directory, id)?;
    Ok(position)
}

/// Gives a partial file, which has been synced, its name.
pub(crate) fn complete_snapshot(disk: &Disk, directory: &Path, id: OffsetAndEpoch) -> io::Result<()> {
    let partial = directory.join(SnapshotFile::Partial(id).name());
    disk.rename(&partial, directory.join(SnapshotFile::Whole(id).name()))?;
    disk.sync_dir(directory)
}
