//! The decoder of every message and record, requests and responses included: the first three bytes choose the type
//! and the version, the rest is the body.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla_wire::{Message, Reader, Visitor, Writer, visit_every_message};

type Turn = fn(Bytes, u8);

#[derive(Default)]
struct Types(Vec<Turn>);

impl Visitor for Types {
    fn visit<M: Message>(&mut self) {
        self.0.push(turn::<M>);
    }
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let mut types = Types::default();
    visit_every_message(&mut types);
    types
});

fn turn<M: Message>(body: Bytes, version: u8) {
    let version = M::FIRST_VERSION + i16::from(version) % (M::LAST_VERSION - M::FIRST_VERSION + 1);
    let Ok(message) = M::decode(&mut Reader::new(body), version) else { return };
    let mut writer = Writer::default();
    if message.encode(&mut writer, version).is_ok() {
        let bytes = writer.into_bytes();
        let mut again = Writer::default();
        let message = M::decode(&mut Reader::new(bytes.clone()), version).expect("what was written is read");
        message.encode(&mut again, version).expect("again");
        assert_eq!(again.into_bytes(), bytes);
    }
}

fuzz_target!(|input: &[u8]| {
    let [kind, other, version, body @ ..] = input else { return };
    let kind = usize::from(u16::from_be_bytes([*kind, *other])) % TYPES.0.len();
    TYPES.0[kind](Bytes::copy_from_slice(body), *version);
});
