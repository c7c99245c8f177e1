//! Bytes that nobody should have written.
