//! Tests of `meta.properties`.

use ottla_host::Host;

use super::*;

fn example() -> MetaProperties {
    let directory_id = "PjHq6JFSTMGjLQlH0ynmMg".parse().unwrap();
    MetaProperties::new("4L6g3nShT-eMCtK--X86sw", NodeId(3), directory_id)
}

#[test]
fn a_directory_is_marked_as_kafka_marks_it() {
    let disk = Host::simulated(1).disk();
    let directory = Path::new("/");
    assert_eq!(MetaProperties::read(&disk, directory).unwrap(), None);
    example().write(&disk, directory, Timestamp(1_795_256_106_789)).unwrap();
    let content = String::from_utf8(disk.read("/meta.properties", 1000).unwrap()).unwrap();
    let expected = "#\n#Sat Nov 21 10:15:06 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\n\
                    directory.id=PjHq6JFSTMGjLQlH0ynmMg\nnode.id=3\nversion=1\n";
    assert_eq!(content, expected);
    assert_eq!(MetaProperties::read(&disk, directory).unwrap(), Some(example()));
}

#[test]
fn old_and_strange_files_are_read() {
    let empty =
        MetaProperties { version: MetaVersion::V0, cluster_id: None, node_id: None, directory_id: None };
    assert_eq!(MetaProperties::parse(b""), Ok(empty.clone()));
    let old = MetaProperties { cluster_id: Some("a b".into()), node_id: Some(NodeId(7)), ..empty };
    assert_eq!(MetaProperties::parse(b"broker.id=7\r\ncluster.id : a \\\n  b\nother=1"), Ok(old.clone()));
    assert_eq!(MetaProperties::parse(old.format(Timestamp(0)).as_bytes()), Ok(old));
    let strange = MetaProperties { cluster_id: Some(" =:#!\\\t\n\u{e9}\u{1f600}".into()), ..example() };
    assert_eq!(MetaProperties::parse(strange.format(Timestamp(0)).as_bytes()), Ok(strange));
}

#[test]
fn malformed_files_are_errors() {
    let malformed = [
        "version=2",
        "version=x",
        "version=1\nnode.id=1",
        "version=1\ncluster.id=a",
        "version=1\ncluster.id=a\nnode.id=x",
        "broker.id=99999999999",
        "directory.id=short",
        "cluster.id=\\u12",
    ];
    for content in malformed {
        assert!(MetaProperties::parse(content.as_bytes()).is_err(), "{content:?}");
    }
}

#[test]
fn directories_of_one_broker_belong_together() {
    let verify = |other: MetaProperties, cluster: Option<&str>| {
        let directories = BTreeMap::from([("/a".into(), example()), ("/b".into(), other)]);
        verify_directories(&directories, cluster, NodeId(3)).map_err(|error| error.to_string())
    };
    let other = MetaProperties { directory_id: Some(Uuid::from_number(1000)), ..example() };
    assert_eq!(verify(other.clone(), None), Ok(()));
    assert_eq!(verify(other.clone(), Some("4L6g3nShT-eMCtK--X86sw")), Ok(()));
    assert!(
        verify(other.clone(), Some("x")).unwrap_err().contains("invalid cluster.id in /a/meta.properties")
    );
    assert!(verify(MetaProperties { cluster_id: Some("x".into()), ..other }, None).is_err());
    assert!(verify(MetaProperties { node_id: Some(NodeId(4)), ..other.clone() }, None).is_err());
    assert!(verify(MetaProperties { directory_id: Some(Uuid::from_number(9)), ..other }, None).is_err());
    assert!(verify(example(), None).unwrap_err().contains("duplicate directory id"));
}

#[test]
fn dates_are_java_s() {
    assert_eq!(java_date(Timestamp(0)), "Thu Jan 01 00:00:00 UTC 1970");
    assert_eq!(java_date(Timestamp(951_782_400_000)), "Tue Feb 29 00:00:00 UTC 2000");
    assert_eq!(java_date(Timestamp(1_709_251_199_999)), "Thu Feb 29 23:59:59 UTC 2024");
    assert_eq!(java_date(Timestamp(-1)), "Wed Dec 31 23:59:59 UTC 1969");
}
