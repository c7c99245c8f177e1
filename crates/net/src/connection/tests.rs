//! Tests of what a connection holds while it is idle.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use ottla_host::Host;
use ottla_host::net::{Listener, SocketOptions};
use tokio::sync::Notify;

use super::*;
use crate::admission::{Admission, AdmissionLimits, ListenerLimits};
use crate::budget::Budget;
use crate::server::ServerOptions;

/// What one connection may take in memory, without its service.
const MAX_CONNECTION_BYTES: usize = 448;

/// Answers with what was asked.
struct Echo;

impl Service for Echo {
    type Note = ();

    fn dispatch(&mut self, frame: Bytes, _received: Moment) -> (Answer, ()) {
        let mut response = BytesMut::from(&(frame.len() as u32).to_be_bytes()[..]);
        response.extend_from_slice(&frame);
        (Response::bytes(response.freeze()).into(), ())
    }

    fn answered(&mut self, (): ()) {}
}

#[test]
fn a_connection_is_small() {
    let bytes = size_of::<Connection<Echo>>();
    assert!(bytes <= MAX_CONNECTION_BYTES, "{bytes} bytes");
}

#[tokio::test]
async fn an_idle_connection_holds_no_memory_for_requests() {
    let host = Host::simulated(1);
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1, SocketOptions::default()).unwrap();
    let address = listener.local_address().unwrap();
    let mut client = Stream::connect(address, SocketOptions::default()).await.unwrap();
    let admission = Admission::new(AdmissionLimits::default()).listener(ListenerLimits::default());
    let admitted = admission.admit(&host, address.ip()).await.unwrap();
    let options = ServerOptions {
        name: "TEST".into(),
        limits: ConnectionLimits::default(),
        budget: Budget::new(1 << 20),
        admission,
    };
    let common = Common {
        host: host.clone(),
        options,
        counters: Arc::default(),
        stopping: AtomicBool::new(false),
        stop: Arc::new(Notify::new()),
    };
    let stream = listener.accept().await.unwrap();
    let mut connection = Connection::new(Arc::new(common), stream, admitted, Echo);
    let mut answer = BytesMut::with_capacity(64);
    for _ in 0..3 {
        client.write_all_vectored(&mut [io::IoSlice::new(b"\0\0\0\x05hello")]).await.unwrap();
        answer.clear();
        while answer.len() < 9 {
            tokio::select! {
                () = &mut connection => panic!("it ended"),
                read = client.read(&mut answer) => assert_ne!(read.unwrap(), 0),
            }
        }
        assert!(connection.keeps_memory(), "it may be asked again at once");
        host.simulation().unwrap().advance(KEEP_MEMORY);
        // The sleep behind the old one does not know the simulated clock.
        connection.timer = Timer::new(&host);
        let is_pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll(cx).is_pending())).await;
        assert!(is_pending);
        assert!(!connection.keeps_memory());
        assert_eq!((connection.unanswered.capacity(), connection.outbox.capacity()), (0, 0));
    }
}
