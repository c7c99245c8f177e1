//! The machine's border: everything that may come in, and everything the shell is told to do, in order.

use bytes::Bytes;
use ottla_base::{LeaderEpoch, NodeId, Offset};

use crate::history::Membership;
use crate::ids::OffsetAndEpoch;
use crate::message::{Answer, Received, Request};
use crate::voters::{Address, KRaftVersion};

/// Names a request that waits for its answer; the shell chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

/// Names a request that was sent; comes back with its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Correlation(pub u64);

/// Stands for the end of the log when a flush was asked for, and for how often it had been cut by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushTicket {
    pub(crate) end: Offset,
    pub(crate) generation: u64,
}

/// Everything that may happen to a replica.
#[derive(Debug)]
pub enum Input {
    /// Time has passed; due when [`crate::Raft::deadline`] says so, harmless at any time.
    Tick,
    /// What the ticket stands for is on the disk (answers [`Action::Flush`]).
    Flushed(FlushTicket),
    /// A request came in.
    Request(Caller, Request),
    /// The caller hung up; no answer is needed.
    Hangup(Caller),
    /// A response came in.
    Response(Correlation, Received),
    /// A request got no response: it could not be sent, the connection broke, or it timed out.
    Unanswered(Correlation),
    /// The state machine that the log feeds wants these records appended, all in one batch, in the epoch it
    /// believes to lead. Nothing happens if that epoch is over. The values are whole record values.
    Propose {
        /// The epoch it was told it leads.
        epoch: LeaderEpoch,
        /// Record values.
        values: Vec<Bytes>,
    },
    /// The state machine wants `kraft.version` raised in the epoch it believes to lead.
    UpgradeKRaftVersion {
        /// Who waits for the answer; it comes when the record is in the log, not when it is committed.
        caller: Caller,
        /// The epoch it was told it leads.
        epoch: LeaderEpoch,
        /// The new level.
        version: KRaftVersion,
        /// Only asks whether it could be done.
        validate_only: bool,
    },
    /// A snapshot of committed records was written and is durable.
    SnapshotTaken(OffsetAndEpoch),
    /// Everything before this snapshot, which is kept, was deleted.
    LogCleaned(OffsetAndEpoch),
    /// A snapshot from the leader replaced the log (answers [`Action::InstallSnapshot`]); with what its control
    /// records say.
    SnapshotInstalled(OffsetAndEpoch, Membership),
    /// Give up leading this epoch.
    Resign(LeaderEpoch),
    /// The process wants to end: give up leading, stop standing for election.
    Shutdown,
}

/// Where a request goes. Bootstrap servers whose node is unknown have negative numbers, as in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The node, or a negative number.
    pub id: NodeId,
    /// Its address on the controller listener.
    pub address: Address,
}

/// Who leads which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaderAndEpoch {
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The epoch.
    pub epoch: LeaderEpoch,
}

/// What the shell must do. The order is binding, and each action must be done (or, for [`Action::Flush`],
/// started) before the next; a failure to do one ends the process.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write this text to `quorum-state` and make it durable before anything that follows leaves the process.
    PersistElection(String),
    /// Append this batch, whose offsets are already set, at the end of the log.
    Append {
        /// The batch; its first offset is the log's end.
        batch: Bytes,
        /// One past its last offset.
        end: Offset,
        /// Its epoch.
        epoch: LeaderEpoch,
    },
    /// Make the log durable up to its present end; say so with [`Input::Flushed`]. May overlap with what
    /// follows, and several may be done as one, answered with the last ticket.
    Flush(FlushTicket),
    /// Cut the log's end.
    Truncate(Offset),
    /// Write a piece of a snapshot from the leader into its partial file.
    WriteSnapshot {
        /// The snapshot.
        id: OffsetAndEpoch,
        /// Where the piece belongs; zero begins the file anew.
        position: i64,
        /// The piece.
        bytes: Bytes,
    },
    /// The partial file is whole: make it durable, give it its name, replace the log by it, and answer with
    /// [`Input::SnapshotInstalled`].
    InstallSnapshot(OffsetAndEpoch),
    /// Delete the partial file of a snapshot.
    DiscardSnapshot(OffsetAndEpoch),
    /// Everything in the log below this offset is committed for ever.
    Commit(Offset),
    /// Who leads has changed. If it is this replica, proposals may begin when everything below
    /// `epoch_start` has been applied.
    Leadership {
        /// Who leads which epoch.
        now: LeaderAndEpoch,
        /// Where the records of the epoch begin, if this replica leads it.
        epoch_start: Option<Offset>,
    },
    /// Send a request; exactly one [`Input::Response`] or [`Input::Unanswered`] must come back.
    Send {
        /// To whom.
        to: Peer,
        /// What comes back with the response.
        correlation: Correlation,
        /// What.
        request: Request,
    },
    /// Answer a request.
    Answer(Caller, Answer),
}
