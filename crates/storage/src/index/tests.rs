//! Searching and cutting indexes against plain lists.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_base::Offset;
use ottla_host::{Host, Prng};

use super::*;
use crate::file_names::Standing;
use crate::files::{Directory, OpenFiles};
use crate::progress::Progress;

fn files() -> LogFiles {
    let host = Host::simulated(1);
    host.disk().create_dir_all("/data/orders-0").unwrap();
    let directory = Arc::new(Directory::new("/data", Arc::new(Progress::new())));
    LogFiles::new(host, directory, Arc::new(OpenFiles::new(4)), PathBuf::from("/data/orders-0"))
}

fn names(base: i64) -> Arc<SegmentNames> {
    Arc::new(SegmentNames::new(Offset(base), Standing::Live))
}

fn entry(at: u32) -> OffsetEntry {
    OffsetEntry { relative_offset: at * 10, position: at * 100 }
}

/// Compares every search with what a list gives.
fn check(files: &LogFiles, index: &Index<OffsetEntry>, expected: &[OffsetEntry]) {
    assert_eq!(index.len(files).unwrap() as usize, expected.len());
    assert_eq!(index.last(files).unwrap(), expected.last().copied());
    let end = expected.last().map_or(0, |last| last.relative_offset);
    for sought in (0..end + 20).step_by(7) {
        let below = expected.partition_point(|it| it.relative_offset <= sought);
        let wanted = (below.checked_sub(1).map(|at| expected[at]), expected.get(below).copied());
        let found = index.search(files, |it| it.relative_offset <= sought).unwrap();
        assert_eq!(found, wanted, "searching {sought} among {}", expected.len());
    }
}

#[test]
fn entries_are_found_in_memory_and_in_the_file() {
    for count in [0, 1, 2, 63, 64, 65, 255, 256, 257, 700] {
        let files = files();
        let index = Index::empty(names(5));
        let entries: Vec<_> = (1..=count).map(entry).collect();
        for entry in &entries {
            index.push(&files, *entry).unwrap();
        }
        check(&files, &index, &entries);
        index.flush(&files, Sync::Yes).unwrap();
        check(&files, &index, &entries);
        let reopened = Index::unread(names(5));
        check(&files, &reopened, &entries);
        let size = files.disk().metadata("/data/orders-0/00000000000000000005.index").unwrap().len;
        assert_eq!(size, u64::from(count) * 8, "an index has no room to spare");
    }
}

#[test]
fn cutting_keeps_a_first_part() {
    let mut random = Prng::new(1);
    for _ in 0..50 {
        let files = files();
        let index = Index::empty(names(0));
        let mut entries: Vec<_> = (1..=600).map(entry).collect();
        for entry in &entries {
            index.push(&files, *entry).unwrap();
        }
        for _ in 0..3 {
            let bound = random.below(6100) as u32;
            index.truncate(&files, |it| it.relative_offset < bound).unwrap();
            entries.retain(|it| it.relative_offset < bound);
            check(&files, &index, &entries);
            let next = entry(entries.last().map_or(0, |last| last.position / 100) + 1);
            index.push(&files, next).unwrap();
            entries.push(next);
            check(&files, &index, &entries);
        }
    }
}

#[test]
fn entries_that_do_not_follow_are_left_out() {
    let files = files();
    let index = Index::empty(names(0));
    let at = |timestamp, relative_offset| TimeEntry { timestamp: Timestamp(timestamp), relative_offset };
    for entry in [at(5, 1), at(5, 2), at(4, 3), at(6, 3), at(7, 2)] {
        index.push(&files, entry).unwrap();
    }
    assert_eq!(index.len(&files).unwrap(), 2);
    assert_eq!(index.last(&files).unwrap(), Some(at(6, 3)));
}

#[test]
fn files_that_are_no_index_are_damage() {
    let files = files();
    let path = "/data/orders-0/00000000000000000000.index";
    for content in [&[0_u8; 7][..], &[0; 24], &[255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]] {
        files.disk().write_atomically(path, content).unwrap();
        let index = Index::<OffsetEntry>::unread(names(0));
        assert!(matches!(index.last(&files), Err(StorageError::Corrupt { .. })), "{content:?}");
    }
}
