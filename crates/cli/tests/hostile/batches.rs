//! Record batches that no producer makes: nothing of them is written, and the rest of the request is.

use ottla_base::Timestamp;
use ottla_record::{BatchBuilder, BatchOptions, Compression, crc32c};

use crate::server::{Client, Server, i16_at, i64_at, string};

/// Where fields of a batch are.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_DELTA: usize = 23;
const COUNT: usize = 57;
const RECORDS: usize = 61;

fn batch(compression: Compression, records: u32, value: &[u8]) -> Vec<u8> {
    let options = BatchOptions { compression: compression.into(), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for _ in 0..records {
        builder.append(Timestamp(now_ms()), None, Some(value), []);
    }
    builder.build().to_vec()
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// A good batch with something changed and its checksum made right again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = batch(Compression::None, 3, b"value");
    change(&mut bytes);
    let crc = crc32c(&bytes[ATTRIBUTES..]);
    bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The codes and offsets of a produce of one batch to partition 0 and another to partition 1.
fn produce(client: &mut Client, first: &[u8], second: &[u8]) -> [(i16, i64); 2] {
    let mut body = (-1i16).to_be_bytes().to_vec();
    body.extend((-1i16).to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(string("t"));
    body.extend(2i32.to_be_bytes());
    for (partition, batch) in [(0i32, first), (1, second)] {
        body.extend(partition.to_be_bytes());
        body.extend((batch.len() as i32).to_be_bytes());
        body.extend(batch);
    }
    let answer = client.ask(0, 7, &body);
    // index, code, offset, append time, log start offset
    let at = |number: usize| 4 + 3 + 4 + number * 30 + 4;
    [0, 1].map(|it| (i16_at(&answer, at(it)), i64_at(&answer, at(it) + 2)))
}

const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
const INVALID_RECORD: i16 = 87;

#[test]
fn bad_batches_are_refused_alone() {
    let server = Server::start();
    let mut client = server.connect();
    let good = batch(Compression::None, 1, b"good");
    let mut bad_crc = good.clone();
    bad_crc[CRC] ^= 1;
    let magic = |number: u8| changed(move |it| it[MAGIC] = number);
    let attributes = |bits: u8| changed(move |it| it[ATTRIBUTES + 1] |= bits);
    let set =
        |at: usize, number: i32| changed(move |it| it[at..at + 4].copy_from_slice(&number.to_be_bytes()));
    let cases: Vec<(&str, Vec<u8>, &[i16])> = vec![
        ("bad checksum", bad_crc, &[CORRUPT_MESSAGE]),
        ("magic 0", magic(0), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("magic 1", magic(1), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("magic 3", magic(3), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("negative magic", magic(0x80), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("more records than counted", set(COUNT, 2), &[INVALID_RECORD]),
        ("fewer records than counted", set(COUNT, 4), &[INVALID_RECORD]),
        ("negative count", set(COUNT, -1), &[INVALID_RECORD]),
        ("the largest count", set(COUNT, i32::MAX), &[INVALID_RECORD]),
        ("last offset not of the count", set(LAST_DELTA, 7), &[INVALID_RECORD]),
        ("negative length", set(LENGTH, -5), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("length 0", set(LENGTH, 0), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("the largest length", set(LENGTH, i32::MAX), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("a record of negative length", changed(|it| it[RECORDS] = 1), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("a record beyond the batch", changed(|it| it[RECORDS] = 0x7e), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("a control batch", attributes(0x20), &[INVALID_RECORD]),
        ("compression 5", attributes(5), &[UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD, CORRUPT_MESSAGE]),
        ("compression 6", attributes(6), &[UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD, CORRUPT_MESSAGE]),
        ("compression 7", attributes(7), &[UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD, CORRUPT_MESSAGE]),
        ("gzip that is none", attributes(1), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("snappy that is none", attributes(2), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("lz4 that is none", attributes(3), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("zstd that is none", attributes(4), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("two batches", [good.clone(), good.clone()].concat(), &[INVALID_RECORD]),
        ("half a batch", good[..40].to_vec(), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("nothing", Vec::new(), &[INVALID_RECORD, CORRUPT_MESSAGE]),
        ("more than a topic takes", batch(Compression::None, 1, &vec![0; 2 << 20]), &[MESSAGE_TOO_LARGE]),
    ];
    for (number, (name, bytes, codes)) in cases.iter().enumerate() {
        let [bad, beside] = produce(&mut client, bytes, &good);
        assert!(codes.contains(&bad.0), "{name}: {bad:?}");
        assert_eq!(beside, (0, number as i64), "{name}: the other partition");
    }
    // Whoever names no transaction may not write into one: that is of the request, not of a partition.
    let refused = (TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1);
    assert_eq!(produce(&mut client, &attributes(0x10), &good), [refused; 2]);
    // Nothing of all that was written.
    assert_eq!(produce(&mut client, &good, &good)[0], (0, 0));
}

#[test]
fn decompression_bombs_cost_no_memory() {
    let server = Server::start();
    let mut client = server.connect();
    let good = batch(Compression::None, 1, b"good");
    let zeros = vec![0; 100 << 20];
    let before = server.resident_mebibytes();
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bomb = batch(compression, 1, &zeros);
        let [bad, beside] = produce(&mut client, &bomb, &good);
        // Records are as large as `max.decompressed.message.bytes` allows, batches as `max.message.bytes` does.
        let too_large = bomb.len() > 1_048_588;
        assert_eq!(
            bad.0,
            if too_large { MESSAGE_TOO_LARGE } else { 0 },
            "{compression:?}: {} bytes",
            bomb.len()
        );
        assert_eq!(beside.0, 0, "{compression:?}");
        server.is_well();
    }
    let after = server.resident_mebibytes();
    assert!(after < before + 64, "{before} MiB became {after} MiB");
}
