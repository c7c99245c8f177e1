//! The requests of members of classic and consumer groups, and of commits, by hand.

use super::flexible::{flexible, put_bytes, put_count, put_none, put_offset, put_text};
use super::protocol::{Answer, Request, put_i32, put_string};
use crate::workspace::Outcome;

const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";

/// `JoinGroup` v9 of a member that reads one topic; `member` is empty for one that has no name yet.
pub fn join(group: &str, member: &str, topic: &str) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_i32(&mut body, SESSION_TIMEOUT_MS);
    put_i32(&mut body, REBALANCE_TIMEOUT_MS);
    put_text(&mut body, member);
    put_none(&mut body); // instance
    put_text(&mut body, PROTOCOL_TYPE);
    put_count(&mut body, 1);
    put_text(&mut body, ASSIGNOR);
    put_bytes(&mut body, &subscription(topic));
    body.extend_from_slice(&[0; 3]); // tags, reason, tags
    Request::new(11, 9, body)
}

/// `ConsumerProtocolSubscription` v0 of one topic.
fn subscription(topic: &str) -> Vec<u8> {
    let mut bytes = vec![0; 2];
    put_i32(&mut bytes, 1);
    put_string(&mut bytes, topic);
    put_i32(&mut bytes, -1);
    bytes
}

/// `ConsumerProtocolAssignment` v0 of some partitions of one topic.
fn assignment(topic: &str, partitions: &[i32]) -> Vec<u8> {
    let mut bytes = vec![0; 2];
    put_i32(&mut bytes, 1);
    put_string(&mut bytes, topic);
    put_i32(&mut bytes, partitions.len() as i32);
    partitions.iter().for_each(|it| put_i32(&mut bytes, *it));
    put_i32(&mut bytes, -1);
    bytes
}

/// What a `JoinGroup` v9 came to.
pub struct Joined {
    /// The error code.
    pub code: i16,
    /// The generation.
    pub generation: i32,
    /// The member's name.
    pub member: String,
    /// All members' names, for the leader alone.
    pub members: Vec<String>,
}

/// The answer to a `JoinGroup` v9.
pub fn joined(mut answer: Answer<'_>) -> Outcome<Joined> {
    answer.tags()?;
    answer.i32()?;
    let (code, generation) = (answer.i16()?, answer.i32()?);
    answer.text()?;
    answer.text()?;
    answer.text()?; // leader
    answer.take(1)?; // skip assignment
    let member = answer.owned_text()?;
    let mut members = Vec::new();
    for _ in 0..answer.count()? {
        members.push(answer.owned_text()?);
        answer.text()?;
        answer.text()?;
        answer.tags()?;
    }
    Ok(Joined { code, generation, member, members })
}

/// `SyncGroup` v5; the leader shares the topic's partitions out among `members`, the others name none.
pub fn sync(joined: &Joined, group: &str, topic: &str, partitions: i32) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_i32(&mut body, joined.generation);
    put_text(&mut body, &joined.member);
    put_none(&mut body); // instance
    put_text(&mut body, PROTOCOL_TYPE);
    put_text(&mut body, ASSIGNOR);
    put_count(&mut body, joined.members.len());
    for (index, member) in joined.members.iter().enumerate() {
        let own: Vec<i32> = (0..partitions).skip(index).step_by(joined.members.len()).collect();
        put_text(&mut body, member);
        put_bytes(&mut body, &assignment(topic, &own));
        put_none(&mut body);
    }
    put_none(&mut body);
    Request::new(14, 5, body)
}

/// `Heartbeat` v4.
pub fn heartbeat(group: &str, generation: i32, member: &str) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_i32(&mut body, generation);
    put_text(&mut body, member);
    body.extend_from_slice(&[0; 2]);
    Request::new(12, 4, body)
}

/// The code of a `SyncGroup` v5, and how many partitions of its one topic the member got.
pub fn synced(mut answer: Answer<'_>) -> Outcome<(i16, usize)> {
    answer.tags()?;
    answer.i32()?;
    let code = answer.i16()?;
    answer.text()?;
    answer.text()?;
    let bytes = answer.text()?;
    if bytes.is_empty() {
        return Ok((code, 0));
    }
    let mut assignment = Answer::of(bytes);
    assignment.i16()?; // version
    assignment.i32()?;
    assignment.string()?;
    Ok((code, usize::try_from(assignment.i32()?)?))
}

