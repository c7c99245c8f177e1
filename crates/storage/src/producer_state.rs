//! What a partition knows of its idempotent producers: their last batches, their transactions, and which
//! offsets are not yet stable (`ProducerStateManager`, `ProducerAppendInfo`).
//!
//! | file | holds |
//! |---|---|
//! | `entry` | one producer: its last five batches and the rules for the next one |
//! | `verification` | the proof that a coordinator knows of a transaction (KIP-890) |
//! | `snapshot` | the bytes of a `.snapshot` file |
//! | `files` | the `.snapshot` files of a partition: taking, loading, removing |
//!
//! A leader *prepares* a batch before it writes it, and *commits* the preparation once it is written, with one
//! look-up and without allocating for both. Followers and recovery *apply* what a leader has accepted.

use std::borrow::Cow;
use std::collections::{BTreeMap, hash_map};
use std::time::Duration;

use ottla_base::{ErrorCode, FastMap, Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_record::{BatchHeader, Compression, EndTxnMarker, Records, RecordsError, Refusal, decompress};

pub mod entry;
pub mod files;
pub mod snapshot;
pub mod verification;

#[cfg(test)]
mod tests;

pub use entry::{AppendedBatch, ProducerEntry};
pub use files::{Reloaded, SnapshotFiles, SnapshotSync};
pub use verification::{Verification, VerificationGuard};

/// How much later than its time-out a transaction may be before it counts as hanging.
const LATE_TRANSACTION_BUFFER: Duration = Duration::from_secs(5 * 60);
/// The most that is decompressed to read a transaction marker.
const MAX_MARKER_BYTES: u64 = 64 * 1024;
/// What a marker says when only a leader knows the version.
const LEGACY_TRANSACTION_VERSION: i16 = 0;

/// What a partition's producers are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerRules {
    /// `producer.id.expiration.ms`: how long an idle producer is remembered.
    pub expiration: Duration,
    /// `transaction.partition.verification.enable`: whether the first batch of a transaction needs a proof.
    pub verify_transactions: bool,
}

impl Default for ProducerRules {
    fn default() -> Self {
        ProducerRules { expiration: Duration::from_secs(24 * 60 * 60), verify_transactions: true }
    }
}

/// Who appends to the leader, which says how strictly it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerOrigin {
    /// A client: sequences are checked. The guard is the proof it has for its transaction.
    Client(VerificationGuard),
    /// A coordinator: only epochs are checked.
    Coordinator(VerificationGuard),
    /// A transaction coordinator that ends a transaction, in this `transaction.version`.
    Marker(i16),
}

/// A batch whose producer may write it. Nothing has changed yet; dropping this changes nothing.
#[must_use = "the producer's state changes only when this is committed"]
pub struct Prepared<'a> {
    slot: hash_map::Entry<'a, ProducerId, ProducerEntry>,
    transactions: &'a mut Transactions,
    verifications: &'a mut FastMap<ProducerId, Verification>,
    step: Step,
}

/// What becomes of a batch.
pub enum Outcome<'a> {
    /// It has no producer id: there is nothing to check or to remember.
    NoProducer,
    /// It may be written.
    Append(Prepared<'a>),
    /// It was written before: answer with this, write nothing.
    Duplicate(AppendedBatch),
}

/// Whether the batches before a snapshot were all found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recalled {
    /// Of every producer, as many as are remembered or as it has written.
    Everything,
    /// Some producer may have written more.
    Part,
}

/// The change that a batch makes to its producer's entry.
#[derive(Debug, Clone, Copy)]
struct Step {
    header: BatchHeader,
    marker: Option<TimedMarker>,
}

/// A transaction marker and its record's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedMarker {
    /// The marker.
    pub marker: EndTxnMarker,
    /// When it was written.
    pub timestamp: Timestamp,
}

/// A transaction that a marker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// Whether it was aborted: then it belongs into the transaction index.
    pub aborted: bool,
    /// The first offset of the oldest transaction that still went on when this one ended, or the offset after
    /// the marker. Goes into the transaction index.
    pub last_stable_offset: Offset,
}

