//! Produce, consume, share, administer.
