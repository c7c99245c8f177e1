//! The proof that a transaction coordinator knows of a transaction before its first batch is written here
//! (KIP-890; `VerificationStateEntry`, `VerificationGuard`).

use ottla_base::{ProducerEpoch, Timestamp};

/// Names one question to a coordinator. The batch that waited for the answer shows it; if a marker was
/// written meanwhile, it no longer fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerificationGuard(u64);

impl VerificationGuard {
    /// No question was asked. Proves nothing.
    pub const NONE: VerificationGuard = VerificationGuard(0);

    pub(super) const fn numbered(number: u64) -> VerificationGuard {
        VerificationGuard(number)
    }

    /// Whether this is the guard of the question that is open.
    pub(super) fn proves(self, open: Option<Verification>) -> bool {
        self != VerificationGuard::NONE && open.is_some_and(|it| it.guard == self)
    }
}

/// A question to a coordinator whose answer has not yet led to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// When it was asked first.
    pub since: Timestamp,
    /// Its name.
    pub guard: VerificationGuard,
    /// Whether the producer has a new epoch for each transaction.
    pub supports_epoch_bump: bool,
    /// The lowest sequence that came meanwhile. Higher ones must not be written before it.
    pub lowest_sequence: i32,
    /// The epoch of that sequence.
    pub epoch: ProducerEpoch,
}

impl Verification {
    pub(super) fn lower(&mut self, sequence: i32, epoch: ProducerEpoch) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.lowest_sequence = sequence;
        } else if epoch == self.epoch {
            self.lowest_sequence = self.lowest_sequence.min(sequence);
        }
    }
}
