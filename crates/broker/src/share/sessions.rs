//! Share sessions: which partitions a member of a share group fetches, and where it is in the conversation
//! (`ShareSession`, `ShareSessionCache`, `ShareSessionContext`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ottla_base::{ErrorCode, FastMap, Str, Uuid};
use parking_lot::Mutex;

/// The epoch that begins a session.
pub(crate) const INITIAL_EPOCH: i32 = 0;
/// The epoch that ends a session.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// Whose session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    /// The share group.
    pub group: Str,
    /// The member.
    pub member: Str,
}

/// The connection that a session began on, which it does not survive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    /// The listener.
    pub listener: Str,
    /// The client's end.
    pub peer: SocketAddr,
}

/// The most partitions of one session.
const MAX_PARTITIONS: usize = 100_000;

/// A partition by its topic's id.
pub(crate) type TopicPartitionId = (Uuid, i32);

/// What a share fetch says of its session.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    /// Whose session.
    pub key: SessionKey,
    /// Where the member is.
    pub epoch: i32,
    /// Partitions to fetch from now on.
    pub added: Vec<TopicPartitionId>,
    /// Partitions not to fetch from now on.
    pub forgotten: Vec<TopicPartitionId>,
    /// Whether it acknowledges anything, which nobody can who has no session yet.
    pub acknowledges: bool,
    /// Where it came in.
    pub connection: ConnectionKey,
}

/// What a share fetch is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A session has begun.
    New {
        /// Its partitions.
        partitions: Vec<TopicPartitionId>,
    },
    /// A session goes on.
    Goes {
        /// The epoch it must still have when the answer is given.
        next_epoch: i32,
        /// Its partitions.
        partitions: Vec<TopicPartitionId>,
    },
    /// A session is to end, once all is said.
    Ends,
}

impl Opened {
    /// The partitions to fetch from.
    pub(crate) fn partitions(&self) -> &[TopicPartitionId] {
        match self {
            Opened::New { partitions } | Opened::Goes { partitions, .. } => partitions,
            Opened::Ends => &[],
        }
    }
}

/// A session that is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whose it was.
    pub key: SessionKey,
    /// Its partitions.
    pub partitions: Vec<TopicPartitionId>,
}

/// What the end of a connection leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Disconnected {
    /// The session that ended with it.
    pub ended: Option<Ended>,
    /// The group that has nobody left here.
    pub empty_group: Option<Str>,
}

struct Session {
    epoch: i32,
    connection: ConnectionKey,
    /// Whether the next answer must mention the partition whatever there is to say.
    partitions: BTreeMap<TopicPartitionId, Mention>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mention {
    WithRecords,
    Always,
}

/// What the metrics say of the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    /// `ShareSessionsCount`
    pub sessions: usize,
    /// `SharePartitionsCount`
    pub partitions: usize,
    /// `ShareSessionEvictionsPerSec`
    pub evictions: u64,
}

/// The sessions of one broker.
#[derive(Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: FastMap<SessionKey, Session>,
    members: FastMap<Str, usize>,
    connections: FastMap<ConnectionKey, SessionKey>,
    /// How many sessions ended with their connections.
    evictions: u64,
}

impl Sessions {
    /// Begins, continues or is about to end a session; at most `limit` of them live
    /// (`group.share.max.share.sessions`).
    pub(crate) fn open(&self, request: SessionRequest, limit: usize) -> Result<Opened, ErrorCode> {
        let mut inner = self.inner.lock();
        match request.epoch {
            FINAL_EPOCH if inner.sessions.contains_key(&request.key) => Ok(Opened::Ends),
            FINAL_EPOCH => Err(ErrorCode::ShareSessionNotFound),
            INITIAL_EPOCH => inner.begin(request, limit),
            _ => inner.go_on(request),
        }
    }

