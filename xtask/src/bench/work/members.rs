//! Members of a group of either protocol: a task and a connection each, all on one thread, and a board that knows when
//! all agree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Server;
use crate::load::groups::{self, Partitions};
use crate::load::protocol::{Connection, SharedConnection};
use crate::workspace::Outcome;

/// How members belong to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl Protocol {
    /// As it is called in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }

    /// How often a member gives a sign of life by default: `heartbeat.interval.ms` of clients and
    /// `group.consumer.heartbeat.interval.ms` of brokers.
    pub fn default_interval(self) -> Duration {
        match self {
            Self::Classic => Duration::from_secs(3),
            Self::Consumer => Duration::from_secs(5),
        }
    }

    /// How often members look for news while a group forms: quickly, and yet no storm. Most of a classic group
    /// waits for an answer then.
    fn joining_interval(self, size: usize) -> Duration {
        match self {
            Self::Classic => Duration::from_millis(10),
            Self::Consumer => Duration::from_micros(5_000 + size as u64 * 100),
        }
    }
}

/// After this a member looks whether it shall beat in another measure.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
const STABLE_LIMIT: Duration = Duration::from_secs(120);
/// How long members may take to leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(60);

mod code {
    pub(super) const LOADING: i16 = 14;
    pub(super) const NOT_AVAILABLE: i16 = 15;
    pub(super) const NOT_COORDINATOR: i16 = 16;
    pub(super) const ILLEGAL_GENERATION: i16 = 22;
    pub(super) const UNKNOWN_MEMBER: i16 = 25;
    pub(super) const REBALANCE: i16 = 27;
    pub(super) const MEMBER_ID_REQUIRED: i16 = 79;
    pub(super) const FENCED_EPOCH: i16 = 110;
}

/// Whether a coordinator asks to try again.
pub fn is_passing(code: i16) -> bool {
    matches!(code, code::LOADING | code::NOT_AVAILABLE | code::NOT_COORDINATOR)
}

/// The members of one group, running.
pub struct Group {
    board: Arc<Board>,
    thread: JoinHandle<()>,
}

/// How a group came to agree.
pub struct Stable {
    /// How long that took since its members joined.
    pub after: Duration,
    /// The generation or epoch in which they agree: how many the server went through.
    pub epoch: i32,
}

impl Group {
    /// Connects `size` members of a group that reads all `size` partitions of a topic, and lets all join at once.
    pub fn join(server: Server, protocol: Protocol, name: &str, topic: &str, size: usize) -> Outcome<Group> {
        let board = Arc::new(Board::new(size, protocol.joining_interval(size)));
        let connections: Vec<Connection> =
            (0..size).map(|_| Connection::open(server.port)).collect::<Outcome<_>>()?;
        let (group, topic, shared) = (name.to_owned(), topic.to_owned(), board.clone());
        let run = move || {
            if let Err(error) = run_members(&shared, protocol, &group, &topic, connections) {
                shared.fail(&format!("members of {group}: {error}"));
            }
        };
        Ok(Group { board, thread: std::thread::Builder::new().name("members".to_owned()).spawn(run)? })
    }

    /// Waits until all members agree on who reads what.
    pub fn stable(&self) -> Outcome<Stable> {
        let (moment, epoch) = self.board.stable()?;
        let begun = self.board.begun.get().ok_or("a group that has not begun is stable")?;
        Ok(Stable { after: moment.saturating_duration_since(*begun), epoch })
    }

    /// How many signs of life were answered until now.
    pub fn beats(&self) -> u64 {
        self.board.beats.load(Ordering::Relaxed)
    }

    /// Lets each member give a sign of life this often from now on.
    pub fn beat_every(&self, interval: Duration) {
        self.board.interval_us.store(interval.as_micros() as u64, Ordering::Relaxed);
    }

