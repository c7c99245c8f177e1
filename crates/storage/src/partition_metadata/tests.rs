//! Tests of `partition.metadata`.

use ottla_host::Host;

use super::*;

#[test]
fn a_topic_id_is_written_as_kafka_writes_it() {
    let disk = Host::simulated(1).disk();
    let directory = Path::new("/a-0");
    disk.create_dir_all(directory).unwrap();
    assert_eq!(read_topic_id(&disk, directory).unwrap(), None);
    let topic_id: Uuid = "mvWu0LXsRc2DL1xWGWsNrg".parse().unwrap();
    write_topic_id(&disk, directory, topic_id).unwrap();
    let content = disk.read("/a-0/partition.metadata", 100).unwrap();
    assert_eq!(content, b"version: 0\ntopic_id: mvWu0LXsRc2DL1xWGWsNrg");
    assert_eq!(read_topic_id(&disk, directory).unwrap(), Some(topic_id));
    assert_eq!(parse(b"version: 7\r\ntopic_id:  mvWu0LXsRc2DL1xWGWsNrg\nmore: 1\n"), Ok(topic_id));
}

#[test]
fn malformed_files_are_errors() {
    let malformed = [
        "",
        "version",
        "version: x\ntopic_id: mvWu0LXsRc2DL1xWGWsNrg",
        "version: -1\ntopic_id: mvWu0LXsRc2DL1xWGWsNrg",
        "version: 0",
        "version: 0\ntopic_id",
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        "version: 0\ntopic_id: mvWu0LXsRc2DL1xWGWsNr",
    ];
    for content in malformed {
        assert!(parse(content.as_bytes()).is_err(), "{content:?}");
    }
    assert!(parse(b"\xff").is_err());
}
