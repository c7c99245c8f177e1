//! One pass over a log: the last offset of each key in its dirty part, then every segment up to there written anew, group
//! by group, and put in the place of what it was made of (`Cleaner.doClean`).
//!
//! A pass is taken in steps, so that whoever takes them can pause between two, or stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Moment, Offset, Timestamp};
use ottla_record::{DecompressionLimits, RecordStream, RecordsError, StoredBatch};

use super::filter::{LastOfProducer, Rules, control_of};
use super::offset_map::{KEYS_AT_ONCE, OffsetMap, Put};
use super::rewrite::{Rewrite, Written};
use super::transactions::PassingTransactions;
use super::{Claim, CleanError, CleanLimits, CleanStats};
use crate::error::StorageError;
use crate::log::{Log, Replaced};
use crate::scan::{BatchAt, Depth, Scan, Step};
use crate::segment::{Segment, floor};

/// The most bytes that a compressed batch of formats v0 and v1 may unfold to.
const LEGACY_BYTES_MAX: u64 = 256 << 20;
/// A batch may be larger than its topic allows now, because it was allowed once: up to here.
const BATCH_BYTES_MAX: u32 = 256 << 20;

/// A pass over one log. Dropped before its end it leaves the log as far cleaned as it had come.
#[derive(Debug)]
pub struct Cleaning {
    log: Arc<Log>,
    _claim: Claim,
    limits: CleanLimits,
    /// When it began.
    now: Timestamp,
    began: Moment,
    /// How often the log had been cut then.
    generation: u64,
    first_dirty: Offset,
    upper: Offset,
    map: OffsetMap,
    /// The last offset that the map knows of.
    latest: Offset,
    stage: Stage,
    stats: CleanStats,
}

#[derive(Debug)]
enum Stage {
    Map(Mapping),
    Write(Writing),
    Done,
}

/// The first stage: reading keys.
#[derive(Debug)]
struct Mapping {
    segments: VecDeque<Arc<Segment>>,
    /// Where to go on in the first of them, once that is known.
    position: Option<u32>,
    transactions: PassingTransactions,
}

/// The second stage: writing segments.
#[derive(Debug)]
struct Writing {
    groups: VecDeque<Vec<Arc<Segment>>>,
    transactions: PassingTransactions,
    /// Segments of formats v0 and v1 whose files are older have tombstones to let go.
    legacy_horizon: Timestamp,
    current: Option<Rewrite>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanStep {
    /// So many bytes were read and written, and there is more to do.
    Worked(u64),
    /// The log is cleaned up to this offset, and so many bytes were read and written since the last step.
    Done(Offset, u64),
}

impl Cleaning {
    /// Begins a pass over `offsets` of a log that was flushed since they were found out, and whose recovery point was
    /// written down: a record must not go for the sake of another, or of a marker, that a power cut would take, and
    /// recovery must not take what was cleaned away for torn off.
    pub(crate) fn new(
        log: Arc<Log>,
        claim: Claim,
        limits: CleanLimits,
        offsets: std::ops::Range<Offset>,
    ) -> Result<Cleaning, StorageError> {
        let generation = log.generation();
        let view = log.view();
        let host = &log.files.host;
        let secret = [host.random_u64(), host.random_u64()];
        let map = OffsetMap::new(limits.dedupe_bytes, limits.load_factor, secret);
        let first = floor(&view.segments, offsets.start).unwrap_or(0);
        let sealed = &view.segments[..view.segments.len() - 1];
        let dirty = sealed.iter().skip(first).take_while(|it| it.base() < offsets.end).cloned();
        let mut transactions = PassingTransactions::default();
        transactions.expect(log.aborted_among(&view, offsets.clone())?);
        let mapping = Mapping { segments: dirty.collect(), position: None, transactions };
        let (now, began) = (host.wall_clock(), host.now());
        tracing::debug!(
            partition = %log.partition(), first_dirty = %offsets.start, first_uncleanable = %offsets.end,
            segments = mapping.segments.len(), "cleaning a log"
        );
        Ok(Cleaning {
            log,
            _claim: claim,
            limits,
            now,
            began,
            generation,
            first_dirty: offsets.start,
            upper: offsets.end,
            map,
            latest: Offset(-1),
            stage: Stage::Map(mapping),
            stats: CleanStats::default(),
        })
    }

    /// The log that is cleaned.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Where the part begins that had not been cleaned.
    pub fn first_dirty(&self) -> Offset {
        self.first_dirty
    }

    /// What was done so far.
    pub fn stats(&self) -> CleanStats {
        CleanStats { elapsed: self.log.files.host.now().since(self.began), ..self.stats }
    }

    /// How long the pass has been going.
    pub fn elapsed(&self) -> Duration {
        self.log.files.host.now().since(self.began)
    }

