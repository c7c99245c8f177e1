//! One shard: asked on the caller's own task, decisions appended at once, answers when they are committed.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, Now, Offset};
use ottla_coordinator::World;
use ottla_machine::{Input, Release, Seat};
use ottla_record::Refusal;
use ottla_storage::Listener;
use ottla_storage::producer_state::{ProducerOrigin, VerificationGuard};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::asked::{Asked, Given};
use super::kind::{Kind, Reply, Request};
use super::load::Loaded;
use super::pen::{Manner, NotAdmitted, Pen, TooLarge, Watch, WriteError, compression};
use crate::broker::Broker;
use crate::partition::Partition;

/// How many requests of an inbox are decided before they are appended: a batch should not wait for too much.
const MAX_ROUND: usize = 128;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// Whom to answer; nobody for what the broker asks of itself.
type Caller<K> = Option<oneshot::Sender<Given<Reply<K>>>>;

/// A coordinator on one partition, in one leader epoch.
pub(crate) struct Shard<K: Kind> {
    /// The partition's number.
    pub(super) index: i32,
    /// The epoch in which this broker leads.
    pub(super) epoch: LeaderEpoch,
    pub(super) partition: Arc<Partition>,
    inbox: Mutex<VecDeque<Entry<K>>>,
    state: Mutex<State<K>>,
    /// When the machine wants to be looked at, in nanoseconds of the host's clock.
    deadline: AtomicU64,
    /// Whether a task follows the log's commits.
    following: AtomicBool,
    /// Whether it was given up: a load that goes on is for nothing.
    left: AtomicBool,
    /// Where it stands, for metrics: [`Standing`] as a number.
    standing: AtomicU8,
}

/// Where a coordinator stands on its partition (`CoordinatorState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its log is being read.
    Loading,
    /// It decides.
    Active,
    /// Its log could not be read; it will be tried again.
    Failed,
}

impl Standing {
    const ALL: [Standing; 3] = [Standing::Loading, Standing::Active, Standing::Failed];
}

struct Entry<K: Kind> {
    input: Input<K::Machine, Caller<K>>,
    origin: ProducerOrigin,
    /// Since when it waits for somebody who has the shard; nothing if nobody had it.
    waits_since: Option<Moment>,
}

enum State<K: Kind> {
    /// The log is being read.
    Loading,
    /// This broker decides.
    Taken(Box<Seat<K::Machine, Caller<K>>>),
    /// Another broker decides, or nobody.
    Left,
}

/// What became of a round.
enum Round {
    /// Go on.
    Done,
    /// The seat is lost; it may be taken again from the log.
    Lost,
}

