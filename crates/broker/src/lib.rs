//! A server process: broker role, controller role, or both.

pub mod config;
pub mod fetch_session;
pub mod format;
pub mod metrics;
pub mod quorum;
