//! Every type of message by its name, and the golden bytes.

use std::ffi::OsStr;
use std::io::Read;

use bytes::{Buf, BufMut, Bytes};
use flate2::read::GzDecoder;
use ottla_wire::records::group::{GroupKey, GroupValue};
use ottla_wire::records::metadata::MetadataRecord;
use ottla_wire::records::remote_log::RemoteLogRecord;
use ottla_wire::records::share::{ShareKey, ShareValue};
use ottla_wire::records::transaction::{TransactionKey, TransactionValue};
use ottla_wire::{
    Message, Reader, TypedRecord, Visitor, Writer, decode_coordinator_key, decode_coordinator_value,
    decode_metadata_record, encode_coordinator_key, encode_coordinator_value, encode_metadata_record,
    visit_every_message,
};

/// One type of message.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) first_version: i16,
    pub(crate) last_version: i16,
    /// Reads bytes and forgets what they say.
    pub(crate) decode: fn(Bytes, i16) -> Result<(), String>,
    /// Reads bytes of one version and writes them in another.
    pub(crate) transcode: fn(Bytes, i16, i16) -> Result<Bytes, String>,
}

/// Every type of message.
pub(crate) struct Types(Vec<Type>);

impl Types {
    pub(crate) fn all() -> Types {
        let mut types = Types(Vec::new());
        visit_every_message(&mut types);
        types
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Type> {
        self.0.iter().find(|it| it.name == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Type> {
        self.0.iter()
    }
}

impl Visitor for Types {
    fn visit<M: Message>(&mut self) {
        self.0.push(Type {
            name: M::NAME,
            first_version: M::FIRST_VERSION,
            last_version: M::LAST_VERSION,
            decode: |bytes, version| {
                M::decode(&mut Reader::new(bytes), version).map(drop).map_err(|it| it.to_string())
            },
            transcode: transcode::<M>,
        });
    }
}

fn transcode<M: Message>(bytes: Bytes, version: i16, other: i16) -> Result<Bytes, String> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version).map_err(|it| it.to_string())?;
    reader.finish().map_err(|it| it.to_string())?;
    let mut writer = Writer::default();
    message.encode(&mut writer, other).map_err(|it| it.to_string())?;
    Ok(writer.into_bytes())
}

/// Reads a record with what stands in front of it and writes both again.
pub(crate) fn reframe(kind: &str, name: &str, bytes: Bytes) -> Result<Bytes, String> {
    let family = ["Remote", "TransactionLog", "ShareSnapshot", "ShareUpdate"];
    match (kind, family.iter().find(|it| name.starts_with(**it)).copied()) {
        ("metadata", Some(_)) => metadata::<RemoteLogRecord>(bytes),
        ("metadata", None) => metadata::<MetadataRecord>(bytes),
        ("key", Some("TransactionLog")) => key::<TransactionKey>(bytes),
        ("key", Some(_)) => key::<ShareKey>(bytes),
        ("key", None) => key::<GroupKey>(bytes),
        ("value", Some("TransactionLog")) => value::<TransactionValue>(0, bytes),
        ("value", Some("ShareSnapshot")) => value::<ShareValue>(0, bytes),
        ("value", Some(_)) => value::<ShareValue>(1, bytes),
        ("value", None) => {
            let types = 0..=i16::from(u8::MAX);
            let found =
                types.filter_map(|it| value::<GroupValue>(it, bytes.clone()).ok().map(|again| (it, again)));
            let named: Vec<Bytes> = found.map(|it| it.1).filter(|it| *it == bytes).collect();
            named.into_iter().next().ok_or_else(|| "no group value has these bytes".to_owned())
        }
        _ => Err(format!("no frame is called {kind}")),
    }
}

fn metadata<T: TypedRecord>(bytes: Bytes) -> Result<Bytes, String> {
    let (record, version) = decode_metadata_record::<T>(bytes).map_err(|it| it.to_string())?;
    encode_metadata_record(&record, version).map_err(|it| it.to_string())
}

fn key<T: TypedRecord>(bytes: Bytes) -> Result<Bytes, String> {
    let record = decode_coordinator_key::<T>(bytes).map_err(|it| it.to_string())?;
    encode_coordinator_key(&record).map_err(|it| it.to_string())
}

fn value<T: TypedRecord>(record_type: i16, bytes: Bytes) -> Result<Bytes, String> {
    let (record, version) = decode_coordinator_value::<T>(record_type, bytes).map_err(|it| it.to_string())?;
    encode_coordinator_value(&record, version).map_err(|it| it.to_string())
}

/// One line of the golden file.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: i16,
    pub(crate) body: Bytes,
    /// The same value at another version: its bytes, unless Kafka refuses.
    pub(crate) another: Option<(i16, Option<Bytes>)>,
}

impl Entry {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u16(self.name.len() as u16);
        out.put_slice(self.name.as_bytes());
        out.put_i16(self.version);
        out.put_i32(self.body.len() as i32);
        out.put_slice(&self.body);
        let (version, body) = self.another.clone().unwrap_or((-1, None));
        out.put_i16(version);
        out.put_i32(body.as_ref().map_or(-1, |it| it.len() as i32));
        out.put_slice(&body.unwrap_or_default());
    }
}

/// The entries of an unpacked golden file.
pub(crate) fn parse(mut bytes: Bytes) -> Vec<Entry> {
    let mut entries = Vec::new();
    while bytes.has_remaining() {
        let len = usize::from(bytes.get_u16());
        let name = String::from_utf8(bytes.split_to(len).to_vec()).expect("names are text");
        let version = bytes.get_i16();
        let len = bytes.get_i32() as usize;
        let body = bytes.split_to(len);
        let other = bytes.get_i16();
        let len = bytes.get_i32();
        let other_body = (len >= 0).then(|| bytes.split_to(len as usize));
        let another = (other >= 0).then_some((other, other_body));
        entries.push(Entry { name, version, body, another });
    }
    entries
}

/// The golden bytes: those that `OTTLA_GOLDEN` names, or the sample that is kept with the tests.
pub(crate) fn golden() -> Vec<Entry> {
    let sample = include_bytes!("../../testdata/golden.gz");
    let named = std::env::var_os("OTTLA_GOLDEN").map(|it| read_file(&it));
    let mut bytes = Vec::new();
    GzDecoder::new(named.as_deref().unwrap_or(sample)).read_to_end(&mut bytes).expect("gzip");
    parse(Bytes::from(bytes))
}

#[expect(clippy::disallowed_methods, reason = "a test on the real machine")]
fn read_file(path: &OsStr) -> Vec<u8> {
    std::fs::read(path).expect("the file that OTTLA_GOLDEN names")
}

#[expect(clippy::disallowed_methods, reason = "a test on the real machine")]
pub(crate) fn write_file(path: &OsStr, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the file that is named for the answer");
}
