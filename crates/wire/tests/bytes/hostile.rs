//! Hostile bytes: no decoder panics on them, and none takes more memory than they justify.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::every::Types;
use bytes::{BufMut, Bytes, BytesMut};
use ottla_base::Str;
use ottla_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_wire::{Message, Reader, Writer};

/// Memory that is counted, thread by thread.
struct Counted;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    static TIMES: Cell<usize> = const { Cell::new(0) };
}

fn count(size: isize) {
    let now = NOW.get() + size;
    NOW.set(now);
    MOST.set(MOST.get().max(now));
    TIMES.set(TIMES.get() + usize::from(size > 0));
}

#[expect(unsafe_code, reason = "an allocator that counts can only be written so")]
// SAFETY: every call is the system allocator's; counting touches no memory that it gave out.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// Does something; gives how many bytes it held at most, and how often it allocated.
fn measured<T>(act: impl FnOnce() -> T) -> (T, usize, usize) {
    let (before, times) = (NOW.get(), TIMES.get());
    MOST.set(before);
    let done = act();
    (done, (MOST.get() - before) as usize, TIMES.get() - times)
}

#[test]
fn a_produce_request_is_decoded_with_three_allocations() {
    let partition =
        PartitionProduceData { records: Some(Bytes::from(vec![7; 4096])), ..PartitionProduceData::default() };
    let topic = TopicProduceData {
        name: Str::from("orders"),
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    let request = ProduceRequest { topic_data: vec![topic], ..ProduceRequest::default() };
    for version in [8, 12] {
        let mut writer = Writer::default();
        request.encode(&mut writer, version).expect("encodes");
        let frame = writer.into_bytes();
        let (read, _, times) = measured(|| ProduceRequest::decode(&mut Reader::new(frame), version));
        assert_eq!(read, Ok(request.clone()));
        assert!(times <= 3, "{times} allocations at version {version}");
    }
}

/// Decodes; a value that can be written again must be read and written as the same bytes.
fn check(kind: &crate::every::Type, bytes: &[u8], version: i16) {
    let frame = Bytes::copy_from_slice(bytes);
    let (_, most, _) = measured(|| (kind.decode)(frame.clone(), version));
    assert!(
        most <= FIXED + PER_BYTE * bytes.len(),
        "{} version {version} takes {most} bytes for a frame of {}",
        kind.name,
        bytes.len()
    );
    if let Ok(again) = (kind.transcode)(frame, version, version) {
        let third = (kind.transcode)(again.clone(), version, version);
        assert_eq!(third, Ok(again), "{} version {version}: {bytes:02x?}", kind.name);
    }
}

/// The most memory for each byte of a frame. The worst is a list of empty strings: one byte on the wire, thirty-two
/// in memory, in a vector that is twice its old self and stands beside it.
const PER_BYTE: usize = 96;
/// Memory that even an empty frame may take: the first room of lists within lists.
const FIXED: usize = 4096;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

#[test]
fn damaged_golden_bytes_are_refused_or_read_in_bounded_memory() {
    let types = Types::all();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for entry in crate::every::golden() {
        let Some(kind) = types.named(&entry.name) else { continue };
        for _ in 0..12 {
            let mut bytes = entry.body.to_vec();
            bytes.truncate(random.below(bytes.len() + 1));
            check(kind, &bytes, entry.version);
        }
        for _ in 0..24 {
            let mut bytes = entry.body.to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 if at < bytes.len() => bytes[at] = random.next() as u8,
                    1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                    2 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x07])),
                    _ => {
                        let end = (at + 4).min(bytes.len());
                        bytes.splice(at..end, (random.next() as u32 >> random.below(32)).to_be_bytes());
                    }
                }
            }
            check(kind, &bytes, entry.version);
        }
    }
}

#[test]
fn long_lists_of_nothing_take_bounded_memory() {
    for kind in Types::all().iter() {
        for version in kind.first_version..=kind.last_version {
            for byte in [0, 1, 2, 3, 5, 9, 0x41] {
                check(kind, &[byte; 2000], version);
                // A length that claims the rest of the frame, wherever a length may be.
                for offset in 0..16 {
                    let mut compact = BytesMut::zeroed(offset);
                    compact.put_slice(&[0xd0, 0x0f]);
                    compact.put_bytes(byte, 2000);
                    check(kind, &compact, version);
                    let mut plain = BytesMut::zeroed(offset);
                    plain.put_u32(400);
                    plain.put_bytes(byte, 2000);
                    check(kind, &plain, version);
                }
            }
        }
    }
}
