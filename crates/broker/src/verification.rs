//! Before a producer's first batch of a transaction is written to a partition, its transaction coordinator confirms that
//! the partition belongs to the transaction, or adds it (KIP-890; `AddPartitionsToTxnManager`,
//! `ReplicaManager.maybeSendPartitionsToTransactionCoordinator`). Without that a late batch could open a transaction that
//! nobody will ever end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_coordinator::group::Producer;
use ottla_coordinator::transaction::{AddPartitions, EPOCH_PER_TRANSACTION, Reply, Request, TopicPartitions};
use ottla_storage::producer_state::VerificationGuard;

use crate::broker::Broker;
use crate::partition::Partition;
use crate::shard::{Asked, Given};

/// The `transaction.version` of a client that only asks.
const ASKS_ONLY: i16 = 0;

/// What the client of a request can do about its transaction, which its version tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// It has added its partitions before, and knows no `TRANSACTION_ABORTABLE`.
    Verify,
    /// It has added its partitions before.
    VerifyAbortable,
    /// It leaves adding partitions to whoever takes its batches, and has an epoch for each transaction.
    Add,
}

/// A partition to which transactional records are to be written.
pub(crate) struct Candidate {
    /// The partition.
    pub(crate) partition: Arc<Partition>,
    /// The sequence of the first record.
    pub(crate) first_sequence: i32,
}

/// Whose transaction it is said to be.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// The transactional id.
    pub(crate) transactional_id: Str,
    /// The producer.
    pub(crate) producer: Producer,
    /// What its client can do.
    pub(crate) operation: Operation,
    /// What it wants to write.
    pub(crate) purpose: Purpose,
}

/// What is to be written in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A client's own batches: expensive to send again.
    Produce,
    /// A group's offsets.
    CommitOffsets,
}

/// For each candidate: the proof for its log, or why it may not be written.
pub(crate) type Verdicts = Vec<Result<VerificationGuard, ErrorCode>>;

/// A verification that is done or goes on.
pub(crate) enum Verification {
    /// It is done.
    Done(Verdicts),
    /// The coordinator has to be waited for.
    GoesOn(Pin<Box<dyn Future<Output = Verdicts> + Send>>),
}

impl Operation {
    /// What a client can do that sends this version of `Produce`.
    pub(crate) fn of_produce(version: i16) -> Operation {
        match version {
            12.. => Operation::Add,
            11 => Operation::VerifyAbortable,
            _ => Operation::Verify,
        }
    }

    /// What a client can do that sends this version of `TxnOffsetCommit`.
    pub(crate) fn of_txn_offset_commit(version: i16) -> Operation {
        match version {
            5.. => Operation::Add,
            4 => Operation::VerifyAbortable,
            _ => Operation::Verify,
        }
    }
}

impl Claim {
    /// What the client is told.
    fn translated(&self, code: ErrorCode) -> ErrorCode {
        match code {
            // Producers expect this one here.
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if self.operation == Operation::Verify => {
                ErrorCode::InvalidTxnState
            }
            code if self.purpose == Purpose::CommitOffsets => code,
            ErrorCode::ConcurrentTransactions if self.operation == Operation::Add => code,
            // Older clients may not come again on these; they do on this one, and without asking for metadata.
            ErrorCode::ConcurrentTransactions
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::NetworkException => ErrorCode::NotEnoughReplicas,
            code => code,
        }
    }

    /// A transaction whose predecessor is being ended is no reason to send all the records again: that takes a moment
    /// only.
    fn comes_again(&self, verdicts: &Verdicts) -> bool {
        self.operation == Operation::Add
            && self.purpose == Purpose::Produce
            && verdicts.contains(&Err(ErrorCode::ConcurrentTransactions))
    }

    fn told(&self, verdicts: Verdicts) -> Verdicts {
        verdicts.into_iter().map(|it| it.map_err(|code| self.translated(code))).collect()
    }
}

/// Has the coordinator confirm or add the partitions that need it.
pub(crate) fn verify(broker: &Arc<Broker>, claim: Claim, candidates: Vec<Candidate>) -> Verification {
    if claim.operation != Operation::Add && !is_enabled(broker) {
        return Verification::Done(vec![Ok(VerificationGuard::NONE); candidates.len()]);
    }
    let round = match Round::begin(broker, &claim, &candidates) {
        Begun::Over(verdicts) => return Verification::Done(claim.told(verdicts)),
        Begun::Asked(round) => round,
    };
    let transactions = broker.settings.load().server.transactions.clone();
    let milliseconds = |of: i32| Duration::from_millis(u64::try_from(of).unwrap_or(0));
    let patience = milliseconds(transactions.add_partitions_to_txn_retry_backoff_max_ms);
    let pause = milliseconds(transactions.add_partitions_to_txn_retry_backoff_ms);
    let until = broker.host.now() + patience;
    match round.arrived(broker) {
        Arrival::Now(verdicts) if !claim.comes_again(&verdicts) => Verification::Done(claim.told(verdicts)),
        Arrival::Now(_) => {
            let broker = broker.clone();
            Verification::GoesOn(Box::pin(async move {
                broker.host.sleep(pause).await;
                go_on(&broker, claim, candidates, None, pause, until).await
            }))
        }
        Arrival::Later(round) => {
            let broker = broker.clone();
            Verification::GoesOn(Box::pin(async move {
                go_on(&broker, claim, candidates, Some(round), pause, until).await
            }))
        }
    }
}

