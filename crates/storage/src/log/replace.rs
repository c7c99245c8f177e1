//! Putting a segment in the place of those it was made of, so that a stop at any moment leaves one or the others
//! (`LocalLog.replaceSegments`).

use std::sync::Arc;

use ottla_base::Offset;

use super::Log;
use super::retire::SnapshotOf;
use crate::error::StorageError;
use crate::file_names::{SegmentFile, Standing};
use crate::segment::Segment;

/// Whether a segment took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// It is part of the log.
    Done,
    /// The log has changed meanwhile; nothing was done.
    Outdated,
}

impl Log {
    /// Puts `new`, which is durable under its provisional names, in the place of `old`, sealed segments that lie next
    /// to each other, unless the log was cut since it had `generation`. Readers that have the old ones read on. Blocks,
    /// but appends wait only while files are renamed.
    ///
    /// The names become `.swap` first. From there on a start ends what was begun here, so nothing else may change the
    /// log's files until it is done.
    pub(crate) fn replace_segments(
        &self,
        old: &[Arc<Segment>],
        new: &Arc<Segment>,
        generation: u64,
    ) -> Result<Replaced, StorageError> {
        let syncing = self.flush.hold();
        self.check()?;
        let view = self.view();
        let first = view.segments.iter().position(|it| Arc::ptr_eq(it, &old[0]));
        let is_there = |first: usize| {
            let there = view.segments.get(first..first + old.len());
            there.is_some_and(|there| there.iter().zip(old).all(|(one, other)| Arc::ptr_eq(one, other)))
        };
        let Some(first) = first.filter(|first| is_there(*first) && self.generation() == generation) else {
            return Ok(Replaced::Outdated);
        };
        self.forget_retired(old)?;
        if let Err(error) = self.announce(new) {
            self.withdraw(new)?;
            return Err(error);
        }
        let swapped = self.swap_in(first..first + old.len(), old, new);
        // Some names have changed: only a start can tell which.
        swapped.map_err(|error| {
            self.files.directory.fail_for_good(&self.files.path(), &std::io::Error::other(error.to_string()))
        })?;
        self.flush.names_changed();
        self.sync_names()?;
        drop(syncing);
        Ok(Replaced::Done)
    }

    /// Takes note that everything below `offset` was cleaned, unless the log was cut since it had `generation`.
    pub(crate) fn note_cleaned(&self, offset: Offset, generation: u64) -> Replaced {
        let _syncing = self.flush.hold();
        if self.generation() != generation {
            return Replaced::Outdated;
        }
        self.cleaning.set_cleaned(offset);
        Replaced::Done
    }

    /// Says, durably, that the segment is whole.
    fn announce(&self, new: &Segment) -> Result<(), StorageError> {
        new.rename(&self.files, Standing::Swap)?;
        let path = self.files.path();
        self.files.synced(&path, self.files.disk().sync_dir(path.as_path()))
    }

    /// Takes that back. The log goes last: what is left of its other files means something only beside it.
    fn withdraw(&self, new: &Segment) -> Result<(), StorageError> {
        if self.files.directory.failure().is_some() {
            return Ok(());
        }
        let removed = SegmentFile::ALL.into_iter().rev().try_for_each(|kind| {
            for standing in [Standing::Swap, Standing::Cleaned] {
                let path = self.files.path_of(new.name_of(kind).standing(standing));
                self.files.disk().remove_file_if_exists(path)?;
            }
            Ok(())
        });
        let path = self.files.path();
        removed.map_err(|error| self.files.directory.fail_for_good(&path, &error))
    }

    fn swap_in(
        &self,
        place: std::ops::Range<usize>,
        old: &[Arc<Segment>],
        new: &Arc<Segment>,
    ) -> Result<(), StorageError> {
        let mut guard = self.appender.lock();
        let appender = &mut *guard;
        for segment in old {
            let stays = segment.base() == new.base();
            let snapshot = if stays { SnapshotOf::Stays } else { SnapshotOf::Goes };
            self.retire_one(&mut appender.snapshots, segment, snapshot)?;
        }
        new.rename(&self.files, Standing::Live)?;
        let mut segments = appender.tail.segments.to_vec();
        segments.splice(place, [new.clone()]);
        appender.tail.segments = Arc::new(segments);
        appender.used = true;
        self.view.store(Arc::new(appender.view()));
        Ok(())
    }
}
