//! SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): who does not know the secret finds no two keys with the
//! same hash, and so cannot have a key taken for another.

/// The hash of a key that comes in pieces.
#[derive(Debug, Clone)]
pub(crate) struct KeyHash {
    state: [u64; 4],
    /// Bytes that do not make a word yet, the first in the lowest place.
    tail: u64,
    len: u64,
}

impl KeyHash {
    /// The hash of nothing, under a secret.
    pub(crate) fn new(secret: [u64; 2]) -> KeyHash {
        let [low, high] = secret;
        let state = [
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        KeyHash { state, tail: 0, len: 0 }
    }

    /// Takes in more of the key.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.len.is_multiple_of(8) {
            self.push(bytes[0]);
            bytes = &bytes[1..];
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.take(u64::from_le_bytes(*word));
            self.len += 8;
        }
        rest.iter().for_each(|byte| self.push(*byte));
    }

    fn push(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << (8 * (self.len % 8));
        self.len += 1;
        if self.len.is_multiple_of(8) {
            self.take(self.tail);
            self.tail = 0;
        }
    }

    fn take(&mut self, word: u64) {
        self.state[3] ^= word;
        self.rounds(2);
        self.state[0] ^= word;
    }

    fn rounds(&mut self, count: usize) {
        let [mut a, mut b, mut c, mut d] = self.state;
        for _ in 0..count {
            a = a.wrapping_add(b);
            b = b.rotate_left(13) ^ a;
            a = a.rotate_left(32);
            c = c.wrapping_add(d);
            d = d.rotate_left(16) ^ c;
            a = a.wrapping_add(d);
            d = d.rotate_left(21) ^ a;
            c = c.wrapping_add(b);
            b = b.rotate_left(17) ^ c;
            c = c.rotate_left(32);
        }
        self.state = [a, b, c, d];
    }

    /// The hash.
    pub(crate) fn finish(mut self) -> [u64; 2] {
        self.take(self.tail | (self.len << 56));
        self.state[2] ^= 0xee;
        self.rounds(4);
        let low = self.state.iter().fold(0, |all, word| all ^ word);
        self.state[1] ^= 0xdd;
        self.rounds(4);
        [low, self.state.iter().fold(0, |all, word| all ^ word)]
    }
}

#[cfg(test)]
mod tests {
    use super::KeyHash;

    fn hash(pieces: &[&[u8]]) -> [u8; 16] {
        let word = |at: u8| u64::from_le_bytes(std::array::from_fn(|byte| at + byte as u8));
        let mut hash = KeyHash::new([word(0), word(8)]);
        pieces.iter().for_each(|piece| hash.write(piece));
        let [low, high] = hash.finish();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&low.to_le_bytes());
        bytes[8..].copy_from_slice(&high.to_le_bytes());
        bytes
    }

    /// The first two vectors of the reference implementation.
    #[test]
    fn it_is_siphash() {
        assert_eq!(hash(&[]), 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128.to_be_bytes());
        assert_eq!(hash(&[&[0]]), 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45_u128.to_be_bytes());
    }

    #[test]
    fn pieces_do_not_matter() {
        let key: Vec<u8> = (0..100).collect();
        for cut in 0..key.len() {
            for second in [cut, (cut + 1).min(100), (cut + 9).min(100)] {
                let pieces = [&key[..cut], &key[cut..second], &key[second..]];
                assert_eq!(hash(&pieces), hash(&[&key]), "{cut} {second}");
            }
        }
    }
}
