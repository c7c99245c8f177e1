//! What can be asked of a share coordinator, one share partition at a time, and the answers.

use std::sync::Arc;

use ottla_base::{Str, Uuid};
use ottla_metadata::controller::Refusal;

use super::StateBatch;
use crate::World;

/// One partition as one share group sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePartitionKey {
    /// The share group.
    pub group: Str,
    /// The topic.
    pub topic: Uuid,
    /// The partition; may be anything a request says.
    pub partition: i32,
}

impl SharePartitionKey {
    /// What places it on a partition of `__share_group_state` (see [`crate::partition_for`]).
    pub fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group, self.topic, self.partition)
    }
}

/// What can be asked.
#[derive(Debug, Clone)]
pub enum Request {
    /// The seat was taken: the first request to every seat. Then, whenever the world changes.
    SeeWorld(Arc<World>),
    /// `InitializeShareGroupState` for one partition.
    Initialize(InitializeState),
    /// `ReadShareGroupState` for one partition.
    Read(ReadState),
    /// `ReadShareGroupStateSummary` for one partition.
    ReadSummary(ReadStateSummary),
    /// `WriteShareGroupState` for one partition.
    Write(WriteState),
    /// `DeleteShareGroupState` for one partition.
    Delete(DeleteState),
}

/// The answers, each to the request of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The world was seen.
    SeeWorld,
    /// The state was set anew.
    Initialize(Result<(), Refusal>),
    /// The state.
    Read(Result<State, Refusal>),
    /// The state without the batches.
    ReadSummary(Result<StateSummary, Refusal>),
    /// The change was written.
    Write(Result<(), Refusal>),
    /// The state is gone.
    Delete(Result<(), Refusal>),
}

/// Sets the state of a share partition anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitializeState {
    /// Whose state.
    pub key: SharePartitionKey,
    /// The epoch of the new state.
    pub state_epoch: i32,
    /// Where it begins; -1 if the first reader is to say.
    pub start_offset: i64,
}

/// Asks for the state of a share partition, on behalf of its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadState {
    /// Whose state.
    pub key: SharePartitionKey,
    /// The epoch of the partition's leader. A leader with a lower one is fenced off from now on.
    pub leader_epoch: i32,
}

/// Asks how far a share partition has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadStateSummary {
    /// Whose state.
    pub key: SharePartitionKey,
}

/// Changes the state of a share partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteState {
    /// Whose state.
    pub key: SharePartitionKey,
    /// The epoch of the state that was read.
    pub state_epoch: i32,
    /// The epoch of the partition's leader.
    pub leader_epoch: i32,
    /// Where the state begins from now on; -1 if that stays as it is.
    pub start_offset: i64,
    /// How many records from there on are done with; -1 if that is not known.
    pub delivery_complete_count: i32,
    /// How it stands with records now.
    pub batches: Vec<StateBatch>,
}

/// Removes the state of a share partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteState {
    /// Whose state.
    pub key: SharePartitionKey,
}

/// The state of a share partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Counts how often the state was set anew.
    pub state_epoch: i32,
    /// Where it begins; -1 before anything was read.
    pub start_offset: i64,
    /// What is known of the records from there on.
    pub batches: Vec<StateBatch>,
}

/// How far a share partition has come. A partition without state has what [`StateSummary::default`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSummary {
    /// Counts how often the state was set anew.
    pub state_epoch: i32,
    /// The epoch of the partition's leader that wrote last.
    pub leader_epoch: i32,
    /// Where the state begins; -1 before anything was read.
    pub start_offset: i64,
    /// How many records from there on are done with; -1 if that is not known.
    pub delivery_complete_count: i32,
}

impl Default for StateSummary {
    fn default() -> Self {
        StateSummary { state_epoch: 0, leader_epoch: 0, start_offset: -1, delivery_complete_count: -1 }
    }
}
