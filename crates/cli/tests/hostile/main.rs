//! What no client sends, sent to a real server: it refuses, or ends that connection, and serves the others.

mod batches;
mod frames;
mod server;
