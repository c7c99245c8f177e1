//! Sockets as typed requests and responses, both directions: framing, TLS, SASL.
//!
//! | file | holds |
//! |---|---|
//! | `frame` | length-prefixed frames out of a stream of bytes |
//! | `budget` | how much memory all requests together may take |
//! | `transport` | bytes over a socket, whatever protects them |
//! | `response` | what is sent: pieces of memory and of files, and the queue before the socket |
//! | `service` | the contract between a connection and who answers its requests |
//! | `connection` | one accepted connection, from its first byte to its last |
//! | `admission` | who may connect, how many and how fast |
//! | `server` | a listener and its connections |
//! | `client` | one connection to a server: requests in flight and their answers |
//!
//! Invariants: memory grows with bytes received, never with a length announced; a request is dispatched at
//! once, in order, on the task of its connection; responses leave in request order; a peer that does not
//! read is not read from.
//!
//! Absent on purpose: what requests mean, and tasks per request.

pub mod admission;
pub mod budget;
pub mod client;
mod connection;
mod frame;
mod response;
pub mod server;
mod service;
mod transport;

pub use connection::{ConnectionLimits, Counters};
pub use frame::InvalidFrame;
pub use response::{Piece, Response, Then};
pub use server::Server;
pub use service::{Answer, Peer, Service};
