//! Deadlines by name, for machines' soft state: each name has at most one.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Moment;

/// When what is due. Setting a timer again moves it.
#[derive(Debug, Clone)]
pub struct Timers<K> {
    due: BTreeSet<(Moment, K)>,
    by_name: BTreeMap<K, Moment>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { due: BTreeSet::new(), by_name: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Lets `name` be due at `at`, and no longer when it was.
    pub fn set(&mut self, name: K, at: Moment) {
        if let Some(before) = self.by_name.insert(name.clone(), at) {
            if before == at {
                return;
            }
            self.due.remove(&(before, name.clone()));
        }
        self.due.insert((at, name));
    }

    /// Lets `name` not be due any more. Says when it would have been.
    pub fn cancel(&mut self, name: &K) -> Option<Moment> {
        let at = self.by_name.remove(name)?;
        self.due.remove(&(at, name.clone()));
        Some(at)
    }

    /// When `name` is due, if it is set.
    pub fn get(&self, name: &K) -> Option<Moment> {
        self.by_name.get(name).copied()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due at `now`; it is not set any more.
    pub fn pop_due(&mut self, now: Moment) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        self.by_name.remove(&name);
        Some(name)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Moment, Timers};

    #[test]
    fn a_name_is_due_once_and_when_it_was_last_set() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        timers.set("a", at(5));
        timers.set("b", at(3));
        timers.set("a", at(2));
        timers.set("c", at(4));
        assert_eq!(timers.cancel(&"c"), Some(at(4)));
        assert_eq!((timers.next(), timers.get(&"a")), (Some(at(2)), Some(at(2))));
        assert_eq!(timers.pop_due(at(1)), None);
        assert_eq!(timers.pop_due(at(9)), Some("a"));
        assert_eq!(timers.pop_due(at(9)), Some("b"));
        assert_eq!(timers.pop_due(at(9)), None);
        assert!(timers.is_empty());
    }
}
