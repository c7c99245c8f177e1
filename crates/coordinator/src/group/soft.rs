//! Soft state: the world as last seen, and when to look again. Dies with the seat.

use super::consumer::{self, ConsumerSoft};
use std::collections::BTreeMap;

use ottla_base::Str;

use super::classic::LiveGroup;
use super::modern::topics::MetadataWatch;
use super::share::{self, ShareSoft};
use super::streams::{StreamsSoft, StreamsTimer};
use super::why::Why;
use crate::{Timers, World};

/// Why to look again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Something of a consumer group.
    Consumer(consumer::Due),
    /// Something of a share group.
    Share(share::Due),
    /// The join phase of a classic group ends.
    ClassicJoin(Str),
    /// Members of a classic group should have asked for their assignments.
    ClassicSync(Str),
    /// A member of a classic group should have reported.
    ClassicSession(Str, Str),
    /// Old offsets are to be looked for.
    OffsetExpiry,
    /// Something is due for a streams group.
    Streams(StreamsTimer),
}

/// What dies with the seat.
#[derive(Debug, Default)]
pub struct GroupSoft {
    /// The cluster as last seen; nothing before the first [`super::Request::SeeWorld`].
    pub(super) world: Option<World>,
    /// What groups know of their topics.
    pub(super) metadata: MetadataWatch,
    /// What is remembered of consumer groups.
    pub(super) consumer: ConsumerSoft,
    /// When to look at what.
    pub(super) timers: Timers<Timer>,
    /// Share groups.
    pub(super) share: ShareSoft,
    /// Classic groups that have members, or are about to.
    pub(super) classic: BTreeMap<Str, LiveGroup>,
    /// Why groups have rebalanced.
    pub(super) why: Why,
    /// Streams groups.
    pub(super) streams: StreamsSoft,
    /// What was done since the seat was taken.
    pub(super) counts: Counts,
}

/// What a seat has done, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Offsets that were committed, in transactions too.
    pub offset_commits: u64,
    /// Offsets that somebody deleted.
    pub offset_deletions: u64,
    /// Offsets that were too old.
    pub offset_expirations: u64,
    /// Rebalances of classic groups that led to an assignment.
    pub completed_rebalances: u64,
}
