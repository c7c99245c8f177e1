//! Leading: the first records of an epoch, proposals, the high watermark, and who is still listening.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset};

use crate::control::{self, ControlRecord};
use crate::ids::ReplicaKey;
use crate::message::{Answer, BeginQuorumEpoch, Header, QuorumInfo, ReplicaInfo, Request, Response};
use crate::quorum_state::Election;
use crate::raft::{Next, Raft};
use crate::role::{Leader, ReplicaProgress, Role};
use crate::step::{Action, Peer};
use crate::voters::VoterSet;

/// After how long an observer that stopped fetching is forgotten.
const OBSERVER_SESSION: Duration = Duration::from_secs(300);

impl Raft {
    pub(crate) fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub(crate) fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub(crate) fn become_leader(&mut self, granting: &BTreeSet<NodeId>) {
        let voters = self.voters().clone();
        let local = self.local_voter();
        assert!(voters.contains(local.key), "only voters lead");
        let dynamic = self.kraft_version().is_dynamic();
        self.election = Election { leader: Some(local.key.id), voted: None, ..self.election };
        self.leader_endpoints = self.config.endpoints.clone();
        let progress = |voter| ReplicaProgress::of_voter(voter);
        self.role = Role::Leader(Box::new(Leader {
            epoch_start: self.log.end(),
            voters: voters.iter().map(|voter| (voter.key.id, progress(voter))).collect(),
            observers: BTreeMap::new(),
            fetched_voters: BTreeSet::new(),
            check_quorum_deadline: self.moment() + self.check_quorum_timeout(),
            begin_epoch_deadline: self.moment(),
            change: None,
            reported_voters: (!dynamic).then(|| voters.updated_ignoring_directory(local.clone())).flatten(),
            resigning: false,
        }));
        self.persist();
        self.connections.forget_all();
        let mut records = vec![ControlRecord::LeaderChange {
            leader: local.key.id,
            voters: voters.ids().collect(),
            granting: granting.iter().copied().collect(),
        }];
        // Voters that only a bootstrap snapshot names move into the log, where followers can see them.
        let only_in_snapshot = self.membership.voters.last().is_none_or(|(offset, _)| offset < Offset(0));
        if dynamic && (only_in_snapshot || voters.needs_update(&local)) {
            let voters = voters.updated(local).expect("the leader is one of the voters");
            records.push(ControlRecord::KRaftVersion(self.kraft_version()));
            records.push(ControlRecord::Voters(voters));
        }
        self.append_control(records);
        self.tell_leadership();
    }

    fn check_quorum_timeout(&self) -> Duration {
        self.config.fetch_timeout * 3 / 2
    }

    /// Appends control records as one batch and takes note of what they say. Returns the end of the log.
    pub(crate) fn append_control(&mut self, records: Vec<ControlRecord>) -> Offset {
        let first = self.log.end();
        let batch = control::control_batch(first, self.election.epoch, self.now.wall_clock, &records);
        let end = first.after(records.len() as i64);
        for (offset, record) in (first.0..).map(Offset).zip(records) {
            self.membership.apply(offset, record);
        }
        self.append(batch, end);
        end
    }

    pub(crate) fn propose(&mut self, epoch: LeaderEpoch, values: Vec<Bytes>) {
        let leads = self.leader().is_some_and(|leader| !leader.resigning) && epoch == self.election.epoch;
        if !leads || values.is_empty() {
            return;
        }
        let first = self.log.end();
        let batch = control::data_batch(first, epoch, self.now.wall_clock, &values);
        self.append(batch, first.after(values.len() as i64));
    }

    fn append(&mut self, batch: Bytes, end: Offset) {
        let epoch = self.election.epoch;
        self.log.appended(end, epoch);
        self.actions.push(Action::Append { batch, end, epoch });
        self.request_flush();
        self.voters_changed();
        self.complete_parked_fetches();
    }

