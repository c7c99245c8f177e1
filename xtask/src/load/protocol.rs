//! The few requests that bench and chaos need, written by hand on a raw connection.
//!
//! It is not Ottla's client on purpose: a mistake there must not hide in a measurement. All versions used are
//! the last before the flexible ones, which every broker since 2.1 speaks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::workspace::Outcome;

/// A connection that sends frames and reads frames, nothing more.
pub struct Connection {
    stream: TcpStream,
    correlation_id: i32,
    /// The frame last sent, kept for its memory.
    frame: Vec<u8>,
}

/// The largest answer this driver takes.
const MAX_ANSWER: usize = 256 << 20;

impl Connection {
    /// Connects to `127.0.0.1:port`.
    pub fn open(port: u16) -> Outcome<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Connection { stream, correlation_id: 0, frame: Vec::new() })
    }

    /// Waits at most this long for each answer.
    pub fn set_patience(&self, limit: Duration) -> Outcome {
        Ok(self.stream.set_read_timeout(Some(limit))?)
    }

    /// A second handle on the same socket, for a thread of its own.
    pub fn split(&self) -> Outcome<Connection> {
        Ok(Connection { stream: self.stream.try_clone()?, correlation_id: 0, frame: Vec::new() })
    }

    /// Sends one request; its answer must be read in turn.
    pub fn send(&mut self, request: &Request) -> Outcome {
        request.write(self.correlation_id, &mut self.frame)?;
        self.correlation_id += 1;
        self.stream.write_all(&self.frame)?;
        Ok(())
    }

    /// Reads one answer into `buffer` and returns what follows the correlation id.
    pub fn receive<'buffer>(&mut self, buffer: &'buffer mut Vec<u8>) -> Outcome<Answer<'buffer>> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let len = answer_len(len)?;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        self.stream.read_exact(&mut buffer[..len])?;
        Ok(Answer { bytes: &buffer[4..len] })
    }

    /// Sends one request and reads its answer.
    pub fn ask<'buffer>(
        &mut self,
        request: &Request,
        buffer: &'buffer mut Vec<u8>,
    ) -> Outcome<Answer<'buffer>> {
        self.send(request)?;
        self.receive(buffer)
    }
}

/// A connection of one of many tasks on one thread: a thousand members take little of the processor from the server.
pub struct SharedConnection {
    stream: tokio::net::TcpStream,
    correlation_id: i32,
    /// The frame last sent, then the one last received.
    frame: Vec<u8>,
}

impl SharedConnection {
    /// The same connection, served by the runtime in which this is called.
    pub fn of(connection: Connection) -> Outcome<SharedConnection> {
        let Connection { stream, correlation_id, frame } = connection;
        stream.set_nonblocking(true)?;
        Ok(SharedConnection { stream: tokio::net::TcpStream::from_std(stream)?, correlation_id, frame })
    }

