//! Tests of the crate: round trips, golden bytes, refusals and hostile bytes.

mod codecs;
mod golden;
mod hostile;
mod round_trip;
mod validation;
