//! Tests of both disks.

use std::path::PathBuf;

use super::simulated::{Failure, Fault, Operation};
use super::*;
use crate::Host;
use crate::entropy::Prng;

/// Runs a test on a real and on a simulated disk.
fn on_both(test: impl Fn(&Disk, PathBuf)) {
    let directory = tempfile::tempdir().unwrap();
    test(&Host::real().disk(), directory.path().to_owned());
    let simulated = Host::simulated(1).disk();
    simulated.create_dir_all("/data").unwrap();
    test(&simulated, PathBuf::from("/data"));
}

#[test]
fn what_the_page_cache_does_not_have_is_waited_for() {
    on_both(|disk, at| {
        let file = disk.open(at.join("a.log"), Open::CreateNew).unwrap();
        let content: Vec<u8> = (0..300_000u32).map(|it| (it >> 8) as u8).collect();
        file.write_all_at(&content, 0).unwrap();
        file.sync_data().unwrap();
        assert!(file.is_cached(0..300_000).unwrap());
        file.will_not_need(0..300_000).unwrap();
        let mut read = vec![0; 1000];
        if file.is_cached(0..300_000).unwrap() {
            // A file system that has nothing but memory, or does not tell.
            assert!(matches!(file.kind, FileKind::Real(_)));
        } else {
            assert!(!file.read_cached_exact_at(&mut read, 299_000).unwrap());
        }
        file.load(10..300_000).unwrap();
        assert_eq!(file.cached_len(10..300_000).unwrap(), 299_990);
        assert!(file.is_cached(10..300_000).unwrap() && file.is_cached(20..20).unwrap());
        assert!(file.read_cached_exact_at(&mut read, 299_000).unwrap());
        assert_eq!(read, content[299_000..]);
        let error = file.read_cached_exact_at(&mut read, 299_001).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        file.load(299_000..400_000).unwrap();
    });
}

#[test]
fn files_read_what_was_written() {
    on_both(|disk, at| {
        let path = at.join("a.log");
        assert_eq!(disk.open(&path, Open::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = disk.open(&path, Open::CreateNew).unwrap();
        assert_eq!(disk.open(&path, Open::CreateNew).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let long = vec![7u8; 10_000];
        let mut pieces = [&b"one"[..], b"", b"two", &long, b"end"].map(IoSlice::new);
        file.write_vectored_at(&mut pieces, 2).unwrap();
        assert_eq!(file.len().unwrap(), 10_011);
        let mut buffer = [9u8; 10];
        file.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"\0\0onetwo\x07\x07");
        assert_eq!(file.read_at(&mut buffer, 10_008).unwrap(), 3);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
        let error = file.read_exact_at(&mut buffer, 10_008).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        file.preallocate(0..1 << 20).unwrap();
        file.start_writeback(0..4096).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 10_011);
        file.set_len(5).unwrap();
        assert_eq!(disk.read(&path, 5).unwrap(), b"\0\0one");
        assert_eq!(disk.read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(disk.metadata(&path).unwrap().len, 5);
        let reader = disk.open(&path, Open::Read).unwrap();
        assert!(reader.write_all_at(b"x", 0).is_err());
        let truncated = disk.open(&path, Open::Truncate).unwrap();
        assert!(truncated.is_empty().unwrap());
    });
}

#[test]
fn directories_hold_names() {
    on_both(|disk, at| {
        disk.create_dir_all(at.join("x/y")).unwrap();
        disk.write_atomically(at.join("x/one"), b"1").unwrap();
        disk.write_atomically(at.join("x/one"), b"2").unwrap();
        let names = |path: PathBuf| -> Vec<(String, bool)> {
            disk.list(path).unwrap().into_iter().map(|it| (it.name, it.is_dir)).collect()
        };
        assert_eq!(names(at.join("x")), [("one".to_owned(), false), ("y".to_owned(), true)]);
        disk.rename(at.join("x"), at.join("x-delete")).unwrap();
        assert!(!disk.exists(at.join("x")).unwrap());
        assert_eq!(disk.read(at.join("x-delete/one"), 10).unwrap(), b"2");
        disk.sync_dir(&at).unwrap();
        disk.remove_dir_all(at.join("x-delete")).unwrap();
        assert_eq!(names(at.clone()), []);
        assert!(!disk.remove_file_if_exists(at.join("nothing")).unwrap());
        assert!(disk.space(&at).unwrap().total_bytes > 0);
    });
}

#[test]
fn a_lock_excludes_a_second() {
    on_both(|disk, at| {
        let held = disk.lock(at.join(".lock")).unwrap();
        let refused = disk.lock(at.join(".lock")).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(disk.open(at.join(".lock"), Open::Write).unwrap());
        assert!(disk.lock(at.join(".lock")).is_err());
        drop(held);
        disk.lock(at.join(".lock")).map(|_| ()).unwrap();
    });
}

#[test]
fn a_crash_keeps_what_was_synced() {
    let mut lost = 0;
    let mut torn = 0;
    for seed in 0..200 {
        let host = Host::simulated(seed);
        let disk = host.disk();
        disk.create_dir_all("/data").unwrap();
        disk.sync_dir("/").unwrap();
        let file = disk.open("/data/log", Open::CreateNew).unwrap();
        disk.sync_dir("/data").unwrap();
        file.write_all_at(&[1; 6000], 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[2; 20_000], 6000).unwrap();
        disk.write_atomically("/data/checkpoint", b"new").unwrap();
        let unsynced = disk.open("/data/unsynced", Open::CreateNew).unwrap();
        unsynced.write_all_at(b"x", 0).unwrap();
        host.simulation().unwrap().disk().crash();
        assert!(file.len().is_err());
        let content = disk.read("/data/log", 1 << 20).unwrap();
        assert!(content.len() >= 6000 && content[..6000].iter().all(|it| *it == 1));
        assert!(content[6000..].iter().all(|it| *it == 2 || *it == 0));
        lost += u32::from(content.len() < 26_000);
        torn += u32::from(content[6000..].contains(&0));
        assert_eq!(disk.read("/data/checkpoint", 100).unwrap(), b"new");
    }
    assert!(lost > 20 && torn > 20, "{lost} {torn}");
}

#[test]
fn a_crash_keeps_names_in_order() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let host = Host::simulated(seed);
        let disk = host.disk();
        disk.create_dir_all("/a").unwrap();
        disk.sync_dir("/").unwrap();
        for name in ["one", "two"] {
            disk.open(format!("/a/{name}"), Open::Create).unwrap().sync_all().unwrap();
        }
        disk.rename("/a/one", "/a/three").unwrap();
        host.simulation().unwrap().disk().crash();
        let names: Vec<_> = disk.list("/a").unwrap().into_iter().map(|it| it.name).collect();
        seen.insert(names.join(" "));
    }
    let allowed = ["", "one", "one two", "three two"];
    assert!(seen.iter().all(|it| allowed.contains(&it.as_str())), "{seen:?}");
    assert!(seen.len() >= 3, "{seen:?}");
}

