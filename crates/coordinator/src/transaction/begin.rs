//! `InitProducerId`: a producer takes a transactional id over. Whoever had it before is fenced.

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};

use super::deciding::{Deciding, Rules};
use super::fact::is_last_epoch;
use super::request::{CommitProtocol, PreparedTransaction};
use super::{Decline, InitProducerId, Status, TopicPartitions, Transaction, end};
use crate::group::Producer;

/// The most transactional ids that one partition of `__transaction_state` keeps.
const MAX_TRANSACTIONAL_IDS: usize = 1 << 22;

/// Gives a transactional id to a producer: a new id, or the old one in a new epoch. A transaction that goes on is aborted
/// first, and the producer told to come again.
pub(super) fn init_producer_id(
    deciding: &mut Deciding<'_>,
    request: InitProducerId,
) -> Result<Producer, Decline> {
    let rules = deciding.rules()?;
    check(&request, rules)?;
    let timeout_ms = match request.commit {
        CommitProtocol::OnePhase => request.timeout_ms,
        CommitProtocol::TwoPhase => i32::MAX,
    };
    let id = &request.transactional_id;
    let Some(transaction) = deciding.transaction(id) else {
        if deciding.state.len() >= MAX_TRANSACTIONAL_IDS {
            return Err(ErrorCode::UnknownServerError.into());
        }
        let fresh = request.fresh.ok_or(Decline::NeedsProducerId)?;
        let producer = Producer { id: fresh, epoch: ProducerEpoch(0) };
        deciding.remember_epoch(id, ProducerEpoch::NONE);
        deciding.write(
            id,
            Transaction {
                producer,
                previous_id: fresh,
                next_id: ProducerId::NONE,
                timeout_ms,
                status: Status::Empty,
                partitions: Arc::new(TopicPartitions::default()),
                start: Timestamp::NONE,
                last_update: deciding.at.wall_clock,
                version: 0,
            },
        );
        return Ok(producer);
    };
    if transaction.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions.into());
    }
    if request.expected.is_some_and(|expected| !is_or_was(transaction, expected)) {
        return Err(ErrorCode::ProducerFenced.into());
    }
    if transaction.status == Status::Ongoing {
        // The epoch that this makes is told to nobody: the producer comes again and gets the one after it.
        end::fence(deciding, id, transaction, request.fresh)?;
        return Err(ErrorCode::ConcurrentTransactions.into());
    }
    let last_epoch = deciding.soft.last_epochs.get(id).copied().unwrap_or(ProducerEpoch::NONE);
    let next = next_producer(transaction, last_epoch, request.expected, request.fresh)?;
    deciding.remember_epoch(id, next.last_epoch);
    deciding.write(
        id,
        Transaction {
            producer: next.producer,
            previous_id: transaction.producer.id,
            timeout_ms,
            status: Status::Empty,
            partitions: Arc::new(TopicPartitions::default()),
            start: Timestamp::NONE,
            last_update: deciding.at.wall_clock,
            ..transaction.clone()
        },
    );
    Ok(next.producer)
}

/// Who has the id next, and the epoch that a repeated request would still name.
struct Next {
    producer: Producer,
    last_epoch: ProducerEpoch,
}

fn check(request: &InitProducerId, rules: Rules) -> Result<(), ErrorCode> {
    let two_phase = request.commit == CommitProtocol::TwoPhase;
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    if two_phase && !rules.two_phase_enabled {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if request.prepared == PreparedTransaction::Keep {
        return Err(ErrorCode::UnsupportedVersion);
    }
    if !two_phase && !(1..=rules.max_timeout_ms).contains(&request.timeout_ms) {
        return Err(ErrorCode::InvalidTransactionTimeout);
    }
    Ok(())
}

/// Whether the producer has the id, or had it before its epochs were used up, in which case it may repeat a request whose
/// answer it never got. Its epoch is checked later.
fn is_or_was(transaction: &Transaction, expected: Producer) -> bool {
    expected.id == transaction.producer.id
        || (expected.id == transaction.previous_id && is_last_epoch(expected.epoch))
}

/// `TransactionMetadata.prepareProducerIdRotation` and `prepareIncrementProducerEpoch`.
fn next_producer(
    transaction: &Transaction,
    last_epoch: ProducerEpoch,
    expected: Option<Producer>,
    fresh: Option<ProducerId>,
) -> Result<Next, Decline> {
    let current = transaction.producer;
    if transaction.is_exhausted() {
        if expected.is_some_and(|expected| expected.epoch != current.epoch) {
            return Err(ErrorCode::UnknownServerError.into());
        }
        let producer = Producer { id: fresh.ok_or(Decline::NeedsProducerId)?, epoch: ProducerEpoch(0) };
        let last_epoch = if expected.is_some() { current.epoch } else { ProducerEpoch::NONE };
        return Ok(Next { producer, last_epoch });
    }
    let bumped = Producer { epoch: ProducerEpoch(current.epoch.0 + 1), ..current };
    match expected {
        None => Ok(Next { producer: bumped, last_epoch: ProducerEpoch::NONE }),
        Some(expected) if expected.epoch == current.epoch => {
            Ok(Next { producer: bumped, last_epoch: current.epoch })
        }
        // The same request again: nobody has taken the id in between, for that forgets the last epoch.
        Some(expected) if expected.epoch == last_epoch => Ok(Next { producer: current, last_epoch }),
        Some(_) => Err(ErrorCode::ProducerFenced.into()),
    }
}
