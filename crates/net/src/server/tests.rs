//! Tests of a server's connections, over the loopback interface.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_base::Moment;
use ottla_host::Prng;
use ottla_host::disk::Open;
use ottla_host::net::SocketOptions;

use super::*;
use crate::admission::{Admission, AdmissionLimits, ListenerLimits};
use crate::response::{Piece, Response};
use crate::service::Answer;

/// Does what the first byte of a request says, and answers with the rest of it.
struct Script {
    host: Host,
    waiting: Arc<AtomicUsize>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service for Script {
    type Note = u8;

    fn dispatch(&mut self, mut frame: Bytes, _received: Moment) -> (Answer, u8) {
        let command = frame.get_u8();
        (self.answer(command, frame), command)
    }

    fn answered(&mut self, command: u8) {
        assert_eq!(command, b'l', "the only one that is answered later");
    }
}

impl Script {
    fn answer(&self, command: u8, mut frame: Bytes) -> Answer {
        match command {
            b'e' => Response::bytes(framed(&frame)).into(),
            b'l' => {
                let host = self.host.clone();
                let delay = Duration::from_micros(u64::from(frame.get_u16()));
                Answer::later(async move {
                    host.sleep(delay).await;
                    Response::bytes(framed(&frame))
                })
            }
            b'w' => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let waiting = Waiting(self.waiting.clone());
                Answer::later(async move {
                    let _waiting = waiting;
                    std::future::pending().await
                })
            }
            b'p' => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let waiting = Waiting(self.waiting.clone());
                Answer::patient(async move {
                    let _waiting = waiting;
                    std::future::pending().await
                })
            }
            b'n' => Response::nothing().into(),
            b'b' => Response::bytes(framed(&vec![7; frame.get_u32() as usize])).into(),
            b'f' => {
                let file = self.host.disk().open(std::str::from_utf8(&frame).unwrap(), Open::Read).unwrap();
                let len = file.len().unwrap();
                let head = Bytes::copy_from_slice(&(len as u32).to_be_bytes());
                Response::pieces([Piece::Bytes(head), Piece::File { file, offset: 0, len }]).into()
            }
            b'c' => Response::bytes(framed(b"bye")).then_close().into(),
            _ => Response::close().into(),
        }
    }
}

fn framed(content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(content.len() + 4);
    frame.put_u32(content.len() as u32);
    frame.put_slice(content);
    frame.freeze()
}

struct Fixture {
    host: Host,
    server: Server,
    budget: Budget,
    waiting: Arc<AtomicUsize>,
}

fn serve(limits: ConnectionLimits, budget_bytes: usize, admission: AdmissionLimits) -> Fixture {
    let host = Host::real();
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1000, SocketOptions::default()).unwrap();
    let budget = Budget::new(budget_bytes);
    let options = ServerOptions {
        name: "TEST".into(),
        limits,
        budget: budget.clone(),
        admission: Admission::new(admission).listener(ListenerLimits::default()),
    };
    let waiting = Arc::new(AtomicUsize::new(0));
    let script = {
        let (host, waiting) = (host.clone(), waiting.clone());
        move |_| Script { host: host.clone(), waiting: waiting.clone() }
    };
    let server = Server::start(&host, listener, options, script).unwrap();
    Fixture { host, server, budget, waiting }
}

fn serve_by_default() -> Fixture {
    serve(ConnectionLimits::default(), usize::MAX, AdmissionLimits::default())
}

impl Fixture {
    async fn connect(&self) -> Peer {
        let stream = Stream::connect(self.server.local_address(), SocketOptions::default()).await.unwrap();
        Peer { stream, received: BytesMut::new() }
    }

    async fn until(&self, mut condition: impl FnMut(&Fixture) -> bool) {
        for _ in 0..5000 {
            if condition(self) {
                return;
            }
            self.host.sleep(Duration::from_millis(1)).await;
        }
        panic!("waited in vain");
    }
}

/// The other end of a connection.
struct Peer {
    stream: Stream,
    received: BytesMut,
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all_vectored(&mut [IoSlice::new(bytes)]).await.unwrap();
    }

    async fn request(&mut self, content: &[u8]) {
        self.send(&framed(content)).await;
    }

    /// The next answer; `None` if the connection was closed instead.
    async fn answer(&mut self) -> Option<Bytes> {
        loop {
            if let Some(len) = self.received.first_chunk().map(|it| u32::from_be_bytes(*it) as usize)
                && self.received.len() >= 4 + len
            {
                self.received.advance(4);
                return Some(self.received.split_to(len).freeze());
            }
            self.received.reserve(64 << 10);
            if !matches!(self.stream.read(&mut self.received).await, Ok(1..)) {
                return None;
            }
        }
    }
}

