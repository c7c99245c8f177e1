//! Frames and fields that lie, connections that stall, and more of anything than is sensible.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use crate::server::{Server, frame, i16_at, i32_at, i64_at, string};

#[test]
fn impossible_lengths_end_the_connection() {
    let server = Server::start();
    for len in [-1, i32::MIN, 0, (100 << 20) + 1, i32::MAX] {
        let mut client = server.connect();
        client.stream.write_all(&len.to_be_bytes()).unwrap();
        client.is_closed();
    }
    server.is_well();
}

#[test]
fn unknown_keys_and_versions_end_the_connection_but_api_versions_helps() {
    let server = Server::start();
    for (key, version) in [(-1, 0), (4, 0), (999, 0), (i16::MAX, 0), (3, 99), (0, -1), (1, i16::MIN)] {
        let mut client = server.connect();
        client.send(key, version, &[0; 40]);
        client.is_closed();
    }
    // KIP-511: the answer is of version 0, with UNSUPPORTED_VERSION, and the connection goes on.
    let mut client = server.connect();
    let answer = client.ask(18, 99, &[]);
    assert_eq!(i16_at(&answer, 0), 35);
    assert_eq!(i16_at(&client.ask(18, 0, &[]), 0), 0);
}

#[test]
fn counts_and_lengths_beyond_the_frame_end_the_connection() {
    let server = Server::start();
    let before = server.resident_mebibytes();
    let lies: [(i16, i16, Vec<u8>); 6] = [
        (3, 4, i32::MAX.to_be_bytes().to_vec()),
        (3, 4, [&1i32.to_be_bytes()[..], &i16::MAX.to_be_bytes()].concat()),
        (3, 4, [&1i32.to_be_bytes()[..], &(-2i16).to_be_bytes(), &[0]].concat()),
        (19, 4, [&0x7fff_fff0i32.to_be_bytes()[..], &[0; 64]].concat()),
        // A compact array of 2^35 and one of -1 elements, tags without end.
        (3, 9, vec![0, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0]),
        (3, 9, vec![0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (key, version, body) in lies {
        let mut client = server.connect();
        client.send(key, version, &body);
        client.is_closed();
    }
    server.is_well();
    assert!(server.resident_mebibytes() < before + 64);
}

#[test]
fn a_request_that_never_ends_disturbs_nobody() {
    let server = Server::start();
    let mut cut = server.connect();
    let request = frame(3, 4, &[0xff, 0xff, 0xff, 0xff, 0]);
    cut.stream.write_all(&request[..request.len() - 3]).unwrap();
    let mut slow = server.connect();
    for byte in &request[..4] {
        slow.stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        server.is_well();
    }
    // What was only slow is answered once it is whole.
    slow.stream.write_all(&request[4..]).unwrap();
    assert!(slow.receive().is_some());
}

#[test]
fn ten_thousand_requests_at_once_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let mut reader = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for number in 0..10_000i32 {
            let mut request = frame(18, 0, &[]);
            request[8..12].copy_from_slice(&number.to_be_bytes());
            client.stream.write_all(&request).unwrap();
        }
        client
    });
    for number in 0..10_000i32 {
        let mut head = [0; 8];
        reader.read_exact(&mut head).unwrap();
        assert_eq!(i32_at(&head, 4), number);
        let mut rest = vec![0; i32_at(&head, 0) as usize - 4];
        reader.read_exact(&mut rest).unwrap();
    }
    drop(writer.join().unwrap());
}

