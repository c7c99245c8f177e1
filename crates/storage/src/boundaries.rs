//! Where in a segment batches begin that readers will ask for next, because a read before ended there.

use ottla_base::Offset;
use parking_lot::Mutex;

/// How many are remembered for each segment: as many readers go on without a look at the files.
const BOUNDARIES_MAX: usize = 16;

/// The places where the last reads of a segment ended.
#[derive(Debug, Default)]
pub(crate) struct Boundaries(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    known: Vec<(Offset, u32)>,
    /// Which is forgotten next.
    oldest: usize,
}

impl Boundaries {
    /// Where the first batch begins that has `offset` or a higher one, if that is remembered.
    pub(crate) fn position_of(&self, offset: Offset) -> Option<u32> {
        self.0.lock().known.iter().find(|it| it.0 == offset).map(|it| it.1)
    }

    /// Remembers that everything below `offset` ends at `position`.
    pub(crate) fn remember(&self, offset: Offset, position: u32) {
        let mut ring = self.0.lock();
        let ring = &mut *ring;
        if ring.known.iter().any(|it| it.0 == offset) {
            return;
        }
        if ring.known.len() < BOUNDARIES_MAX {
            ring.known.push((offset, position));
            return;
        }
        ring.known[ring.oldest] = (offset, position);
        ring.oldest = (ring.oldest + 1) % BOUNDARIES_MAX;
    }

    /// Forgets them: the segment was cut.
    pub(crate) fn clear(&self) {
        *self.0.lock() = Ring::default();
    }
}
