//! What a snapshot of producers leaves out: it has the last batch of each, but a client may send its last five again.
//!
//! Apache Kafka forgets the other four, so that after a stop a client whose answers were lost gets
//! `OUT_OF_ORDER_SEQUENCE_NUMBER` for batches that are in the log. They are found again by the headers before the
//! snapshot.

use std::sync::Arc;

use ottla_base::Offset;

use crate::error::StorageError;
use crate::files::LogFiles;
use crate::load::replay;
use crate::producer_state::{ProducerRules, ProducerStates, Recalled};
use crate::scan::Depth;
use crate::segment::{Segment, floor};

/// How many index entries before the snapshot the look begins at first: a batch each, or a few KiB of small ones.
const ENTRIES_FIRST: u32 = 8;
/// How much farther back the next look begins if some producer may have had more.
const ENTRIES_GROWTH: u32 = 4;
/// The farthest back that is looked: what a start may cost a log.
const ENTRIES_MAX: u32 = 128;

/// Gives the producers, as the snapshot at `offset` has them, the batches before their last.
pub(crate) fn recall(
    files: &LogFiles,
    segments: &[Arc<Segment>],
    offset: Offset,
    producers: &mut ProducerStates,
) -> Result<(), StorageError> {
    if producers.producer_count() == 0 {
        return Ok(());
    }
    let mut entries = ENTRIES_FIRST;
    while entries <= ENTRIES_MAX {
        let (known, reach) = match look_back(files, segments, offset, entries) {
            Ok(looked) => looked,
            // Readers will find the damage. Not knowing the batches is what a snapshot alone would have given.
            Err(StorageError::Corrupt { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if producers.recall(&known) == Recalled::Everything || reach == Reach::Start {
            break;
        }
        entries *= ENTRIES_GROWTH;
    }
    Ok(())
}

/// How far back a look went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// To the first batch of the log.
    Start,
    /// To a later one.
    Within,
}

/// The producers by the batches alone that come at most so many index entries before `offset`.
fn look_back(
    files: &LogFiles,
    segments: &[Arc<Segment>],
    offset: Offset,
    entries: u32,
) -> Result<(ProducerStates, Reach), StorageError> {
    let mut known = ProducerStates::new(ProducerRules::default());
    let (mut parts, mut reach, mut left) = (Vec::new(), Reach::Start, entries);
    let last = floor(segments, Offset(offset.get().saturating_sub(1)));
    for segment in last.map_or(&[][..], |last| &segments[..=last]).iter().rev() {
        let sought = segment.relative(offset);
        let (entry, before) = segment.offsets.back(files, |entry| entry.relative_offset < sought, left)?;
        parts.push((segment, entry.map_or(0, |entry| entry.position)));
        left = left.saturating_sub(before.max(1));
        if left == 0 {
            reach = Reach::Within;
            break;
        }
    }
    for (segment, start) in parts.into_iter().rev() {
        if start > segment.len() {
            return Err(files.corrupt(
                segment.log_name(),
                u64::from(start),
                "an index entry points past the end",
            ));
        }
        segment.walk(files, Depth::Headers, start..segment.len(), |batch, scan| {
            if batch.end_offset() <= offset {
                replay(files, segment.log_name(), &mut known, batch, scan)?;
            }
            Ok(())
        })?;
    }
    Ok((known, reach))
}
