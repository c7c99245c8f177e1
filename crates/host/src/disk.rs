//! Files and directories, positional and synchronous; real or simulated.
//!
//! What is written is in the page cache; it survives a crash once the file was synced *and* the directory
//! that names it was.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_base::Timestamp;

use self::simulated::{SimulatedDisk, SimulatedFile};

mod real;
pub mod simulated;
#[cfg(test)]
mod tests;

pub(crate) use real::RealFile;

/// The disk of a host. Cheap to clone.
#[derive(Clone)]
pub struct Disk {
    kind: DiskKind,
}

#[derive(Clone)]
enum DiskKind {
    Real,
    Simulated(SimulatedDisk),
}

/// An open file. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct File {
    pub(crate) kind: FileKind,
}

#[derive(Clone)]
pub(crate) enum FileKind {
    Real(Arc<RealFile>),
    Simulated(Arc<SimulatedFile>),
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// To read a file that exists.
    Read,
    /// To read and write a file that exists.
    Write,
    /// To read and write; made if missing, kept if not.
    Create,
    /// To read and write a file that must not exist yet.
    CreateNew,
    /// To read and write; made if missing, emptied if not.
    Truncate,
}

/// What a directory knows of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes of content.
    pub len: u64,
    /// When the content last changed.
    pub modified: Timestamp,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// The name, without the directory's.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The size of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub total_bytes: u64,
    /// Bytes that an unprivileged process may still use.
    pub usable_bytes: u64,
}

/// A lock on a file, held until this is dropped or the process ends.
#[must_use = "the lock is released when this is dropped"]
pub struct FileLock {
    _kind: LockKind,
}

#[expect(dead_code, reason = "held for what dropping them does")]
enum LockKind {
    Real(Arc<RealFile>),
    Simulated(simulated::SimulatedLock),
}

/// The ending of the temporary file of [`Disk::write_atomically`], as Kafka names it.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

impl Disk {
    pub(crate) fn real() -> Disk {
        Disk { kind: DiskKind::Real }
    }

    pub(crate) fn simulated(disk: SimulatedDisk) -> Disk {
        Disk { kind: DiskKind::Simulated(disk) }
    }

    /// Opens a file.
    pub fn open(&self, path: impl AsRef<Path>, how: Open) -> io::Result<File> {
        let path = path.as_ref();
        let kind = match &self.kind {
            DiskKind::Real => FileKind::Real(Arc::new(RealFile::open(path, how)?)),
            DiskKind::Simulated(disk) => FileKind::Simulated(Arc::new(disk.open(path, how)?)),
        };
        Ok(File { kind })
    }

