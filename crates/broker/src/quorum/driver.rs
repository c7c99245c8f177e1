//! The quorum's task: takes events, steps the machine, does what it says in order, applies what is committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Moment, Now, Offset, Timestamp};
use ottla_host::Host;
use ottla_host::disk::is_exhausted;
use ottla_machine::{Input as Decision, Seat};
use ottla_metadata::Replay;
use ottla_metadata::controller::{Activate, Controller, Options, Reply, Request};
use ottla_metadata::settings::ServerSettings;
use ottla_raft::{
    Action, Answer, Caller, Config, Election, FlushTicket, Input, KRaftVersion, LeaderAndEpoch, Membership,
    OffsetAndEpoch, Raft, SnapshotWriter,
};
use ottla_record::BatchView;
use ottla_storage::{AppendError, StorageError};
use ottla_wire::records::metadata::MetadataRecord;
use tokio::sync::{mpsc, oneshot, watch};

use super::controller_seat::{ControllerSeat, Unwritable};
use super::decision_times::DecisionTimes;
use super::metadata_log::MetadataLog;
use super::recover::{Found, PendingBatch, facts_of, read_snapshot};
use super::retention::{CLEAN_INTERVAL, Limits, SnapshotClock, next_start};
use super::{Published, QuorumError, snapshot_files};

/// How soon it is looked again whether there is room for the metadata log.
const ROOM_RETRY: Duration = Duration::from_millis(100);

/// What comes to the quorum's task from the rest of the process.
pub(super) enum Event {
    /// The controller is asked for something.
    Submit(Box<Request>, oneshot::Sender<Result<Reply, ErrorCode>>),
    /// The quorum is asked for something.
    Ask(ottla_raft::Request, oneshot::Sender<Answer>),
    /// `kraft.version` is to be raised.
    UpgradeKRaftVersion { version: KRaftVersion, validate_only: bool, caller: oneshot::Sender<Answer> },
    /// The process ends.
    Shutdown(oneshot::Sender<()>),
}

/// What has been done on the side.
enum Done {
    Flushed(FlushTicket, Result<(), QuorumError>),
    SnapshotWritten(OffsetAndEpoch, Result<u64, QuorumError>),
    Cleaned(Result<Cleaned, QuorumError>),
}

/// What cleaning left.
struct Cleaned {
    snapshots: BTreeMap<OffsetAndEpoch, u64>,
    given_up: Vec<OffsetAndEpoch>,
}

/// The quorum's task.
pub(super) struct Driver {
    host: Host,
    raft: Raft,
    log: MetadataLog,
    limits: Limits,
    idle_interval: Option<Duration>,
    options: Arc<Options>,
    inbox: mpsc::Receiver<Event>,
    done: mpsc::UnboundedReceiver<Done>,
    doing: mpsc::UnboundedSender<Done>,
    /// The actions that the machine wanted when it was made.
    first_actions: Vec<Action>,
    callers: BTreeMap<Caller, oneshot::Sender<Answer>>,
    next_caller: u64,
    /// A sync is under way.
    flushing: bool,
    /// What is to be synced when that has ended.
    flush_next: Option<FlushTicket>,
    replay: Replay,
    applied: OffsetAndEpoch,
    applied_timestamp: Timestamp,
    pending: VecDeque<PendingBatch>,
    seat: ControllerSeat,
    decision_times: DecisionTimes,
    bootstrap: Vec<MetadataRecord>,
    snapshots: BTreeMap<OffsetAndEpoch, u64>,
    snapshot_clock: SnapshotClock,
    given_up: VecDeque<(Moment, OffsetAndEpoch)>,
    clean_at: Moment,
    cleaning: bool,
    idle_since: Moment,
    published: watch::Sender<Published>,
    leadership: watch::Sender<LeaderAndEpoch>,
    ready: Option<oneshot::Sender<()>>,
}

type Watches = (watch::Receiver<Published>, watch::Receiver<LeaderAndEpoch>);

