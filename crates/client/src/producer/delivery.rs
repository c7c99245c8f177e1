//! What becomes of records: one place for each batch, which all of its records look at.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ottla_base::{Offset, PartitionIndex, Timestamp};
use parking_lot::Mutex;

use crate::cluster::TopicPartition;
use crate::error::Error;

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset; `None` if the broker does not tell: `acks=0`, or a repeat that it had long written.
    pub offset: Option<Offset>,
    /// When the record was made, or appended where the topic says so.
    pub timestamp: Timestamp,
}

/// What a batch was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) base_offset: Option<Offset>,
    pub(super) log_append_time: Option<Timestamp>,
}

/// What becomes of the records of a batch. A batch that was split is answered in parts.
#[derive(Debug)]
pub(super) struct Outcome {
    partition: TopicPartition,
    state: Mutex<OutcomeState>,
}

#[derive(Debug, Default)]
struct OutcomeState {
    /// The records of each part, as numbers within the batch, and what became of them.
    parts: Vec<(std::ops::Range<u32>, Result<Written, Error>)>,
    wakers: Vec<(u32, Waker)>,
}

/// What becomes of a record, to come. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "a record that may fail should be waited for"]
pub struct Delivery {
    pub(super) outcome: Arc<Outcome>,
    /// Which record of the batch.
    pub(super) number: u32,
    pub(super) timestamp: Timestamp,
}

impl Outcome {
    pub(super) fn new(partition: TopicPartition) -> Arc<Outcome> {
        Arc::new(Outcome { partition, state: Mutex::default() })
    }

    /// Tells what became of some records.
    pub(super) fn tell(&self, records: std::ops::Range<u32>, result: Result<Written, Error>) {
        let mut state = self.state.lock();
        let (ready, waiting) =
            std::mem::take(&mut state.wakers).into_iter().partition(|(number, _)| records.contains(number));
        state.wakers = waiting;
        state.parts.push((records, result));
        drop(state);
        let ready: Vec<(u32, Waker)> = ready;
        for (_, waker) in ready {
            waker.wake();
        }
    }
}

impl Delivery {
    /// The partition that the record goes to.
    pub fn partition(&self) -> &TopicPartition {
        &self.outcome.partition
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.outcome.state.lock();
        let Some((records, result)) = state.parts.iter().find(|(records, _)| records.contains(&self.number))
        else {
            match state.wakers.iter_mut().find(|(number, _)| *number == self.number) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => state.wakers.push((self.number, cx.waker().clone())),
            }
            return Poll::Pending;
        };
        Poll::Ready(result.clone().map(|written| RecordMetadata {
            partition: self.outcome.partition.partition,
            offset: written.base_offset.map(|base| base.after(i64::from(self.number - records.start))),
            timestamp: written.log_append_time.unwrap_or(self.timestamp),
        }))
    }
}
