//! One accepted connection, from its first byte to its last.
//!
//! Reading, dispatch and writing run on one task. Requests are dispatched as they come, within bounds on how
//! many are unanswered and how much is unsent; responses leave in request order.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use ottla_base::Moment;
use ottla_host::Timer;
use ottla_host::net::Stream;
use tokio::sync::futures::OwnedNotified;

use crate::admission::Admitted;
use crate::budget::Charge;
use crate::frame::{FrameReader, InvalidFrame, READ_BYTES};
use crate::response::{Outbox, Response, Then};
use crate::server::Common;
use crate::service::{Answer, Service};
use crate::transport::Transport;

#[cfg(test)]
mod tests;

/// What one connection may do to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The longest request (`socket.request.max.bytes`).
    pub max_frame_bytes: usize,
    /// How long a connection may be quiet (`connections.max.idle.ms`); `None` is for ever.
    pub max_idle: Option<Duration>,
    /// How long a request that has begun may take to arrive, beside the time its bytes take at
    /// `min_bytes_per_second`.
    pub frame_grace: Duration,
    /// The slowest that a large request may arrive.
    pub min_bytes_per_second: u32,
    /// How many requests may be unanswered before no more are read.
    pub max_unanswered: usize,
    /// How many bytes of requests may be unanswered before no more are read.
    pub max_unanswered_bytes: usize,
    /// How many bytes of responses may wait in memory before no more requests are read.
    pub max_unsent_bytes: usize,
    /// How long the peer of a connection that is in use has to read its answers when the server stops. Bytes that
    /// arrive at a closed socket make the kernel drop what the peer has not read.
    pub linger: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            max_frame_bytes: 100 << 20,
            max_idle: Some(Duration::from_secs(600)),
            frame_grace: Duration::from_secs(30),
            min_bytes_per_second: 16 << 10,
            max_unanswered: 64,
            max_unanswered_bytes: 64 << 20,
            max_unsent_bytes: 1 << 20,
            linger: Duration::from_millis(50),
        }
    }
}

/// What the connections of one listener did; numbers only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub opened: AtomicU64,
    /// Connections that ended.
    pub closed: AtomicU64,
    /// Connections turned away at once.
    pub turned_away: AtomicU64,
    /// Connections closed for being quiet too long.
    pub closed_idle: AtomicU64,
    /// Connections closed for requests that arrived too slowly.
    pub closed_slow: AtomicU64,
    /// Connections closed for a frame of an invalid length.
    pub closed_invalid: AtomicU64,
    /// Bytes read.
    pub received_bytes: AtomicU64,
    /// Bytes sent.
    pub sent_bytes: AtomicU64,
    /// Requests dispatched.
    pub requests: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the peer closed it")]
    Peer,
    #[error("a request asked for it")]
    Asked,
    #[error("the server stops")]
    Stopped,
    #[error("it was quiet too long")]
    Idle,
    #[error("a request arrived too slowly")]
    Slow,
    #[error(transparent)]
    Invalid(#[from] InvalidFrame),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// A request that was dispatched and not yet answered in its turn.
struct Unanswered<N> {
    answer: Answer,
    /// What the service remembers of it, until the response is here.
    note: Option<N>,
    request_bytes: usize,
    /// Returns the memory of the request when it is answered.
    _charge: Charge,
}

/// A future that is ready once the connection has ended. There may be a hundred thousand of them, nearly all of them
/// idle: what is needed only while a request is under way is not part of it.
pub(crate) struct Connection<S: Service> {
    common: Arc<Common>,
    transport: Transport,
    /// Wakes the task when the server stops.
    stop: Pin<Box<OwnedNotified>>,
    /// Whether `stop` knows the task. It is asked once: a task keeps its waker for life.
    listens: bool,
    service: S,
    reader: FrameReader,
    /// The memory of the frame that is being read.
    reading: Charge,
    /// Whether the buffer may hold a whole frame.
    frame_may_be_here: bool,
    frame_clock: Option<FrameClock>,
    unanswered: VecDeque<Unanswered<S::Note>>,
    unanswered_bytes: usize,
    /// Bytes in memory of responses that wait for their turn.
    waiting_bytes: usize,
    outbox: Outbox,
    intake: Intake,
    /// Set once the server stops.
    farewell: Option<Farewell>,
    timer: Timer,
    /// When something was last read, sent or answered.
    active_at: Moment,
    /// Counts the connection until it is closed.
    _admitted: Admitted,
}

/// Whether more requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Open,
    /// The peer sends no more. What it has sent is dispatched; nobody waits for answers.
    PeerDone,
    /// No more are taken; what was taken is answered.
    Draining,
    /// No more are taken, and the connection ends once everything in the outbox is sent.
    Closing,
}

