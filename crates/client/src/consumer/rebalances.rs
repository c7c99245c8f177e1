//! Notices of what a group's sharing out means for a consumer: a stream that can be read anywhere, and that nobody
//! has to read.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot};

use super::offsets::Committed;
use crate::cluster::TopicPartition;

/// What happened to a consumer's partitions.
#[derive(Debug)]
pub enum Rebalance {
    /// These are fetched from now on.
    Assigned(BTreeSet<TopicPartition>),
    /// These are fetched no more. Others get them once the notice is dropped.
    Revoking(Revocation),
    /// These were taken away: others may have them already, so there is nothing to commit.
    Lost(BTreeSet<TopicPartition>),
}

/// Partitions that are about to be given up. While it exists, they still are this member's: what depends on them can
/// be brought to an end and committed. The group waits for it, though not beyond `max.poll.interval.ms`.
#[derive(Debug)]
pub struct Revocation {
    /// The partitions.
    pub partitions: BTreeSet<TopicPartition>,
    pub(super) release: Release,
}

impl Revocation {
    /// Lets the partitions go; dropping it does the same.
    pub fn done(self) {
        drop(self.release);
    }
}

/// Tells how far partitions were read, once dropped.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) read: Committed,
    pub(super) reply: Option<oneshot::Sender<Committed>>,
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            // Whoever does not wait any more has lost the partitions.
            let _ = reply.send(std::mem::take(&mut self.read));
        }
    }
}

/// How many notices are kept for a reader that does not read; those behind are dropped.
pub(super) const NOTICES_MAX: usize = 1024;

/// The notices of a consumer, in order.
#[derive(Debug)]
pub struct Rebalances {
    pub(super) notices: mpsc::Receiver<Rebalance>,
}

impl Rebalances {
    /// The next notice; `None` once the consumer has ended.
    pub async fn next(&mut self) -> Option<Rebalance> {
        self.notices.recv().await
    }

    /// The next notice, if there is one.
    pub fn try_next(&mut self) -> Option<Rebalance> {
        self.notices.try_recv().ok()
    }
}
