//! What a simulated disk holds now, and what of it is durable.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Timestamp;

use crate::entropy::Prng;

pub(super) type InodeId = u64;
/// The directory that everything is in.
pub(super) const ROOT: InodeId = 0;
const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

pub(super) enum Inode {
    File(Content),
    Directory(Directory),
}

#[derive(Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<String, InodeId>,
    pub(super) durable: BTreeMap<String, InodeId>,
}

pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) modified: Timestamp,
    durable: Vec<u8>,
    /// Pages written since the last sync.
    dirty: BTreeSet<usize>,
    /// The shortest the file was cut to since the last sync.
    cut_to: Option<usize>,
}

/// A change of names, which a crash keeps whole or not at all.
pub(super) enum NameChange {
    Link { directory: InodeId, name: String, inode: InodeId },
    Unlink { directory: InodeId, name: String },
    Rename { from: (InodeId, String), to: (InodeId, String), inode: InodeId },
}

impl NameChange {
    /// Whether syncing the directory `synced` makes this durable.
    pub(super) fn touches(&self, synced: InodeId) -> bool {
        match self {
            NameChange::Link { directory, .. } | NameChange::Unlink { directory, .. } => *directory == synced,
            NameChange::Rename { from, to, .. } => from.0 == synced || to.0 == synced,
        }
    }

    /// Makes the change in the names now.
    pub(super) fn apply(&self, inodes: &mut BTreeMap<InodeId, Inode>) {
        self.change(inodes, |directory| &mut directory.names);
    }

    /// Makes the change in the names that survive a crash.
    pub(super) fn make_durable(&self, inodes: &mut BTreeMap<InodeId, Inode>) {
        self.change(inodes, |directory| &mut directory.durable);
    }

    fn change(
        &self,
        inodes: &mut BTreeMap<InodeId, Inode>,
        names: impl Fn(&mut Directory) -> &mut BTreeMap<String, InodeId>,
    ) {
        let mut set = |directory: InodeId, name: &str, inode: Option<InodeId>| {
            if let Some(Inode::Directory(directory)) = inodes.get_mut(&directory) {
                match inode {
                    Some(inode) => names(directory).insert(name.to_owned(), inode),
                    None => names(directory).remove(name),
                };
            }
        };
        match self {
            NameChange::Link { directory, name, inode } => set(*directory, name, Some(*inode)),
            NameChange::Unlink { directory, name } => set(*directory, name, None),
            NameChange::Rename { from, to, inode } => {
                set(from.0, &from.1, None);
                set(to.0, &to.1, Some(*inode));
            }
        }
    }
}

impl Content {
    pub(super) fn new(now: Timestamp) -> Content {
        Content {
            bytes: Vec::new(),
            modified: now,
            durable: Vec::new(),
            dirty: BTreeSet::new(),
            cut_to: None,
        }
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)) else {
            return 0;
        };
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write_at(&mut self, part: &[u8], offset: u64, now: Timestamp) {
        if part.is_empty() {
            return;
        }
        let start = offset as usize;
        let end = start + part.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(part);
        self.dirty.extend(start / PAGE_BYTES..=(end - 1) / PAGE_BYTES);
        self.modified = now;
    }

    pub(super) fn set_len(&mut self, len: u64, now: Timestamp) {
        let len = len as usize;
        if len < self.bytes.len() {
            self.cut_to = Some(self.cut_to.map_or(len, |cut| cut.min(len)));
        }
        self.bytes.resize(len, 0);
        self.dirty.retain(|page| page * PAGE_BYTES < len);
        self.modified = now;
    }

    pub(super) fn sync(&mut self) {
        if let Some(cut) = self.cut_to.take() {
            self.durable.truncate(cut);
        }
        self.durable.resize(self.bytes.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let start = page * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(self.bytes.len());
            self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
        }
    }

    /// What a failed sync does: the pages count as clean, and never reach the disk.
    pub(super) fn forget_dirty(&mut self) {
        self.dirty.clear();
        self.cut_to = None;
    }

    pub(super) fn crash(&mut self, random: &mut Prng) {
        if let Some(cut) = self.cut_to.take()
            && random.one_in(2)
        {
            self.durable.truncate(cut);
        }
        for page in std::mem::take(&mut self.dirty) {
            let start = page * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(self.bytes.len());
            let end = match random.below(8) {
                0..4 => continue,
                4 => (start + random.below(8) as usize * SECTOR_BYTES).min(end),
                _ => end,
            };
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
        }
        // A file system may have written a longer length before the pages: zeros where there was content.
        if self.durable.len() < self.bytes.len() && random.one_in(4) {
            self.durable.resize(self.bytes.len(), 0);
        }
        self.bytes = self.durable.clone();
    }
}
