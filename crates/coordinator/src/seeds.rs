//! How many seeds random tests take: a million steps where the code is optimized, few where it is not.

use std::ops::Range;

use ottla_machine::Entropy;

/// The first `quick` seeds; the first `all` of them in a test with optimizations, as `cargo xtask test` runs it.
pub(crate) fn seeds(quick: u64, all: u64) -> Range<u64> {
    0..if cfg!(debug_assertions) { quick } else { all }
}

/// Draws that differ between seeds from the first one on: those of a state that is mostly the same are mostly the same
/// for a while.
pub(crate) fn draws(seed: u64) -> Entropy {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut draws = Entropy::from_seed(bytes);
    for _ in 0..16 {
        draws.draw();
    }
    draws
}

/// The seed of a seat, drawn from `draws`.
pub(crate) fn seat_seed(draws: &mut Entropy) -> [u8; 32] {
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(8) {
        word.copy_from_slice(&draws.draw().to_le_bytes());
    }
    seed
}
