//! The metadata quorum on a real disk: drives the raft machine over the log `__cluster_metadata-0`, and seats the
//! controller on it while this node leads.
//!
//! | file | holds |
//! |---|---|
//! | `recover` | what a node finds when it starts |
//! | `glimpse` | the same, only looked at |
//! | `driver` | the one task: events in, actions done in order |
//! | `controller_seat` | the controller while this node leads: decisions to the log, answers from it |
//! | `decision_times` | how long decisions take |
//! | `retention` | when to take a snapshot, and what it makes superfluous |
//! | `metadata_log`, `snapshot_files` | the files |
//!
//! Invariants: nothing is answered before everything it saw is durable and committed; one sync may serve any number
//! of decisions; what is committed is applied once, in order, and published before who asked for it hears of it.
//!
//! Absent: connections to other controllers. A node runs as the only voter of its quorum; it answers what other nodes
//! ask of it, and refuses to start where it would have to ask them.

mod controller_seat;
mod decision_times;
mod driver;
mod glimpse;
mod metadata_log;
mod recover;
mod retention;
pub(crate) mod snapshot_files;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use ottla_host::Host;
use ottla_host::disk::Open;
use ottla_metadata::controller::{Options, Reply, Request};
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{Image, ImpossibleRecord};
use ottla_raft::{
    Answer, Config, Endpoints, KRaftVersion, LeaderAndEpoch, Piece, ReplicaKey, Response, VoterSet,
};
use ottla_storage::{AppendError, Directory, OpenFiles, ReadError, StorageError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use driver::{Driver, Event};
pub(crate) use glimpse::{Glimpse, glimpse};
use metadata_log::{MAX_READ_BYTES, MetadataLog};

/// How many requests may wait for the quorum's task.
const MAX_WAITING: usize = 10_000;

/// What a node needs to take part in its quorum.
pub struct Start {
    /// The computer.
    pub host: Host,
    /// The settings.
    pub settings: ServerSettings,
    /// The log directory that holds the metadata log.
    pub directory: Arc<Directory>,
    /// Who keeps files open.
    pub open_files: Arc<OpenFiles>,
    /// The cluster's id, as `meta.properties` has it.
    pub cluster_id: String,
    /// The directory's id, as `meta.properties` has it.
    pub directory_id: Uuid,
    /// What the controller knows from its configuration.
    pub controller: Arc<Options>,
}

/// What is committed, and how far.
#[derive(Debug, Clone)]
pub struct Published {
    /// The cluster.
    pub image: Arc<Image>,
    /// The last offset that was applied; -1 if none was.
    pub last_offset: Offset,
    /// The epoch of that record.
    pub last_epoch: LeaderEpoch,
    /// When it was appended.
    pub last_timestamp: Timestamp,
    /// The quorum's own version.
    pub kraft_version: KRaftVersion,
}

/// The quorum's task, running.
pub struct Running {
    /// How to reach it.
    pub handle: ControllerHandle,
    /// Ends when the quorum was shut down, or with what makes it impossible to go on; then the process must end too.
    pub task: JoinHandle<Result<(), QuorumError>>,
}

/// Why a node cannot take part in its quorum.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// The configuration asks for what this release does not do.
    #[error("{0}")]
    Unsupported(String),
    /// The disk failed. It is not to be trusted with votes any more.
    #[error("{path}: {source}")]
    Disk {
        /// What was read or written.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// The log failed.
    #[error("the metadata log: {0}")]
    Log(String),
    /// What was durable is not what was written. Restore the directory from a backup or from another controller.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// The damaged file or log.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl QuorumError {
    fn disk(path: &Path) -> impl Fn(io::Error) -> QuorumError {
        let path = path.to_owned();
        move |source| QuorumError::Disk { path: path.clone(), source }
    }
}

impl From<StorageError> for QuorumError {
    fn from(error: StorageError) -> QuorumError {
        QuorumError::Log(error.to_string())
    }
}

impl From<AppendError> for QuorumError {
    fn from(error: AppendError) -> QuorumError {
        QuorumError::Log(error.to_string())
    }
}

impl From<ReadError> for QuorumError {
    fn from(error: ReadError) -> QuorumError {
        QuorumError::Log(error.to_string())
    }
}

impl From<ImpossibleRecord> for QuorumError {
    fn from(error: ImpossibleRecord) -> QuorumError {
        QuorumError::Log(error.to_string())
    }
}

/// Starts the quorum's task. Returns when this node leads, and everything in its log is committed and published.
pub async fn start(start: Start) -> Result<Running, QuorumError> {
    let Start { host, settings, directory, open_files, cluster_id, directory_id, controller } = start;
    let (config, static_voters) = raft_config(&settings, directory_id)?;
    let recovery = {
        let (host, settings) = (host.clone(), settings.clone());
        let static_voters = static_voters.clone();
        move || recover::recover(&host, &settings, directory, open_files, static_voters)
    };
    let found = host.blocking(recovery).await?;
    let voters = found.recovered.membership.last_voters();
    if let Some(reason) = unsupported_voters(voters, config.local) {
        return Err(QuorumError::Unsupported(reason));
    }
    let log = found.log.clone();
    let (events, inbox) = mpsc::channel(MAX_WAITING);
    let (driver, (publications, leadership)) =
        Driver::new(host.clone(), config, &settings, found, controller, inbox);
    let listener = settings.network.controller_listener_names.first().map(|name| name.to_uppercase());
    let handle = ControllerHandle(Arc::new(Shared {
        host: host.clone(),
        cluster_id,
        listener: listener.unwrap_or_default(),
        events,
        published: publications,
        leadership,
        log,
    }));
    let (ready, leads) = oneshot::channel();
    let mut task = host.spawn(driver.run(ready));
    tokio::select! {
        biased;
        led = leads => match led {
            Ok(()) => Ok(Running { handle, task }),
            Err(_) => Err(ended(task.await)),
        },
        ended_early = &mut task => Err(ended(ended_early)),
    }
}

/// Why a node cannot take part in a quorum of these voters, if it cannot.
fn unsupported_voters(voters: &VoterSet, local: ReplicaKey) -> Option<String> {
    let supported = voters.is_only(local);
    (!supported).then(|| {
        format!(
            "this node is {local}, but the voters of its quorum are {voters}: this release runs a quorum of one voter, \
             the node itself; format the directory with --standalone, or name this node alone in \
             controller.quorum.voters"
        )
    })
}

fn ended(result: Result<Result<(), QuorumError>, tokio::task::JoinError>) -> QuorumError {
    match result {
        Ok(Err(error)) => error,
        Ok(Ok(())) => QuorumError::Log("the quorum's task ended before it led".to_owned()),
        Err(error) => QuorumError::Log(error.to_string()),
    }
}

/// What the raft machine is told about itself, and the voters that the configuration names.
fn raft_config(settings: &ServerSettings, directory_id: Uuid) -> Result<(Config, VoterSet), QuorumError> {
    use std::time::Duration;
    let (quorum, network) = (&settings.quorum, &settings.network);
    let unsupported = |words: &str| Err(QuorumError::Unsupported(words.to_owned()));
    let Some(listener) = network.controller_listener_names.first().map(|name| name.to_uppercase()) else {
        return unsupported("controller.listener.names names no listener");
    };
    if !quorum.process_roles.iter().any(|role| role == "controller") {
        return unsupported(
            "process.roles does not contain controller: this release runs nodes that are controllers too",
        );
    }
    let static_voters = VoterSet::parse_static(&quorum.controller_quorum_voters.join(","), &listener)
        .map_err(|error| QuorumError::Unsupported(error.to_string()))?;
    let address = crate::format::controller_address(settings, &listener);
    let endpoints = address.map(|address| Endpoints::one(listener.clone(), address)).unwrap_or_default();
    let ms = |ms: i32| Duration::from_millis(u64::from(ms.unsigned_abs()));
    let local = ReplicaKey::new(NodeId(quorum.node_id), directory_id);
    let config = Config {
        auto_join: quorum.controller_quorum_auto_join_enable,
        election_timeout: ms(quorum.controller_quorum_election_timeout_ms),
        election_backoff_max: ms(quorum.controller_quorum_election_backoff_max_ms),
        fetch_timeout: ms(quorum.controller_quorum_fetch_timeout_ms),
        request_timeout: ms(quorum.controller_quorum_request_timeout_ms),
        retry_backoff: ms(quorum.controller_quorum_retry_backoff_ms),
        fetch_max_bytes: quorum.controller_quorum_fetch_max_bytes,
        fetch_snapshot_max_bytes: quorum.controller_quorum_fetch_snapshot_max_bytes,
        ..Config::new(local, endpoints, listener)
    };
    Ok((config, static_voters))
}

/// How the rest of the process reaches the controller and the quorum. Cheap to clone.
#[derive(Clone)]
pub struct ControllerHandle(Arc<Shared>);

struct Shared {
    host: Host,
    cluster_id: String,
    listener: String,
    events: mpsc::Sender<Event>,
    published: watch::Receiver<Published>,
    leadership: watch::Receiver<LeaderAndEpoch>,
    log: MetadataLog,
}

impl ControllerHandle {
    /// Asks the controller for something. The answer comes when everything it tells of is committed and published;
    /// [`ErrorCode::NotController`] if this node does not lead, or stopped leading before it was.
    pub async fn submit(&self, request: Request) -> Result<Reply, ErrorCode> {
        let (caller, answer) = oneshot::channel();
        self.send(Event::Submit(Box::new(request), caller)).await?;
        answer.await.unwrap_or(Err(ErrorCode::NotController))
    }

    /// Asks the quorum for something: elections, fetches of the metadata log and its snapshots, DescribeQuorum, changes
    /// of the voters. An error says that there is no answer to give.
    pub async fn raft(
        &self,
        request: ottla_wire::Request,
        version: i16,
    ) -> Result<ottla_wire::Response, ErrorCode> {
        let asked = match ottla_raft::Request::from_wire(&request, &self.0.cluster_id) {
            Ok(asked) => asked,
            Err(code) => {
                return Ok(Response::Refused(code).into_wire(&request, version, &self.0.listener));
            }
        };
        let (caller, answer) = oneshot::channel();
        self.send(Event::Ask(asked, caller)).await?;
        let answer = answer.await.map_err(|_| ErrorCode::BrokerNotAvailable)?;
        let log = self.0.log.clone();
        let host = self.0.host.clone();
        let response = self.0.host.blocking(move || with_bytes(&host, &log, answer)).await;
        let response = response.map_err(|error| {
            tracing::error!(%error, "the metadata log cannot be read");
            ErrorCode::KafkaStorageError
        })?;
        Ok(response.into_wire(&request, version, &self.0.listener))
    }

    /// Raises `kraft.version`, or only asks whether that could be done; the refusal comes with words.
    pub async fn upgrade_kraft_version(
        &self,
        version: KRaftVersion,
        validate_only: bool,
    ) -> Result<(), (ErrorCode, Option<String>)> {
        let (caller, answer) = oneshot::channel();
        let event = Event::UpgradeKRaftVersion { version, validate_only, caller };
        self.send(event).await.map_err(|code| (code, None))?;
        match answer.await {
            Ok(Response::UpgradeKRaftVersion(ErrorCode::None, _)) => Ok(()),
            Ok(Response::UpgradeKRaftVersion(code, words)) => Err((code, words)),
            _ => Err((ErrorCode::NotController, None)),
        }
    }

    /// Who leads the quorum; [`NodeId::NONE`] while nobody is known to.
    pub fn leader(&self) -> NodeId {
        self.0.leadership.borrow().leader.unwrap_or(NodeId::NONE)
    }

    /// The finalized level of `kraft.version`, which registrations are held against.
    pub fn kraft_version(&self) -> i16 {
        self.0.published.borrow().kraft_version.level()
    }

    /// What is committed now.
    pub fn published(&self) -> Published {
        self.0.published.borrow().clone()
    }

    /// The last offset that is committed and published.
    pub fn committed(&self) -> Offset {
        self.0.published.borrow().last_offset
    }

    /// Follows what is committed. Intermediate states may be skipped; the delta between any two images is what
    /// happened between them.
    pub fn subscribe(&self) -> watch::Receiver<Published> {
        self.0.published.clone()
    }

    /// Ends the quorum's task: everything in the log is made durable, whoever waits is told to look elsewhere.
    pub async fn shutdown(&self) {
        let (caller, done) = oneshot::channel();
        if self.send(Event::Shutdown(caller)).await.is_ok() {
            // An error means that the task has ended, which is what was asked for.
            let _ = done.await;
        }
    }

    async fn send(&self, event: Event) -> Result<(), ErrorCode> {
        self.0.events.send(event).await.map_err(|_| ErrorCode::NotController)
    }
}

/// Puts the bytes of the disk that an answer means into it. Blocks.
fn with_bytes(host: &Host, log: &MetadataLog, answer: Answer) -> Result<Response<Bytes>, QuorumError> {
    let mut answer = answer;
    let mut bytes = Bytes::new();
    match answer.bytes().copied().unwrap_or(Piece::Empty) {
        Piece::Empty => {}
        Piece::Log { from, end, max_bytes } => {
            let wanted = u32::try_from(max_bytes).unwrap_or(0).min(MAX_READ_BYTES);
            // The log may have been cut since; then there is nothing to give.
            if from < log.log.view().end.min(end) {
                bytes = log.read(from, wanted)?;
            }
        }
        Piece::Snapshot { id, position, max_bytes } => {
            let path = snapshot_files::path_of(&log.path, id);
            let on_disk = QuorumError::disk(&path);
            let file = host.disk().open(&path, Open::Read).map_err(&on_disk)?;
            let size = file.len().map_err(&on_disk)?;
            let position = u64::try_from(position).unwrap_or(u64::MAX);
            if let Response::FetchSnapshot(response) = &mut answer {
                response.size = i64::try_from(size).unwrap_or(i64::MAX);
                if position >= size {
                    response.header.error = ErrorCode::PositionOutOfRange;
                }
            }
            if position < size {
                let wanted = u64::from(u32::try_from(max_bytes).unwrap_or(0).min(MAX_READ_BYTES));
                let mut piece = vec![0; wanted.min(size - position) as usize];
                file.read_exact_at(&mut piece, position).map_err(&on_disk)?;
                bytes = piece.into();
            }
        }
    }
    Ok(answer.map(|_| bytes))
}