    /// The whole content of a file that is expected to be small; refused with
    /// [`io::ErrorKind::FileTooLarge`] if it is longer than `limit` bytes.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let mut content = vec![0; len as usize];
        file.read_exact_at(&mut content, 0)?;
        Ok(content)
    }

    /// Replaces a small file so that after a crash it has either the old content or the new, whole:
    /// writes a temporary file beside it, syncs that, renames it, syncs the directory.
    pub fn write_atomically(&self, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        self.replace(path, content)?;
        self.sync_dir(parent_of(path))
    }

    /// The same without syncing the directory: until that is done, a crash may bring the old content back, whole.
    pub fn replace(&self, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let temporary = temporary_of(path);
        let file = self.open(&temporary, Open::Truncate)?;
        file.write_all_at(content, 0)?;
        file.sync_all()?;
        drop(file);
        self.rename(&temporary, path)
    }

    /// Writes what is to replace a small file, beside it and not durable yet.
    pub fn draft(&self, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        self.open(temporary_of(path.as_ref()), Open::Truncate)?.write_all_at(content, 0)
    }

    /// Puts what [`Disk::draft`] has written, and what has become durable since, into its place.
    pub fn adopt(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        self.rename(temporary_of(path), path)
    }

    /// Makes everything durable that is in the file system of a directory, whoever wrote it: one long wait instead of
    /// thousands.
    pub fn sync_file_system(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match &self.kind {
            DiskKind::Real => real::sync_file_system(path.as_ref()),
            DiskKind::Simulated(disk) => disk.sync_file_system(path.as_ref()),
        }
    }

    /// Renames a file or directory, replacing a file of the new name.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        match &self.kind {
            DiskKind::Real => real::rename(from.as_ref(), to.as_ref()),
            DiskKind::Simulated(disk) => disk.rename(from.as_ref(), to.as_ref()),
        }
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match &self.kind {
            DiskKind::Real => real::sync_dir(path.as_ref()),
            DiskKind::Simulated(disk) => disk.sync_dir(path.as_ref()),
        }
    }

    /// Removes a file.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match &self.kind {
            DiskKind::Real => real::remove_file(path.as_ref()),
            DiskKind::Simulated(disk) => disk.remove_file(path.as_ref()),
        }
    }

    /// Removes a file; that there is none is fine. Says whether there was one.
    pub fn remove_file_if_exists(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match self.remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a directory with everything in it.
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match &self.kind {
            DiskKind::Real => real::remove_dir_all(path.as_ref()),
            DiskKind::Simulated(disk) => disk.remove_dir_all(path.as_ref()),
        }
    }

    /// Makes a directory and whichever above it are missing.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match &self.kind {
            DiskKind::Real => real::create_dir_all(path.as_ref()),
            DiskKind::Simulated(disk) => disk.create_dir_all(path.as_ref()),
        }
    }

    /// What a directory holds, sorted by name. Names that are not UTF-8 are left out: no file of ours or
    /// Kafka's has one.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = match &self.kind {
            DiskKind::Real => real::list(path.as_ref())?,
            DiskKind::Simulated(disk) => disk.list(path.as_ref())?,
        };
        entries.sort_unstable();
        Ok(entries)
    }

    /// What the file system knows of a file or directory.
    pub fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        match &self.kind {
            DiskKind::Real => real::metadata(path.as_ref()),
            DiskKind::Simulated(disk) => disk.metadata(path.as_ref()),
        }
    }

    /// Whether there is a file or directory of this name.
    pub fn exists(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Locks a file, made if missing, against other processes and against this one; refused at once with
    /// [`io::ErrorKind::WouldBlock`] while another holds it. Apache Kafka's `FileLock` on the same file
    /// and this one exclude each other.
    pub fn lock(&self, path: impl AsRef<Path>) -> io::Result<FileLock> {
        let kind = match &self.kind {
            DiskKind::Real => LockKind::Real(real::lock(path.as_ref())?),
            DiskKind::Simulated(disk) => LockKind::Simulated(disk.lock(path.as_ref())?),
        };
        Ok(FileLock { _kind: kind })
    }

    /// The size of the file system that holds `path`.
    pub fn space(&self, path: impl AsRef<Path>) -> io::Result<Space> {
        match &self.kind {
            DiskKind::Real => real::space(path.as_ref()),
            DiskKind::Simulated(disk) => disk.space(path.as_ref()),
        }
    }
}

