//! How many members want which topic, and whether all want the same.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, Keys};

use ottla_base::Str;

/// Whether all members want the same topics (`SubscriptionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::group) enum SubscriptionKind {
    /// They do.
    Homogeneous,
    /// They do not.
    Heterogeneous,
}

/// By how many members a topic is wanted by name, and by how many regular expressions (`SubscriptionCount`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::group) struct SubscriptionCount {
    /// Members that name it.
    pub(in crate::group) by_name: usize,
    /// Regular expressions that match it.
    pub(in crate::group) by_regex: usize,
}

/// Every topic that somebody in a group wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::group) struct SubscriptionCounts {
    topics: BTreeMap<Str, SubscriptionCount>,
}

impl SubscriptionCounts {
    /// One more member names these topics.
    pub(in crate::group) fn add_names<'a>(&mut self, topics: impl IntoIterator<Item = &'a Str>) {
        for topic in topics {
            self.topics.entry(topic.clone()).or_default().by_name += 1;
        }
    }

    /// One member less names these topics.
    pub(in crate::group) fn remove_names<'a>(&mut self, topics: impl IntoIterator<Item = &'a Str>) {
        self.remove(topics, |count| &mut count.by_name);
    }

    /// One more regular expression matches these topics.
    pub(in crate::group) fn add_matches<'a>(&mut self, topics: impl IntoIterator<Item = &'a Str>) {
        for topic in topics {
            self.topics.entry(topic.clone()).or_default().by_regex += 1;
        }
    }

    /// One regular expression less matches these topics.
    pub(in crate::group) fn remove_matches<'a>(&mut self, topics: impl IntoIterator<Item = &'a Str>) {
        self.remove(topics, |count| &mut count.by_regex);
    }

    fn remove<'a>(
        &mut self,
        topics: impl IntoIterator<Item = &'a Str>,
        part: fn(&mut SubscriptionCount) -> &mut usize,
    ) {
        for topic in topics {
            if let Entry::Occupied(mut count) = self.topics.entry(topic.clone()) {
                let number = part(count.get_mut());
                *number = number.saturating_sub(1);
                if *count.get() == SubscriptionCount::default() {
                    count.remove();
                }
            }
        }
    }

    /// Whether somebody wants a topic.
    pub(in crate::group) fn contains(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// The topics, in order.
    pub(in crate::group) fn topics(&self) -> Keys<'_, Str, SubscriptionCount> {
        self.topics.keys()
    }

    /// The counts, in the order of topics.
    pub(in crate::group) fn counts(&self) -> impl Iterator<Item = SubscriptionCount> {
        self.topics.values().copied()
    }

    /// Whether all of `members` want the same, where nobody has regular expressions.
    pub(in crate::group) fn kind(&self, members: usize) -> SubscriptionKind {
        if self.counts().all(|count| count.by_name == members) {
            SubscriptionKind::Homogeneous
        } else {
            SubscriptionKind::Heterogeneous
        }
    }
}
