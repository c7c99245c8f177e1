//! Records are given to a member: which, how many, and what is held back because it may be poisonous.

use std::ops::RangeInclusive;

use ottla_base::{Moment, Str};

use super::in_flight::{Batch, RecordState, Run};
use super::{Rules, SharePartition, aborted};

/// A member asks for records that were read from the log.
#[derive(Debug, Clone, Copy)]
pub struct Acquire<'a> {
    /// Who asks.
    pub member: &'a Str,
    /// Whether the limit on records is strict.
    pub mode: AcquireMode,
    /// How many records the ranges that are given out should have at least, where they can be cut between batches.
    pub batch_size: i64,
    /// How many records the member wants.
    pub max_records: i64,
    /// Where reading began.
    pub fetch_offset: i64,
    /// What was read, in order.
    pub fetched: &'a [FetchedBatch],
    /// Which of it is not to be given out ([`super::aborted_batches`]).
    pub aborted: &'a [(i64, i64)],
    /// The time.
    pub now: Moment,
}

/// Whether the limit on records is strict (KIP-1206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireMode {
    /// Batches are given out whole: the limit is a wish.
    Batch,
    /// Never more records than the limit says.
    RecordLimit,
}

/// A batch of the log, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedBatch {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// Whose it is, if it is an idempotent producer's.
    pub producer_id: Option<i64>,
    /// Whether it belongs to a transaction.
    pub is_transactional: bool,
    /// Whether it says that a transaction was aborted.
    pub is_abort_marker: bool,
}

/// Records that a member has acquired, all with the same delivery count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRange {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// How often they were delivered, this time included.
    pub delivery_count: i16,
}

/// From how many deliveries on records are delivered in smaller and smaller portions.
fn throttled_from(max_delivery_count: i16) -> i16 {
    let half = max_delivery_count / 2 + max_delivery_count % 2;
    half.max(LEAST_THROTTLED_DELIVERY_COUNT)
}

/// Fewer deliveries never make a record suspect.
const LEAST_THROTTLED_DELIVERY_COUNT: i16 = 2;

/// What has been acquired so far.
#[derive(Default)]
struct Taken {
    ranges: Vec<AcquiredRange>,
    count: i64,
}

impl Taken {
    fn add(&mut self, ranges: Vec<AcquiredRange>) {
        for range in ranges {
            self.count += range.last - range.first + 1;
            self.ranges.push(range);
        }
    }
}

impl SharePartition {
    /// Where to read next: at the first available record, if there is one before the end.
    pub fn next_fetch_offset(&mut self) -> i64 {
        let after_end = match self.in_flight.last_offset() {
            Some(last) if self.start <= last => self.end + 1,
            _ => {
                self.look_again = false;
                self.end
            }
        };
        if !self.look_again {
            return after_end;
        }
        let found = self.first_available();
        if found.is_none() {
            self.look_again = false;
        }
        found.unwrap_or(after_end)
    }

    fn first_available(&self) -> Option<i64> {
        let gap = self.active_gap();
        let mut gap_start = gap.map(|gap| gap.start);
        for (first, batch) in self.in_flight.batches() {
            if let Some(start) = &mut gap_start {
                if first > *start {
                    return Some(*start);
                }
                *start = (*start).max(batch.last + 1);
            }
            let available = self.in_flight.runs_of(first, batch).find(|(_, run)| run.is_available());
            if let Some((first, _)) = available {
                return Some(first);
            }
        }
        None
    }

    /// Whether there may be something to acquire at all: a record before the end, or room for more.
    pub fn can_acquire(&mut self, rules: &Rules) -> bool {
        self.next_fetch_offset() != self.end + 1 || self.in_flight_records() < rules.max_in_flight
    }

