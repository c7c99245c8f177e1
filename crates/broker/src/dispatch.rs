//! From an API key to its handler: the one place where requests are told apart.

use std::sync::Arc;

use ottla_net::{Answer, Response};
use ottla_wire::{ApiKey, Request};

use crate::api;
use crate::broker::Broker;
use crate::call::{Call, Serves};

/// What this broker serves. A call that is not in the list is not advertised either.
const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ListConfigResources,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::DescribeTopicPartitions,
    ApiKey::Vote,
    ApiKey::BeginQuorumEpoch,
    ApiKey::EndQuorumEpoch,
    ApiKey::FetchSnapshot,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
    ApiKey::UpdateRaftVoter,
    ApiKey::ShareFetch,
    ApiKey::ShareAcknowledge,
    ApiKey::ShareGroupHeartbeat,
    ApiKey::ShareGroupDescribe,
    ApiKey::DescribeShareGroupOffsets,
    ApiKey::AlterShareGroupOffsets,
    ApiKey::DeleteShareGroupOffsets,
    ApiKey::InitializeShareGroupState,
    ApiKey::ReadShareGroupState,
    ApiKey::WriteShareGroupState,
    ApiKey::DeleteShareGroupState,
    ApiKey::ReadShareGroupStateSummary,
    ApiKey::StreamsGroupHeartbeat,
    ApiKey::StreamsGroupDescribe,
    ApiKey::StreamsGroupTopologyDescriptionUpdate,
];

/// Whether a listener serves an API.
pub(crate) fn is_served(key: ApiKey, serves: Serves) -> bool {
    let belongs = match serves {
        Serves::Broker => key.is_for_brokers(),
        Serves::Controller => key.is_for_controllers(),
    };
    belongs && SERVED.contains(&key)
}

/// The last version that is served.
pub(crate) const fn last_version(key: ApiKey) -> i16 {
    key.last_stable_version()
}

/// Hands a request to its handler.
pub(crate) fn dispatch(broker: &Arc<Broker>, call: Call, request: Request) -> Answer {
    match request {
        Request::Produce(it) => api::produce::produce(broker, call, it),
        Request::Fetch(it) if call.listener.serves == Serves::Broker => api::fetch::fetch(broker, call, it),
        Request::ListOffsets(it) => api::list_offsets::list_offsets(broker, call, it),
        Request::Metadata(it) => api::metadata::metadata(broker, call, it),
        Request::ApiVersions(it) => api::api_versions::api_versions(broker, call, it).into(),
        Request::CreateTopics(it) => api::forward::create_topics(broker, call, it),
        Request::DeleteTopics(it) => api::forward::delete_topics(broker, call, it),
        Request::DeleteRecords(it) => api::delete_records::delete_records(broker, call, it),
        Request::InitProducerId(it) => api::init_producer_id::init_producer_id(broker, call, it),
        Request::OffsetForLeaderEpoch(it) => {
            api::offset_for_leader_epoch::offset_for_leader_epoch(broker, call, it).into()
        }
        Request::DescribeConfigs(it) => api::describe_configs::describe_configs(broker, call, it).into(),
        Request::AlterConfigs(it) => api::alter_configs::alter_configs(broker, call, it),
        Request::AlterReplicaLogDirs(it) => {
            api::alter_replica_log_dirs::alter_replica_log_dirs(broker, call, it)
        }
        Request::DescribeLogDirs(it) => api::describe_log_dirs::describe_log_dirs(broker, call, it),
        Request::CreatePartitions(it) => api::forward::create_partitions(broker, call, it),
        Request::ElectLeaders(it) => api::forward::elect_leaders(broker, call, it),
        Request::IncrementalAlterConfigs(it) => {
            api::alter_configs::incremental_alter_configs(broker, call, it)
        }
        Request::AlterPartitionReassignments(it) => {
            api::forward::alter_partition_reassignments(broker, call, it)
        }
        Request::ListPartitionReassignments(it) => {
            api::forward::list_partition_reassignments(broker, call, it)
        }
        Request::UpdateFeatures(it) => api::forward::update_features(broker, call, it),
        Request::DescribeCluster(it) => api::describe_cluster::describe_cluster(broker, call, it).into(),
        Request::DescribeProducers(it) => {
            api::describe_producers::describe_producers(broker, call, it).into()
        }
        Request::UnregisterBroker(it) => api::forward::unregister_broker(broker, call, it),
        Request::ListConfigResources(it) => {
            api::list_config_resources::list_config_resources(broker, call, it).into()
        }
        Request::DescribeTopicPartitions(it) => {
            api::describe_topic_partitions::describe_topic_partitions(broker, call, it).into()
        }
        request @ (Request::Fetch(_)
        | Request::Vote(_)
        | Request::BeginQuorumEpoch(_)
        | Request::EndQuorumEpoch(_)
        | Request::DescribeQuorum(_)
        | Request::FetchSnapshot(_)
        | Request::AddRaftVoter(_)
        | Request::RemoveRaftVoter(_)
        | Request::UpdateRaftVoter(_)) => api::quorum::ask(broker, call, request),
        request => dispatch_to_coordinator(broker, call, request),
    }
}

