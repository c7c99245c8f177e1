//! Tests of the producers of a partition, after Kafka's `ProducerStateManagerTest`.

use bytes::Bytes;
use ottla_base::LeaderEpoch;
use ottla_host::{Disk, Host};
use ottla_record::{BatchBuilder, BatchOptions, BatchView};

use super::*;
use crate::transaction_index::{AbortedTransaction, TransactionIndex};

const CLIENT: ProducerOrigin = ProducerOrigin::Client(VerificationGuard::NONE);

/// A batch as tests describe it.
#[derive(Clone, Copy)]
struct Data {
    producer: i64,
    epoch: i16,
    sequence: i32,
    count: i32,
    offset: i64,
    timestamp: i64,
    transactional: bool,
}

impl Data {
    fn new(epoch: i16, sequence: i32, offset: i64) -> Data {
        Data { producer: 1, epoch, sequence, count: 1, offset, timestamp: offset, transactional: false }
    }

    fn header(self) -> BatchHeader {
        let bytes = self.bytes();
        *BatchView::new(&bytes).unwrap().header()
    }

    fn bytes(self) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(self.offset),
            producer_id: ProducerId(self.producer),
            producer_epoch: ProducerEpoch(self.epoch),
            base_sequence: self.sequence,
            transactional: self.transactional,
            partition_leader_epoch: LeaderEpoch(0),
            ..BatchOptions::default()
        });
        for _ in 0..self.count {
            builder.append(Timestamp(self.timestamp), None, Some(b"x"), []);
        }
        builder.build()
    }
}

fn states() -> ProducerStates {
    ProducerStates::new(ProducerRules { verify_transactions: false, ..ProducerRules::default() })
}

/// Appends as a leader does, and says what happened.
fn append(states: &mut ProducerStates, data: Data) -> Result<Option<AppendedBatch>, ErrorCode> {
    append_from(states, data, CLIENT)
}

fn append_from(
    states: &mut ProducerStates,
    data: Data,
    origin: ProducerOrigin,
) -> Result<Option<AppendedBatch>, ErrorCode> {
    let header = data.header();
    match states.prepare(&header, None, origin).map_err(|it| it.code)? {
        Outcome::Append(prepared) => {
            assert_eq!(prepared.commit(), None);
            Ok(None)
        }
        Outcome::Duplicate(batch) => Ok(Some(batch)),
        Outcome::NoProducer => panic!("the batch has a producer"),
    }
}

fn end_with(
    states: &mut ProducerStates,
    marker: (i64, i16, bool, i32),
    offset: i64,
    version: i16,
) -> Result<Option<CompletedTransaction>, ErrorCode> {
    let (producer, epoch, committed, coordinator_epoch) = marker;
    let marker = EndTxnMarker { committed, coordinator_epoch };
    let bytes =
        ottla_record::end_txn_batch(ProducerId(producer), ProducerEpoch(epoch), marker, Timestamp(offset));
    let batch = BatchView::new(&bytes).unwrap();
    let timed = marker_of(&batch, batch.payload()).unwrap().unwrap();
    assert_eq!(timed, TimedMarker { marker, timestamp: Timestamp(offset) });
    let mut header = *batch.header();
    header.place(Offset(offset), LeaderEpoch(0));
    match states.prepare(&header, Some(timed), ProducerOrigin::Marker(version)).map_err(|it| it.code)? {
        Outcome::Append(prepared) => Ok(prepared.commit()),
        _ => panic!("markers are never duplicates"),
    }
}