/// Transactions by their first offset.
#[derive(Debug, Default)]
struct Transactions {
    /// Those without a marker.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// Those with a marker that may be above the high watermark, and where it is.
    unreplicated: BTreeMap<Offset, Offset>,
}

/// The state of a partition's producers.
#[derive(Debug, Default)]
pub struct ProducerStates {
    rules: ProducerRules,
    entries: FastMap<ProducerId, ProducerEntry>,
    verifications: FastMap<ProducerId, Verification>,
    last_guard: u64,
    transactions: Transactions,
    end_offset: Offset,
}

/// Reads the marker that a control batch carries, whose compressed records are `payload`. Nothing if it has
/// none: a batch that compaction has emptied, or a control batch that is not about transactions.
pub fn marker_of(header: &BatchHeader, payload: &[u8]) -> Result<Option<TimedMarker>, RecordsError> {
    if !header.is_control() || header.count() == 0 {
        return Ok(None);
    }
    let records = match header.compression()? {
        Compression::None => Cow::Borrowed(payload),
        compressed => Cow::Owned(decompress(compressed, payload, MAX_MARKER_BYTES)?),
    };
    let Some(record) = Records::new(header, &records).next().transpose()? else { return Ok(None) };
    let marker = EndTxnMarker::of_record(&record)?;
    Ok(marker.map(|marker| TimedMarker { marker, timestamp: record.timestamp }))
}

impl ProducerStates {
    /// No producers yet.
    pub fn new(rules: ProducerRules) -> ProducerStates {
        ProducerStates { rules, ..ProducerStates::default() }
    }

    /// Changes the rules.
    pub fn set_rules(&mut self, rules: ProducerRules) {
        self.rules = rules;
    }

