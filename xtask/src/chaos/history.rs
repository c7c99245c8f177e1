//! What was sent, acknowledged, seen and read of each partition, and what that says about the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A value's name: who sent it to which partition, and the how-manieth it was there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// The value with this number of this producer in this lane.
    pub fn new(producer: u8, lane: u8, number: u64) -> Value {
        Value(u64::from(producer) << 48 | u64::from(lane) << 40 | number)
    }

    /// Who sent it.
    pub fn producer(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// Its place among the values that the producer sent to the partition.
    pub fn number(self) -> u64 {
        self.0 & 0xff_ffff_ffff
    }

    /// The bytes of the record: all of them follow from the name, so that wrong ones are noticed.
    pub fn bytes(self) -> Vec<u8> {
        let mut random = super::random::Random::new(self.0);
        let len = if random.chance(1) { 20_000 } else { random.below(200) } as usize;
        let mut bytes = self.0.to_be_bytes().to_vec();
        while bytes.len() < 8 + len {
            bytes.extend_from_slice(&random.next().to_be_bytes());
        }
        bytes.truncate(8 + len);
        bytes
    }

    /// The value whose bytes these are.
    pub fn of(bytes: &[u8]) -> Option<Value> {
        let value = Value(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?));
        (value.bytes() == bytes).then_some(value)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}#{}", self.producer(), (self.0 >> 40) as u8, self.number())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// Acknowledged, and not there at the end.
    Lost(Value),
    /// There at more than one offset.
    Duplicate(Value),
    /// Behind a value that its producer sent later.
    Reordered(Value),
    /// Two answers disagree about what is at this offset.
    Inconsistent(i64),
    /// Nothing is at this offset, and more follows.
    Gap(i64),
    /// A value that nobody sent to this partition.
    Foreign(i64),
    /// Left out although its producer's later values were taken.
    Skipped(Value),
}

/// Everything that is known of one partition.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How many values each producer has sent.
    pub sent: BTreeMap<u8, u64>,
    /// What was acknowledged, with the offset of the first value where the answer named it.
    pub acknowledged: Vec<(Option<i64>, Vec<Value>)>,
    /// What a consumer saw meanwhile.
    pub seen: Vec<(i64, Option<Value>)>,
    /// What is there at the end, in the order of offsets; nothing for bytes that are nobody's.
    pub read: Vec<(i64, Option<Value>)>,
}

impl History {
    /// Everything that is wrong, without repetition.
    pub fn check(&self) -> BTreeSet<Anomaly> {
        let mut found = BTreeSet::new();
        let known = self.offsets(&mut found);
        let mut next = 0;
        let mut first_place: BTreeMap<Value, i64> = BTreeMap::new();
        let mut latest: BTreeMap<u8, u64> = BTreeMap::new();
        for (offset, value) in &self.read {
            // A hole where an acknowledged value was is a loss, told below.
            found.extend((next..*offset).filter(|it| !known.contains_key(it)).map(Anomaly::Gap));
            next = offset + 1;
            let Some(value) =
                value.filter(|it| it.number() < self.sent.get(&it.producer()).copied().unwrap_or(0))
            else {
                found.insert(Anomaly::Foreign(*offset));
                continue;
            };
            if first_place.contains_key(&value) {
                found.insert(Anomaly::Duplicate(value));
                continue;
            }
            first_place.insert(value, *offset);
            let latest = latest.entry(value.producer()).or_insert(value.number());
            if value.number() < *latest {
                found.insert(Anomaly::Reordered(value));
            }
            *latest = value.number().max(*latest);
        }
        let acknowledged: BTreeSet<Value> =
            self.acknowledged.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        let missing = |it: &&Value| !first_place.contains_key(*it);
        found.extend(acknowledged.iter().filter(missing).map(|it| Anomaly::Lost(*it)));
        for value in first_place.keys() {
            let before = value.number().checked_sub(1).map(|it| Value(value.0 - value.number() + it));
            let skipped = before.filter(|it| !first_place.contains_key(it) && !acknowledged.contains(it));
            found.extend(skipped.map(Anomaly::Skipped));
        }
        found
    }

