//! Tests of checkpoint files.

use ottla_host::Host;
use ottla_host::disk::Open;

use super::*;

fn read(content: &[u8]) -> io::Result<BTreeMap<TopicPartition, Offset>> {
    let disk = Host::simulated(1).disk();
    disk.write_atomically("/checkpoint", content).unwrap();
    read_offsets(&disk, Path::new("/checkpoint"))
}

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    let disk = Host::simulated(1).disk();
    let path = Path::new("/recovery-point-offset-checkpoint");
    assert_eq!(read_offsets(&disk, path).unwrap(), BTreeMap::new());
    let offsets = BTreeMap::from([
        (TopicPartition::new("orders", 1), Offset(998)),
        (TopicPartition::new("orders", 0), Offset(1017)),
    ]);
    write_offsets(&disk, path, &offsets).unwrap();
    assert_eq!(disk.read(path, 100).unwrap(), b"0\n2\norders 0 1017\norders 1 998\n");
    assert_eq!(read_offsets(&disk, path).unwrap(), offsets);
    disk.open(path, Open::Truncate).unwrap();
    assert_eq!(read_offsets(&disk, path).unwrap(), BTreeMap::new());
}

#[test]
fn what_kafka_reads_is_read() {
    let one = BTreeMap::from([(TopicPartition::new("a", 3), Offset(-1))]);
    for content in ["0\n1\na 3 -1\n", "0\r\n1\r\na 3 -1", "0\r1\ra\t 3  -1 \r"] {
        assert_eq!(read(content.as_bytes()).unwrap(), one, "{content:?}");
    }
    assert_eq!(read(b"0").unwrap(), BTreeMap::new());
    assert_eq!(read(b"0\n0\n").unwrap(), BTreeMap::new());
}

#[test]
fn malformed_files_are_errors() {
    let malformed: [&[u8]; 13] = [
        b"\n",
        b"1\n0\n",
        b"x\n0\n",
        b"0\nx\n",
        b"0\n-1\n",
        b"0\n2147483647\n",
        b"0\n99999999999\n",
        b"0\n2\na 0 1\n",
        b"0\n0\na 0 1\n",
        b"0\n1\na 0\n",
        b"0\n1\na 0 1 2\n",
        b"0\n1\na 0 9223372036854775808\n",
        b"0\n1\n\xff 0 1\n",
    ];
    for content in malformed {
        let error = read(content).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{content:?}");
        assert!(error.to_string().starts_with("/checkpoint is malformed: "), "{error}");
    }
}

#[test]
fn no_damage_breaks_a_reader() {
    let whole = b"0\n2\norders 0 1017\norders 1 998\n";
    for seed in 0..2000 {
        let mut random = ottla_host::Prng::new(seed);
        let mut content = whole.to_vec();
        content.truncate(random.below(whole.len() as u64 + 1) as usize);
        for _ in 0..random.below(3) {
            let at = random.below(content.len() as u64) as usize;
            content.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << random.below(8));
        }
        match read(&content) {
            Ok(offsets) => assert!(offsets.len() <= 2),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData),
        }
    }
}
