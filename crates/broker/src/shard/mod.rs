//! Coordinators on their logs: a machine's seat on each partition of an internal topic that this broker leads.
//!
//! | file | holds |
//! |---|---|
//! | `kind` | what a coordinator is to the shell: its topic, its machine, its records as lines of a log |
//! | `shards` | all shards of one kind: taken and left as the metadata says, found by key, looked at when due |
//! | `seated` | one shard: asked on the caller's own task, decisions appended at once, answers when they are committed |
//! | `load` | a machine from its log |
//! | `pen` | decisions as batches |
//! | `asked` | an answer that is here or will come |
//! | `internal_topics` | the topics behind coordinators, made when they are needed |
//! | `coordinators` | every kind that this broker has |
//! | `groups` | groups and committed offsets |
//! | `share_states` | the state of share groups |
//! | `share_state_work` | what the group coordinator wants the share coordinator to keep and to forget |
//! | `transactions` | transactional ids and their transactions |
//! | `markers` | the markers that end transactions |
//!
//! A caller puts its request into the shard's inbox and then takes the shard, if nobody else has it; whoever has it
//! serves the whole inbox. So a decision costs no change of task, and requests that come together are appended as one
//! batch.
//!
//! Invariants: a shard belongs to one leader epoch; a request is answered when everything its answer tells of is
//! committed in that epoch; an append that fails, or lands elsewhere than expected, is the end of the seat.

mod asked;
mod coordinators;
mod groups;
mod internal_topics;
mod kind;
mod load;
mod markers;
mod pen;
mod seated;
mod shards;
mod share_state_work;
mod share_states;
mod transactions;

pub(crate) use asked::{Asked, Given, answer};
pub(crate) use coordinators::Coordinators;
pub(crate) use groups::Groups;
pub(crate) use internal_topics::{creatable as creatable_topic, ensure as ensure_internal_topic};
pub(crate) use kind::{Kind, Line, MarkerKind};
pub(crate) use markers::{Marked, Marker, append as append_marker};
pub(crate) use seated::Standing;
pub(crate) use shards::Shards;
pub(crate) use share_states::ShareStates;
pub(crate) use transactions::Transactions;
