//! Opening a log: what an interrupted process left is finished or undone, what it did not make durable is read and
//! checked, and what it had made durable must be there (`LogLoader`).

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ottla_base::{LeaderEpoch, Offset};
use ottla_host::disk::Open;
use ottla_record::BatchView;

use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile, Standing};
use crate::files::LogFiles;
use crate::index::Sync;
use crate::leader_epochs::{EpochChange, LEADER_EPOCH_CHECKPOINT, LeaderEpochs};
use crate::log::{LastShutdown, OpenLog};
use crate::producer_state::{
    CompletedTransaction, ProducerRules, ProducerStates, Reloaded, SnapshotFiles, SnapshotSync, marker_of,
    snapshot,
};
use crate::recall::recall;
use crate::scan::{BatchAt, Depth, Scan, Step, Torn};
use crate::segment::{IndexPace, Segment, floor};
use crate::transaction_index::AbortedTransaction;

/// A log as it was found on the disk, repaired.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Never empty.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) recovery_point: Offset,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) epochs_changed: bool,
    pub(crate) producers: ProducerStates,
    pub(crate) snapshots: SnapshotFiles,
}

/// Opens what is in the log's directory.
pub(crate) fn load(files: &LogFiles, open: &OpenLog) -> Result<Loaded, StorageError> {
    let mut names = list(files)?;
    let replaced = finish_interrupted(files, &mut names)?;
    let mut segments = segments_of(files, open, &mut names)?;
    if segments.is_empty() && open.recovery_point > open.log_start {
        return Err(missing(files, open.log_start, open.recovery_point));
    }
    let path = files.path();
    let mut loading = Loading {
        files,
        open,
        replaced,
        epochs: LeaderEpochs::default(),
        epochs_changed: false,
        producers: ProducerStates::new(open.producers),
        snapshots: files.result(&path, SnapshotFiles::open(files.disk(), path.to_path_buf()))?,
    };
    loading.read_epochs(&segments)?;
    let clean_end = match open.last_shutdown {
        LastShutdown::Clean => clean_end(files, open.recovery_point, &segments)?,
        LastShutdown::Unclean => None,
    };
    let end = match clean_end {
        Some(end) => end,
        None => loading.recover(&mut segments)?,
    };
    if end < open.log_start {
        // Records below the log start were deleted, and what came after them was not durable.
        tracing::warn!(
            path = %path.display(), %end, log_start = %open.log_start,
            "the log ends before it starts, deleting all segments"
        );
        for segment in segments.drain(..) {
            remove(files, &segment)?;
        }
    } else if end < open.recovery_point {
        return Err(missing(files, end, open.recovery_point));
    }
    loading.finish(segments, end)
}

fn missing(files: &LogFiles, end: Offset, recovery_point: Offset) -> StorageError {
    StorageError::Corrupt {
        path: files.path().to_path_buf(),
        position: 0,
        reason: format!("records up to {recovery_point} had been made durable, but the log ends at {end}"),
    }
}

/// Whether offsets may be missing between batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Density {
    /// None is: the segment was never compacted. The checksum of a batch does not cover its offset.
    Dense,
    /// They may have been compacted away.
    Sparse,
}

/// What is found out about a log while its segments are read.
struct Loading<'a> {
    files: &'a LogFiles,
    open: &'a OpenLog,
    /// Where segments begin that were just compacted.
    replaced: BTreeSet<Offset>,
    epochs: LeaderEpochs,
    epochs_changed: bool,
    producers: ProducerStates,
    snapshots: SnapshotFiles,
}

