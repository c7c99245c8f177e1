//! What a decision may look at, draw on and say.

use ottla_base::Str;
use ottla_machine::{At, Atomicity, Entropy, Ticket};
use ottla_metadata::Resource;
use ottla_metadata::settings::ServerSettings;

use super::request::Reply;
use super::soft::{GroupSoft, Timer};
use super::state::GroupCoordinator;
use super::{Effect, Fact, GroupRecord, classic, consumer, offsets, share, streams};
use crate::World;

/// One decision on its way: hard state to look at, soft state to change, and what was decided so far. Records that were
/// decided are not in `state` before the decision is over.
pub(super) struct Deciding<'a> {
    pub(super) state: &'a GroupCoordinator,
    pub(super) soft: &'a mut GroupSoft,
    pub(super) entropy: &'a mut Entropy,
    pub(super) at: At,
    decided: Decided,
}

/// What was decided.
pub(super) struct Decided {
    pub(super) records: Vec<Fact>,
    pub(super) atomicity: Atomicity,
    pub(super) answers: Vec<(Ticket, Box<Reply>)>,
    pub(super) effects: Vec<Effect>,
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        state: &'a GroupCoordinator,
        soft: &'a mut GroupSoft,
        entropy: &'a mut Entropy,
        at: At,
    ) -> Deciding<'a> {
        let decided = Decided {
            records: Vec::new(),
            atomicity: Atomicity::Together,
            answers: Vec::new(),
            effects: Vec::new(),
        };
        Deciding { state, soft, entropy, at, decided }
    }

    /// Something is due: one timer per decision, so that what belongs to different groups is never one batch that must
    /// stay whole. The deadline stays due while there is more.
    pub(super) fn tick(&mut self) {
        if let Some(timer) = self.soft.timers.pop_due(self.at.now) {
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Consumer(due) => consumer::fire(self, due),
            Timer::Share(due) => share::fire(self, due),
            Timer::ClassicJoin(group) => classic::rebalance::join_due(self, &group),
            Timer::ClassicSync(group) => classic::rebalance::sync_due(self, &group),
            Timer::ClassicSession(group, member) => classic::membership::session_due(self, &group, &member),
            Timer::OffsetExpiry => offsets::delete::expiry_due(self),
            Timer::Streams(timer) => streams::fire(self, timer),
        }
    }

    /// The cluster as last seen. Every seat sees it before it is asked anything.
    pub(super) fn world(&self) -> &World {
        match &self.soft.world {
            Some(world) => world,
            None => panic!("a seat sees the world before it is asked anything"),
        }
    }

    /// The server's settings.
    pub(super) fn settings(&self) -> &ServerSettings {
        &self.world().settings
    }

    /// How many bytes a record may have that the log takes, roughly: what it has beside its record is counted by who
    /// asks (`max.message.bytes` of `__consumer_offsets`).
    pub(super) fn max_record_bytes(&self) -> usize {
        let topic = Resource::topic(Str::from_static("__consumer_offsets"));
        let own = self.world().image.configs.value(&topic, "max.message.bytes");
        let own = own.and_then(|it| it.trim().parse::<i32>().ok());
        own.unwrap_or(self.settings().log.message_max_bytes).max(0) as usize
    }

    /// Writes a record.
    pub(super) fn write(&mut self, record: GroupRecord) {
        self.decided.records.push(Fact::Plain(record));
    }

    /// Writes a fact that is not a plain record.
    pub(super) fn write_fact(&mut self, fact: Fact) {
        self.decided.records.push(fact);
    }

    /// The records of this decision stand each for itself: they may be appended as several batches.
    pub(super) fn each_alone(&mut self) {
        self.decided.atomicity = Atomicity::EachAlone;
    }

    /// Answers a caller: who asked now, or who was held.
    pub(super) fn answer(&mut self, caller: Ticket, reply: Reply) {
        self.decided.answers.push((caller, Box::new(reply)));
    }

    /// Lets the world do something once the decision is committed.
    pub(super) fn effect(&mut self, effect: Effect) {
        self.decided.effects.push(effect);
    }

    pub(super) fn finish(self) -> Decided {
        self.decided
    }
}
