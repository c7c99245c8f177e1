//! Which segments are written into one, so that a log does not end up as many small ones (`Cleaner.groupSegmentsBySize`).

use std::sync::Arc;

use ottla_base::Offset;

use crate::error::StorageError;
use crate::index::{OffsetEntry, TimeEntry};
use crate::log::Log;
use crate::segment::Segment;

/// How much a segment has.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    log: u64,
    offsets: u64,
    times: u64,
}

/// Groups segments that come one after the other, the last of which ends before `upper`.
pub(super) fn groups(
    log: &Log,
    segments: Vec<Arc<Segment>>,
    upper: Offset,
) -> Result<Vec<Vec<Arc<Segment>>>, StorageError> {
    let config = log.config();
    let (log_max, index_max) = (u64::from(config.segment_bytes), u64::from(config.segment_index_bytes));
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut total = Size::default();
    for (at, segment) in segments.iter().enumerate() {
        let size = size_of(log, segment)?;
        let last = segments.get(at + 1).map_or(upper, |next| next.base()).get() - 1;
        if let Some(group) = groups.last_mut() {
            // An empty segment takes no offsets with it.
            let within = segment.len() == 0 || last - group[0].base().get() <= i64::from(i32::MAX);
            if within
                && total.log + size.log <= log_max
                && total.offsets + size.offsets <= index_max
                && total.times + size.times <= index_max
            {
                group.push(segment.clone());
                total.log += size.log;
                total.offsets += size.offsets;
                total.times += size.times;
                continue;
            }
        }
        total = size;
        groups.push(vec![segment.clone()]);
    }
    Ok(groups)
}

fn size_of(log: &Log, segment: &Segment) -> Result<Size, StorageError> {
    if segment.len() == 0 {
        return Ok(Size::default());
    }
    Ok(Size {
        log: u64::from(segment.len()),
        offsets: u64::from(segment.offsets.len(&log.files)?) * OffsetEntry::SIZE_BYTES as u64,
        times: u64::from(segment.times.len(&log.files)?) * TimeEntry::SIZE_BYTES as u64,
    })
}