#[test]
fn sequences_continue_within_an_epoch_and_begin_anew_with_the_next() {
    let mut states = states();
    assert_eq!(append(&mut states, Data::new(0, 0, 0)), Ok(None));
    assert_eq!(append(&mut states, Data::new(0, 1, 1)), Ok(None));
    assert_eq!(append(&mut states, Data::new(0, 3, 2)), Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(append(&mut states, Data::new(1, 1, 2)), Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(append(&mut states, Data::new(1, 0, 2)), Ok(None));
    assert_eq!(append(&mut states, Data::new(0, 2, 3)), Err(ErrorCode::InvalidProducerEpoch));
    let entry = states.entry(ProducerId(1)).unwrap();
    assert_eq!((entry.epoch(), entry.last_sequence()), (ProducerEpoch(1), 0));
}

#[test]
fn a_producer_of_which_nothing_is_known_may_begin_anywhere() {
    let mut states = states();
    assert_eq!(append(&mut states, Data::new(5, 17, 4)), Ok(None));
    assert_eq!(append(&mut states, Data::new(5, 18, 5)), Ok(None));
}

#[test]
fn after_the_largest_sequence_comes_zero() {
    let mut states = states();
    let wide = Data { count: 3, ..Data::new(0, i32::MAX - 1, 0) };
    assert_eq!(append(&mut states, wide), Ok(None));
    assert_eq!(states.entry(ProducerId(1)).unwrap().last_sequence(), 0);
    assert_eq!(append(&mut states, Data::new(0, 1, 3)), Ok(None));
    assert_eq!(append(&mut states, wide).map(|it| it.map(|it| it.first_offset())), Ok(Some(Offset(0))));
    let mut states = self::states();
    assert_eq!(append(&mut states, Data::new(0, i32::MAX, 0)), Ok(None));
    assert_eq!(append(&mut states, Data::new(0, 0, 1)), Ok(None));
}

#[test]
fn the_last_five_batches_are_recognised() {
    let mut states = states();
    for number in 0..7 {
        let data = Data { count: 2, ..Data::new(0, 2 * number, 100 + 2 * i64::from(number)) };
        assert_eq!(append(&mut states, data), Ok(None));
    }
    for number in 2..7 {
        let again = Data { count: 2, ..Data::new(0, 2 * number, 999) };
        let duplicate = append(&mut states, again).unwrap().unwrap();
        assert_eq!(duplicate.first_offset(), Offset(100 + 2 * i64::from(number)));
        assert_eq!(duplicate.last_offset, Offset(101 + 2 * i64::from(number)));
    }
    for number in 0..2 {
        let forgotten = Data { count: 2, ..Data::new(0, 2 * number, 999) };
        assert_eq!(append(&mut states, forgotten), Err(ErrorCode::OutOfOrderSequenceNumber));
    }
    // Other sequences in the same place are no duplicates.
    let shorter = Data { count: 1, ..Data::new(0, 12, 999) };
    assert_eq!(append(&mut states, shorter), Err(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn what_is_not_committed_has_not_happened() {
    let mut states = states();
    let header = Data { transactional: true, ..Data::new(0, 0, 0) }.header();
    assert!(matches!(states.prepare(&header, None, CLIENT), Ok(Outcome::Append(_))));
    assert!(states.is_empty());
    assert_eq!(states.first_unstable_offset(), None);
    assert_eq!(append(&mut states, Data::new(0, 0, 0)), Ok(None));
}

#[test]
fn coordinators_have_no_sequences() {
    let mut states = states();
    let coordinator = ProducerOrigin::Coordinator(VerificationGuard::NONE);
    for offset in 0..3 {
        assert_eq!(append_from(&mut states, Data::new(2, -1, offset), coordinator), Ok(None));
    }
    assert_eq!(
        append_from(&mut states, Data::new(1, -1, 3), coordinator),
        Err(ErrorCode::InvalidProducerEpoch)
    );
}

#[test]
fn transactions_hold_the_stable_offset_until_their_marker_is_replicated() {
    let mut states = states();
    let transactional =
        |producer, sequence, offset| Data { producer, transactional: true, ..Data::new(0, sequence, offset) };
    assert_eq!(append(&mut states, transactional(1, 0, 10)), Ok(None));
    assert_eq!(append(&mut states, transactional(2, 0, 11)), Ok(None));
    assert_eq!(append(&mut states, transactional(1, 1, 12)), Ok(None));
    assert_eq!(states.first_unstable_offset(), Some(Offset(10)));
    let plain = Data { producer: 1, ..Data::new(0, 2, 13) };
    assert_eq!(append(&mut states, plain), Err(ErrorCode::InvalidTxnState));

    let first = end_with(&mut states, (1, 0, false, 7), 13, 1).unwrap().unwrap();
    assert_eq!(
        first,
        CompletedTransaction {
            producer_id: ProducerId(1),
            first_offset: Offset(10),
            last_offset: Offset(13),
            aborted: true,
            last_stable_offset: Offset(11),
        }
    );
    assert_eq!(states.first_unstable_offset(), Some(Offset(10)));
    assert_eq!(states.first_undecided_offset(), Some(Offset(11)));
    states.on_high_watermark(Offset(13));
    assert_eq!(states.first_unstable_offset(), Some(Offset(10)));
    states.on_high_watermark(Offset(14));
    assert_eq!(states.first_unstable_offset(), Some(Offset(11)));

    let second = end_with(&mut states, (2, 0, true, 7), 14, 1).unwrap().unwrap();
    assert_eq!((second.aborted, second.last_stable_offset), (false, Offset(15)));
    states.on_high_watermark(Offset(15));
    assert_eq!(states.first_unstable_offset(), None);
    // A marker without data says nothing about transactions.
    assert_eq!(end_with(&mut states, (3, 0, true, 7), 15, 1), Ok(None));
    assert_eq!(states.entry(ProducerId(3)).unwrap().coordinator_epoch(), 7);
}

#[test]
fn markers_are_fenced_by_epoch_and_coordinator() {
    let mut states = states();
    let data = Data { transactional: true, ..Data::new(4, 0, 0) };
    assert_eq!(append(&mut states, data), Ok(None));
    // Version 2 has an epoch for each transaction: the marker's is higher than the data's.
    assert_eq!(end_with(&mut states, (1, 4, true, 0), 1, 2), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(end_with(&mut states, (1, 3, true, 0), 1, 1), Err(ErrorCode::InvalidProducerEpoch));
    assert!(end_with(&mut states, (1, 5, true, 3), 1, 2).unwrap().is_some());
    // The same marker again changes nothing.
    assert_eq!(end_with(&mut states, (1, 5, true, 3), 2, 2), Ok(None));
    assert_eq!(end_with(&mut states, (1, 5, true, 2), 2, 1), Err(ErrorCode::TransactionCoordinatorFenced));
    assert_eq!(append(&mut states, Data { transactional: true, ..Data::new(5, 0, 3) }), Ok(None));
}

#[test]
fn the_first_batch_of_a_transaction_needs_a_proof() {
    let mut states = ProducerStates::new(ProducerRules::default());
    let first = Data { transactional: true, ..Data::new(0, 0, 0) };
    assert_eq!(append(&mut states, first), Err(ErrorCode::InvalidTxnState));
    let id = ProducerId(1);
    let guard = states.begin_verification(id, 0, ProducerEpoch(0), false, Timestamp(0)).unwrap();
    let again = states.begin_verification(id, 3, ProducerEpoch(0), false, Timestamp(0)).unwrap();
    assert_eq!(guard, again);
    let later = Data { sequence: 3, ..first };
    let proved = ProducerOrigin::Client(guard);
    assert_eq!(append_from(&mut states, later, proved), Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(append_from(&mut states, first, proved), Ok(None));
    // The transaction goes on: no more proofs.
    assert_eq!(states.verification(id), None);
    assert_eq!(append(&mut states, Data { sequence: 1, offset: 1, ..first }), Ok(None));
    assert_eq!(
        states.begin_verification(id, 2, ProducerEpoch(0), false, Timestamp(0)),
        Ok(VerificationGuard::NONE)
    );
    end_with(&mut states, (1, 0, true, 0), 2, 1).unwrap();
    // An old proof is worth nothing.
    let next = Data { sequence: 2, offset: 3, ..first };
    assert_eq!(append_from(&mut states, next, proved), Err(ErrorCode::InvalidTxnState));
    let other = states.begin_verification(id, 2, ProducerEpoch(0), false, Timestamp(0)).unwrap();
    assert_ne!(other, guard);
    assert_eq!(append_from(&mut states, next, ProducerOrigin::Client(other)), Ok(None));
    let stale = states.begin_verification(id, 0, ProducerEpoch(-1), false, Timestamp(0));
    assert_eq!(stale.map_err(|it| it.code), Err(ErrorCode::InvalidProducerEpoch));
}

#[test]
fn idle_producers_expire_unless_they_have_a_transaction() {
    let mut states = states();
    let hour = 3_600_000;
    append(&mut states, Data { producer: 1, timestamp: 0, ..Data::new(0, 0, 0) }).unwrap();
    append(&mut states, Data { producer: 2, timestamp: 0, transactional: true, ..Data::new(0, 0, 1) })
        .unwrap();
    append(&mut states, Data { producer: 3, timestamp: hour, ..Data::new(0, 0, 2) }).unwrap();
    states.remove_expired(Timestamp(24 * hour - 1));
    assert_eq!(states.producer_count(), 3);
    states.remove_expired(Timestamp(24 * hour));
    let left: Vec<i64> = states.entries().iter().map(|(id, _)| id.0).collect();
    assert_eq!(left, [2, 3]);
    states.remove_expired(Timestamp(25 * hour));
    assert_eq!(states.producer_count(), 1);
}

#[test]
fn a_transaction_that_nobody_ends_is_late() {
    let mut states = states();
    let minute = 60_000;
    append(&mut states, Data { timestamp: 1, transactional: true, ..Data::new(0, 0, 0) }).unwrap();
    let timeout = Duration::from_secs(15 * 60);
    assert!(!states.has_late_transaction(Timestamp(20 * minute + 1), timeout));
    assert!(states.has_late_transaction(Timestamp(20 * minute + 2), timeout));
}

#[test]
fn followers_and_recovery_take_what_leaders_accepted() {
    let mut leader = states();
    let mut follower = states();
    let mut seed = 11u64;
    let mut sequences = [0; 4];
    for offset in 0..500 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let producer = (seed >> 40) as usize % 4;
        let ends = (seed >> 50).is_multiple_of(5);
        if ends {
            let marker = EndTxnMarker { committed: seed.is_multiple_of(2), coordinator_epoch: 1 };
            let id = ProducerId(producer as i64);
            let bytes = ottla_record::end_txn_batch(id, ProducerEpoch(0), marker, Timestamp(offset));
            let batch = BatchView::new(&bytes).unwrap();
            let timed = marker_of(&batch, batch.payload()).unwrap();
            let mut header = *batch.header();
            header.place(Offset(offset), LeaderEpoch(0));
            let Ok(Outcome::Append(prepared)) = leader.prepare(&header, timed, ProducerOrigin::Marker(0))
            else {
                panic!("the marker is good");
            };
            let completed = prepared.commit();
            assert_eq!(follower.apply(&header, timed), completed);
        } else {
            let sequence = sequences[producer];
            sequences[producer] += 1;
            let data =
                Data { producer: producer as i64, transactional: true, ..Data::new(0, sequence, offset) };
            append(&mut leader, data).unwrap();
            assert_eq!(follower.apply(&data.header(), None), None);
        }
        assert_eq!(leader.first_unstable_offset(), follower.first_unstable_offset());
    }
    assert_eq!(snapshot::encode(&leader.entries()), snapshot::encode(&follower.entries()));
}

fn with_snapshots() -> (Disk, SnapshotFiles, ProducerStates) {
    let disk = Host::simulated(1).disk();
    disk.create_dir_all("/t-0").unwrap();
    let mut files = SnapshotFiles::open(disk.clone(), "/t-0".into()).unwrap();
    let mut states = states();
    for offset in 0..6 {
        append(&mut states, Data::new(0, offset as i32, offset)).unwrap();
        states.set_end_offset(Offset(offset + 1));
        if offset % 2 == 1 {
            assert_eq!(files.take(&states, SnapshotSync::Now).unwrap(), Some(Offset(offset + 1)));
            assert_eq!(files.take(&states, SnapshotSync::Later).unwrap(), None);
        }
    }
    (disk, files, states)
}

#[test]
fn snapshots_bring_back_what_was_known() {
    let (disk, _, states) = with_snapshots();
    let mut files = SnapshotFiles::open(disk, "/t-0".into()).unwrap();
    assert_eq!((files.oldest(), files.newest()), (Some(Offset(2)), Some(Offset(6))));
    let mut loaded = self::states();
    files.truncate_and_reload(&mut loaded, Offset(0), Offset(7), Timestamp(0)).unwrap();
    assert_eq!(loaded.end_offset(), Offset(6));
    assert_eq!(snapshot::encode(&loaded.entries()), snapshot::encode(&states.entries()));
    // Only the last batch is in a snapshot.
    assert_eq!(loaded.entry(ProducerId(1)).unwrap().batches().len(), 1);
    assert_eq!(append(&mut loaded, Data::new(0, 6, 6)), Ok(None));
    let mut late = self::states();
    files.truncate_and_reload(&mut late, Offset(0), Offset(7), Timestamp(1 << 40)).unwrap();
    assert_eq!(late.producer_count(), 0);
}

#[test]
fn truncation_goes_back_to_a_snapshot() {
    let (disk, mut files, mut states) = with_snapshots();
    files.truncate_and_reload(&mut states, Offset(0), Offset(5), Timestamp(0)).unwrap();
    assert_eq!(files.newest(), Some(Offset(4)));
    assert_eq!(states.end_offset(), Offset(4));
    assert_eq!(states.entry(ProducerId(1)).unwrap().last_sequence(), 3);
    assert!(!disk.exists("/t-0/00000000000000000006.snapshot").unwrap());
    // Nothing to reload when the end is the same; old snapshots go.
    files.truncate_and_reload(&mut states, Offset(3), Offset(4), Timestamp(0)).unwrap();
    assert_eq!((files.oldest(), files.newest()), (Some(Offset(4)), Some(Offset(4))));
    files.truncate_and_reload(&mut states, Offset(9), Offset(9), Timestamp(0)).unwrap();
    assert_eq!((files.newest(), states.end_offset(), states.producer_count()), (None, Offset(9), 0));
}

#[test]
fn a_snapshot_that_cannot_be_read_is_removed() {
    let (disk, mut files, _) = with_snapshots();
    let path = files.path(Offset(6));
    let mut content = disk.read(&path, 1000).unwrap();
    content[20] ^= 1;
    disk.write_atomically(&path, &content).unwrap();
    let mut loaded = states();
    files.truncate_and_reload(&mut loaded, Offset(0), Offset(7), Timestamp(0)).unwrap();
    assert_eq!(loaded.end_offset(), Offset(4));
    assert!(!disk.exists(&path).unwrap());
}

#[test]
fn snapshots_without_segment_are_removed_but_the_newest() {
    let (_, mut files, _) = with_snapshots();
    files.remove_strays(&[Offset(0), Offset(4)].into()).unwrap();
    assert!(!files.contains(Offset(2)) && files.contains(Offset(4)) && files.contains(Offset(6)));
    files.remove_strays(&[Offset(0), Offset(7)].into()).unwrap();
    assert_eq!(files.newest(), None);
    let (disk, mut files, _) = with_snapshots();
    files.remove_before(Offset(4)).unwrap();
    assert_eq!(files.oldest(), Some(Offset(4)));
    let marked = files.mark_deleted(Offset(4)).unwrap().unwrap();
    assert!(disk.exists(&marked).unwrap());
    assert_eq!(marked.to_str(), Some("/t-0/00000000000000000004.snapshot.deleted"));
    assert_eq!(files.mark_deleted(Offset(4)).unwrap(), None);
}

#[test]
fn hostile_snapshots_are_refused() {
    let (_, _, states) = with_snapshots();
    let good = snapshot::encode(&states.entries());
    for cut in 0..good.len() {
        assert!(snapshot::decode(&good[..cut]).is_err());
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        assert!(snapshot::decode(&bad).is_err());
    }
    // A count that the bytes cannot hold, under a good checksum.
    let mut bad = good[..10].to_vec();
    bad[6..10].copy_from_slice(&i32::MAX.to_be_bytes());
    let crc = ottla_record::crc32c(&bad[6..]);
    bad[2..6].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(snapshot::decode(&bad), Err(snapshot::CorruptSnapshot::Truncated));
}

/// The appends of `xtask/java/GoldenProducerState.java`, whose files are in `testdata/golden-0`.
#[test]
fn kafka_remembers_the_same() {
    const BEGIN_MS: i64 = 1_700_000_000_000;
    let mut states = states();
    let mut aborted = Vec::new();
    let data = |producer, epoch, sequence, first: i64, last: i64, transactional| Data {
        producer,
        epoch,
        sequence,
        count: (last - first + 1) as i32,
        offset: first,
        timestamp: BEGIN_MS + first,
        transactional,
    };
    let mut end =
        |states: &mut ProducerStates, producer, epoch, offset: i64, abort: bool, coordinator_epoch| {
            let marker = EndTxnMarker { committed: !abort, coordinator_epoch };
            let timed = TimedMarker { marker, timestamp: Timestamp(BEGIN_MS + offset) };
            let bytes = ottla_record::end_txn_batch(producer, epoch, marker, timed.timestamp);
            let mut header = *BatchView::new(&bytes).unwrap().header();
            header.place(Offset(offset), LeaderEpoch(0));
            let Ok(Outcome::Append(prepared)) =
                states.prepare(&header, Some(timed), ProducerOrigin::Marker(0))
            else {
                panic!("the marker is good");
            };
            aborted.extend(prepared.commit().filter(|it| it.aborted).map(|it| AbortedTransaction::from(&it)));
        };
    append(&mut states, data(1, 0, 0, 0, 4, false)).unwrap();
    append(&mut states, data(1, 0, 5, 5, 6, false)).unwrap();
    append(&mut states, data(2, 3, i32::MAX - 1, 7, 10, true)).unwrap();
    append(&mut states, data(3, 0, 0, 11, 11, true)).unwrap();
    end(&mut states, ProducerId(2), ProducerEpoch(4), 12, true, 9);
    append(&mut states, data(2, 4, 0, 13, 15, true)).unwrap();
    append(&mut states, data(4, i16::MAX, 100, 16, 16, false)).unwrap();
    end(&mut states, ProducerId(3), ProducerEpoch(0), 17, true, 9);
    end(&mut states, ProducerId(5), ProducerEpoch(1), 18, false, 10);
    append(&mut states, data(1, 1, 0, 19, 19, true)).unwrap();

    let theirs = include_bytes!("../../testdata/golden-0/00000000000000000020.snapshot");
    assert_eq!(snapshot::encode(&states.entries()), theirs);
    let decoded = snapshot::decode(theirs).unwrap();
    assert_eq!(decoded.len(), 5);
    let decoded: Vec<_> = decoded.iter().map(|(id, entry)| (*id, entry)).collect();
    assert_eq!(snapshot::encode(&decoded), theirs);

    let disk = Host::simulated(1).disk();
    let mut index = TransactionIndex::open(disk.clone(), "/0.txnindex".into()).unwrap();
    for it in &aborted {
        index.append(it).unwrap();
    }
    let theirs = include_bytes!("../../testdata/golden-0/00000000000000000000.txnindex");
    assert_eq!(disk.read("/0.txnindex", 1000).unwrap(), theirs);
}
