//! What a machine is: facts are applied, requests are decided, and the types keep the two apart.

use ottla_base::{Moment, Offset, Timestamp};

use crate::{Entropy, Held};

/// One domain whose log is the only truth: the controller, a shard of groups, of transactions, of share groups.
pub trait Machine: Sized {
    /// What can be asked for.
    type Request;
    /// What a request is answered with.
    type Reply;
    /// One fact of the log.
    type Record;
    /// What the world is to do once a decision is committed, other than answering.
    type Effect;
    /// State that dies with the seat: sessions, deadlines, tickets of [`Held`] callers.
    type Soft: Default;

    /// Decides one input on the state as it is. May change `soft`, never `self`.
    ///
    /// `caller` values pass through: each request's caller ends up in exactly one of the outcome's replies, now or
    /// in a later decision that takes it out of `soft.held`.
    fn decide<T>(&self, soft: &mut Soft<Self, T>, input: Input<Self, T>, at: At) -> Outcome<Self, T>;

    /// Takes a record as fact. Cannot refuse: what must not happen is not decided.
    fn apply(&mut self, record: &Self::Record);

    /// When the next [`Input::Tick`] is due, if one is.
    fn deadline(&self, soft: &Self::Soft) -> Option<Moment>;
}

/// Where and when a decision is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The host's monotonic clock; every timeout is measured on it.
    pub now: Moment,
    /// The host's wall clock; what records tell.
    pub wall_clock: Timestamp,
    /// The offset that the decision's first record will have in the log.
    pub end: Offset,
}

/// The only two ways in.
pub enum Input<M: Machine, T> {
    /// Somebody asks; `T` is whom to answer.
    Request(M::Request, T),
    /// The machine's own deadline has come.
    Tick,
}

/// What `decide` may change.
pub struct Soft<M: Machine, T> {
    /// The machine's own soft state.
    pub own: M::Soft,
    /// Callers who wait for something other than a commit.
    pub held: Held<T>,
    /// The seat's random numbers.
    pub entropy: Entropy,
}

/// What a decision wants done. The seat applies the records; nobody hears of the rest before they are committed.
pub struct Outcome<M: Machine, T> {
    /// Facts to append, in order.
    pub records: Vec<M::Record>,
    /// Whether the log may hold some of the records without the others.
    pub atomicity: Atomicity,
    /// Answers, each to one caller.
    pub replies: Vec<(T, M::Reply)>,
    /// What the world is to do.
    pub effects: Vec<M::Effect>,
}

/// Whether the records of one decision may be torn apart by a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Atomicity {
    /// All of them or none: they go into one batch, or between the marks of a transaction.
    #[default]
    Together,
    /// Each record stands for itself: a long list may be appended as several batches.
    EachAlone,
}

impl<M: Machine, T> Outcome<M, T> {
    /// Nothing to write, nobody to answer.
    pub fn nothing() -> Self {
        Outcome {
            records: Vec::new(),
            atomicity: Atomicity::Together,
            replies: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// An answer that changes nothing.
    pub fn reply(caller: T, reply: M::Reply) -> Self {
        Outcome { replies: vec![(caller, reply)], ..Outcome::nothing() }
    }

    /// Records that stand or fall together, and the answer that reports them.
    pub fn write(records: Vec<M::Record>, caller: T, reply: M::Reply) -> Self {
        Outcome { records, replies: vec![(caller, reply)], ..Outcome::nothing() }
    }
}

/// Builds hard state from a log: the only way a state comes into being.
pub fn replay<'r, M>(records: impl IntoIterator<Item = &'r M::Record>) -> M
where
    M: Machine + Default,
    M::Record: 'r,
{
    let mut state = M::default();
    for record in records {
        state.apply(record);
    }
    state
}
