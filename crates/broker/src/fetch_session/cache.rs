//! The bounded set of live sessions, and who makes room for whom.

use std::time::Duration;

use ottla_base::{ErrorCode, FastMap, Moment};
use parking_lot::Mutex;

use super::{FINAL_EPOCH, INITIAL_EPOCH, Kind, NO_SESSION, Opened, Session, SessionRequest};

/// How many sessions may live, and how long an unused one is safe.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// `max.incremental.fetch.session.cache.slots`
    pub slots: usize,
    /// How long a session must have been unused, or must have lived, before another may take its place.
    pub eviction_after: Duration,
}

/// All live sessions of a broker.
pub struct SessionCache {
    limits: SessionLimits,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: FastMap<i32, Slot>,
    evictions: u64,
}

struct Slot {
    /// Absent while a request reads through it.
    session: Option<Session>,
    /// What [`Session::len`] and the session's epoch were when it was put back.
    len: usize,
    epoch: i32,
    uses_topic_ids: bool,
    privileged: bool,
    created_at: Moment,
    used_at: Moment,
}

/// What the metrics say of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCounts {
    /// `NumIncrementalFetchSessions`
    pub sessions: usize,
    /// `NumIncrementalFetchPartitionsCached`
    pub partitions: usize,
    /// `IncrementalFetchSessionEvictionsPerSec`
    pub evictions: u64,
}

impl SessionCache {
    /// An empty cache.
    pub fn new(limits: SessionLimits) -> SessionCache {
        SessionCache { limits, inner: Mutex::default() }
    }

    /// Finds or begins the session of a request and brings it up to date.
    ///
    /// Refuses with `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH` or
    /// `FETCH_SESSION_TOPIC_ID_ERROR`.
    pub fn open(&self, request: SessionRequest) -> Result<Opened, ErrorCode> {
        let now = request.now;
        if request.session_epoch == INITIAL_EPOCH || request.session_epoch == FINAL_EPOCH {
            if request.session_id != NO_SESSION {
                self.inner.lock().sessions.remove(&request.session_id);
            }
            if request.session_epoch == FINAL_EPOCH {
                return Ok(Opened::once(request.wanted, now));
            }
            let mut session = Session::new(request.uses_topic_ids);
            request.wanted.into_iter().for_each(|(key, wanted)| session.want(key, wanted));
            let kind = Kind::Full { privileged: request.privileged };
            return Ok(Opened { session: Some(session), once: Vec::new(), kind, opened_at: now });
        }
        let (mut session, kind) = self.take(&request)?;
        request.forgotten.iter().for_each(|key| session.forget(key));
        request.wanted.into_iter().for_each(|(key, wanted)| session.want(key, wanted));
        if session.is_empty() {
            self.inner.lock().sessions.remove(&session.id);
            return Ok(Opened::once(Vec::new(), now));
        }
        session.epoch = epoch_after(session.epoch);
        Ok(Opened { session: Some(session), once: Vec::new(), kind, opened_at: now })
    }

    fn take(&self, request: &SessionRequest) -> Result<(Session, Kind), ErrorCode> {
        let mut inner = self.inner.lock();
        let slot = inner.sessions.get_mut(&request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if slot.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if slot.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        slot.used_at = request.now;
        // A second request of the same epoch while the first is under way carries a used epoch.
        let session = slot.session.take().ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        slot.epoch = epoch_after(slot.epoch);
        Ok((session, Kind::Incremental { privileged: slot.privileged, created_at: slot.created_at }))
    }

    /// Puts the session back, or begins it, and returns the id that the answer carries.
    ///
    /// `fresh_id` draws a random positive id.
    pub fn close(&self, opened: Opened, mut fresh_id: impl FnMut() -> i32) -> i32 {
        let Opened { session, kind, opened_at, .. } = opened;
        let Some(mut session) = session else { return NO_SESSION };
        let mut inner = self.inner.lock();
        match kind {
            Kind::Sessionless => NO_SESSION,
            Kind::Full { privileged } => {
                if !inner.make_room(self.limits, privileged, session.len(), opened_at) {
                    return NO_SESSION;
                }
                let id = loop {
                    let id = fresh_id();
                    if id > NO_SESSION && !inner.sessions.contains_key(&id) {
                        break id;
                    }
                };
                session.id = id;
                session.epoch = epoch_after(INITIAL_EPOCH);
                inner.put(session, privileged, opened_at, opened_at);
                id
            }
            Kind::Incremental { privileged, created_at } => {
                let id = session.id;
                // It may have been evicted or closed in the meantime; then it stays gone.
                if inner.sessions.contains_key(&id) {
                    inner.put(session, privileged, created_at, opened_at);
                }
                id
            }
        }
    }

    /// For the metrics.
    pub fn counts(&self) -> SessionCounts {
        let inner = self.inner.lock();
        SessionCounts {
            sessions: inner.sessions.len(),
            partitions: inner.sessions.values().map(|it| it.len).sum(),
            evictions: inner.evictions,
        }
    }
}

impl Inner {
    fn put(&mut self, session: Session, privileged: bool, created_at: Moment, used_at: Moment) {
        let slot = Slot {
            len: session.len(),
            epoch: session.epoch,
            uses_topic_ids: session.uses_topic_ids,
            privileged,
            created_at,
            used_at,
            session: Some(session),
        };
        if let Some(id) = slot.session.as_ref().map(|it| it.id) {
            self.sessions.insert(id, slot);
        }
    }

    /// Whether there is a free slot, evicting a stale or a smaller session if need be.
    fn make_room(&mut self, limits: SessionLimits, privileged: bool, len: usize, now: Moment) -> bool {
        if self.sessions.len() < limits.slots {
            return true;
        }
        let stale = |it: &Slot| now.since(it.used_at) > limits.eviction_after;
        let old = |it: &Slot| now.since(it.created_at) > limits.eviction_after;
        let longest_unused = self.sessions.iter().min_by_key(|(id, it)| (it.used_at, **id));
        let victim = longest_unused.filter(|(_, it)| stale(it)).or_else(|| {
            let weaker = |it: &&Slot| (it.privileged, it.len) < (privileged, len);
            let candidates = self.sessions.iter().filter(|(_, it)| weaker(it));
            let candidates = candidates.filter(|(_, it)| old(it) || (privileged && !it.privileged));
            candidates.min_by_key(|(id, it)| (it.privileged, it.len, **id))
        });
        let Some(victim) = victim.map(|(id, _)| *id) else {
            return false;
        };
        self.sessions.remove(&victim);
        self.evictions += 1;
        true
    }
}

/// Epochs wrap to 1: 0 asks for a new session.
pub(super) fn epoch_after(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}