/// The code of a `Heartbeat` v4.
pub fn beaten(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.tags()?;
    answer.i32()?;
    answer.i16()
}

/// `LeaveGroup` v5 of one member.
pub fn leave(group: &str, member: &str) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_count(&mut body, 1);
    put_text(&mut body, member);
    body.extend_from_slice(&[0; 4]); // instance, reason, tags, tags
    Request::new(13, 5, body)
}

/// `OffsetCommit` v9 of one partition by nobody's member.
pub fn commit(group: &str, topic: &str, partition: i32, offset: i64) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_i32(&mut body, -1);
    put_text(&mut body, "");
    put_none(&mut body); // instance
    put_offset(&mut body, topic, partition, offset);
    Request::new(8, 9, body)
}

/// The code of an `OffsetCommit` v9 of one partition.
pub fn committed(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.tags()?;
    answer.i32()?;
    answer.one()?;
    answer.text()?;
    answer.one()?;
    answer.i32()?;
    answer.i16()
}

/// Partitions by the id of their topic.
pub type Partitions = Vec<([u8; 16], Vec<i32>)>;

/// `ConsumerGroupHeartbeat` v1. With a topic and what is owned it is a full report, without only a sign of life.
pub fn consumer_heartbeat(
    group: &str,
    member: &str,
    epoch: i32,
    topic: Option<&str>,
    owned: Option<&Partitions>,
) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_text(&mut body, member);
    put_i32(&mut body, epoch);
    body.extend_from_slice(&[0; 2]); // instance, rack
    put_i32(&mut body, if topic.is_some() { REBALANCE_TIMEOUT_MS } else { -1 });
    put_topic(&mut body, topic);
    body.extend_from_slice(&[0; 2]); // regular expression, assignor
    match owned {
        None => put_none(&mut body),
        Some(owned) => {
            put_count(&mut body, owned.len());
            for (topic, partitions) in owned {
                body.extend_from_slice(topic);
                put_count(&mut body, partitions.len());
                partitions.iter().for_each(|it| put_i32(&mut body, *it));
                put_none(&mut body);
            }
        }
    }
    put_none(&mut body);
    Request::new(68, 1, body)
}

/// `ShareGroupHeartbeat` v1.
pub fn share_heartbeat(group: &str, member: &str, epoch: i32, topic: Option<&str>) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_text(&mut body, member);
    put_i32(&mut body, epoch);
    put_none(&mut body); // rack
    put_topic(&mut body, topic);
    put_none(&mut body);
    Request::new(76, 1, body)
}

fn put_topic(body: &mut Vec<u8>, topic: Option<&str>) {
    match topic {
        None => put_none(body),
        Some(topic) => {
            put_count(body, 1);
            put_text(body, topic);
        }
    }
}

/// What a `ConsumerGroupHeartbeat` v1 or `ShareGroupHeartbeat` v1 came to.
pub struct Reported {
    /// The error code.
    pub code: i16,
    /// The member's epoch.
    pub epoch: i32,
    /// What the member shall read, if it was said.
    pub assigned: Option<Partitions>,
}

/// The answer to a `ConsumerGroupHeartbeat` v1 or `ShareGroupHeartbeat` v1.
pub fn reported(mut answer: Answer<'_>) -> Outcome<Reported> {
    answer.tags()?;
    answer.i32()?;
    let code = answer.i16()?;
    answer.text()?;
    answer.text()?;
    let epoch = answer.i32()?;
    answer.i32()?; // interval
    if answer.take(1)?[0] == 0xff {
        return Ok(Reported { code, epoch, assigned: None });
    }
    let mut assigned = Partitions::new();
    for _ in 0..answer.count()? {
        let topic = answer.take(16)?.try_into()?;
        let partitions = (0..answer.count()?).map(|_| answer.i32()).collect::<Outcome<_>>()?;
        answer.tags()?;
        assigned.push((topic, partitions));
    }
    Ok(Reported { code, epoch, assigned: Some(assigned) })
}
