//! The contract between a connection and who answers its requests.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use ottla_base::Moment;

use crate::response::Response;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
}

/// What a request leads to.
pub enum Answer {
    /// The response is here.
    Ready(Response),
    /// The response will come. The future overlaps with later requests of the connection, and is dropped if
    /// the connection ends before.
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
    /// The response comes when others have done what may take as long as they like: a long poll, a rebalance. As
    /// [`Answer::Later`], but a server that stops does not wait for it: it closes the connection instead.
    Patient(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Answer {
    /// An answer that will come.
    pub fn later(future: impl Future<Output = Response> + Send + 'static) -> Answer {
        Answer::Later(Box::pin(future))
    }

    /// The same answer, if it waits for others.
    pub fn patiently(self) -> Answer {
        match self {
            Answer::Later(future) => Answer::Patient(future),
            ready => ready,
        }
    }

    /// An answer that waits for others.
    pub fn patient(future: impl Future<Output = Response> + Send + 'static) -> Answer {
        Answer::Patient(Box::pin(future))
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer::Ready(response)
    }
}

/// Answers the requests of one connection. Dropped with the connection.
pub trait Service: Send + 'static {
    /// What is remembered of a request until its answer has come.
    type Note: Send;

    /// Begins a request: does at once what must happen in the order of the connection, and leaves waiting to
    /// the answer. `frame` is the request without its length; slices of it keep its memory. `received` is
    /// when its last byte was read.
    ///
    /// Runs on the connection's task, so it must not block.
    fn dispatch(&mut self, frame: Bytes, received: Moment) -> (Answer, Self::Note);

    /// Hears that a response has come which was not ready at first.
    fn answered(&mut self, note: Self::Note);
}