#[tokio::test]
async fn answers_come_in_order_however_they_are_found() {
    let fixture = serve_by_default();
    let mut random = Prng::new(1);
    let mut peer = fixture.connect().await;
    let mut pipelined = BytesMut::new();
    for number in 0..500u32 {
        let mut request = BytesMut::new();
        if random.one_in(3) {
            request.put_u8(b'e');
        } else {
            request.put_u8(b'l');
            request.put_u16(random.below(5000) as u16);
        }
        request.put_u32(number);
        pipelined.extend_from_slice(&framed(&request));
    }
    peer.send(&pipelined).await;
    for number in 0..500u32 {
        assert_eq!(peer.answer().await.unwrap(), number.to_be_bytes().as_slice());
    }
    assert_eq!(fixture.budget.used_bytes(), 0);
}

#[tokio::test]
async fn large_requests_and_files_pass() {
    let fixture = serve_by_default();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let content = vec![3; 5_000_000];
    fixture.host.disk().write_atomically(&path, &content).unwrap();
    let mut peer = fixture.connect().await;
    let mut request = vec![b'e'];
    request.extend_from_slice(&content);
    peer.request(b"nothing").await;
    peer.request(&request).await;
    peer.request(&[b"f", path.to_str().unwrap().as_bytes()].concat()).await;
    let small = directory.path().join("b");
    fixture.host.disk().write_atomically(&small, b"small").unwrap();
    peer.request(&[b"f", small.to_str().unwrap().as_bytes()].concat()).await;
    peer.request(b"eend").await;
    assert_eq!(peer.answer().await.unwrap(), content);
    assert_eq!(peer.answer().await.unwrap(), content);
    assert_eq!(peer.answer().await.unwrap(), "small");
    assert_eq!(peer.answer().await.unwrap(), "end");
}

