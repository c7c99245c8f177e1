//! The requests of chaos that bench does not send, and their answers.

use std::collections::BTreeMap;

use crate::load::protocol::{Answer, Position, Request, put_i32, put_string};
use crate::workspace::Outcome;

/// `InitProducerId` v1 of a producer without transactions.
pub fn init_producer_id() -> Request {
    let mut body = (-1i16).to_be_bytes().to_vec();
    put_i32(&mut body, 60_000);
    Request::new(22, 1, body)
}

/// The code, producer id and epoch of an `InitProducerId` v1.
pub fn producer_id(mut answer: Answer<'_>) -> Outcome<(i16, i64, i16)> {
    answer.i32()?; // throttle
    Ok((answer.i16()?, answer.i64()?, answer.i16()?))
}

/// `Produce` v8 with `acks=all` of one batch for each of several partitions.
pub fn produce(batches: &[(&str, i32, &[u8])]) -> Request {
    let mut topics: BTreeMap<&str, Vec<(i32, &[u8])>> = BTreeMap::new();
    for (topic, partition, batch) in batches {
        topics.entry(topic).or_default().push((*partition, batch));
    }
    let mut body = (-1i16).to_be_bytes().to_vec();
    body.extend_from_slice(&(-1i16).to_be_bytes());
    put_i32(&mut body, 30_000);
    put_i32(&mut body, topics.len() as i32);
    for (topic, partitions) in topics {
        put_string(&mut body, topic);
        put_i32(&mut body, partitions.len() as i32);
        for (partition, batch) in partitions {
            put_i32(&mut body, partition);
            put_i32(&mut body, batch.len() as i32);
            body.extend_from_slice(batch);
        }
    }
    Request::new(0, 8, body)
}

/// What a `Produce` v8 came to for one partition.
#[derive(Debug)]
pub struct Produced {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The error code.
    pub code: i16,
    /// The offset of the batch's first record.
    pub offset: i64,
}

/// The answer to a `Produce` v8.
pub fn produced(mut answer: Answer<'_>) -> Outcome<Vec<Produced>> {
    let mut all = Vec::new();
    for _ in 0..answer.i32()? {
        let topic = String::from_utf8(answer.string()?.to_vec())?;
        for _ in 0..answer.i32()? {
            let (partition, code, offset) = (answer.i32()?, answer.i16()?, answer.i64()?);
            answer.take(16)?; // append time, log start offset
            for _ in 0..answer.i32()? {
                answer.i32()?;
                answer.string()?;
            }
            answer.string()?;
            all.push(Produced { topic: topic.clone(), partition, code, offset });
        }
    }
    Ok(all)
}

/// `Fetch` v11 of one partition, without a session.
pub fn fetch(topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> Request {
    Request::fetch(topic, &[Position { partition, offset }], max_wait_ms, 4 << 20)
}

/// What a `Fetch` v11 brought of its one partition: error code, high watermark and record batches.
pub fn fetched<'buffer>(mut answer: Answer<'buffer>) -> Outcome<(i16, i64, &'buffer [u8])> {
    answer.i32()?; // throttle
    let code = answer.i16()?;
    answer.i32()?; // session
    if code != 0 || answer.i32()? != 1 {
        return Ok((code, -1, &[]));
    }
    answer.string()?;
    if answer.i32()? != 1 {
        return Err("a fetch of one partition brought another number".into());
    }
    answer.i32()?;
    let (code, high_watermark) = (answer.i16()?, answer.i64()?);
    answer.take(16)?; // last stable offset, log start offset
    let aborted = usize::try_from(answer.i32()?).unwrap_or(0);
    answer.take(16 * aborted)?;
    answer.i32()?; // preferred read replica
    let len = usize::try_from(answer.i32()?).unwrap_or(0);
    Ok((code, high_watermark, answer.take(len)?))
}

/// `ListOffsets` v1 of the first record at or after a time.
pub fn offset_for_time(topic: &str, partition: i32, time: i64) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, -1); // replica id
    put_i32(&mut body, 1);
    put_string(&mut body, topic);
    put_i32(&mut body, 1);
    put_i32(&mut body, partition);
    body.extend_from_slice(&time.to_be_bytes());
    Request::new(2, 1, body)
}

