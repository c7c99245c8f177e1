//! Elections: votes asked and given, epochs begun and ended, and every change of role.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId};

use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::message::{Answer, BeginQuorumEpoch, EndQuorumEpoch, Header, Request, Response, Vote};
use crate::quorum_state::Election;
use crate::raft::{Next, Raft};
use crate::role::{Follower, Role, Votes, next_epoch};
use crate::step::Peer;
use crate::voters::Endpoints;

/// What a response means for the replica as such, before its own content is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Common {
    /// Nothing: look at the content.
    Open,
    /// Everything: the content is void.
    Done,
    /// The peer could not help: leave it in peace for a while.
    Useless,
}

impl Raft {
    /// Takes up what the disk says (Kafka's `QuorumState.initialize`).
    pub(crate) fn initialize(&mut self) {
        let local = self.config.local;
        let last_epoch = self.log.last_epoch();
        if self.election.epoch < last_epoch {
            // The file was lost or lags behind: whatever it says of votes is of an epoch that is over.
            self.election = Election { epoch: last_epoch, leader: None, voted: None };
        }
        let voters = self.voters().clone();
        let timeout = self.random_election_timeout();
        let deadline = self.moment() + timeout;
        let voted_for_itself = self.election.voted.is_some_and(|voted| voted.names(local));
        if self.election.leader == Some(local.id) {
            let unacknowledged = voters.ids().filter(|id| *id != local.id).collect();
            self.leader_endpoints = self.config.endpoints.clone();
            self.role = Role::Resigned { deadline, unacknowledged, successors: Vec::new() };
        } else if voted_for_itself && voters.contains(local) {
            self.role = Role::Candidate { votes: Votes::new(&voters, local.id), deadline };
        } else if let Some(leader) = self.election.leader
            && !voters.endpoints(leader).is_empty()
        {
            self.leader_endpoints = voters.endpoints(leader);
            self.role = self.new_follower();
        } else {
            self.role = Role::Unattached { deadline: voters.contains(local).then_some(deadline) };
        }
        self.persist();
        if matches!(self.role, Role::Candidate { .. }) {
            self.maybe_win();
        } else if voters.is_only(local) {
            self.become_prospective();
        }
    }

    pub(crate) fn become_unattached(&mut self, epoch: LeaderEpoch, leader: Option<NodeId>) {
        let same_epoch = epoch == self.election.epoch;
        let deadline = self.is_voter().then(|| self.remaining_election_deadline());
        let voted = self.election.voted.filter(|_| same_epoch);
        self.election = Election { epoch, leader, voted };
        self.leader_endpoints = Endpoints::default();
        self.leave_leadership();
        self.role = Role::Unattached { deadline };
        self.persist();
        self.tell_leadership();
        self.connections.forget_all();
    }

    /// Keeps an election timeout that is running, so that news of epochs cannot put elections off for ever.
    fn remaining_election_deadline(&mut self) -> Moment {
        match &self.role {
            Role::Unattached { deadline: Some(deadline) } => *deadline,
            Role::Candidate { deadline, .. } | Role::Resigned { deadline, .. } => *deadline,
            Role::Prospective { votes, deadline } if !votes.lost() => *deadline,
            _ => {
                let timeout = self.random_election_timeout();
                self.moment() + timeout
            }
        }
    }

    pub(crate) fn become_prospective(&mut self) {
        assert!(self.is_voter(), "only voters stand for election");
        let timeout = self.random_election_timeout();
        let votes = Votes::new(self.voters(), self.config.local.id);
        self.role = Role::Prospective { votes, deadline: self.moment() + timeout };
        self.connections.forget_all();
        self.maybe_win();
    }

    fn become_candidate(&mut self) {
        let epoch = next_epoch(self.election.epoch);
        self.election = Election { epoch, leader: None, voted: Some(self.config.local) };
        self.leader_endpoints = Endpoints::default();
        let timeout = self.random_election_timeout();
        let votes = Votes::new(self.voters(), self.config.local.id);
        self.role = Role::Candidate { votes, deadline: self.moment() + timeout };
        self.persist();
        self.connections.forget_all();
        self.maybe_win();
    }

    pub(crate) fn become_follower(&mut self, epoch: LeaderEpoch, leader: NodeId, endpoints: Endpoints) {
        let voted = self.election.voted.filter(|_| epoch == self.election.epoch);
        self.election = Election { epoch, leader: Some(leader), voted };
        self.leader_endpoints = endpoints;
        self.leave_leadership();
        self.role = self.new_follower();
        self.persist();
        self.tell_leadership();
        self.connections.forget_all();
        self.refuse_parked_fetches(ErrorCode::NotLeaderOrFollower);
    }