    /// Gives records to a member. What is aborted among them is done with, and not given out.
    pub fn acquire(&mut self, asked: &Acquire<'_>, rules: &Rules) -> Vec<AcquiredRange> {
        let (Some(first_batch), Some(last_batch)) = (asked.fetched.first(), asked.fetched.last()) else {
            return Vec::new();
        };
        if asked.max_records <= 0 || last_batch.last < self.start {
            return Vec::new();
        }
        let (last, max_records) = self.limited(asked, rules, last_batch.last);
        if max_records <= 0 {
            return Vec::new();
        }
        let some_missing = self.archive_missing(asked.fetch_offset, first_batch.first);
        let base = match self.in_flight.floor(first_batch.first) {
            Some((first, batch)) if batch.last >= first_batch.first => first,
            // The beginning may lie within the batch.
            _ => first_batch.first.max(self.start),
        };
        let batches = self.in_flight.batches_from(first_batch.first.min(base)..=last);
        let mut taken = Taken::default();
        match batches.last() {
            None => taken.add(self.acquire_new(asked, rules, base..=last, max_records)),
            Some((_, last_in_flight)) => {
                let after = last_in_flight.last + 1;
                let is_over =
                    self.acquire_known(asked, rules, (base, last), max_records, batches, &mut taken);
                if !is_over && taken.count < max_records && after <= last {
                    let more = max_records - taken.count;
                    taken.add(self.acquire_new(asked, rules, after..=last, more));
                }
                if let Some(range) = taken.ranges.last() {
                    self.gap_filled_until(range.last + 1);
                }
            }
        }
        let ranges = self.without_aborted(taken.ranges, asked.aborted);
        if some_missing {
            // Nobody will acknowledge these either.
            self.advance();
        }
        ranges
    }

    /// Up to which offset records may be acquired, and how many.
    fn limited(&self, asked: &Acquire<'_>, rules: &Rules, last: i64) -> (i64, i64) {
        let room = rules.max_in_flight - self.in_flight_records();
        let max_records = asked.max_records.min(room);
        if max_records > 0 || asked.fetch_offset > self.end {
            return (last, max_records);
        }
        // There is no room, but what is in flight already takes none.
        let in_flight = self.end - asked.fetch_offset + 1;
        (last.min(self.end), asked.max_records.min(in_flight))
    }

    /// What was to be read but is not in the log any more is done with. Says whether there was something.
    fn archive_missing(&mut self, fetch_offset: i64, first_read: i64) -> bool {
        if fetch_offset >= first_read {
            return false;
        }
        let archived = self.archive(fetch_offset..=first_read - 1, RecordState::Available);
        self.delivery_complete_count += archived;
        self.look_again |= archived > 0;
        archived > 0
    }

    /// Records in the state `from` come to an end. Says how many there were.
    pub(super) fn archive(&mut self, range: RangeInclusive<i64>, from: RecordState) -> i64 {
        let mut archived = 0;
        let (low, high) = (*range.start(), *range.end());
        self.in_flight.change(
            range,
            |run| run.state == from,
            |first, run| {
                archived += run.last - first + 1;
                run.archive();
            },
        );
        if archived > 0 {
            for (first, batch) in self.batches_over(low, high) {
                if first < low || batch.last > high {
                    self.in_flight.split(first);
                }
            }
        }
        archived
    }

    /// The batches that have records in a range.
    pub(super) fn batches_over(&self, low: i64, high: i64) -> Vec<(i64, Batch)> {
        let from = match self.in_flight.floor(low) {
            Some((first, batch)) if batch.last >= low => first,
            _ => low,
        };
        self.in_flight.batches_from(from..=high)
    }

    /// Acquires what is in flight already, and what lies in gaps before it. Says whether nothing more may follow.
    fn acquire_known(
        &mut self,
        asked: &Acquire<'_>,
        rules: &Rules,
        (base, last): (i64, i64),
        max_records: i64,
        batches: Vec<(i64, Batch)>,
        taken: &mut Taken,
    ) -> bool {
        let first_read = asked.fetched.first().map_or(base, |it| it.first);
        let mut gap_start = base;
        for (first, batch) in batches {
            if taken.count >= max_records {
                return true;
            }
            if self.active_gap().is_some() {
                if gap_start < first {
                    let more = max_records - taken.count;
                    taken.add(self.acquire_new(asked, rules, gap_start..=first - 1, more));
                }
                gap_start = batch.last + 1;
                if taken.count >= max_records {
                    return true;
                }
            }
            let more = max_records - taken.count;
            let is_whole = first >= first_read && batch.last <= last;
            let is_too_long = asked.mode == AcquireMode::RecordLimit && batch.last - first + 1 > more;
            let is_throttled = self.is_throttled((first, batch), first_read..=last, rules);
            if is_throttled && taken.count > 0 {
                return true;
            }
            if is_whole && !batch.is_split && !is_too_long && !is_throttled {
                taken.add(self.acquire_whole(asked, rules, first, batch));
                continue;
            }
            if !batch.is_split {
                if !self.in_flight.runs_of(first, batch).all(|(_, run)| run.is_available()) {
                    continue;
                }
                self.in_flight.split(first);
            }
            let part = self.acquire_part(asked, rules, (first, batch), first_read..=last, more);
            let is_over = is_throttled && !part.is_empty();
            taken.add(part);
            if is_over {
                return true;
            }
        }
        false
    }

