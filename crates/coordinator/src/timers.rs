//! Deadlines by name, for machines' soft state: each name has at most one.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Moment;

/// When what is due. Setting a timer again moves it.
///
/// Most timers are moved on long before they are due, each time somebody is heard of. So a timer that moves on stays
/// where it is in the queue, and finds its new place when it comes to the front.
#[derive(Debug, Clone)]
pub struct Timers<K> {
    /// Each name once, at its deadline or before it.
    queue: BTreeSet<(Moment, K)>,
    by_name: BTreeMap<K, Due>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Moment,
    /// Its place in the queue.
    queued: Moment,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { queue: BTreeSet::new(), by_name: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Lets `name` be due at `at`, and no longer when it was.
    pub fn set(&mut self, name: K, at: Moment) {
        match self.by_name.get_mut(&name) {
            Some(due) if due.queued <= at => due.at = at,
            Some(due) => {
                let before = std::mem::replace(due, Due { at, queued: at });
                self.queue.remove(&(before.queued, name.clone()));
                self.queue.insert((at, name));
            }
            None => {
                self.by_name.insert(name.clone(), Due { at, queued: at });
                self.queue.insert((at, name));
            }
        }
    }

    /// Lets `name` not be due any more. Says when it would have been.
    pub fn cancel(&mut self, name: &K) -> Option<Moment> {
        let due = self.by_name.remove(name)?;
        self.queue.remove(&(due.queued, name.clone()));
        Some(due.at)
    }

    /// When `name` is due, if it is set.
    pub fn get(&self, name: &K) -> Option<Moment> {
        self.by_name.get(name).map(|due| due.at)
    }

    /// When to look at the next one: none is due before.
    pub fn next(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due at `now`; it is not set any more. If there is none, [`Timers::next`] is after
    /// `now`.
    pub fn pop_due(&mut self, now: Moment) -> Option<K> {
        while self.next()? <= now {
            let (queued, name) = self.queue.pop_first()?;
            match self.by_name.get_mut(&name) {
                Some(due) if due.at > queued => {
                    due.queued = due.at;
                    self.queue.insert((due.at, name));
                }
                _ => {
                    self.by_name.remove(&name);
                    return Some(name);
                }
            }
        }
        None
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

    #[test]
    fn what_is_moved_on_is_due_later_and_in_its_order() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        timers.set("a", at(1));
        timers.set("b", at(2));
        timers.set("a", at(4));
        timers.set("a", at(3));
        assert_eq!((timers.get(&"a"), timers.len()), (Some(at(3)), 2));
        assert_eq!(timers.pop_due(at(1)), None);
        assert_eq!(timers.next(), Some(at(2)), "whoever looks in vain does not look again at once");
        assert_eq!(timers.pop_due(at(9)), Some("b"));
        assert_eq!(timers.pop_due(at(9)), Some("a"));
        timers.set("c", at(5));
        timers.set("c", at(7));
        assert_eq!(timers.cancel(&"c"), Some(at(7)));
        assert_eq!((timers.next(), timers.pop_due(at(9))), (None, None));
        assert!(timers.is_empty());
    }
}
