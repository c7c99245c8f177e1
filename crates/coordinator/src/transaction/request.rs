//! What can be asked of a transaction coordinator, and the answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, ProducerId, Str};
use ottla_wire::messages::describe_transactions_response::TransactionState;

use super::deciding::Deciding;
use super::{Status, TopicPartitions, begin, describe, end, partitions, upkeep};
use crate::World;
use crate::group::{Producer, TransactionResult};

/// A producer takes a transactional id over (`InitProducerId`).
#[derive(Debug, Clone, PartialEq)]
pub struct InitProducerId {
    /// The id.
    pub transactional_id: Str,
    /// How long its transactions may take, in milliseconds.
    pub timeout_ms: i32,
    /// Whether its transactions are prepared for an outside coordinator and may take for ever (KIP-939).
    pub commit: CommitProtocol,
    /// What becomes of a transaction that has been prepared (KIP-939).
    pub prepared: PreparedTransaction,
    /// Who the producer thinks it is, if it goes on after an error (KIP-360).
    pub expected: Option<Producer>,
    /// A producer id nobody has, if one was drawn.
    pub fresh: Option<ProducerId>,
}

/// Who decides whether a transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitProtocol {
    /// The producer.
    OnePhase,
    /// A coordinator outside of Kafka.
    TwoPhase,
}

/// What becomes of a transaction that the last producer has prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparedTransaction {
    /// It is aborted.
    Abort,
    /// It goes on. Kafka 4.4 refuses it.
    Keep,
}

/// Partitions become part of a transaction, or are asked for (`AddPartitionsToTxn`, `AddOffsetsToTxn`).
#[derive(Debug, Clone, PartialEq)]
pub struct AddPartitions {
    /// Whose transaction.
    pub transactional_id: Str,
    /// The producer.
    pub producer: Producer,
    /// The `transaction.version` that the client speaks.
    pub version: i16,
    /// Which partitions.
    pub partitions: TopicPartitions,
}

/// A producer ends its transaction (`EndTxn`).
#[derive(Debug, Clone, PartialEq)]
pub struct EndTransaction {
    /// Whose transaction.
    pub transactional_id: Str,
    /// The producer.
    pub producer: Producer,
    /// How it is to end.
    pub result: TransactionResult,
    /// The `transaction.version` that the client speaks.
    pub version: i16,
    /// A producer id nobody has, if one was drawn.
    pub fresh: Option<ProducerId>,
}

/// All markers of a transaction are written.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkersWritten {
    /// Whose transaction.
    pub transactional_id: Str,
    /// What [`super::Markers::tag`] was.
    pub tag: u64,
}

/// A transaction that took too long, as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Abandoned {
    /// Whose transaction.
    pub transactional_id: Str,
    /// The producer that has left it.
    pub producer: Producer,
}

/// Which transactional ids are asked for; all conditions hold together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListFilter {
    /// Those of these producers; of all if it is empty.
    pub producer_ids: BTreeSet<ProducerId>,
    /// Those in statuses of these names; in any if it is empty.
    pub statuses: BTreeSet<Str>,
    /// Those whose transaction began longer ago than this; any if it is negative.
    pub duration_ms: i64,
}

/// A transactional id in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The id.
    pub transactional_id: Str,
    /// Its producer.
    pub producer_id: ProducerId,
    /// How far its transaction is.
    pub status: Status,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decline {
    /// It may not be done.
    Refused(ErrorCode),
    /// Ask again with a producer id that nobody has.
    NeedsProducerId,
}

impl From<ErrorCode> for Decline {
    fn from(code: ErrorCode) -> Decline {
        Decline::Refused(code)
    }
}

macro_rules! requests {
    ($($(#[$doc:meta])* $variant:ident($request:ty) -> $reply:ty = $decide:path;)*) => {
        /// What can be asked of a transaction coordinator.
        #[derive(Debug, Clone)]
        pub enum Request {
            $($(#[$doc])* $variant($request),)*
        }

        /// The answers, each to the request of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Reply {
            $($(#[$doc])* $variant($reply),)*
        }

        impl Deciding<'_> {
            /// One match from requests to deciders.
            pub(super) fn decide(&mut self, request: Request) -> Reply {
                match request {
                    $(Request::$variant(request) => Reply::$variant($decide(self, request)),)*
                }
            }
        }
    };
}

requests! {
    /// The seat was taken: the first request to every seat. Then, whenever the world changes.
    SeeWorld(Arc<World>) -> () = upkeep::see_world;
    /// A producer takes a transactional id over. The answer is who it is from now on.
    InitProducerId(InitProducerId) -> Result<Producer, Decline> = begin::init_producer_id;
    /// Partitions become part of a transaction.
    AddPartitions(AddPartitions) -> Result<(), ErrorCode> = partitions::add;
    /// Are partitions part of a transaction? The answer is one for each.
    VerifyPartitions(AddPartitions) -> Result<Vec<(Str, PartitionIndex, ErrorCode)>, ErrorCode> = partitions::verify;
    /// A producer ends its transaction. The answer is who it is from now on, nobody if that has not changed.
    End(EndTransaction) -> Result<Producer, Decline> = end::end;
    /// All markers of a transaction are written.
    MarkersWritten(MarkersWritten) -> () = end::markers_written;
    /// A transaction that took too long is to be aborted, with this producer id to go on.
    AbortAbandoned((Abandoned, ProducerId)) -> () = upkeep::abort_abandoned;
    /// What holds for a transactional id.
    Describe(Str) -> TransactionState = describe::describe;
    /// Which transactional ids there are.
    List(ListFilter) -> Vec<Listed> = describe::list;
}