    /// Lets all members leave; fails if one of them failed before.
    pub fn leave(self) -> Outcome {
        self.board.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a member panicked")?;
        match self.board.state().failed.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// Runs the members of a group on this thread until all have left.
fn run_members(
    board: &Arc<Board>,
    protocol: Protocol,
    group: &str,
    topic: &str,
    connections: Vec<Connection>,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let entered = runtime.enter();
    let members: Vec<Member> = connections
        .into_iter()
        .enumerate()
        .map(|(index, connection)| {
            Ok(Member {
                connection: SharedConnection::of(connection)?,
                board: board.clone(),
                group: group.to_owned(),
                topic: topic.to_owned(),
                index,
                next: Instant::now(),
                interval: Duration::ZERO,
            })
        })
        .collect::<Outcome<_>>()?;
    drop(entered);
    board.begun.get_or_init(Instant::now);
    for member in members {
        tasks.spawn_local(member.run(protocol));
    }
    runtime.block_on(async {
        // Ready once every member has left.
        let all = tasks;
        tokio::pin!(all);
        while tokio::time::timeout(LONGEST_SLEEP, &mut all).await.is_err() {
            if board.stopped_for().is_some_and(|it| it > LEAVE_LIMIT) {
                return Err(format!("some did not leave within {LEAVE_LIMIT:?}").into());
            }
        }
        Ok(())
    })
}

/// What all members know of each other.
struct Board {
    interval_us: AtomicU64,
    stop: AtomicBool,
    /// When members were first seen to be asked to leave.
    stopped: OnceLock<Instant>,
    beats: AtomicU64,
    /// When all were let go.
    begun: OnceLock<Instant>,
    state: Mutex<State>,
    /// They agree, or one has failed: nothing else wakes whoever waits, who would take the cores from the server.
    settled: Condvar,
}

struct State {
    /// By member: its epoch, and how many partitions it reads. Unsettled members are in no epoch.
    members: Vec<(Option<i32>, usize)>,
    in_epoch: BTreeMap<i32, usize>,
    owned: usize,
    /// Since when they agree, and in which epoch.
    stable_since: Option<(Instant, i32)>,
    failed: Option<String>,
}

impl Board {
    fn new(size: usize, interval: Duration) -> Board {
        Board {
            interval_us: AtomicU64::new(interval.as_micros() as u64),
            stop: AtomicBool::new(false),
            stopped: OnceLock::new(),
            beats: AtomicU64::new(0),
            begun: OnceLock::new(),
            state: Mutex::new(State {
                members: vec![(None, 0); size],
                in_epoch: BTreeMap::new(),
                owned: 0,
                stable_since: None,
                failed: None,
            }),
            settled: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Since when members are asked to leave.
    fn stopped_for(&self) -> Option<Duration> {
        let stopped = self.stop.load(Ordering::Relaxed);
        stopped.then(|| self.stopped.get_or_init(Instant::now).elapsed())
    }

    fn report(&self, index: usize, epoch: Option<i32>, owned: usize) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.members[index], (epoch, owned));
        if before == (epoch, owned) {
            return;
        }
        if let Some(members) = before.0.and_then(|it| state.in_epoch.get_mut(&it)) {
            *members -= 1;
        }
        state.owned = state.owned + owned - before.1;
        let size = state.members.len();
        let agreed = epoch.filter(|it| {
            let members = state.in_epoch.entry(*it).or_default();
            *members += 1;
            *members == size
        });
        state.stable_since = agreed.filter(|_| state.owned == size).map(|it| (Instant::now(), it));
        if state.stable_since.is_some() {
            self.settled.notify_all();
        }
    }

    fn fail(&self, error: &str) {
        self.state().failed.get_or_insert_with(|| error.to_owned());
        self.settled.notify_all();
    }

    fn stable(&self) -> Outcome<(Instant, i32)> {
        let end = Instant::now() + STABLE_LIMIT;
        let mut state = self.state();
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone().into());
            }
            if let Some(stable) = state.stable_since {
                return Ok(stable);
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(format!("a group of {} is not stable", state.members.len()).into());
            };
            state = self.settled.wait_timeout(state, left).map_err(|_| "a member panicked")?.0;
        }
    }
}

struct Member {
    connection: SharedConnection,
    board: Arc<Board>,
    group: String,
    topic: String,
    index: usize,
    /// When the next sign of life is due.
    next: Instant,
    interval: Duration,
}

impl Member {
    async fn run(mut self, protocol: Protocol) {
        let outcome = match protocol {
            Protocol::Classic => self.classic().await,
            Protocol::Consumer => self.consumer().await,
        };
        if let Err(error) = outcome {
            self.board.fail(&format!("member {} of {}: {error}", self.index, self.group));
        }
    }

    fn stopped(&self) -> bool {
        self.board.stop.load(Ordering::Relaxed)
    }

