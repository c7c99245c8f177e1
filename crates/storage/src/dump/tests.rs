//! Looking at what Apache Kafka wrote.

use std::path::PathBuf;

use super::*;

fn golden(which: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kafka-4.4.0").join(which)
}

#[test]
fn every_batch_is_shown() {
    let mut seen = Vec::new();
    let path = golden("stopped/golden-0/00000000000000000053.log");
    let end = walk_batches(&Host::real(), &path, |batch, bytes| {
        ottla_record::StoredBatch::new(bytes).unwrap().verify_crc().unwrap();
        seen.push(batch.base_offset.get());
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), WalkEnd::Complete);
    assert_eq!(seen, (53..75).collect::<Vec<_>>());
    let stopped = walk_batches(&Host::real(), &path, |_, _| ControlFlow::Break(()));
    assert_eq!(stopped.unwrap(), WalkEnd::Stopped);
    let missing = walk_batches(&Host::real(), &golden("no.log"), |_, _| ControlFlow::Continue(()));
    assert!(matches!(missing, Err(StorageError::Corrupt { .. })));
    let index = golden("stopped/golden-0/00000000000000000053.index");
    let torn = walk_batches(&Host::real(), &index, |_, _| ControlFlow::Continue(()));
    assert!(matches!(torn, Ok(WalkEnd::Torn(_))));
}

#[test]
fn indexes_are_shown_trimmed_or_not() {
    let disk = Host::real().disk();
    for kind in ["index", "timeindex"] {
        let path = |which| golden(&format!("{which}/golden-0/00000000000000000053.{kind}"));
        let (trimmed, reserved) = if kind == "index" {
            let read = |which| read_offset_index(&disk, &path(which)).unwrap().len();
            (read("stopped"), read("killed"))
        } else {
            let read = |which| read_time_index(&disk, &path(which)).unwrap().len();
            (read("stopped"), read("killed"))
        };
        // An orderly stop adds the last timestamp.
        assert!(
            trimmed > 0 && trimmed - reserved <= usize::from(kind == "timeindex"),
            "{trimmed} {reserved}"
        );
    }
}
