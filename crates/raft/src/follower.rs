//! Following: fetching records and snapshots from the leader, and telling it how this voter is reached.

use bytes::Bytes;
use ottla_base::{ErrorCode, NodeId, Offset};

use crate::connections::Readiness;
use crate::control;
use crate::election::Common;
use crate::history::Membership;
use crate::ids::OffsetAndEpoch;
use crate::message::{
    AddVoter, Fetch, FetchBody, FetchResponse, FetchSnapshot, FetchSnapshotResponse, Header, Received,
    RemoveVoter, Request, Response, UpdateVoter,
};
use crate::raft::{MAX_FETCH_WAIT_MS, Next, Raft};
use crate::role::{FetchingSnapshot, Follower, Role};
use crate::step::{Action, Correlation, Peer};

impl Raft {
    fn follower_mut(&mut self) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Follower(follower) => Some(follower),
            _ => None,
        }
    }

    pub(crate) fn response(&mut self, correlation: Correlation, response: Received) {
        let Some(peer) = self.connections.expected(correlation) else { return };
        let useful = match response {
            Response::Refused(ErrorCode::UnsupportedVersion) if self.pre_vote_unsupported() => true,
            Response::Refused(_) | Response::DescribeQuorum(_) | Response::UpgradeKRaftVersion(..) => false,
            Response::Vote { header, granted } => self.vote_answered(peer.id, &header, granted),
            Response::BeginQuorumEpoch(header) => self.begin_answered(&header),
            Response::EndQuorumEpoch(header) => self.end_answered(peer.id, &header),
            Response::Fetch(fetched) => self.fetched(fetched),
            Response::FetchSnapshot(fetched) => self.snapshot_fetched(fetched),
            Response::AddVoter(error, _) => self.join_answered(error, ErrorCode::DuplicateVoter),
            Response::RemoveVoter(error, _) => self.join_answered(error, ErrorCode::VoterNotFound),
            Response::UpdateVoter(header) => self.update_answered(&header),
            Response::ApiVersions(levels) => self.new_voter_answered(correlation, levels),
        };
        self.connections.answered(correlation, useful, self.now.moment);
    }

    pub(crate) fn unanswered(&mut self, correlation: Correlation) {
        self.new_voter_unanswered(correlation);
        self.connections.answered(correlation, false, self.now.moment);
    }

    pub(crate) fn poll_follower(&mut self) -> Next {
        if self.shutting_down {
            return Next::Never;
        }
        if self.is_voter() { self.poll_follower_as_voter() } else { self.poll_observer() }
    }

    fn poll_follower_as_voter(&mut self) -> Next {
        let (moment, period) = (self.moment(), self.config.fetch_timeout);
        let Role::Follower(follower) = &self.role else { return Next::Again };
        let fetch_deadline = follower.fetch_deadline;
        if fetch_deadline <= moment && !follower.is_installing() {
            self.become_prospective();
            return Next::Again;
        }
        let mut update = None;
        if follower.update_voter_deadline <= moment {
            let dynamic = self.kraft_version().is_dynamic();
            let stale = dynamic && self.voters().needs_update(&self.local_voter());
            let unknown = !dynamic && !follower.has_updated_leader;
            if stale || unknown {
                let voter = self.local_voter();
                update = Some(Request::UpdateVoter(UpdateVoter { epoch: self.election.epoch, voter }));
            } else if let Some(follower) = self.follower_mut() {
                follower.update_voter_deadline = moment + period;
            }
        }
        let next = match update {
            Some(request) => self.send_to_leader(request),
            None => self.fetch_from_best(),
        };
        next.or(Next::At(fetch_deadline.max(moment)))
    }

    fn poll_observer(&mut self) -> Next {
        let moment = self.moment();
        let Role::Follower(follower) = &self.role else { return Next::Again };
        let joins = self.kraft_version().is_dynamic()
            && self.config.may_vote
            && self.config.auto_join
            && follower.update_voter_deadline <= moment;
        if !joins {
            return self.fetch_from_best();
        }
        let local = self.config.local;
        // A disk that was replaced: the voter it was has to go before the voter it is can come (K4).
        let request = match self.voters().get(local.id) {
            Some(old) => Request::RemoveVoter(RemoveVoter { voter: old.key }),
            None => Request::AddVoter(AddVoter {
                voter: local,
                endpoints: self.config.endpoints.clone(),
                ack_when_committed: false,
            }),
        };
        self.send_to_leader(request)
    }

    fn leader_peer(&self) -> Option<Peer> {
        let address = self.leader_endpoints.address(&self.config.listener)?.clone();
        Some(Peer { id: self.election.leader?, address })
    }

    /// Sends something other than a fetch to the leader and puts the next such request off.
    fn send_to_leader(&mut self, request: Request) -> Next {
        let (moment, period) = (self.moment(), self.config.fetch_timeout);
        let Some(peer) = self.leader_peer() else { return Next::Never };
        let sent =
            matches!(self.connections.readiness(peer.id, moment), Readiness::Ready | Readiness::TimedOut);
        let next = self.send(peer, request);
        if sent && let Some(follower) = self.follower_mut() {
            follower.update_voter_deadline = moment + period;
        }
        next
    }

    /// A voter may say where its log ends only when all of it is durable: the leader counts on it (K1).
    fn log_is_settled(&mut self) -> bool {
        if !self.config.may_vote && !self.is_voter() {
            return true;
        }
        self.request_flush();
        self.log.flushed() == self.log.end()
    }

    fn fetch_from_best(&mut self) -> Next {
        let Role::Follower(follower) = &self.role else { return Next::Never };
        if follower.is_installing() || !self.log_is_settled() {
            return Next::Never;
        }
        let Some(leader) = self.leader_peer() else { return self.fetch_from_any() };
        match self.connections.readiness(leader.id, self.moment()) {
            Readiness::TimedOut => {
                self.connections.forget(leader.id);
                self.fetch_from_any()
            }
            Readiness::BackingOff(until) => Next::At(until).or(self.fetch_from_any()),
            Readiness::Awaiting(until) => Next::At(until),
            Readiness::Ready => match self.connections.any_awaiting(self.moment()) {
                Some(until) => Next::At(until),
                None => {
                    let request = self.next_fetch();
                    self.send(leader, request)
                }
            },
        }
    }

    /// The next request to the leader: of a snapshot, if one is on its way, otherwise of records.
    fn next_fetch(&self) -> Request {
        if let Role::Follower(Follower { snapshot: Some(snapshot), .. }) = &self.role {
            return Request::FetchSnapshot(FetchSnapshot {
                replica: self.config.local,
                epoch: self.election.epoch,
                snapshot: snapshot.id,
                position: snapshot.position,
                max_bytes: self.config.fetch_snapshot_max_bytes,
            });
        }
        self.next_fetch_of_records()
    }

    /// Asks some bootstrap server, or some voter, to learn who leads.
    pub(crate) fn fetch_from_any(&mut self) -> Next {
        if !self.log_is_settled() {
            return Next::Never;
        }
        let moment = self.moment();
        if let Some(until) = self.connections.any_awaiting(moment) {
            return Next::At(until);
        }
        let mut peers: Vec<Peer> = (self.config.bootstrap_servers.iter().zip(2..))
            .map(|(address, number)| Peer { id: NodeId(-number), address: address.clone() })
            .collect();
        if peers.is_empty() {
            peers = self.voter_peers(&self.voters().clone());
        }
        if peers.is_empty() {
            return Next::Never;
        }
        let first = usize::try_from(self.random.next() % peers.len() as u64).unwrap_or(0);
        peers.rotate_left(first);
        let mut next = Next::Never;
        for peer in peers {
            match self.connections.readiness(peer.id, moment) {
                Readiness::Ready | Readiness::TimedOut => {
                    let request = self.next_fetch_of_records();
                    return self.send(peer, request);
                }
                Readiness::BackingOff(until) | Readiness::Awaiting(until) => next = next.or(Next::At(until)),
            }
        }
        next
    }

    fn next_fetch_of_records(&self) -> Request {
        Request::Fetch(Fetch {
            replica: self.config.local,
            epoch: self.election.epoch,
            from: self.log.end_and_epoch(),
            high_watermark: self.high_watermark.unwrap_or(Offset(-1)),
            max_wait_ms: MAX_FETCH_WAIT_MS,
            max_bytes: self.config.fetch_max_bytes,
        })
    }

    /// Something came from the leader.
    fn heard_from_leader(&mut self) {
        let deadline = self.moment() + self.config.fetch_timeout;
        if let Some(follower) = self.follower_mut() {
            follower.fetch_deadline = deadline;
            follower.has_fetched = true;
        }
    }

    fn open_response(&mut self, header: &Header) -> Option<bool> {
        match self.common_response(header) {
            Common::Done => Some(true),
            Common::Useless => Some(false),
            Common::Open if !matches!(self.role, Role::Follower(_)) => Some(true),
            Common::Open => None,
        }
    }

    fn fetched(&mut self, fetched: FetchResponse<Bytes>) -> bool {
        let FetchResponse { header, high_watermark, log_start: _, body } = fetched;
        if let Some(useful) = self.open_response(&header) {
            return useful;
        }
        if header.error != ErrorCode::None {
            return false;
        }
        let accepted = match body {
            FetchBody::Records(records) => {
                self.append_fetched(&records);
                self.follower_high_watermark(high_watermark);
                true
            }
            FetchBody::Diverging(end) => self.diverged(end),
            FetchBody::Snapshot(id) => self.begin_snapshot(id),
        };
        if accepted {
            self.heard_from_leader();
        }
        accepted
    }

    /// Appends what is sound of the records: whole batches that continue the log. A leader that sends anything
    /// else is not to be trusted with more.
    fn append_fetched(&mut self, records: &Bytes) {
        for batch in control::sound_batches(records, self.log.end_and_epoch(), self.election.epoch) {
            for (offset, record) in batch.control {
                self.membership.apply(offset, record);
            }
            self.log.appended(batch.end, batch.epoch);
            self.actions.push(Action::Append { batch: batch.bytes, end: batch.end, epoch: batch.epoch });
        }
        if self.config.may_vote || self.is_voter() {
            self.request_flush();
        } else {
            self.log.flushed_to(self.log.end());
        }
    }

    fn follower_high_watermark(&mut self, high_watermark: Offset) {
        let end = high_watermark.min(self.log.end());
        if high_watermark.0 >= 0 && self.high_watermark.is_none_or(|known| end > known) {
            self.high_watermark = Some(end);
            self.actions.push(Action::Commit(end));
        }
    }

    fn diverged(&mut self, end: OffsetAndEpoch) -> bool {
        let cut = self.log.cut_for(end);
        // What is committed is never cut, whoever asks.
        if end.offset.0 < 0 || self.high_watermark.is_some_and(|committed| cut < committed) {
            return false;
        }
        self.truncate(cut.max(self.log.start()));
        true
    }

    fn begin_snapshot(&mut self, id: OffsetAndEpoch) -> bool {
        if id.offset.0 < 0 || id.epoch.0 < 0 {
            return false;
        }
        let known = self.log.has_snapshot(id);
        if let Some(follower) = self.follower_mut() {
            follower.snapshot = (!known).then_some(FetchingSnapshot { id, position: 0, installing: false });
        }
        true
    }

    fn snapshot_fetched(&mut self, fetched: FetchSnapshotResponse<Bytes>) -> bool {
        let FetchSnapshotResponse { header, snapshot, size, position, bytes } = fetched;
        if let Some(useful) = self.open_response(&header) {
            return useful;
        }
        let Role::Follower(Follower { snapshot: Some(fetching), .. }) = &mut self.role else { return true };
        let id = fetching.id;
        if header.error == ErrorCode::SnapshotNotFound || snapshot.offset.0 < 0 || snapshot.epoch.0 < 0 {
            // The leader has moved on to a later one; an ordinary fetch will name it.
            self.abandon_snapshot();
            self.heard_from_leader();
            return true;
        }
        if header.error != ErrorCode::None {
            return false;
        }
        let end = position.checked_add(bytes.len() as i64);
        let fits = snapshot == id && position == fetching.position && end.is_some_and(|end| end <= size);
        let Some(end) = end.filter(|end| fits && (*end > position || *end == size)) else {
            self.abandon_snapshot();
            return false;
        };
        fetching.position = end;
        fetching.installing = end == size;
        self.actions.push(Action::WriteSnapshot { id, position, bytes });
        if end == size {
            self.actions.push(Action::InstallSnapshot(id));
        }
        self.heard_from_leader();
        true
    }

    fn abandon_snapshot(&mut self) {
        if let Some(follower) = self.follower_mut()
            && let Some(fetching) = follower.snapshot.take()
        {
            self.actions.push(Action::DiscardSnapshot(fetching.id));
        }
    }

    pub(crate) fn snapshot_installed(&mut self, id: OffsetAndEpoch, membership: Membership) {
        self.log.replaced(id);
        self.membership = Membership { static_voters: self.membership.static_voters.clone(), ..membership };
        self.flush_was_cut();
        self.follower_high_watermark(id.offset);
        if let Some(follower) = self.follower_mut() {
            follower.snapshot = None;
        }
    }

    fn join_answered(&mut self, error: ErrorCode, settled: ErrorCode) -> bool {
        let known = error == ErrorCode::None || error == ErrorCode::RequestTimedOut || error == settled;
        let deadline = self.moment() + self.config.fetch_timeout;
        if known && let Some(follower) = self.follower_mut() {
            follower.update_voter_deadline = deadline;
        }
        known
    }

    fn update_answered(&mut self, header: &Header) -> bool {
        if let Some(useful) = self.open_response(header) {
            return useful;
        }
        let heard = matches!(header.error, ErrorCode::None | ErrorCode::UnsupportedVersion);
        if heard {
            if let Some(follower) = self.follower_mut() {
                follower.has_updated_leader = true;
            }
            self.heard_from_leader();
        }
        heard
    }
}

impl Follower {
    fn is_installing(&self) -> bool {
        self.snapshot.is_some_and(|snapshot| snapshot.installing)
    }
}