    /// Sends one request and reads its answer.
    pub async fn ask(&mut self, request: &Request) -> Outcome<Answer<'_>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let SharedConnection { stream, correlation_id, frame } = self;
        request.write(*correlation_id, frame)?;
        *correlation_id += 1;
        stream.write_all(frame).await?;
        frame.clear();
        loop {
            if let Some(prefix) = frame.first_chunk::<4>() {
                let len = answer_len(*prefix)?;
                if frame.len() >= 4 + len {
                    return Ok(Answer { bytes: &frame[8..4 + len] });
                }
                frame.reserve(4 + len - frame.len());
            }
            if stream.read_buf(frame).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

/// How long an answer is that announces itself so.
fn answer_len(prefix: [u8; 4]) -> Outcome<usize> {
    let len = usize::try_from(i32::from_be_bytes(prefix))?;
    if (4..=MAX_ANSWER).contains(&len) { Ok(len) } else { Err(format!("an answer of {len} bytes").into()) }
}

/// A request without its header.
pub struct Request {
    key: i16,
    version: i16,
    body: Vec<u8>,
}

/// Where to read next, and up to how much.
#[derive(Clone, Copy)]
pub struct Position {
    /// The partition's index.
    pub partition: i32,
    /// The first offset wanted.
    pub offset: i64,
}

impl Request {
    /// The whole frame, in the place of what was there.
    fn write(&self, correlation_id: i32, frame: &mut Vec<u8>) -> Outcome {
        frame.clear();
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&self.key.to_be_bytes());
        frame.extend_from_slice(&self.version.to_be_bytes());
        frame.extend_from_slice(&correlation_id.to_be_bytes());
        put_string(frame, "xtask");
        frame.extend_from_slice(&self.body);
        let len = i32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    /// A request of any kind.
    pub fn new(key: i16, version: i16, body: Vec<u8>) -> Request {
        Request { key, version, body }
    }

    /// `CreateTopics` v4 for one topic with one replica.
    pub fn create_topic(name: &str, partitions: i32) -> Request {
        Request::create_topics(&[name.to_owned()], partitions)
    }

    /// `CreateTopics` v4 for several topics with one replica each.
    pub fn create_topics(names: &[String], partitions: i32) -> Request {
        Request::create_topics_with(names, partitions, &[])
    }

    /// The same with settings.
    pub fn create_topics_with(names: &[String], partitions: i32, configs: &[(&str, &str)]) -> Request {
        let mut body = Vec::new();
        put_i32(&mut body, names.len() as i32);
        for name in names {
            put_string(&mut body, name);
            put_i32(&mut body, partitions);
            body.extend_from_slice(&1i16.to_be_bytes());
            put_i32(&mut body, 0); // assignments
            put_i32(&mut body, configs.len() as i32);
            for (key, value) in configs {
                put_string(&mut body, key);
                put_string(&mut body, value);
            }
        }
        put_i32(&mut body, 60_000);
        body.push(0); // validate only
        Request { key: 19, version: 4, body }
    }

    /// `Metadata` v4 for one topic, creating nothing.
    pub fn metadata(topic: &str) -> Request {
        let mut body = Vec::new();
        put_i32(&mut body, 1);
        put_string(&mut body, topic);
        body.push(0);
        Request { key: 3, version: 4, body }
    }

    /// `Produce` v8 of one batch to one partition.
    pub fn produce(topic: &str, partition: i32, acks: i16, batch: &[u8]) -> Request {
        let mut body = Vec::with_capacity(batch.len() + 64);
        body.extend_from_slice(&(-1i16).to_be_bytes()); // transactional id
        body.extend_from_slice(&acks.to_be_bytes());
        put_i32(&mut body, 30_000);
        put_i32(&mut body, 1);
        put_string(&mut body, topic);
        put_i32(&mut body, 1);
        put_i32(&mut body, partition);
        put_i32(&mut body, batch.len() as i32);
        body.extend_from_slice(batch);
        Request { key: 0, version: 8, body }
    }

    /// `Fetch` v11 without a session.
    pub fn fetch(topic: &str, positions: &[Position], max_wait_ms: i32, partition_max_bytes: i32) -> Request {
        let mut body = Vec::new();
        put_i32(&mut body, -1); // replica id
        put_i32(&mut body, max_wait_ms);
        put_i32(&mut body, 1); // min bytes
        put_i32(&mut body, 50 << 20);
        body.push(0); // isolation level
        put_i32(&mut body, 0); // session id
        put_i32(&mut body, -1); // session epoch
        put_i32(&mut body, 1);
        put_string(&mut body, topic);
        put_i32(&mut body, positions.len() as i32);
        for position in positions {
            put_i32(&mut body, position.partition);
            put_i32(&mut body, -1); // current leader epoch
            body.extend_from_slice(&position.offset.to_be_bytes());
            body.extend_from_slice(&(-1i64).to_be_bytes()); // log start offset
            put_i32(&mut body, partition_max_bytes);
        }
        put_i32(&mut body, 0); // forgotten
        put_string(&mut body, "");
        Request { key: 1, version: 11, body }
    }
}

/// Appends an INT32.
pub fn put_i32(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a STRING.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The body of an answer.
pub struct Answer<'buffer> {
    bytes: &'buffer [u8],
}

/// What a fetch brought of one partition.
pub struct Fetched<'buffer> {
    /// The partition's index.
    pub partition: i32,
    /// The record batches; the last may be cut off.
    pub records: &'buffer [u8],
}

impl<'buffer> Answer<'buffer> {
    /// Bytes within an answer that are read in the same way.
    pub fn of(bytes: &'buffer [u8]) -> Answer<'buffer> {
        Answer { bytes }
    }

    /// The next bytes.
    pub fn take(&mut self, len: usize) -> Outcome<&'buffer [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or("an answer ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next INT16.
    pub fn i16(&mut self) -> Outcome<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    /// The next INT32.
    pub fn i32(&mut self) -> Outcome<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    /// The next INT64.
    pub fn i64(&mut self) -> Outcome<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// The next STRING; nothing if it is null.
    pub fn string(&mut self) -> Outcome<&'buffer [u8]> {
        match usize::try_from(self.i16()?) {
            Ok(len) => self.take(len),
            Err(_) => Ok(&[]),
        }
    }