    /// Sorts replicas into voters and observers anew after the voters may have changed.
    fn voters_changed(&mut self) {
        let voters = self.membership.last_voters().clone();
        let Some(leader) = self.leader_mut() else { return };
        let mut old = std::mem::take(&mut leader.voters);
        for voter in voters.iter() {
            let known = match old.remove(&voter.key.id) {
                Some(progress) if progress.key.names(voter.key) => Some(progress),
                Some(other) => {
                    leader.observers.insert(other.key, other);
                    None
                }
                None => None,
            };
            let observed = leader.observers.remove(&voter.key);
            let mut progress = known.or(observed).unwrap_or_else(|| ReplicaProgress::of_voter(voter));
            progress.key = voter.key;
            progress.endpoints = voter.endpoints.clone();
            leader.voters.insert(voter.key.id, progress);
        }
        for (_, mut progress) in old {
            progress.endpoints = Default::default();
            leader.observers.entry(progress.key).or_insert(progress);
        }
    }

    /// The leader's own log has become durable further on.
    pub(crate) fn local_end_moved(&mut self) {
        let (local, flushed) = (self.config.local, self.log.flushed());
        let Some(leader) = self.leader_mut() else { return };
        leader.progress_mut(local).end = Some(flushed);
        self.advance_high_watermark();
    }

    /// The high watermark is what a majority of voters holds durably, once that includes a record of the
    /// leader's own epoch (K2).
    pub(crate) fn advance_high_watermark(&mut self) {
        let Some(leader) = self.leader() else { return };
        let mut ends: Vec<Option<Offset>> = leader.voters.values().map(|voter| voter.end).collect();
        ends.sort_unstable_by(|one, two| two.cmp(one));
        let Some(Some(end)) = ends.get(ends.len() / 2).copied() else { return };
        // Fewer voters may hold less than more voters once held; what is committed stays committed.
        if end <= leader.epoch_start || self.high_watermark.is_some_and(|known| end <= known) {
            return;
        }
        assert!(end <= self.log.end(), "a follower cannot hold what the leader does not");
        self.high_watermark = Some(end);
        self.actions.push(Action::Commit(end));
        self.change_committed(end);
        self.complete_parked_fetches();
    }

    pub(crate) fn resign(&mut self, epoch: LeaderEpoch) {
        if epoch == self.election.epoch
            && let Some(leader) = self.leader_mut()
        {
            leader.resigning = true;
        }
    }

    /// Tells whoever waits for this leader that it leads no more. To be called before the role changes.
    pub(crate) fn leave_leadership(&mut self) {
        if matches!(self.role, Role::Leader(_)) {
            self.refuse_parked_fetches(ErrorCode::NotLeaderOrFollower);
            self.end_voter_change(ErrorCode::NotLeaderOrFollower, None);
        }
    }

    pub(crate) fn poll_leader(&mut self) -> Next {
        let moment = self.moment();
        let alone = self.voters().len() == 1 && self.is_voter();
        let shutting_down = self.shutting_down;
        let Some(leader) = self.leader() else { return Next::Again };
        let deserted = !alone && leader.check_quorum_deadline <= moment;
        if shutting_down || leader.resigning || deserted {
            let successors = leader.successors(self.config.local);
            self.become_resigned(successors);
            return Next::Again;
        }
        let change = self.expire_voter_change();
        let Some(leader) = self.leader() else { return Next::Again };
        let quorum = if alone { Next::Never } else { Next::At(leader.check_quorum_deadline) };
        let begin = if alone { Next::Never } else { self.begin_epoch_at_silent_voters() };
        quorum.or(change).or(begin)
    }

    fn begin_epoch_at_silent_voters(&mut self) -> Next {
        let (moment, period) = (self.moment(), self.config.fetch_timeout / 2);
        let local = self.config.local.id;
        let Some(leader) = self.leader_mut() else { return Next::Never };
        if moment < leader.begin_epoch_deadline {
            return Next::At(leader.begin_epoch_deadline);
        }
        leader.begin_epoch_deadline = moment + period;
        let silent = |voter: &&ReplicaProgress| {
            voter.key.id != local && voter.last_fetch.is_none_or(|last| moment.since(last.moment) >= period)
        };
        let silent: Vec<ReplicaKey> = leader.voters.values().filter(silent).map(|voter| voter.key).collect();
        for voter in silent {
            let Some(peer) = self.voter_peer(voter.id) else { continue };
            let request = Request::BeginQuorumEpoch(BeginQuorumEpoch {
                voter: Some(voter),
                leader: local,
                epoch: self.election.epoch,
                endpoints: self.config.endpoints.clone(),
            });
            self.send(peer, request);
        }
        Next::At(moment + period)
    }