    /// What every answer said is at an offset, noting where answers disagree.
    fn offsets(&self, found: &mut BTreeSet<Anomaly>) -> BTreeMap<i64, Value> {
        let mut known = BTreeMap::new();
        let acknowledged = self.acknowledged.iter().filter_map(|(first, values)| Some(((*first)?, values)));
        let acknowledged =
            acknowledged.flat_map(|(first, values)| (first..).zip(values.iter().map(|it| Some(*it))));
        for (offset, value) in acknowledged.chain(self.seen.iter().copied()).chain(self.read.iter().copied())
        {
            match value {
                None => drop(found.insert(Anomaly::Foreign(offset))),
                Some(value) if *known.entry(offset).or_insert(value) != value => {
                    found.insert(Anomaly::Inconsistent(offset));
                }
                Some(_) => {}
            }
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(producer: u8, number: u64) -> Value {
        Value::new(producer, 3, number)
    }

    /// Two producers take turns, two values a batch; everything is acknowledged and read, some of it seen.
    fn good() -> History {
        let mut history = History::default();
        for turn in 0..10u64 {
            let producer = (turn % 2) as u8;
            let values: Vec<_> = (0..2).map(|it| value(producer, turn / 2 * 2 + it)).collect();
            let first = history.read.len() as i64;
            history.read.extend((first..).zip(values.iter().map(|it| Some(*it))));
            history.acknowledged.push(((turn != 4).then_some(first), values));
        }
        history.sent = BTreeMap::from([(0, 12), (1, 10)]);
        history.seen = history.read[..7].to_vec();
        history
    }

    fn check(mutate: impl FnOnce(&mut History), expected: &[Anomaly]) {
        let mut history = good();
        mutate(&mut history);
        assert_eq!(history.check(), expected.iter().cloned().collect());
    }

    #[test]
    fn a_good_history_has_nothing_wrong() {
        check(|_| (), &[]);
        // Not acknowledged but there, and not acknowledged and not there, are both good.
        check(|it| drop(it.acknowledged.remove(9)), &[]);
        check(
            |it| {
                it.acknowledged.truncate(9);
                it.read.truncate(18);
            },
            &[],
        );
    }

    #[test]
    fn a_value_dropped_from_the_end_is_lost() {
        check(|it| it.read.truncate(19), &[Anomaly::Lost(value(1, 9))]);
    }

    #[test]
    fn a_value_dropped_from_the_middle_is_lost() {
        check(|it| it.read.retain(|it| it.0 != 12), &[Anomaly::Lost(value(0, 6))]);
    }

    #[test]
    fn an_offset_that_never_was_is_a_gap() {
        check(
            |it| {
                it.acknowledged.pop();
                it.read[18].0 += 1;
                it.read[19].0 += 1;
            },
            &[Anomaly::Gap(18)],
        );
    }

    #[test]
    fn a_value_at_two_offsets_is_a_duplicate() {
        check(|it| it.read.push((20, Some(value(0, 9)))), &[Anomaly::Duplicate(value(0, 9))]);
        check(|it| it.read.push((20, Some(value(1, 0)))), &[Anomaly::Duplicate(value(1, 0))]);
    }

    #[test]
    fn values_acknowledged_in_the_wrong_order_are_reordered() {
        check(
            |it| {
                (it.read[16].1, it.read[17].1) = (it.read[17].1, it.read[16].1);
                it.acknowledged[8].1.swap(0, 1);
            },
            &[Anomaly::Reordered(value(0, 8))],
        );
    }

    #[test]
    fn values_that_change_places_behind_an_acknowledgement_are_inconsistent() {
        // Of two producers: nobody's order is broken, but offsets have moved.
        check(
            |it| (it.read[17].1, it.read[18].1) = (it.read[18].1, it.read[17].1),
            &[Anomaly::Inconsistent(17), Anomaly::Inconsistent(18)],
        );
    }

    #[test]
    fn what_a_consumer_saw_stays() {
        check(|it| it.seen[6].1 = Some(value(1, 3)), &[Anomaly::Inconsistent(6)]);
    }

    #[test]
    fn bytes_that_nobody_sent_are_foreign() {
        check(|it| it.read.push((20, None)), &[Anomaly::Foreign(20)]);
        check(|it| it.read.push((20, Some(value(1, 10)))), &[Anomaly::Foreign(20)]);
        check(|it| it.read.push((20, Some(value(7, 0)))), &[Anomaly::Foreign(20)]);
    }

    #[test]
    fn a_value_left_out_before_a_later_one_is_skipped() {
        check(|it| it.read.push((20, Some(value(0, 11)))), &[Anomaly::Skipped(value(0, 10))]);
    }

    #[test]
    fn bytes_tell_their_value() {
        let mut bytes = value(2, 77).bytes();
        assert_eq!(Value::of(&bytes), Some(value(2, 77)));
        bytes.push(0);
        assert_eq!(Value::of(&bytes), None);
        assert_eq!(Value::of(&[1, 2, 3]), None);
    }
}
