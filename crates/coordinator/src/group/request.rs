//! What can be asked of a group coordinator, and the answers.

use std::sync::Arc;

use ottla_base::Str;
use ottla_machine::Ticket;
use ottla_wire::messages::consumer_group_describe_response::DescribedGroup;
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ottla_wire::messages::offset_commit_response::OffsetCommitResponse;
use ottla_wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use ottla_wire::messages::txn_offset_commit_response::TxnOffsetCommitResponse;

use super::activation;
use super::consumer::{self, ConsumerGroupHeartbeat};
use super::deciding::Deciding;
use super::offsets::commit::{self, CommitOffsets, CommitTransactionalOffsets, EndTransaction};
use super::offsets::fetch::{self, FetchOffsets};
use crate::World;

/// Who asks, as groups remember their members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What the client calls itself.
    pub id: Str,
    /// Where it is, as Kafka writes it: `/127.0.0.1`.
    pub host: Str,
    /// The version of the request it sent.
    pub version: i16,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $variant:ident($request:ty) -> $reply:ty = $decide:path;)*) => {
        /// What can be asked of a group coordinator. Requests that name several groups are asked group by group.
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
            pub(super) fn decide(&mut self, request: Request, caller: Ticket) {
                match request {
                    $(Request::$variant(request) => $decide(self, request, caller),)*
                }
            }
        }
    };
}

requests! {
    /// The seat was taken: the first request to every seat. Then, whenever the world changes.
    SeeWorld(Arc<World>) -> () = activation::see_world;
    /// A member of a consumer group joins, reports or leaves.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeat) -> ConsumerGroupHeartbeatResponse = consumer::heartbeat;
    /// What a consumer group is like.
    ConsumerGroupDescribe(Str) -> DescribedGroup = consumer::describe;
    /// Somebody commits offsets of one group.
    CommitOffsets(CommitOffsets) -> OffsetCommitResponse = commit::commit;
    /// Somebody commits offsets of one group in a transaction.
    CommitTransactionalOffsets(CommitTransactionalOffsets) -> TxnOffsetCommitResponse = commit::commit_transactional;
    /// A transaction has ended; answered once that is committed.
    EndTransaction(EndTransaction) -> () = commit::end_transaction;
    /// Somebody asks for committed offsets of one group.
    FetchOffsets(FetchOffsets) -> OffsetFetchResponseGroup = fetch::fetch;
}
