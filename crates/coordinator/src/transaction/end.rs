//! `EndTxn`: prepare, markers, completion; fencing.

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId, Str, Timestamp};

use super::deciding::{Deciding, has_epoch_per_transaction};
use super::{Decline, EndTransaction, MarkersWritten, NOBODY, Status, TopicPartitions, Transaction};
use crate::group::{Producer, TransactionResult};

/// A producer ends its transaction.
pub(super) fn end(deciding: &mut Deciding<'_>, request: EndTransaction) -> Result<Producer, Decline> {
    deciding.rules()?;
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest.into());
    }
    let transaction =
        deciding.transaction(&request.transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
    if has_epoch_per_transaction(request.version) {
        end_with_new_epoch(deciding, &request, transaction)
    } else {
        end_in_same_epoch(deciding, &request, transaction)
    }
}

/// Aborts a transaction against its producer's will, and raises the epoch so that the producer is fenced: somebody else
/// takes the id, or the transaction took too long.
pub(super) fn fence(
    deciding: &mut Deciding<'_>,
    transactional_id: &Str,
    transaction: &Transaction,
    fresh: Option<ProducerId>,
) -> Result<(), Decline> {
    let rules = deciding.rules()?;
    let mut next = prepared(deciding, transaction, Status::PrepareAbort);
    next.producer.epoch = ProducerEpoch(transaction.producer.epoch.0.saturating_add(1));
    if has_epoch_per_transaction(rules.version) {
        next.next_id = next_id(transaction, fresh)?;
        next.version = rules.version;
        deciding.remember_epoch(transactional_id, transaction.producer.epoch);
    } else {
        next.version = 0;
        deciding.remember_epoch(transactional_id, ProducerEpoch::NONE);
    }
    prepare(deciding, transactional_id, next);
    Ok(())
}

/// All markers of a transaction are written: it is complete.
pub(super) fn markers_written(deciding: &mut Deciding<'_>, written: MarkersWritten) {
    if deciding.soft.markers.get(&written.transactional_id) != Some(&written.tag) {
        return;
    }
    deciding.soft.markers.remove(&written.transactional_id);
    let Some(transaction) = deciding.transaction(&written.transactional_id) else { return };
    let status = match transaction.status {
        Status::PrepareCommit => Status::CompleteCommit,
        Status::PrepareAbort => Status::CompleteAbort,
        _ => return,
    };
    deciding.write(
        &written.transactional_id,
        Transaction {
            producer: completed_producer(transaction),
            previous_id: transaction.producer.id,
            next_id: ProducerId::NONE,
            status,
            partitions: Arc::new(TopicPartitions::default()),
            last_update: deciding.at.wall_clock,
            ..transaction.clone()
        },
    );
}

/// Before `transaction.version` 2. All that tells a repeated request from the next transaction's is the status, which is
/// why clients that speak it can have a late request hit the wrong transaction (KAFKA-17754), with Kafka too.
fn end_in_same_epoch(
    deciding: &mut Deciding<'_>,
    request: &EndTransaction,
    transaction: &Transaction,
) -> Result<Producer, Decline> {
    if transaction.producer.id != request.producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping.into());
    }
    if transaction.producer.epoch != request.producer.epoch {
        return Err(ErrorCode::ProducerFenced.into());
    }
    match (transaction.status, request.result) {
        (Status::Ongoing, result) => {
            let mut next = prepared(deciding, transaction, decided(result));
            next.version = 0;
            prepare(deciding, &request.transactional_id, next);
            Ok(NOBODY)
        }
        (Status::CompleteCommit, TransactionResult::Committed)
        | (Status::CompleteAbort, TransactionResult::Aborted) => Ok(NOBODY),
        (Status::PrepareCommit | Status::PrepareAbort, _) => Err(ErrorCode::ConcurrentTransactions.into()),
        _ => Err(ErrorCode::InvalidTxnState.into()),
    }
}