    /// Sleeps until the next sign of life is due: by the intended times, so that a slow answer delays none.
    async fn pace(&mut self) {
        self.next += self.interval;
        loop {
            let now = Instant::now();
            let interval = Duration::from_micros(self.board.interval_us.load(Ordering::Relaxed));
            if interval != self.interval || self.next + interval < now {
                // Another measure, or the member has waited for others: all spread over an interval anew.
                self.interval = interval;
                self.next = now + interval * (self.index as u32 % 1000) / 1000;
            }
            match self.next.checked_duration_since(now) {
                Some(left) if !left.is_zero() && !self.stopped() => {
                    tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
                }
                _ => return,
            }
        }
    }

    async fn classic(&mut self) -> Outcome {
        let mut name = String::new();
        while !self.stopped() {
            self.board.report(self.index, None, 0);
            let Some(joined) = self.enter(&mut name).await? else { continue };
            let request = groups::sync(&joined, &self.group, &self.topic, self.partitions());
            match groups::synced(self.connection.ask(&request).await?)? {
                (0, owned) => self.board.report(self.index, Some(joined.generation), owned),
                (code::REBALANCE | code::ILLEGAL_GENERATION, _) => continue,
                (code, _) => return Err(format!("SyncGroup: error {code}").into()),
            }
            let beat = groups::heartbeat(&self.group, joined.generation, &name);
            loop {
                self.pace().await;
                if self.stopped() {
                    break;
                }
                match groups::beaten(self.connection.ask(&beat).await?)? {
                    0 => self.board.beats.fetch_add(1, Ordering::Relaxed),
                    code::REBALANCE | code::ILLEGAL_GENERATION => break,
                    code => return Err(format!("Heartbeat: error {code}").into()),
                };
            }
        }
        self.connection.ask(&groups::leave(&self.group, &name)).await?;
        Ok(())
    }

    fn partitions(&self) -> i32 {
        self.board.state().members.len() as i32
    }

    /// Joins once; nothing if it must be tried again.
    async fn enter(&mut self, name: &mut String) -> Outcome<Option<groups::Joined>> {
        let request = groups::join(&self.group, name, &self.topic);
        let joined = groups::joined(self.connection.ask(&request).await?)?;
        match joined.code {
            0 => {
                name.clone_from(&joined.member);
                Ok(Some(joined))
            }
            code::MEMBER_ID_REQUIRED => {
                name.clone_from(&joined.member);
                Ok(None)
            }
            code::UNKNOWN_MEMBER => {
                name.clear();
                Ok(None)
            }
            code if is_passing(code) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(None)
            }
            code => Err(format!("JoinGroup: error {code}").into()),
        }
    }

    async fn consumer(&mut self) -> Outcome {
        let name = format!("member-{}-of-{}", self.index, self.group);
        let mut owned = Partitions::new();
        let (mut epoch, mut has_news) = (0, true);
        while !self.stopped() {
            let topic = (epoch == 0).then_some(self.topic.as_str());
            let news = has_news.then_some(&owned);
            let request = groups::consumer_heartbeat(&self.group, &name, epoch, topic, news);
            let reported = groups::reported(self.connection.ask(&request).await?)?;
            match reported.code {
                0 => {
                    self.board.beats.fetch_add(1, Ordering::Relaxed);
                    epoch = reported.epoch;
                    has_news = reported.assigned.as_ref().is_some_and(|it| *it != owned);
                    owned = reported.assigned.unwrap_or(owned);
                    let count = owned.iter().map(|it| it.1.len()).sum();
                    self.board.report(self.index, (!has_news).then_some(epoch), count);
                }
                code::UNKNOWN_MEMBER | code::FENCED_EPOCH => {
                    (epoch, has_news) = (0, true);
                    owned.clear();
                    self.board.report(self.index, None, 0);
                }
                code if is_passing(code) => tokio::time::sleep(Duration::from_millis(5)).await,
                code => return Err(format!("ConsumerGroupHeartbeat: error {code}").into()),
            }
            if !has_news {
                self.pace().await;
            }
        }
        let request = groups::consumer_heartbeat(&self.group, &name, -1, None, None);
        self.connection.ask(&request).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_stable_when_all_agree_and_nothing_is_left_over() {
        let board = Board::new(2, Duration::ZERO);
        board.report(0, Some(1), 2);
        assert!(board.state().stable_since.is_none(), "one member is missing");
        board.report(1, Some(2), 0);
        assert!(board.state().stable_since.is_none(), "the epochs differ");
        board.report(0, None, 1);
        board.report(0, Some(2), 1);
        assert!(board.state().stable_since.is_none(), "a partition is free");
        board.report(1, Some(2), 1);
        assert!(board.state().stable_since.is_some());
    }
}
