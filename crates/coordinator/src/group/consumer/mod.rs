//! Consumer groups: the coordinator assigns partitions (KIP-848, `ConsumerGroup`).
//!
//! | file | holds |
//! |---|---|
//! | `member`, `group` | hard state: what records say of a member and of a group, and what follows from it |
//! | `records` | how records are made, and what each means |
//! | `heartbeat` | a member joins, reports or leaves |
//! | `turn` | a group on its way through a decision |
//! | `subscription`, `regex` | what members want, and the group's epoch |
//! | `target` | what every member is to own |
//! | `reconcile` | a member's next step towards that |
//! | `fence` | members that are removed, and what is expected of members |
//! | `classic` | members that speak the classic protocol |
//! | `migration` | groups that become consumer groups, or classic ones |
//! | `describe` | what is told of a group, and who may commit in it |
//! | `soft` | what dies with the seat |

pub(super) mod classic;
mod describe;
mod fence;
mod group;
mod heartbeat;
mod member;
mod migration;
mod reconcile;
mod records;
mod regex;
mod soft;
mod subscription;
mod target;
#[cfg(test)]
mod tests;
mod turn;

pub(super) use describe::describe;
pub(super) use fence::{expect_members, fire};
pub(super) use group::ConsumerGroup;
pub(super) use heartbeat::heartbeat;
pub(super) use records::apply;
pub(super) use soft::{ConsumerSoft, Due};

pub use heartbeat::ConsumerGroupHeartbeat;