    /// Goes on until about `budget` bytes were read and written, or to the end. Blocks.
    pub fn step(&mut self, budget: u64) -> Result<CleanStep, CleanError> {
        let before = self.stats.bytes_moved();
        loop {
            self.check()?;
            match &mut self.stage {
                Stage::Map(_) => self.map_some(budget)?,
                Stage::Write(_) => self.write_some(budget)?,
                Stage::Done => {}
            }
            let moved = self.stats.bytes_moved() - before;
            if matches!(self.stage, Stage::Done) {
                if self.log.note_cleaned(self.latest.after(1), self.generation) == Replaced::Outdated {
                    return Err(CleanError::Outdated);
                }
                return Ok(CleanStep::Done(self.latest.after(1), moved));
            }
            if moved >= budget {
                return Ok(CleanStep::Worked(moved));
            }
        }
    }

    /// Whether the log still is what the pass is about.
    fn check(&self) -> Result<(), CleanError> {
        self.log.check()?;
        let outdated = self.log.generation() != self.generation || !self.log.config().cleanup_compact;
        if outdated { Err(CleanError::Outdated) } else { Ok(()) }
    }

    fn batch_bytes_max(&self) -> u32 {
        self.log.config().max_message_bytes.max(self.limits.message_bytes).max(BATCH_BYTES_MAX)
    }

    /// Reads keys of one segment.
    fn map_some(&mut self, budget: u64) -> Result<(), CleanError> {
        let size_max = self.batch_bytes_max();
        let Stage::Map(mapping) = &mut self.stage else { return Ok(()) };
        let Some(segment) = mapping.segments.front().cloned() else { return self.begin_writing() };
        let files = &self.log.files;
        let start = match mapping.position {
            Some(position) => position,
            None => segment.find(files, self.first_dirty)?.map_or(segment.len(), |it| it.position),
        };
        let file = segment.log(files)?;
        let (name, positions) = (segment.log_name(), start..segment.len());
        let scan = Scan::new(files, name, &file, Depth::Checksums, positions, segment.base());
        let window = (self.limits.io_bytes as u64).min(budget) as usize;
        let mut scan = scan.bounded(window, size_max);
        let mut position = start;
        let mut full = Put::Done;
        while full == Put::Done && u64::from(position - start) < budget {
            let batch = match scan.next()? {
                Step::Batch(batch) => batch,
                Step::End => break,
                Step::Torn(torn) => {
                    let position = u64::from(torn.position);
                    return Err(files.corrupt(segment.log_name(), position, torn.reason).into());
                }
            };
            let bytes = scan.batch_bytes(&batch)?;
            let put = map_batch(
                &mut self.map,
                &mut mapping.transactions,
                self.first_dirty,
                &mut self.latest,
                &mut self.stats,
                bytes,
            );
            full = put.map_err(|error| {
                files.corrupt(segment.log_name(), u64::from(batch.position), error.to_string())
            })?;
            if full == Put::Done && batch.last_offset >= self.first_dirty {
                self.latest = batch.last_offset;
            }
            position = batch.end_position();
        }
        self.stats.map_bytes_read += u64::from(position - start);
        mapping.position = Some(position);
        if full == Put::Full {
            mapping.segments.clear();
        } else if position >= segment.len() {
            mapping.segments.pop_front();
            mapping.position = None;
            // What is missing at the end is behind us, too.
            let next = mapping.segments.front().map_or(self.upper, |next| next.base());
            self.latest = Offset(next.get() - 1);
        }
        Ok(())
    }

    /// The map is complete: finds out which segments are written together.
    fn begin_writing(&mut self) -> Result<(), CleanError> {
        self.stats.index_elapsed = self.elapsed();
        self.stats.map_utilization = self.map.utilization();
        let (log, view) = (&self.log, self.log.view());
        let end = self.latest.after(1);
        let sealed = &view.segments[..view.segments.len() - 1];
        let sources: Vec<_> = sealed.iter().take_while(|it| it.base() < end).cloned().collect();
        let clean = sealed.iter().take_while(|it| it.base() < self.first_dirty).last();
        let legacy_horizon = match clean {
            Some(segment) => {
                let modified = log.modified(segment)?;
                Timestamp(modified.get().saturating_sub(log.config().delete_retention_ms))
            }
            None => Timestamp(0),
        };
        let groups = super::group::groups(log, sources, self.upper)?;
        self.stage = Stage::Write(Writing {
            groups: groups.into(),
            transactions: PassingTransactions::default(),
            legacy_horizon,
            current: None,
        });
        Ok(())
    }

