//! Tests of responses.

use std::future::poll_fn;
use std::net::Ipv4Addr;

use bytes::BytesMut;
use ottla_host::disk::Open;
use ottla_host::disk::simulated::{Failure, Fault, Operation};
use ottla_host::net::{Listener, SocketOptions, Stream};

use super::*;

#[test]
fn external_bytes_go_where_they_were_cut() {
    let frame = Bytes::from_static(b"abcdef");
    let cuts = [Cut { position: 0, len: 2 }, Cut { position: 3, len: 3 }, Cut { position: 3, len: 1 }];
    let external = ["12", "3", "45", "6"].map(|it| Piece::Bytes(Bytes::from_static(it.as_bytes())));
    let response = Response::spliced(frame.clone(), &cuts, external);
    let mut whole = Vec::new();
    for piece in &response.pieces {
        let Piece::Bytes(bytes) = piece else { panic!("a file") };
        whole.extend_from_slice(bytes);
    }
    assert_eq!(whole, b"12abc3456def");
    assert_eq!(response.memory_bytes(), 12);
    assert_eq!(Response::spliced(frame, &[], []).pieces.len(), 1);
}

#[tokio::test]
async fn what_is_on_the_disk_alone_leaves_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..6_000_000u32).map(|it| (it >> 4) as u8).collect();
    for (host, path) in [(Host::real(), directory.path().join("a")), (Host::simulated(1), "/a".into())] {
        let file = host.disk().open(path, Open::CreateNew).unwrap();
        file.write_all_at(&content, 0).unwrap();
        file.sync_data().unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1, SocketOptions::default()).unwrap();
        let address = listener.local_address().unwrap();
        let mut client = Stream::connect(address, SocketOptions::default()).await.unwrap();
        let mut transport = Transport::Plain(listener.accept().await.unwrap());

        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        let ranges = [
            (0, 100),
            (200, 8192),
            (10_000, 9000),
            (50_000, 3_000_000),
            (3_060_000, 10),
            // What is loaded ends in the middle of a short one.
            (3_100_000, (1 << 20) - 4000),
            (4_200_000, 8000),
            (4_300_000, 1_500_000),
            (5_900_000, 7000),
        ];
        for (offset, len) in ranges {
            outbox.push(Piece::Bytes(Bytes::from_static(b"head")));
            outbox.push(Piece::File { file: file.clone(), offset, len });
            expected.extend_from_slice(b"head");
            expected.extend_from_slice(&content[offset as usize..(offset + len) as usize]);
        }
        let send = async {
            while !outbox.is_empty() {
                // Forgotten again and again, also between what was loaded and what is sent of it.
                file.will_not_need(0..6_000_000).unwrap();
                let sent = poll_fn(|cx| outbox.poll_send(cx, &host, &mut transport)).await.unwrap();
                assert!(sent > 0);
            }
            assert_eq!((outbox.memory_bytes(), outbox.loaded_bytes), (0, 0));
        };
        let receive = async {
            let mut received = BytesMut::with_capacity(64 << 10);
            while received.len() < expected.len() {
                received.reserve(64 << 10);
                assert_ne!(client.read(&mut received).await.unwrap(), 0);
            }
            received
        };
        let ((), received) = tokio::join!(send, receive);
        assert!(received == expected, "other bytes than those of the file");
    }
}

#[tokio::test]
async fn a_file_that_ends_too_early_is_an_error() {
    let host = Host::simulated(1);
    let file = host.disk().open("/a", Open::CreateNew).unwrap();
    file.write_all_at(&[7; 20_000], 0).unwrap();
    for (is_cached, len) in [(true, 10), (false, 10), (true, 100_000), (false, 100_000)] {
        file.load(0..1).unwrap();
        if !is_cached {
            file.will_not_need(0..1).unwrap();
        }
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1, SocketOptions::default()).unwrap();
        let _client =
            Stream::connect(listener.local_address().unwrap(), SocketOptions::default()).await.unwrap();
        let mut transport = Transport::Plain(listener.accept().await.unwrap());
        let mut outbox = Outbox::default();
        outbox.push(Piece::File { file: file.clone(), offset: 19_995, len });
        let error = loop {
            if let Err(error) = poll_fn(|cx| outbox.poll_send(cx, &host, &mut transport)).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{is_cached} {len}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_ahead_is_sent_all_the_same() {
    let host = Host::simulated(1);
    let file = host.disk().open("/a", Open::CreateNew).unwrap();
    file.write_all_at(&[7; 20_000], 0).unwrap();
    file.will_not_need(0..20_000).unwrap();
    host.simulation().unwrap().disk().inject(Fault {
        operation: Operation::Read,
        on: Box::new(|_| true),
        after: 0,
        times: 1,
        failure: Failure::NoDescriptor,
    });
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1, SocketOptions::default()).unwrap();
    let mut client =
        Stream::connect(listener.local_address().unwrap(), SocketOptions::default()).await.unwrap();
    let mut transport = Transport::Plain(listener.accept().await.unwrap());
    let mut outbox = Outbox::default();
    outbox.push(Piece::File { file, offset: 0, len: 20_000 });
    while !outbox.is_empty() {
        poll_fn(|cx| outbox.poll_send(cx, &host, &mut transport)).await.unwrap();
    }
    let mut received = BytesMut::with_capacity(20_001);
    while received.len() < 20_000 {
        assert_ne!(client.read(&mut received).await.unwrap(), 0);
    }
    assert_eq!(received[..], [7; 20_000]);
}