    /// Whether a batch has available records that were delivered suspiciously often.
    fn is_throttled(&self, (first, batch): (i64, Batch), read: RangeInclusive<i64>, rules: &Rules) -> bool {
        let throttled_from = throttled_from(rules.max_delivery_count);
        let is_read =
            |from: i64, run: &Run| !batch.is_split || (run.last >= *read.start() && from <= *read.end());
        self.in_flight.runs_of(first, batch).any(|(from, run)| {
            run.is_available() && run.delivery_count >= throttled_from && is_read(from, run)
        })
    }

    fn acquire_whole(
        &mut self,
        asked: &Acquire<'_>,
        rules: &Rules,
        first: i64,
        batch: Batch,
    ) -> Vec<AcquiredRange> {
        let mut ranges = Vec::new();
        let lock = asked.now + rules.lock_duration;
        self.in_flight.change(first..=batch.last, Run::is_available, |first, run| {
            take(run, asked.member, lock);
            ranges.push(AcquiredRange { first, last: run.last, delivery_count: run.delivery_count });
        });
        if !ranges.is_empty() {
            self.lock_until(lock);
        }
        ranges
    }

    /// Acquires some records of a batch whose records are told apart. A record on its last delivery goes alone, and
    /// after many deliveries the portions become smaller, so that good records are not given up for the sake of a bad
    /// neighbour.
    fn acquire_part(
        &mut self,
        asked: &Acquire<'_>,
        rules: &Rules,
        (first, batch): (i64, Batch),
        read: RangeInclusive<i64>,
        more: i64,
    ) -> Vec<AcquiredRange> {
        let max_delivery_count = rules.max_delivery_count;
        let batch_size = batch.last - first + 1;
        let mut portion = None;
        let mut count = 0;
        let mut picked: Vec<(i64, i64)> = Vec::new();
        for (from, run) in self.in_flight.runs_of(first, batch) {
            let from = from.max(*read.start());
            let to = run.last.min(*read.end());
            if from > to || !run.is_available() {
                continue;
            }
            let is_last_delivery = max_delivery_count > 2 && run.delivery_count == max_delivery_count - 1;
            if is_last_delivery && count > 0 {
                break;
            }
            if run.delivery_count >= throttled_from(max_delivery_count) && portion.is_none() {
                let halvings = run.delivery_count - throttled_from(max_delivery_count) + 1;
                portion = Some((batch_size >> halvings.min(62)).max(1));
            }
            let mut wanted = to - from + 1;
            if is_last_delivery {
                wanted = 1;
            }
            if asked.mode == AcquireMode::RecordLimit {
                wanted = wanted.min(more - count);
            }
            if let Some(portion) = portion.filter(|it| count < *it) {
                wanted = wanted.min(portion - count);
            }
            picked.push((from, from + wanted - 1));
            count += wanted;
            let is_enough = asked.mode == AcquireMode::RecordLimit && count == more;
            if is_last_delivery || is_enough || portion == Some(count) {
                break;
            }
        }
        self.take_picked(asked, rules, &picked)
    }

