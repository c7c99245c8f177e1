//! The bytes of every message: Kafka's own, hostile ones, and those written straight from state.

mod every;
mod golden;
mod hostile;
mod streaming;