#[test]
fn a_kill_keeps_what_was_written() {
    let host = Host::simulated(1);
    let disk = host.disk();
    disk.open("/a", Open::Create).unwrap().write_all_at(b"x", 0).unwrap();
    let _lock = disk.lock("/.lock").unwrap();
    host.simulation().unwrap().disk().kill();
    assert_eq!(disk.read("/a", 10).unwrap(), b"x");
    assert!(disk.lock("/.lock").is_ok());
}

#[test]
fn faults_strike_where_they_were_put() {
    let host = Host::simulated(3);
    let disk = host.disk();
    let faults = host.simulation().unwrap().disk();
    let on_log = || Box::new(|path: &Path| path.ends_with("log")) as Box<dyn Fn(&Path) -> bool + Send>;
    let log = disk.open("/log", Open::Create).unwrap();
    let other = disk.open("/other", Open::Create).unwrap();
    let inject = |operation, after, failure| {
        faults.inject(Fault { operation, on: on_log(), after, times: 1, failure });
    };

    inject(Operation::Write, 1, Failure::InputOutput);
    log.write_all_at(b"a", 0).unwrap();
    other.write_all_at(b"a", 0).unwrap();
    assert_eq!(log.write_all_at(b"b", 1).unwrap_err().raw_os_error(), Some(libc::EIO));
    log.write_all_at(b"b", 1).unwrap();

    // A short write is continued; with nothing more it is an error after a part was written.
    inject(Operation::Write, 0, Failure::Short(2));
    log.write_all_at(b"cdef", 2).unwrap();
    assert_eq!(disk.read("/log", 10).unwrap(), b"abcdef");
    inject(Operation::Write, 0, Failure::Short(2));
    inject(Operation::Write, 0, Failure::NoSpace);
    assert_eq!(log.write_all_at(b"ghij", 6).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(disk.read("/log", 10).unwrap(), b"abcdefgh");

    faults.set_capacity(12);
    assert_eq!(log.write_all_at(b"ghijklmn", 6).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(log.len().unwrap(), 11);
    assert_eq!(disk.space("/").unwrap().usable_bytes, 0);
    other.set_len(0).unwrap();
    assert_eq!(disk.space("/").unwrap().usable_bytes, 1);
    faults.set_capacity(u64::MAX);

    // After a failed sync, a successful one does not bring the content back.
    disk.sync_dir("/").unwrap();
    inject(Operation::Sync, 0, Failure::InputOutput);
    assert!(log.sync_data().is_err());
    log.sync_data().unwrap();
    assert_eq!(&disk.read("/log", 20).unwrap()[..6], b"abcdef");
    faults.crash();
    assert!(disk.read("/log", 20).unwrap().iter().all(|it| *it == 0));
}

/// Does a few hundred random things and gives what is left after a crash.
fn run(seed: u64) -> (u64, Vec<(String, Vec<u8>)>) {
    let host = Host::simulated(seed);
    let disk = host.disk();
    let mut random = Prng::new(host.random_u64());
    for _ in 0..300 {
        let path = format!("/{}", random.below(5));
        let Ok(file) = disk.open(&path, Open::Create) else { continue };
        match random.below(6) {
            0 => file.sync_all().unwrap(),
            1 => disk.sync_dir("/").unwrap(),
            2 => disk.rename(&path, format!("/{}", random.below(5))).unwrap(),
            3 => file.set_len(random.below(20_000)).unwrap(),
            _ => file.write_all_at(&[random.next_u64() as u8; 3000], random.below(20_000)).unwrap(),
        }
    }
    host.simulation().unwrap().disk().crash();
    let files = disk.list("/").unwrap();
    let content = files.into_iter().map(|it| {
        let bytes = disk.read(format!("/{}", it.name), 1 << 20).unwrap();
        (it.name, bytes)
    });
    let content = content.collect();
    (host.simulation().unwrap().disk().digest(), content)
}

#[test]
fn a_seed_gives_one_trace() {
    for seed in 0..30 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1).0, run(2).0);
}