impl Driver {
    pub(super) fn new(
        host: Host,
        config: Config,
        settings: &ServerSettings,
        found: Found,
        options: Arc<Options>,
        inbox: mpsc::Receiver<Event>,
    ) -> (Driver, Watches) {
        let Found { log, recovered, replay, applied, pending, snapshots, bootstrap } = found;
        let now = Now { moment: host.now(), wall_clock: host.wall_clock() };
        let (raft, first_actions) = Raft::new(config, recovered, host.random_u64(), now);
        let (doing, done) = mpsc::unbounded_channel();
        let publication = Published {
            image: Arc::new(replay.image().clone()),
            last_offset: Offset(applied.offset.0 - 1),
            last_epoch: applied.epoch,
            last_timestamp: Timestamp::NONE,
            kraft_version: raft.membership().last_kraft_version(),
        };
        let (published, publications) = watch::channel(publication);
        let (leadership, leaderships) = watch::channel(LeaderAndEpoch::default());
        let idle_ms = u64::from(settings.quorum.metadata_max_idle_interval_ms.unsigned_abs());
        let driver = Driver {
            raft,
            log,
            limits: Limits::new(settings),
            idle_interval: (idle_ms > 0).then(|| Duration::from_millis(idle_ms)),
            options,
            inbox,
            done,
            doing,
            first_actions,
            callers: BTreeMap::new(),
            next_caller: 0,
            flushing: false,
            flush_next: None,
            replay,
            applied,
            applied_timestamp: Timestamp::NONE,
            pending,
            seat: ControllerSeat::Empty,
            decision_times: DecisionTimes::new(settings, now.moment),
            bootstrap,
            snapshots,
            snapshot_clock: SnapshotClock::new(now.moment),
            given_up: VecDeque::new(),
            clean_at: now.moment + CLEAN_INTERVAL,
            cleaning: false,
            idle_since: now.moment,
            published,
            leadership,
            ready: None,
            host,
        };
        (driver, (publications, leaderships))
    }

    /// Runs until it is told to stop or cannot go on. `ready` is told when this node decides and what it has decided
    /// first is committed.
    pub(super) async fn run(mut self, ready: oneshot::Sender<()>) -> Result<(), QuorumError> {
        self.ready = Some(ready);
        let first = std::mem::take(&mut self.first_actions);
        let result = match self.perform_all(first).await {
            Ok(()) => self.serve().await,
            Err(error) => Err(error),
        };
        self.seat.leave();
        if let Err(error) = &result {
            tracing::error!(%error, "the metadata quorum cannot go on");
        }
        result
    }

