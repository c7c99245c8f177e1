//! Changing the voters while the quorum runs (KIP-853): one change at a time, each committed before the next (K3).

use ottla_base::{ErrorCode, LeaderEpoch, Now, Offset};

use crate::control::ControlRecord;
use crate::ids::ReplicaKey;
use crate::message::{AddVoter, Answer, RemoveVoter, Request, Response, UpdateVoter};
use crate::raft::{Next, Raft};
use crate::role::{ChangeKind, Leader, VoterChange};
use crate::step::{Caller, Correlation, Peer};
use crate::voters::{KRaftVersion, Voter, VoterSet};

/// How recently a replica must have fetched to count as caught up enough to vote.
const CAUGHT_UP_WITHIN_SECS: u64 = 3600;

type Refusal = (ErrorCode, String);

impl Raft {
    pub(crate) fn add_voter(&mut self, caller: Caller, add: AddVoter) {
        let AddVoter { voter, endpoints, ack_when_committed } = add;
        let checked = self.check_voter_change("adding").and_then(|voters| {
            if voter.id.0 < 0 || voter.directory.is_zero() {
                let words = "Add voter request didn't include a valid voter".to_owned();
                return Err((ErrorCode::InvalidRequest, words));
            }
            if voters.get(voter.id).is_some() {
                let words =
                    format!("The voter id for {voter} is already part of the set of voters {voters}.");
                return Err((ErrorCode::DuplicateVoter, words));
            }
            endpoints.address(&self.config.listener).cloned().ok_or_else(|| {
                let words =
                    format!("Add voter request has no endpoint for listener {}", self.config.listener);
                (ErrorCode::InvalidRequest, words)
            })
        });
        let address = match checked {
            Ok(address) => address,
            Err((error, words)) => return self.answer(caller, Response::AddVoter(error, Some(words))),
        };
        // The voter must speak this quorum's version; only it knows.
        let peer = Peer { id: voter.id, address };
        let moment = self.moment();
        use crate::connections::Readiness::{Ready, TimedOut};
        if !matches!(self.connections.readiness(peer.id, moment), Ready | TimedOut) {
            let words = format!("New voter {voter} is not ready to receive requests");
            return self.answer(caller, Response::AddVoter(ErrorCode::RequestTimedOut, Some(words)));
        }
        let (asked, deadline) = self.connections.sent(peer.clone(), moment);
        self.actions.push(crate::step::Action::Send {
            to: peer,
            correlation: asked,
            request: Request::ApiVersions,
        });
        let kind = ChangeKind::Add { voter, endpoints, ack_when_committed, asked };
        self.begin_voter_change(VoterChange { kind, caller: Some(caller), deadline, record_end: None });
    }

    pub(crate) fn remove_voter(&mut self, caller: Caller, remove: RemoveVoter) {
        let RemoveVoter { voter } = remove;
        let checked = self.check_voter_change("removing").and_then(|voters| {
            if voter.id.0 < 0 || voter.directory.is_zero() {
                let words = "Remove voter request didn't include a valid voter".to_owned();
                return Err((ErrorCode::InvalidRequest, words));
            }
            voters.without(voter).ok_or_else(|| {
                let words = format!("Cannot remove voter {voter} from the set of voters {voters}");
                (ErrorCode::VoterNotFound, words)
            })
        });
        match checked {
            Ok(voters) => {
                let deadline = self.moment() + self.config.request_timeout;
                let record_end = Some(self.append_control(vec![ControlRecord::Voters(voters)]));
                let kind = ChangeKind::Remove;
                self.begin_voter_change(VoterChange { kind, caller: Some(caller), deadline, record_end });
                // A voter that is removed may have been the only one that had not caught up.
                self.advance_high_watermark();
            }
            Err((error, words)) => self.answer(caller, Response::RemoveVoter(error, Some(words))),
        }
    }

    /// Whether the voters may be changed now; if so, who they are.
    fn check_voter_change(&mut self, doing: &str) -> Result<VoterSet, Refusal> {
        if let Some(error) = self.refusal_of_leader_request(self.election.epoch) {
            return Err((error, error.message().to_owned()));
        }
        self.expire_voter_change();
        let timed_out = |words: &str| Err((ErrorCode::RequestTimedOut, words.to_owned()));
        if self.leader().is_some_and(|leader| leader.change.is_some()) {
            return timed_out("Request timed out waiting for leader to handle previous voter change request");
        }
        let Some(committed) = self.own_high_watermark() else {
            return timed_out(
                "Request timed out waiting for leader to establish HWM and fence previous voter changes",
            );
        };
        if !self.kraft_version().is_dynamic() {
            let level = self.kraft_version().level();
            let words =
                format!("Cluster doesn't support {doing} voter because the kraft.version feature is {level}");
            return Err((ErrorCode::UnsupportedVersion, words));
        }
        match self.membership.voters.last() {
            Some((offset, voters)) if offset < committed => Ok(voters.clone()),
            _ => timed_out("Request timed out waiting for voters to commit the latest voter change"),
        }
    }