/// Whether leaders ask at all (`transaction.partition.verification.enable`).
fn is_enabled(broker: &Broker) -> bool {
    broker.settings.load().server.transactions.transaction_partition_verification_enable
}

async fn go_on(
    broker: &Arc<Broker>,
    claim: Claim,
    candidates: Vec<Candidate>,
    mut asked: Option<Round>,
    pause: Duration,
    until: Moment,
) -> Verdicts {
    loop {
        let round = match asked.take() {
            Some(round) => round,
            None => match Round::begin(broker, &claim, &candidates) {
                Begun::Over(verdicts) => return claim.told(verdicts),
                Begun::Asked(round) => round,
            },
        };
        let verdicts = round.done(broker).await;
        if broker.host.now() >= until || !claim.comes_again(&verdicts) {
            return claim.told(verdicts);
        }
        broker.host.sleep(pause).await;
    }
}

/// One question to the coordinator.
struct Round {
    /// What is known already: a guard that needs to be proved, or a verdict.
    known: Vec<Known>,
    asked: Asked<Reply>,
    asked_at: Moment,
}

/// What is known of a candidate while the coordinator is asked.
enum Known {
    /// Nothing has to be asked.
    Verdict(Result<VerificationGuard, ErrorCode>),
    /// The coordinator says.
    Open(VerificationGuard, Str, ottla_base::PartitionIndex),
}

/// Whether anything was asked.
enum Begun {
    /// There was nothing to ask.
    Over(Verdicts),
    /// The coordinator was asked.
    Asked(Round),
}

impl Round {
    fn begin(broker: &Arc<Broker>, claim: &Claim, candidates: &[Candidate]) -> Begun {
        let producer = claim.producer;
        let now = broker.host.wall_clock();
        let bumps = claim.operation == Operation::Add;
        let known: Vec<Known> = candidates
            .iter()
            .map(|candidate| {
                let partition = &candidate.partition;
                if let Err(code) = partition.leader_epoch(-1) {
                    return Known::Verdict(Err(code));
                }
                let begun = partition.log().with_producers(|producers| {
                    let sequence = candidate.first_sequence;
                    producers.begin_verification(producer.id, sequence, producer.epoch, bumps, now)
                });
                match begun {
                    Ok(guard) if guard == VerificationGuard::NONE => Known::Verdict(Ok(guard)),
                    Ok(guard) => Known::Open(guard, partition.topic.clone(), partition.index),
                    Err(refusal) => Known::Verdict(Err(refusal.code)),
                }
            })
            .collect();
        let mut open = TopicPartitions::default();
        for it in &known {
            if let Known::Open(_, topic, index) = it {
                open.add(topic, *index);
            }
        }
        if open.is_empty() {
            return Begun::Over(known.into_iter().map(|it| it.verdict(&Ok(Vec::new()))).collect());
        }
        let asked_at = broker.host.now();
        let asked = ask(broker, claim, open);
        Begun::Asked(Round { known, asked, asked_at })
    }

    /// The verdicts, if the coordinator has answered at once.
    fn arrived(self, broker: &Broker) -> Arrival {
        match self.asked {
            Asked::Here(Some(given)) => Arrival::Now(verdicts(broker, self.asked_at, self.known, given)),
            asked => Arrival::Later(Round { asked, ..self }),
        }
    }

    async fn done(self, broker: &Broker) -> Verdicts {
        verdicts(broker, self.asked_at, self.known, self.asked.await)
    }
}

/// Whether the coordinator has answered at once.
enum Arrival {
    /// It has.
    Now(Verdicts),
    /// It will.
    Later(Round),
}

/// Which partitions the coordinator has something to say about.
type Told = Result<Vec<(Str, ottla_base::PartitionIndex, ErrorCode)>, ErrorCode>;

impl Known {
    fn verdict(self, told: &Told) -> Result<VerificationGuard, ErrorCode> {
        let (guard, topic, index) = match self {
            Known::Verdict(verdict) => return verdict,
            Known::Open(guard, topic, index) => (guard, topic, index),
        };
        let all = told.as_ref().map_err(|code| *code)?;
        match all.iter().find(|it| it.0 == topic && it.1 == index) {
            Some((_, _, code)) if *code != ErrorCode::None => Err(*code),
            _ => Ok(guard),
        }
    }
}