    /// Checks a batch that the leader is about to write, `header` with the place it will have. `marker` is
    /// what [`marker_of`] gave for it.
    pub fn prepare(
        &mut self,
        header: &BatchHeader,
        marker: Option<TimedMarker>,
        origin: ProducerOrigin,
    ) -> Result<Outcome<'_>, Refusal> {
        if !header.has_producer_id() {
            return Ok(Outcome::NoProducer);
        }
        let producer_id = header.producer_id();
        let verification =
            if self.verifications.is_empty() { None } else { self.verifications.get(&producer_id).copied() };
        let slot = self.entries.entry(producer_id);
        let entry = match &slot {
            hash_map::Entry::Occupied(entry) => Some(entry.get()),
            hash_map::Entry::Vacant(_) => None,
        };
        if let (Some(entry), ProducerOrigin::Client(_)) = (entry, origin)
            && let Some(duplicate) = entry.duplicate_of(header)
        {
            return Ok(Outcome::Duplicate(duplicate));
        }
        if let ProducerOrigin::Client(guard) | ProducerOrigin::Coordinator(guard) = origin {
            let proved = !self.rules.verify_transactions || header.is_control() || guard.proves(verification);
            check_transaction(header, entry, proved)?;
        }
        let unknown = ProducerEntry::UNKNOWN;
        let entry = entry.unwrap_or(&unknown);
        match (marker, origin) {
            (Some(marker), ProducerOrigin::Marker(version)) => {
                entry.check_marker(header, marker.marker, version)?
            }
            (Some(marker), _) => entry.check_marker(header, marker.marker, LEGACY_TRANSACTION_VERSION)?,
            (None, ProducerOrigin::Client(_)) => {
                entry.check_data(header)?;
                entry.check_sequence(header, verification)?;
            }
            (None, _) => entry.check_data(header)?,
        }
        Ok(Outcome::Append(Prepared {
            slot,
            transactions: &mut self.transactions,
            verifications: &mut self.verifications,
            step: Step { header: *header, marker },
        }))
    }

    /// Takes as fact a batch that a leader has accepted: on a follower, or from the log at recovery.
    pub fn apply(
        &mut self,
        header: &BatchHeader,
        marker: Option<TimedMarker>,
    ) -> Option<CompletedTransaction> {
        if !header.has_producer_id() || (header.is_control() && marker.is_none()) {
            return None;
        }
        let prepared = Prepared {
            slot: self.entries.entry(header.producer_id()),
            transactions: &mut self.transactions,
            verifications: &mut self.verifications,
            step: Step { header: *header, marker },
        };
        prepared.commit()
    }

    /// Puts back an entry from a snapshot.
    pub fn restore(&mut self, producer_id: ProducerId, entry: ProducerEntry) {
        if let Some(first) = entry.transaction_first_offset() {
            self.transactions.ongoing.insert(first, producer_id);
        }
        self.entries.insert(producer_id, entry);
    }

    /// Takes from `known`, which was made from the batches before a snapshot, what the snapshot did not have.
    pub(crate) fn recall(&mut self, known: &ProducerStates) -> Recalled {
        let mut recalled = Recalled::Everything;
        for (producer_id, entry) in &mut self.entries {
            if let Some(known) = known.entry(*producer_id) {
                entry.recall(known);
            }
            if entry.may_have_written_more() {
                recalled = Recalled::Part;
            }
        }
        recalled
    }

    /// Remembers that everything before `offset` has been taken in, whether producers wrote it or not.
    pub fn set_end_offset(&mut self, offset: Offset) {
        self.end_offset = offset;
    }

    /// Up to where the log has been taken in.
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.transactions = Transactions::default();
    }

    /// Whether nothing is known: no producer, and no transaction whose end may not be replicated.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.transactions.unreplicated.is_empty()
    }

    /// How many producers are remembered.
    pub fn producer_count(&self) -> usize {
        self.entries.len()
    }

    /// What is known of a producer.
    pub fn entry(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.entries.get(&producer_id)
    }

    /// Every producer, by id.
    pub fn entries(&self) -> Vec<(ProducerId, &ProducerEntry)> {
        let mut entries: Vec<_> = self.entries.iter().map(|(id, entry)| (*id, entry)).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        entries
    }

    /// The first offset that is not stable: of the oldest transaction that goes on, or whose marker is not
    /// known to be replicated.
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        let undecided = self.first_undecided_offset();
        let unreplicated = self.transactions.unreplicated.keys().next().copied();
        match (undecided, unreplicated) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The first offset of the oldest transaction that goes on.
    pub fn first_undecided_offset(&self) -> Option<Offset> {
        self.transactions.ongoing.keys().next().copied()
    }

    /// Lets transactions go whose marker is below the high watermark.
    pub fn on_high_watermark(&mut self, high_watermark: Offset) {
        if !self.transactions.unreplicated.is_empty() {
            self.transactions.unreplicated.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// Lets transactions go whose marker is no longer in the log.
    pub fn on_log_start(&mut self, log_start: Offset) {
        self.on_high_watermark(log_start);
        self.end_offset = self.end_offset.max(log_start);
    }

    /// Forgets producers that have been idle too long, and proofs that nobody used.
    pub fn remove_expired(&mut self, now: Timestamp) {
        let rules = self.rules;
        self.entries.retain(|_, entry| !entry.is_expired(now, rules.expiration));
        self.verifications.retain(|_, it| !has_passed(it.since, now, rules.expiration));
    }

    /// Whether an entry from a snapshot is already too old to be put back.
    pub fn is_expired(&self, entry: &ProducerEntry, now: Timestamp) -> bool {
        entry.is_expired(now, self.rules.expiration)
    }

    /// Whether the oldest transaction should long have ended: nobody is left to end it.
    pub fn has_late_transaction(&self, now: Timestamp, max_timeout: Duration) -> bool {
        let oldest = self.transactions.ongoing.values().next().and_then(|id| self.entries.get(id));
        let last = oldest.map_or(Timestamp::NONE, |it| it.last_timestamp());
        let allowed = max_timeout + LATE_TRANSACTION_BUFFER;
        last.0 > 0 && i128::from(now.0) - i128::from(last.0) > allowed.as_millis() as i128
    }

    /// Whether the producer has a transaction in this epoch.
    pub fn has_ongoing_transaction(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.entry(producer_id).is_some_and(|it| it.has_transaction_in(epoch))
    }

    /// Begins the proof that a coordinator knows of the transaction whose first batch came. Gives
    /// [`VerificationGuard::NONE`] if the transaction goes on already and needs no proof.
    pub fn begin_verification(
        &mut self,
        producer_id: ProducerId,
        sequence: i32,
        epoch: ProducerEpoch,
        supports_epoch_bump: bool,
        now: Timestamp,
    ) -> Result<VerificationGuard, Refusal> {
        if let Some(entry) = self.entry(producer_id)
            && epoch < entry.epoch()
        {
            return Err(stale_epoch(producer_id, epoch, entry.epoch()));
        }
        if self.has_ongoing_transaction(producer_id, epoch) {
            return Ok(VerificationGuard::NONE);
        }
        let last_guard = &mut self.last_guard;
        let verification = self.verifications.entry(producer_id).or_insert_with(|| {
            *last_guard += 1;
            Verification {
                since: now,
                guard: VerificationGuard::numbered(*last_guard),
                supports_epoch_bump,
                lowest_sequence: sequence,
                epoch,
            }
        });
        verification.lower(sequence, epoch);
        Ok(verification.guard)
    }

    /// The proof that was begun for a producer.
    pub fn verification(&self, producer_id: ProducerId) -> Option<&Verification> {
        self.verifications.get(&producer_id)
    }
}

impl Prepared<'_> {
    /// The batch was written: remembers it. Gives the transaction that it has ended, if it was a marker.
    pub fn commit(self) -> Option<CompletedTransaction> {
        let Step { header, marker } = self.step;
        let producer_id = header.producer_id();
        let entry = self.slot.or_insert(ProducerEntry::UNKNOWN);
        let completed = match marker {
            None => {
                let began = entry.append_data(&header);
                if let Some(first) = began {
                    self.transactions.ongoing.insert(first, producer_id);
                }
                None
            }
            Some(marker) => {
                let first = entry.append_marker(&header, &marker);
                first.map(|first| self.transactions.complete(producer_id, first, &header, marker.marker))
            }
        };
        if header.is_transactional() && !self.verifications.is_empty() {
            // With transaction.version 2 the next transaction has the marker's epoch and may have begun its
            // proof before the marker was written.
            let next_began = self.verifications.get(&producer_id).is_some_and(|it| {
                it.supports_epoch_bump && header.is_control() && header.producer_epoch() == it.epoch
            });
            if !next_began {
                self.verifications.remove(&producer_id);
            }
        }
        completed
    }
}

