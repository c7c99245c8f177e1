//! The requests of a member of a share group, by hand.

use super::flexible::{flexible, put_count, put_none, put_text};
use super::groups::Partitions;
use super::protocol::{Answer, Request, put_i32, put_string};
use crate::workspace::Outcome;

const ACCEPT: u8 = 1;
const GROUP_RESOURCE: u8 = 32;

/// Records that a member has acquired: topic, partition, first and last offset.
pub type Acquired = Vec<([u8; 16], i32, i64, i64)>;

/// `IncrementalAlterConfigs` v0 that lets a share group begin with the oldest record.
pub fn begin_with_the_oldest(group: &str) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    body.push(GROUP_RESOURCE);
    put_string(&mut body, group);
    put_i32(&mut body, 1);
    put_string(&mut body, "share.auto.offset.reset");
    body.push(0); // set
    put_string(&mut body, "earliest");
    body.push(0); // validate only
    Request::new(44, 0, body)
}

/// `ShareFetch` v1 of all assigned partitions in one session, which accepts what was acquired before.
pub fn fetch(
    group: &str,
    member: &str,
    session_epoch: i32,
    assigned: &Partitions,
    accepted: &Acquired,
) -> Request {
    let mut body = flexible();
    put_text(&mut body, group);
    put_text(&mut body, member);
    put_i32(&mut body, session_epoch);
    put_i32(&mut body, 500); // longest wait
    put_i32(&mut body, 1);
    put_i32(&mut body, 50 << 20);
    put_i32(&mut body, 500); // records
    put_i32(&mut body, 500); // of one batch
    put_count(&mut body, assigned.len());
    for (topic, partitions) in assigned {
        body.extend_from_slice(topic);
        put_count(&mut body, partitions.len());
        for partition in partitions {
            put_i32(&mut body, *partition);
            let own = || accepted.iter().filter(|it| it.0 == *topic && it.1 == *partition);
            put_count(&mut body, own().count());
            for (_, _, first, last) in own() {
                body.extend_from_slice(&first.to_be_bytes());
                body.extend_from_slice(&last.to_be_bytes());
                put_count(&mut body, 1);
                body.push(ACCEPT);
                put_none(&mut body);
            }
            put_none(&mut body);
        }
        put_none(&mut body);
    }
    put_count(&mut body, 0);
    put_none(&mut body);
    Request::new(78, 1, body)
}

/// What a `ShareFetch` v1 brought.
pub struct Fetched {
    /// The error code, of the whole or of any partition or acknowledgement.
    pub code: i16,
    /// What the member holds now.
    pub acquired: Acquired,
    /// The bytes of record batches.
    pub bytes: usize,
}

/// The answer to a `ShareFetch` v1.
pub fn fetched(mut answer: Answer<'_>) -> Outcome<Fetched> {
    answer.tags()?;
    answer.i32()?;
    let mut code = answer.i16()?;
    answer.text()?;
    answer.i32()?; // how long a lock holds
    let mut acquired = Acquired::new();
    let mut bytes = 0;
    for _ in 0..answer.count()? {
        let topic: [u8; 16] = answer.take(16)?.try_into()?;
        for _ in 0..answer.count()? {
            let partition = answer.i32()?;
            let own = answer.i16()?;
            answer.text()?;
            let acknowledged = answer.i16()?;
            answer.text()?;
            answer.take(8)?; // leader
            answer.tags()?;
            bytes += answer.text()?.len();
            for _ in 0..answer.count()? {
                acquired.push((topic, partition, answer.i64()?, answer.i64()?));
                answer.i16()?;
                answer.tags()?;
            }
            answer.tags()?;
            code = [code, own, acknowledged].into_iter().find(|it| *it != 0).unwrap_or(0);
        }
        answer.tags()?;
    }
    Ok(Fetched { code, acquired, bytes })
}