/// How far a connection is with its end when its server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// Answers are still on their way.
    Answering,
    /// All is sent; the peer is told so.
    Said,
    /// The peer has until then to read it and to close.
    Until(Moment),
}

/// Since when how much of a frame was here while the connection was willing to read more.
struct FrameClock {
    since: Moment,
    held_bytes: usize,
}

/// How long a connection keeps memory for the next request after its last activity.
const KEEP_MEMORY: Duration = Duration::from_secs(5);
/// A connection is in use if something passed within this.
const IN_USE: Duration = Duration::from_secs(1);
/// How much one connection sends before others of its thread get their turn.
const TURN_BYTES: usize = 4 << 20;

impl<S: Service> Connection<S> {
    /// A connection that was let in. It must be made before the server says that it stops.
    pub(crate) fn new(common: Arc<Common>, stream: Stream, admitted: Admitted, service: S) -> Connection<S> {
        let options = &common.options;
        Connection {
            transport: Transport::Plain(stream),
            stop: Box::pin(common.stop.clone().notified_owned()),
            listens: false,
            service,
            reader: FrameReader::new(options.limits.max_frame_bytes),
            reading: options.budget.charge(),
            frame_may_be_here: false,
            frame_clock: None,
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            waiting_bytes: 0,
            outbox: Outbox::default(),
            intake: Intake::Open,
            farewell: None,
            timer: Timer::new(&common.host),
            active_at: common.host.now(),
            common,
            _admitted: admitted,
        }
    }

