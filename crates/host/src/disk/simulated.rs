//! A disk in memory that forgets on a crash what was not synced, and fails where a test says.
//!
//! What a crash leaves: for every file the content last synced, plus any subset of the pages written since
//! (a page may be torn at a 512-byte sector), and possibly a length changed since; for directories the
//! names last synced, plus some first part of the changes made since, in the order they were made. Which,
//! the seed decides. Handles from before a crash fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ottla_base::Timestamp;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{DirectoryEntry, Metadata, Open, Space, parent_of};
use crate::clock::SimulatedClock;
use crate::entropy::Prng;

mod inode;

use inode::{Content, Directory, Inode, InodeId, NameChange, ROOT};

/// The disk of a simulated host. Cheap to clone.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    clock: Arc<SimulatedClock>,
}

/// An open file of a simulated disk.
pub(crate) struct SimulatedFile {
    disk: SimulatedDisk,
    inode: InodeId,
    path: PathBuf,
    writable: bool,
    lifetime: u64,
}

/// Holds a lock of a simulated disk.
pub(crate) struct SimulatedLock {
    disk: SimulatedDisk,
    inode: InodeId,
    lifetime: u64,
}

/// What is asked of a disk, as far as it can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening a file, or making one.
    Open,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file's content durable.
    Sync,
    /// Changing a file's length.
    SetLen,
    /// Reserving blocks.
    Preallocate,
    /// Beginning to write back.
    StartWriteback,
    /// Renaming.
    Rename,
    /// Making a directory's names durable.
    SyncDir,
    /// Removing a file or directory.
    Remove,
    /// Making a directory.
    CreateDir,
    /// Listing a directory.
    List,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`. A sync that fails so has also forgotten what was to be synced, as Linux does: the content can
    /// still be read, and is gone after a crash however often it is synced later.
    InputOutput,
    /// `ENOSPC`.
    NoSpace,
    /// `EMFILE`.
    NoDescriptor,
    /// A write stores only so many bytes and says so; for other operations nothing.
    Short(usize),
}

/// A failure to come.
pub struct Fault {
    /// Of which operation.
    pub operation: Operation,
    /// On which paths.
    pub on: Box<dyn Fn(&Path) -> bool + Send>,
    /// How many such operations succeed before.
    pub after: u64,
    /// How many then fail.
    pub times: u64,
    /// How they fail.
    pub failure: Failure,
}

struct State {
    random: Prng,
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    /// Changes of names that no directory sync has made durable, oldest first.
    unsynced_names: Vec<NameChange>,
    locks: BTreeSet<InodeId>,
    /// How many handles each open file has.
    open: BTreeMap<InodeId, usize>,
    /// The files that no page cache has.
    cold: BTreeSet<InodeId>,
    faults: Vec<Fault>,
    capacity_bytes: u64,
    lifetime: u64,
    operations: u64,
    digest: u64,
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64, clock: Arc<SimulatedClock>) -> SimulatedDisk {
        let state = State {
            random: Prng::new(seed),
            inodes: BTreeMap::from([(ROOT, Inode::Directory(Directory::default()))]),
            next_inode: ROOT + 1,
            unsynced_names: Vec::new(),
            locks: BTreeSet::new(),
            open: BTreeMap::new(),
            cold: BTreeSet::new(),
            faults: Vec::new(),
            capacity_bytes: u64::MAX,
            lifetime: 0,
            operations: 0,
            digest: 0xcbf2_9ce4_8422_2325,
        };
        SimulatedDisk { state: Arc::new(Mutex::new(state)), clock }
    }

    /// Loses power: forgets what was not synced, or most of it, and every handle and lock.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.trace(b"crash");
        state.lifetime += 1;
        state.locks.clear();
        state.open.clear();
        let survive = state.random.below(state.unsynced_names.len() as u64 + 1) as usize;
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes.into_iter().take(survive) {
            change.make_durable(&mut state.inodes);
        }
        for inode in state.inodes.values_mut() {
            match inode {
                Inode::Directory(directory) => directory.names = directory.durable.clone(),
                Inode::File(content) => content.crash(&mut state.random),
            }
        }
        state.forget_unreachable();
    }

    /// Stops the host without losing power: every handle and lock is gone, nothing else is.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.trace(b"kill");
        state.lifetime += 1;
        state.locks.clear();
        state.open.clear();
        state.forget_unreachable();
    }

    /// Makes operations fail.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Forgets the failures to come.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// Bounds how many bytes of content fit; what would not fit fails with `ENOSPC`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// A digest of every operation so far with its outcome: equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.state.lock().digest
    }

    pub(super) fn open(&self, path: &Path, how: Open) -> io::Result<SimulatedFile> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.begin(Operation::Open, path)?;
        let (parent, name) = state.resolve_parent(path)?;
        let found = state.directory(parent)?.names.get(&name).copied();
        let inode = match (found, how) {
            (Some(_), Open::CreateNew) => return Err(Errno::EXIST.into()),
            (Some(inode), _) => inode,
            (None, Open::Read | Open::Write) => return Err(Errno::NOENT.into()),
            (None, Open::Create | Open::CreateNew | Open::Truncate) => {
                let content = Content::new(self.clock.wall_clock());
                state.link_new(parent, name, Inode::File(content))
            }
        };
        if matches!(state.inodes.get(&inode), Some(Inode::Directory(_))) {
            return Err(Errno::ISDIR.into());
        }
        if how == Open::Truncate {
            state.content(inode)?.set_len(0, self.clock.wall_clock());
        }
        *state.open.entry(inode).or_insert(0) += 1;
        Ok(SimulatedFile {
            disk: self.clone(),
            inode,
            path: path.to_owned(),
            writable: how != Open::Read,
            lifetime: state.lifetime,
        })
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Rename, from)?;
        let (from_parent, from_name) = state.resolve_parent(from)?;
        let (to_parent, to_name) = state.resolve_parent(to)?;
        let inode = *state.directory(from_parent)?.names.get(&from_name).ok_or(Errno::NOENT)?;
        let moved_is_directory = state.is_directory(inode);
        if let Some(replaced) = state.directory(to_parent)?.names.get(&to_name).copied() {
            match state.inodes.get(&replaced) {
                _ if replaced == inode => return Ok(()),
                Some(Inode::Directory(_)) if !moved_is_directory => return Err(Errno::ISDIR.into()),
                Some(Inode::Directory(directory)) if !directory.names.is_empty() => {
                    return Err(Errno::NOTEMPTY.into());
                }
                Some(Inode::File(_)) if moved_is_directory => return Err(Errno::NOTDIR.into()),
                _ => {}
            }
        }
        state.change(NameChange::Rename { from: (from_parent, from_name), to: (to_parent, to_name), inode });
        Ok(())
    }

    /// One disk is one file system.
    pub(super) fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.begin(Operation::Sync, path)?;
        for inode in state.inodes.values_mut() {
            if let Inode::File(content) = inode {
                content.sync();
            }
        }
        for change in std::mem::take(&mut state.unsynced_names) {
            change.make_durable(&mut state.inodes);
        }
        state.forget_unreachable();
        Ok(())
    }

    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.begin(Operation::SyncDir, path)?;
        let directory = state.resolve(path)?;
        state.directory(directory)?;
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes {
            if change.touches(directory) {
                change.make_durable(&mut state.inodes);
            } else {
                state.unsynced_names.push(change);
            }
        }
        state.forget_unreachable();
        Ok(())
    }

    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Remove, path)?;
        let (directory, name) = state.resolve_parent(path)?;
        let inode = *state.directory(directory)?.names.get(&name).ok_or(Errno::NOENT)?;
        if state.is_directory(inode) {
            return Err(Errno::ISDIR.into());
        }
        state.change(NameChange::Unlink { directory, name });
        Ok(())
    }

    pub(super) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Remove, path)?;
        let (directory, name) = state.resolve_parent(path)?;
        let inode = *state.directory(directory)?.names.get(&name).ok_or(Errno::NOENT)?;
        state.remove_content(inode)?;
        state.change(NameChange::Unlink { directory, name });
        Ok(())
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::CreateDir, path)?;
        let mut at = ROOT;
        for name in names_of(path)? {
            at = match state.directory(at)?.names.get(&name).copied() {
                Some(inode) => inode,
                None => state.link_new(at, name, Inode::Directory(Directory::default())),
            };
        }
        state.directory(at).map(|_| ())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut state = self.state.lock();
        state.begin(Operation::List, path)?;
        let directory = state.resolve(path)?;
        let names = state.directory(directory)?.names.clone();
        Ok(names
            .into_iter()
            .map(|(name, inode)| DirectoryEntry { name, is_dir: state.is_directory(inode) })
            .collect())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state.lock();
        let inode = state.resolve(path)?;
        match state.inodes.get(&inode) {
            Some(Inode::File(content)) => {
                Ok(Metadata { len: content.bytes.len() as u64, modified: content.modified, is_dir: false })
            }
            Some(Inode::Directory(_)) => Ok(Metadata { len: 0, modified: Timestamp(0), is_dir: true }),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn lock(&self, path: &Path) -> io::Result<SimulatedLock> {
        let file = self.open(path, Open::Create)?;
        let mut state = self.state.lock();
        if !state.locks.insert(file.inode) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(SimulatedLock { disk: self.clone(), inode: file.inode, lifetime: state.lifetime })
    }

    pub(super) fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        state.resolve(path)?;
        let total_bytes = state.capacity_bytes;
        Ok(Space { total_bytes, usable_bytes: state.free_bytes() })
    }
}

impl SimulatedFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(Operation::Read, |content, _| Ok(content.read_at(buffer, offset)))
    }

    pub(super) fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.disk.state.lock().cold.contains(&self.inode) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        self.read_at(buffer, offset)
    }

    pub(super) fn load(&self) -> io::Result<()> {
        self.with(Operation::Read, |_, _| Ok(()))?;
        self.set_cached(true)
    }

    /// The page cache has all of a file, or nothing.
    pub(super) fn set_cached(&self, is_cached: bool) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.check_alive(&state)?;
        match is_cached {
            true => state.cold.remove(&self.inode),
            false => state.cold.insert(self.inode),
        };
        Ok(())
    }

    pub(super) fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        let mut state = self.disk.state.lock();
        let state = &mut *state;
        self.check_alive(state)?;
        let mut room = usize::MAX;
        match state.failure_of(Operation::Write, &self.path) {
            Some(Failure::Short(bytes)) => room = bytes,
            Some(failure) => return Err(failure.error()),
            None => {}
        }
        let free = state.free_bytes();
        let content = state.content(self.inode)?;
        let end_that_fits = (content.bytes.len() as u64).saturating_add(free);
        let mut written = 0;
        for piece in pieces {
            let at = offset + written as u64;
            let fits = usize::try_from(end_that_fits.saturating_sub(at)).unwrap_or(usize::MAX);
            let part = &piece[..piece.len().min(room - written).min(fits)];
            content.write_at(part, at, self.disk.clock.wall_clock());
            written += part.len();
            if part.len() < piece.len() {
                break;
            }
        }
        state.trace(&(written as u64).to_le_bytes());
        if written == 0 && room == usize::MAX && pieces.iter().any(|piece| !piece.is_empty()) {
            return Err(Errno::NOSPC.into());
        }
        Ok(written)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.check_alive(&state)?;
        let failure = state.failure_of(Operation::Sync, &self.path);
        let content = state.content(self.inode)?;
        match failure {
            Some(failure) => {
                content.forget_dirty();
                Err(failure.error())
            }
            None => {
                content.sync();
                Ok(())
            }
        }
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::INVAL.into());
        }
        let now = self.disk.clock.wall_clock();
        self.with(Operation::SetLen, |content, free| {
            if len.saturating_sub(content.bytes.len() as u64) > free {
                return Err(Errno::NOSPC.into());
            }
            content.set_len(len, now);
            Ok(())
        })
    }

    pub(super) fn preallocate(&self, range: Range<u64>) -> io::Result<()> {
        self.with(Operation::Preallocate, |content, free| {
            if range.end.saturating_sub(content.bytes.len() as u64) > free {
                return Err(Errno::NOSPC.into());
            }
            Ok(())
        })
    }

    pub(super) fn start_writeback(&self) -> io::Result<()> {
        self.with(Operation::StartWriteback, |_, _| Ok(()))
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state.lock();
        self.check_alive(&state)?;
        Ok(state.content(self.inode)?.bytes.len() as u64)
    }

    pub(super) fn set_modified(&self, modified: Timestamp) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.check_alive(&state)?;
        state.content(self.inode)?.modified = modified;
        Ok(())
    }

    pub(super) fn modified(&self) -> io::Result<Timestamp> {
        let mut state = self.disk.state.lock();
        self.check_alive(&state)?;
        Ok(state.content(self.inode)?.modified)
    }

    /// Does something with the content and the bytes still free, unless it is to fail.
    fn with<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut Content, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        self.check_alive(&state)?;
        state.begin(operation, &self.path)?;
        let free = state.free_bytes();
        act(state.content(self.inode)?, free)
    }

    fn check_alive(&self, state: &State) -> io::Result<()> {
        if self.lifetime == state.lifetime { Ok(()) } else { Err(Errno::IO.into()) }
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.lifetime != self.lifetime {
            return;
        }
        if let Some(handles) = state.open.get_mut(&self.inode) {
            *handles -= 1;
            if *handles == 0 {
                state.open.remove(&self.inode);
            }
        }
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.lifetime == self.lifetime {
            state.locks.remove(&self.inode);
        }
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Failure::InputOutput | Failure::Short(_) => Errno::IO.into(),
            Failure::NoSpace => Errno::NOSPC.into(),
            Failure::NoDescriptor => Errno::MFILE.into(),
        }
    }
}

impl State {
    /// Notes an operation, and fails it if it is to fail.
    fn begin(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.failure_of(operation, path) {
            None | Some(Failure::Short(_)) => Ok(()),
            Some(failure) => Err(failure.error()),
        }
    }

    /// Notes an operation, and says how it is to fail.
    fn failure_of(&mut self, operation: Operation, path: &Path) -> Option<Failure> {
        self.operations += 1;
        self.trace(&[operation as u8]);
        self.trace(path.as_os_str().as_encoded_bytes());
        let mut failure = None;
        for fault in &mut self.faults {
            if fault.operation != operation || !(fault.on)(path) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 && failure.is_none() {
                fault.times -= 1;
                failure = Some(fault.failure);
            }
        }
        self.faults.retain(|fault| fault.times > 0);
        self.trace(&[u8::from(failure.is_some())]);
        failure
    }

    fn trace(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<InodeId> {
        let mut at = ROOT;
        for name in names_of(path)? {
            at = *self.directory(at)?.names.get(&name).ok_or(Errno::NOENT)?;
        }
        Ok(at)
    }

    fn resolve_parent(&self, path: &Path) -> io::Result<(InodeId, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)?;
        if name.len() > 255 {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok((self.resolve(parent_of(path))?, name.to_owned()))
    }

    fn directory(&self, inode: InodeId) -> io::Result<&Directory> {
        match self.inodes.get(&inode) {
            Some(Inode::Directory(directory)) => Ok(directory),
            Some(Inode::File(_)) => Err(Errno::NOTDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    fn content(&mut self, inode: InodeId) -> io::Result<&mut Content> {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(content)) => Ok(content),
            _ => Err(Errno::BADF.into()),
        }
    }

    fn is_directory(&self, inode: InodeId) -> bool {
        matches!(self.inodes.get(&inode), Some(Inode::Directory(_)))
    }

    fn link_new(&mut self, directory: InodeId, name: String, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        self.change(NameChange::Link { directory, name, inode: id });
        id
    }

    /// Changes a name now, and remembers to make that durable with the directory.
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.inodes);
        self.unsynced_names.push(change);
    }

    fn remove_content(&mut self, inode: InodeId) -> io::Result<()> {
        let names: Vec<_> =
            self.directory(inode)?.names.iter().map(|(name, inode)| (name.clone(), *inode)).collect();
        for (name, child) in names {
            if self.is_directory(child) {
                self.remove_content(child)?;
            }
            self.change(NameChange::Unlink { directory: inode, name });
        }
        Ok(())
    }

    /// What the capacity leaves beside every file that has a name or a handle.
    fn free_bytes(&self) -> u64 {
        if self.capacity_bytes == u64::MAX {
            return u64::MAX;
        }
        let mut used = self.open.keys().copied().collect::<BTreeSet<_>>();
        let directories = self.inodes.values().filter_map(|inode| match inode {
            Inode::Directory(directory) => Some(directory),
            Inode::File(_) => None,
        });
        used.extend(directories.flat_map(|directory| directory.names.values()));
        let bytes = used.iter().map(|inode| match self.inodes.get(inode) {
            Some(Inode::File(content)) => content.bytes.len() as u64,
            _ => 0,
        });
        self.capacity_bytes.saturating_sub(bytes.sum())
    }

    fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::from([ROOT]);
        reachable.extend(self.open.keys());
        let mut open = vec![ROOT];
        while let Some(at) = open.pop() {
            if let Some(Inode::Directory(directory)) = self.inodes.get(&at) {
                for inode in directory.names.values().chain(directory.durable.values()) {
                    if reachable.insert(*inode) {
                        open.push(*inode);
                    }
                }
            }
        }
        for change in &self.unsynced_names {
            if let NameChange::Link { inode, .. } | NameChange::Rename { inode, .. } = change {
                reachable.insert(*inode);
            }
        }
        self.inodes.retain(|inode, _| reachable.contains(inode));
    }
}

/// The names along a path from the root; relative paths start there too.
fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                names.pop();
            }
            Component::Normal(name) => names.push(name.to_str().ok_or(Errno::INVAL)?.to_owned()),
        }
    }
    Ok(names)
}
