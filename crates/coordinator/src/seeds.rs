//! How many seeds random tests take: a million steps where the code is optimized, few where it is not.

use std::ops::Range;

/// The first `quick` seeds; the first `all` of them in a test with optimizations, as `cargo xtask test` runs it.
pub(crate) fn seeds(quick: u64, all: u64) -> Range<u64> {
    0..if cfg!(debug_assertions) { quick } else { all }
}
