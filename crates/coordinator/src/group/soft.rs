//! Soft state: the world as last seen, and when to look again. Dies with the seat.

use super::modern::topics::MetadataWatch;
use crate::{Timers, World};

/// Why to look again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {}

/// What dies with the seat.
#[derive(Debug, Default)]
pub struct GroupSoft {
    /// The cluster as last seen; nothing before the first [`super::Request::SeeWorld`].
    pub(super) world: Option<World>,
    /// What groups know of their topics.
    pub(super) metadata: MetadataWatch,
    /// When to look at what.
    pub(super) timers: Timers<Timer>,
}
