//! Partitions that belong to a transaction: adding them, and asking for them.

use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, Str, Timestamp};

use super::deciding::{Deciding, MAX_PARTITION_BYTES, partition_bytes};
use super::{AddPartitions, Status, Transaction};

/// Lets partitions be part of a transaction; the first ones begin it.
pub(super) fn add(deciding: &mut Deciding<'_>, request: AddPartitions) -> Result<(), ErrorCode> {
    deciding.rules()?;
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let transaction =
        deciding.transaction(&request.transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
    // Before anything else: the producer may already have the id or the epoch that holds when the end is complete.
    if transaction.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    check_producer(transaction, &request)?;
    if transaction.status == Status::Ongoing && transaction.partitions.contains_all(&request.partitions) {
        return Ok(());
    }
    let mut partitions = (*transaction.partitions).clone();
    let added = request.partitions.detached();
    added.each().for_each(|(topic, partition)| partitions.add(topic, partition));
    if partition_bytes(&partitions) > MAX_PARTITION_BYTES {
        // What Kafka makes of a record that is too large.
        return Err(ErrorCode::UnknownServerError);
    }
    let now = deciding.at.wall_clock;
    deciding.write(
        &request.transactional_id,
        Transaction {
            previous_id: transaction.producer.id,
            status: Status::Ongoing,
            partitions: Arc::new(partitions),
            start: start(transaction, now),
            last_update: now,
            version: request.version,
            ..transaction.clone()
        },
    );
    Ok(())
}

/// Says which partitions are part of a transaction. A partition's leader asks before it takes a producer's first batch
/// in an epoch (KIP-890).
pub(super) fn verify(
    deciding: &mut Deciding<'_>,
    request: AddPartitions,
) -> Result<Vec<(Str, PartitionIndex, ErrorCode)>, ErrorCode> {
    deciding.rules()?;
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let transaction =
        deciding.transaction(&request.transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
    check_producer(transaction, &request)?;
    if transaction.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let answer = |(topic, partition): (&Str, PartitionIndex)| {
        let known = transaction.partitions.contains(topic, partition);
        let code = if known { ErrorCode::None } else { ErrorCode::TransactionAbortable };
        (topic.clone(), partition, code)
    };
    Ok(request.partitions.each().map(answer).collect())
}

fn check_producer(transaction: &Transaction, request: &AddPartitions) -> Result<(), ErrorCode> {
    if transaction.producer.id != request.producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if transaction.producer.epoch != request.producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(())
}

fn start(transaction: &Transaction, now: Timestamp) -> Timestamp {
    if transaction.status == Status::Ongoing { transaction.start } else { now }
}
