//! Opening a log: what an interrupted process left is finished or undone, what it did not make durable is read and
//! checked, and what it had made durable must be there (`LogLoader`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_base::Offset;
use ottla_host::disk::Open;

use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile, Standing};
use crate::files::LogFiles;
use crate::index::Sync;
use crate::log::{LastShutdown, OpenLog};
use crate::scan::{BatchAt, Depth, Scan, Step, Torn};
use crate::segment::{IndexPace, Segment, floor};

/// A log as it was found on the disk, repaired.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Never empty.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) recovery_point: Offset,
}

/// Opens what is in the log's directory.
pub(crate) fn load(files: &LogFiles, open: &OpenLog) -> Result<Loaded, StorageError> {
    let mut names = list(files)?;
    finish_interrupted(files, &mut names)?;
    let mut segments = segments_of(files, open, &mut names)?;
    let end = match open.last_shutdown {
        LastShutdown::Clean => clean_end(files, &segments)?,
        LastShutdown::Unclean => None,
    };
    let end = match end {
        Some(end) => end,
        None => recover(files, open, &mut segments)?,
    };
    let Some(first) = segments.first() else {
        if open.recovery_point > open.log_start {
            return Err(missing(files, open.log_start, open.recovery_point));
        }
        return Ok(empty(open.log_start));
    };
    if end < open.log_start {
        // Records below the log start were deleted, and what came after them was not durable.
        tracing::warn!(path = %files.path().display(), %end, log_start = %open.log_start, "the log ends before it starts, deleting all segments");
        for segment in &segments {
            remove(files, segment)?;
        }
        return Ok(empty(open.log_start));
    }
    if end < open.recovery_point {
        return Err(missing(files, end, open.recovery_point));
    }
    let log_start = open.log_start.max(first.base());
    Ok(Loaded { log_start, end, recovery_point: open.recovery_point.max(log_start), segments })
}

fn empty(start: Offset) -> Loaded {
    Loaded {
        segments: vec![Arc::new(Segment::empty(start))],
        log_start: start,
        end: start,
        recovery_point: start,
    }
}

fn missing(files: &LogFiles, end: Offset, recovery_point: Offset) -> StorageError {
    StorageError::Corrupt {
        path: files.path().to_path_buf(),
        position: 0,
        reason: format!("records up to {recovery_point} had been made durable, but the log ends at {end}"),
    }
}

/// The files of segments, live or not.
fn list(files: &LogFiles) -> Result<BTreeSet<FileName>, StorageError> {
    let path = files.path();
    let listed = match files.disk().list(path.as_path()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files.result(&path, files.disk().create_dir_all(path.as_path()))?;
            Vec::new()
        }
        other => files.result(&path, other)?,
    };
    Ok(listed.iter().filter(|entry| !entry.is_dir).filter_map(|entry| FileName::parse(&entry.name)).collect())
}

/// Ends what compaction, splitting or deletion was doing: what was to be deleted goes, what was being written goes,
/// and what was complete takes its place.
fn finish_interrupted(files: &LogFiles, names: &mut BTreeSet<FileName>) -> Result<(), StorageError> {
    let of = |names: &BTreeSet<FileName>, standing| -> Vec<FileName> {
        names.iter().copied().filter(|name| name.standing == standing).collect()
    };
    for name in of(names, Standing::Deleted) {
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
    for name in swap {
        let live = name.standing(Standing::Live);
        let from = files.path_of(name);
        files.result(&from, files.disk().rename(&from, files.path_of(live)))?;
        names.remove(&name);
        names.insert(live);
    }
    Ok(())
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
/// the end of the file.
fn clean_end(files: &LogFiles, segments: &[Arc<Segment>]) -> Result<Option<Offset>, StorageError> {
    let Some(active) = segments.last() else { return Ok(None) };
    match active.tail_end(files) {
        Ok(end) => Ok(Some(end)),
        Err(StorageError::Corrupt { path, position, reason }) => {
            tracing::warn!(path = %path.display(), position, reason, "a log that was closed is damaged, recovering it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads and checks everything that may not have been durable, makes its indexes anew, and cuts it where it is torn.
/// Gives the end.
fn recover(
    files: &LogFiles,
    open: &OpenLog,
    segments: &mut Vec<Arc<Segment>>,
) -> Result<Offset, StorageError> {
    let first = floor(segments, open.recovery_point).unwrap_or(0);
    let mut end = segments.get(first).map_or(open.log_start, |segment| segment.base());
    for at in first..segments.len() {
        let segment = segments[at].clone();
        tracing::info!(
            partition = %open.partition, base = %segment.base(), bytes = segment.len(),
            segment = at - first + 1, of = segments.len() - first, "recovering a segment"
        );
        end = segment.base();
        let torn = recover_segment(files, &segment, |batch| {
            end = batch.end_offset();
            Ok(())
        })?;
        let Some(torn) = torn else { continue };
        if end < open.recovery_point {
            return Err(files.corrupt(segment.log_name(), u64::from(torn.position), torn.reason));
        }
        tracing::warn!(
            partition = %open.partition, base = %segment.base(), position = torn.position, reason = torn.reason, %end,
            segments_after = segments.len() - at - 1, "the log is torn, cutting it there"
        );
        for after in segments.drain(at + 1..) {
            remove(files, &after)?;
        }
        break;
    }
    Ok(end)
}

/// Reads and checks one segment and makes its indexes anew. Gives where it was torn, and has cut it there.
fn recover_segment(
    files: &LogFiles,
    segment: &Segment,
    mut visit: impl FnMut(&BatchAt) -> Result<(), StorageError>,
) -> Result<Option<Torn>, StorageError> {
    let (name, len) = (segment.log_name(), segment.len());
    segment.reset_indexes(files)?;
    let file = segment.log(files)?;
    let mut scan = Scan::new(files, name, &file, Depth::Checksums, 0..len, segment.base());
    let mut pace = IndexPace::default();
    let torn = loop {
        match scan.next()? {
            Step::Batch(batch) => {
                let indexed = pace.step(batch.size, files.index_interval_bytes());
                segment.index(files, &batch, indexed)?;
                visit(&batch)?;
            }
            Step::End => break None,
            Step::Torn(torn) => break Some(torn),
        }
    };
    let valid = scan.position();
    if torn.is_some() {
        let file = files.open(name, Open::Write)?;
        files.of(name, file.set_len(u64::from(valid)))?;
    }
    segment.recovered(valid);
    segment.seal(files)?;
    segment.flush_indexes(files, Sync::No)?;
    Ok(torn)
}

/// Removes the files of a segment that is not part of the log.
fn remove(files: &LogFiles, segment: &Segment) -> Result<(), StorageError> {
    for kind in SegmentFile::ALL {
        let path = files.path_of(FileName::live(segment.base(), kind));
        files.result(&path, files.disk().remove_file_if_exists(&path))?;
    }
    Ok(())
}