    /// The next zigzag VARLONG.
    pub fn varint(&mut self) -> Outcome<i64> {
        let mut zigzag = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        Err("a varint does not end".into())
    }

    /// The base offset that a `Produce` v8 was given; fails on any error code.
    pub fn produced(mut self) -> Outcome<i64> {
        self.i32()?;
        self.string()?;
        self.i32()?;
        self.i32()?;
        match self.i16()? {
            0 => self.i64(),
            code => Err(format!("produce was refused with error {code}").into()),
        }
    }

    /// Fails if a `CreateTopics` v4 was refused for any topic.
    pub fn created(mut self) -> Outcome {
        self.i32()?; // throttle
        for _ in 0..self.i32()? {
            self.string()?;
            let code = self.i16()?;
            self.string()?;
            if code != 0 {
                return Err(format!("a topic was refused with error {code}").into());
            }
        }
        Ok(())
    }

    /// How many partitions of a `Metadata` v4 for one topic have a leader.
    pub fn led_partitions(mut self) -> Outcome<usize> {
        self.i32()?; // throttle
        for _ in 0..self.i32()? {
            self.i32()?;
            self.string()?;
            self.i32()?;
            self.string()?;
        }
        self.string()?;
        self.i32()?;
        let mut led = 0;
        for _ in 0..self.i32()? {
            self.i16()?;
            self.string()?;
            self.take(1)?;
            for _ in 0..self.i32()? {
                let code = self.i16()?;
                self.i32()?;
                let leader = self.i32()?;
                for _ in 0..2 {
                    let len = usize::try_from(self.i32()?)?;
                    self.take(4 * len)?;
                }
                led += usize::from(code == 0 && leader >= 0);
            }
        }
        Ok(led)
    }

    /// What a `Fetch` v11 brought; fails on any error code.
    pub fn fetched(mut self) -> Outcome<Vec<Fetched<'buffer>>> {
        self.i32()?; // throttle
        let code = self.i16()?;
        self.i32()?; // session
        let mut all = Vec::new();
        for _ in 0..self.i32()? {
            self.string()?;
            for _ in 0..self.i32()? {
                let partition = self.i32()?;
                let code = self.i16()?;
                if code != 0 {
                    return Err(format!("fetch was refused with error {code}").into());
                }
                self.take(24)?; // high watermark, last stable offset, log start offset
                let aborted = usize::try_from(self.i32()?).unwrap_or(0);
                self.take(16 * aborted)?;
                self.i32()?; // preferred read replica
                let len = usize::try_from(self.i32()?).unwrap_or(0);
                all.push(Fetched { partition, records: self.take(len)? });
            }
        }
        if code != 0 {
            return Err(format!("fetch was refused with error {code}").into());
        }
        Ok(all)
    }
}

