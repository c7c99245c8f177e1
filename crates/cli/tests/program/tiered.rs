//! Tiered storage: what leaves the disk is still read, and a store that cannot be had is told.

use std::path::Path;
use std::process::Command;

use crate::running::{Server, free_ports};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");

/// The names of all files below a folder that end so.
fn files(folder: &Path, extension: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |path: &Path| match path.is_dir() {
        true => files(path, extension),
        false => usize::from(path.to_string_lossy().ends_with(extension)),
    };
    entries.map(|it| count(&it.unwrap().path())).sum()
}

/// Waits until something is so.
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{what}: not within a minute");
}

#[test]
fn what_is_tiered_leaves_the_disk_and_is_still_read() {
    let (directory, tier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ports = free_ports();
    let settings = [
        "remote.log.storage.system.enable=true".to_owned(),
        format!("ottla.remote.storage.url=file://{}", tier.path().display()),
        "remote.log.manager.task.interval.ms=100".to_owned(),
        "log.retention.check.interval.ms=100".to_owned(),
        "log.initial.task.delay.ms=100".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start(directory.path(), ports, &settings);
    let config = ["remote.storage.enable=true", "local.retention.bytes=1", "segment.bytes=1048576"];
    let config = config.iter().flat_map(|it| ["--config", it]);
    let create: Vec<&str> = ["topic", "create", "events"].into_iter().chain(config).collect();
    server.prints(&create, "");
    server.prints(&["perf", "produce", "events", "-n", "4000", "-s", "1000"], "");
    let local = directory.path().join("events-0");
    until("segments leave the disk", || files(&local, ".log") == 1 && files(tier.path(), ".log") >= 3);
    let read = ["perf", "consume", "events", "-n", "4000", "--json"];
    assert!(server.prints(&read, "").contains("\"records\":4000,"));
    server.stop();

    let server = Server::start(directory.path(), ports, &settings);
    assert!(server.prints(&read, "").contains("\"records\":4000,"));
    assert_eq!(files(&local, ".log"), 1);
    server.prints(&["topic", "delete", "events"], "");
    until("objects of a deleted topic go", || files(tier.path(), "") == 0);
    server.stop();

    let plug_in = [
        "remote.log.storage.system.enable=true",
        "remote.log.storage.manager.class.name=com.example.Storage",
    ];
    let mut start = Command::new(OTTLA);
    start.arg("start").args(plug_in.iter().flat_map(|it| ["--override", it]));
    start.args(["--override", &format!("log.dirs={}", directory.path().display())]);
    let output = start.output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("ottla.remote.storage.url"));
}
