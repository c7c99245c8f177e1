//! Where groups are in each partition, and how far behind.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Offset, Str};
use ottla_client::TopicPartition;
use ottla_client::admin::{Admin, GroupDescription, GroupKind, Isolation, OffsetSpec};

use crate::commands::client::{explain, items};
use crate::failure::{Failure, Outcome};

/// Where a group is in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: Str,
    pub(super) partition: TopicPartition,
    /// The next offset that is read; none if nothing was committed.
    pub(super) committed: Option<Offset>,
    /// Where the log ends; none if that could not be found out.
    pub(super) end: Option<Offset>,
    /// How many records are to be read.
    pub(super) lag: Option<i64>,
    pub(super) member: Option<Str>,
    pub(super) client: Option<Str>,
    pub(super) host: Option<Str>,
}

/// Topics, or some of their partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    topics: BTreeMap<Str, Option<BTreeSet<i32>>>,
}

impl Scope {
    /// Reads `orders` and `orders:0,2`.
    pub(super) fn parse(texts: &[String]) -> Outcome<Scope> {
        let mut scope = Scope::default();
        for text in texts {
            let Some((topic, numbers)) = text.split_once(':') else {
                scope.topics.insert(text.as_str().into(), None);
                continue;
            };
            let numbers = numbers.split(',').map(|it| it.trim().parse::<i32>().ok().filter(|it| *it >= 0));
            let Some(numbers) = numbers.collect::<Option<BTreeSet<i32>>>() else {
                return Err(Failure::misuse(format!("--topic {text}: behind the colon are partitions"))
                    .advice("--topic orders:0,2"));
            };
            if let Some(known) = scope.topics.entry(topic.into()).or_insert_with(|| Some(BTreeSet::new())) {
                known.extend(numbers);
            }
        }
        Ok(scope)
    }

    /// The topics, all of whose partitions are meant.
    pub(super) fn whole_topics(&self) -> Outcome<BTreeSet<Str>> {
        match self.topics.iter().find(|(_, partitions)| partitions.is_some()) {
            Some((topic, _)) => Err(Failure::misuse(format!(
                "a share group forgets whole topics, and of {topic} partitions are named"
            ))),
            None => Ok(self.topics.keys().cloned().collect()),
        }
    }

    /// The partitions; of whole topics those that there are.
    pub(super) async fn partitions(&self, admin: &Admin) -> Outcome<Vec<TopicPartition>> {
        let names: Vec<Str> = self.topics.keys().cloned().collect();
        let found = Box::pin(admin.partitions_of(&names)).await.map_err(explain)?;
        let (found, outcome) = items(found, |name| format!("topic {name}"));
        outcome?;
        let mut partitions = Vec::new();
        for (topic, existing) in found {
            match self.topics.get(topic.as_str()) {
                Some(Some(numbers)) => {
                    for number in numbers {
                        let partition = TopicPartition::new(topic.clone(), *number);
                        if !existing.contains(&partition) {
                            return Err(Failure::new(format!("topic {topic} has no partition {number}"))
                                .advice(format!("ottla topic describe {topic}")));
                        }
                        partitions.push(partition);
                    }
                }
                _ => partitions.extend(existing),
            }
        }
        Ok(partitions)
    }
}

/// Where groups are in all partitions that they have committed or read.
pub(super) async fn places(admin: &Admin, groups: &[GroupDescription]) -> Outcome<Vec<Place>> {
    let mut places = Vec::new();
    for group in groups {
        let read = match group.kind {
            GroupKind::Share => share_places(admin, group).await?,
            GroupKind::Classic | GroupKind::Consumer | GroupKind::Streams => {
                committed_places(admin, group).await?
            }
        };
        places.extend(read);
    }
    let partitions = places.iter().map(|it| it.partition.clone()).collect::<BTreeSet<_>>();
    let ends = ends(admin, partitions).await;
    for place in &mut places {
        place.end = ends.get(&place.partition).copied();
        if let (None, Some(committed), Some(end)) = (place.lag, place.committed, place.end) {
            place.lag = Some((end.get() - committed.get()).max(0));
        }
    }
    Ok(places)
}

async fn committed_places(admin: &Admin, group: &GroupDescription) -> Outcome<Vec<Place>> {
    let committed = Box::pin(admin.group_offsets(&group.id, None)).await;
    let committed = committed.map_err(|error| explain(error).about(format!("group {}", group.id)))?;
    let mut partitions: BTreeSet<TopicPartition> = committed.keys().cloned().collect();
    partitions.extend(group.members.iter().flat_map(|it| it.assignment.iter().cloned()));
    let place = |partition: TopicPartition| Place {
        committed: committed.get(&partition).map(|it| it.offset),
        ..owned_place(group, partition)
    };
    Ok(partitions.into_iter().map(place).collect())
}

async fn share_places(admin: &Admin, group: &GroupDescription) -> Outcome<Vec<Place>> {
    let offsets = Box::pin(admin.share_group_offsets(&group.id, None)).await;
    let offsets = offsets.map_err(|error| explain(error).about(format!("group {}", group.id)))?;
    let mut places = Vec::new();
    for (partition, offset) in offsets {
        let mut place = owned_place(group, partition);
        match offset {
            Ok(offset) => (place.committed, place.lag) = (offset.start, offset.lag),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
            Err(error) => return Err(explain(error).about(place.partition)),
        }
        // Members of a share group have no partitions of their own.
        (place.member, place.client, place.host) = (None, None, None);
        places.push(place);
    }
    places.sort_by(|one, other| one.partition.cmp(&other.partition));
    Ok(places)
}

/// A partition, with the member that has it.
fn owned_place(group: &GroupDescription, partition: TopicPartition) -> Place {
    let owner = group.members.iter().find(|it| it.assignment.contains(&partition));
    Place {
        group: group.id.clone(),
        committed: None,
        end: None,
        lag: None,
        member: owner.map(|it| it.id.clone()),
        client: owner.map(|it| it.client_id.clone()),
        host: owner.map(|it| it.host.clone()),
        partition,
    }
}

/// Where logs end; of partitions that are gone nothing.
async fn ends(admin: &Admin, partitions: BTreeSet<TopicPartition>) -> BTreeMap<TopicPartition, Offset> {
    let asked = partitions.into_iter().map(|it| (it, OffsetSpec::Latest)).collect();
    let listed = Box::pin(admin.list_offsets(&asked, Isolation::ReadUncommitted)).await.into_iter();
    listed.filter_map(|(partition, it)| Some((partition, it.ok()?.offset?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_partitions() {
        let texts = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let scope = Scope::parse(&texts(&["orders", "bills:0,2", "bills:4"])).unwrap();
        assert_eq!(scope.topics["orders"], None);
        assert_eq!(scope.topics["bills"], Some(BTreeSet::from([0, 2, 4])));
        assert!(scope.whole_topics().is_err());
        for wrong in ["orders:", "orders:x", "orders:-1", "orders:1,,2"] {
            assert!(Scope::parse(&texts(&[wrong])).is_err(), "{wrong}");
        }
    }
}
