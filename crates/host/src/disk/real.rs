//! The disk of the computer this process runs on.

#![expect(clippy::disallowed_methods, reason = "this is what the bans name as their replacement")]

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ottla_base::Timestamp;
use rustix::io::{Errno, ReadWriteFlags};

use super::{DirectoryEntry, Metadata, Open, Space};

/// An open file of the real disk.
#[derive(Debug)]
pub(crate) struct RealFile {
    pub(crate) file: fs::File,
}

/// The most slices one `pwritev` takes (`IOV_MAX`).
const MAX_SLICES: usize = 1024;
/// How much is handed to the kernel at once to be written back. Where it is not preempted it keeps the core for as long
/// as that takes, some 0.1 ms; and who appends to the same file waits for it.
const WRITEBACK_PIECE_BYTES: usize = 256 << 10;

impl RealFile {
    pub(super) fn open(path: &Path, how: Open) -> io::Result<RealFile> {
        let mut options = fs::File::options();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::Write => options.write(true),
            Open::Create => options.write(true).create(true).truncate(false),
            Open::CreateNew => options.write(true).create_new(true),
            Open::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(RealFile { file: options.open(path)? })
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Reads what the page cache has; `WouldBlock` if it has nothing of it. Where the file system or the kernel cannot
    /// tell, it reads.
    pub(super) fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let pieces = &mut [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.file, pieces, offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.read_at(buffer, offset),
            result => Ok(result?),
        }
    }

    pub(super) fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let pieces = &pieces[..pieces.len().min(MAX_SLICES)];
        Ok(rustix::io::pwritev(&self.file, pieces, offset)?)
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn modified(&self) -> io::Result<Timestamp> {
        Ok(timestamp_of(self.file.metadata()?.modified()?))
    }

    pub(super) fn set_modified(&self, modified: Timestamp) -> io::Result<()> {
        let since_epoch = Duration::from_millis(u64::try_from(modified.get()).unwrap_or(0));
        self.file.set_modified(SystemTime::UNIX_EPOCH + since_epoch)
    }

    pub(super) fn preallocate(&self, range: Range<u64>) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, range.start, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    #[expect(unsafe_code, reason = "rustix has no sync_file_range")]
    pub(super) fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        let (Ok(start), Ok(len)) =
            (i64::try_from(range.start), i64::try_from(range.end.saturating_sub(range.start)))
        else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let end = start.saturating_add(len);
        for start in (start..end).step_by(WRITEBACK_PIECE_BYTES) {
            let len = (end - start).min(WRITEBACK_PIECE_BYTES as i64);
            // SAFETY: takes no pointers; the descriptor is open for as long as `self` is borrowed.
            let result = unsafe {
                libc::sync_file_range(self.file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE)
            };
            if result == 0 {
                continue;
            }
            return match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::ESPIPE)) => Ok(()),
                error => Err(error),
            };
        }
        Ok(())
    }

    /// Sends it nowhere: that copies nothing, and the kernel sees that it is read front to back, reads ahead and in large
    /// units. What is merely said to be needed (`POSIX_FADV_WILLNEED`) comes page by page.
    pub(super) fn load(&self, range: Range<u64>) -> io::Result<()> {
        let nowhere = fs::File::options().write(true).open("/dev/null")?;
        let mut at = range.start;
        while at < range.end {
            let count = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            match rustix::fs::sendfile(&nowhere, &self.file, Some(&mut at), count) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn will_not_need(&self, range: Range<u64>) -> io::Result<()> {
        let Some(len) = NonZeroU64::new(range.end.saturating_sub(range.start)) else {
            return Ok(());
        };
        Ok(rustix::fs::fadvise(&self.file, range.start, Some(len), rustix::fs::Advice::DontNeed)?)
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

pub(super) fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(path)?)?)
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

pub(super) fn remove_dir_all(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

pub(super) fn create_dir_all(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub(super) fn list(path: &Path) -> io::Result<Vec<DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            match fs::metadata(entry.path()) {
                Ok(target) => kind = target.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
        }
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(DirectoryEntry { name, is_dir: kind.is_dir() });
        }
    }
    Ok(entries)
}

pub(super) fn metadata(path: &Path) -> io::Result<Metadata> {
    let found = fs::metadata(path)?;
    Ok(Metadata { len: found.len(), modified: timestamp_of(found.modified()?), is_dir: found.is_dir() })
}

/// Java's `FileChannel.tryLock` takes a POSIX record lock over the whole file. An open-file-description
/// lock conflicts with those, and unlike them it also excludes a second holder in this process and is not
/// dropped when some other descriptor of the file is closed.
#[expect(unsafe_code, reason = "rustix has no open-file-description locks")]
pub(super) fn lock(path: &Path) -> io::Result<Arc<RealFile>> {
    let file = RealFile::open(path, Open::Create)?;
    // SAFETY: `flock` is plain old data, for which zero is a valid value in every field.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as libc::c_short;
    whole.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and `whole` outlives the call, which only reads it.
    let result = unsafe { libc::fcntl(file.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) };
    if result == 0 {
        return Ok(Arc::new(file));
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Err(io::Error::from(io::ErrorKind::WouldBlock))
        }
        error => Err(error),
    }
}

pub(super) fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Space {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        usable_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

fn timestamp_of(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
