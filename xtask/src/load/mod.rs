//! What drives load and watches a server, for bench and chaos alike.

pub mod process;
pub mod protocol;
