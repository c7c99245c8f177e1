//! One connection to a server: requests in flight and their answers.
//!
//! Requests leave in the order in which they were made, without waiting for answers; a server answers in the
//! same order. A request that is not answered in time ends the connection, as in Kafka: what was sent may
//! still be answered, and nobody could tell which answer that is.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ottla_base::{Moment, Str};
use ottla_host::net::{SocketOptions, Stream};
use ottla_host::{Host, Timer};
use ottla_wire::records::header::{RequestHeader, ResponseHeader};
use ottla_wire::{
    ApiKey, DecodeError, EncodeError, Message, Reader, Writer, request_header_version,
    response_header_version,
};
use tokio::sync::{mpsc, oneshot};

use crate::frame::FrameReader;
use crate::response::{Outbox, Piece, Response};
use crate::transport::Transport;

#[cfg(test)]
mod tests;

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The name that requests carry (`client.id`).
    pub client_id: Option<Str>,
    /// How the socket is set up.
    pub socket: SocketOptions,
    /// How long connecting may take (`socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// The longest answer that is read.
    pub max_frame_bytes: usize,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            client_id: None,
            socket: SocketOptions::default(),
            connect_timeout: Duration::from_secs(10),
            max_frame_bytes: i32::MAX as usize,
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    /// The connection ended. The request may have been carried out.
    #[error("disconnected: {0}")]
    Disconnected(Arc<str>),
    /// The answer did not come in time, and the connection was ended. The request may have been carried out.
    #[error("no answer in time")]
    TimedOut,
    /// The request has no bytes in the version asked for; it was not sent.
    #[error("the request cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The answer is not what it should be.
    #[error("the answer cannot be read: {0}")]
    Decode(#[from] DecodeError),
}

/// A connection to a server. Cheap to clone; it ends once the last clone is dropped and the last request is
/// answered.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Host,
    peer: SocketAddr,
    client_id: Option<Str>,
    next_correlation_id: AtomicI32,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

/// A request on its way to the socket.
struct Outgoing {
    request: Response,
    expected: Option<Expected>,
}

/// An answer that is waited for.
struct Expected {
    correlation_id: i32,
    deadline: Moment,
    reply: oneshot::Sender<Result<Reader, RequestError>>,
}

/// The answer to a request, to come. Dropping it does not take the request back.
#[must_use = "a request that is answered should be waited for"]
pub struct Reply {
    sent: Result<(), RequestError>,
    answer: oneshot::Receiver<Result<Reader, RequestError>>,
    header_version: i16,
}

impl Future for Reply {
    /// The answer behind its header.
    type Output = Result<Reader, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.sent.clone()?;
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        let mut reader = answer.unwrap_or_else(|_| Err(disconnected("the connection ended")))?;
        ResponseHeader::decode(&mut reader, self.header_version)?;
        Poll::Ready(Ok(reader))
    }
}

impl Connection {
    /// Connects to an address. Needs a tokio runtime, in which the connection then runs.
    pub async fn connect(
        host: &Host,
        address: SocketAddr,
        options: &ConnectOptions,
    ) -> io::Result<Connection> {
        let connecting = Stream::connect(address, options.socket);
        let stream = match host.timeout(options.connect_timeout, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let (outgoing, requests) = mpsc::unbounded_channel();
        let driver = Driver {
            host: host.clone(),
            transport: Transport::Plain(stream),
            requests,
            reader: FrameReader::new(options.max_frame_bytes),
            outbox: Outbox::default(),
            expected: VecDeque::new(),
            timer: Timer::new(host),
        };
        host.spawn(driver.run());
        let shared = Shared {
            host: host.clone(),
            peer: address,
            client_id: options.client_id.clone(),
            next_correlation_id: AtomicI32::new(0),
            outgoing,
        };
        Ok(Connection { shared: Arc::new(shared) })
    }

    /// The server's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.outgoing.is_closed()
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.shared.outgoing.closed().await;
    }

    /// Sends a request and gives its answer, both in one version. The request is on its way when this
    /// returns, before the future is polled; dropping the future does not take it back.
    pub fn call<Q: Message, A: Message>(
        &self,
        key: ApiKey,
        version: i16,
        request: &Q,
        timeout: Duration,
    ) -> impl Future<Output = Result<A, RequestError>> + Send + use<Q, A> {
        let answer = self.send(key, version, timeout, [], |writer| request.encode(writer, version));
        async move {
            let mut reader = answer.await?;
            let answer = A::decode(&mut reader, version)?;
            reader.finish()?;
            Ok(answer)
        }
    }