    fn new_follower(&self) -> Role {
        let deadline = self.moment() + self.config.fetch_timeout;
        Role::Follower(Follower {
            fetch_deadline: deadline,
            update_voter_deadline: deadline,
            has_fetched: false,
            has_updated_leader: false,
            snapshot: None,
        })
    }

    pub(crate) fn become_resigned(&mut self, successors: Vec<ReplicaKey>) {
        let local = self.config.local.id;
        let timeout = self.random_election_timeout();
        let unacknowledged: BTreeSet<NodeId> = self.voters().ids().filter(|id| *id != local).collect();
        self.refuse_parked_fetches(ErrorCode::NotLeaderOrFollower);
        self.leave_leadership();
        self.role = Role::Resigned { deadline: self.moment() + timeout, unacknowledged, successors };
        self.connections.forget_all();
    }

    /// Goes on if the votes suffice.
    fn maybe_win(&mut self) {
        match &self.role {
            Role::Prospective { votes, .. } if votes.won() => self.become_candidate(),
            Role::Candidate { votes, .. } if votes.won() => {
                let granting = votes.granting();
                self.become_leader(&granting);
            }
            _ => {}
        }
    }

    /// A pre-vote was lost: back to where one was before it.
    fn after_lost_pre_vote(&mut self) {
        let epoch = self.election.epoch;
        match self.election.leader {
            Some(leader) if !self.leader_endpoints.is_empty() => {
                let endpoints = self.leader_endpoints.clone();
                self.become_follower(epoch, leader, endpoints);
            }
            leader => self.become_unattached(epoch, leader),
        }
    }

    pub(crate) fn vote_requested(&mut self, vote: Vote) -> Answer {
        let refused = |raft: &Raft, error| Response::Vote { header: raft.header(error), granted: false };
        let Vote { voter, candidate, epoch, last, pre_vote } = vote;
        let illegal_epoch = if pre_vote { last.epoch > epoch } else { last.epoch >= epoch };
        if last.offset.0 < 0 || last.epoch.0 < 0 || illegal_epoch {
            return refused(self, ErrorCode::InvalidRequest);
        }
        if let Some(error) = self.refusal_of_voter_request(candidate.id, epoch) {
            return refused(self, error);
        }
        if epoch > self.election.epoch {
            self.become_unattached(epoch, None);
        }
        if !self.is_meant(voter) {
            return refused(self, ErrorCode::InvalidVoterKey);
        }
        let granted = self.may_grant(candidate, last, pre_vote);
        if granted && !pre_vote {
            let timeout = self.random_election_timeout();
            let moment = self.moment();
            match &mut self.role {
                Role::Unattached { deadline } if self.election.voted.is_none() => {
                    *deadline = deadline.map(|_| moment + timeout);
                }
                Role::Prospective { votes, deadline } if self.election.voted.is_none() => {
                    *votes = Votes::new(self.membership.last_voters(), self.config.local.id);
                    *deadline = moment + timeout;
                }
                _ => {}
            }
            self.election.voted.get_or_insert(candidate);
            self.persist();
        }
        Response::Vote { header: self.header(ErrorCode::None), granted }
    }

    fn may_grant(&self, candidate: ReplicaKey, last: OffsetAndEpoch, pre_vote: bool) -> bool {
        let up_to_date = last >= self.log.end_and_epoch();
        match &self.role {
            Role::Leader(_) => false,
            Role::Follower(follower) => pre_vote && up_to_date && !follower.has_fetched,
            Role::Candidate { .. } | Role::Resigned { .. } => pre_vote && up_to_date,
            Role::Unattached { .. } | Role::Prospective { .. } => match self.election {
                _ if pre_vote => up_to_date,
                Election { voted: Some(voted), .. } => voted.names(candidate),
                Election { leader: Some(_), .. } => false,
                _ => up_to_date,
            },
        }
    }

    fn refusal_of_voter_request(&self, sender: NodeId, epoch: LeaderEpoch) -> Option<ErrorCode> {
        if epoch < self.election.epoch {
            Some(ErrorCode::FencedLeaderEpoch)
        } else if sender.0 < 0 || sender == self.config.local.id {
            Some(ErrorCode::InvalidRequest)
        } else {
            None
        }
    }

    pub(crate) fn refusal_of_leader_request(&self, epoch: LeaderEpoch) -> Option<ErrorCode> {
        if epoch < self.election.epoch {
            Some(ErrorCode::FencedLeaderEpoch)
        } else if epoch > self.election.epoch {
            Some(ErrorCode::UnknownLeaderEpoch)
        } else if !matches!(self.role, Role::Leader(_)) {
            Some(ErrorCode::NotLeaderOrFollower)
        } else if self.shutting_down {
            Some(ErrorCode::BrokerNotAvailable)
        } else {
            None
        }
    }