    /// The server stops: no more requests are taken, and whoever waits for others is not answered.
    fn stop_serving(&mut self) {
        self.intake = Intake::Draining;
        self.farewell = Some(Farewell::Answering);
        for unanswered in &mut self.unanswered {
            if let Answer::Patient(_) = unanswered.answer {
                unanswered.answer = Answer::Ready(Response::close());
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<Poll<End>, End> {
        loop {
            self.dispatch_frames()?;
            self.poll_answers(cx);
            let sent_all = self.poll_send(cx)?;
            if let Some(end) = self.ended(sent_all) {
                return self.poll_farewell(cx, end);
            }
            if self.frame_may_be_here && self.takes_requests() {
                continue;
            }
            if self.poll_read(cx)?.is_pending() {
                return self.poll_deadlines(cx);
            }
        }
    }

    /// Whether a request may be dispatched now.
    fn takes_requests(&self) -> bool {
        matches!(self.intake, Intake::Open | Intake::PeerDone)
            && self.unanswered.len() < self.common.options.limits.max_unanswered
            && self.unanswered_bytes < self.common.options.limits.max_unanswered_bytes
            && self.outbox.memory_bytes() + self.waiting_bytes < self.common.options.limits.max_unsent_bytes
    }

    fn dispatch_frames(&mut self) -> Result<(), End> {
        while self.frame_may_be_here && self.takes_requests() {
            let Some(frame) = self.reader.take_frame()? else {
                self.frame_may_be_here = false;
                break;
            };
            self.frame_clock = None;
            let mut charge = std::mem::replace(&mut self.reading, self.common.options.budget.charge());
            let request_bytes = frame.len();
            charge.set(request_bytes);
            Counters::add(&self.common.counters.requests, 1);
            let (answer, note) = self.service.dispatch(frame, self.active_at);
            if let Answer::Ready(response) = &answer {
                if response.then == Then::Close {
                    self.intake = Intake::Draining;
                }
                self.waiting_bytes += response.memory_bytes();
            }
            self.unanswered_bytes += request_bytes;
            let note = Some(note);
            self.unanswered.push_back(Unanswered { answer, note, request_bytes, _charge: charge });
            self.send_answered();
        }
        Ok(())
    }

    /// Lets every request that is not answered yet go on.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        for unanswered in &mut self.unanswered {
            if let Answer::Later(future) | Answer::Patient(future) = &mut unanswered.answer
                && let Poll::Ready(response) = future.as_mut().poll(cx)
            {
                self.active_at = self.common.host.now();
                if let Some(note) = unanswered.note.take() {
                    self.service.answered(note);
                }
                self.waiting_bytes += response.memory_bytes();
                unanswered.answer = Answer::Ready(response);
            }
        }
        self.send_answered();
    }

    /// Moves the responses whose turn it is to the outbox.
    fn send_answered(&mut self) {
        while let Some(Unanswered { answer: Answer::Ready(_), .. }) = self.unanswered.front() {
            let Some(Unanswered { answer: Answer::Ready(response), request_bytes, .. }) =
                self.unanswered.pop_front()
            else {
                return;
            };
            self.unanswered_bytes -= request_bytes;
            self.waiting_bytes -= response.memory_bytes();
            response.pieces.into_iter().for_each(|piece| self.outbox.push(piece));
            if response.then == Then::Close {
                self.intake = Intake::Closing;
                self.unanswered.clear();
            }
        }
    }

    /// Sends what the socket takes; says whether that was all.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut turn_bytes = 0;
        while !self.outbox.is_empty() {
            if turn_bytes >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Ok(false);
            }
            match self.outbox.poll_send(cx, &self.common.host, &mut self.transport)? {
                Poll::Ready(sent) => {
                    turn_bytes += sent;
                    self.active_at = self.common.host.now();
                    Counters::add(&self.common.counters.sent_bytes, sent as u64);
                }
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    fn ended(&self, sent_all: bool) -> Option<End> {
        match self.intake {
            Intake::PeerDone if !self.frame_may_be_here => Some(End::Peer),
            Intake::Closing if sent_all => Some(End::Asked),
            Intake::Draining if sent_all && self.unanswered.is_empty() => Some(End::Stopped),
            _ => None,
        }
    }

    /// Everything is said. When the server stops, a peer that is in the middle of sending is given a moment to hear it.
    fn poll_farewell(&mut self, cx: &mut Context<'_>, end: End) -> Result<Poll<End>, End> {
        loop {
            let now = self.common.host.now();
            match self.farewell {
                None => return Ok(Poll::Ready(end)),
                Some(Farewell::Answering) if now.since(self.active_at) > IN_USE => {
                    return Ok(Poll::Ready(end));
                }
                Some(Farewell::Answering) => self.farewell = Some(Farewell::Said),
                Some(Farewell::Said) => {
                    if self.transport.poll_shutdown(cx)?.is_pending() {
                        return Ok(Poll::Pending);
                    }
                    self.farewell = Some(Farewell::Until(now + self.common.options.limits.linger));
                }
                Some(Farewell::Until(deadline)) => {
                    if self.timer.poll_until(cx, deadline).is_ready() {
                        return Ok(Poll::Ready(end));
                    }
                    let mut unheard = BytesMut::with_capacity(READ_BYTES);
                    match self.transport.poll_read(cx, &mut unheard)? {
                        Poll::Ready(0) => return Ok(Poll::Ready(end)),
                        Poll::Ready(_) => {}
                        Poll::Pending => return Ok(Poll::Pending),
                    }
                }
            }
        }
    }

    /// Reads once, if more requests may be dispatched and there is memory for what comes.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, End> {
        let wanted_bytes = self.reader.wanted_bytes();
        if self.intake != Intake::Open
            || !self.takes_requests()
            || (wanted_bytes > READ_BYTES && self.reading.poll_grow(cx, wanted_bytes).is_pending())
        {
            // The peer is not to blame for what does not arrive now.
            self.frame_clock = None;
            return Ok(Poll::Pending);
        }
        if self.reader.capacity_bytes() == 0 && self.transport.poll_readable(cx)?.is_pending() {
            return Ok(Poll::Pending);
        }
        match self.transport.poll_read(cx, self.reader.room())? {
            Poll::Ready(0) => {
                self.intake = Intake::PeerDone;
                self.frame_may_be_here = true;
            }
            Poll::Ready(count) => {
                self.active_at = self.common.host.now();
                self.frame_may_be_here = true;
                Counters::add(&self.common.counters.received_bytes, count as u64);
            }
            Poll::Pending => {
                if self.reader.is_inside_frame() && self.frame_clock.is_none() {
                    let held_bytes = self.reader.held_bytes();
                    self.frame_clock = Some(FrameClock { since: self.active_at, held_bytes });
                }
                return Ok(Poll::Pending);
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Ends the connection if it is quiet too long or a request arrives too slowly; gives up the buffer if it
    /// is quiet for a while.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Result<Poll<End>, End> {
        loop {
            let idle = self
                .common
                .options
                .limits
                .max_idle
                .filter(|_| self.unanswered.is_empty() || !self.outbox.is_empty());
            let idle = idle.map(|max_idle| self.active_at + max_idle);
            let slow = self.frame_clock.as_ref().map(|clock| self.slow_deadline(clock));
            let quiet = self.keeps_memory().then(|| self.active_at + KEEP_MEMORY);
            let Some(deadline) = [idle, slow, quiet].into_iter().flatten().min() else {
                return Ok(Poll::Pending);
            };
            if self.timer.poll_until(cx, deadline).is_pending() {
                return Ok(Poll::Pending);
            }
            if slow == Some(deadline) {
                return Err(End::Slow);
            }
            if idle == Some(deadline) {
                return Err(End::Idle);
            }
            self.release_memory();
            // What arrives from here on must find the task waiting for it.
            if self.poll_read(cx)?.is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Whether it has memory that it can do without while it is idle.
    fn keeps_memory(&self) -> bool {
        (self.reader.capacity_bytes() > 0 && !self.reader.is_inside_frame())
            || (self.unanswered.capacity() > 0 && self.unanswered.is_empty())
            || (self.outbox.capacity() > 0 && self.outbox.is_empty())
    }

    fn release_memory(&mut self) {
        self.reader.release();
        if self.unanswered.is_empty() {
            self.unanswered = VecDeque::new();
        }
        self.outbox.release();
    }

    fn slow_deadline(&self, clock: &FrameClock) -> Moment {
        let arrived = self.reader.held_bytes().saturating_sub(clock.held_bytes) as u64;
        let millis =
            arrived.saturating_mul(1000) / u64::from(self.common.options.limits.min_bytes_per_second.max(1));
        clock.since + self.common.options.limits.frame_grace + Duration::from_millis(millis)
    }
}

/// What must not move is in boxes.
impl<S: Service> Unpin for Connection<S> {}

impl<S: Service> Future for Connection<S> {
    type Output = ();

    /// Serves the connection until it ends. Once the server stops no more requests are taken.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.listens {
            this.listens = true;
            let _ = this.stop.as_mut().poll(cx);
        }
        if this.intake == Intake::Open && this.common.stopping.load(Ordering::Acquire) {
            this.stop_serving();
        }
        match this.poll_end(cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(end)) | Err(end) => {
                this.common.report(this.transport.peer_address(), &end);
                Poll::Ready(())
            }
        }
    }
}

impl<S: Service> Drop for Connection<S> {
    /// Counts the connection as closed, also when its task is aborted.
    fn drop(&mut self) {
        Counters::add(&self.common.counters.closed, 1);
    }
}
