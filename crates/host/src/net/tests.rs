//! Tests of sockets, on the loopback interface.

use std::net::Ipv4Addr;

use super::*;
use crate::Host;
use crate::disk::Open;

async fn pair(options: SocketOptions) -> (Stream, Stream) {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 10, options).unwrap();
    let address = listener.local_address().unwrap();
    let (client, server) = tokio::join!(Stream::connect(address, options), listener.accept());
    (client.unwrap(), server.unwrap())
}

async fn read_all(stream: &mut Stream) -> BytesMut {
    let mut received = BytesMut::new();
    loop {
        received.reserve(16 << 10);
        if stream.read(&mut received).await.unwrap() == 0 {
            return received;
        }
    }
}

#[tokio::test]
async fn pieces_arrive_in_order() {
    let (mut client, mut server) = pair(SocketOptions::default()).await;
    assert_eq!(client.local_address().unwrap(), server.peer_address());
    assert_eq!(client.peer_address(), server.local_address().unwrap());
    let large = vec![5u8; 3 << 20];
    let send = async move {
        let mut pieces = [&b"a"[..], b"", &large, b"z"].map(IoSlice::new);
        client.write_all_vectored(&mut pieces).await.unwrap();
    };
    let (received, ()) = tokio::join!(read_all(&mut server), send);
    assert_eq!(received.len(), (3 << 20) + 2);
    assert_eq!((received[0], received[1], received[received.len() - 1]), (b'a', 5, b'z'));
}

#[tokio::test]
async fn files_leave_from_their_pages() {
    let directory = tempfile::tempdir().unwrap();
    let real = Host::real().disk().open(directory.path().join("a"), Open::CreateNew).unwrap();
    let simulated = Host::simulated(1).disk().open("/a", Open::CreateNew).unwrap();
    let content: Vec<u8> = (0..3_000_000u32).map(|it| it as u8).collect();
    for file in [real, simulated] {
        file.write_all_at(&content, 0).unwrap();
        let small = SocketOptions { send_buffer_bytes: Some(200 << 10), ..SocketOptions::default() };
        let (mut client, mut server) = pair(small).await;
        let send = async move {
            let head = [IoSlice::new(b"he"), IoSlice::new(b"ad")];
            let count = poll_fn(|cx| client.poll_write_vectored_before_file(cx, &head)).await.unwrap();
            assert_eq!(count, 4);
            client.send_file(&file, 7, 2_900_000).await.unwrap();
            let beyond = client.send_file(&file, 2_999_999, 10).await.unwrap_err();
            assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        };
        let (received, ()) = tokio::join!(read_all(&mut server), send);
        assert_eq!(received[..4], b"head"[..]);
        assert_eq!(received[4..2_900_004], content[7..2_900_007]);
        assert_eq!(received.len(), 2_900_005);
    }
}

#[tokio::test]
async fn a_port_is_taken_once() {
    let first = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 10, SocketOptions::default()).unwrap();
    let again = Listener::bind(first.local_address().unwrap(), 10, SocketOptions::default());
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    let found = resolve("127.0.0.1", 9).await.unwrap();
    assert_eq!(found, [SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
}
