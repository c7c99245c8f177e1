//! What is decided, request by request, and what a seat does by itself.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::ErrorCode;
use ottla_machine::{At, Atomicity, Outcome};
use ottla_metadata::controller::Refusal;

use super::request::{
    DeleteState, InitializeState, ReadState, Reply, Request, SharePartitionKey, State, StateSummary,
    WriteState,
};
use super::state::{Copy, SharePartitionState};
use super::{Chore, Effect, ShareCoordinator, ShareFact, ShareRecord, ShareSoft, StateBatch, batches};
use crate::World;

/// How many batches the state of a share partition may have. Far more than records can be in flight, whose number
/// `group.share.partition.max.record.locks` limits.
const MAX_STATE_BATCHES: usize = 1 << 20;

/// How many whole copies one decision writes at most when partitions are cold; the rest follows at once.
const MAX_COPIES_AT_ONCE: usize = 1000;

/// What a decision leads to: records, and what the caller is told.
struct Decided {
    records: Vec<ShareRecord>,
    reply: Reply,
}

/// Decides a request.
pub(super) fn request<T>(
    state: &ShareCoordinator,
    soft: &mut ShareSoft,
    request: Request,
    caller: T,
    at: At,
) -> Outcome<ShareCoordinator, T> {
    let world = soft.world.as_deref();
    let decided = match request {
        Request::SeeWorld(world) => {
            let records = see_world(state, soft, world, at);
            return Outcome {
                atomicity: Atomicity::EachAlone,
                ..Outcome::write(facts(records, at), caller, Reply::SeeWorld)
            };
        }
        Request::Initialize(request) => written(initialize(state, world, &request, at), Reply::Initialize),
        Request::Write(request) => written(write(state, world, &request, at), Reply::Write),
        Request::Delete(request) => written(delete(state, world, &request), Reply::Delete),
        Request::Read(request) => match read(state, world, &request, at) {
            Ok((read, record)) => {
                Decided { records: record.into_iter().collect(), reply: Reply::Read(Ok(read)) }
            }
            Err(refusal) => Decided { records: Vec::new(), reply: Reply::Read(Err(refusal)) },
        },
        Request::ReadSummary(request) => {
            let summary = known(world, &request.key).map(|()| summary(state, &request.key));
            Decided { records: Vec::new(), reply: Reply::ReadSummary(summary) }
        }
    };
    Outcome::write(facts(decided.records, at), caller, decided.reply)
}

/// Does the chore that is due.
pub(super) fn tick<T>(
    state: &ShareCoordinator,
    soft: &mut ShareSoft,
    at: At,
) -> Outcome<ShareCoordinator, T> {
    let (Some(world), Some(chore)) = (soft.world.clone(), soft.chores.pop_due(at.now)) else {
        return Outcome::nothing();
    };
    let mut outcome = Outcome::nothing();
    match chore {
        Chore::Prune => {
            soft.chores.set(Chore::Prune, at.now + prune_interval(&world));
            if let Some(before) = state.copies.needed_from().filter(|it| soft.pruned != Some(*it)) {
                soft.pruned = Some(before);
                outcome.effects.push(Effect::DeleteRecords { before });
            }
        }
        Chore::CopyCold => {
            let interval = cold_interval(&world);
            let records = copies_of_cold(state, interval, at);
            let next = if records.len() == MAX_COPIES_AT_ONCE { Duration::ZERO } else { interval };
            soft.chores.set(Chore::CopyCold, at.now + next);
            outcome.records = facts(records, at);
            outcome.atomicity = Atomicity::EachAlone;
        }
    }
    outcome
}

fn facts(records: Vec<ShareRecord>, at: At) -> Vec<ShareFact> {
    let numbered = (0..).zip(records);
    numbered.map(|(n, record)| ShareFact { offset: at.end.after(n), record }).collect()
}

fn written(result: Result<Option<ShareRecord>, Refusal>, reply: fn(Result<(), Refusal>) -> Reply) -> Decided {
    match result {
        Ok(record) => Decided { records: record.into_iter().collect(), reply: reply(Ok(())) },
        Err(refusal) => Decided { records: Vec::new(), reply: reply(Err(refusal)) },
    }
}

/// The state of partitions whose topic is gone goes too.
fn see_world(state: &ShareCoordinator, soft: &mut ShareSoft, world: Arc<World>, at: At) -> Vec<ShareRecord> {
    if soft.chores.get(&Chore::Prune).is_none() {
        soft.chores.set(Chore::Prune, at.now + prune_interval(&world));
        soft.chores.set(Chore::CopyCold, at.now + cold_interval(&world));
    }
    let Some(before) = soft.world.replace(world.clone()) else { return Vec::new() };
    let gone = |key: &&SharePartitionKey| {
        world.image.topics.get(key.topic).is_none() && before.image.topics.get(key.topic).is_some()
    };
    state.partitions.keys().filter(gone).map(ShareRecord::tombstone).collect()
}