#[test]
fn whoever_does_not_read_is_not_read_from() {
    let server = Server::start();
    let before = server.resident_mebibytes();
    let client = server.connect();
    client.stream.set_nonblocking(true).unwrap();
    let request = frame(18, 0, &[]).repeat(1000);
    let mut taken = 0;
    let mut refusals = 0;
    // Until the server has taken nothing for half a second.
    while refusals < 50 {
        assert!(taken < 256 << 20, "requests are taken for ever");
        match (&client.stream).write(&request) {
            Ok(len) => {
                taken += len;
                refusals = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    server.is_well();
    assert!(server.resident_mebibytes() < before + 64);
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_was_promised() {
    let server = Server::start();
    let before = server.resident_mebibytes();
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let client = server.connect();
        (&client.stream).write_all(&(90i32 << 20).to_be_bytes()).unwrap();
        (&client.stream).write_all(&frame(0, 8, &[0; 1000])[4..]).unwrap();
        stalled.push(client);
    }
    for _ in 0..20 {
        server.is_well();
    }
    assert!(server.resident_mebibytes() < before + 64, "200 connections that stall cost too much");
}

#[test]
fn names_of_topics_that_cannot_be_are_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let long = "x".repeat(250);
    let longest = "x".repeat(249);
    let create = |name: &str| {
        let mut body = 1i32.to_be_bytes().to_vec();
        body.extend(string(name));
        body.extend(1i32.to_be_bytes());
        body.extend(1i16.to_be_bytes());
        body.extend([0; 8]);
        body.extend(30_000i32.to_be_bytes());
        body.push(0);
        body
    };
    let code = |client: &mut crate::server::Client, name: &str| {
        i16_at(&client.ask(19, 4, &create(name)), 4 + 4 + 2 + name.len())
    };
    for name in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0b", "a\nb", &long] {
        assert_eq!(code(&mut client, name), 17, "{name:?}");
    }
    for name in [&longest, "a_b"] {
        assert_eq!(code(&mut client, name), 0, "{name:?}");
    }
    // Its metrics would be those of `a_b`.
    assert_eq!(code(&mut client, "a.b"), 17);
    assert_eq!(code(&mut client, "a_b"), 36);
}

#[test]
fn a_million_topics_at_once_are_refused() {
    let server = Server::start();
    let count = 1_000_000i32;
    let mut body = count.to_be_bytes().to_vec();
    for number in 0..count {
        body.extend(string(&format!("m{number}")));
        body.extend(1i32.to_be_bytes());
        body.extend(1i16.to_be_bytes());
        body.extend([0; 8]);
    }
    body.extend(30_000i32.to_be_bytes());
    body.push(0);
    let mut client = server.connect();
    client.send(19, 4, &body);
    server.is_well();
    if let Some(answer) = client.receive() {
        assert_ne!(i16_at(&answer, 4 + 4 + 2 + 2), 0, "a million topics were made");
    }
    server.is_well();
}

#[test]
fn offsets_and_partitions_at_the_ends_of_their_ranges_are_refused() {
    let server = Server::start();
    let mut client = server.connect();
    for partition in [-1, i32::MIN, 4, i32::MAX] {
        assert_eq!(fetch(&mut client, partition, 0).0, 3, "partition {partition}");
        assert_eq!(list(&mut client, partition, -1).0, 3, "partition {partition}");
        assert_eq!(delete(&mut client, partition, 0), 3, "partition {partition}");
    }
    for offset in [i64::MIN, -2, 1, i64::MAX] {
        assert_eq!(fetch(&mut client, 0, offset).0, 1, "offset {offset}");
    }
    for offset in [i64::MIN, -2, 1, i64::MAX] {
        assert_eq!(delete(&mut client, 0, offset), 1, "offset {offset}");
    }
    assert_eq!(list(&mut client, 0, i64::MAX), (0, -1));
    assert_ne!(list(&mut client, 0, i64::MIN).0, 0);
    server.is_well();
}

/// The code and high watermark of a fetch.
fn fetch(client: &mut crate::server::Client, partition: i32, offset: i64) -> (i16, i64) {
    let mut body = (-1i32).to_be_bytes().to_vec();
    body.extend(0i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string("t"));
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    let answer = client.ask(1, 4, &body);
    let at = 4 + 4 + 3 + 4 + 4;
    (i16_at(&answer, at), i64_at(&answer, at + 2))
}

/// The code and offset of a ListOffsets.
fn list(client: &mut crate::server::Client, partition: i32, time: i64) -> (i16, i64) {
    let mut body = (-1i32).to_be_bytes().to_vec();
    body.extend(1i32.to_be_bytes());
    body.extend(string("t"));
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(time.to_be_bytes());
    let answer = client.ask(2, 1, &body);
    let at = 4 + 3 + 4 + 4;
    (i16_at(&answer, at), i64_at(&answer, at + 10))
}

/// The code of a DeleteRecords.
fn delete(client: &mut crate::server::Client, partition: i32, offset: i64) -> i16 {
    let mut body = 1i32.to_be_bytes().to_vec();
    body.extend(string("t"));
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    let answer = client.ask(21, 1, &body);
    i16_at(&answer, 4 + 4 + 3 + 4 + 4 + 8)
}