/// Milliseconds since 1970. A producer whose last batch is a day old is forgotten, so batches bear the true time.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64)
}

/// Who wrote a batch and where it stands among the writer's batches for its partition.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    /// The identifier that `InitProducerId` gave, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
}

impl Sequence {
    /// A writer that is not idempotent.
    pub const NONE: Sequence = Sequence { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

/// One v2 batch with `records` values of `value_len` bytes each, CRC included.
pub fn batch(records: usize, value_len: usize, timestamp: i64) -> Vec<u8> {
    // Not all the same byte, so that nothing on the way can cheat.
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut value = || {
        let next = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..value_len).map(next).collect::<Vec<u8>>()
    };
    let values: Vec<Vec<u8>> = (0..records).map(|_| value()).collect();
    batch_of(&values, timestamp, Sequence::NONE)
}

/// One v2 batch of these values, CRC included.
pub fn batch_of(values: &[Vec<u8>], timestamp: i64, sequence: Sequence) -> Vec<u8> {
    let records: Vec<_> = values.iter().map(|it| (None, it.as_slice())).collect();
    batch_with_keys(&records, timestamp, sequence)
}

/// One v2 batch of these keys and values, CRC included.
pub fn batch_with_keys(records: &[(Option<&[u8]>, &[u8])], timestamp: i64, sequence: Sequence) -> Vec<u8> {
    let mut body = Vec::with_capacity(records.iter().map(|it| it.1.len() + 32).sum());
    let mut record = Vec::new();
    for (index, (key, value)) in records.iter().enumerate() {
        record.clear();
        record.push(0); // attributes
        put_varint(&mut record, 0);
        put_varint(&mut record, index as i64);
        match key {
            Some(key) => {
                put_varint(&mut record, key.len() as i64);
                record.extend_from_slice(key);
            }
            None => put_varint(&mut record, -1),
        }
        put_varint(&mut record, value.len() as i64);
        record.extend_from_slice(value);
        put_varint(&mut record, 0); // headers
        put_varint(&mut body, record.len() as i64);
        body.extend_from_slice(&record);
    }
    let records = records.len();
    let mut covered = Vec::with_capacity(40 + body.len());
    covered.extend_from_slice(&0i16.to_be_bytes());
    put_i32(&mut covered, records as i32 - 1);
    covered.extend_from_slice(&timestamp.to_be_bytes());
    covered.extend_from_slice(&timestamp.to_be_bytes());
    covered.extend_from_slice(&sequence.producer_id.to_be_bytes());
    covered.extend_from_slice(&sequence.producer_epoch.to_be_bytes());
    put_i32(&mut covered, sequence.base_sequence);
    put_i32(&mut covered, records as i32);
    covered.extend_from_slice(&body);
    let mut batch = Vec::with_capacity(21 + covered.len());
    batch.extend_from_slice(&0i64.to_be_bytes());
    put_i32(&mut batch, (covered.len() + 9) as i32);
    put_i32(&mut batch, -1); // partition leader epoch
    batch.push(2);
    batch.extend_from_slice(&crc32c(&covered).to_be_bytes());
    batch.extend_from_slice(&covered);
    batch
}

/// Makes a batch part of its producer's transaction.
pub fn mark_transactional(batch: &mut [u8]) {
    batch[22] |= 0x10;
    let sum = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'bytes> {
    /// Its offset.
    pub offset: i64,
    /// Its key, if it has one.
    pub key: Option<&'bytes [u8]>,
    /// Its value; empty if it has none.
    pub value: &'bytes [u8],
}

/// The records in the whole batches of `bytes`, also where some are missing; fails on bytes that are not what their
/// checksum says, and on compressed ones.
pub fn records(mut bytes: &[u8]) -> Outcome<Vec<Record<'_>>> {
    let mut all = Vec::new();
    while let Some((base, count, len)) = batches(bytes).next() {
        let (batch, rest) = bytes.split_at(len);
        bytes = rest;
        let sum = u32::from_be_bytes(batch[17..21].try_into()?);
        if batch[16] != 2 || sum != crc32c(&batch[21..]) {
            return Err(format!("the batch at offset {base} is damaged").into());
        }
        if batch[22] & 7 != 0 {
            return Err(format!("the batch at offset {base} is compressed").into());
        }
        let mut body = Answer { bytes: &batch[61..] };
        for _ in 0..i32::from_be_bytes(batch[57..61].try_into()?) {
            body.varint()?; // length
            body.take(1)?;
            body.varint()?;
            let delta = body.varint()?;
            if !(0..count).contains(&delta) {
                return Err(format!("the batch at offset {base} has a record outside of it").into());
            }
            let key = match usize::try_from(body.varint()?) {
                Ok(len) => Some(body.take(len)?),
                Err(_) => None,
            };
            let len = usize::try_from(body.varint()?).unwrap_or(0);
            all.push(Record { offset: base + delta, key, value: body.take(len)? });
            if body.varint()? != 0 {
                return Err(format!("the batch at offset {base} has a record with headers").into());
            }
        }
    }
    Ok(all)
}