impl<K: Kind> Shard<K> {
    /// A shard whose log is yet to be read.
    pub(super) fn loading(partition: Arc<Partition>, epoch: LeaderEpoch) -> Shard<K> {
        Shard {
            index: partition.index.get(),
            epoch,
            partition,
            inbox: Mutex::default(),
            state: Mutex::new(State::Loading),
            deadline: AtomicU64::new(NEVER),
            following: AtomicBool::new(false),
            left: AtomicBool::new(false),
            standing: AtomicU8::new(Standing::Loading as u8),
        }
    }

    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        Standing::ALL[usize::from(self.standing.load(Ordering::Relaxed))]
    }

    pub(super) fn stands(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Whether it is still wanted.
    pub(super) fn is_wanted(&self) -> bool {
        !self.left.load(Ordering::Acquire)
    }

    /// When it wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.deadline.load(Ordering::Acquire) {
            NEVER => None,
            nanos => Some(Moment(Duration::from_nanos(nanos))),
        }
    }

    /// How much waits in the inbox.
    pub(super) fn waiting(&self) -> usize {
        self.inbox.lock().len()
    }

    /// Asks the machine. Whatever transactional records it writes are appended with the proof in `origin`.
    pub(super) fn ask(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        request: Request<K>,
        origin: ProducerOrigin,
    ) -> Asked<Reply<K>> {
        let (caller, given) = oneshot::channel();
        self.enter(broker, Input::Request(request, Some(caller)), origin);
        Asked::arrived(given)
    }

    /// Tells the machine of a new world.
    pub(super) fn see(self: &Arc<Self>, broker: &Arc<Broker>, world: Arc<World>) {
        self.enter(broker, Input::Request(K::see_world(world), None), plain());
    }

    /// Tells the machine of something; nobody waits for an answer.
    pub(super) fn tell(self: &Arc<Self>, broker: &Arc<Broker>, request: Request<K>) {
        self.enter(broker, Input::Request(request, None), plain());
    }

    /// Lets the machine do what is due.
    pub(super) fn tick(self: &Arc<Self>, broker: &Arc<Broker>) {
        self.enter(broker, Input::Tick, plain());
    }

    fn enter(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        input: Input<K::Machine, Caller<K>>,
        origin: ProducerOrigin,
    ) {
        // Who finds the shard free does not wait, and need not look at the clock.
        let waits_since = self.state.is_locked().then(|| broker.host.now());
        self.inbox.lock().push_back(Entry { input, origin, waits_since });
        self.work(broker);
    }

    /// Serves the inbox unless somebody does, who then looks again.
    fn work(self: &Arc<Self>, broker: &Arc<Broker>) {
        while let Some(mut state) = self.state.try_lock() {
            if let Round::Lost = self.round(broker, &mut state) {
                self.give_up(&mut state);
                K::shards(broker).lost(broker, self);
            }
            drop(state);
            if self.inbox.lock().is_empty() {
                return;
            }
        }
    }

    fn round(self: &Arc<Self>, broker: &Arc<Broker>, state: &mut State<K>) -> Round {
        let entries: Vec<Entry<K>> = {
            let mut inbox = self.inbox.lock();
            let count = inbox.len().min(MAX_ROUND);
            inbox.drain(..count).collect()
        };
        let State::Taken(seat) = state else {
            let code = match state {
                State::Loading => ErrorCode::CoordinatorLoadInProgress,
                _ => ErrorCode::NotCoordinator,
            };
            entries.into_iter().for_each(|entry| refuse::<K>(entry.input, code));
            return Round::Done;
        };
        let now = Now { moment: broker.host.now(), wall_clock: broker.host.wall_clock() };
        let is_asked = !entries.is_empty();
        let written = self.decide(broker, seat, entries, now);
        if is_asked {
            K::shards(broker).times().processing.note(broker.host.now().since(now.moment));
        }
        if let Err(error) = written {
            tracing::error!(
                coordinator = K::NAME, partition = %self.partition, %error,
                "a decision is not in the log; the coordinator begins again from it"
            );
            return Round::Lost;
        }
        self.release(broker, seat);
        self.note_deadline(broker, seat.deadline());
        Round::Done
    }

    /// Decides what was asked, and appends what was decided.
    fn decide(
        &self,
        broker: &Broker,
        seat: &mut Seat<K::Machine, Caller<K>>,
        entries: Vec<Entry<K>>,
        now: Now,
    ) -> Result<(), WriteError> {
        let times = K::shards(broker).times();
        let codec = broker.coordinators.world().map_or(0, |world| K::compression_codec(&world));
        let manner = Manner {
            now: now.wall_clock,
            compression: compression(codec),
            max_batch_bytes: self.partition.max_message_bytes(),
        };
        let watch = Watch { host: &broker.host, times };
        let mut pen = Pen::new(&self.partition, manner, seat.end(), watch);
        for Entry { input, origin, waits_since } in entries {
            times.queue.note(waits_since.map_or(Duration::ZERO, |it| now.moment.since(it)));
            if self.is_unwritable(&input) {
                refuse::<K>(input, ErrorCode::CoordinatorNotAvailable);
                continue;
            }
            let mut lines = Vec::new();
            let admitted = seat.submit_if(input, now, |records, atomicity| {
                lines =
                    records.iter().map(K::write).collect::<Result<_, _>>().map_err(NotWritable::Encode)?;
                manner.admits(&lines, atomicity).map_err(NotWritable::TooLarge)?;
                pen.admits(&lines, origin).map_err(NotWritable::from)
            });
            match admitted {
                Ok(append) if append.records.is_empty() => {}
                Ok(append) => pen.put(lines, append.atomicity, origin)?,
                Err(refused) => {
                    tracing::warn!(coordinator = K::NAME, partition = %self.partition, reason = %refused.reason, "a decision was dropped");
                    for caller in refused.callers.into_iter().flatten() {
                        // Who does not wait any more need not know.
                        let _ = caller.send(Err(refused.reason.error_code()));
                    }
                    if let NotWritable::Lost(error) = refused.reason {
                        return Err(error);
                    }
                }
            }
        }
        pen.finish()
    }

    /// Whether a client's request would be decided in vain, because the log takes nothing now. What the broker asks of
    /// itself goes on: it writes only what is due, and is lost with the seat if it cannot.
    fn is_unwritable(&self, input: &Input<K::Machine, Caller<K>>) -> bool {
        matches!(input, Input::Request(_, Some(_)))
            && self.partition.leadership().isr.len() < self.partition.min_insync_replicas()
    }

    /// Hands out what the log vouches for, and sees to it that the rest is handed out when it does.
    fn release(self: &Arc<Self>, broker: &Arc<Broker>, seat: &mut Seat<K::Machine, Caller<K>>) {
        let Release { replies, effects, written_at } = seat.committed(self.committed());
        if !written_at.is_empty() {
            let (now, times) = (broker.host.now(), K::shards(broker).times());
            written_at.into_iter().for_each(|at| times.purgatory.note(now.since(at)));
        }
        for (caller, reply) in replies {
            if let Some(caller) = caller {
                // Who does not wait any more need not know.
                let _ = caller.send(Ok(reply));
            }
        }
        for effect in effects {
            K::carry_out(broker, self, effect);
        }
        if seat.is_waiting() && !self.following.swap(true, Ordering::AcqRel) {
            broker.host.spawn(self.clone().follow(broker.clone()));
        }
    }

    fn committed(&self) -> Offset {
        self.partition.log().view().high_watermark
    }

    /// Waits for commits as long as anything waits for them; who asked, only as long as a write may take.
    async fn follow(self: Arc<Self>, broker: Arc<Broker>) {
        let limit = K::write_limit(&broker.settings.load().server);
        let listener = Listener::new();
        let mut flushing: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        loop {
            listener.reset();
            let log = self.partition.log();
            log.listen(&listener);
            let (flush_to, since) = match &mut *self.state.lock() {
                State::Taken(seat) => {
                    self.release(&broker, seat);
                    self.refuse_overdue(&broker, seat, limit);
                    // Said while the state is held: whoever comes after and has to wait starts another task.
                    self.following.store(seat.is_waiting(), Ordering::Release);
                    (seat.is_waiting().then(|| seat.end()), seat.waiting_since())
                }
                State::Loading | State::Left => (None, None),
            };
            // Requests may have come while the state was held here.
            self.work(&broker);
            let Some(end) = flush_to else { return };
            if flushing.is_none() && self.partition.leadership().isr.len() <= 1 {
                // Nobody else will move the high watermark: `flush.messages` holds it back.
                flushing = Some(Box::pin(async move {
                    if log.flush_to(end).await.is_ok() {
                        log.advance_high_watermark(end);
                    } else {
                        std::future::pending().await
                    }
                }));
            }
            // Who comes while nobody waits for an answer, but something for the log, may be told up to once more as late.
            let until = since.unwrap_or(broker.host.now()) + limit;
            let is_flushed = async {
                match &mut flushing {
                    Some(flush) => flush.await,
                    None => std::future::pending().await,
                }
            };
            let flushed = tokio::select! {
                biased;
                () = is_flushed => true,
                () = listener.wait() => false,
                () = broker.host.sleep_until(until) => false,
            };
            if flushed {
                flushing = None;
            }
        }
    }

    /// Tells those for whom the log takes too long (`offsets.commit.timeout.ms` and the like). What was decided holds.
    fn refuse_overdue(&self, broker: &Broker, seat: &mut Seat<K::Machine, Caller<K>>, limit: Duration) {
        let Some(moment) = broker.host.now().0.checked_sub(limit) else { return };
        let mut refused = 0;
        for caller in seat.overdue(Moment(moment)).flatten() {
            refused += 1;
            // Who does not wait any more need not know.
            let _ = caller.send(Err(ErrorCode::CoordinatorNotAvailable));
        }
        if refused > 0 {
            tracing::warn!(
                coordinator = K::NAME, partition = %self.partition, refused, ?limit,
                "what was decided is not committed in time"
            );
        }
    }

    fn note_deadline(&self, broker: &Broker, deadline: Option<Moment>) {
        let nanos = deadline.map_or(NEVER, |at| u64::try_from(at.0.as_nanos()).unwrap_or(NEVER));
        if self.deadline.swap(nanos, Ordering::AcqRel) != nanos {
            K::shards(broker).deadline_moved(nanos);
        }
    }

    /// The log was read: from now on this broker decides.
    pub(super) fn take(self: &Arc<Self>, broker: &Arc<Broker>, loaded: Loaded<K>) {
        let mut seed = [0; 32];
        broker.host.random_bytes(&mut seed);
        let mut state = self.state.lock();
        if self.is_wanted() && matches!(*state, State::Loading) {
            *state = State::Taken(Box::new(Seat::take(loaded.machine, loaded.end, seed)));
            self.stands(Standing::Active);
        }
        drop(state);
        // Looked up now: whatever changes from here on is told to a seat that is taken.
        match broker.coordinators.world() {
            Some(world) => self.see(broker, world),
            None => self.work(broker),
        }
    }

    /// Gives the seat up: whoever waits is told to look elsewhere.
    pub(super) fn leave(self: &Arc<Self>, broker: &Arc<Broker>) {
        self.give_up(&mut self.state.lock());
        self.work(broker);
    }

    fn give_up(&self, state: &mut State<K>) {
        self.left.store(true, Ordering::Release);
        self.deadline.store(NEVER, Ordering::Release);
        if let State::Taken(seat) = std::mem::replace(state, State::Left) {
            for caller in seat.leave().flatten() {
                // Who does not wait any more need not know.
                let _ = caller.send(Err(ErrorCode::NotCoordinator));
            }
        }
    }
}

