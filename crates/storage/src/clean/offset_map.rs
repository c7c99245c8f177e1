//! The last offset of each key, in bounded memory (`SkimpyOffsetMap`): 24 bytes a key, whatever the key's length.
//!
//! A table without buckets, probed one place after the other. It begins small and is doubled as keys come; while it is
//! made anew the old one is still there, so that at its largest it takes half as much again for a moment. Places are in
//! the order of the hashes, so that a table is made anew by going through both once.
//!
//! Nearly every look at a large table has to wait for memory. Who has several keys tells of them all before
//! ([`OffsetMap::expect`]), and waits once.

use std::hash::Hasher;

use ottla_base::Offset;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Bytes of a place: the hash of a key and an offset.
pub(crate) const ENTRY_BYTES: usize = 24;
/// How many keys are looked for at once.
pub(crate) const KEYS_AT_ONCE: usize = 32;
/// How many places a new table has: 12 KiB.
const FIRST_PLACES: usize = 512;
/// A table that may still grow does so when this part of it is used.
const GROW_AT: f64 = 0.75;

/// The last offset of each key.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    secret: [u64; 2],
    /// A hash, and the offset after the key's last; an empty place has zeros.
    places: Vec<[u64; 3]>,
    places_max: usize,
    used: usize,
    /// How many keys the largest table takes.
    keys_max: usize,
}

/// The hash of a key that comes in pieces. Who does not know the secret finds no two keys with the same hash, and so
/// cannot have a key taken for another.
#[derive(Debug, Clone)]
pub(crate) struct KeyHash(SipHasher24);

/// Whether a key found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there now.
    Done,
    /// There is no room for another key.
    Full,
}

impl OffsetMap {
    /// A map of at most so many bytes, of which `load_factor` is used.
    pub(crate) fn new(bytes: u64, load_factor: f64, secret: [u64; 2]) -> OffsetMap {
        let places_max = usize::try_from(bytes).unwrap_or(usize::MAX).min(i32::MAX as usize) / ENTRY_BYTES;
        let places_max = places_max.max(2);
        let keys_max = ((places_max as f64 * load_factor) as usize).clamp(1, places_max - 1);
        OffsetMap { secret, places: Vec::new(), places_max, used: 0, keys_max }
    }

    /// Begins the hash of a key.
    pub(crate) fn hash(&self) -> KeyHash {
        let [low, high] = self.secret;
        KeyHash(SipHasher24::new_with_keys(low, high))
    }

    /// The part of all places that is used.
    pub(crate) fn utilization(&self) -> f64 {
        self.used as f64 / self.places_max as f64
    }

    /// Reads the places of keys that will be asked for: the processor does so for all of them at once.
    pub(crate) fn expect(&self, hashes: impl Iterator<Item = [u64; 2]>) {
        let places = &self.places;
        let read = hashes.fold(0, |read, hash| match places.get(place_among(places.len(), hash)) {
            // A place may lie in two lines of the cache.
            Some([low, _, next]) => read ^ low ^ next,
            None => read,
        });
        // Nobody needs what was read, but read it must be.
        std::hint::black_box(read);
    }

    /// Notes that the key with this hash is at `offset`, which is its last so far.
    pub(crate) fn put(&mut self, hash: [u64; 2], offset: Offset) -> Put {
        let mut at = self.place_of(hash);
        if at.is_none_or(|at| self.places[at][2] == 0) {
            if self.used >= self.keys_max {
                return Put::Full;
            }
            if self.used >= self.room() {
                self.grow();
                at = self.place_of(hash);
            }
            self.used += 1;
        }
        // A table that has grown has room.
        if let Some(at) = at {
            self.places[at] = [hash[0], hash[1], offset.get() as u64 + 1];
        }
        Put::Done
    }

    /// The last offset of the key with this hash.
    pub(crate) fn get(&self, hash: [u64; 2]) -> Option<Offset> {
        let [.., next] = self.places[self.place_of(hash)?];
        next.checked_sub(1).map(|offset| Offset(offset as i64))
    }

    /// The place with this hash, or the empty one where it belongs; there is always one, if there are any.
    fn place_of(&self, hash: [u64; 2]) -> Option<usize> {
        let count = self.places.len();
        if count == 0 {
            return None;
        }
        let mut at = place_among(count, hash);
        while self.places[at][2] != 0 && self.places[at][..2] != hash {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        Some(at)
    }

    /// How many keys the table takes as it is.
    fn room(&self) -> usize {
        match self.places.len() {
            count if count == self.places_max => self.keys_max,
            count => ((count as f64 * GROW_AT) as usize).min(self.keys_max),
        }
    }

    fn grow(&mut self) {
        let count = (self.places.len() * 2).max(FIRST_PLACES).min(self.places_max);
        let before = std::mem::replace(&mut self.places, vec![[0; 3]; count]);
        for entry in before.into_iter().filter(|entry| entry[2] != 0) {
            if let Some(at) = self.place_of([entry[0], entry[1]]) {
                self.places[at] = entry;
            }
        }
    }
}

/// Where a hash belongs among `count` places: as far from the first as the hash is from zero.
fn place_among(count: usize, hash: [u64; 2]) -> usize {
    ((u128::from(hash[0]) * count as u128) >> 64) as usize
}

impl KeyHash {
    /// Takes in more of the key.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash.
    pub(crate) fn finish(self) -> [u64; 2] {
        let hash = self.0.finish128();
        [hash.h1, hash.h2]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ottla_base::Offset;
    use ottla_host::Prng;

    use super::{OffsetMap, Put};

    fn hash_of(map: &OffsetMap, key: u64) -> [u64; 2] {
        let mut hash = map.hash();
        hash.write(&key.to_be_bytes());
        hash.finish()
    }

    #[test]
    fn it_is_a_map() {
        for (bytes, load) in [(1, 0.9), (480, 0.9), (24 * 600, 0.5), (24 * 5000, 0.9), (1 << 20, 1.0)] {
            let mut map = OffsetMap::new(bytes, load, [1, 2]);
            let mut model = BTreeMap::new();
            let mut random = Prng::new(bytes);
            let mut full = false;
            for offset in 0..6000 {
                let key = random.below(4000);
                let hash = hash_of(&map, key);
                map.expect([hash].into_iter());
                match map.put(hash, Offset(offset)) {
                    Put::Done => drop(model.insert(key, Offset(offset))),
                    Put::Full => {
                        full = true;
                        assert!(!model.contains_key(&key) && model.len() == map.keys_max);
                    }
                }
                assert!(map.places.len() <= map.places_max);
            }
            assert_eq!(full, bytes < 24 * 4000, "{bytes}");
            for key in 0..4000 {
                assert_eq!(map.get(hash_of(&map, key)), model.get(&key).copied(), "{key} of {bytes}");
            }
        }
    }

    #[test]
    fn the_pieces_of_a_key_do_not_matter() {
        let map = OffsetMap::new(0, 1.0, [3, 4]);
        let key: Vec<u8> = (0..100).collect();
        let hash = |pieces: [&[u8]; 2]| {
            let mut hash = map.hash();
            pieces.iter().for_each(|piece| hash.write(piece));
            hash.finish()
        };
        for cut in 0..key.len() {
            assert_eq!(hash([&key[..cut], &key[cut..]]), hash([&key, &[]]), "{cut}");
        }
    }

    #[test]
    fn an_empty_map_takes_no_memory() {
        let map = OffsetMap::new(128 << 20, 0.9, [0, 0]);
        assert_eq!((map.places.capacity(), map.get([0, 0])), (0, None));
    }
}
