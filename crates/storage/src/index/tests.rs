//! Searching and cutting indexes.
