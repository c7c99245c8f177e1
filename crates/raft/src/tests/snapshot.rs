//! Snapshots are the bytes that Kafka writes.

use bytes::Bytes;
use ottla_base::{LeaderEpoch, NodeId, Offset, Timestamp};
use ottla_record::{Batches, StoredBatch};

use crate::control::ControlRecord;
use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::snapshot::{SnapshotBatch, SnapshotFile, SnapshotReader, SnapshotWriter};
use crate::voters::{Address, Endpoints, KRaftVersion, Voter, VoterSet};

/// The first and the last batch of what `kafka-storage format --standalone` of 4.4.0 wrote.
const HEADER: &str = "00000000000000000000009a00000000028d6bd3cf002000000002000001a1fd8fb038000001a1fd8fb038\
ffffffffffffffffffffffffffff000000032a0000000800000003160000000001a1fd8fb02a00001e00000208000000050a000000\
0100008201000004080000000\
66e00000200000001\
8f81c036a0104b6a836f3af8f02f0adb020b434f4e54524f4c4c45520a6c6f63616c686f737498b5000000000100000000";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn voters() -> VoterSet {
    let key = ReplicaKey::new(NodeId(1), "j4HANqAQS2qDbzr48C8K2w".parse().unwrap());
    let endpoints = Endpoints::one("CONTROLLER", Address::new("localhost", 39093));
    [Voter { key, endpoints, kraft_versions: (0, 1) }].into_iter().collect()
}

#[test]
fn the_header_batch_is_kafkas() {
    let expected = unhex(HEADER);
    let (_, header) = SnapshotWriter::begin(
        OffsetAndEpoch::BOOTSTRAP,
        Timestamp(0x01a1_fd8f_b02a),
        KRaftVersion::Dynamic,
        Some(&voters()),
        Timestamp(0x01a1_fd8f_b038),
    );
    assert_eq!(header, expected);
}

fn read(bytes: &[u8]) -> Result<(Vec<ControlRecord>, Vec<Bytes>), String> {
    let mut reader = SnapshotReader::default();
    let (mut control, mut values) = (Vec::new(), Vec::new());
    let mut batches = Batches::new(bytes);
    for batch in batches.by_ref() {
        let StoredBatch::V2(batch) = batch.map_err(|error| error.to_string())? else {
            return Err("old".to_owned());
        };
        match reader.read(&batch).map_err(|error| error.to_string())? {
            SnapshotBatch::Control(records) => control.extend(records),
            SnapshotBatch::Values(more) => values.extend(more),
        }
    }
    reader.finish().map_err(|error| error.to_string())?;
    Ok((control, values))
}

fn write(values: &[Bytes]) -> Vec<u8> {
    let id = OffsetAndEpoch::new(Offset(100), LeaderEpoch(4));
    let (mut writer, header) =
        SnapshotWriter::begin(id, Timestamp(5), KRaftVersion::Dynamic, Some(&voters()), Timestamp(6));
    let mut bytes = header.to_vec();
    for value in values {
        bytes.extend(writer.append(value.clone()).unwrap_or_default());
    }
    writer.finish().iter().for_each(|last| bytes.extend(last));
    bytes
}

#[test]
fn what_is_written_is_read() {
    let large = Bytes::from(vec![7; 5 << 20]);
    for values in [vec![], vec![Bytes::from_static(b"one"), Bytes::new()], vec![large; 4]] {
        let (control, read) = read(&write(&values)).unwrap();
        assert_eq!(read, values);
        assert_eq!(control.len(), 4);
        assert_eq!(control[2], ControlRecord::Voters(voters()));
        assert_eq!(control[3], ControlRecord::SnapshotFooter);
    }
}

#[test]
fn half_a_snapshot_is_none() {
    let bytes = write(&[Bytes::from_static(b"one")]);
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
    let batches: Vec<usize> = Batches::new(&bytes).map(|batch| batch.unwrap().bytes().len()).collect();
    let starts = [0, batches[0], batches[0] + batches[1]];
    for place in 0..bytes.len() {
        // The epoch of a batch is in no checksum and of no meaning in a snapshot.
        if starts.iter().any(|start| (start + 12..start + 16).contains(&place)) {
            continue;
        }
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        assert!(read(&bytes).is_err(), "byte {place}");
    }
}

#[test]
fn names_say_what_files_are() {
    let id = OffsetAndEpoch::new(Offset(123), LeaderEpoch(7));
    for (file, name) in [
        (SnapshotFile::Whole(id), "00000000000000000123-0000000007.checkpoint"),
        (SnapshotFile::Partial(id), "00000000000000000123-0000000007.checkpoint.part"),
        (SnapshotFile::Deleted(id), "00000000000000000123-0000000007.checkpoint.deleted"),
    ] {
        assert_eq!(file.name(), name);
        assert_eq!(SnapshotFile::of_name(name), Some(file));
    }
    let partial = "00000000000000000123-0000000007-8834012.checkpoint.part";
    assert_eq!(SnapshotFile::of_name(partial), Some(SnapshotFile::Partial(id)));
    for name in ["", "leader-epoch-checkpoint", "00000000000000000000.log", "bootstrap.checkpoint", "ü"] {
        assert_eq!(SnapshotFile::of_name(name), None, "{name}");
    }
}
