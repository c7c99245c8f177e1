//! Incremental fetch sessions (KIP-227): what a reader asked for before and what it was told last.
//!
//! A session keeps the partitions of a reader between requests, so that a request names only what changed
//! and an answer only what moved. Nothing here reads a log or a clock.

mod cache;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, FastMap, Moment, Str, Uuid};

pub use cache::{SessionCache, SessionLimits};

/// The session id that stands for no session.
pub const NO_SESSION: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that asks for an answer without a session, closing the one named.
const FINAL_EPOCH: i32 = -1;

/// A partition as a fetch names it: by topic id from version 13 on, by name before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic's name; empty when the reader uses ids.
    pub topic: Str,
    /// The topic's id; zero when the reader uses names.
    pub topic_id: Uuid,
    /// The partition's index.
    pub index: i32,
}

/// What a reader wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The first offset to read.
    pub fetch_offset: i64,
    /// The most bytes to read.
    pub max_bytes: i32,
    /// The leader epoch that the reader knows, or -1.
    pub current_leader_epoch: i32,
    /// The epoch of the last record the reader has, or -1.
    pub last_fetched_epoch: i32,
    /// A follower's log start offset, or -1.
    pub log_start_offset: i64,
}

/// What the reader was told last of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start_offset: i64,
}

/// What an answer is about to say of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The refusal, if any.
    pub error: ErrorCode,
    /// How many bytes of records are in the answer.
    pub records_len: usize,
    /// The high watermark.
    pub high_watermark: i64,
    /// The log start offset.
    pub log_start_offset: i64,
    /// Whether something else must be told: a diverging epoch, a preferred read replica.
    pub has_more: bool,
}

#[derive(Debug)]
struct Tracked {
    /// The place in the reading order.
    turn: u64,
    wanted: Wanted,
    told: Option<Told>,
}

/// The partitions of one reader, in the order in which they take turns.
#[derive(Debug)]
pub struct Session {
    id: i32,
    /// The epoch that the next request must carry.
    epoch: i32,
    uses_topic_ids: bool,
    tracked: FastMap<PartitionKey, Tracked>,
    turns: BTreeMap<u64, PartitionKey>,
    next_turn: u64,
}

impl Session {
    fn new(uses_topic_ids: bool) -> Session {
        Session {
            id: NO_SESSION,
            epoch: INITIAL_EPOCH,
            uses_topic_ids,
            tracked: FastMap::default(),
            turns: BTreeMap::new(),
            next_turn: 0,
        }
    }

    /// How many partitions the session has.
    pub fn len(&self) -> usize {
        self.tracked.len()
    }

    /// Whether the session has no partition.
    pub fn is_empty(&self) -> bool {
        self.tracked.is_empty()
    }

    fn want(&mut self, key: PartitionKey, wanted: Wanted) {
        if let Some(tracked) = self.tracked.get_mut(&key) {
            tracked.wanted = wanted;
            return;
        }
        // A session outlives the frame that named the topic.
        let key = PartitionKey { topic: key.topic.detached(), ..key };
        let turn = self.take_turn(&key);
        self.tracked.insert(key, Tracked { turn, wanted, told: None });
    }

    fn take_turn(&mut self, key: &PartitionKey) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, key.clone());
        turn
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(tracked) = self.tracked.remove(key) {
            self.turns.remove(&tracked.turn);
        }
    }

    /// What the reader wants, in reading order.
    pub fn wanted(&self) -> impl Iterator<Item = (&PartitionKey, &Wanted)> {
        self.turns.values().filter_map(|key| self.tracked.get(key).map(|it| (key, &it.wanted)))
    }

    /// Notes what an answer says of a partition, and decides whether it must be in an incremental answer.
    fn answer(&mut self, key: &PartitionKey, answered: Answered) -> bool {
        let Some(tracked) = self.tracked.get_mut(key) else {
            return true;
        };
        let told =
            Told { high_watermark: answered.high_watermark, log_start_offset: answered.log_start_offset };
        let moved = tracked.told != Some(told);
        let failed = !answered.error.is_none();
        // After a refusal the next answer repeats everything, as Kafka's cached partition does.
        tracked.told = if failed { None } else { Some(told) };
        moved || failed || answered.records_len > 0 || answered.has_more
    }

    /// Lets all others read before this partition.
    fn go_to_end(&mut self, key: &PartitionKey) {
        let Some(tracked) = self.tracked.get(key) else { return };
        let turn = tracked.turn;
        self.turns.remove(&turn);
        let turn = self.take_turn(key);
        if let Some(tracked) = self.tracked.get_mut(key) {
            tracked.turn = turn;
        }
    }
}

