//! What groups know of the topics they want: a hash by which they notice a change, and when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_base::{Moment, Str, Uuid};
use ottla_metadata::{Delta, Image};

use crate::topic_hash::{group_hash, topic_hash};

/// How long a group believes that its topics are as they were, if no change is seen: `Integer.MAX_VALUE` milliseconds.
const METADATA_LIFETIME: Duration = Duration::from_millis(i32::MAX as u64);

/// What a seat remembers about topics and about who has looked at them. Soft state.
#[derive(Debug, Default)]
pub(in crate::group) struct MetadataWatch {
    /// Hashes of topics that somebody has asked for. At most one for each topic of the cluster.
    hashes: BTreeMap<Str, i64>,
    /// Groups whose topics were looked at: at which epoch, and until when that is enough.
    looked_at: BTreeMap<Str, (i32, Moment)>,
    /// How many times topics have been created since the seat was taken.
    created: u64,
}

/// How many more groups than there are may be remembered.
const MAX_FORGOTTEN_GROUPS: usize = 64;

impl MetadataWatch {
    /// The hash over the topics that exist among `topics`, which are in order; 0 if none does.
    pub(in crate::group) fn group_hash<'a>(
        &mut self,
        topics: impl IntoIterator<Item = &'a Str>,
        image: &Image,
    ) -> i64 {
        group_hash(topics.into_iter().filter(|topic| image.topics.named(topic).is_some()).map(|topic| {
            self.hashes.get(topic).copied().unwrap_or_else(|| {
                let hash = topic_hash(topic, image);
                self.hashes.insert(topic.detached(), hash);
                hash
            })
        }))
    }

    /// Whether a group in this epoch should look at its topics (`hasMetadataExpired`).
    pub(in crate::group) fn is_due(&self, group: &str, epoch: i32, now: Moment) -> bool {
        self.looked_at.get(group).is_none_or(|(at_epoch, until)| now >= *until || epoch < *at_epoch)
    }

    /// A group has looked; it will be in this epoch.
    pub(in crate::group) fn looked(&mut self, group: &Str, epoch: i32, now: Moment) {
        let until = now + METADATA_LIFETIME;
        match self.looked_at.get_mut(group) {
            Some(entry) => *entry = (epoch, until),
            None => {
                self.looked_at.insert(group.detached(), (epoch, until));
            }
        }
    }

    /// A group should look again, or is gone.
    pub(in crate::group) fn forget_group(&mut self, group: &str) {
        self.looked_at.remove(group);
    }

    /// Forgets groups that do not exist any more, once there are too many: `groups` do.
    pub(in crate::group) fn prune(&mut self, groups: usize, exists: impl Fn(&str) -> bool) {
        if self.looked_at.len() > groups.saturating_mul(2) + MAX_FORGOTTEN_GROUPS {
            self.looked_at.retain(|group, _| exists(group));
        }
    }

    /// Topics were created.
    pub(in crate::group) fn saw_new_topics(&mut self) {
        self.created += 1;
    }

    /// How many times topics have been created since the seat was taken.
    pub(in crate::group) fn created_topics(&self) -> u64 {
        self.created
    }

    /// Topics have changed.
    pub(in crate::group) fn forget_topics<'a>(&mut self, topics: impl IntoIterator<Item = &'a Str>) {
        for topic in topics {
            self.hashes.remove(topic);
        }
    }
}

/// The topics that were created, deleted, given partitions or moved between two images.
pub(in crate::group) fn changed_topics(old: &Image, new: &Image) -> BTreeSet<Str> {
    let delta = Delta::between(old, new);
    let mut changed: BTreeSet<Str> = delta
        .topics()
        .flat_map(|change| [change.old, change.new])
        .flatten()
        .map(|topic| topic.name.clone())
        .collect();
    for change in delta.partitions() {
        let (Some(before), Some(now)) = (change.old, change.new) else { continue };
        if before.replicas != now.replicas
            && let Some(topic) = new.topics.get(change.key.topic)
        {
            changed.insert(topic.name.clone());
        }
    }
    changed
}

/// Whether there are topics that there were not.
pub(in crate::group) fn has_new_topics(old: &Image, new: &Image) -> bool {
    Delta::between(old, new).topics().any(|change| change.old.is_none())
}

/// The ids of the topics that exist among `names`.
pub(in crate::group) fn topic_ids<'a>(
    names: impl IntoIterator<Item = &'a Str>,
    image: &Image,
) -> BTreeSet<Uuid> {
    names.into_iter().filter_map(|name| image.topics.id(name)).collect()
}