    async fn serve(&mut self) -> Result<(), QuorumError> {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                Some(done) = self.done.recv() => self.take_done(done).await?,
                event = self.inbox.recv() => match event {
                    Some(Event::Shutdown(caller)) => return self.shut_down(caller).await,
                    Some(event) => self.take_event(event).await?,
                    None => return Ok(()),
                },
                () = self.host.sleep_until(deadline) => self.tick().await?,
            }
        }
    }

    fn now(&self) -> Now {
        Now { moment: self.host.now(), wall_clock: self.host.wall_clock() }
    }

    /// When there is something to do even if nothing happens.
    fn deadline(&self) -> Moment {
        let idle = self.idle_interval.filter(|_| self.seat.is_taken()).map(|it| self.idle_since + it);
        let snapshot = self.snapshot_clock.deadline(&self.limits);
        let removal = self.given_up.front().map(|(due, _)| *due);
        let clean = (!self.cleaning).then_some(self.clean_at);
        let deadlines = [self.raft.deadline(), self.seat.deadline(), idle, snapshot, removal, clean];
        deadlines.into_iter().flatten().min().unwrap_or(self.clean_at + CLEAN_INTERVAL)
    }

    async fn tick(&mut self) -> Result<(), QuorumError> {
        let now = self.host.now();
        if self.raft.deadline().is_some_and(|due| due <= now) {
            self.step(Input::Tick).await?;
        }
        if self.seat.deadline().is_some_and(|due| due <= now) {
            self.decide(Decision::Tick).await?;
        }
        let idle = self.idle_interval.is_some_and(|interval| self.idle_since + interval <= now);
        if idle && self.seat.is_taken() {
            self.decide(ControllerSeat::request(Request::WriteNoOp(()), None)).await?;
        }
        self.maybe_snapshot();
        while let Some((_, id)) = self.given_up.pop_front_if(|(due, _)| *due <= now) {
            let file = ottla_raft::SnapshotFile::Deleted(id);
            snapshot_files::remove(&self.host.disk(), &self.log.path, file)
                .map_err(QuorumError::disk(&self.log.path))?;
        }
        if !self.cleaning && self.clean_at <= now {
            self.clean();
        }
        Ok(())
    }

    async fn take_event(&mut self, event: Event) -> Result<(), QuorumError> {
        match event {
            Event::Submit(request, caller) => {
                self.decide(ControllerSeat::request(*request, Some(caller))).await
            }
            Event::Ask(request, caller) => {
                let id = self.new_caller(caller);
                self.step(Input::Request(id, request)).await
            }
            Event::UpgradeKRaftVersion { version, validate_only, caller } => {
                let caller = self.new_caller(caller);
                let epoch = self.raft.led_epoch().unwrap_or(LeaderEpoch::NONE);
                self.step(Input::UpgradeKRaftVersion { caller, epoch, version, validate_only }).await
            }
            // Handled where the task ends.
            Event::Shutdown(_) => Ok(()),
        }
    }

    fn new_caller(&mut self, caller: oneshot::Sender<Answer>) -> Caller {
        let id = Caller(self.next_caller);
        self.next_caller += 1;
        self.callers.insert(id, caller);
        id
    }

    async fn take_done(&mut self, done: Done) -> Result<(), QuorumError> {
        match done {
            Done::Flushed(ticket, result) => {
                result?;
                self.flushing = false;
                if let Some(next) = self.flush_next.take() {
                    self.flush(next);
                }
                self.step(Input::Flushed(ticket)).await
            }
            Done::SnapshotWritten(id, result) => {
                self.snapshot_clock.under_way = false;
                let bytes = match result {
                    Err(QuorumError::Disk { source, .. }) if is_exhausted(&source) => {
                        tracing::warn!(snapshot = %id, "no room for a snapshot of the metadata, it is taken later");
                        let file = ottla_raft::SnapshotFile::Partial(id);
                        return snapshot_files::remove(&self.host.disk(), &self.log.path, file)
                            .map_err(QuorumError::disk(&self.log.path));
                    }
                    result => result?,
                };
                self.snapshots.insert(id, bytes);
                tracing::info!(snapshot = %id, bytes, "took a snapshot of the metadata");
                self.step(Input::SnapshotTaken(id)).await
            }
            Done::Cleaned(result) => {
                self.cleaning = false;
                let Cleaned { snapshots, given_up } = result?;
                // Snapshots may have been taken meanwhile.
                self.snapshots.retain(|id, _| !given_up.contains(id));
                let due = self.host.now() + self.limits.delete_delay;
                self.given_up.extend(given_up.iter().map(|id| (due, *id)));
                match snapshots.first_key_value() {
                    Some((start, _)) if !given_up.is_empty() => self.step(Input::LogCleaned(*start)).await,
                    _ => Ok(()),
                }
            }
        }
    }

    /// Asks the controller. Its decision is proposed at once, before anything else can come into the log.
    async fn decide(
        &mut self,
        input: Decision<Controller, super::controller_seat::Caller>,
    ) -> Result<(), QuorumError> {
        let name = match &input {
            Decision::Request(request, _) => request.name(),
            Decision::Tick => "Tick",
        };
        let asked = self.now();
        let decided = self.seat.decide(input, asked);
        if let Some(summary) = self.decision_times.note(name, asked.moment, self.host.now()) {
            summary.tell(&self.decision_times);
        }
        match decided {
            Ok(None) => Ok(()),
            Ok(Some(proposals)) => {
                for values in proposals.batches {
                    self.step(Input::Propose { epoch: proposals.epoch, values }).await?;
                }
                // What wrote nothing may be answered already.
                self.seat.committed(self.committed());
                Ok(())
            }
            Err(Unwritable(reason)) => {
                tracing::error!(reason, "the controller's decision cannot be written; it gives up its epoch");
                self.seat.leave();
                let epoch = self.raft.led_epoch().unwrap_or(LeaderEpoch::NONE);
                self.step(Input::Resign(epoch)).await
            }
        }
    }

    /// Up to where the log is committed, as far as that was established in this epoch and applied.
    fn committed(&self) -> Offset {
        self.applied.offset
    }

    async fn step(&mut self, input: Input) -> Result<(), QuorumError> {
        let actions = self.raft.step(input, self.now());
        self.perform_all(actions).await
    }

    async fn perform_all(&mut self, actions: Vec<Action>) -> Result<(), QuorumError> {
        let mut actions = VecDeque::from(actions);
        loop {
            while let Some(action) = actions.pop_front() {
                if let Some(input) = self.perform(action).await? {
                    actions.extend(self.raft.step(input, self.now()));
                }
            }
            let Some(proposals) = self.maybe_take_seat()? else { break };
            for values in proposals.batches {
                let input = Input::Propose { epoch: proposals.epoch, values };
                actions.extend(self.raft.step(input, self.now()));
            }
        }
        Ok(())
    }

    /// Does one thing. What comes of it must be told to the machine before anything else.
    async fn perform(&mut self, action: Action) -> Result<Option<Input>, QuorumError> {
        match action {
            Action::PersistElection(text) => self.persist_election(text).await?,
            Action::Append { batch, end, epoch } => self.append(&batch, end, epoch).await?,
            Action::Flush(ticket) if self.flushing => self.flush_next = Some(ticket),
            Action::Flush(ticket) => self.flush(ticket),
            Action::Truncate(end) => {
                self.pending.retain(|batch| batch.end.offset <= end);
                let log = self.log.log.clone();
                self.host.blocking(move || log.truncate_to(end)).await?;
            }
            Action::Commit(end) => self.commit(end)?,
            Action::Leadership { now, epoch_start } => self.lead(now, epoch_start),
            Action::Answer(caller, answer) => {
                if let Some(caller) = self.callers.remove(&caller) {
                    // Who does not wait any more need not know.
                    let _ = caller.send(answer);
                }
            }
            // There is no way to other controllers: see the module's documentation.
            Action::Send { to, correlation, .. } => {
                tracing::debug!(node = %to.id, address = %to.address, "no connection to another controller");
                return Ok(Some(Input::Unanswered(correlation)));
            }
            Action::WriteSnapshot { id, position, bytes } => {
                let (disk, path) = (self.host.disk(), self.log.path.clone());
                let position = u64::try_from(position).unwrap_or(0);
                let write = move || snapshot_files::write_piece(&disk, &path, id, position, &bytes);
                self.host.blocking(write).await.map_err(QuorumError::disk(&self.log.path))?;
            }
            Action::DiscardSnapshot(id) => {
                let file = ottla_raft::SnapshotFile::Partial(id);
                snapshot_files::remove(&self.host.disk(), &self.log.path, file)
                    .map_err(QuorumError::disk(&self.log.path))?;
            }
            Action::InstallSnapshot(id) => return self.install_snapshot(id).await.map(Some),
        }
        Ok(None)
    }

    async fn persist_election(&self, text: String) -> Result<(), QuorumError> {
        let file = self.log.path.join(Election::FILE_NAME);
        let (disk, path) = (self.host.disk(), file.clone());
        let write = move || disk.write_atomically(&path, text.as_bytes());
        self.host.blocking(write).await.map_err(QuorumError::disk(&file))
    }

    /// Appends. While the file system is full, this waits for room: nothing was changed, nobody was promised anything,
    /// and what was decided has to come next.
    async fn append(&mut self, batch: &Bytes, end: Offset, epoch: LeaderEpoch) -> Result<(), QuorumError> {
        let mut full_since = None;
        while let Err(error) = self.log.append(batch, end, epoch) {
            if !matches!(error, AppendError::Storage(StorageError::Full { .. })) {
                return Err(error.into());
            }
            if full_since.is_none() {
                tracing::error!(%error, "the metadata log waits for room, the controller decides nothing meanwhile");
            }
            full_since.get_or_insert(self.host.now());
            self.wait_for_room().await?;
        }
        if let Some(since) = full_since {
            tracing::info!(waited = ?self.host.now().since(since), "there is room for the metadata log again");
        }
        self.idle_since = self.host.now();
        let view = BatchView::new(batch).map_err(|error| self.log.corrupt(end, &error.to_string()))?;
        let facts = facts_of(&view).map_err(|reason| self.log.corrupt(end, &reason))?;
        if view.is_control() {
            self.seat.log_grew(end);
        }
        let end = OffsetAndEpoch::new(end, epoch);
        let timestamp = view.max_timestamp();
        self.pending.push_back(PendingBatch { end, timestamp, bytes: batch.len(), facts });
        Ok(())
    }

    /// Waits a moment; whoever asks for something meanwhile is sent away, to come again.
    async fn wait_for_room(&mut self) -> Result<(), QuorumError> {
        let next = self.host.now() + ROOM_RETRY;
        loop {
            tokio::select! {
                biased;
                () = self.host.sleep_until(next) => return Ok(()),
                event = self.inbox.recv() => match event {
                    Some(Event::Submit(_, caller)) => drop(caller.send(Err(ErrorCode::NotController))),
                    Some(Event::Ask(..) | Event::UpgradeKRaftVersion { .. }) => {}
                    Some(Event::Shutdown(_)) | None => {
                        return Err(QuorumError::Log("stopped while its disk was full".to_owned()));
                    }
                },
            }
        }
    }

    /// Starts a sync of everything that is in the log; the next one waits for its end.
    fn flush(&mut self, ticket: FlushTicket) {
        self.flushing = true;
        let (log, doing) = (self.log.log.clone(), self.doing.clone());
        self.host.spawn(async move {
            let end = log.view().end;
            let result = log.flush_to(end).await.map_err(QuorumError::from);
            // The task may have ended, and then nobody counts on it.
            let _ = doing.send(Done::Flushed(ticket, result));
        });
    }

    /// Applies what is committed, publishes it, and answers who waited for it, in this order.
    fn commit(&mut self, end: Offset) -> Result<(), QuorumError> {
        self.log.log.advance_high_watermark(end);
        while let Some(batch) = self.pending.pop_front_if(|batch| batch.end.offset <= end) {
            for fact in &batch.facts {
                self.replay.apply(fact)?;
            }
            if !batch.facts.is_empty() {
                self.snapshot_clock.applied(batch.bytes);
            }
            self.applied = batch.end;
            self.applied_timestamp = batch.timestamp;
        }
        self.published.send_replace(Published {
            image: Arc::new(self.replay.image().clone()),
            last_offset: Offset(self.applied.offset.0 - 1),
            last_epoch: self.applied.epoch,
            last_timestamp: self.applied_timestamp,
            kraft_version: self.raft.membership().last_kraft_version(),
        });
        self.seat.committed(end);
        self.maybe_snapshot();
        Ok(())
    }

    fn lead(&mut self, now: LeaderAndEpoch, epoch_start: Option<Offset>) {
        self.seat.leave();
        if let Some(epoch_start) = epoch_start {
            tracing::info!(epoch = %now.epoch, "this node leads the metadata quorum");
            self.seat = ControllerSeat::Waiting { epoch: now.epoch, epoch_start };
        } else {
            tracing::info!(epoch = %now.epoch, leader = ?now.leader, "the metadata quorum has a new epoch");
            self.seat = ControllerSeat::Empty;
        }
        self.leadership.send_replace(now);
    }

    /// Seats the controller once everything before its epoch is applied. Its first decision is what a new cluster
    /// begins with; when that is committed, the node is ready.
    fn maybe_take_seat(&mut self) -> Result<Option<super::controller_seat::Proposals>, QuorumError> {
        let ControllerSeat::Waiting { epoch, epoch_start } = self.seat else { return Ok(None) };
        if self.applied.offset <= epoch_start {
            return Ok(None);
        }
        let mut seed = [0; 32];
        self.host.random_bytes(&mut seed);
        let controller = Controller::new(self.replay.clone(), self.options.clone());
        let seat = Seat::take(controller, self.raft.log().end(), seed);
        self.seat = ControllerSeat::Taken { epoch, seat: Box::new(seat) };
        let bootstrap = self.bootstrap.clone();
        let (caller, activated) = oneshot::channel();
        if let Some(ready) = self.ready.take() {
            self.host.spawn(async move {
                if matches!(activated.await, Ok(Ok(_))) {
                    let _ = ready.send(());
                }
            });
        }
        let request = ControllerSeat::request(Request::Activate(Activate { bootstrap }), Some(caller));
        let proposals =
            self.seat.decide(request, self.now()).map_err(|Unwritable(reason)| QuorumError::Log(reason))?;
        self.seat.committed(self.committed());
        Ok(proposals)
    }

    /// Takes a snapshot of what is applied, if one is due, on the side.
    fn maybe_snapshot(&mut self) {
        let now = self.host.now();
        let id = self.applied;
        let due = self.snapshot_clock.is_due(&self.limits, now) && !self.replay.in_transaction();
        if !due || self.snapshots.contains_key(&id) {
            return;
        }
        self.snapshot_clock.begin(now);
        let (version, voters) = self.raft.membership().at_end(id.offset);
        let wall_clock = self.host.wall_clock();
        let (mut writer, header) =
            SnapshotWriter::begin(id, self.applied_timestamp, version, voters, wall_clock);
        let image = self.replay.image().clone();
        let (disk, path, doing) = (self.host.disk(), self.log.path.clone(), self.doing.clone());
        let write = move || {
            let mut batches = vec![header];
            for record in image.to_records() {
                let value = record.encode().map_err(|error| QuorumError::Log(error.to_string()))?;
                batches.extend(writer.append(value));
            }
            batches.extend(writer.finish());
            snapshot_files::write_snapshot(&disk, &path, id, batches).map_err(QuorumError::disk(&path))
        };
        let written = self.host.blocking(write);
        self.host.spawn(async move {
            let _ = doing.send(Done::SnapshotWritten(id, written.await));
        });
    }

    /// Gives up snapshots and the log before them, as far as retention wants it, on the side.
    fn clean(&mut self) {
        self.cleaning = true;
        self.clean_at = self.host.now() + CLEAN_INTERVAL;
        let (host, log, limits) = (self.host.clone(), self.log.clone(), self.limits.clone());
        let snapshots = self.snapshots.clone();
        let cleaned = self.host.blocking(move || clean(&host, &log, &limits, snapshots));
        let doing = self.doing.clone();
        self.host.spawn(async move {
            let _ = doing.send(Done::Cleaned(cleaned.await));
        });
    }

    /// The leader's snapshot is here: it takes the place of the log and of all that was applied.
    async fn install_snapshot(&mut self, id: OffsetAndEpoch) -> Result<Input, QuorumError> {
        let (host, log) = (self.host.clone(), self.log.clone());
        let install = move || {
            let on_disk = QuorumError::disk(&log.path);
            snapshot_files::complete(&host.disk(), &log.path, id).map_err(&on_disk)?;
            let mut membership = Membership::default();
            let file = snapshot_files::path_of(&log.path, id);
            let bytes = host.disk().metadata(&file).map_err(&on_disk)?.len;
            let (replay, _) = read_snapshot(&host, &file, id, &mut membership)?;
            log.log.truncate_fully(id.offset)?;
            log.log.flush_now()?;
            Ok::<_, QuorumError>((replay, membership, bytes))
        };
        let (replay, membership, bytes) = self.host.blocking(install).await?;
        self.pending.clear();
        let due = self.host.now() + self.limits.delete_delay;
        for old in std::mem::take(&mut self.snapshots).into_keys() {
            snapshot_files::give_up(&self.host.disk(), &self.log.path, old)
                .map_err(QuorumError::disk(&self.log.path))?;
            self.given_up.push_back((due, old));
        }
        self.snapshots.insert(id, bytes);
        self.replay = replay;
        self.applied = id;
        Ok(Input::SnapshotInstalled(id, membership))
    }

    async fn shut_down(&mut self, caller: oneshot::Sender<()>) -> Result<(), QuorumError> {
        self.step(Input::Shutdown).await?;
        self.seat.leave();
        let log = self.log.log.clone();
        self.host.blocking(move || log.flush_now()).await?;
        self.log.log.close();
        // Who asked may not wait for it.
        let _ = caller.send(());
        Ok(())
    }
}

fn clean(
    host: &Host,
    log: &MetadataLog,
    limits: &Limits,
    mut snapshots: BTreeMap<OffsetAndEpoch, u64>,
) -> Result<Cleaned, QuorumError> {
    let mut given_up = Vec::new();
    let disk = host.disk();
    let appended = |id| {
        let path = snapshot_files::path_of(&log.path, id);
        let reader = snapshot_files::read(&disk, &path, |_| Ok(())).ok()?;
        reader.last_contained_log_timestamp()
    };
    while let Some(start) = next_start(&snapshots, log.log.view().size(), limits, host.wall_clock(), appended)
    {
        log.clean(start)?;
        for (old, _) in snapshots.extract_if(.., |id, _| *id < start) {
            snapshot_files::give_up(&disk, &log.path, old).map_err(QuorumError::disk(&log.path))?;
            tracing::info!(snapshot = %old, "gave up a snapshot and the log before the next");
            given_up.push(old);
        }
    }
    log.log.remove_retired()?;
    Ok(Cleaned { snapshots, given_up })
}
