//! The Rust that `cargo xtask codegen` writes from `crates/wire/schema`.
#![allow(clippy::all)]

pub(crate) mod api;
pub(crate) mod every;
pub mod messages;
pub mod records;