    /// Sends a request whose body `write` writes, with `external` at its cuts, and gives the answer behind its
    /// header. The request is on its way when this returns, before the future is polled.
    pub fn send(
        &self,
        key: ApiKey,
        version: i16,
        timeout: Duration,
        external: impl IntoIterator<Item = Piece>,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Reply {
        let (reply, answer) = oneshot::channel();
        let sent = self.frame(key, version, external, write).and_then(|(request, correlation_id)| {
            let deadline = self.shared.host.now() + timeout;
            self.post(request, Some(Expected { correlation_id, deadline, reply }))
        });
        Reply { sent, answer, header_version: response_header_version(key, version) }
    }

    /// Sends a request that is not answered: a produce request that asks for no acknowledgement.
    pub fn send_unanswered(
        &self,
        key: ApiKey,
        version: i16,
        external: impl IntoIterator<Item = Piece>,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), RequestError> {
        let (request, _) = self.frame(key, version, external, write)?;
        self.post(request, None)
    }

    fn post(&self, request: Response, expected: Option<Expected>) -> Result<(), RequestError> {
        let outgoing = Outgoing { request, expected };
        self.shared.outgoing.send(outgoing).map_err(|_| disconnected("the connection has ended"))
    }

    /// A whole request, and the correlation id that its answer will carry.
    fn frame(
        &self,
        key: ApiKey,
        version: i16,
        external: impl IntoIterator<Item = Piece>,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(Response, i32), RequestError> {
        let correlation_id = self.shared.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let header = RequestHeader {
            request_api_key: key as i16,
            request_api_version: version,
            correlation_id,
            client_id: self.shared.client_id.clone(),
            ..RequestHeader::default()
        };
        let mut writer = Writer::with_capacity(256);
        writer.i32(0);
        header.encode(&mut writer, request_header_version(key, version))?;
        write(&mut writer)?;
        let len = writer.len() - LENGTH_BYTES;
        writer.patch_i32(0, i32::try_from(len).map_err(|_| EncodeError::Length(len))?);
        let (bytes, cuts) = writer.into_parts();
        Ok((Response::spliced(bytes, &cuts, external), correlation_id))
    }
}

const LENGTH_BYTES: usize = 4;

/// Owns the socket: sends what was asked for, hands answers to who asked.
struct Driver {
    host: Host,
    transport: Transport,
    requests: mpsc::UnboundedReceiver<Outgoing>,
    reader: FrameReader,
    outbox: Outbox,
    /// In the order of their requests.
    expected: VecDeque<Expected>,
    timer: Timer,
}

impl Driver {
    async fn run(mut self) {
        let end = poll_fn(|cx| match self.poll(cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(error)),
        });
        let Some(error) = end.await else {
            return;
        };
        tracing::debug!(%error, "connection closed");
        self.requests.close();
        while let Ok(outgoing) = self.requests.try_recv() {
            self.expected.extend(outgoing.expected);
        }
        for expected in self.expected {
            let _ = expected.reply.send(Err(error.clone()));
        }
    }

    /// Ready once nobody can ask any more and everything is answered.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RequestError> {
        let mut asked_for_more = true;
        while asked_for_more {
            match self.requests.poll_recv(cx) {
                Poll::Ready(Some(outgoing)) => {
                    outgoing.request.pieces.into_iter().for_each(|piece| self.outbox.push(piece));
                    self.expected.extend(outgoing.expected);
                }
                Poll::Ready(None) if self.expected.is_empty() && self.outbox.is_empty() => {
                    return Ok(Poll::Ready(()));
                }
                Poll::Ready(None) | Poll::Pending => asked_for_more = false,
            }
        }
        while !self.outbox.is_empty() {
            if self.outbox.poll_send(cx, &self.host, &mut self.transport).map_err(broken)?.is_pending() {
                break;
            }
        }
        while self.poll_read(cx)?.is_ready() {
            self.hand_out_answers()?;
        }
        if self.requests.is_closed() && self.expected.is_empty() && self.outbox.is_empty() {
            return Ok(Poll::Ready(()));
        }
        self.poll_deadline(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RequestError> {
        if self.reader.capacity_bytes() == 0 && self.transport.poll_readable(cx).map_err(broken)?.is_pending()
        {
            return Ok(Poll::Pending);
        }
        match self.transport.poll_read(cx, self.reader.room()).map_err(broken)? {
            Poll::Ready(0) => Err(disconnected("the server closed the connection")),
            Poll::Ready(_) => Ok(Poll::Ready(())),
            Poll::Pending => {
                if self.expected.is_empty() {
                    self.reader.release();
                    // Nothing may arrive between the read and giving up the buffer without waking the task.
                    if self.transport.poll_readable(cx).map_err(broken)?.is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
                Ok(Poll::Pending)
            }
        }
    }

    fn hand_out_answers(&mut self) -> Result<(), RequestError> {
        while let Some(frame) = self.reader.take_frame().map_err(|error| disconnected(&error.to_string()))? {
            let found = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
            match self.expected.pop_front() {
                Some(expected) if found == Some(expected.correlation_id) => {
                    // Who asked may have stopped waiting.
                    let _ = expected.reply.send(Ok(Reader::new(frame)));
                }
                Some(expected) => {
                    self.expected.push_front(expected);
                    return Err(disconnected("the server answered out of order"));
                }
                None => return Err(disconnected("the server answered what was not asked")),
            }
        }
        Ok(())
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RequestError> {
        let Some(deadline) = self.expected.iter().map(|expected| expected.deadline).min() else {
            return Ok(Poll::Pending);
        };
        match self.timer.poll_until(cx, deadline) {
            Poll::Ready(()) => Err(RequestError::TimedOut),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

fn disconnected(reason: &str) -> RequestError {
    RequestError::Disconnected(reason.into())
}

fn broken(error: io::Error) -> RequestError {
    disconnected(&error.to_string())
}
