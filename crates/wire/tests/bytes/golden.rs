//! Every message at every version against the bytes of Apache Kafka's own serializers.
//!
//! `testdata/golden.gz` is a sample of what `xtask/java/GoldenWire.java` writes. `cargo xtask compat wire` runs
//! this test over a larger sample, named by `OTTLA_GOLDEN`, and has Apache Kafka read what the test leaves in
//! the file that `OTTLA_GOLDEN_ANSWER` names.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use crate::every::{Entry, Types};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

#[test]
fn every_message_has_kafkas_bytes_at_every_version() {
    let types = Types::all();
    let entries = crate::every::golden();
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in &entries {
        met.insert((entry.name.rsplit('/').next().unwrap_or_default().to_owned(), entry.version));
        if let Err(error) = check(&types, entry) {
            wrong.push(format!("{} version {}: {error}", entry.name, entry.version));
        }
    }
    assert!(wrong.is_empty(), "{} of {} entries:\n{}", wrong.len(), entries.len(), wrong.join("\n"));
    for kind in types.iter() {
        for version in kind.first_version..=kind.last_version {
            assert!(met.contains(&(kind.name.to_owned(), version)), "no bytes of {} {version}", kind.name);
        }
    }
    answer(&types, &entries);
}

/// Reads the bytes and writes them again, in the same version and in another.
fn check(types: &Types, entry: &Entry) -> Result<(), String> {
    if let Some((kind, name)) = entry.name.split_once('/') {
        let again = crate::every::reframe(kind, name, entry.body.clone())?;
        return expect(&again, &entry.body);
    }
    let kind = types.named(&entry.name).ok_or("no such message")?;
    let again = (kind.transcode)(entry.body.clone(), entry.version, entry.version)?;
    expect(&again, &entry.body)?;
    let Some((version, expected)) = &entry.another else { return Ok(()) };
    match ((kind.transcode)(entry.body.clone(), entry.version, *version), expected) {
        (Ok(bytes), Some(expected)) => expect(&bytes, expected),
        (Err(_), None) => Ok(()),
        (Ok(_), None) => Err(format!("version {version} is refused by Kafka, not by us")),
        (Err(error), Some(_)) => Err(format!("version {version} is refused by us, not by Kafka: {error}")),
    }
    .map_err(|error| format!("at version {version}: {error}"))
}

fn expect(bytes: &[u8], expected: &[u8]) -> Result<(), String> {
    if bytes == expected {
        return Ok(());
    }
    let at = bytes.iter().zip(expected).take_while(|(ours, theirs)| ours == theirs).count();
    Err(format!("byte {at} differs: Kafka {:02x?}, ours {:02x?}", &expected[at..], &bytes[at..]))
}

/// Leaves every value at every version that can say it, as our bytes, for Apache Kafka to read.
fn answer(types: &Types, entries: &[Entry]) {
    let Some(path) = std::env::var_os("OTTLA_GOLDEN_ANSWER") else { return };
    let mut out = Vec::new();
    for entry in entries.iter().filter(|it| !it.name.contains('/')) {
        let Some(kind) = types.named(&entry.name) else { continue };
        for version in kind.first_version..=kind.last_version {
            if let Ok(body) = (kind.transcode)(entry.body.clone(), entry.version, version) {
                Entry { name: entry.name.clone(), version, body, another: None }.write(&mut out);
            }
        }
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&out).expect("memory takes all");
    crate::every::write_file(&path, &packed.finish().expect("memory takes all"));
}

#[test]
fn a_golden_file_is_read_as_it_is_written() {
    let entry = Entry {
        name: "A".to_owned(),
        version: 3,
        body: Bytes::from_static(b"xyz"),
        another: Some((2, None)),
    };
    let mut bytes = Vec::new();
    entry.write(&mut bytes);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).expect("memory takes all");
    let mut text = Vec::new();
    GzDecoder::new(&packed.finish().expect("memory takes all")[..]).read_to_end(&mut text).expect("unpacks");
    assert_eq!(crate::every::parse(Bytes::from(text)), vec![entry]);
}