    /// Writes some of a group of segments, and puts it in their place when all of it is written.
    fn write_some(&mut self, budget: u64) -> Result<(), CleanError> {
        let size_max = self.batch_bytes_max();
        let Stage::Write(writing) = &mut self.stage else { return Ok(()) };
        if writing.current.is_none() {
            let Some(group) = writing.groups.pop_front() else {
                self.stage = Stage::Done;
                return Ok(());
            };
            writing.current = Some(Rewrite::begin(&self.log, group)?);
        }
        let Some(rewrite) = &mut writing.current else { return Ok(()) };
        let rules = Rules {
            map: &self.map,
            latest: self.latest,
            now: self.now,
            delete_retention_ms: self.log.config().delete_retention_ms,
            keeps_legacy_deletes: false,
            upper: self.upper,
        };
        let horizon = writing.legacy_horizon;
        let bounds = (self.limits.io_bytes, size_max);
        let passing = (&mut writing.transactions, &mut self.stats);
        if rewrite.go_on(&self.log, rules, horizon, bounds, passing, budget)? == Written::Part {
            return Ok(());
        }
        let Some(rewrite) = writing.current.take() else { return Ok(()) };
        let (sources, cleaned) = rewrite.finish(&self.log)?;
        match self.log.replace_segments(&sources, &cleaned, self.generation) {
            Ok(Replaced::Done) => Ok(()),
            Ok(Replaced::Outdated) => {
                super::rewrite::discard(&self.log, &cleaned);
                Err(CleanError::Outdated)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        if let Stage::Write(Writing { current: Some(rewrite), .. }) = &self.stage {
            rewrite.discard(&self.log);
        }
    }
}

/// Puts the keys of a batch into the map.
fn map_batch(
    map: &mut OffsetMap,
    transactions: &mut PassingTransactions,
    first_dirty: Offset,
    latest: &mut Offset,
    stats: &mut CleanStats,
    bytes: &[u8],
) -> Result<Put, RecordsError> {
    let mut keys = Keys::new(first_dirty);
    let batch = match StoredBatch::new(bytes)? {
        StoredBatch::V2(batch) => batch,
        StoredBatch::Legacy(batch) => {
            for record in batch.records(LEGACY_BYTES_MAX)? {
                stats.map_records_read += 1;
                let Some(key) = &record.key else { continue };
                let mut hash = map.hash();
                hash.write(key);
                if keys.put(map, latest, hash.finish(), record.offset) == Put::Full {
                    return Ok(Put::Full);
                }
            }
            return Ok(keys.put_all(map, latest));
        }
    };
    stats.map_records_read += u64::try_from(batch.count()).unwrap_or(0);
    if batch.is_control() {
        transactions.on_control(&batch, control_of(&batch)?);
        return Ok(Put::Done);
    }
    if transactions.on_data(&batch) {
        return Ok(Put::Done);
    }
    let mut stream = RecordStream::new(&batch, DecompressionLimits::default())?;
    loop {
        let mut hash = map.hash();
        let Some(record) = stream.next_keyed(|piece| hash.write(piece))? else {
            return Ok(keys.put_all(map, latest));
        };
        let is_within = (batch.base_offset()..=batch.last_offset()).contains(&record.offset);
        if record.has_key && is_within && keys.put(map, latest, hash.finish(), record.offset) == Put::Full {
            return Ok(Put::Full);
        }
    }
}

/// Keys on their way into the map, some at a time.
struct Keys {
    first_dirty: Offset,
    held: Vec<([u64; 2], Offset)>,
}

impl Keys {
    fn new(first_dirty: Offset) -> Keys {
        Keys { first_dirty, held: Vec::with_capacity(KEYS_AT_ONCE) }
    }

    /// Adds a key, and puts all of them into the map when there are enough.
    fn put(&mut self, map: &mut OffsetMap, latest: &mut Offset, hash: [u64; 2], offset: Offset) -> Put {
        if offset >= self.first_dirty {
            self.held.push((hash, offset));
        }
        if self.held.len() < KEYS_AT_ONCE { Put::Done } else { self.put_all(map, latest) }
    }

    /// Puts those that are left into the map, as far as it has room. `latest` is the last offset that it knows of.
    fn put_all(&mut self, map: &mut OffsetMap, latest: &mut Offset) -> Put {
        map.expect(self.held.iter().map(|it| it.0));
        for (hash, offset) in self.held.drain(..) {
            if map.put(hash, offset) == Put::Full {
                return Put::Full;
            }
            *latest = offset;
        }
        Put::Done
    }
}

/// What the partition knows of the producer of a batch.
pub(super) fn last_of_producer(log: &Log, batch: &BatchAt) -> Option<LastOfProducer> {
    let producer_id = batch.header.filter(|it| it.has_producer_id())?.producer_id();
    log.with_producers(|producers| {
        producers.entry(producer_id).map(|entry| LastOfProducer {
            offset: entry.last_batch().map(|last| last.last_offset),
            epoch: entry.epoch(),
        })
    })
}