/// Why a decision is not written.
#[derive(Debug, thiserror::Error)]
enum NotWritable {
    #[error("it has no bytes: {0}")]
    Encode(ottla_wire::EncodeError),
    #[error(transparent)]
    TooLarge(TooLarge),
    #[error("its transaction may not write it: {0}")]
    Refused(Refusal),
    #[error("what was decided before: {0}")]
    Lost(WriteError),
}

impl NotWritable {
    /// What who has asked is told.
    fn error_code(&self) -> ErrorCode {
        match self {
            NotWritable::Encode(_) | NotWritable::TooLarge(_) => ErrorCode::UnknownServerError,
            NotWritable::Refused(refusal) => refusal.code,
            NotWritable::Lost(_) => ErrorCode::NotCoordinator,
        }
    }
}

impl From<NotAdmitted> for NotWritable {
    fn from(reason: NotAdmitted) -> NotWritable {
        match reason {
            NotAdmitted::Refused(refusal) => NotWritable::Refused(refusal),
            NotAdmitted::Lost(error) => NotWritable::Lost(error),
        }
    }
}

/// The origin of records that are of no client's transaction.
pub(super) fn plain() -> ProducerOrigin {
    ProducerOrigin::Coordinator(VerificationGuard::NONE)
}

fn refuse<K: Kind>(input: Input<K::Machine, Caller<K>>, code: ErrorCode) {
    if let Input::Request(_, Some(caller)) = input {
        // Who does not wait any more need not know.
        let _ = caller.send(Err(code));
    }
}
