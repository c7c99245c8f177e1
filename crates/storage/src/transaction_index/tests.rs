//! Tests of the transaction index, after Kafka's `TransactionIndexTest`.

use ottla_host::Host;

use super::*;

fn aborted(producer_id: i64, first: i64, last: i64, stable: i64) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ProducerId(producer_id),
        first_offset: Offset(first),
        last_offset: Offset(last),
        last_stable_offset: Offset(stable),
    }
}

fn filled() -> (Disk, TransactionIndex, Vec<AbortedTransaction>) {
    let disk = Host::simulated(1).disk();
    let mut index =
        TransactionIndex::open(disk.clone(), PathBuf::from("/00000000000000000000.txnindex")).unwrap();
    let all =
        vec![aborted(0, 0, 10, 2), aborted(1, 5, 15, 16), aborted(2, 18, 35, 25), aborted(3, 32, 50, 40)];
    for it in &all {
        index.append(it).unwrap();
    }
    (disk, index, all)
}

#[test]
fn an_index_without_entries_has_no_file() {
    let disk = Host::simulated(1).disk();
    let mut index = TransactionIndex::open(disk.clone(), PathBuf::from("/0.txnindex")).unwrap();
    assert!(index.is_empty());
    assert_eq!(index.collect(Offset(0), Offset(100)).unwrap(), Collected::default());
    index.truncate_to(Offset(0)).unwrap();
    index.reset().unwrap();
    index.sync().unwrap();
    assert!(!disk.exists("/0.txnindex").unwrap());
}

#[test]
fn entries_are_found_by_the_offsets_they_cover() {
    let (disk, index, all) = filled();
    for (first, end, found, complete) in [
        (0, 100, 0..4, false),
        (0, 32, 0..3, true),
        (0, 35, 0..4, true),
        (10, 35, 0..4, true),
        (11, 35, 1..4, true),
        (20, 41, 2..4, false),
    ] {
        let collected = index.collect(Offset(first), Offset(end)).unwrap();
        assert_eq!(collected.aborted, all[found], "{first}..{end}");
        assert_eq!(collected.complete, complete, "{first}..{end}");
    }
    index.check(Offset(10)).unwrap();
    assert!(index.check(Offset(11)).is_err());
    let again = TransactionIndex::open(disk, index.path().to_owned()).unwrap();
    assert_eq!(again.all().unwrap(), all);
    assert_eq!(again.last_offset, Some(Offset(50)));
}

#[test]
fn truncation_removes_later_markers() {
    for (offset, left) in [(51, 4), (50, 3), (49, 3), (36, 3), (35, 2), (10, 0), (0, 0)] {
        let (disk, mut index, all) = filled();
        let look = index.clone();
        index.truncate_to(Offset(offset)).unwrap();
        assert_eq!(index.all().unwrap(), all[..left], "{offset}");
        assert_eq!(disk.metadata(index.path()).unwrap().len, (left * ENTRY_BYTES) as u64);
        drop(look);
        index.append(&aborted(9, 60, 70, 71)).unwrap();
        assert_eq!(index.all().unwrap().len(), left + 1);
    }
}

#[test]
fn a_torn_entry_is_overwritten() {
    let (disk, mut index, mut all) = filled();
    let file = disk.open(index.path(), Open::Write).unwrap();
    file.write_all_at(&[0xff; 20], (4 * ENTRY_BYTES) as u64).unwrap();
    index = TransactionIndex::open(disk, index.path().to_owned()).unwrap();
    assert_eq!(index.all().unwrap(), all);
    all.push(aborted(4, 51, 60, 61));
    index.append(&all[4]).unwrap();
    assert_eq!(index.all().unwrap(), all);
}