    /// The high watermark as far as this leader has established it (K2).
    pub(crate) fn own_high_watermark(&self) -> Option<Offset> {
        let start = self.leader()?.epoch_start;
        self.high_watermark.filter(|known| *known > start)
    }

    fn begin_voter_change(&mut self, change: VoterChange) {
        if let Some(leader) = self.leader_mut() {
            leader.change = Some(change);
        }
    }

    /// Ends the change under way and tells whoever waits for it.
    pub(crate) fn end_voter_change(&mut self, error: ErrorCode, words: Option<String>) {
        let Some(change) = self.leader_mut().and_then(|leader| leader.change.take()) else { return };
        let Some(caller) = change.caller else { return };
        let words = words.or_else(|| (error != ErrorCode::None).then(|| error.message().to_owned()));
        let answer = match change.kind {
            ChangeKind::Add { .. } => Response::AddVoter(error, words),
            ChangeKind::Remove => Response::RemoveVoter(error, words),
        };
        self.answer(caller, answer);
    }

    pub(crate) fn expire_voter_change(&mut self) -> Next {
        let Some(change) = self.leader().and_then(|leader| leader.change.as_ref()) else {
            return Next::Never;
        };
        if change.deadline > self.moment() {
            return Next::At(change.deadline);
        }
        self.end_voter_change(ErrorCode::RequestTimedOut, None);
        Next::Never
    }

    /// Everything below `end` is committed; perhaps the change under way is.
    pub(crate) fn change_committed(&mut self, end: Offset) {
        let change = self.leader().and_then(|leader| leader.change.as_ref());
        let Some(VoterChange { kind, record_end: Some(record_end), .. }) = change else { return };
        if end < *record_end {
            return;
        }
        let removal = matches!(kind, ChangeKind::Remove);
        self.end_voter_change(ErrorCode::None, None);
        if removal
            && !self.is_voter()
            && let Some(leader) = self.leader_mut()
        {
            leader.resigning = true;
        }
    }

    /// The node that is to vote got no request or gave no response.
    pub(crate) fn new_voter_unanswered(&mut self, correlation: Correlation) {
        if self.is_asked(correlation).is_some() {
            let words = "Aborted add voter operation since API_VERSIONS got no response".to_owned();
            self.end_voter_change(ErrorCode::RequestTimedOut, Some(words));
        }
    }

    fn is_asked(&self, correlation: Correlation) -> Option<&VoterChange> {
        let change = self.leader()?.change.as_ref()?;
        let waits = change.record_end.is_none();
        matches!(change.kind, ChangeKind::Add { asked, .. } if waits && asked == correlation)
            .then_some(change)
    }

    /// The node that is to vote has said which `kraft.version` it speaks. `true` if the response was of use.
    pub(crate) fn new_voter_answered(
        &mut self,
        correlation: Correlation,
        levels: Option<(i16, i16)>,
    ) -> bool {
        let Some(VoterChange { kind: ChangeKind::Add { voter, endpoints, ack_when_committed, .. }, .. }) =
            self.is_asked(correlation)
        else {
            return true;
        };
        let (voter, endpoints, ack_when_committed) = (*voter, endpoints.clone(), *ack_when_committed);
        let level = self.kraft_version().level();
        let Some(kraft_versions) = levels.filter(|(min, max)| (*min..=*max).contains(&level)) else {
            let words = format!(
                "Aborted add voter operation for {voter} since the kraft.version range {levels:?} doesn't \
                 support the finalized version {level}"
            );
            self.end_voter_change(ErrorCode::InvalidRequest, Some(words));
            return true;
        };
        let now = self.now;
        if !self.leader().is_some_and(|leader| leader.is_caught_up(voter, now)) {
            let words = format!("Aborted add voter operation for {voter} since it is lagging behind");
            self.end_voter_change(ErrorCode::RequestTimedOut, Some(words));
            return true;
        }
        let Some(voters) = self.voters().with(Voter { key: voter, endpoints, kraft_versions }) else {
            self.end_voter_change(ErrorCode::DuplicateVoter, None);
            return true;
        };
        let end = self.append_control(vec![ControlRecord::Voters(voters)]);
        let mut early = None;
        if let Some(change) = self.leader_mut().and_then(|leader| leader.change.as_mut()) {
            change.record_end = Some(end);
            early = if ack_when_committed { None } else { change.caller.take() };
        }
        if let Some(caller) = early {
            self.answer(caller, Response::AddVoter(ErrorCode::None, None));
        }
        true
    }

