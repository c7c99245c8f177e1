//! What no client sends, sent to a real server: it refuses, or ends that connection, and serves the others.

#![expect(clippy::disallowed_methods, reason = "clients here are threads on the real machine")]

mod batches;
mod frames;
mod server;