fn prune_interval(world: &World) -> Duration {
    millis(world.settings.share_groups.share_coordinator_state_topic_prune_interval_ms)
}

fn cold_interval(world: &World) -> Duration {
    millis(world.settings.share_groups.share_coordinator_cold_partition_snapshot_interval_ms)
}

fn millis(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

/// Whole copies of what has not been written whole for `interval`. Where every partition already has a copy that was
/// made for this reason, nothing happens on this log and nothing needs to be written.
fn copies_of_cold(state: &ShareCoordinator, interval: Duration, at: At) -> Vec<ShareRecord> {
    let is_copied = |it: &SharePartitionState| it.copy.create_timestamp != it.copy.write_timestamp;
    if state.partitions.values().all(is_copied) {
        return Vec::new();
    }
    let wall_clock = at.wall_clock.get();
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let is_cold =
        |it: &SharePartitionState| wall_clock.saturating_sub(it.copy.write_timestamp) >= interval_ms;
    let cold = state.partitions.iter().filter(|(_, it)| is_cold(it)).take(MAX_COPIES_AT_ONCE);
    cold.map(|(key, it)| {
        let copy = Copy {
            snapshot_epoch: it.copy.snapshot_epoch.wrapping_add(1),
            write_timestamp: wall_clock,
            ..it.copy.clone()
        };
        ShareRecord::snapshot(key, &copy)
    })
    .collect()
}

/// Whether a partition is there.
fn known(world: Option<&World>, key: &SharePartitionKey) -> Result<(), Refusal> {
    not_negative(key.partition, NEGATIVE_PARTITION)?;
    let topic = world.and_then(|it| it.image.topics.get(key.topic));
    match topic {
        Some(topic) if key.partition < topic.partition_count => Ok(()),
        _ => Err(Refusal::in_common_words(ErrorCode::UnknownTopicOrPartition)),
    }
}

fn not_negative(number: i32, otherwise: &'static str) -> Result<(), Refusal> {
    if number < 0 { Err(Refusal::new(ErrorCode::InvalidRequest, otherwise)) } else { Ok(()) }
}

fn not_fenced(told: i32, seen: i32, code: ErrorCode) -> Result<(), Refusal> {
    if told < seen { Err(Refusal::in_common_words(code)) } else { Ok(()) }
}

const NEGATIVE_PARTITION: &str = "The partition id cannot be a negative number.";
const NEGATIVE_LEADER_EPOCH: &str = "The leader epoch cannot be a negative number.";
const NEGATIVE_STATE_EPOCH: &str = "The state epoch cannot be a negative number.";

fn initialize(
    state: &ShareCoordinator,
    world: Option<&World>,
    request: &InitializeState,
    at: At,
) -> Result<Option<ShareRecord>, Refusal> {
    not_negative(request.key.partition, NEGATIVE_PARTITION)?;
    not_negative(request.state_epoch, NEGATIVE_STATE_EPOCH)?;
    let before = state.partitions.get(&request.key);
    if let Some(before) = before {
        not_fenced(request.state_epoch, before.state_epoch_seen, ErrorCode::FencedStateEpoch)?;
    }
    known(world, &request.key)?;
    let copy = Copy {
        snapshot_epoch: before.map_or(0, |it| it.copy.snapshot_epoch.wrapping_add(1)),
        state_epoch: request.state_epoch,
        leader_epoch: 0,
        start_offset: request.start_offset,
        // Before anything was read nobody can say how many records lie behind.
        delivery_complete_count: if request.start_offset == -1 { -1 } else { 0 },
        create_timestamp: at.wall_clock.get(),
        write_timestamp: at.wall_clock.get(),
        batches: Vec::new(),
    };
    Ok(Some(ShareRecord::snapshot(&request.key, &copy)))
}

fn read(
    state: &ShareCoordinator,
    world: Option<&World>,
    request: &ReadState,
    at: At,
) -> Result<(State, Option<ShareRecord>), Refusal> {
    not_negative(request.key.partition, NEGATIVE_PARTITION)?;
    not_negative(request.leader_epoch, NEGATIVE_LEADER_EPOCH)?;
    let Some(before) = state.partitions.get(&request.key) else {
        let words = "Read operation on uninitialized share partition not allowed.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    };
    not_fenced(request.leader_epoch, before.leader_epoch_seen, ErrorCode::FencedLeaderEpoch)?;
    known(world, &request.key)?;
    let copy = &before.copy;
    let answer = State {
        state_epoch: copy.state_epoch,
        start_offset: copy.start_offset,
        batches: copy.batches.clone(),
    };
    if request.leader_epoch == before.leader_epoch_seen {
        return Ok((answer, None));
    }
    // The record fences off leaders that have not heard of the new one.
    let change = Change {
        start_offset: copy.start_offset,
        delivery_complete_count: copy.delivery_complete_count,
        leader_epoch: request.leader_epoch,
        batches: &[],
    };
    Ok((answer, Some(changed(&request.key, before, &change, updates_per_copy(world), at))))
}

fn write(
    state: &ShareCoordinator,
    world: Option<&World>,
    request: &WriteState,
    at: At,
) -> Result<Option<ShareRecord>, Refusal> {
    not_negative(request.key.partition, NEGATIVE_PARTITION)?;
    not_negative(request.leader_epoch, NEGATIVE_LEADER_EPOCH)?;
    not_negative(request.state_epoch, NEGATIVE_STATE_EPOCH)?;
    let Some(before) = state.partitions.get(&request.key) else {
        let words = "Write operation on uninitialized share partition not allowed.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    };
    not_fenced(request.leader_epoch, before.leader_epoch_seen, ErrorCode::FencedLeaderEpoch)?;
    not_fenced(request.state_epoch, before.state_epoch_seen, ErrorCode::FencedStateEpoch)?;
    known(world, &request.key)?;
    if before.copy.batches.len() + request.batches.len() > MAX_STATE_BATCHES {
        let words = "The state of the share partition has too many batches.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    }
    let change = Change {
        start_offset: request.start_offset,
        delivery_complete_count: request.delivery_complete_count,
        leader_epoch: before.copy.leader_epoch,
        batches: &request.batches,
    };
    Ok(Some(changed(&request.key, before, &change, updates_per_copy(world), at)))
}

fn updates_per_copy(world: Option<&World>) -> u32 {
    let settings = world.map(|it| &it.settings.share_groups);
    settings
        .map_or(0, |it| u32::try_from(it.share_coordinator_snapshot_update_records_per_snapshot).unwrap_or(0))
}

struct Change<'a> {
    start_offset: i64,
    delivery_complete_count: i32,
    leader_epoch: i32,
    batches: &'a [StateBatch],
}

/// A change as the record that tells of it: a whole copy, if there were enough changes since the last one. Changes may
/// arrive out of order: what is behind a later one takes nothing back.
fn changed(
    key: &SharePartitionKey,
    before: &SharePartitionState,
    change: &Change<'_>,
    updates_per_copy: u32,
    at: At,
) -> ShareRecord {
    let copy = &before.copy;
    let start_offset = change.start_offset.max(copy.start_offset);
    let delivery_complete_count = match change.start_offset.cmp(&copy.start_offset) {
        Ordering::Less => copy.delivery_complete_count,
        Ordering::Equal => change.delivery_complete_count.max(copy.delivery_complete_count),
        Ordering::Greater => change.delivery_complete_count,
    };
    if before.updates >= updates_per_copy {
        let copy = Copy {
            snapshot_epoch: copy.snapshot_epoch.wrapping_add(1),
            state_epoch: copy.state_epoch,
            leader_epoch: change.leader_epoch,
            start_offset,
            delivery_complete_count,
            create_timestamp: at.wall_clock.get(),
            write_timestamp: at.wall_clock.get(),
            batches: batches::combine(&copy.batches, change.batches, start_offset),
        };
        return ShareRecord::snapshot(key, &copy);
    }
    let update = Copy {
        snapshot_epoch: copy.snapshot_epoch,
        state_epoch: copy.state_epoch,
        leader_epoch: change.leader_epoch,
        start_offset,
        delivery_complete_count,
        create_timestamp: 0,
        write_timestamp: 0,
        batches: batches::combine(&[], change.batches, start_offset),
    };
    ShareRecord::update(key, &update)
}

fn delete(
    state: &ShareCoordinator,
    world: Option<&World>,
    request: &DeleteState,
) -> Result<Option<ShareRecord>, Refusal> {
    known(world, &request.key)?;
    Ok(state.partitions.contains_key(&request.key).then(|| ShareRecord::tombstone(&request.key)))
}

fn summary(state: &ShareCoordinator, key: &SharePartitionKey) -> StateSummary {
    state.partitions.get(key).map_or_else(StateSummary::default, |it| StateSummary {
        state_epoch: it.copy.state_epoch,
        leader_epoch: it.copy.leader_epoch,
        start_offset: it.copy.start_offset,
        delivery_complete_count: it.copy.delivery_complete_count,
    })
}
