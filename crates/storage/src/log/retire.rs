//! Files that left the log: renamed at once, removed when nobody can be reading them any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla_base::Moment;
use parking_lot::Mutex;

use super::{Appender, Log};
use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile, Standing};
use crate::producer_state::SnapshotFiles;
use crate::segment::Segment;

/// What is to be removed, and when.
#[derive(Debug, Default)]
pub(super) struct RetiredFiles(Mutex<VecDeque<(Moment, Arc<Segment>)>>);

/// What becomes of the producers' snapshot that has the offset of a segment in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotOf {
    /// It goes with the segment.
    Goes,
    /// It stays: another segment begins there.
    Stays,
}

impl Log {
    /// Takes segments out of the log: their files become `.deleted` now and are removed after `file.delete.delay.ms`.
    pub(super) fn retire(
        &self,
        snapshots: &mut SnapshotFiles,
        segments: &[Arc<Segment>],
    ) -> Result<(), StorageError> {
        self.forget_retired(segments)?;
        for segment in segments {
            self.retire_one(snapshots, segment, SnapshotOf::Goes)?;
        }
        Ok(())
    }

    /// The same for one segment, whose name no retired segment has ([`Log::forget_retired`]).
    pub(super) fn retire_one(
        &self,
        snapshots: &mut SnapshotFiles,
        segment: &Arc<Segment>,
        snapshot: SnapshotOf,
    ) -> Result<(), StorageError> {
        let due = self.files.host.now() + Duration::from_millis(self.config.load().file_delete_delay_ms);
        segment.rename(&self.files, Standing::Deleted)?;
        if snapshot == SnapshotOf::Goes {
            self.files.result(&snapshots.path(segment.base()), snapshots.mark_deleted(segment.base()))?;
        }
        self.retired.0.lock().push_back((due, segment.clone()));
        self.flush.names_changed();
        Ok(())
    }

    /// Removes at once what retired under the names that `segments` will have: nobody shall take one for the other.
    pub(super) fn forget_retired(&self, segments: &[Arc<Segment>]) -> Result<(), StorageError> {
        let namesake = |it: &Segment| segments.iter().any(|segment| segment.base() == it.base());
        loop {
            let found = {
                let mut retired = self.retired.0.lock();
                let at = retired.iter().position(|(_, it)| namesake(it));
                at.and_then(|at| retired.remove(at))
            };
            match found {
                Some((_, segment)) => self.remove_retired_segment(&segment)?,
                None => return Ok(()),
            }
        }
    }

    fn remove_retired_segment(&self, segment: &Segment) -> Result<(), StorageError> {
        segment.forget();
        for kind in SegmentFile::ALL {
            let name = FileName::live(segment.base(), kind).standing(Standing::Deleted);
            let path = self.files.path_of(name);
            self.files.result(&path, self.files.disk().remove_file_if_exists(&path))?;
        }
        Ok(())
    }

    /// Gives the log's directory another name within its log directory.
    pub fn rename(&self, name: &str) -> Result<(), StorageError> {
        let _syncing = self.flush.hold();
        let mut appender = self.appender.lock();
        self.rename_held(&mut appender, name)
    }

    /// The same, where syncs and appends are kept away already.
    pub(super) fn rename_held(&self, appender: &mut Appender, name: &str) -> Result<(), StorageError> {
        self.files.move_to(name)?;
        appender.snapshots.set_directory(self.files.path().to_path_buf());
        for segment in appender.tail.segments.iter() {
            segment.moved();
        }
        Ok(())
    }

    /// Ends the use of the log: every operation from now on is refused.
    pub fn close(&self) {
        let appender = self.appender.lock();
        self.closed.store(true, Ordering::Release);
        drop(appender);
        self.progress.moved();
    }

    /// Removes the files that left the log long enough ago. Blocks.
    pub fn remove_retired(&self) -> Result<(), StorageError> {
        let now = self.files.host.now();
        loop {
            let segment = {
                let mut retired = self.retired.0.lock();
                match retired.front() {
                    Some((due, _)) if *due <= now => retired.pop_front().map(|(_, segment)| segment),
                    _ => None,
                }
            };
            let Some(segment) = segment else { return Ok(()) };
            self.remove_retired_segment(&segment)?;
        }
    }
}
