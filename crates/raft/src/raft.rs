//! The replica: its state, its one step function, and what it does when nothing comes in.

use std::time::Duration;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, Now, Offset};

use crate::connections::{Connections, Readiness};
use crate::history::Membership;
use crate::ids::ReplicaKey;
use crate::log::LogShape;
use crate::message::{Answer, Header, Request, Response};
use crate::quorum_state::Election;
use crate::random::Random;
use crate::role::{ParkedFetch, Role, RoleName};
use crate::step::{Action, Caller, FlushTicket, Input, LeaderAndEpoch, Peer};
use crate::voters::{Address, Endpoints, KRaftVersion, Voter, VoterSet};

/// What a replica is told about itself; names and defaults are those of Kafka's `controller.quorum.*`.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node and the directory of its metadata log.
    pub local: ReplicaKey,
    /// Where this node listens as a controller; empty for a broker.
    pub endpoints: Endpoints,
    /// The name of the controller listener over which replicas talk.
    pub listener: String,
    /// Whether the node has the controller role: it keeps its log durable, so that it may vote one day.
    pub may_vote: bool,
    /// `controller.quorum.bootstrap.servers`.
    pub bootstrap_servers: Vec<Address>,
    /// `controller.quorum.auto.join.enable`
    pub auto_join: bool,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms`
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`
    pub retry_backoff: Duration,
    /// How many bytes of records to fetch at once (`controller.quorum.fetch.max.bytes`).
    pub fetch_max_bytes: i32,
    /// How many bytes of a snapshot to fetch at once (`controller.quorum.fetch.snapshot.max.bytes`).
    pub fetch_snapshot_max_bytes: i32,
}

impl Config {
    /// Kafka's defaults for a replica.
    pub fn new(local: ReplicaKey, endpoints: Endpoints, listener: impl Into<String>) -> Config {
        Config {
            local,
            endpoints,
            listener: listener.into(),
            may_vote: true,
            bootstrap_servers: Vec::new(),
            auto_join: false,
            election_timeout: Duration::from_millis(1000),
            election_backoff_max: Duration::from_millis(1000),
            fetch_timeout: Duration::from_millis(2000),
            request_timeout: Duration::from_millis(2000),
            retry_backoff: Duration::from_millis(20),
            fetch_max_bytes: 8 << 20,
            fetch_snapshot_max_bytes: 8 << 20,
        }
    }
}

/// How long a leader lets a fetch wait at most, in milliseconds.
pub(crate) const MAX_FETCH_WAIT_MS: i32 = 500;

/// What was found on the disk.
#[derive(Debug)]
pub struct Recovered {
    /// The file `quorum-state`, if there is one.
    pub election: Option<Election>,
    /// The log and its snapshots.
    pub log: LogShape,
    /// What the control records of the latest snapshot and of the log behind it say.
    pub membership: Membership,
}

/// One replica of the quorum, as a state machine without I/O, clock or entropy.
#[derive(Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) log: LogShape,
    pub(crate) membership: Membership,
    pub(crate) election: Election,
    pub(crate) leader_endpoints: Endpoints,
    pub(crate) role: Role,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) connections: Connections,
    pub(crate) parked: Vec<ParkedFetch>,
    pub(crate) random: Random,
    pub(crate) shutting_down: bool,
    pub(crate) now: Now,
    pub(crate) actions: Vec<Action>,
    persisted: Option<String>,
    told: LeaderAndEpoch,
    flush_generation: u64,
    flush_requested: Offset,
    wake: Option<Moment>,
}

/// When a role wants to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once: the role has changed.
    Again,
    /// At a moment.
    At(Moment),
    /// Only when something comes in.
    Never,
}

impl Next {
    pub(crate) fn or(self, other: Next) -> Next {
        match (self, other) {
            (Next::Again, _) | (_, Next::Again) => Next::Again,
            (Next::At(one), Next::At(two)) => Next::At(one.min(two)),
            (Next::Never, it) | (it, Next::Never) => it,
        }
    }
}

