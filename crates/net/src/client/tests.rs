//! Tests of the client's side, over the loopback interface.

use std::net::Ipv4Addr;

use bytes::Bytes;
use ottla_host::net::Listener;
use ottla_wire::messages::metadata_request::MetadataRequest;
use ottla_wire::messages::metadata_response::MetadataResponse;

use super::*;
use crate::admission::{Admission, AdmissionLimits, ListenerLimits};
use crate::budget::Budget;
use crate::connection::ConnectionLimits;
use crate::server::{Server, ServerOptions};
use crate::service::{Answer, Service};

const VERSION: i16 = 12;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers a metadata request with the number of its topics; misbehaves for some numbers.
struct Script {
    host: Host,
}

const NEVER: usize = 3;
const WRONG_ID: usize = 4;
const GARBAGE: usize = 5;
const CLOSE: usize = 6;

impl Service for Script {
    type Note = ();

    fn dispatch(&mut self, frame: Bytes, _received: Moment) -> (Answer, ()) {
        (self.answer(frame), ())
    }

    fn answered(&mut self, (): ()) {}
}

impl Script {
    fn answer(&self, frame: Bytes) -> Answer {
        let mut reader = Reader::new(frame);
        let header = RequestHeader::decode(&mut reader, 2).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version), (3, VERSION));
        assert_eq!(header.client_id.as_deref(), Some("me"));
        let request = MetadataRequest::decode(&mut reader, VERSION).unwrap();
        reader.finish().unwrap();
        let number = request.topics.map_or(0, |topics| topics.len());
        let mut writer = Writer::default();
        writer.i32(0);
        let correlation_id = header.correlation_id + i32::from(number == WRONG_ID);
        ResponseHeader { correlation_id, ..ResponseHeader::default() }.encode(&mut writer, 1).unwrap();
        let answer = MetadataResponse { throttle_time_ms: number as i32, ..MetadataResponse::default() };
        answer.encode(&mut writer, VERSION).unwrap();
        if number == GARBAGE {
            writer.i8(0);
        }
        let len = writer.len() as i32 - 4;
        writer.patch_i32(0, len);
        let response = Response::bytes(writer.into_bytes());
        match number {
            NEVER => Answer::later(std::future::pending()),
            CLOSE => Response::close().into(),
            number => {
                let host = self.host.clone();
                Answer::later(async move {
                    host.sleep(Duration::from_millis(10u64.saturating_sub(number as u64))).await;
                    response
                })
            }
        }
    }
}

async fn connected() -> (Connection, Server) {
    let host = Host::real();
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 100, SocketOptions::default()).unwrap();
    let options = ServerOptions {
        name: "TEST".into(),
        limits: ConnectionLimits::default(),
        budget: Budget::new(usize::MAX),
        admission: Admission::new(AdmissionLimits::default()).listener(ListenerLimits::default()),
    };
    let script_host = host.clone();
    let server =
        Server::start(&host, listener, options, move |_| Script { host: script_host.clone() }).unwrap();
    let options = ConnectOptions { client_id: Some("me".into()), ..ConnectOptions::default() };
    (Connection::connect(&host, server.local_address(), &options).await.unwrap(), server)
}

fn request(number: usize) -> MetadataRequest {
    MetadataRequest { topics: Some(vec![Default::default(); number]), ..MetadataRequest::default() }
}

fn call(
    connection: &Connection,
    number: usize,
    timeout: Duration,
) -> impl Future<Output = Result<i32, RequestError>> + use<> {
    let answer = connection.call(ApiKey::Metadata, VERSION, &request(number), timeout);
    async move { answer.await.map(|answer: MetadataResponse| answer.throttle_time_ms) }
}

#[tokio::test]
async fn requests_overlap_and_find_their_answers() {
    let (connection, _server) = connected().await;
    let numbers = [0, 1, 2, 7, 8, 9, 100, 1000];
    let calls = numbers.map(|number| call(&connection, number, TIMEOUT));
    for (call, number) in calls.into_iter().zip(numbers) {
        assert_eq!(call.await.unwrap(), number as i32);
    }
    drop(call(&connection, 1, TIMEOUT));
    assert_eq!(call(&connection, 2, TIMEOUT).await.unwrap(), 2);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn an_answer_too_late_ends_the_connection() {
    let (connection, _server) = connected().await;
    let late = call(&connection, NEVER, Duration::from_millis(50));
    let behind = call(&connection, 1, TIMEOUT);
    assert!(matches!(late.await, Err(RequestError::TimedOut)));
    assert!(matches!(behind.await, Err(RequestError::TimedOut)));
    connection.closed().await;
    assert!(matches!(call(&connection, 1, TIMEOUT).await, Err(RequestError::Disconnected(_))));
}

#[tokio::test]
async fn a_server_that_misbehaves_is_left() {
    for (number, reason) in [(WRONG_ID, "out of order"), (CLOSE, "closed the connection")] {
        let (connection, _server) = connected().await;
        let error = call(&connection, number, TIMEOUT).await.unwrap_err();
        assert!(
            matches!(&error, RequestError::Disconnected(_)) && error.to_string().contains(reason),
            "{error}"
        );
        connection.closed().await;
    }
    let (connection, _server) = connected().await;
    let error = call(&connection, GARBAGE, TIMEOUT).await.unwrap_err();
    assert!(matches!(error, RequestError::Decode(DecodeError::TooLong)));
    assert_eq!(call(&connection, 1, TIMEOUT).await.unwrap(), 1);
    let error = connection.call::<_, MetadataResponse>(
        ApiKey::Metadata,
        0,
        &MetadataRequest { topics: None, ..MetadataRequest::default() },
        TIMEOUT,
    );
    assert!(matches!(error.await, Err(RequestError::Encode(_))));
}

#[tokio::test]
async fn a_dropped_connection_is_closed_once_all_is_answered() {
    let (connection, server) = connected().await;
    let answer = call(&connection, 1, TIMEOUT);
    drop(connection);
    assert_eq!(answer.await.unwrap(), 1);
    let host = Host::real();
    while server.counters().closed.load(Ordering::SeqCst) == 0 {
        host.sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn nobody_to_connect_to_is_an_error() {
    let host = Host::real();
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1, SocketOptions::default()).unwrap();
    let address = listener.local_address().unwrap();
    drop(listener);
    assert!(Connection::connect(&host, address, &ConnectOptions::default()).await.is_err());
}