impl Loading<'_> {
    /// Reads the leader epochs; makes them anew from the log if the file is damaged.
    fn read_epochs(&mut self, segments: &[Arc<Segment>]) -> Result<(), StorageError> {
        let path = self.files.path().join(LEADER_EPOCH_CHECKPOINT);
        match LeaderEpochs::read(&self.files.disk(), &path) {
            Ok(epochs) => self.epochs = epochs,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(path = %path.display(), %error, "leader epochs are damaged, reading the log for them");
                self.epochs_changed = true;
                for segment in segments {
                    // Whether it is whole is for others to say.
                    let _ = segment.walk(self.files, Depth::Headers, 0..segment.len(), |batch, _| {
                        self.note_epoch(batch);
                        Ok(())
                    });
                }
            }
            Err(error) => return self.files.result(&path, Err(error)),
        }
        Ok(())
    }

    fn note_epoch(&mut self, batch: &BatchAt) {
        let newer = self.epochs.latest().is_none_or(|latest| batch.leader_epoch > latest.epoch);
        if newer && batch.leader_epoch >= LeaderEpoch(0) {
            self.epochs_changed |=
                self.epochs.assign(batch.leader_epoch, batch.base_offset) == EpochChange::Added;
        }
    }

    /// Reads and checks everything that may not have been durable, makes its indexes anew, and cuts it where it is
    /// torn. Gives the end.
    fn recover(&mut self, segments: &mut Vec<Arc<Segment>>) -> Result<Offset, StorageError> {
        let (files, open) = (self.files, self.open);
        let first = floor(segments, open.recovery_point).unwrap_or(0);
        let Some(base) = segments.get(first).map(|segment| segment.base()) else { return Ok(open.log_start) };
        let before = open.log_start.min(base)..base;
        reload_producers(files, segments, before, &mut self.producers, &mut self.snapshots)?;
        let mut end = base;
        for at in first..segments.len() {
            let segment = segments[at].clone();
            tracing::info!(
                partition = %open.partition, base = %segment.base(), bytes = segment.len(),
                segment = at - first + 1, of = segments.len() - first, "recovering a segment"
            );
            end = segment.base();
            self.producers.set_end_offset(end);
            if at > first {
                let taken = self.snapshots.take(&self.producers, SnapshotSync::Later);
                files.result(&self.snapshots.path(end), taken)?;
            }
            let was_compacted = self.was_compacted(&segment);
            let may_have_gaps = open.config.cleanup_compact || was_compacted;
            let is_last = at + 1 == segments.len();
            let density = if is_last && !may_have_gaps { Density::Dense } else { Density::Sparse };
            let mut torn = self.recover_segment(&segment, density, &mut end)?;
            let is_short = |next: &&Arc<Segment>| torn.is_none() && !was_compacted && next.base() > end;
            if let Some(next) = segments.get(at + 1).filter(is_short) {
                // Whole, but shorter than it was when the next one began: what is missing was not durable yet.
                let reason =
                    format!("the records up to {}, where the next segment begins, are missing", next.base());
                torn = Some(Torn { position: segment.len(), reason });
            }
            let Some(torn) = torn else { continue };
            if end < open.recovery_point && open.recovery_point > open.log_start {
                return Err(files.corrupt(segment.log_name(), u64::from(torn.position), torn.reason));
            }
            cut(files, &segment, torn.position)?;
            tracing::warn!(
                partition = %open.partition, base = %segment.base(), position = torn.position, reason = torn.reason,
                %end, segments_after = segments.len() - at - 1, "the log is torn, cutting it there"
            );
            for after in segments.drain(at + 1..) {
                remove(files, &after)?;
            }
            break;
        }
        self.producers.set_end_offset(end);
        Ok(end)
    }

    /// Whether records may be missing at the end of a segment because they were compacted away. A pass that is not done
    /// has left what it replaced beside the new: the last minute's, and what is older is below the recovery point.
    fn was_compacted(&self, segment: &Segment) -> bool {
        self.open.cleaned.is_some_and(|cleaned| segment.base() < cleaned)
            || (self.open.config.cleanup_compact && self.replaced.contains(&segment.base()))
    }

    /// Reads and checks one segment and makes its indexes anew. Gives where it is torn.
    fn recover_segment(
        &mut self,
        segment: &Segment,
        density: Density,
        end: &mut Offset,
    ) -> Result<Option<Torn>, StorageError> {
        let (files, name) = (self.files, segment.log_name());
        segment.reset_indexes(files)?;
        segment.reset_transactions(files)?;
        let file = segment.log(files)?;
        let mut scan = Scan::new(files, name, &file, Depth::Checksums, 0..segment.len(), segment.base());
        let mut pace = IndexPace::default();
        let torn = loop {
            match scan.next()? {
                // The header of a compressed batch of formats v0 and v1 has its last offset only.
                Step::Batch(batch)
                    if density == Density::Dense && batch.header.is_some() && batch.base_offset > *end =>
                {
                    let reason = format!("a batch begins at {}, not at {end}", batch.base_offset);
                    break Some(Torn { position: batch.position, reason });
                }
                Step::Batch(batch) => {
                    let indexed = pace.step(batch.size, files.index_interval_bytes());
                    segment.index(files, &batch, indexed)?;
                    self.note_epoch(&batch);
                    let completed = replay(files, name, &mut self.producers, &batch, &mut scan)?;
                    if let Some(completed) = completed.filter(|it| it.aborted) {
                        segment.add_aborted(files, &AbortedTransaction::from(&completed))?;
                    }
                    *end = batch.end_offset();
                }
                Step::End => break None,
                Step::Torn(torn) => break Some(torn),
            }
        };
        segment.recovered(torn.as_ref().map_or(scan.position(), |torn| torn.position));
        segment.seal(files)?;
        segment.flush_indexes(files, Sync::No)?;
        Ok(torn)
    }

    /// Makes what was found agree with where the log begins and ends.
    fn finish(mut self, mut segments: Vec<Arc<Segment>>, end: Offset) -> Result<Loaded, StorageError> {
        let (files, open) = (self.files, self.open);
        let (log_start, end) = match segments.first() {
            // What is below the first segment may be tiered.
            Some(_) if open.config.tiering.is_some() => (open.log_start, end),
            Some(first) => (open.log_start.max(first.base()), end),
            None => {
                segments.push(Arc::new(Segment::empty(open.log_start)));
                (open.log_start, open.log_start)
            }
        };
        for change in [self.epochs.truncate_from_end(end), self.epochs.truncate_from_start(log_start)] {
            self.epochs_changed |= change != EpochChange::None;
        }
        let bases: BTreeSet<Offset> = segments.iter().map(|segment| segment.base()).collect();
        let path = files.path();
        files.result(&path, self.snapshots.remove_strays(&bases))?;
        reload_producers(files, &segments, log_start..end, &mut self.producers, &mut self.snapshots)?;
        Ok(Loaded {
            log_start,
            end,
            recovery_point: open.recovery_point.min(end),
            segments,
            epochs: self.epochs,
            epochs_changed: self.epochs_changed,
            producers: self.producers,
            snapshots: self.snapshots,
        })
    }
}

