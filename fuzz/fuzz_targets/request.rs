//! The decoder of every request: the first two bytes choose the API and the version, the rest is the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla_wire::{ApiKey, Reader, Request, Writer};

fuzz_target!(|input: &[u8]| {
    let [api, version, body @ ..] = input else { return };
    let key = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    let version = key.first_version() + i16::from(*version) % (key.last_version() - key.first_version() + 1);
    let decode = |body: Bytes| Request::decode(key, &mut Reader::new(body), version);
    let Ok(request) = decode(Bytes::copy_from_slice(body)) else { return };
    let mut writer = Writer::default();
    if request.encode(&mut writer, version).is_ok() {
        let bytes = writer.into_bytes();
        let mut again = Writer::default();
        decode(bytes.clone()).expect("what was written is read").encode(&mut again, version).expect("again");
        assert_eq!(again.into_bytes(), bytes);
    }
});