/// Since `transaction.version` 2: every end raises the epoch. Whoever still has the one before repeats itself.
fn end_with_new_epoch(
    deciding: &mut Deciding<'_>,
    request: &EndTransaction,
    transaction: &Transaction,
) -> Result<Producer, Decline> {
    // Before anything else: the producer may already have the id or the epoch that holds when the end is complete.
    if transaction.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions.into());
    }
    let (theirs, ours) = (request.producer, transaction.producer);
    let again_with_last_id = transaction.previous_id == theirs.id
        && theirs.epoch == ProducerEpoch(i16::MAX - 1)
        && ours.epoch == ProducerEpoch(0);
    if ours.id != theirs.id && !again_with_last_id {
        return Err(ErrorCode::InvalidProducerIdMapping.into());
    }
    let again = i32::from(ours.epoch.0) == i32::from(theirs.epoch.0) + 1 || again_with_last_id;
    let complete = matches!(transaction.status, Status::CompleteCommit | Status::CompleteAbort);
    if theirs.epoch != ours.epoch && !(again && complete) {
        return Err(ErrorCode::ProducerFenced.into());
    }
    match (transaction.status, request.result) {
        (Status::Ongoing, result) => {
            end_now(deciding, request, transaction, decided(result), transaction.start)
        }
        (Status::CompleteCommit, TransactionResult::Committed)
        | (Status::CompleteAbort, TransactionResult::Aborted)
            if again =>
        {
            Ok(ours)
        }
        // A client that does not know whether anything was added aborts to be sure.
        (_, TransactionResult::Aborted) if !again => {
            let now = deciding.at.wall_clock;
            end_now(deciding, request, transaction, Status::PrepareAbort, now)
        }
        _ => Err(ErrorCode::InvalidTxnState.into()),
    }
}

fn end_now(
    deciding: &mut Deciding<'_>,
    request: &EndTransaction,
    transaction: &Transaction,
    status: Status,
    start: Timestamp,
) -> Result<Producer, Decline> {
    let epoch = transaction.producer.epoch;
    let mut next = prepared(deciding, transaction, status);
    next.next_id = next_id(transaction, request.fresh)?;
    next.start = start;
    next.version = request.version;
    next.producer.epoch = match epoch.0.checked_add(1) {
        Some(epoch) => ProducerEpoch(epoch),
        // No client has this epoch; an abort leads out of it all the same.
        None if status == Status::PrepareAbort => epoch,
        None => return Err(ErrorCode::UnknownServerError.into()),
    };
    deciding.remember_epoch(&request.transactional_id, epoch);
    let producer = completed_producer(&next);
    prepare(deciding, &request.transactional_id, next);
    Ok(producer)
}

/// The transaction as it is when its end is decided.
fn prepared(deciding: &Deciding<'_>, transaction: &Transaction, status: Status) -> Transaction {
    Transaction {
        previous_id: transaction.producer.id,
        next_id: ProducerId::NONE,
        status,
        last_update: deciding.at.wall_clock,
        ..transaction.clone()
    }
}

fn prepare(deciding: &mut Deciding<'_>, transactional_id: &Str, next: Transaction) {
    deciding.write_markers(transactional_id, &next);
    deciding.write(transactional_id, next);
}

/// The producer id that follows, if the epochs of this one are used up.
fn next_id(transaction: &Transaction, fresh: Option<ProducerId>) -> Result<ProducerId, Decline> {
    if transaction.is_exhausted() { fresh.ok_or(Decline::NeedsProducerId) } else { Ok(ProducerId::NONE) }
}

/// Who the producer is once a transaction whose end is decided is complete.
fn completed_producer(transaction: &Transaction) -> Producer {
    if has_epoch_per_transaction(transaction.version) && transaction.next_id != ProducerId::NONE {
        Producer { id: transaction.next_id, epoch: ProducerEpoch(0) }
    } else {
        transaction.producer
    }
}

fn decided(result: TransactionResult) -> Status {
    match result {
        TransactionResult::Committed => Status::PrepareCommit,
        TransactionResult::Aborted => Status::PrepareAbort,
    }
}
