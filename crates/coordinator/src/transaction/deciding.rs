//! What a decision may look at, draw on and say; soft state.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_base::{ErrorCode, ProducerEpoch, Str};
use ottla_machine::{At, Entropy};
use ottla_metadata::Feature;

use super::upkeep;
use super::{
    EPOCH_PER_TRANSACTION, Effect, Fact, Markers, Status, TopicPartitions, Transaction,
    TransactionCoordinator,
};
use crate::group::TransactionResult;
use crate::{Timers, World};

/// The most bytes of topics and partitions that one transaction may name, so that its record fits into a batch.
pub(super) const MAX_PARTITION_BYTES: usize = 1_000_000;

/// Why to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Transactions may have taken too long.
    Overdue,
    /// Transactional ids may have been unused for too long.
    Unused,
}

/// What dies with the seat.
#[derive(Debug, Default)]
pub struct TransactionSoft {
    /// What the settings and the cluster's features say; nothing before the first [`super::Request::SeeWorld`].
    pub(super) rules: Option<Rules>,
    /// When to look at what.
    pub(super) timers: Timers<Timer>,
    /// The epoch before the last change of it, for those who repeat `InitProducerId`. Kafka's records do not have it.
    pub(super) last_epochs: BTreeMap<Str, ProducerEpoch>,
    /// Transactions whose markers are being written, and the tag of that.
    pub(super) markers: BTreeMap<Str, u64>,
    /// Where the look for unused ids goes on.
    pub(super) unused_from: Option<Str>,
}

/// What the settings and the cluster's features say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// The finalized `transaction.version`.
    pub(super) version: i16,
    pub(super) max_timeout_ms: i32,
    pub(super) two_phase_enabled: bool,
    pub(super) overdue_interval: Duration,
    pub(super) unused_interval: Duration,
    pub(super) expiration_ms: i64,
}

/// One decision on its way. Records that were decided are not in `state` before the decision is over.
pub(super) struct Deciding<'a> {
    pub(super) state: &'a TransactionCoordinator,
    pub(super) soft: &'a mut TransactionSoft,
    pub(super) at: At,
    entropy: &'a mut Entropy,
    records: Vec<Fact>,
    effects: Vec<Effect>,
}

impl Rules {
    pub(super) fn of(world: &World) -> Rules {
        let settings = &world.settings.transactions;
        let milliseconds = |of: i32| Duration::from_millis(u64::try_from(of).unwrap_or(1).max(1));
        Rules {
            version: world.image.features.level(Feature::Transaction),
            max_timeout_ms: settings.transaction_max_timeout_ms,
            two_phase_enabled: settings.transaction_two_phase_commit_enable,
            overdue_interval: milliseconds(
                settings.transaction_abort_timed_out_transaction_cleanup_interval_ms,
            ),
            unused_interval: milliseconds(
                settings.transaction_remove_expired_transaction_cleanup_interval_ms,
            ),
            expiration_ms: i64::from(settings.transactional_id_expiration_ms),
        }
    }
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        state: &'a TransactionCoordinator,
        soft: &'a mut TransactionSoft,
        entropy: &'a mut Entropy,
        at: At,
    ) -> Deciding<'a> {
        Deciding { state, soft, at, entropy, records: Vec::new(), effects: Vec::new() }
    }

    /// Something is due.
    pub(super) fn tick(&mut self) {
        match self.soft.timers.pop_due(self.at.now) {
            Some(Timer::Overdue) => upkeep::abort_overdue(self),
            Some(Timer::Unused) => upkeep::forget_unused(self),
            None => (),
        }
    }

    /// The rules. A seat that has not seen the world yet is not ready.
    pub(super) fn rules(&self) -> Result<Rules, ErrorCode> {
        self.soft.rules.ok_or(ErrorCode::CoordinatorLoadInProgress)
    }

    /// What holds for a transactional id.
    pub(super) fn transaction(&self, transactional_id: &Str) -> Option<&'a Transaction> {
        self.state.transaction(transactional_id)
    }

    /// Lets a transactional id have this from now on.
    pub(super) fn write(&mut self, transactional_id: &Str, transaction: Transaction) {
        let layout = i16::from(self.soft.rules.is_none_or(|rules| rules.version > 0));
        self.records.push(Fact {
            transactional_id: transactional_id.detached(),
            transaction: Some(transaction),
            layout,
        });
    }

    /// Forgets a transactional id.
    pub(super) fn forget(&mut self, transactional_id: &Str) {
        self.soft.last_epochs.remove(transactional_id);
        self.records.push(Fact { transactional_id: transactional_id.clone(), transaction: None, layout: 0 });
    }

    /// Remembers the epoch before a change; none is not worth it.
    pub(super) fn remember_epoch(&mut self, transactional_id: &Str, epoch: ProducerEpoch) {
        if epoch == ProducerEpoch::NONE {
            self.soft.last_epochs.remove(transactional_id);
        } else if let Some(known) = self.soft.last_epochs.get_mut(transactional_id) {
            *known = epoch;
        } else {
            self.soft.last_epochs.insert(transactional_id.detached(), epoch);
        }
    }

    /// Lets the world write the markers of a transaction whose end is decided.
    pub(super) fn write_markers(&mut self, transactional_id: &Str, transaction: &Transaction) {
        let transactional_id = transactional_id.detached();
        let tag = self.entropy.draw();
        self.soft.markers.insert(transactional_id.clone(), tag);
        let result = match transaction.status {
            Status::PrepareCommit => TransactionResult::Committed,
            _ => TransactionResult::Aborted,
        };
        self.effects.push(Effect::WriteMarkers(Markers {
            transactional_id,
            tag,
            producer: transaction.producer,
            result,
            version: transaction.version,
            partitions: transaction.partitions.clone(),
        }));
    }

    /// Lets the world do something once the decision is committed.
    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn finish(self) -> (Vec<Fact>, Vec<Effect>) {
        (self.records, self.effects)
    }
}

/// Whether a client or a cluster of this `transaction.version` has an epoch for every transaction.
pub(super) fn has_epoch_per_transaction(version: i16) -> bool {
    version >= EPOCH_PER_TRANSACTION
}

/// How many bytes the partitions of a transaction take in its record, at most.
pub(super) fn partition_bytes(partitions: &TopicPartitions) -> usize {
    partitions.iter().map(|(topic, indexes)| topic.len() + 8 + 4 * indexes.len()).sum()
}
