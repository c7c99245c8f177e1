//! Requests to a store. Each ends: with its answer, or because its time is over.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use object_store::path::Path;
use ottla_host::Host;

use crate::error::TierError;

/// How long a request may take unless told otherwise, with what a cloud's client tries again within it.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// As many requests whose time is over may still be under way before no more are begun.
pub(crate) const OVERDUE_MAX: u64 = 64;

/// What a store is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To take an object, or a part of one.
    Put,
    /// For bytes of a segment.
    Read,
    /// For an index of a segment.
    Index,
    /// To delete an object, or parts that belong to none.
    Delete,
}

impl Operation {
    /// Every one, in the order of [`Unanswered`].
    pub const ALL: [Operation; 4] = [Operation::Put, Operation::Read, Operation::Index, Operation::Delete];

    /// Its name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Read => "read",
            Operation::Index => "index",
            Operation::Delete => "delete",
        }
    }
}

/// What becomes of a request that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It ends: its connection is closed.
    Ends,
    /// It goes on: a thread is in a call of the operating system that cannot be broken off.
    GoesOn,
}

/// Requests whose time was over, by operation.
pub type Unanswered = [u64; Operation::ALL.len()];

#[derive(Debug, Default)]
struct Counts {
    under_way: AtomicU64,
    overdue: AtomicU64,
    unanswered: [AtomicU64; Operation::ALL.len()],
}

/// The requests to one store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests {
    host: Host,
    limit: Duration,
    abandoned: Abandoned,
    counts: Arc<Counts>,
}

impl Requests {
    pub(crate) fn new(host: &Host, abandoned: Abandoned) -> Requests {
        Requests { host: host.clone(), limit: REQUEST_LIMIT, abandoned, counts: Arc::default() }
    }

    pub(crate) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Those that somebody waits for.
    pub(crate) fn under_way(&self) -> u64 {
        self.counts.under_way.load(Relaxed)
    }

    /// Those whose time was over.
    pub(crate) fn unanswered(&self) -> Unanswered {
        std::array::from_fn(|at| self.counts.unanswered[at].load(Relaxed))
    }

    /// Waits for the answer to a request, as long as it may take.
    pub(crate) async fn wait<T: Send + 'static>(
        &self,
        operation: Operation,
        object: &Path,
        request: impl Future<Output = Result<T, TierError>> + Send + 'static,
    ) -> Result<T, TierError> {
        let overdue = self.counts.overdue.load(Relaxed);
        if overdue >= OVERDUE_MAX {
            return Err(TierError::Store(format!(
                "{overdue} requests are not answered yet, though long overdue"
            )));
        }
        let _under_way = UnderWay::begin(&self.counts);
        let mut request = Box::pin(request);
        if let Ok(answer) = self.host.timeout(self.limit, &mut request).await {
            return answer;
        }
        self.counts.unanswered[operation as usize].fetch_add(1, Relaxed);
        if self.abandoned == Abandoned::GoesOn {
            let counts = self.counts.clone();
            counts.overdue.fetch_add(1, Relaxed);
            self.host.spawn(async move {
                // Whatever it brings is too late.
                drop(request.await);
                counts.overdue.fetch_sub(1, Relaxed);
            });
        }
        let (operation, object) = (operation.name(), object.to_string());
        Err(TierError::Unanswered { operation, object, limit: self.limit })
    }
}

/// Counts a request as long as somebody waits for it.
struct UnderWay<'a>(&'a Counts);

impl<'a> UnderWay<'a> {
    fn begin(counts: &'a Counts) -> UnderWay<'a> {
        counts.under_way.fetch_add(1, Relaxed);
        UnderWay(counts)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
