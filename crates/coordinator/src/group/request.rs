//! What can be asked of a group coordinator, and the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{Str, Uuid};
use ottla_machine::Ticket;
use ottla_wire::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequest;
use ottla_wire::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;
use ottla_wire::messages::consumer_group_describe_response::DescribedGroup;
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ottla_wire::messages::delete_groups_response::DeletableGroupResult;
use ottla_wire::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest;
use ottla_wire::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponse;
use ottla_wire::messages::describe_groups_response::DescribedGroup as DescribedClassicGroup;
use ottla_wire::messages::heartbeat_response::HeartbeatResponse;
use ottla_wire::messages::join_group_response::JoinGroupResponse;
use ottla_wire::messages::leave_group_response::LeaveGroupResponse;
use ottla_wire::messages::list_groups_response::ListedGroup;
use ottla_wire::messages::offset_commit_response::OffsetCommitResponse;
use ottla_wire::messages::offset_delete_request::OffsetDeleteRequest;
use ottla_wire::messages::offset_delete_response::OffsetDeleteResponse;
use ottla_wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use ottla_wire::messages::share_group_describe_response::DescribedGroup as DescribedShareGroup;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use ottla_wire::messages::streams_group_describe_response::DescribedGroup as DescribedStreamsGroup;
use ottla_wire::messages::sync_group_response::SyncGroupResponse;
use ottla_wire::messages::txn_offset_commit_response::TxnOffsetCommitResponse;

use super::classic::join::{self, JoinGroup};
use super::classic::membership::{self, Heartbeat, LeaveGroup};
use super::classic::sync::{self, SyncGroup};
use super::consumer::{self, ConsumerGroupHeartbeat};
use super::deciding::Deciding;
use super::listing::{self, DescribeGroup, ListGroups};
use super::measure::{self, Measured};
use super::offsets::commit::{self, CommitOffsets, CommitTransactionalOffsets, EndTransaction};
use super::offsets::delete;
use super::offsets::fetch::{self, FetchOffsets};
use super::share::{ShareHeartbeat, ShareStateDeleted, ShareStateInitialized};
use super::streams::{self, StreamsDescribe, StreamsHeartbeat, StreamsHeartbeatAnswer};
use super::why::{self, Rebalance};
use super::{activation, share};
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
    /// `ShareGroupHeartbeat`.
    ShareGroupHeartbeat(ShareHeartbeat) -> ShareGroupHeartbeatResponse = share::heartbeat;
    /// `ShareGroupDescribe`, for one group.
    ShareGroupDescribe(Str) -> DescribedShareGroup = share::describe;
    /// `AlterShareGroupOffsets`.
    AlterShareGroupOffsets(AlterShareGroupOffsetsRequest) -> AlterShareGroupOffsetsResponse = share::alter_offsets;
    /// `DeleteShareGroupOffsets`.
    DeleteShareGroupOffsets(DeleteShareGroupOffsetsRequest) -> DeleteShareGroupOffsetsResponse = share::delete_offsets;
    /// The partitions that members of a share group may share in.
    InitializedSharePartitions(Str) -> BTreeMap<Uuid, BTreeSet<i32>> = share::initialized_partitions;
    /// The share coordinator has carried out [`super::Effect::InitializeShareState`].
    ShareStateInitialized(ShareStateInitialized) -> () = share::state_initialized;
    /// The share coordinator has carried out [`super::Effect::DeleteShareState`].
    ShareStateDeleted(ShareStateDeleted) -> () = share::state_deleted;
    /// Somebody deletes offsets of one group.
    DeleteOffsets(OffsetDeleteRequest) -> OffsetDeleteResponse = delete::delete;
    /// Somebody joins a group by the classic protocol.
    JoinGroup(JoinGroup) -> JoinGroupResponse = join::join;
    /// A member asks for its assignment by the classic protocol.
    SyncGroup(SyncGroup) -> SyncGroupResponse = sync::sync;
    /// A member reports by the classic protocol.
    Heartbeat(Heartbeat) -> HeartbeatResponse = membership::heartbeat;
    /// Members leave by the classic protocol.
    LeaveGroup(LeaveGroup) -> LeaveGroupResponse = membership::leave;
    /// Somebody asks which groups there are, of every kind.
    ListGroups(ListGroups) -> Vec<ListedGroup> = listing::list;
    /// Somebody asks how a classic group is.
    DescribeGroup(DescribeGroup) -> DescribedClassicGroup = listing::describe;
    /// Somebody deletes a group of any kind.
    DeleteGroup(Str) -> DeletableGroupResult = listing::delete;
    /// The latest rebalances of a group, the oldest first.
    Explain(Str) -> Vec<Rebalance> = why::explain;
    /// How many groups and offsets there are.
    Measure(()) -> Measured = measure::measure;
    /// A member of a streams group says that it is there.
    StreamsGroupHeartbeat(Box<StreamsHeartbeat>) -> StreamsHeartbeatAnswer = streams::heartbeat;
    /// How a streams group is.
    StreamsGroupDescribe(StreamsDescribe) -> DescribedStreamsGroup = streams::describe;
}