/// The same for what coordinators decide: groups of every kind, their offsets, and transactions.
fn dispatch_to_coordinator(broker: &Arc<Broker>, call: Call, request: Request) -> Answer {
    match request {
        Request::OffsetCommit(it) => api::offset_commit::offset_commit(broker, call, it),
        Request::OffsetFetch(it) => api::offset_fetch::offset_fetch(broker, call, it),
        Request::JoinGroup(it) => api::join_group::join_group(broker, call, it),
        Request::Heartbeat(it) => api::heartbeat::heartbeat(broker, call, it),
        Request::LeaveGroup(it) => api::leave_group::leave_group(broker, call, it),
        Request::SyncGroup(it) => api::sync_group::sync_group(broker, call, it),
        Request::DescribeGroups(it) => api::describe_groups::describe_groups(broker, call, it),
        Request::ListGroups(it) => api::list_groups::list_groups(broker, call, it),
        Request::DeleteGroups(it) => api::delete_groups::delete_groups(broker, call, it),
        Request::OffsetDelete(it) => api::offset_delete::offset_delete(broker, call, it),
        Request::FindCoordinator(it) => api::find_coordinator::find_coordinator(broker, call, it).into(),
        Request::AddPartitionsToTxn(it) => {
            api::add_partitions_to_txn::add_partitions_to_txn(broker, call, it)
        }
        Request::AddOffsetsToTxn(it) => api::add_offsets_to_txn::add_offsets_to_txn(broker, call, it),
        Request::EndTxn(it) => api::end_txn::end_txn(broker, call, it),
        Request::WriteTxnMarkers(it) => api::write_txn_markers::write_txn_markers(broker, call, it),
        Request::TxnOffsetCommit(it) => api::txn_offset_commit::txn_offset_commit(broker, call, it),
        Request::DescribeTransactions(it) => {
            api::describe_transactions::describe_transactions(broker, call, it)
        }
        Request::ListTransactions(it) => api::list_transactions::list_transactions(broker, call, it),
        Request::ConsumerGroupHeartbeat(it) => {
            api::consumer_group_heartbeat::consumer_group_heartbeat(broker, call, it)
        }
        Request::ConsumerGroupDescribe(it) => {
            api::consumer_group_describe::consumer_group_describe(broker, call, it)
        }
        Request::ShareFetch(it) => api::share_fetch::share_fetch(broker, call, it),
        Request::ShareAcknowledge(it) => api::share_acknowledge::share_acknowledge(broker, call, it),
        Request::ShareGroupHeartbeat(it) => {
            api::share_group_heartbeat::share_group_heartbeat(broker, call, it)
        }
        Request::ShareGroupDescribe(it) => api::share_group_describe::share_group_describe(broker, call, it),
        Request::DescribeShareGroupOffsets(it) => {
            api::describe_share_group_offsets::describe_share_group_offsets(broker, call, it)
        }
        Request::AlterShareGroupOffsets(it) => {
            api::alter_share_group_offsets::alter_share_group_offsets(broker, call, it)
        }
        Request::DeleteShareGroupOffsets(it) => {
            api::delete_share_group_offsets::delete_share_group_offsets(broker, call, it)
        }
        Request::InitializeShareGroupState(it) => {
            api::initialize_share_group_state::initialize_share_group_state(broker, call, it)
        }
        Request::ReadShareGroupState(it) => {
            api::read_share_group_state::read_share_group_state(broker, call, it)
        }
        Request::WriteShareGroupState(it) => {
            api::write_share_group_state::write_share_group_state(broker, call, it)
        }
        Request::DeleteShareGroupState(it) => {
            api::delete_share_group_state::delete_share_group_state(broker, call, it)
        }
        Request::ReadShareGroupStateSummary(it) => {
            api::read_share_group_state_summary::read_share_group_state_summary(broker, call, it)
        }
        Request::StreamsGroupHeartbeat(it) => {
            api::streams_group_heartbeat::streams_group_heartbeat(broker, call, it)
        }
        Request::StreamsGroupDescribe(it) => {
            api::streams_group_describe::streams_group_describe(broker, call, it)
        }
        Request::StreamsGroupTopologyDescriptionUpdate(it) => {
            api::streams_group_topology_description_update::streams_group_topology_description_update(
                broker, &call, it,
            )
            .into()
        }
        _ => {
            tracing::error!(api = call.key.name(), "a served API has no handler");
            Response::close().into()
        }
    }
}
