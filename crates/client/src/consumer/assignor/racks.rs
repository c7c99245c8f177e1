//! Racks of members and of replicas, and moves that bring partitions to members in the rack of a replica (KIP-881).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;

use super::sticky::Sharing;
use super::{Members, Topics};
use crate::cluster::TopicPartition;

/// The racks that matter: none, unless members have racks that replicas have too, and replicas of some partitions are
/// not in all of them (`RackInfo.useRackAwareAssignment`).
pub(super) struct Racks<'a> {
    of_members: BTreeMap<&'a Str, &'a Str>,
    of_partitions: &'a Topics,
}

impl<'a> Racks<'a> {
    pub(super) fn new(topics: &'a Topics, members: &'a Members) -> Racks<'a> {
        let with_rack = members.iter().filter_map(|(id, it)| Some((id, it.rack.as_ref()?)));
        let of_members: BTreeMap<&Str, &Str> = with_rack.filter(|(_, rack)| !rack.is_empty()).collect();
        let all: BTreeSet<&Str> = topics.values().flatten().flatten().collect();
        let matter = of_members.values().any(|rack| all.contains(rack))
            && topics.values().flatten().any(|racks| racks.len() != all.len());
        Racks { of_members: if matter { of_members } else { BTreeMap::new() }, of_partitions: topics }
    }

    /// Whether a member would read a partition from another rack. One without a rack never does.
    pub(super) fn mismatch(&self, member: &Str, partition: &TopicPartition) -> bool {
        let Some(rack) = self.of_members.get(member) else { return false };
        let index = usize::try_from(partition.partition.0).unwrap_or(usize::MAX);
        let racks = self.of_partitions.get(&partition.topic).and_then(|it| it.get(index));
        racks.is_none_or(|racks| !racks.contains(*rack))
    }

    /// Moves and swaps partitions for as long as more of them come to a matching rack and no member gets more than
    /// another had. Every change leaves fewer that do not match, so it ends. Says whether anything was moved.
    pub(super) fn improve(&self, sharing: &mut Sharing<'_>) -> bool {
        let mut has_moved = false;
        while !self.of_members.is_empty() {
            let mut moved = false;
            for (partition, owner) in sharing.owners() {
                // It may have been given away in a swap.
                if self.mismatch(&owner, &partition) && sharing.has(&owner, &partition) {
                    moved |= self.bring_home(sharing, partition, &owner);
                }
            }
            has_moved |= moved;
            if !moved {
                break;
            }
        }
        has_moved
    }

    /// Gives a partition to a member in one of its racks: one with less, or one that gives another for it.
    fn bring_home(&self, sharing: &mut Sharing<'_>, partition: TopicPartition, owner: &Str) -> bool {
        let mut others = sharing.wanting(&partition.topic);
        others.retain(|it| it != owner && !self.mismatch(it, &partition));
        others.sort_by_key(|it| sharing.load(it));
        if let Some(least) = others.first()
            && sharing.load(least) < sharing.load(owner)
        {
            sharing.give(partition, least.clone());
            return true;
        }
        for other in others {
            // What it gives must not fit worse with the owner than it does now.
            let fits = |it: &&TopicPartition| {
                sharing.wants(owner, &it.topic) && (!self.mismatch(owner, it) || self.mismatch(&other, it))
            };
            // Rather what it did not have before.
            let given = sharing.owned(&other).filter(fits).min_by_key(|it| sharing.had(&other, it)).cloned();
            if let Some(given) = given {
                sharing.give(given, owner.clone());
                sharing.give(partition, other);
                return true;
            }
        }
        false
    }
}
