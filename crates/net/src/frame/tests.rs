//! Tests of framing.

use bytes::BufMut;
use ottla_host::Prng;

use super::*;

const LIMIT: usize = 100 << 20;

fn framed(content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes
}

/// Feeds bytes as a socket would: as many as there is room for, at most `at_once`.
fn feed(reader: &mut FrameReader, mut bytes: &[u8], at_once: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let room = reader.room();
        let count = bytes.len().min(at_once).min(room.capacity() - room.len());
        assert!(count > 0);
        room.put_slice(&bytes[..count]);
        bytes = &bytes[count..];
        while let Some(frame) = reader.take_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn frames_come_out_however_bytes_come_in() {
    let contents = [vec![1; 1], vec![2; 5], vec![3; 20_000], vec![4; 3_000_000], vec![5; 7]];
    let stream: Vec<u8> = contents.iter().flat_map(|it| framed(it)).collect();
    for at_once in [1, 3, 1000, 16 << 10, usize::MAX] {
        let mut reader = FrameReader::new(LIMIT);
        let frames = feed(&mut reader, &stream, at_once);
        assert_eq!(frames.len(), contents.len());
        assert!(frames.iter().zip(&contents).all(|(frame, content)| frame == content));
        assert!(!reader.is_inside_frame());
    }
}

#[test]
fn invalid_lengths_are_refused() {
    for (prefix, limit) in [(0, LIMIT), (-1, LIMIT), (i32::MIN, LIMIT), (i32::MAX, LIMIT), (11, 10)] {
        let mut reader = FrameReader::new(limit);
        reader.room().put_i32(prefix);
        assert!(reader.take_frame().is_err(), "{prefix}");
    }
    let mut reader = FrameReader::new(10);
    reader.room().put_i32(10);
    assert_eq!(reader.take_frame(), Ok(None));
}

#[test]
fn memory_grows_with_what_was_received() {
    let announced: i32 = 90 << 20;
    let mut reader = FrameReader::new(LIMIT);
    feed(&mut reader, &announced.to_be_bytes(), usize::MAX);
    assert!(reader.room().capacity() <= FIRST_ROOM_BYTES);
    for _ in 0..200 {
        feed(&mut reader, &[0; 20_000], usize::MAX);
        assert!(reader.capacity_bytes() <= FIRST_ROOM_BYTES.max(reader.held_bytes() * GROWTH));
    }
    let mut held = reader.held_bytes();
    while held < announced as usize {
        let count = (announced as usize - held).min(1 << 20);
        let frames = feed(&mut reader, &vec![0; count], usize::MAX);
        held += count;
        assert_eq!(frames.len(), usize::from(held == announced as usize));
    }
    // A frame as large as the last, up to a limit, is read without copies.
    feed(&mut reader, &announced.to_be_bytes(), usize::MAX);
    let capacity = reader.room().capacity();
    assert!((MAX_EARNED_BYTES..2 * MAX_EARNED_BYTES).contains(&capacity), "{capacity}");
}

#[test]
fn a_quiet_connection_holds_nothing() {
    let mut reader = FrameReader::new(LIMIT);
    feed(&mut reader, &framed(b"abc"), usize::MAX);
    reader.release();
    assert_eq!(reader.capacity_bytes(), 0);
    feed(&mut reader, b"\0\0", usize::MAX);
    reader.release();
    assert!(reader.is_inside_frame() && reader.held_bytes() == 2);
}

#[test]
fn no_bytes_break_a_reader() {
    for seed in 0..2000 {
        let mut random = Prng::new(seed);
        let mut reader = FrameReader::new(70_000);
        let mut bytes = vec![0; random.below(200) as usize];
        random.fill(&mut bytes);
        // Lengths of any size, mostly small enough to be allowed.
        bytes.iter_mut().step_by(4).for_each(|byte| *byte = if random.one_in(9) { *byte } else { 0 });
        for chunk in bytes.chunks(1 + random.below(20) as usize) {
            reader.room().put_slice(chunk);
            while let Ok(Some(frame)) = reader.take_frame() {
                assert!(!frame.is_empty() && frame.len() < 200);
            }
            assert!(reader.capacity_bytes() <= 128 << 10);
        }
    }
}

#[test]
fn a_connection_that_asks_little_holds_little() {
    let mut reader = FrameReader::new(LIMIT);
    assert_eq!(feed(&mut reader, &framed(b"hello"), usize::MAX).len(), 1);
    assert!(reader.capacity_bytes() <= FIRST_READ_BYTES);
    // A busy one reads as much at once as it may, whether its peer waits for answers or not.
    for at_once in [framed(&[1; 80]).len(), usize::MAX] {
        for _ in 0..200 {
            feed(&mut reader, &framed(&[1; 80]), at_once);
        }
        assert!(reader.room().capacity() >= READ_BYTES / 4, "{}", reader.capacity_bytes());
        reader.release();
        assert!(reader.room().capacity() <= FIRST_READ_BYTES);
    }
}