impl File {
    /// Reads at `offset` into `buffer`; gives how much was read, zero at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.kind {
            FileKind::Real(file) => file.read_at(buffer, offset),
            FileKind::Simulated(file) => file.read_at(buffer, offset),
        }
    }

    /// Fills `buffer` from `offset`; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buffer` from `offset` if the page cache has all of it; says whether.
    pub fn read_cached_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut read = 0;
        while read < buffer.len() {
            match self.read_cached_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// How many of the first bytes of a range the page cache has, as far as samples of it tell.
    pub fn cached_len(&self, range: Range<u64>) -> io::Result<u64> {
        /// Files are written and read front to back: there are few holes, and a look costs up to a microsecond.
        const STEP: usize = 1 << 20;
        let has = |at| self.read_cached_exact_at(&mut [0], at);
        let mut here = range.start;
        if range.is_empty() || !has(range.start)? {
            return Ok(0);
        }
        for next in range.clone().step_by(STEP).skip(1).chain([range.end]) {
            if !has(next - 1)? {
                break;
            }
            here = next;
        }
        Ok(here - range.start)
    }

    /// Whether the page cache has all of a range, as far as samples of it tell.
    pub fn is_cached(&self, range: Range<u64>) -> io::Result<bool> {
        Ok(self.cached_len(range.clone())? == range.end.saturating_sub(range.start))
    }

    /// Reads a first part of `buffer` at `offset` from the page cache; `WouldBlock` if it has nothing of it.
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.kind {
            FileKind::Real(file) => file.read_cached_at(buffer, offset),
            FileKind::Simulated(file) => file.read_cached_at(buffer, offset),
        }
    }

    /// Reads a range into the page cache, as far as the file has it. Blocks.
    pub fn load(&self, range: Range<u64>) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.load(range),
            FileKind::Simulated(file) => file.load(),
        }
    }

    /// Writes all of `content` at `offset`.
    pub fn write_all_at(&self, content: &[u8], offset: u64) -> io::Result<()> {
        self.write_vectored_at(&mut [IoSlice::new(content)], offset)
    }

    /// Writes all of `pieces`, one after the other, from `offset`. On an error some of it may have been
    /// written. `pieces` are used up.
    pub fn write_vectored_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut pieces = pieces;
        let mut offset = offset;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let written = match &self.kind {
                FileKind::Real(file) => file.write_vectored_at(pieces, offset),
                FileKind::Simulated(file) => file.write_vectored_at(pieces, offset),
            };
            match written {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => {
                    IoSlice::advance_slices(&mut pieces, count);
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the content and length durable (`fdatasync`). A failure is final: the kernel may have
    /// forgotten what it could not write, so it is never retried.
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.sync_data(),
            FileKind::Simulated(file) => file.sync(),
        }
    }

    /// Makes the content and all metadata durable (`fsync`). A failure is final, as with
    /// [`File::sync_data`].
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.sync_all(),
            FileKind::Simulated(file) => file.sync(),
        }
    }

    /// Cuts the file, or extends it with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.set_len(len),
            FileKind::Simulated(file) => file.set_len(len),
        }
    }

    /// Bytes of content.
    pub fn len(&self) -> io::Result<u64> {
        match &self.kind {
            FileKind::Real(file) => file.len(),
            FileKind::Simulated(file) => file.len(),
        }
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reserves blocks for a range without changing the length, so that writes there neither run out of
    /// space nor change the allocation. A file system that cannot does nothing.
    pub fn preallocate(&self, range: Range<u64>) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.preallocate(range),
            FileKind::Simulated(file) => file.preallocate(range),
        }
    }

    /// Asks the kernel to begin writing the dirty pages of a range, without waiting; no durability is
    /// promised. A file system that cannot does nothing.
    pub fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.start_writeback(range),
            FileKind::Simulated(file) => file.start_writeback(),
        }
    }

    /// Has the page cache forget what it can of a range: what is not dirty. A simulated disk forgets all of the file.
    pub fn will_not_need(&self, range: Range<u64>) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.will_not_need(range),
            FileKind::Simulated(file) => file.set_cached(false),
        }
    }

    /// Says when the content last changed: of a file that takes another's place.
    pub fn set_modified(&self, modified: Timestamp) -> io::Result<()> {
        match &self.kind {
            FileKind::Real(file) => file.set_modified(modified),
            FileKind::Simulated(file) => file.set_modified(modified),
        }
    }

    /// When the content last changed.
    pub fn modified(&self) -> io::Result<Timestamp> {
        match &self.kind {
            FileKind::Real(file) => file.modified(),
            FileKind::Simulated(file) => file.modified(),
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.kind {
            DiskKind::Real => "Disk(real)",
            DiskKind::Simulated(_) => "Disk(simulated)",
        })
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            FileKind::Real(file) => file.fmt(f),
            FileKind::Simulated(file) => write!(f, "File({})", file.path().display()),
        }
    }
}

/// Whether a call failed for lack of descriptors: before it did anything.
pub fn lacks_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

/// Whether an operation failed for lack of something that may be there later, rather than because the disk is bad:
/// space, quota, descriptors or memory.
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacking = [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| lacking.contains(&errno))
        || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY_SUFFIX);
    PathBuf::from(temporary)
}

/// The directory that names `path`; `.` for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