#[tokio::test]
async fn a_request_may_close_its_connection() {
    let fixture = serve_by_default();
    let mut peer = fixture.connect().await;
    peer.send(&[framed(b"l\x10\x00one"), framed(b"c"), framed(b"etwo")].concat()).await;
    assert_eq!(peer.answer().await.unwrap(), "one");
    assert_eq!(peer.answer().await.unwrap(), "bye");
    assert_eq!(peer.answer().await, None);
    assert_eq!(fixture.server.counters().requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn invalid_lengths_close_only_their_connection() {
    let fixture = serve_by_default();
    let mut other = fixture.connect().await;
    let lengths = [0, -1, i32::MIN, (100 << 20) + 1, i32::MAX];
    for length in lengths {
        let mut peer = fixture.connect().await;
        peer.send(&length.to_be_bytes()).await;
        assert_eq!(peer.answer().await, None);
    }
    let invalid = &fixture.server.counters().closed_invalid;
    assert_eq!(invalid.load(Ordering::SeqCst), lengths.len() as u64);
    other.request(b"ehello").await;
    assert_eq!(other.answer().await.unwrap(), "hello");
}

#[tokio::test]
async fn requests_that_drip_are_given_up() {
    let limits = ConnectionLimits { frame_grace: Duration::from_millis(150), ..ConnectionLimits::default() };
    let fixture = serve(limits, usize::MAX, AdmissionLimits::default());
    let mut stalled = fixture.connect().await;
    stalled.send(b"\0").await;
    let mut dripping = fixture.connect().await;
    dripping.send(&1000i32.to_be_bytes()).await;
    for _ in 0..50 {
        let _ = dripping.stream.write_all_vectored(&mut [IoSlice::new(b"x")]).await;
        fixture.host.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stalled.answer().await, None);
    assert_eq!(dripping.answer().await, None);
    assert_eq!(fixture.server.counters().closed_slow.load(Ordering::SeqCst), 2);
    // One that is quiet between requests is not slow.
    let mut quiet = fixture.connect().await;
    quiet.request(b"eone").await;
    fixture.host.sleep(Duration::from_millis(300)).await;
    quiet.request(b"etwo").await;
    assert_eq!(quiet.answer().await.unwrap(), "one");
    assert_eq!(quiet.answer().await.unwrap(), "two");
}

#[tokio::test]
async fn quiet_connections_are_closed_unless_they_wait_for_an_answer() {
    let limits =
        ConnectionLimits { max_idle: Some(Duration::from_millis(100)), ..ConnectionLimits::default() };
    let fixture = serve(limits, usize::MAX, AdmissionLimits::default());
    let mut quiet = fixture.connect().await;
    let mut waiting = fixture.connect().await;
    waiting.request(b"w").await;
    assert_eq!(quiet.answer().await, None);
    fixture.host.sleep(Duration::from_millis(200)).await;
    assert_eq!(fixture.server.counters().closed_idle.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.waiting.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_does_not_read_is_not_read_from() {
    let limits = ConnectionLimits { max_idle: Some(Duration::from_secs(1)), ..ConnectionLimits::default() };
    let fixture = serve(limits, usize::MAX, AdmissionLimits::default());
    let mut peer = fixture.connect().await;
    let mut request = vec![b'b'];
    request.put_u32(4 << 20);
    for _ in 0..100 {
        peer.request(&request).await;
    }
    fixture.host.sleep(Duration::from_millis(300)).await;
    // What fits the sockets' buffers, and one response beyond the limit.
    let requests = fixture.server.counters().requests.load(Ordering::SeqCst);
    assert!(requests <= 5, "{requests}");
    fixture.until(|it| it.server.counters().closed_idle.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn answers_behind_a_slow_one_are_bounded() {
    let fixture = serve_by_default();
    let mut peer = fixture.connect().await;
    let mut request = vec![b'b'];
    request.put_u32(700 << 10);
    peer.request(b"w").await;
    for _ in 0..100 {
        peer.request(&request).await;
    }
    fixture.host.sleep(Duration::from_millis(200)).await;
    assert_eq!(fixture.server.counters().requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_closed_connection_drops_what_it_waits_for() {
    let fixture = serve_by_default();
    let mut peer = fixture.connect().await;
    peer.request(b"w").await;
    peer.request(b"w").await;
    fixture.until(|it| it.waiting.load(Ordering::SeqCst) == 2).await;
    // What was sent before closing is still done.
    peer.send(&[framed(b"w"), framed(b"n"), framed(b"n")].concat()).await;
    drop(peer);
    fixture.until(|it| it.server.counters().closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(fixture.waiting.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.server.counters().requests.load(Ordering::SeqCst), 5);
    assert_eq!(fixture.budget.used_bytes(), 0);
}

#[tokio::test]
async fn promised_bytes_cost_nothing() {
    let fixture = serve_by_default();
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let mut peer = fixture.connect().await;
        let announced: i32 = 90 << 20;
        peer.send(&announced.to_be_bytes()).await;
        peer.send(&[0; 100]).await;
        stalled.push(peer);
    }
    fixture.until(|it| it.server.counters().received_bytes.load(Ordering::SeqCst) == 200 * 104).await;
    let used = fixture.budget.used_bytes();
    assert!(used <= 200 * (64 << 10), "{used}");
    // Another client is served meanwhile.
    let mut peer = fixture.connect().await;
    let start = fixture.host.now();
    peer.request(b"ehello").await;
    assert_eq!(peer.answer().await.unwrap(), "hello");
    assert!(fixture.host.now() - start < Duration::from_millis(500));
    // Memory follows what is sent.
    let chunk = vec![0; 1 << 20];
    for peer in &mut stalled[..5] {
        peer.send(&chunk).await;
    }
    fixture.until(|it| it.server.counters().received_bytes.load(Ordering::SeqCst) > 5 << 20).await;
    let used = fixture.budget.used_bytes();
    assert!(used <= 200 * (64 << 10) + 5 * (5 << 20), "{used}");
    drop(stalled);
    fixture.until(|it| it.budget.used_bytes() == 0).await;
}

#[tokio::test]
async fn all_requests_pass_through_a_small_budget() {
    let fixture = serve(ConnectionLimits::default(), 1 << 20, AdmissionLimits::default());
    let content = vec![b'e'; 900_000];
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let mut peer = fixture.connect().await;
        let content = content.clone();
        tasks.spawn(async move {
            for _ in 0..3 {
                peer.request(&content).await;
                assert_eq!(peer.answer().await.unwrap(), content[1..]);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(fixture.budget.used_bytes(), 0);
}

#[tokio::test]
async fn an_address_with_too_many_connections_is_turned_away() {
    let limits = AdmissionLimits { max_connections_per_ip: 1, ..AdmissionLimits::default() };
    let fixture = serve(ConnectionLimits::default(), usize::MAX, limits);
    let mut first = fixture.connect().await;
    first.request(b"eone").await;
    assert_eq!(first.answer().await.unwrap(), "one");
    assert_eq!(fixture.connect().await.answer().await, None);
    assert_eq!(fixture.server.counters().turned_away.load(Ordering::SeqCst), 1);
    drop(first);
    fixture.until(|it| it.server.counters().closed.load(Ordering::SeqCst) == 1).await;
    let mut second = fixture.connect().await;
    second.request(b"etwo").await;
    assert_eq!(second.answer().await.unwrap(), "two");
}

#[tokio::test]
async fn a_server_answers_what_it_took_before_it_stops() {
    let fixture = serve_by_default();
    let mut peer = fixture.connect().await;
    peer.request(b"l\xff\xffslow").await;
    fixture.until(|it| it.server.counters().requests.load(Ordering::SeqCst) == 1).await;
    let Fixture { host, server, .. } = fixture;
    let address = server.local_address();
    server.stop(&host, Duration::from_secs(5)).await;
    assert_eq!(peer.answer().await.unwrap(), "slow");
    assert_eq!(peer.answer().await, None);
    assert!(Stream::connect(address, SocketOptions::default()).await.is_err());
}

#[tokio::test]
async fn a_server_does_not_wait_for_ever() {
    let fixture = serve_by_default();
    let mut peer = fixture.connect().await;
    peer.request(b"w").await;
    fixture.until(|it| it.waiting.load(Ordering::SeqCst) == 1).await;
    let Fixture { host, server, waiting, .. } = fixture;
    let counters = server.counters().clone();
    server.stop(&host, Duration::from_millis(50)).await;
    assert_eq!(peer.answer().await, None);
    assert_eq!(waiting.load(Ordering::SeqCst), 0);
    assert_eq!(counters.closed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_those_who_wait_for_others() {
    let fixture = serve_by_default();
    let mut peer = fixture.connect().await;
    peer.request(b"eearlier").await;
    peer.request(b"p").await;
    peer.request(b"elater").await;
    fixture.until(|it| it.server.counters().requests.load(Ordering::SeqCst) == 3).await;
    let Fixture { host, server, waiting, .. } = fixture;
    let stopping = host.spawn({
        let host = host.clone();
        async move { server.stop(&host, Duration::from_secs(3600)).await }
    });
    assert_eq!(peer.answer().await.unwrap(), "earlier");
    assert_eq!(peer.answer().await, None);
    drop(peer);
    stopping.await.unwrap();
    assert_eq!(waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_on_sending_reads_every_answer_when_the_server_stops() {
    let limits = ConnectionLimits { linger: Duration::from_secs(60), ..ConnectionLimits::default() };
    let Fixture { host, server, .. } = serve(limits, usize::MAX, AdmissionLimits::default());
    let counters = server.counters().clone();
    let address = server.local_address();
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Sends as long as it can, and reads nothing before it is told that the server has said its last word.
    let peer = {
        let ended = ended.clone();
        host.blocking(move || {
            use std::io::{ErrorKind, Read, Write};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            while !ended.load(Ordering::SeqCst) {
                match stream.write(&framed(b"e0123456789")) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(error) => panic!("the server has closed before it was read: {error}"),
                }
            }
            stream.set_nonblocking(false).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received.len() as u64
        })
    };
    while counters.requests.load(Ordering::SeqCst) < 1000 {
        host.sleep(Duration::from_millis(1)).await;
    }
    let stopping = host.spawn({
        let host = host.clone();
        async move { server.stop(&host, Duration::from_secs(60)).await }
    });
    // Everything is sent, and the peer goes on sending.
    let mut sent = 0;
    loop {
        host.sleep(Duration::from_millis(50)).await;
        let now = counters.sent_bytes.load(Ordering::SeqCst);
        if now == sent && !stopping.is_finished() {
            break;
        }
        sent = now;
        assert!(!stopping.is_finished(), "closed while the peer was sending");
    }
    ended.store(true, Ordering::SeqCst);
    let received = peer.await;
    assert_eq!(received, counters.sent_bytes.load(Ordering::SeqCst));
    assert!(received >= 1000 * 14);
    stopping.await.unwrap();
}