    /// A voter has heard who leads. `true` if the response was of use.
    pub(crate) fn begin_answered(&mut self, header: &Header) -> bool {
        use crate::election::Common;
        match self.common_response(header) {
            Common::Done => true,
            Common::Useless => false,
            Common::Open => header.error == ErrorCode::None,
        }
    }

    /// A voter fetches: the leader is not alone.
    pub(crate) fn voter_listens(&mut self, replica: ReplicaKey) {
        let (moment, timeout) = (self.moment(), self.check_quorum_timeout());
        let local = self.config.local.id;
        let Some(leader) = self.leader_mut() else { return };
        if leader.voters.get(&replica.id).is_some_and(|voter| voter.key.names(replica)) {
            leader.fetched_voters.insert(replica.id);
        }
        // The leader itself is one of the majority, unless it is being removed.
        let majority = leader.voters.len() / 2 + 1 - usize::from(leader.voters.contains_key(&local));
        if leader.fetched_voters.len() >= majority {
            leader.fetched_voters.clear();
            leader.check_quorum_deadline = moment + timeout;
        }
    }

    pub(crate) fn describe(&mut self) -> Answer {
        let (moment, local) = (self.moment(), self.config.local);
        let (epoch, wall_clock) = (self.election.epoch, self.now.wall_clock);
        let high_watermark = self.high_watermark.unwrap_or(Offset(-1));
        let Some(leader) = self.leader_mut() else {
            return Response::DescribeQuorum(Err(ErrorCode::NotLeaderOrFollower));
        };
        leader.observers.retain(|key, progress| {
            let active = |last: ottla_base::Now| moment.since(last.moment) < OBSERVER_SESSION;
            *key == local || progress.last_fetch.is_some_and(active)
        });
        let info = |progress: &ReplicaProgress| {
            let own = progress.key.id == local.id;
            let last_fetch = progress.last_fetch.map_or(ottla_base::Timestamp::NONE, |last| last.wall_clock);
            ReplicaInfo {
                key: progress.key,
                log_end: progress.end.unwrap_or(Offset(-1)),
                last_fetch: if own { wall_clock } else { last_fetch },
                last_caught_up: if own { wall_clock } else { progress.last_caught_up },
            }
        };
        Response::DescribeQuorum(Ok(QuorumInfo {
            leader: local.id,
            epoch,
            high_watermark,
            voters: leader.voters.values().map(info).collect(),
            observers: leader.observers.values().map(info).collect(),
            nodes: leader.voters.values().map(|it| (it.key.id, it.endpoints.clone())).collect(),
        }))
    }

    /// The voters and where they listen, as requests are sent to them.
    pub(crate) fn voter_peers(&self, voters: &VoterSet) -> Vec<Peer> {
        let local = self.config.local.id;
        voters.ids().filter(|id| *id != local).filter_map(|id| self.voter_peer(id)).collect()
    }
}

impl Leader {
    pub(crate) fn progress_mut(&mut self, key: ReplicaKey) -> &mut ReplicaProgress {
        match self.voters.get_mut(&key.id) {
            Some(voter) if voter.key.names(key) => voter,
            _ => {
                let observer = || ReplicaProgress::new(key, Default::default());
                self.observers.entry(key).or_insert_with(observer)
            }
        }
    }

    /// The other voters, the most caught up first.
    fn successors(&self, local: ReplicaKey) -> Vec<ReplicaKey> {
        let mut others: Vec<&ReplicaProgress> =
            self.voters.values().filter(|voter| !voter.key.names(local)).collect();
        others.sort_by_key(|voter| (std::cmp::Reverse(voter.end), voter.key));
        others.into_iter().map(|voter| voter.key).collect()
    }
}
