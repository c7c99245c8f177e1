//! What operators see: `DescribeTransactions` and `ListTransactions`.

use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::describe_transactions_response::{TopicData, TransactionState};

use super::deciding::Deciding;
use super::{ListFilter, Listed, Transaction};

/// What holds for a transactional id.
pub(super) fn describe(deciding: &mut Deciding<'_>, transactional_id: Str) -> TransactionState {
    let refused = |code: ErrorCode| TransactionState {
        error_code: code.code(),
        transactional_id: transactional_id.clone(),
        ..TransactionState::default()
    };
    if transactional_id.is_empty() {
        return refused(ErrorCode::InvalidRequest);
    }
    let Some(transaction) = deciding.transaction(&transactional_id) else {
        return refused(ErrorCode::TransactionalIdNotFound);
    };
    TransactionState {
        error_code: ErrorCode::None.code(),
        transactional_id,
        transaction_state: transaction.status.name().into(),
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_start_time_ms: transaction.start.0,
        producer_id: transaction.producer.id.0,
        producer_epoch: transaction.producer.epoch.0,
        topics: topics(transaction),
        ..TransactionState::default()
    }
}

/// Which transactional ids there are.
pub(super) fn list(deciding: &mut Deciding<'_>, filter: ListFilter) -> Vec<Listed> {
    let now = deciding.at.wall_clock.0;
    let wanted = |transaction: &Transaction| {
        let took_ms = now.saturating_sub(transaction.start.0);
        (filter.producer_ids.is_empty() || filter.producer_ids.contains(&transaction.producer.id))
            && (filter.statuses.is_empty() || filter.statuses.contains(transaction.status.name()))
            && (filter.duration_ms < 0 || took_ms > filter.duration_ms)
    };
    let listed = |(transactional_id, transaction): (&Str, &Transaction)| Listed {
        transactional_id: transactional_id.clone(),
        producer_id: transaction.producer.id,
        status: transaction.status,
    };
    deciding.state.transactions().filter(|(_, it)| wanted(it)).map(listed).collect()
}

fn topics(transaction: &Transaction) -> Vec<TopicData> {
    let topic = |(topic, indexes): (&Str, &std::collections::BTreeSet<_>)| TopicData {
        topic: topic.clone(),
        partitions: indexes.iter().map(|index: &ottla_base::PartitionIndex| index.0).collect(),
        ..TopicData::default()
    };
    transaction.partitions.iter().map(topic).collect()
}
