//! What a replica is at the moment: the states of KRaft, each with what it alone needs.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{LeaderEpoch, Moment, NodeId, Now, Offset, Timestamp};

use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::step::{Caller, Correlation};
use crate::voters::{Endpoints, Voter, VoterSet};

/// What a replica is. "Voted" is Unattached or Prospective with a vote in [`crate::Election`] (KIP-996).
#[derive(Debug)]
pub(crate) enum Role {
    /// Knows the epoch and nobody to follow. Observers have no deadline: they never stand for election.
    Unattached { deadline: Option<Moment> },
    /// Asks whether an election could be won, without disturbing anyone.
    Prospective { votes: Votes, deadline: Moment },
    /// Stands for election in an epoch of its own.
    Candidate { votes: Votes, deadline: Moment },
    /// Follows a leader, as voter or observer.
    Follower(Follower),
    /// Leads.
    Leader(Box<Leader>),
    /// Has led the epoch and gives it up.
    Resigned { deadline: Moment, unacknowledged: BTreeSet<NodeId>, successors: Vec<ReplicaKey> },
}

/// The votes of an election.
#[derive(Debug)]
pub(crate) struct Votes(BTreeMap<NodeId, (ReplicaKey, Option<bool>)>);

impl Votes {
    /// An election among `voters`, in which `own` votes for itself.
    pub(crate) fn new(voters: &VoterSet, own: NodeId) -> Votes {
        let vote = |id: NodeId| (id == own).then_some(true);
        Votes(voters.iter().map(|voter| (voter.key.id, (voter.key, vote(voter.key.id)))).collect())
    }

    /// Takes a vote; who is no voter, or has voted before, is not heard.
    pub(crate) fn record(&mut self, voter: NodeId, granted: bool) {
        if let Some((_, vote @ None)) = self.0.get_mut(&voter) {
            *vote = Some(granted);
        }
    }

    fn count(&self, wanted: Option<bool>) -> usize {
        self.0.values().filter(|(_, vote)| *vote == wanted).count()
    }

    fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    pub(crate) fn won(&self) -> bool {
        self.count(Some(true)) >= self.majority()
    }

    pub(crate) fn lost(&self) -> bool {
        self.count(Some(true)) + self.count(None) < self.majority()
    }

    pub(crate) fn outstanding(&self) -> Vec<ReplicaKey> {
        self.0.values().filter(|(_, vote)| vote.is_none()).map(|(key, _)| *key).collect()
    }

    pub(crate) fn granting(&self) -> BTreeSet<NodeId> {
        self.0.iter().filter(|(_, (_, vote))| *vote == Some(true)).map(|(id, _)| *id).collect()
    }
}

/// A replica that follows.
#[derive(Debug)]
pub(crate) struct Follower {
    /// When the leader counts as gone.
    pub(crate) fetch_deadline: Moment,
    /// When to look whether the leader knows how to reach this voter.
    pub(crate) update_voter_deadline: Moment,
    /// Whether anything was fetched from this leader.
    pub(crate) has_fetched: bool,
    /// Whether the leader was told how to reach this voter, while `kraft.version` is 0.
    pub(crate) has_updated_leader: bool,
    /// The snapshot that is being fetched.
    pub(crate) snapshot: Option<FetchingSnapshot>,
}

/// A snapshot on its way from the leader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchingSnapshot {
    pub(crate) id: OffsetAndEpoch,
    /// How much of it has been written.
    pub(crate) position: i64,
    /// All of it is there, and the shell is replacing the log by it.
    pub(crate) installing: bool,
}

/// A replica that leads.
#[derive(Debug)]
pub(crate) struct Leader {
    /// Where the records of the epoch begin.
    pub(crate) epoch_start: Offset,
    pub(crate) voters: BTreeMap<NodeId, ReplicaProgress>,
    pub(crate) observers: BTreeMap<ReplicaKey, ReplicaProgress>,
    /// Voters that have fetched since a majority last had.
    pub(crate) fetched_voters: BTreeSet<NodeId>,
    /// When the leader steps down because no majority fetches (KIP-595's check-quorum).
    pub(crate) check_quorum_deadline: Moment,
    /// When silent voters are told again who leads.
    pub(crate) begin_epoch_deadline: Moment,
    /// The one change of the voters that is under way (K3).
    pub(crate) change: Option<VoterChange>,
    /// While `kraft.version` is 0: what the voters have said of themselves, for the day it becomes 1.
    pub(crate) reported_voters: Option<VoterSet>,
    /// The leader is to step down at the next opportunity.
    pub(crate) resigning: bool,
}

