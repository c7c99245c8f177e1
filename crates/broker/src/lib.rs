//! A server process: broker role, controller role, or both.

pub mod metrics;