/// What a fetch request says of its session.
pub struct SessionRequest {
    /// The session named, or [`NO_SESSION`].
    pub session_id: i32,
    /// The epoch of the request within the session.
    pub session_epoch: i32,
    /// Whether partitions are named by topic id.
    pub uses_topic_ids: bool,
    /// Whether a follower asks: its session is evicted last.
    pub privileged: bool,
    /// What is wanted newly or anew.
    pub wanted: Vec<(PartitionKey, Wanted)>,
    /// What is no longer wanted.
    pub forgotten: Vec<PartitionKey>,
    /// The time of the request.
    pub now: Moment,
}

/// The session that a request reads through, taken out of the cache while the request runs.
pub struct Opened {
    /// Absent where the answer leaves no session.
    session: Option<Session>,
    /// What is wanted just this once, without repeats.
    once: Vec<(PartitionKey, Wanted)>,
    kind: Kind,
    opened_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The answer names every partition and leaves no session.
    Sessionless,
    /// The answer names every partition and begins a session if there is room.
    Full { privileged: bool },
    /// The answer names what moved.
    Incremental { privileged: bool, created_at: Moment },
}

impl Opened {
    /// A request that reads through no session.
    fn once(wanted: Vec<(PartitionKey, Wanted)>, opened_at: Moment) -> Opened {
        Opened { session: None, once: without_repeats(wanted), kind: Kind::Sessionless, opened_at }
    }

    /// What the reader wants, in reading order.
    pub fn wanted(&self) -> impl Iterator<Item = (&PartitionKey, &Wanted)> {
        let once = self.once.iter().map(|(key, wanted)| (key, wanted));
        self.session.iter().flat_map(Session::wanted).chain(once)
    }

    /// Notes what the answer says of a partition; whether it must be in it. A partition that gave records to an
    /// incremental answer goes to the end of the reading order, so that none starves; a full answer leaves the
    /// order as the reader wrote it.
    pub fn answer(&mut self, key: &PartitionKey, answered: Answered) -> bool {
        let is_incremental = self.is_incremental();
        let Some(session) = &mut self.session else { return true };
        let told = session.answer(key, answered);
        if !is_incremental {
            return true;
        }
        if answered.records_len > 0 {
            session.go_to_end(key);
        }
        told
    }

    /// Whether the answer leaves out partitions that did not move.
    pub fn is_incremental(&self) -> bool {
        matches!(self.kind, Kind::Incremental { .. })
    }
}

/// More partitions than this are not compared with each other one by one.
const COMPARED_MAX: usize = 16;

/// A partition that is named again is wanted as it was named last, in its first place.
fn without_repeats(wanted: Vec<(PartitionKey, Wanted)>) -> Vec<(PartitionKey, Wanted)> {
    let mut places: FastMap<PartitionKey, usize> = FastMap::default();
    let is_large = wanted.len() > COMPARED_MAX;
    let mut kept: Vec<(PartitionKey, Wanted)> = Vec::with_capacity(wanted.len());
    for (key, want) in wanted {
        let place = match is_large {
            true => places.get(&key).copied(),
            false => kept.iter().position(|it| it.0 == key),
        };
        if let Some(place) = place {
            kept[place].1 = want;
            continue;
        }
        if is_large {
            places.insert(key.clone(), kept.len());
        }
        kept.push((key, want));
    }
    kept
}
