//! What replicas say to each other, free of wire versions: requests, responses, and what they share.

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset, Timestamp};

use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::voters::{Endpoints, Voter};

/// A request of the quorum's protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Asks for a vote or, before an epoch is spent on it, whether one would be given (KIP-595, KIP-996).
    Vote(Vote),
    /// A new leader makes itself known to a voter.
    BeginQuorumEpoch(BeginQuorumEpoch),
    /// A leader resigns and names its heirs.
    EndQuorumEpoch(EndQuorumEpoch),
    /// Pulls records behind the end of the sender's log.
    Fetch(Fetch),
    /// Pulls a piece of a snapshot (KIP-630).
    FetchSnapshot(FetchSnapshot),
    /// Asks for the state of the quorum (KIP-836).
    DescribeQuorum,
    /// Asks for one more voter (KIP-853).
    AddVoter(AddVoter),
    /// Asks for one voter less.
    RemoveVoter(RemoveVoter),
    /// A voter says where it listens and what it speaks.
    UpdateVoter(UpdateVoter),
    /// Asks which features a node speaks, before it becomes a voter.
    ApiVersions,
}

/// See [`Request::Vote`].
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// Whom the sender means; `None` from versions that do not say.
    pub voter: Option<ReplicaKey>,
    /// Who asks.
    pub candidate: ReplicaKey,
    /// The epoch it asks for; its present one in a pre-vote.
    pub epoch: LeaderEpoch,
    /// The end of its log.
    pub last: OffsetAndEpoch,
    /// Only asks, binds nobody.
    pub pre_vote: bool,
}

/// See [`Request::BeginQuorumEpoch`].
#[derive(Debug, Clone, PartialEq)]
pub struct BeginQuorumEpoch {
    /// Whom the sender means; `None` from versions that do not say.
    pub voter: Option<ReplicaKey>,
    /// The leader.
    pub leader: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Where the leader listens; empty from versions that do not say.
    pub endpoints: Endpoints,
}

/// See [`Request::EndQuorumEpoch`].
#[derive(Debug, Clone, PartialEq)]
pub struct EndQuorumEpoch {
    /// The leader that resigns.
    pub leader: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Who should stand for election, the most caught up first.
    pub successors: Vec<ReplicaKey>,
    /// Where the leader listens; empty from versions that do not say.
    pub endpoints: Endpoints,
}

/// See [`Request::Fetch`].
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// Who asks; a negative node is a reader that is no replica.
    pub replica: ReplicaKey,
    /// The epoch it believes in.
    pub epoch: LeaderEpoch,
    /// The end of its log; everything before is on its disk.
    pub from: OffsetAndEpoch,
    /// The high watermark it knows; -1 if none.
    pub high_watermark: Offset,
    /// How long it is willing to wait for records.
    pub max_wait_ms: i32,
    /// How many bytes of records it takes.
    pub max_bytes: i32,
}

/// See [`Request::FetchSnapshot`].
#[derive(Debug, Clone, PartialEq)]
pub struct FetchSnapshot {
    /// Who asks.
    pub replica: ReplicaKey,
    /// The epoch it believes in.
    pub epoch: LeaderEpoch,
    /// The snapshot.
    pub snapshot: OffsetAndEpoch,
    /// From which byte on.
    pub position: i64,
    /// How many bytes it takes.
    pub max_bytes: i32,
}

/// See [`Request::AddVoter`].
#[derive(Debug, Clone, PartialEq)]
pub struct AddVoter {
    /// The new voter.
    pub voter: ReplicaKey,
    /// Where it listens.
    pub endpoints: Endpoints,
    /// Whether to answer only when the change is committed; otherwise as soon as it is in the leader's log.
    pub ack_when_committed: bool,
}

/// See [`Request::RemoveVoter`].
#[derive(Debug, Clone, PartialEq)]
pub struct RemoveVoter {
    /// The voter to remove.
    pub voter: ReplicaKey,
}

/// See [`Request::UpdateVoter`].
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateVoter {
    /// The epoch the voter believes in.
    pub epoch: LeaderEpoch,
    /// The voter as it is.
    pub voter: Voter,
}

/// What every response says of the leader.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The refusal, or none.
    pub error: ErrorCode,
    /// The leader that the answering replica knows.
    pub leader: Option<NodeId>,
    /// The epoch of the answering replica.
    pub epoch: LeaderEpoch,
    /// Where the leader listens, as far as known.
    pub endpoints: Endpoints,
}

/// A response of the quorum's protocol. `B` is [`Bytes`] where it comes in; where it goes out it says which
/// bytes of the disk are meant ([`Piece`]).
#[derive(Debug, Clone, PartialEq)]
pub enum Response<B> {
    /// The request as a whole was refused; nothing is said of the leader.
    Refused(ErrorCode),
    /// To [`Request::Vote`].
    Vote {
        /// Error and leader.
        header: Header,
        /// Whether the vote is given.
        granted: bool,
    },
    /// To [`Request::BeginQuorumEpoch`].
    BeginQuorumEpoch(Header),
    /// To [`Request::EndQuorumEpoch`].
    EndQuorumEpoch(Header),
    /// To [`Request::Fetch`].
    Fetch(FetchResponse<B>),
    /// To [`Request::FetchSnapshot`].
    FetchSnapshot(FetchSnapshotResponse<B>),
    /// To [`Request::DescribeQuorum`].
    DescribeQuorum(Result<QuorumInfo, ErrorCode>),
    /// To [`Request::AddVoter`]: the refusal or none, and words about it.
    AddVoter(ErrorCode, Option<String>),
    /// To [`Request::RemoveVoter`]: the refusal or none, and words about it.
    RemoveVoter(ErrorCode, Option<String>),
    /// To [`Request::UpdateVoter`].
    UpdateVoter(Header),
    /// To [`crate::Input::UpgradeKRaftVersion`]: the refusal or none, and words about it.
    UpgradeKRaftVersion(ErrorCode, Option<String>),
    /// To [`Request::ApiVersions`]: the lowest and highest `kraft.version` the node speaks, if it names any.
    ApiVersions(Option<(i16, i16)>),
}