/// The offset and value of each record in the whole batches of `bytes`; fails on bytes that are not what their
/// checksum says, and on anything that this driver did not write so.
pub fn values(bytes: &[u8]) -> Outcome<Vec<(i64, Vec<u8>)>> {
    let mut next = batches(bytes).flat_map(|(base, count, _)| base..base + count);
    let mut all = Vec::new();
    for record in records(bytes)? {
        if record.key.is_some() || next.next() != Some(record.offset) {
            return Err(format!("the record at offset {} is of another writer", record.offset).into());
        }
        all.push((record.offset, record.value.to_vec()));
    }
    match next.next() {
        None => Ok(all),
        Some(offset) => Err(format!("the record at offset {offset} is missing").into()),
    }
}

/// The base offset, number of records and length of each whole batch in `records`.
pub fn batches(mut records: &[u8]) -> impl Iterator<Item = (i64, i64, usize)> {
    std::iter::from_fn(move || {
        let head = records.get(..61)?;
        let base = i64::from_be_bytes(head[..8].try_into().ok()?);
        let len = 12 + usize::try_from(i32::from_be_bytes(head[8..12].try_into().ok()?)).ok()?;
        let count = i64::from(i32::from_be_bytes(head[23..27].try_into().ok()?)) + 1;
        records = records.get(len..)?;
        Some((base, count, len))
    })
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut zigzag = ((number << 1) ^ (number >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// CRC-32C.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_standard_text() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_batch_is_found_again() {
        let one = batch(3, 100, 1);
        let two = [one.clone(), one.clone(), one[..70].to_vec()].concat();
        let found: Vec<_> = batches(&two).collect();
        assert_eq!(found, [(0, 3, one.len()), (0, 3, one.len())]);
    }

    #[test]
    fn values_are_read_back_and_damage_is_seen() {
        let written = [vec![1; 300], vec![], vec![7]];
        let mut batch = batch_of(&written, 5, Sequence::NONE);
        let read = values(&batch).expect("a good batch");
        assert_eq!(read, (0..).zip(written).collect::<Vec<_>>());
        batch[100] ^= 4;
        assert!(values(&batch).is_err());
    }

    #[test]
    fn keys_are_read_back_and_are_no_values_alone() {
        let written: [(Option<&[u8]>, &[u8]); 2] = [(Some(b"key"), b"value"), (None, b"")];
        let batch = batch_with_keys(&written, 5, Sequence::NONE);
        let read = records(&batch).expect("a good batch");
        let read: Vec<_> = read.iter().map(|it| (it.offset, it.key, it.value)).collect();
        assert_eq!(read, [(0, Some(&b"key"[..]), &b"value"[..]), (1, None, &b""[..])]);
        assert!(values(&batch).is_err());
    }
}