impl Raft {
    /// A replica that starts. `seed` spreads the election timeouts of different replicas. A replica that is
    /// the only voter leads when this returns.
    pub fn new(config: Config, recovered: Recovered, seed: u64, now: Now) -> (Raft, Vec<Action>) {
        let connections = Connections::new(config.request_timeout, config.retry_backoff);
        let Recovered { election, log, membership } = recovered;
        let mut raft = Raft {
            config,
            flush_requested: log.flushed(),
            log,
            membership,
            election: election.unwrap_or_default(),
            leader_endpoints: Endpoints::default(),
            role: Role::Unattached { deadline: None },
            high_watermark: None,
            connections,
            parked: Vec::new(),
            random: Random::new(seed),
            shutting_down: false,
            now,
            actions: Vec::new(),
            persisted: None,
            told: LeaderAndEpoch::default(),
            flush_generation: 0,
            wake: None,
        };
        raft.initialize();
        raft.poll();
        let actions = std::mem::take(&mut raft.actions);
        (raft, actions)
    }

    /// Takes one input and says what to do about it, in order.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Action> {
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Flushed(ticket) => self.flushed(ticket),
            Input::Request(caller, request) => self.request(caller, request),
            Input::Hangup(caller) => self.parked.retain(|parked| parked.caller != caller),
            Input::Response(correlation, response) => self.response(correlation, response),
            Input::Unanswered(correlation) => self.unanswered(correlation),
            Input::Propose { epoch, values } => self.propose(epoch, values),
            Input::UpgradeKRaftVersion { caller, epoch, version, validate_only } => {
                self.upgrade_kraft_version(caller, epoch, version, validate_only);
            }
            Input::SnapshotTaken(id) => {
                self.log.snapshot_taken(id);
                self.membership.truncate_old(id.offset);
            }
            Input::LogCleaned(id) => self.log.cleaned(id),
            Input::SnapshotInstalled(id, membership) => self.snapshot_installed(id, membership),
            Input::Resign(epoch) => self.resign(epoch),
            Input::Shutdown => self.shutting_down = true,
        }
        self.poll();
        std::mem::take(&mut self.actions)
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        let parked = self.parked.iter().map(|parked| parked.deadline).min();
        [self.wake, parked].into_iter().flatten().min()
    }

    /// Who leads which epoch.
    pub fn leader_and_epoch(&self) -> LeaderAndEpoch {
        LeaderAndEpoch { leader: self.election.leader, epoch: self.election.epoch }
    }

    /// Where the leader listens, as far as known.
    pub fn leader_endpoints(&self) -> &Endpoints {
        &self.leader_endpoints
    }

    /// What the replica is at the moment.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// The epoch that this replica leads, if it leads.
    pub fn led_epoch(&self) -> Option<LeaderEpoch> {
        matches!(self.role, Role::Leader(_)).then_some(self.election.epoch)
    }

    /// One past the last committed record, if known.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// The shape of the log.
    pub fn log(&self) -> &LogShape {
        &self.log
    }

    /// Who votes.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The voters in force.
    pub fn voters(&self) -> &VoterSet {
        self.membership.last_voters()
    }

    /// Whether this replica votes.
    pub fn is_voter(&self) -> bool {
        self.voters().contains(self.config.local)
    }

    /// Whether a shutdown need not wait any longer: nobody depends on this replica's leading.
    pub fn may_stop(&self) -> bool {
        let remote_leader = self.election.leader.is_some_and(|leader| leader != self.config.local.id);
        self.shutting_down && (!self.is_voter() || self.voters().is_only(self.config.local) || remote_leader)
    }

    pub(crate) fn moment(&self) -> Moment {
        self.now.moment
    }

    pub(crate) fn kraft_version(&self) -> KRaftVersion {
        self.membership.last_kraft_version()
    }

    pub(crate) fn local_voter(&self) -> Voter {
        Voter {
            key: self.config.local,
            endpoints: self.config.endpoints.clone(),
            kraft_versions: (*KRaftVersion::SUPPORTED.start(), *KRaftVersion::SUPPORTED.end()),
        }
    }

    pub(crate) fn random_election_timeout(&mut self) -> Duration {
        let base = self.config.election_timeout;
        base + self.random.below(base)
    }

    /// Makes the election state durable before anything that follows (K1).
    pub(crate) fn persist(&mut self) {
        let text = self.election.to_text(self.kraft_version(), self.voters());
        if self.persisted.as_ref() == Some(&text) {
            return;
        }
        // Of several states with nothing done between them, only the last matters.
        if matches!(self.actions.last(), Some(Action::PersistElection(_))) {
            self.actions.pop();
        }
        self.actions.push(Action::PersistElection(text.clone()));
        self.persisted = Some(text);
    }

    /// Says who leads, if that is news.
    pub(crate) fn tell_leadership(&mut self) {
        let now = self.leader_and_epoch();
        if self.told != now {
            self.told = now;
            let epoch_start = match &self.role {
                Role::Leader(leader) => Some(leader.epoch_start),
                _ => None,
            };
            self.actions.push(Action::Leadership { now, epoch_start });
        }
    }

    /// Asks for the log to be made durable up to its end.
    pub(crate) fn request_flush(&mut self) {
        if self.flush_requested < self.log.end() {
            self.flush_requested = self.log.end();
            let ticket = FlushTicket { end: self.log.end(), generation: self.flush_generation };
            self.actions.push(Action::Flush(ticket));
        }
    }

    fn flushed(&mut self, ticket: FlushTicket) {
        // What was under way when the log was cut says nothing of the records written since.
        if ticket.generation == self.flush_generation {
            self.log.flushed_to(ticket.end);
            self.local_end_moved();
        }
    }

    /// Cuts the end of the log, here and on the disk.
    pub(crate) fn truncate(&mut self, end: Offset) {
        if end < self.log.end() {
            self.actions.push(Action::Truncate(end));
            self.log.truncated(end);
            self.membership.truncate_new(end);
            self.flush_was_cut();
        }
    }

    pub(crate) fn flush_was_cut(&mut self) {
        self.flush_generation += 1;
        self.flush_requested = self.log.flushed();
    }

    pub(crate) fn answer(&mut self, caller: Caller, answer: Answer) {
        self.actions.push(Action::Answer(caller, answer));
    }

    /// What every answer says of the leader.
    pub(crate) fn header(&self, error: ErrorCode) -> Header {
        Header {
            error,
            leader: self.election.leader,
            epoch: self.election.epoch,
            endpoints: self.leader_endpoints.clone(),
        }
    }

    fn request(&mut self, caller: Caller, request: Request) {
        let answer = match request {
            Request::Vote(vote) => self.vote_requested(vote),
            Request::BeginQuorumEpoch(begin) => self.epoch_begun(begin),
            Request::EndQuorumEpoch(end) => self.epoch_ended(end),
            Request::Fetch(fetch) => return self.fetch_requested(caller, fetch),
            Request::FetchSnapshot(fetch) => self.snapshot_requested(&fetch),
            Request::DescribeQuorum => self.describe(),
            Request::AddVoter(add) => return self.add_voter(caller, add),
            Request::RemoveVoter(remove) => return self.remove_voter(caller, remove),
            Request::UpdateVoter(update) => self.update_voter(update),
            // Answered by the server, which knows all its features.
            Request::ApiVersions => Response::Refused(ErrorCode::InvalidRequest),
        };
        self.answer(caller, answer);
    }

    fn poll(&mut self) {
        self.expire_parked_fetches();
        let mut next = Next::Again;
        while next == Next::Again {
            next = match self.role.name() {
                RoleName::Unattached => self.poll_unattached(),
                RoleName::Prospective | RoleName::Candidate => self.poll_nominee(),
                RoleName::Follower => self.poll_follower(),
                RoleName::Leader => self.poll_leader(),
                RoleName::Resigned => self.poll_resigned(),
            };
        }
        self.wake = match next {
            Next::At(moment) => Some(moment),
            _ => None,
        };
        self.tell_leadership();
    }

    /// Sends a request unless one is under way or the peer is backing off.
    pub(crate) fn send(&mut self, to: Peer, request: Request) -> Next {
        match self.connections.readiness(to.id, self.moment()) {
            Readiness::BackingOff(until) | Readiness::Awaiting(until) => Next::At(until),
            Readiness::Ready | Readiness::TimedOut => {
                let (correlation, until) = self.connections.sent(to.clone(), self.moment());
                self.actions.push(Action::Send { to, correlation, request });
                Next::At(until)
            }
        }
    }

    /// The node's address on the quorum's listener, as the voters know it.
    pub(crate) fn voter_peer(&self, id: NodeId) -> Option<Peer> {
        let address = self.voters().get(id)?.endpoints.address(&self.config.listener)?.clone();
        Some(Peer { id, address })
    }
}