/// See [`Response::Fetch`].
#[derive(Debug, Clone, PartialEq)]
pub struct FetchResponse<B> {
    /// Error and leader.
    pub header: Header,
    /// The leader's high watermark; -1 while it does not know its own.
    pub high_watermark: Offset,
    /// Where the leader's log begins.
    pub log_start: Offset,
    /// Records, or why there cannot be any.
    pub body: FetchBody<B>,
}

/// What a fetch yields.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchBody<B> {
    /// Whole batches from the asked offset on; possibly none.
    Records(B),
    /// The logs differ: truncate at this place and ask again.
    Diverging(OffsetAndEpoch),
    /// The records are gone: fetch this snapshot.
    Snapshot(OffsetAndEpoch),
}

/// See [`Response::FetchSnapshot`].
#[derive(Debug, Clone, PartialEq)]
pub struct FetchSnapshotResponse<B> {
    /// Error and leader.
    pub header: Header,
    /// The snapshot.
    pub snapshot: OffsetAndEpoch,
    /// Its size in bytes.
    pub size: i64,
    /// Where the piece begins.
    pub position: i64,
    /// The piece.
    pub bytes: B,
}

/// Bytes of the disk that belong into a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// None.
    Empty,
    /// Whole batches of the log from `from` on: at least the first, further ones up to `max_bytes`, never
    /// behind `end`.
    Log {
        /// The first offset.
        from: Offset,
        /// One past the last offset that may be read.
        end: Offset,
        /// How many bytes at most.
        max_bytes: i32,
    },
    /// Bytes of a snapshot; the shell knows its size, refuses a position outside of it, and fills in
    /// [`FetchSnapshotResponse::size`].
    Snapshot {
        /// The snapshot.
        id: OffsetAndEpoch,
        /// The first byte.
        position: i64,
        /// How many bytes at most.
        max_bytes: i32,
    },
}

/// The state of the quorum as its leader sees it (KIP-836, KIP-853).
#[derive(Debug, Clone, PartialEq)]
pub struct QuorumInfo {
    /// The leader, which answers.
    pub leader: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// The high watermark; -1 while it is not known.
    pub high_watermark: Offset,
    /// The voters.
    pub voters: Vec<ReplicaInfo>,
    /// Who else fetches.
    pub observers: Vec<ReplicaInfo>,
    /// Where the voters listen.
    pub nodes: Vec<(NodeId, Endpoints)>,
}

/// A replica as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaInfo {
    /// The replica.
    pub key: ReplicaKey,
    /// The end of its log; -1 if it has not fetched.
    pub log_end: Offset,
    /// When it last fetched; -1 if never.
    pub last_fetch: Timestamp,
    /// When it last had everything the leader had; -1 if never.
    pub last_caught_up: Timestamp,
}

impl<B> Response<B> {
    /// The response with its bytes in another form.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Response<C> {
        match self {
            Response::Refused(error) => Response::Refused(error),
            Response::Vote { header, granted } => Response::Vote { header, granted },
            Response::BeginQuorumEpoch(header) => Response::BeginQuorumEpoch(header),
            Response::EndQuorumEpoch(header) => Response::EndQuorumEpoch(header),
            Response::Fetch(FetchResponse { header, high_watermark, log_start, body }) => {
                let body = match body {
                    FetchBody::Records(bytes) => FetchBody::Records(change(bytes)),
                    FetchBody::Diverging(place) => FetchBody::Diverging(place),
                    FetchBody::Snapshot(id) => FetchBody::Snapshot(id),
                };
                Response::Fetch(FetchResponse { header, high_watermark, log_start, body })
            }
            Response::FetchSnapshot(FetchSnapshotResponse { header, snapshot, size, position, bytes }) => {
                let bytes = change(bytes);
                Response::FetchSnapshot(FetchSnapshotResponse { header, snapshot, size, position, bytes })
            }
            Response::DescribeQuorum(info) => Response::DescribeQuorum(info),
            Response::AddVoter(error, words) => Response::AddVoter(error, words),
            Response::RemoveVoter(error, words) => Response::RemoveVoter(error, words),
            Response::UpdateVoter(header) => Response::UpdateVoter(header),
            Response::UpgradeKRaftVersion(error, words) => Response::UpgradeKRaftVersion(error, words),
            Response::ApiVersions(levels) => Response::ApiVersions(levels),
        }
    }

    /// Which bytes of the disk belong into the response.
    pub fn bytes(&self) -> Option<&B> {
        match self {
            Response::Fetch(FetchResponse { body: FetchBody::Records(bytes), .. }) => Some(bytes),
            Response::FetchSnapshot(FetchSnapshotResponse { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }
}

/// A response as it came in.
pub type Received = Response<Bytes>;
/// A response as it goes out.
pub type Answer = Response<Piece>;