/// Asks the coordinator to add the partitions, or only whether it has.
fn ask(broker: &Arc<Broker>, claim: &Claim, partitions: TopicPartitions) -> Asked<Reply> {
    let adds = claim.operation == Operation::Add;
    let request = AddPartitions {
        transactional_id: claim.transactional_id.clone(),
        producer: claim.producer,
        version: if adds { EPOCH_PER_TRANSACTION } else { ASKS_ONLY },
        partitions,
    };
    let request = if adds { Request::AddPartitions(request) } else { Request::VerifyPartitions(request) };
    broker.coordinators.transactions.ask(broker, &claim.transactional_id, request)
}

fn verdicts(broker: &Broker, asked_at: Moment, known: Vec<Known>, given: Given<Reply>) -> Verdicts {
    let told: Told = match given {
        Ok(Reply::AddPartitions(Ok(()))) => Ok(Vec::new()),
        Ok(Reply::AddPartitions(Err(code)) | Reply::VerifyPartitions(Err(code))) | Err(code) => Err(code),
        Ok(Reply::VerifyPartitions(Ok(all))) => Ok(all),
        Ok(_) => Err(ErrorCode::UnknownServerError),
    };
    let verdicts: Verdicts = known.into_iter().map(|it| it.verdict(&told)).collect();
    let metrics = &broker.metrics.transactions;
    let took = broker.host.now().since(asked_at).as_micros();
    metrics.verification_time_us.record(u64::try_from(took).unwrap_or(u64::MAX));
    metrics.verification_failures.add(verdicts.iter().filter(|it| it.is_err()).count() as u64);
    verdicts
}

#[cfg(test)]
mod tests {
    use ottla_base::{PartitionIndex, ProducerEpoch, ProducerId};

    use super::*;

    fn claim(operation: Operation, purpose: Purpose) -> Claim {
        let producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(2) };
        Claim { transactional_id: "id".into(), producer, operation, purpose }
    }

    #[test]
    fn producers_are_told_what_their_version_knows() {
        use ErrorCode::{
            ConcurrentTransactions, InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState,
            NotCoordinator, NotEnoughReplicas, ProducerFenced, TransactionAbortable,
        };
        let old = claim(Operation::of_produce(10), Purpose::Produce);
        let newer = claim(Operation::of_produce(11), Purpose::Produce);
        let adding = claim(Operation::of_produce(12), Purpose::Produce);
        let offsets = claim(Operation::of_txn_offset_commit(4), Purpose::CommitOffsets);
        for (code, told) in [
            (ProducerFenced, [InvalidProducerEpoch; 4]),
            (InvalidProducerIdMapping, [InvalidProducerIdMapping; 4]),
            (
                TransactionAbortable,
                [InvalidTxnState, TransactionAbortable, TransactionAbortable, TransactionAbortable],
            ),
            (
                ConcurrentTransactions,
                [NotEnoughReplicas, NotEnoughReplicas, ConcurrentTransactions, ConcurrentTransactions],
            ),
            (NotCoordinator, [NotEnoughReplicas, NotEnoughReplicas, NotEnoughReplicas, NotCoordinator]),
        ] {
            let all = [&old, &newer, &adding, &offsets].map(|it| it.translated(code));
            assert_eq!(all, told, "{code}");
        }
    }

    #[test]
    fn only_records_wait_for_the_transaction_before() {
        let concurrent = vec![Ok(VerificationGuard::NONE), Err(ErrorCode::ConcurrentTransactions)];
        assert!(claim(Operation::Add, Purpose::Produce).comes_again(&concurrent));
        assert!(!claim(Operation::Add, Purpose::CommitOffsets).comes_again(&concurrent));
        assert!(!claim(Operation::VerifyAbortable, Purpose::Produce).comes_again(&concurrent));
        assert!(!claim(Operation::Add, Purpose::Produce).comes_again(&vec![Ok(VerificationGuard::NONE)]));
    }

    #[test]
    fn a_verdict_is_of_its_own_partition() {
        let open = |index| Known::Open(VerificationGuard::NONE, "t".into(), PartitionIndex(index));
        let told: Told = Ok(vec![
            ("t".into(), PartitionIndex(0), ErrorCode::None),
            ("t".into(), PartitionIndex(1), ErrorCode::TransactionAbortable),
        ]);
        assert_eq!(open(0).verdict(&told), Ok(VerificationGuard::NONE));
        assert_eq!(open(1).verdict(&told), Err(ErrorCode::TransactionAbortable));
        assert_eq!(open(0).verdict(&Err(ErrorCode::NotCoordinator)), Err(ErrorCode::NotCoordinator));
        let known = Known::Verdict(Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(known.verdict(&told), Err(ErrorCode::NotLeaderOrFollower));
    }
}