    /// Whether a message names this replica, or none in particular.
    fn is_meant(&self, voter: Option<ReplicaKey>) -> bool {
        voter.is_none_or(|voter| voter.names(self.config.local))
    }

    pub(crate) fn epoch_begun(&mut self, begin: BeginQuorumEpoch) -> Answer {
        let BeginQuorumEpoch { voter, leader, epoch, endpoints } = begin;
        if let Some(error) = self.refusal_of_voter_request(leader, epoch) {
            return Response::BeginQuorumEpoch(self.header(error));
        }
        let endpoints = if endpoints.is_empty() { self.voters().endpoints(leader) } else { endpoints };
        if !self.maybe_follow(Some(leader), epoch, endpoints) {
            return Response::BeginQuorumEpoch(self.header(ErrorCode::InvalidRequest));
        }
        let error = if self.is_meant(voter) { ErrorCode::None } else { ErrorCode::InvalidVoterKey };
        Response::BeginQuorumEpoch(self.header(error))
    }

    pub(crate) fn epoch_ended(&mut self, end: EndQuorumEpoch) -> Answer {
        let EndQuorumEpoch { leader, epoch, successors, endpoints } = end;
        if let Some(error) = self.refusal_of_voter_request(leader, epoch) {
            return Response::EndQuorumEpoch(self.header(error));
        }
        let endpoints = if endpoints.is_empty() { self.voters().endpoints(leader) } else { endpoints };
        if !self.maybe_follow(Some(leader), epoch, endpoints) {
            return Response::EndQuorumEpoch(self.header(ErrorCode::InvalidRequest));
        }
        let backoff = self.succession_backoff(&successors);
        let moment = self.moment();
        if self.election.leader == Some(leader)
            && let Role::Follower(follower) = &mut self.role
        {
            follower.fetch_deadline = moment + backoff;
        }
        Response::EndQuorumEpoch(self.header(ErrorCode::None))
    }

    /// How long to wait before standing for election: the most caught up heir does not wait at all.
    fn succession_backoff(&self, successors: &[ReplicaKey]) -> Duration {
        let max = self.config.election_backoff_max;
        let heir = |successor: &ReplicaKey| successor.names(self.config.local);
        match successors.iter().position(heir) {
            Some(0) => Duration::ZERO,
            Some(place) => {
                let shift = |by: usize| 1u32.checked_shl(u32::try_from(by).unwrap_or(32)).unwrap_or(u32::MAX);
                let base = max / shift(successors.len() - 1);
                max.min(base.saturating_mul(shift(place - 1)))
            }
            None if successors.is_empty() => Duration::ZERO,
            None => max,
        }
    }

    /// Follows whom a message names if that is news. `false` if the message contradicts what is certain: two
    /// leaders in one epoch (K5). Such a message comes from a broken peer and changes nothing.
    pub(crate) fn maybe_follow(&mut self, leader: Option<NodeId>, epoch: LeaderEpoch, at: Endpoints) -> bool {
        let known = self.election;
        let consistent = match leader {
            Some(leader) if leader == self.config.local.id => {
                epoch == known.epoch && matches!(self.role, Role::Leader(_))
            }
            Some(leader) => epoch != known.epoch || known.leader.is_none_or(|known| known == leader),
            None => true,
        };
        if !consistent || epoch < known.epoch {
            return consistent;
        }
        match leader {
            Some(leader) if leader == self.config.local.id => {}
            Some(leader) => {
                let better = at.len() > self.leader_endpoints.len();
                if !at.is_empty() && (epoch > known.epoch || known.leader.is_none() || better) {
                    self.become_follower(epoch, leader, at);
                } else if at.is_empty() && epoch > known.epoch {
                    // A leader that cannot be reached is as good as none, but the epoch counts.
                    self.become_unattached(epoch, None);
                }
            }
            None if epoch > known.epoch => self.become_unattached(epoch, None),
            None => {}
        }
        true
    }

    /// What any response means for the replica as such.
    pub(crate) fn common_response(&mut self, header: &Header) -> Common {
        let endpoints = match header.leader {
            Some(leader) if header.endpoints.is_empty() => self.voters().endpoints(leader),
            _ => header.endpoints.clone(),
        };
        let known = self.election;
        if header.epoch < known.epoch || header.error == ErrorCode::UnknownLeaderEpoch {
            return Common::Done;
        }
        let moved_on = matches!(header.error, ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower);
        if header.epoch > known.epoch || moved_on {
            let consistent = self.maybe_follow(header.leader, header.epoch, endpoints);
            return if consistent { Common::Done } else { Common::Useless };
        }
        if header.leader.is_some() && known.leader.is_none() {
            if !self.maybe_follow(header.leader, header.epoch, endpoints) {
                return Common::Useless;
            }
            return if header.error == ErrorCode::None { Common::Open } else { Common::Done };
        }
        match header.error {
            ErrorCode::BrokerNotAvailable | ErrorCode::InvalidRequest => Common::Useless,
            ErrorCode::InvalidVoterKey => Common::Done,
            _ => Common::Open,
        }
    }

