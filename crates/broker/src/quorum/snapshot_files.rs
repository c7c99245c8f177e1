//! The snapshots beside the metadata log, as files: found, read, written, given up.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_host::disk::{Open, parent_of};
use ottla_host::{Disk, File};
use ottla_raft::{MAX_BATCH_BYTES, OffsetAndEpoch, SnapshotBatch, SnapshotFile, SnapshotReader};
use ottla_record::{BatchView, MAGIC_PREFIX_BYTES, batch_size};

/// The largest batch in a snapshot: what a batch holds at most, and what stands around it.
const MAX_STORED_BATCH_BYTES: usize = MAX_BATCH_BYTES + (1 << 20);

/// Makes a directory and whichever above it are missing, so that they are there after a crash.
pub(crate) fn create_directory(disk: &Disk, path: &Path) -> io::Result<()> {
    if disk.exists(path)? {
        return Ok(());
    }
    let parent = parent_of(path);
    create_directory(disk, parent)?;
    disk.create_dir_all(path)?;
    disk.sync_dir(parent)
}

/// Writes a whole snapshot so that after a crash there is all of it or none: a partial file, synced, renamed.
pub(crate) fn write_snapshot(
    disk: &Disk,
    directory: &Path,
    id: OffsetAndEpoch,
    batches: impl IntoIterator<Item = Bytes>,
) -> io::Result<u64> {
    let file = disk.open(directory.join(SnapshotFile::Partial(id).name()), Open::Truncate)?;
    let mut position = 0;
    for batch in batches {
        file.write_all_at(&batch, position)?;
        position += batch.len() as u64;
    }
    file.sync_all()?;
    rename_durably(disk, directory, SnapshotFile::Partial(id), SnapshotFile::Whole(id))?;
    Ok(position)
}

/// Writes a piece of a snapshot that comes from elsewhere; the first piece begins the file anew.
pub(super) fn write_piece(
    disk: &Disk,
    directory: &Path,
    id: OffsetAndEpoch,
    position: u64,
    bytes: &[u8],
) -> io::Result<()> {
    let how = if position == 0 { Open::Truncate } else { Open::Write };
    disk.open(directory.join(SnapshotFile::Partial(id).name()), how)?.write_all_at(bytes, position)
}

/// The pieces are complete: makes them durable and gives the file its name.
pub(super) fn complete(disk: &Disk, directory: &Path, id: OffsetAndEpoch) -> io::Result<()> {
    disk.open(directory.join(SnapshotFile::Partial(id).name()), Open::Write)?.sync_all()?;
    rename_durably(disk, directory, SnapshotFile::Partial(id), SnapshotFile::Whole(id))
}

fn rename_durably(disk: &Disk, directory: &Path, from: SnapshotFile, to: SnapshotFile) -> io::Result<()> {
    disk.rename(directory.join(from.name()), directory.join(to.name()))?;
    disk.sync_dir(directory)
}

/// Marks a snapshot as given up; [`remove`] takes it away later, when nobody reads it any more.
pub(super) fn give_up(disk: &Disk, directory: &Path, id: OffsetAndEpoch) -> io::Result<()> {
    rename_durably(disk, directory, SnapshotFile::Whole(id), SnapshotFile::Deleted(id))
}

/// Removes a file of a snapshot.
pub(super) fn remove(disk: &Disk, directory: &Path, file: SnapshotFile) -> io::Result<()> {
    disk.remove_file_if_exists(directory.join(file.name())).map(drop)
}

/// The whole snapshots of a directory with their sizes. Partial ones and those that were given up are removed.
pub(super) fn find(disk: &Disk, directory: &Path) -> io::Result<BTreeMap<OffsetAndEpoch, u64>> {
    let mut found = BTreeMap::new();
    for entry in disk.list(directory)? {
        match SnapshotFile::of_name(&entry.name) {
            Some(SnapshotFile::Whole(id)) => {
                found.insert(id, disk.metadata(directory.join(&entry.name))?.len);
            }
            Some(SnapshotFile::Partial(_) | SnapshotFile::Deleted(_)) => {
                disk.remove_file_if_exists(directory.join(&entry.name))?;
                tracing::info!(file = entry.name, "removed a snapshot that is not whole or not needed");
            }
            None => {}
        }
    }
    Ok(found)
}

/// Reads a snapshot batch by batch. Anything wrong with it is [`io::ErrorKind::InvalidData`].
pub(super) fn read(
    disk: &Disk,
    path: &Path,
    mut look: impl FnMut(SnapshotBatch) -> io::Result<()>,
) -> io::Result<SnapshotReader> {
    let file = disk.open(path, Open::Read)?;
    let len = file.len()?;
    let mut reader = SnapshotReader::default();
    let mut position = 0;
    while position < len {
        let bytes = read_batch(&file, position, len)?;
        let batch = BatchView::new(&bytes).map_err(invalid)?;
        look(reader.read(&batch).map_err(invalid)?)?;
        position += bytes.len() as u64;
    }
    Ok(reader)
}

fn read_batch(file: &File, position: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut prefix = [0; MAGIC_PREFIX_BYTES];
    file.read_exact_at(&mut prefix, position)?;
    let size = batch_size(&prefix, MAX_STORED_BATCH_BYTES).map_err(invalid)?.unwrap_or_default();
    if size as u64 > len - position {
        return Err(invalid("a batch reaches over the end of the file"));
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, position)?;
    Ok(bytes)
}

pub(super) fn invalid(reason: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

/// Where a snapshot is.
pub(super) fn path_of(directory: &Path, id: OffsetAndEpoch) -> PathBuf {
    directory.join(SnapshotFile::Whole(id).name())
}