    fn take_picked(
        &mut self,
        asked: &Acquire<'_>,
        rules: &Rules,
        picked: &[(i64, i64)],
    ) -> Vec<AcquiredRange> {
        let lock = asked.now + rules.lock_duration;
        let mut ranges: Vec<AcquiredRange> = Vec::new();
        for &(from, to) in picked {
            self.in_flight.change(from..=to, Run::is_available, |first, run| {
                take(run, asked.member, lock);
                let delivery_count = run.delivery_count;
                match ranges.last_mut() {
                    Some(before) if before.last + 1 == first && before.delivery_count == delivery_count => {
                        before.last = run.last;
                    }
                    _ => ranges.push(AcquiredRange { first, last: run.last, delivery_count }),
                }
            });
        }
        if !ranges.is_empty() {
            self.lock_until(lock);
        }
        if let (Some(&(from, _)), Some(&(_, to))) = (picked.first(), picked.last()) {
            self.in_flight.join(from..=to);
        }
        ranges
    }

    /// Acquires records that are not in flight yet.
    fn acquire_new(
        &mut self,
        asked: &Acquire<'_>,
        rules: &Rules,
        range: RangeInclusive<i64>,
        max_records: i64,
    ) -> Vec<AcquiredRange> {
        let (mut first, read_last) = range.into_inner();
        if self.in_flight.is_empty() {
            first = first.max(self.end);
        }
        if first > read_last || max_records <= 0 {
            return Vec::new();
        }
        let mut last = read_last;
        if max_records < last - first + 1 {
            // Batches are not torn apart: the last record of the batch in which the limit lies.
            let limit = first + max_records - 1;
            let holding = asked.fetched.iter().find(|it| it.first <= limit && limit <= it.last);
            last = holding.map_or(limit, |it| it.last);
            if self.active_gap().is_some() {
                last = last.min(read_last);
            }
        }
        let ranges = self.add_new(asked, rules, first, last, max_records);
        if self.in_flight.first_offset() == Some(first) {
            self.start = first;
        }
        self.end = self.end.max(last);
        if let Some(range) = ranges.last() {
            self.gap_filled_until(range.last + 1);
        }
        ranges
    }

    fn add_new(
        &mut self,
        asked: &Acquire<'_>,
        rules: &Rules,
        first: i64,
        last: i64,
        max_records: i64,
    ) -> Vec<AcquiredRange> {
        let lock = asked.now + rules.lock_duration;
        self.lock_until(lock);
        let acquired = |first, last| AcquiredRange { first, last, delivery_count: 1 };
        if asked.mode == AcquireMode::RecordLimit {
            let limit = last.min(first + max_records - 1);
            self.in_flight.add_acquired(first, limit, asked.member, lock);
            if limit < last {
                self.in_flight.add_rest(first, limit + 1, last);
                self.look_again = true;
            }
            return vec![acquired(first, limit)];
        }
        let mut ranges = Vec::new();
        let mut from = first;
        let boundaries = asked.fetched.iter().map(|it| it.first).take_while(|it| *it <= last);
        for boundary in boundaries {
            if last - first + 1 > asked.batch_size && boundary - from >= asked.batch_size && boundary > from {
                ranges.push(acquired(from, boundary - 1));
                from = boundary;
            }
        }
        ranges.push(acquired(from, last));
        for range in &ranges {
            self.in_flight.add_acquired(range.first, range.last, asked.member, lock);
        }
        ranges
    }

    /// Takes out what is aborted: it is done with.
    fn without_aborted(
        &mut self,
        ranges: Vec<AcquiredRange>,
        aborted_batches: &[(i64, i64)],
    ) -> Vec<AcquiredRange> {
        if aborted_batches.is_empty() || ranges.is_empty() {
            return ranges;
        }
        let mut archived = 0;
        for &(first, last) in aborted_batches {
            archived += self.archive(first..=last, RecordState::Acquired);
        }
        self.delivery_complete_count += archived;
        if archived > 0 {
            // Nobody will acknowledge these: the beginning moves over them now or, behind others, later.
            self.advance();
        }
        aborted::without(ranges, aborted_batches)
    }
}

fn take(run: &mut Run, member: &Str, lock: Moment) {
    run.state = RecordState::Acquired;
    run.delivery_count = run.delivery_count.saturating_add(1);
    run.member = Some(member.clone());
    run.lock = Some(lock);
}