    pub(crate) fn update_voter(&mut self, update: UpdateVoter) -> Answer {
        let error = self.try_update_voter(update).err().unwrap_or(ErrorCode::None);
        Response::UpdateVoter(self.header(error))
    }

    fn try_update_voter(&mut self, update: UpdateVoter) -> Result<(), ErrorCode> {
        let UpdateVoter { epoch, voter } = update;
        if let Some(error) = self.refusal_of_leader_request(epoch) {
            return Err(error);
        }
        let (min, max) = voter.kraft_versions;
        let legal = voter.key.id.0 >= 0
            && !voter.key.directory.is_zero()
            && voter.endpoints.address(&self.config.listener).is_some()
            && (0..=max).contains(&min);
        if !legal {
            return Err(ErrorCode::InvalidRequest);
        }
        self.expire_voter_change();
        let pending = self.leader().is_some_and(|leader| leader.change.is_some());
        let committed = self.own_high_watermark().filter(|_| !pending).ok_or(ErrorCode::RequestTimedOut)?;
        let version = self.kraft_version();
        let key = voter.key;
        if version.is_dynamic() {
            let (offset, voters) = self.membership.voters.last().ok_or(ErrorCode::RequestTimedOut)?;
            if offset >= committed {
                return Err(ErrorCode::RequestTimedOut);
            }
            if !voter.supports(version) {
                return Err(ErrorCode::InvalidRequest);
            }
            let updated = voters.updated(voter).ok_or(ErrorCode::VoterNotFound)?;
            self.append_control(vec![ControlRecord::Voters(updated)]);
        } else {
            let leader = self.leader_mut().ok_or(ErrorCode::NotLeaderOrFollower)?;
            let known = leader.reported_voters.as_ref().ok_or(ErrorCode::RequestTimedOut)?;
            if !voter.supports(version) {
                return Err(ErrorCode::InvalidRequest);
            }
            leader.reported_voters =
                Some(known.updated_ignoring_directory(voter).ok_or(ErrorCode::VoterNotFound)?);
        }
        self.voter_listens(key);
        Ok(())
    }

    pub(crate) fn upgrade_kraft_version(
        &mut self,
        caller: Caller,
        epoch: LeaderEpoch,
        version: KRaftVersion,
        validate_only: bool,
    ) {
        let (error, words) = match self.try_upgrade(epoch, version, validate_only) {
            Ok(()) => (ErrorCode::None, None),
            Err((error, words)) => (error, Some(words)),
        };
        self.answer(caller, Response::UpgradeKRaftVersion(error, words));
    }

    fn try_upgrade(
        &mut self,
        epoch: LeaderEpoch,
        to: KRaftVersion,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        if let Some(error) = self.refusal_of_leader_request(epoch) {
            return Err((error, error.message().to_owned()));
        }
        let from = self.kraft_version();
        let (from_level, to_level) = (from.level(), to.level());
        if from == to {
            return Ok(());
        }
        let invalid = |why: &str| {
            let words =
                format!("Invalid upgrade of kraft.version from version {from_level} to {to_level}{why}");
            Err((ErrorCode::InvalidUpdateVersion, words))
        };
        if from > to {
            return invalid(" because the new version is a downgrade");
        }
        let persisted = self.voters().clone();
        let reported = self.leader().and_then(|leader| leader.reported_voters.clone());
        let Some(reported) = reported.filter(|reported| reported.ids().eq(persisted.ids())) else {
            return invalid("");
        };
        if !reported.supports(to) || reported.iter().any(|voter| voter.key.directory.is_zero()) {
            return invalid(" because not all of the voters support it");
        }
        if !validate_only {
            if let Some(leader) = self.leader_mut() {
                leader.reported_voters = None;
            }
            self.append_control(vec![ControlRecord::KRaftVersion(to), ControlRecord::Voters(reported)]);
        }
        Ok(())
    }
}

impl Leader {
    /// Whether an observer keeps up with the log well enough to count on it.
    fn is_caught_up(&self, replica: ReplicaKey, now: Now) -> bool {
        self.observers.get(&replica).is_some_and(|progress| {
            let recent = |last: Now| now.moment.since(last.moment).as_secs() < CAUGHT_UP_WITHIN_SECS;
            progress.last_caught_up.0 > 0 && progress.last_fetch.is_some_and(recent)
        })
    }
}
