//! The random numbers of a seat: a fixed sequence drawn from a seed that the host supplies once.

use ottla_base::Uuid;

/// A seeded sequence of random numbers (xoshiro256**). Good for ids and for spreading load; not for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entropy {
    state: [u64; 4],
}

impl Entropy {
    /// The sequence that belongs to `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Entropy {
        let mut state = [0u64; 4];
        for (word, bytes) in state.iter_mut().zip(seed.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        // All zeros is the one state that never leaves itself.
        if state == [0; 4] {
            state = [0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB, 1];
        }
        Entropy { state }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let drawn = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        drawn
    }

    /// A number below `bound`, which is not zero. The bias is below one in 2^32 for any bound that fits 32 bits.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a draw needs at least one outcome");
        ((u128::from(self.draw()) * bound as u128) >> 64) as usize
    }

    /// A version 4 id as Kafka draws them: not reserved, its text not beginning with a dash.
    pub fn uuid(&mut self) -> Uuid {
        loop {
            let number = u128::from(self.draw()) << 64 | u128::from(self.draw());
            let drawn = Uuid::from_random(number.to_be_bytes());
            // The text begins with a dash if the first six bits are 62.
            if !drawn.is_reserved() && drawn.0[0] >> 2 != 62 {
                return drawn;
            }
        }
    }
}
