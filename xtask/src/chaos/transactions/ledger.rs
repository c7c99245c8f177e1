//! What producers did in their transactions, what can be read of it, and what that says about the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A record's name: whose transaction, the how-manieth it was, and the record's place in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The producer.
    pub producer: u8,
    /// The number of its transaction.
    pub transaction: u64,
    /// The place in it.
    pub place: u8,
}

impl Entry {
    /// The record's bytes.
    pub fn bytes(self) -> Vec<u8> {
        format!("{}.{}.{}", self.producer, self.transaction, self.place).into_bytes()
    }

    /// The entry whose bytes these are.
    pub fn of(bytes: &[u8]) -> Option<Entry> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.split('.');
        let (producer, transaction, place) = (parts.next()?, parts.next()?, parts.next()?);
        let entry = Entry {
            producer: producer.parse().ok()?,
            transaction: transaction.parse().ok()?,
            place: place.parse().ok()?,
        };
        (entry.bytes() == bytes).then_some(entry)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.producer, self.transaction, self.place)
    }
}

/// How far a producer came with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It never asked for an end.
    Never,
    /// It asked for a commit and has no answer.
    MayBeCommitted,
    /// It was told that the transaction is committed.
    Committed,
    /// It asked for an abort, whatever the answer.
    Aborted,
}

/// One transaction as its producer knows it.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What was acknowledged in it.
    pub acknowledged: BTreeSet<Entry>,
    /// Whether the group's offset was committed in it.
    pub has_offset: bool,
    /// How it ended.
    pub ending: Ending,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// Committed, and not there.
    Lost(Entry),
    /// There, although its transaction was aborted or never ended.
    AbortedRead(Entry),
    /// Some of a transaction is there, and some of it not.
    Torn(u8, u64),
    /// There more than once.
    Duplicate(Entry),
    /// A reader saw it, and it is not there any more.
    Vanished(Entry),
    /// Nobody has written it.
    Foreign(Entry),
    /// The group's offset is not that of the last committed transaction that has one.
    Offset {
        /// Whose group.
        producer: u8,
        /// What it must be.
        expected: Option<u64>,
        /// What it is.
        found: Option<u64>,
    },
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Every producer's transactions, by number.
    pub transactions: BTreeMap<u8, Vec<Transaction>>,
    /// What readers of committed records saw while the server was killed.
    pub seen: BTreeSet<Entry>,
    /// What is there at the end.
    pub read: Vec<Entry>,
    /// Every producer's group's offset.
    pub offsets: BTreeMap<u8, Option<u64>>,
}