    /// A share acknowledgement moves its session on.
    pub(crate) fn acknowledge(&self, key: &SessionKey, epoch: i32) -> Result<(), ErrorCode> {
        if epoch == INITIAL_EPOCH {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        let mut inner = self.inner.lock();
        let session = inner.sessions.get_mut(key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch == FINAL_EPOCH {
            return Ok(());
        }
        session.move_on(epoch)
    }

    /// Which partitions an answer has to mention, of those that it could: `mentions` tells of each whether it has
    /// records, and whether something is wrong with it. Refuses if the session has moved on meanwhile.
    pub(crate) fn answer(
        &self,
        key: &SessionKey,
        opened: &Opened,
        mentions: &[(TopicPartitionId, Found)],
    ) -> Result<Vec<bool>, ErrorCode> {
        let Opened::Goes { next_epoch, .. } = opened else { return Ok(vec![true; mentions.len()]) };
        let mut inner = self.inner.lock();
        let Some(session) = inner.sessions.get_mut(key) else { return Ok(vec![true; mentions.len()]) };
        if session.epoch != *next_epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        let mentioned = mentions.iter().map(|(partition, found)| {
            let Some(mention) = session.partitions.get_mut(partition) else { return true };
            let before = std::mem::replace(
                mention,
                if *found == Found::Wrong { Mention::Always } else { Mention::WithRecords },
            );
            *found != Found::Nothing || before == Mention::Always
        });
        Ok(mentioned.collect())
    }

    /// Ends a session. Nothing if there is none.
    pub(crate) fn end(&self, key: &SessionKey) -> Option<Ended> {
        self.inner.lock().end(key)
    }

    /// A connection is over.
    pub(crate) fn disconnected(&self, connection: &ConnectionKey) -> Disconnected {
        let mut inner = self.inner.lock();
        let Some(key) = inner.connections.remove(connection) else { return Disconnected::default() };
        let is_its = inner.sessions.get(&key).is_some_and(|it| it.connection == *connection);
        let ended = if is_its { inner.end(&key) } else { None };
        inner.evictions += u64::from(ended.is_some());
        let is_empty = inner.members.get(&key.group).is_none_or(|count| *count == 0);
        if is_empty {
            inner.members.remove(&key.group);
        }
        Disconnected { ended, empty_group: is_empty.then_some(key.group) }
    }

    /// What the metrics say.
    pub(crate) fn counts(&self) -> SessionCounts {
        let inner = self.inner.lock();
        SessionCounts {
            sessions: inner.sessions.len(),
            partitions: inner.sessions.values().map(|it| it.partitions.len()).sum(),
            evictions: inner.evictions,
        }
    }
}

/// What was found of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Records.
    Records,
    /// Nothing.
    Nothing,
    /// An error.
    Wrong,
}

impl Inner {
    fn begin(&mut self, request: SessionRequest, limit: usize) -> Result<Opened, ErrorCode> {
        if request.acknowledges || request.added.len() > MAX_PARTITIONS {
            return Err(ErrorCode::InvalidRequest);
        }
        self.end(&request.key);
        if self.sessions.len() >= limit {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        let key = SessionKey { group: request.key.group.detached(), member: request.key.member.detached() };
        let partitions: BTreeMap<_, _> = request.added.iter().map(|it| (*it, Mention::WithRecords)).collect();
        let opened = Opened::New { partitions: partitions.keys().copied().collect() };
        *self.members.entry(key.group.clone()).or_insert(0) += 1;
        self.connections.insert(request.connection.clone(), key.clone());
        let session = Session { epoch: next(INITIAL_EPOCH), connection: request.connection, partitions };
        self.sessions.insert(key, session);
        Ok(opened)
    }

    fn go_on(&mut self, request: SessionRequest) -> Result<Opened, ErrorCode> {
        let session = self.sessions.get_mut(&request.key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if session.partitions.len() + request.added.len() > MAX_PARTITIONS {
            return Err(ErrorCode::InvalidRequest);
        }
        session.move_on(request.epoch)?;
        for partition in request.added {
            session.partitions.entry(partition).or_insert(Mention::Always);
        }
        for partition in request.forgotten {
            session.partitions.remove(&partition);
        }
        let partitions = session.partitions.keys().copied().collect();
        Ok(Opened::Goes { next_epoch: session.epoch, partitions })
    }

    fn end(&mut self, key: &SessionKey) -> Option<Ended> {
        let (key, session) = self.sessions.remove_entry(key)?;
        if let Some(count) = self.members.get_mut(&key.group) {
            *count = count.saturating_sub(1);
        }
        Some(Ended { key, partitions: session.partitions.into_keys().collect() })
    }
}

impl Session {
    fn move_on(&mut self, epoch: i32) -> Result<(), ErrorCode> {
        if self.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        self.epoch = next(epoch);
        Ok(())
    }
}

/// The epoch after `epoch` (`ShareRequestMetadata.nextEpoch`).
fn next(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        epoch => epoch + 1,
    }
}

#[cfg(test)]
mod tests;
