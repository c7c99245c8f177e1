//! Which offset of the log is the lowest that is still needed (`ShareCoordinatorOffsetsManager`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Offset;

use super::request::SharePartitionKey;

/// Where the last whole copy of each share partition is in the log.
#[derive(Debug, Default)]
pub(super) struct Copies {
    by_key: BTreeMap<SharePartitionKey, Offset>,
    offsets: BTreeSet<Offset>,
    /// Below here nothing is needed; nothing before the first copy.
    needed_from: Option<Offset>,
}

impl Copies {
    /// A whole copy was written.
    pub(super) fn written(&mut self, key: &SharePartitionKey, offset: Offset) {
        if let Some(before) = self.by_key.insert(key.clone(), offset) {
            self.offsets.remove(&before);
        }
        self.offsets.insert(offset);
        self.needed_from = self.offsets.first().copied();
    }

    /// A tombstone was written: it is needed itself, until something else has been written, but it is not in the way
    /// of anything.
    pub(super) fn removed(&mut self, key: &SharePartitionKey, tombstone: Offset) {
        if let Some(before) = self.by_key.remove(key) {
            self.offsets.remove(&before);
        }
        self.needed_from = Some(self.offsets.first().copied().unwrap_or(tombstone));
    }

    /// The lowest offset that is needed, if there is anything below it.
    pub(super) fn needed_from(&self) -> Option<Offset> {
        self.needed_from.filter(|it| *it > Offset::ZERO)
    }
}