impl Transactions {
    fn complete(
        &mut self,
        producer_id: ProducerId,
        first_offset: Offset,
        header: &BatchHeader,
        marker: EndTxnMarker,
    ) -> CompletedTransaction {
        let last_offset = header.base_offset();
        self.ongoing.remove(&first_offset);
        let next = self.ongoing.iter().find(|(_, other)| **other != producer_id).map(|(first, _)| *first);
        self.unreplicated.insert(first_offset, last_offset);
        CompletedTransaction {
            producer_id,
            first_offset,
            last_offset,
            aborted: !marker.committed,
            last_stable_offset: next.unwrap_or(last_offset.after(1)),
        }
    }
}

/// A transactional batch is written only if its transaction goes on, or if its coordinator was asked.
fn check_transaction(
    header: &BatchHeader,
    entry: Option<&ProducerEntry>,
    proved: bool,
) -> Result<(), Refusal> {
    let epoch = header.producer_epoch();
    if !header.is_transactional() || entry.is_some_and(|it| it.has_transaction_in(epoch)) {
        return Ok(());
    }
    if let Some(entry) = entry
        && epoch < entry.epoch()
    {
        return Err(stale_epoch(header.producer_id(), epoch, entry.epoch()));
    }
    if proved {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::InvalidTxnState, "Record was not part of an ongoing transaction"))
}

fn stale_epoch(producer_id: ProducerId, epoch: ProducerEpoch, last: ProducerEpoch) -> Refusal {
    let message = format!(
        "Epoch of producer {producer_id} is {epoch}, which is smaller than the last seen epoch {last}"
    );
    Refusal::new(ErrorCode::InvalidProducerEpoch, message)
}

fn has_passed(since: Timestamp, now: Timestamp, allowed: Duration) -> bool {
    i128::from(now.0) - i128::from(since.0) >= allowed.as_millis() as i128
}