/// Cuts the file of a segment at `len`.
fn cut(files: &LogFiles, segment: &Segment, len: u32) -> Result<(), StorageError> {
    let file = files.open(segment.log_name(), Open::Write)?;
    files.of(segment.log_name(), file.set_len(u64::from(len)))
}

/// Brings the producers to the end of `offsets`, where the log ends: from the newest snapshot, and from the log after
/// it. Snapshots that are not of these offsets go.
pub(crate) fn reload_producers(
    files: &LogFiles,
    segments: &[Arc<Segment>],
    offsets: Range<Offset>,
    producers: &mut ProducerStates,
    snapshots: &mut SnapshotFiles,
) -> Result<(), StorageError> {
    let now = files.host.wall_clock();
    let loaded = snapshots.truncate_and_reload(producers, offsets.start, offsets.end, now);
    if files.result(&files.path(), loaded)? == Reloaded::Snapshot {
        recall(files, segments, producers.end_offset(), producers)?;
    }
    replay_between(files, segments, producers.end_offset().max(offsets.start)..offsets.end, producers)?;
    producers.set_end_offset(offsets.end);
    Ok(())
}

/// Takes in what the log has at `offsets`.
fn replay_between(
    files: &LogFiles,
    segments: &[Arc<Segment>],
    offsets: Range<Offset>,
    producers: &mut ProducerStates,
) -> Result<(), StorageError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let first = floor(segments, offsets.start).unwrap_or(0);
    for segment in segments[first..].iter().take_while(|segment| segment.base() < offsets.end) {
        let Some(start) = segment.find(files, offsets.start)? else { continue };
        let positions = start.position..segment.len();
        segment.walk(files, Depth::Headers, positions, |batch, scan| {
            if batch.base_offset >= offsets.start && batch.end_offset() <= offsets.end {
                replay(files, segment.log_name(), producers, batch, scan)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Takes in a batch that is in the log.
pub(crate) fn replay(
    files: &LogFiles,
    name: FileName,
    producers: &mut ProducerStates,
    batch: &BatchAt,
    scan: &mut Scan<'_>,
) -> Result<Option<CompletedTransaction>, StorageError> {
    let Some(header) = batch.header.filter(|header| header.has_producer_id()) else { return Ok(None) };
    let marker = if header.is_control() {
        let bytes = scan.batch_bytes(batch)?;
        let marker = BatchView::new(bytes).and_then(|view| marker_of(view.header(), view.payload()));
        marker.map_err(|error| files.corrupt(name, u64::from(batch.position), error.to_string()))?
    } else {
        None
    };
    Ok(producers.apply(&header, marker))
}

/// Makes the transaction index of the segment at `at` anew: from the newest snapshot at or before it and from the log
/// after that.
pub(crate) fn rebuild_transactions(
    files: &LogFiles,
    segments: &[Arc<Segment>],
    at: usize,
) -> Result<(), StorageError> {
    let segment = &segments[at];
    let mut producers = ProducerStates::new(ProducerRules::default());
    let mut start = segments[0].base();
    for earlier in segments[..=at].iter().rev() {
        let path = files.path_of(FileName::live(earlier.base(), SegmentFile::Snapshot));
        let Ok(content) = files.disk().read(&path, SNAPSHOT_BYTES_MAX) else { continue };
        let Ok(entries) = snapshot::decode(&content) else { continue };
        for (producer_id, entry) in entries {
            producers.restore(producer_id, entry);
        }
        start = earlier.base();
        break;
    }
    replay_between(files, segments, start..segment.base(), &mut producers)?;
    segment.reset_transactions(files)?;
    segment.walk(files, Depth::Headers, 0..segment.len(), |batch, scan| {
        let completed = replay(files, segment.log_name(), &mut producers, batch, scan)?;
        match completed.filter(|it| it.aborted) {
            Some(completed) => segment.add_aborted(files, &AbortedTransaction::from(&completed)),
            None => Ok(()),
        }
    })
}

/// The longest snapshot that is read to repair an index.
const SNAPSHOT_BYTES_MAX: u64 = 512 << 20;

/// The files of segments, live or not.
fn list(files: &LogFiles) -> Result<BTreeSet<FileName>, StorageError> {
    let path = files.path();
    let listed = match files.disk().list(path.as_path()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files.result(&path, files.disk().create_dir_all(path.as_path()))?;
            files.directory.names_changed();
            Vec::new()
        }
        other => files.result(&path, other)?,
    };
    Ok(listed.iter().filter(|entry| !entry.is_dir).filter_map(|entry| FileName::parse(&entry.name)).collect())
}

/// Ends what compaction, splitting or deletion was doing: what was to be deleted goes, what was being written goes,
/// and what was complete takes its place. Gives where segments begin that have just taken the place of others.
fn finish_interrupted(
    files: &LogFiles,
    names: &mut BTreeSet<FileName>,
) -> Result<BTreeSet<Offset>, StorageError> {
    let of = |names: &BTreeSet<FileName>, standing| -> Vec<FileName> {
        names.iter().copied().filter(|name| name.standing == standing).collect()
    };
    let deleted = of(names, Standing::Deleted);
    let is_live_log =
        |names: &BTreeSet<FileName>, base| names.contains(&FileName::live(base, SegmentFile::Log));
    let logs = deleted.iter().filter(|name| name.kind == SegmentFile::Log).map(|name| name.base);
    let mut new: BTreeSet<Offset> = logs.filter(|base| is_live_log(names, *base)).collect();
    for log in deleted.iter().filter(|name| name.kind == SegmentFile::Log) {
        // The log is renamed first: what is left beside it was to follow.
        let follows = |it: &FileName| it.base == log.base && it.standing == Standing::Live;
        let siblings: Vec<_> = names.iter().copied().filter(follows).collect();
        if siblings.iter().all(|it| it.kind != SegmentFile::Log) {
            for name in siblings.into_iter().filter(|it| it.kind != SegmentFile::Snapshot) {
                remove_file(files, names, name)?;
            }
        }
    }
    for name in deleted {
        remove_file(files, names, name)?;
    }
    let cleaned = of(names, Standing::Cleaned);
    let first_cleaned = cleaned.iter().map(|name| name.base).min();
    for name in of(names, Standing::Swap) {
        // Part of what was still being written.
        if first_cleaned.is_some_and(|first| name.base >= first) {
            remove_file(files, names, name)?;
        }
    }
    for name in cleaned {
        remove_file(files, names, name)?;
    }
    let swap = of(names, Standing::Swap);
    let mut replaced: Option<(Offset, Offset)> = None;
    for name in swap.iter().filter(|name| name.kind == SegmentFile::Log) {
        let end = walk_end(files, *name)?.unwrap_or(name.base);
        replaced = Some(match replaced {
            None => (name.base, end),
            Some((first, last)) => (first.min(name.base), last.max(end)),
        });
    }
    if let Some((first, end)) = replaced {
        for name in of(names, Standing::Live) {
            if name.kind != SegmentFile::Snapshot && (first..end).contains(&name.base) {
                tracing::info!(file = %files.path_of(name).display(), "deleting what an interrupted swap replaced");
                remove_file(files, names, name)?;
            }
        }
    }
    let swapped = !swap.is_empty();
    for name in swap {
        let live = name.standing(Standing::Live);
        let from = files.path_of(name);
        files.result(&from, files.disk().rename(&from, files.path_of(live)))?;
        names.remove(&name);
        names.insert(live);
        new.insert(live.base);
    }
    if swapped {
        let path = files.path();
        files.synced(&path, files.disk().sync_dir(path.as_path()))?;
    }
    Ok(new)
}

fn remove_file(files: &LogFiles, names: &mut BTreeSet<FileName>, name: FileName) -> Result<(), StorageError> {
    let path = files.path_of(name);
    files.result(&path, files.disk().remove_file_if_exists(&path))?;
    names.remove(&name);
    Ok(())
}

/// The offset after the last batch of a file, found by walking over it; `None` if it has none.
fn walk_end(files: &LogFiles, name: FileName) -> Result<Option<Offset>, StorageError> {
    let file = files.open(name, Open::Read)?;
    let len = length_of(files, name, files.of(name, file.len())?)?;
    let mut scan = Scan::new(files, name, &file, Depth::Headers, 0..len, name.base);
    let mut end = None;
    while let Step::Batch(batch) = scan.next()? {
        end = Some(batch.end_offset());
    }
    Ok(end)
}

fn length_of(files: &LogFiles, name: FileName, len: u64) -> Result<u32, StorageError> {
    match u32::try_from(len) {
        Ok(len) if len <= i32::MAX as u32 => Ok(len),
        _ => Err(files.corrupt(name, len, "the file is larger than a segment can be")),
    }
}

/// The segments that have a `.log` file. Indexes without one go; indexes that are missing, and that recovery does not
/// make anyway, are made.
fn segments_of(
    files: &LogFiles,
    open: &OpenLog,
    names: &mut BTreeSet<FileName>,
) -> Result<Vec<Arc<Segment>>, StorageError> {
    let mut segments = Vec::new();
    let mut missing_indexes = Vec::new();
    for name in names.clone() {
        let has = |kind| names.contains(&FileName::live(name.base, kind));
        match name.kind {
            SegmentFile::Snapshot => {}
            SegmentFile::Log => {
                let path = files.path_of(name);
                let len = files.result(&path, files.disk().metadata(&path))?.len;
                let segment = Segment::existing(name.base, length_of(files, name, len)?);
                if len > 0 && !(has(SegmentFile::OffsetIndex) && has(SegmentFile::TimeIndex)) {
                    missing_indexes.push(segments.len());
                }
                segments.push(Arc::new(segment));
            }
            _ if !has(SegmentFile::Log) => {
                // Deletion goes from the start, truncation from the end: neither leaves a hole.
                let logs = || names.iter().filter(|it| it.kind == SegmentFile::Log).map(|it| it.base);
                if logs().any(|base| base < name.base) && logs().any(|base| base > name.base) {
                    let log = FileName::live(name.base, SegmentFile::Log);
                    return Err(files.corrupt(log, 0, "the file is missing, though its index is there"));
                }
                tracing::warn!(path = %files.path_of(name).display(), "deleting an index without a log");
                remove_file(files, names, name)?;
            }
            _ => {}
        }
    }
    let recovered_from = match open.last_shutdown {
        LastShutdown::Clean => segments.len(),
        LastShutdown::Unclean => floor(&segments, open.recovery_point).unwrap_or(0),
    };
    for at in missing_indexes.into_iter().filter(|at| *at < recovered_from) {
        tracing::warn!(path = %files.path_of(segments[at].log_name()).display(), "making the missing indexes of a segment");
        segments[at].rebuild_indexes(files)?;
    }
    Ok(segments)
}

/// The end of a log that was closed: the headers from the last index entry on say it. `None` if they do not lead to
/// the end of the file, or elsewhere than to the point up to which everything was flushed.
fn clean_end(
    files: &LogFiles,
    recovery_point: Offset,
    segments: &[Arc<Segment>],
) -> Result<Option<Offset>, StorageError> {
    let Some(active) = segments.last() else { return Ok(None) };
    match active.tail_end(files).and_then(|end| active.largest(files).map(|_| end)) {
        Ok(end) if end == recovery_point => Ok(Some(end)),
        Ok(end) => {
            tracing::warn!(path = %files.path().display(), %end, %recovery_point, "a log does not end where it was closed, recovering it");
            Ok(None)
        }
        Err(StorageError::Corrupt { path, position, reason }) => {
            tracing::warn!(path = %path.display(), position, reason, "a log that was closed is damaged, recovering it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Removes the files of a segment that is not part of the log.
fn remove(files: &LogFiles, segment: &Segment) -> Result<(), StorageError> {
    for kind in SegmentFile::ALL {
        let path = files.path_of(FileName::live(segment.base(), kind));
        files.result(&path, files.disk().remove_file_if_exists(&path))?;
    }
    Ok(())
}