    /// Takes a vote. `true` if the response was of use.
    pub(crate) fn vote_answered(&mut self, voter: NodeId, header: &Header, granted: bool) -> bool {
        match self.common_response(header) {
            Common::Done => return true,
            Common::Useless => return false,
            Common::Open => {}
        }
        if header.error != ErrorCode::None {
            return false;
        }
        let lost_pre_vote = match &mut self.role {
            Role::Prospective { votes, .. } => {
                votes.record(voter, granted);
                votes.lost()
            }
            Role::Candidate { votes, .. } => {
                votes.record(voter, granted);
                false
            }
            _ => return true,
        };
        if lost_pre_vote {
            self.after_lost_pre_vote();
        } else {
            self.maybe_win();
        }
        true
    }

    /// A voter does not know pre-votes: stand for election without.
    pub(crate) fn pre_vote_unsupported(&mut self) -> bool {
        let prospective = matches!(self.role, Role::Prospective { .. });
        if prospective {
            self.become_candidate();
        }
        prospective
    }

    pub(crate) fn poll_unattached(&mut self) -> Next {
        let Role::Unattached { deadline } = self.role else { return Next::Again };
        if self.is_voter() {
            let Some(deadline) = deadline else {
                let timeout = self.random_election_timeout();
                self.role = Role::Unattached { deadline: Some(self.moment() + timeout) };
                return Next::Again;
            };
            if self.shutting_down {
                return Next::Never;
            }
            if deadline <= self.moment() {
                self.become_prospective();
                return Next::Again;
            }
            return self.fetch_from_any().or(Next::At(deadline));
        }
        if self.shutting_down { Next::Never } else { self.fetch_from_any() }
    }

    pub(crate) fn poll_nominee(&mut self) -> Next {
        let (pre_vote, deadline, outstanding) = match &self.role {
            Role::Prospective { votes, deadline } => (true, *deadline, votes.outstanding()),
            Role::Candidate { votes, deadline } if votes.lost() => (false, *deadline, Vec::new()),
            Role::Candidate { votes, deadline } => (false, *deadline, votes.outstanding()),
            _ => return Next::Again,
        };
        if !self.shutting_down && deadline <= self.moment() {
            if pre_vote {
                self.after_lost_pre_vote();
            } else if self.is_voter() {
                self.become_prospective();
            } else {
                self.become_unattached(next_epoch(self.election.epoch), None);
            }
            return Next::Again;
        }
        let mut next = if self.shutting_down { Next::Never } else { Next::At(deadline) };
        for voter in outstanding {
            let Some(peer) = self.voter_peer(voter.id) else { continue };
            let request = Request::Vote(Vote {
                voter: Some(voter),
                candidate: self.config.local,
                epoch: self.election.epoch,
                last: self.log.end_and_epoch(),
                pre_vote,
            });
            next = next.or(self.send(peer, request));
        }
        next
    }

    pub(crate) fn poll_resigned(&mut self) -> Next {
        let Role::Resigned { deadline, unacknowledged, successors } = &self.role else { return Next::Again };
        let (deadline, successors) = (*deadline, successors.clone());
        let unacknowledged: Vec<Peer> = unacknowledged.iter().filter_map(|id| self.voter_peer(*id)).collect();
        if !self.shutting_down && deadline <= self.moment() {
            self.become_unattached(next_epoch(self.election.epoch), None);
            return Next::Again;
        }
        let mut next = if self.shutting_down { Next::Never } else { Next::At(deadline) };
        for peer in unacknowledged {
            let request = Request::EndQuorumEpoch(EndQuorumEpoch {
                leader: self.config.local.id,
                epoch: self.election.epoch,
                successors: successors.clone(),
                endpoints: self.config.endpoints.clone(),
            });
            next = next.or(self.send(peer, request));
        }
        next
    }

    /// A voter has heard of the resignation. `true` if the response was of use.
    pub(crate) fn end_answered(&mut self, voter: NodeId, header: &Header) -> bool {
        match self.common_response(header) {
            Common::Done => return true,
            Common::Useless => return false,
            Common::Open => {}
        }
        if header.error == ErrorCode::None
            && let Role::Resigned { unacknowledged, .. } = &mut self.role
        {
            unacknowledged.remove(&voter);
        }
        header.error == ErrorCode::None
    }
}
