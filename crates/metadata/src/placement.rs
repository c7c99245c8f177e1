//! Which brokers get the replicas of new partitions: stripes over racks and brokers, from a random start.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ottla_base::{NodeId, Str};
use ottla_machine::Entropy;

/// A broker that can be given replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Which one.
    pub(crate) broker: NodeId,
    /// Where it stands.
    pub(crate) rack: Option<Str>,
    /// Whether it is fenced: it may follow, but not be the first replica.
    pub(crate) fenced: bool,
}

/// Why replicas cannot be placed. The text is Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CannotPlace(pub(crate) String);

/// Places the replicas of `partitions` new partitions, as `StripedReplicaPlacer` does: replicas of a partition go to
/// different racks while there are any, and first replicas are spread evenly over racks and brokers.
pub(crate) fn place(
    candidates: &[Candidate],
    partitions: usize,
    replicas: i16,
    entropy: &mut Entropy,
) -> Result<Vec<Vec<NodeId>>, CannotPlace> {
    let unfenced = candidates.iter().filter(|it| !it.fenced).count();
    let wanted = usize::try_from(replicas).unwrap_or(0);
    if wanted == 0 {
        return Err(CannotPlace(format!(
            "Invalid replication factor {replicas}: the replication factor must be positive."
        )));
    }
    if unfenced == 0 {
        let reason = "All brokers are currently fenced, or have all their log directories cordoned.";
        return Err(CannotPlace(reason.to_owned()));
    }
    if wanted > candidates.len() {
        return Err(CannotPlace(format!(
            "The target replication factor of {replicas} cannot be reached because only {} broker(s) are \
             registered or some brokers have all their log directories cordoned.",
            candidates.len()
        )));
    }
    let mut racks = Racks::new(candidates, unfenced, entropy);
    Ok((0..partitions).map(|_| racks.place(wanted, entropy)).collect())
}

/// Brokers of one rack in one state, handed out in a circle that starts one further for every partition.
#[derive(Default)]
struct Circle {
    brokers: Vec<NodeId>,
    round: usize,
    start: usize,
    handed_out: usize,
}

impl Circle {
    fn next(&mut self, round: usize) -> Option<NodeId> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.handed_out = 0;
            self.start = (self.start + 1) % self.brokers.len();
        }
        if self.handed_out == self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.start + self.handed_out) % self.brokers.len()];
        self.handed_out += 1;
        Some(broker)
    }
}

#[derive(Default)]
struct Rack {
    unfenced: Circle,
    fenced: Circle,
}

impl Rack {
    fn circles(&mut self) -> [&mut Circle; 2] {
        [&mut self.unfenced, &mut self.fenced]
    }

    fn next(&mut self, round: usize) -> Option<NodeId> {
        self.unfenced.next(round).or_else(|| self.fenced.next(round))
    }
}

struct Racks {
    racks: Vec<Rack>,
    unfenced: usize,
    /// Counts partitions: within a round no circle hands out a broker twice.
    round: usize,
    since_shuffle: usize,
    /// The rack from which the next partition's first replica comes, if it has an unfenced broker.
    turn: usize,
}

impl Racks {
    fn new(candidates: &[Candidate], unfenced: usize, entropy: &mut Entropy) -> Racks {
        let mut by_name: BTreeMap<Option<&Str>, Rack> = BTreeMap::new();
        for candidate in candidates {
            let rack = by_name.entry(candidate.rack.as_ref()).or_default();
            let circle = if candidate.fenced { &mut rack.fenced } else { &mut rack.unfenced };
            circle.brokers.push(candidate.broker);
        }
        let mut racks: Vec<Rack> = by_name.into_values().collect();
        for circle in racks.iter_mut().flat_map(Rack::circles).filter(|it| !it.brokers.is_empty()) {
            circle.brokers.sort_unstable();
            circle.start = entropy.below(circle.brokers.len());
        }
        let turn = entropy.below(racks.len());
        Racks { racks, unfenced, round: 0, since_shuffle: 0, turn }
    }

    /// Places one partition. There are at least `wanted` brokers, and one of them is unfenced.
    fn place(&mut self, wanted: usize, entropy: &mut Entropy) -> Vec<NodeId> {
        // Once every broker has led, another order keeps the same brokers from always following one another.
        if self.since_shuffle == self.unfenced && self.unfenced > 1 {
            self.shuffle(entropy);
            self.since_shuffle = 0;
        }
        let count = self.racks.len();
        if self.turn == count {
            self.turn = 0;
        }
        let round = self.round;
        let mut first_rack = self.turn;
        let mut placed = Vec::with_capacity(wanted);
        while placed.is_empty() {
            match self.racks[first_rack].unfenced.next(round) {
                Some(broker) => placed.push(broker),
                None => first_rack = (first_rack + 1) % count,
            }
        }
        // The first replica's rack is passed over once, so that the second goes elsewhere.
        let mut pass_over = Some(first_rack);
        let mut rack = self.turn;
        while placed.len() < wanted {
            if pass_over == Some(rack) {
                pass_over = None;
            } else {
                placed.extend(self.racks[rack].next(round));
            }
            rack = (rack + 1) % count;
        }
        self.round += 1;
        self.since_shuffle += 1;
        self.turn += 1;
        placed
    }

    fn shuffle(&mut self, entropy: &mut Entropy) {
        shuffle(&mut self.racks, entropy);
        for circle in self.racks.iter_mut().flat_map(Rack::circles) {
            shuffle(&mut circle.brokers, entropy);
        }
    }
}

fn shuffle<T>(items: &mut [T], entropy: &mut Entropy) {
    for last in (1..items.len()).rev() {
        items.swap(last, entropy.below(last + 1));
    }
}