impl Ledger {
    /// Everything that is wrong.
    pub fn check(&self) -> BTreeSet<Anomaly> {
        let mut found = BTreeSet::new();
        let mut there = BTreeSet::new();
        for entry in &self.read {
            if !there.insert(*entry) {
                found.insert(Anomaly::Duplicate(*entry));
            }
            let transactions = self.transactions.get(&entry.producer);
            if transactions.and_then(|all| all.get(entry.transaction as usize)).is_none() {
                found.insert(Anomaly::Foreign(*entry));
            }
        }
        found.extend(self.seen.difference(&there).map(|entry| Anomaly::Vanished(*entry)));
        for (producer, transactions) in &self.transactions {
            let mut last_offset = None;
            let mut is_known = true;
            for (number, transaction) in (0..).zip(transactions) {
                let is_there = |entry: &&Entry| there.contains(*entry);
                let visible = transaction.acknowledged.iter().filter(is_there).count();
                let all = transaction.acknowledged.len();
                let of_it = |place| Entry { producer: *producer, transaction: number, place };
                let any = there.range(of_it(0)..=of_it(u8::MAX)).next().copied();
                match (transaction.ending, any) {
                    (Ending::Never | Ending::Aborted, Some(entry)) => {
                        found.insert(Anomaly::AbortedRead(entry));
                    }
                    (Ending::Committed, _) => {
                        let lost = transaction.acknowledged.iter().filter(|it| !there.contains(it));
                        found.extend(lost.map(|it| Anomaly::Lost(*it)));
                    }
                    (Ending::MayBeCommitted, Some(_)) if visible < all => {
                        found.insert(Anomaly::Torn(*producer, number));
                    }
                    _ => {}
                }
                let committed = match transaction.ending {
                    Ending::Committed => Some(true),
                    Ending::Never | Ending::Aborted => Some(false),
                    // Its records tell, if it has any.
                    Ending::MayBeCommitted => (all > 0).then_some(any.is_some()),
                };
                match committed {
                    Some(true) if transaction.has_offset => (last_offset, is_known) = (Some(number), true),
                    None if transaction.has_offset => is_known = false,
                    _ => {}
                }
            }
            let at_end = self.offsets.get(producer).copied().flatten();
            if is_known && at_end != last_offset {
                let (producer, expected) = (*producer, last_offset);
                found.insert(Anomaly::Offset { producer, expected, found: at_end });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(transaction: u64, place: u8) -> Entry {
        Entry { producer: 1, transaction, place }
    }

    fn transaction(number: u64, ending: Ending) -> Transaction {
        let acknowledged = (0..2).map(|place| entry(number, place)).collect();
        Transaction { acknowledged, has_offset: true, ending }
    }

    /// Committed, aborted, committed without an answer, never ended, aborted without an answer.
    fn good() -> Ledger {
        let endings = [
            Ending::Committed,
            Ending::Aborted,
            Ending::MayBeCommitted,
            Ending::Never,
            Ending::MayBeCommitted,
        ];
        let transactions = (0..).zip(endings).map(|(number, ending)| transaction(number, ending));
        Ledger {
            transactions: BTreeMap::from([(1, transactions.collect())]),
            seen: [entry(0, 0), entry(2, 1)].into(),
            read: vec![entry(0, 0), entry(0, 1), entry(2, 0), entry(2, 1)],
            offsets: BTreeMap::from([(1, Some(2))]),
        }
    }

    fn check(mutate: impl FnOnce(&mut Ledger), expected: &[Anomaly]) {
        let mut ledger = good();
        mutate(&mut ledger);
        assert_eq!(ledger.check(), expected.iter().cloned().collect());
    }

    #[test]
    fn a_good_ledger_has_nothing_wrong() {
        check(|_| (), &[]);
    }

    #[test]
    fn what_was_committed_and_is_not_there_is_lost() {
        check(|it| it.read.retain(|it| *it != entry(0, 1)), &[Anomaly::Lost(entry(0, 1))]);
    }

    #[test]
    fn what_was_aborted_and_is_there_is_an_aborted_read() {
        check(|it| it.read.push(entry(1, 0)), &[Anomaly::AbortedRead(entry(1, 0))]);
        check(|it| it.read.push(entry(3, 1)), &[Anomaly::AbortedRead(entry(3, 1))]);
    }

    #[test]
    fn a_part_of_a_transaction_is_torn() {
        check(
            |it| {
                it.read.push(entry(4, 1));
                it.offsets.insert(1, Some(4));
            },
            &[Anomaly::Torn(1, 4)],
        );
    }

    #[test]
    fn offsets_stand_and_fall_with_their_transaction() {
        let offset = |expected, found| Anomaly::Offset { producer: 1, expected, found };
        check(|it| _ = it.offsets.insert(1, Some(3)), &[offset(Some(2), Some(3))]);
        check(|it| _ = it.offsets.insert(1, None), &[offset(Some(2), None)]);
        check(|it| it.read.extend([entry(4, 0), entry(4, 1)]), &[offset(Some(4), Some(2))]);
    }

    #[test]
    fn what_was_seen_stays_and_what_nobody_wrote_is_not_there() {
        check(|it| _ = it.seen.insert(entry(4, 0)), &[Anomaly::Vanished(entry(4, 0))]);
        check(|it| it.read.push(entry(9, 0)), &[Anomaly::Foreign(entry(9, 0))]);
        check(|it| it.read.push(entry(0, 0)), &[Anomaly::Duplicate(entry(0, 0))]);
    }

    #[test]
    fn bytes_tell_their_entry() {
        assert_eq!(Entry::of(&entry(17, 3).bytes()), Some(entry(17, 3)));
        assert_eq!(Entry::of(b"1.2"), None);
        assert_eq!(Entry::of(b"1.02.3"), None);
    }
}
