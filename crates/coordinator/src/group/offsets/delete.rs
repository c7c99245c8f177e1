//! Committed offsets go: because somebody says so, because their topic is gone, or because they are old.

use std::time::Duration;

use ottla_base::{ErrorCode, Str, Timestamp, Uuid};
use ottla_machine::Ticket;
use ottla_metadata::Image;
use ottla_wire::messages::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestTopic};
use ottla_wire::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::super::GroupRecord;
use super::super::deciding::Deciding;
use super::super::kind::Expiry;
use super::super::request::Reply;
use super::super::soft::Timer;
use super::super::streams;
use super::{Committed, tombstone};

/// Deletes offsets of a group as far as no member reads their topics.
pub(in crate::group) fn delete(deciding: &mut Deciding<'_>, request: OffsetDeleteRequest, caller: Ticket) {
    let reply = match delete_offsets(deciding, &request) {
        Ok((records, reply)) => {
            deciding.soft.counts.offset_deletions += records.len() as u64;
            records.into_iter().for_each(|record| deciding.write(record));
            reply
        }
        Err(code) => OffsetDeleteResponse { error_code: code as i16, ..Default::default() },
    };
    deciding.answer(caller, Reply::DeleteOffsets(reply));
}

fn delete_offsets(
    deciding: &Deciding<'_>,
    request: &OffsetDeleteRequest,
) -> Result<(Vec<GroupRecord>, OffsetDeleteResponse), ErrorCode> {
    let group = &request.group_id;
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    deciding.with_group(group, |it| it.check_offset_delete()).unwrap_or(Err(ErrorCode::GroupIdNotFound))?;
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let is_read = deciding.with_group(group, |it| it.is_subscribed_to(&topic.name)).unwrap_or(false);
        if !is_read {
            records.extend(tombstones_of_topic(deciding, group, topic));
        }
        let code = if is_read { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
        let partitions = topic.partitions.iter().map(|it| OffsetDeleteResponsePartition {
            partition_index: it.partition_index,
            error_code: code as i16,
        });
        let (name, partitions) = (topic.name.clone(), partitions.collect());
        topics.push(OffsetDeleteResponseTopic { name, partitions });
    }
    Ok((records, OffsetDeleteResponse { topics, ..Default::default() }))
}

fn tombstones_of_topic(
    deciding: &Deciding<'_>,
    group: &Str,
    topic: &OffsetDeleteRequestTopic,
) -> Vec<GroupRecord> {
    let offsets = &deciding.state.offsets;
    let known = |partition: i32| {
        offsets.get(group, &topic.name, partition).is_some()
            || offsets.is_pending(group, &topic.name, partition)
    };
    let partitions = topic.partitions.iter().map(|it| it.partition_index).filter(|it| known(*it));
    partitions.map(|partition| tombstone(group, &topic.name, partition)).collect()
}

/// Removes the offsets of topics that `before` knew and `after` does not.
pub(in crate::group) fn forget_deleted_topics(deciding: &mut Deciding<'_>, before: &Image, after: &Image) {
    let deleted: Vec<(Str, Uuid)> =
        after.topics.removed_since(&before.topics).map(|it| (it.name.clone(), it.id)).collect();
    if deleted.is_empty() {
        return;
    }
    let mut records = Vec::new();
    for (name, id) in &deleted {
        let is_of = |it: &Committed| it.topic_id == Uuid::ZERO || it.topic_id == *id;
        records.extend(deciding.state.offsets.tombstones_of_topic(name, is_of));
    }
    if !records.is_empty() {
        deciding.each_alone();
        records.into_iter().for_each(|record| deciding.write(record));
    }
}

/// Looks for old offsets again after `offsets.retention.check.interval.ms`.
pub(in crate::group) fn schedule_expiry(deciding: &mut Deciding<'_>) {
    let interval = deciding.settings().groups.offsets_retention_check_interval_ms;
    let interval = Duration::from_millis(u64::try_from(interval).unwrap_or(0));
    deciding.soft.timers.set(Timer::OffsetExpiry, deciding.at.now + interval);
}

/// Removes old offsets, and groups that are empty and have none left (`cleanupGroupMetadata`).
pub(in crate::group) fn expiry_due(deciding: &mut Deciding<'_>) {
    deciding.each_alone();
    for group in deciding.group_ids() {
        let (records, left) = expired(deciding, &group);
        deciding.soft.counts.offset_expirations += records.len() as u64;
        records.into_iter().for_each(|record| deciding.write(record));
        let may_vanish = deciding.with_group(&group, |it| it.is_empty() && it.may_vanish()).unwrap_or(false);
        if left == Left::Nothing && may_vanish {
            let mut records = Vec::new();
            let _ = deciding.with_group(&group, |it| it.tombstones(&group, &mut records));
            records.into_iter().for_each(|record| deciding.write(record));
            deciding.forget_classic(&group, ErrorCode::UnknownMemberId);
            deciding.soft.why.forget(&group);
            streams::forget(deciding, &group);
        }
    }
    schedule_expiry(deciding);
}

/// What a group has after its old offsets are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Something,
}

/// The tombstones of the offsets of a group that are old (`cleanupExpiredOffsets`).
fn expired(deciding: &Deciding<'_>, group: &Str) -> (Vec<GroupRecord>, Left) {
    let offsets = &deciding.state.offsets;
    let mut left = if offsets.has_open_transactions(group) { Left::Something } else { Left::Nothing };
    let mut records = Vec::new();
    let Some(topics) = offsets.of_group(group) else { return (records, left) };
    let expiry = deciding.with_group(group, |it| it.expiry()).unwrap_or(Expiry::FromCommit);
    for (topic, partitions) in topics {
        let is_read = deciding.with_group(group, |it| it.is_subscribed_to(topic)).unwrap_or(false);
        for (partition, committed) in partitions {
            let is_old = !is_read && is_expired(deciding, expiry, committed);
            if is_old && !offsets.is_pending(group, topic, *partition) {
                records.push(tombstone(group, topic, *partition));
            } else {
                left = Left::Something;
            }
        }
    }
    (records, left)
}

fn is_expired(deciding: &Deciding<'_>, expiry: Expiry, committed: &Committed) -> bool {
    let now = deciding.at.wall_clock.get();
    let since = match expiry {
        Expiry::Never => return false,
        Expiry::FromCommit => committed.commit_timestamp,
        Expiry::From(Timestamp(since)) => since,
    };
    if committed.expire_timestamp != -1 {
        return now >= committed.expire_timestamp;
    }
    let retention_ms = i64::from(deciding.settings().groups.offsets_retention_minutes) * 60_000;
    now.saturating_sub(since) >= retention_ms
}
