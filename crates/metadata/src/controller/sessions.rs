//! Which brokers are alive: soft state that every new controller learns again.

use std::collections::BTreeMap;

use ottla_base::{BrokerEpoch, Moment, NodeId, Offset};
use ottla_machine::At;

use super::{Decided, Deciding, Options};
use crate::Image;

/// What brokers have said to this controller since it became active, and when it will look at leaders again.
#[derive(Debug, Default)]
pub struct Sessions {
    begun: Option<Begun>,
    brokers: BTreeMap<NodeId, Session>,
}

#[derive(Debug)]
struct Begun {
    /// The log's end when the seat was taken: later than every registration that was replayed.
    end: Offset,
    balance_at: Option<Moment>,
    unclean_election_at: Moment,
}

#[derive(Debug, Default)]
struct Session {
    epoch: BrokerEpoch,
    /// When it was last heard from.
    contact: Option<Moment>,
    /// Whether that is only a grace: it has not spoken to this controller yet.
    unheard: bool,
    /// How far it had read the metadata log then.
    metadata: Option<Offset>,
    /// The offset of its registration record, if this controller wrote it.
    registered: Option<Offset>,
    /// What the other brokers must have read before it may stop, once it is shutting down.
    shutdown: Option<Offset>,
}

impl Sessions {
    /// At the first decision: brokers that lead get a whole timeout to be heard from.
    pub(super) fn begin(&mut self, image: &Image, options: &Options, at: At) {
        if self.begun.is_some() {
            return;
        }
        self.begun = Some(Begun {
            end: at.end,
            balance_at: options.leader_balance_interval.map(|interval| at.now + interval),
            unclean_election_at: at.now + options.unclean_election_interval,
        });
        for broker in image.cluster.brokers.values() {
            let contact = (!broker.fenced).then_some(at.now);
            let session = Session { epoch: broker.epoch, contact, unheard: true, ..Session::default() };
            self.brokers.insert(broker.id, session);
        }
    }

    /// A broker has registered; a new incarnation has not been heard from yet.
    pub(super) fn register(&mut self, broker: NodeId, epoch: BrokerEpoch, record: Offset) {
        let session = self.brokers.entry(broker).or_default();
        if session.epoch != epoch {
            *session = Session { epoch, ..Session::default() };
        }
        session.registered = Some(record);
    }

    pub(super) fn unregister(&mut self, broker: NodeId) {
        self.brokers.remove(&broker);
    }

    /// A broker was heard from.
    pub(super) fn touch(&mut self, broker: NodeId, epoch: BrokerEpoch, metadata: Offset, now: Moment) {
        let session = self.brokers.entry(broker).or_default();
        session.epoch = epoch;
        session.contact = Some(now);
        session.unheard = false;
        session.metadata = Some(metadata);
    }

    /// Whether a broker's session is alive, so that no other may take its id. The broker of this controller's own
    /// node is not, before it has spoken: if it was another process, that one held the same directories and is
    /// gone. (Apache Kafka makes a killed node wait for its own ghost's session to end.)
    pub(super) fn is_alive(
        &self,
        broker: NodeId,
        epoch: BrokerEpoch,
        now: Moment,
        options: &Options,
    ) -> bool {
        let session = self.brokers.get(&broker).filter(|session| session.epoch == epoch);
        let session = session.filter(|session| broker != options.node || !session.unheard);
        let contact = session.and_then(|session| session.contact);
        contact.is_some_and(|contact| now < contact + options.session_timeout)
    }

    /// How far a broker must have read to know its own registration.
    pub(super) fn registered_at(&self, broker: NodeId) -> Offset {
        let exact = self.brokers.get(&broker).and_then(|session| session.registered);
        let replayed = self.begun.as_ref().map_or(Offset::ZERO, |begun| begun.end.after(-1));
        exact.unwrap_or(replayed)
    }

    /// Whether a broker is shutting down, and what the others must have read before it may stop.
    pub(super) fn shutdown(&self, broker: NodeId) -> Option<Offset> {
        self.brokers.get(&broker).and_then(|session| session.shutdown)
    }

    /// A broker begins to shut down, or is done with it.
    pub(super) fn set_shutdown(&mut self, broker: NodeId, others_must_reach: Option<Offset>) {
        if let Some(session) = self.brokers.get_mut(&broker) {
            session.shutdown = others_must_reach;
        }
    }

    /// How far the slowest broker that leads has read; `None` if there is none.
    pub(super) fn slowest(&self, image: &Image) -> Option<Offset> {
        let leading =
            image.cluster.brokers.values().filter(|it| !it.fenced && self.shutdown(it.id).is_none());
        let read = |broker: NodeId| self.brokers.get(&broker).and_then(|session| session.metadata);
        leading.map(|it| read(it.id).unwrap_or(Offset(-1))).min()
    }

    /// Unfenced brokers with the moments at which their sessions end.
    fn expiries<'a>(
        &'a self,
        image: &'a Image,
        options: &'a Options,
    ) -> impl Iterator<Item = (NodeId, Moment)> + 'a {
        self.brokers.iter().filter_map(move |(id, session)| {
            let broker = image.cluster.broker(*id)?;
            let current = !broker.fenced && broker.epoch == session.epoch;
            session.contact.filter(|_| current).map(|contact| (*id, contact + options.session_timeout))
        })
    }

    pub(super) fn deadline(&self, image: &Image, options: &Options) -> Option<Moment> {
        let begun = self.begun.as_ref()?;
        let looks = begun.balance_at.into_iter().chain([begun.unclean_election_at]);
        looks.chain(self.expiries(image, options).map(|(_, at)| at)).min()
    }
}

impl Deciding<'_> {
    /// Fences who has not been heard from for too long, and looks at leaders if it is time.
    pub(super) fn tick(&mut self) -> Decided<()> {
        let now = self.at.now;
        let mut records = Vec::new();
        // One at a time, as Kafka does: what the next one leads may depend on this one's being fenced.
        let expired = self.sessions.expiries(self.image, self.options).find(|(_, at)| *at <= now);
        if let Some((broker, _)) = expired {
            self.fence(broker, &mut records);
            return Decided::each_alone(records, ());
        }
        let due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        let begun = self.sessions.begun.as_ref();
        if due(begun.and_then(|begun| begun.balance_at)) {
            let more = self.balance_leaders(&mut records);
            let interval = self.options.leader_balance_interval.filter(|_| !more).unwrap_or_default();
            self.look_again(|begun| begun.balance_at = Some(now + interval));
        } else if due(begun.map(|begun| begun.unclean_election_at)) {
            let more = self.elect_unclean_leaders(&mut records);
            let interval = Some(self.options.unclean_election_interval).filter(|_| !more).unwrap_or_default();
            self.look_again(|begun| begun.unclean_election_at = now + interval);
        }
        Decided::each_alone(records, ())
    }

    fn look_again(&mut self, set: impl FnOnce(&mut Begun)) {
        if let Some(begun) = &mut self.sessions.begun {
            set(begun);
        }
    }
}
