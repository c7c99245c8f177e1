//! Topics changed and looked into: settings, and where a log's parts end.

use super::flexible::{flexible, put_count, put_none, put_text};
use super::protocol::{Answer, Request, put_i32, put_string};
use crate::workspace::Outcome;

/// As `ListOffsets` calls the last offset that is in tiered storage (KIP-1005).
pub const LATEST_TIERED: i64 = -5;

/// `IncrementalAlterConfigs` v0 that sets settings of one topic.
pub fn set_topic(topic: &str, configs: &[(&str, &str)]) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    body.push(2); // a topic
    put_string(&mut body, topic);
    put_i32(&mut body, configs.len() as i32);
    for (key, value) in configs {
        put_string(&mut body, key);
        body.push(0); // set
        put_string(&mut body, value);
    }
    body.push(0); // validate only
    Request::new(44, 0, body)
}

/// Fails if an `IncrementalAlterConfigs` v0 was refused.
pub fn was_set(mut answer: Answer<'_>) -> Outcome {
    answer.i32()?; // throttle
    for _ in 0..answer.i32()? {
        let code = answer.i16()?;
        let reason = String::from_utf8_lossy(answer.string()?).into_owned();
        answer.take(1)?;
        answer.string()?;
        if code != 0 {
            return Err(format!("settings were refused with error {code}: {reason}").into());
        }
    }
    Ok(())
}

/// `ListOffsets` v9 of every partition of one topic at one time, or at one of the places with a negative number.
pub fn list_offsets(topic: &str, partitions: i32, timestamp: i64) -> Request {
    let mut body = flexible();
    put_i32(&mut body, -1); // replica id
    body.push(0); // isolation level
    put_count(&mut body, 1);
    put_text(&mut body, topic);
    put_count(&mut body, partitions as usize);
    for partition in 0..partitions {
        put_i32(&mut body, partition);
        put_i32(&mut body, -1); // current leader epoch
        body.extend_from_slice(&timestamp.to_be_bytes());
        put_none(&mut body);
    }
    body.extend_from_slice(&[0; 2]); // tags of the topic, and of all
    Request::new(2, 9, body)
}

/// The offsets of a `ListOffsets` v9 by partition; -1 where there is none.
pub fn listed(mut answer: Answer<'_>, partitions: i32) -> Outcome<Vec<i64>> {
    let mut offsets = vec![-1; partitions as usize];
    answer.tags()?;
    answer.i32()?; // throttle
    answer.one()?;
    answer.text()?;
    for _ in 0..answer.count()? {
        let partition = usize::try_from(answer.i32()?)?;
        let code = answer.i16()?;
        answer.i64()?;
        let offset = answer.i64()?;
        answer.i32()?; // leader epoch
        answer.tags()?;
        if code != 0 {
            return Err(format!("offsets were not listed: error {code}").into());
        }
        *offsets.get_mut(partition).ok_or("an offset of a partition that was not asked for")? = offset;
    }
    Ok(offsets)
}
