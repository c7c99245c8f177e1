//! The requests of transactions in the versions that give every transaction an epoch of its own (KIP-890), by hand.

use super::flexible::{flexible, put_count, put_offset, put_text};
use super::protocol::{Answer, Request, put_i32, put_string};
use crate::workspace::Outcome;

/// A producer as its coordinator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The producer id.
    pub id: i64,
    /// The epoch.
    pub epoch: i16,
}

fn put_identity(out: &mut Vec<u8>, identity: Identity) {
    out.extend_from_slice(&identity.id.to_be_bytes());
    out.extend_from_slice(&identity.epoch.to_be_bytes());
}

/// `FindCoordinator` v2.
pub fn find_coordinator(key: &str, key_type: u8) -> Request {
    let mut body = Vec::new();
    put_string(&mut body, key);
    body.push(key_type);
    Request::new(10, 2, body)
}

/// The code of a `FindCoordinator` v2.
pub fn found(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.i32()?;
    answer.i16()
}

/// `InitProducerId` v4.
pub fn init(transactional_id: &str, timeout_ms: i32) -> Request {
    let mut body = flexible();
    put_text(&mut body, transactional_id);
    put_i32(&mut body, timeout_ms);
    put_identity(&mut body, Identity { id: -1, epoch: -1 });
    body.push(0);
    Request::new(22, 4, body)
}

/// The code of an `InitProducerId` v4, and who the producer is.
pub fn initialized(answer: Answer<'_>) -> Outcome<(i16, Identity)> {
    coded_identity(answer)
}

/// `Produce` v12 of one batch.
pub fn produce(transactional_id: &str, topic: &str, partition: i32, batch: &[u8]) -> Request {
    let mut body = flexible();
    put_text(&mut body, transactional_id);
    body.extend_from_slice(&(-1i16).to_be_bytes());
    put_i32(&mut body, 30_000);
    put_count(&mut body, 1);
    put_text(&mut body, topic);
    put_count(&mut body, 1);
    put_i32(&mut body, partition);
    put_count(&mut body, batch.len());
    body.extend_from_slice(batch);
    body.extend_from_slice(&[0; 3]);
    Request::new(0, 12, body)
}

/// The code of a `Produce` v12 of one batch.
pub fn produced(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.take(1)?;
    answer.one()?;
    answer.text()?;
    answer.one()?;
    answer.i32()?;
    answer.i16()
}

/// `TxnOffsetCommit` v5 of one partition.
pub fn commit_offset(
    transactional_id: &str,
    group: &str,
    identity: Identity,
    (topic, partition): (&str, i32),
    offset: i64,
) -> Request {
    let mut body = flexible();
    put_text(&mut body, transactional_id);
    put_text(&mut body, group);
    put_identity(&mut body, identity);
    put_i32(&mut body, -1); // generation
    put_text(&mut body, ""); // member
    body.push(0); // instance
    put_offset(&mut body, topic, partition, offset);
    Request::new(28, 5, body)
}

/// The code of a `TxnOffsetCommit` v5 of one partition.
pub fn offset_committed(mut answer: Answer<'_>) -> Outcome<i16> {
    answer.take(1)?;
    answer.i32()?;
    answer.one()?;
    answer.text()?;
    answer.one()?;
    answer.i32()?;
    answer.i16()
}

/// `EndTxn` v5.
pub fn end(transactional_id: &str, identity: Identity, commit: bool) -> Request {
    let mut body = flexible();
    put_text(&mut body, transactional_id);
    put_identity(&mut body, identity);
    body.push(u8::from(commit));
    body.push(0);
    Request::new(26, 5, body)
}

/// The code of an `EndTxn` v5, and who the producer is in its next transaction.
pub fn ended(answer: Answer<'_>) -> Outcome<(i16, Identity)> {
    coded_identity(answer)
}

/// `OffsetFetch` v5 of one partition.
pub fn offset(group: &str, topic: &str, partition: i32) -> Request {
    let mut body = Vec::new();
    put_string(&mut body, group);
    put_i32(&mut body, 1);
    put_string(&mut body, topic);
    put_i32(&mut body, 1);
    put_i32(&mut body, partition);
    Request::new(9, 5, body)
}

/// The code of an `OffsetFetch` v5 of one partition, and the offset.
pub fn fetched_offset(mut answer: Answer<'_>) -> Outcome<(i16, i64)> {
    answer.i32()?;
    let topics = answer.i32()?;
    if topics != 1 {
        return Ok((answer.i16()?, -1));
    }
    answer.string()?;
    answer.i32()?;
    answer.i32()?;
    let offset = answer.i64()?;
    answer.i32()?;
    answer.string()?;
    let own = answer.i16()?;
    let all = answer.i16()?;
    Ok((if own != 0 { own } else { all }, offset))
}

/// `Fetch` v11 of committed records of one partition.
pub fn fetch(topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> Request {
    let mut body = Vec::new();
    put_i32(&mut body, -1);
    put_i32(&mut body, max_wait_ms);
    put_i32(&mut body, 1);
    put_i32(&mut body, 50 << 20);
    body.push(1); // read committed
    put_i32(&mut body, 0);
    put_i32(&mut body, -1);
    put_i32(&mut body, 1);
    put_string(&mut body, topic);
    put_i32(&mut body, 1);
    put_i32(&mut body, partition);
    put_i32(&mut body, -1);
    body.extend_from_slice(&offset.to_be_bytes());
    body.extend_from_slice(&(-1i64).to_be_bytes());
    put_i32(&mut body, 4 << 20);
    put_i32(&mut body, 0);
    put_string(&mut body, "");
    Request::new(1, 11, body)
}

/// What a `Fetch` v11 brought of its one partition.
pub struct Fetched<'buffer> {
    /// The error code.
    pub code: i16,
    /// The high watermark.
    pub high_watermark: i64,
    /// The last stable offset.
    pub last_stable: i64,
    /// Aborted transactions in what was brought: producer id and first offset.
    pub aborted: Vec<(i64, i64)>,
    /// Record batches.
    pub records: &'buffer [u8],
}

/// The answer to a `Fetch` v11 of one partition.
pub fn fetched<'buffer>(mut answer: Answer<'buffer>) -> Outcome<Fetched<'buffer>> {
    answer.i32()?;
    let code = answer.i16()?;
    answer.i32()?;
    if code != 0 || answer.i32()? != 1 {
        return Ok(Fetched { code, high_watermark: -1, last_stable: -1, aborted: Vec::new(), records: &[] });
    }
    answer.string()?;
    answer.i32()?;
    answer.i32()?;
    let (code, high_watermark, last_stable) = (answer.i16()?, answer.i64()?, answer.i64()?);
    answer.i64()?;
    let mut aborted = Vec::new();
    for _ in 0..answer.i32()?.max(0) {
        aborted.push((answer.i64()?, answer.i64()?));
    }
    answer.i32()?;
    let len = usize::try_from(answer.i32()?).unwrap_or(0);
    Ok(Fetched { code, high_watermark, last_stable, aborted, records: answer.take(len)? })
}

fn coded_identity(mut answer: Answer<'_>) -> Outcome<(i16, Identity)> {
    answer.take(1)?;
    answer.i32()?;
    Ok((answer.i16()?, Identity { id: answer.i64()?, epoch: answer.i16()? }))
}
