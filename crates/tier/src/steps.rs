//! The steps in which a segment is copied and deleted, so that a stop between any two of them loses nothing.

use std::future::Future;

use ottla_base::{NodeId, Timestamp};

use crate::error::TierError;
use crate::records::Event;
use crate::segment::{SegmentMetadata, SegmentState, SegmentUpdate};
use crate::store::{SegmentData, Store};

/// Who writes records, and when it is.
pub trait Recorder: Sync {
    /// Why a record is not written.
    type Error: From<TierError> + Send;

    /// Writes a record; it is committed, and known, once this returns.
    fn record(&self, event: Event) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The time.
    fn now(&self) -> Timestamp;

    /// The broker that writes.
    fn broker(&self) -> NodeId;
}

/// How far a copy came that failed.
#[derive(Debug)]
pub struct CopyFailed<E> {
    /// Why.
    pub error: E,
    /// Why what it left behind is still there, if it is: a later look deletes it.
    pub left: Option<E>,
}

/// Copies a segment: says so, puts its objects, and says that they are there. If the store fails, what was put is
/// deleted, at once or later: later if the store does not answer.
pub async fn copy<R: Recorder>(
    recorder: &R,
    store: &Store,
    segment: &SegmentMetadata,
    data: &SegmentData,
) -> Result<(), CopyFailed<R::Error>> {
    let failed = |error| CopyFailed { error, left: None };
    recorder.record(Event::Added(segment.clone())).await.map_err(failed)?;
    if let Err(error) = store.put(segment, data).await {
        let left = match &error {
            TierError::Unanswered { .. } => Some(error.clone().into()),
            _ => delete(recorder, store, segment).await.err(),
        };
        return Err(CopyFailed { error: error.into(), left });
    }
    recorder.record(update(recorder, segment, SegmentState::CopyFinished)).await.map_err(failed)
}

/// Deletes a segment: says so, deletes its objects, and says that they are gone. May be begun again at any time.
pub async fn delete<R: Recorder>(
    recorder: &R,
    store: &Store,
    segment: &SegmentMetadata,
) -> Result<(), R::Error> {
    recorder.record(update(recorder, segment, SegmentState::DeleteStarted)).await?;
    store.delete(segment).await?;
    recorder.record(update(recorder, segment, SegmentState::DeleteFinished)).await
}

fn update<R: Recorder>(recorder: &R, segment: &SegmentMetadata, state: SegmentState) -> Event {
    Event::Updated(SegmentUpdate {
        id: segment.id.clone(),
        state,
        broker: recorder.broker(),
        recorded_at: recorder.now(),
        custom: segment.custom.clone(),
    })
}

#[cfg(test)]
mod tests;