/// A change of the voters under way.
#[derive(Debug)]
pub(crate) struct VoterChange {
    pub(crate) kind: ChangeKind,
    /// Who waits for the answer; nobody if it was given early.
    pub(crate) caller: Option<Caller>,
    /// When the caller is told that it took too long.
    pub(crate) deadline: Moment,
    /// One past the record with the new voters, once it is in the log.
    pub(crate) record_end: Option<Offset>,
}

/// What changes.
#[derive(Debug)]
pub(crate) enum ChangeKind {
    Add { voter: ReplicaKey, endpoints: Endpoints, ack_when_committed: bool, asked: Correlation },
    Remove,
}

/// What a leader knows of a replica.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaProgress {
    pub(crate) key: ReplicaKey,
    pub(crate) endpoints: Endpoints,
    /// The end of its log, all of it durable there.
    pub(crate) end: Option<Offset>,
    pub(crate) last_fetch: Option<Now>,
    /// The end of the leader's log when it last fetched.
    pub(crate) leader_end_at_last_fetch: Offset,
    pub(crate) last_caught_up: Timestamp,
}

impl ReplicaProgress {
    pub(crate) fn new(key: ReplicaKey, endpoints: Endpoints) -> ReplicaProgress {
        ReplicaProgress {
            key,
            endpoints,
            end: None,
            last_fetch: None,
            leader_end_at_last_fetch: Offset(-1),
            last_caught_up: Timestamp::NONE,
        }
    }

    pub(crate) fn of_voter(voter: &Voter) -> ReplicaProgress {
        ReplicaProgress::new(voter.key, voter.endpoints.clone())
    }

    /// The replica fetched from `end` on while the leader's log ended at `leader_end`.
    pub(crate) fn fetched(&mut self, end: Offset, leader_end: Offset, now: Now) {
        if end >= leader_end {
            self.last_caught_up = self.last_caught_up.max(now.wall_clock);
        } else if self.leader_end_at_last_fetch > Offset(0) && end >= self.leader_end_at_last_fetch {
            let last = self.last_fetch.map_or(Timestamp::NONE, |last| last.wall_clock);
            self.last_caught_up = self.last_caught_up.max(last);
        }
        self.leader_end_at_last_fetch = leader_end;
        self.last_fetch = Some(now);
        self.end = Some(end);
    }
}

/// The name of a role, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleName {
    /// Knows nobody to follow.
    Unattached,
    /// Asks whether an election could be won.
    Prospective,
    /// Stands for election.
    Candidate,
    /// Follows.
    Follower,
    /// Leads.
    Leader,
    /// Has led and gives it up.
    Resigned,
}

impl Role {
    pub(crate) fn name(&self) -> RoleName {
        match self {
            Role::Unattached { .. } => RoleName::Unattached,
            Role::Prospective { .. } => RoleName::Prospective,
            Role::Candidate { .. } => RoleName::Candidate,
            Role::Follower(_) => RoleName::Follower,
            Role::Leader(_) => RoleName::Leader,
            Role::Resigned { .. } => RoleName::Resigned,
        }
    }
}

/// A fetch that waits at the leader for something to return.
#[derive(Debug)]
pub(crate) struct ParkedFetch {
    pub(crate) caller: Caller,
    pub(crate) request: crate::message::Fetch,
    pub(crate) deadline: Moment,
}

/// The epoch in which a candidate stands.
pub(crate) fn next_epoch(epoch: LeaderEpoch) -> LeaderEpoch {
    LeaderEpoch(epoch.0.checked_add(1).expect("fewer than two billion elections"))
}
