//! Values that records of the log set, with the offsets that set them: voters and `kraft.version`.

use ottla_base::Offset;

use crate::voters::{KRaftVersion, VoterSet};

/// A value over the log: which one holds at an offset, and which one a truncation brings back.
#[derive(Debug, Clone)]
pub struct History<T> {
    entries: Vec<(Offset, T)>,
}

impl<T> Default for History<T> {
    fn default() -> History<T> {
        History { entries: Vec::new() }
    }
}

impl<T> History<T> {
    /// Takes note of the value set at `offset`, which lies behind all others.
    pub fn push(&mut self, offset: Offset, value: T) {
        while self.entries.last().is_some_and(|(last, _)| *last >= offset) {
            self.entries.pop();
        }
        self.entries.push((offset, value));
    }

    /// The latest value and where it was set.
    pub fn last(&self) -> Option<(Offset, &T)> {
        self.entries.last().map(|(offset, value)| (*offset, value))
    }

    /// The value in force after the record at `offset`.
    pub fn at(&self, offset: Offset) -> Option<&T> {
        let after = self.entries.partition_point(|(set, _)| *set <= offset);
        self.entries[..after].last().map(|(_, value)| value)
    }

    /// Forgets what was set at or behind `end`: those records are gone.
    pub fn truncate_new(&mut self, end: Offset) {
        self.entries.retain(|(offset, _)| *offset < end);
    }

    /// Forgets what a snapshot that ends at `start` covers, except the value in force there.
    pub fn truncate_old(&mut self, start: Offset) {
        let covered = self.entries.partition_point(|(offset, _)| *offset < start);
        self.entries.drain(..covered.saturating_sub(1));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Who votes, as configuration and log say it: read to the very end of the log, committed or not.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// The voters of `controller.quorum.voters`; in force until the log holds voters.
    pub static_voters: VoterSet,
    /// The voters that records set.
    pub voters: History<VoterSet>,
    /// The `kraft.version` that records set.
    pub kraft_version: History<KRaftVersion>,
}

impl Membership {
    /// Static voters and an empty log.
    pub fn new(static_voters: VoterSet) -> Membership {
        Membership { static_voters, voters: History::default(), kraft_version: History::default() }
    }

    /// The voters in force at the end of the log.
    pub fn last_voters(&self) -> &VoterSet {
        self.voters.last().map_or(&self.static_voters, |(_, voters)| voters)
    }

    /// `kraft.version` in force at the end of the log.
    pub fn last_kraft_version(&self) -> KRaftVersion {
        self.kraft_version.last().map_or(KRaftVersion::Static, |(_, version)| *version)
    }

    /// What a snapshot that ends at `end` has to say: `kraft.version`, and the voters if the log set any.
    pub fn at_end(&self, end: Offset) -> (KRaftVersion, Option<&VoterSet>) {
        let last = Offset(end.0.saturating_sub(1));
        let version = self.kraft_version.at(last).copied().unwrap_or(KRaftVersion::Static);
        (version, self.voters.at(last).filter(|_| version.is_dynamic()))
    }

    /// The log was truncated to `end`.
    pub fn truncate_new(&mut self, end: Offset) {
        self.voters.truncate_new(end);
        self.kraft_version.truncate_new(end);
    }

    /// A snapshot that ends at `start` was taken.
    pub fn truncate_old(&mut self, start: Offset) {
        self.voters.truncate_old(start);
        self.kraft_version.truncate_old(start);
    }

    /// A snapshot replaces the log.
    pub fn clear(&mut self) {
        self.voters.clear();
        self.kraft_version.clear();
    }
}