/// The code and offset of a `ListOffsets` v1 of one partition.
pub fn offset_of_time(mut answer: Answer<'_>) -> Outcome<(i16, i64)> {
    answer.i32()?;
    answer.string()?;
    answer.i32()?;
    answer.i32()?;
    let code = answer.i16()?;
    answer.i64()?;
    Ok((code, answer.i64()?))
}

/// `Metadata` v4 of all topics.
pub fn all_topics() -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, -1);
    body.push(0);
    Request::new(3, 4, body)
}

/// The topics of a `Metadata` v4, and for each partition the code and leader.
pub fn topics(mut answer: Answer<'_>) -> Outcome<BTreeMap<String, Vec<(i16, i32)>>> {
    answer.i32()?; // throttle
    for _ in 0..answer.i32()? {
        answer.i32()?;
        answer.string()?;
        answer.i32()?;
        answer.string()?;
    }
    answer.string()?;
    answer.i32()?;
    let mut topics = BTreeMap::new();
    for _ in 0..answer.i32()? {
        answer.i16()?;
        let name = String::from_utf8(answer.string()?.to_vec())?;
        answer.take(1)?;
        let mut partitions = Vec::new();
        for _ in 0..answer.i32()? {
            let code = answer.i16()?;
            answer.i32()?;
            partitions.push((code, answer.i32()?));
            for _ in 0..2 {
                let len = usize::try_from(answer.i32()?)?;
                answer.take(4 * len)?;
            }
        }
        topics.insert(name, partitions);
    }
    Ok(topics)
}

/// `DeleteTopics` v3 of one topic.
pub fn delete_topic(name: &str) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    put_string(&mut body, name);
    put_i32(&mut body, 60_000);
    Request::new(20, 3, body)
}

/// `CreatePartitions` v1 of one topic.
pub fn create_partitions(name: &str, count: i32) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    put_string(&mut body, name);
    put_i32(&mut body, count);
    put_i32(&mut body, -1); // assignments
    put_i32(&mut body, 60_000);
    body.push(0); // validate only
    Request::new(37, 1, body)
}

/// The code of a `CreateTopics` v4, `DeleteTopics` v3 or `CreatePartitions` v1 of one topic.
pub fn topic_code(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.i32()?; // throttle
    if answer.i32()? != 1 {
        return Err("an answer about one topic names another number".into());
    }
    answer.string()?;
    answer.i16()
}

const TOPIC_RESOURCE: u8 = 2;

/// `IncrementalAlterConfigs` v0 that sets one key of one topic.
pub fn set_config(topic: &str, key: &str, value: &str) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    body.push(TOPIC_RESOURCE);
    put_string(&mut body, topic);
    put_i32(&mut body, 1);
    put_string(&mut body, key);
    body.push(0); // set
    put_string(&mut body, value);
    body.push(0); // validate only
    Request::new(44, 0, body)
}

/// The code of an `IncrementalAlterConfigs` v0 of one resource.
pub fn config_code(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.i32()?; // throttle
    if answer.i32()? != 1 {
        return Err("an answer about one resource names another number".into());
    }
    answer.i16()
}

/// `DescribeConfigs` v1 of one key of one topic.
pub fn describe_config(topic: &str, key: &str) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    body.push(TOPIC_RESOURCE);
    put_string(&mut body, topic);
    put_i32(&mut body, 1);
    put_string(&mut body, key);
    body.push(0); // synonyms
    Request::new(32, 1, body)
}

/// The value in a `DescribeConfigs` v1 of one key.
pub fn config_value(mut answer: Answer<'_>) -> Outcome<String> {
    answer.i32()?; // throttle
    answer.i32()?;
    let code = answer.i16()?;
    answer.string()?;
    answer.take(1)?;
    answer.string()?;
    if code != 0 || answer.i32()? != 1 {
        return Err(format!("a config was not described: error {code}").into());
    }
    answer.string()?;
    Ok(String::from_utf8(answer.string()?.to_vec())?)
}
