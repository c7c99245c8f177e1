//! Values by group, topic and partition; no level is ever left empty.

use std::collections::BTreeMap;

use ottla_base::Str;

/// Values of partitions.
pub(in crate::group) type Partitions<V> = BTreeMap<i32, V>;
/// Values of topics' partitions.
pub(in crate::group) type Topics<V> = BTreeMap<Str, Partitions<V>>;

/// Values by group, topic and partition.
#[derive(Debug)]
pub(super) struct ByPartition<V> {
    groups: BTreeMap<Str, Topics<V>>,
    len: usize,
}

impl<V> Default for ByPartition<V> {
    fn default() -> Self {
        ByPartition { groups: BTreeMap::new(), len: 0 }
    }
}

impl<V> ByPartition<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn group(&self, group: &str) -> Option<&Topics<V>> {
        self.groups.get(group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (&Str, &Topics<V>)> {
        self.groups.iter()
    }

    pub(super) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&V> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// Puts a value in the place of what was there. Names are copied when they are new.
    pub(super) fn insert(&mut self, group: &str, topic: &str, partition: i32, value: V) -> Option<V> {
        let topics = entry(&mut self.groups, group);
        let before = entry(topics, topic).insert(partition, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// The value of a partition, made if there is none.
    pub(super) fn or_default(&mut self, group: &str, topic: &str, partition: i32) -> &mut V
    where
        V: Default,
    {
        let topics = entry(&mut self.groups, group);
        match entry(topics, topic).entry(partition) {
            std::collections::btree_map::Entry::Occupied(occupied) => occupied.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                self.len += 1;
                vacant.insert(V::default())
            }
        }
    }

    pub(super) fn get_mut(&mut self, group: &str, topic: &str, partition: i32) -> Option<&mut V> {
        self.groups.get_mut(group)?.get_mut(topic)?.get_mut(&partition)
    }

    pub(super) fn remove(&mut self, group: &str, topic: &str, partition: i32) -> Option<V> {
        let topics = self.groups.get_mut(group)?;
        let partitions = topics.get_mut(topic)?;
        let removed = partitions.remove(&partition)?;
        self.len -= 1;
        if partitions.is_empty() {
            topics.remove(topic);
            if topics.is_empty() {
                self.groups.remove(group);
            }
        }
        Some(removed)
    }
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<Str, V>, name: &str) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(Str::from(name), V::default());
    }
    // The name is there: it was, or it was inserted.
    match map.get_mut(name) {
        Some(value) => value,
        None => unreachable!("inserted above"),
    }
}
