//! What members of a classic group tell each other, as bytes: subscriptions with the assignors' own data, and
//! assignments.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_base::Str;
use ottla_wire::records::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
    ConsumerProtocolSubscriptionTopicPartition,
};
use ottla_wire::{DecodeError, EncodeError, Message, Reader, Writer};

use super::assignor::{Assignor, MemberSubscription, NO_GENERATION};
use crate::cluster::{TopicPartition, by_topic};

/// The version in which both are written; its number stands in front.
const VERSION: i16 = ConsumerProtocolSubscription::LAST_VERSION;

/// What a member last had: what `sticky` sends along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastAssignment {
    pub(crate) partitions: Vec<TopicPartition>,
    pub(crate) generation: i32,
}

impl Default for LastAssignment {
    fn default() -> Self {
        LastAssignment { partitions: Vec::new(), generation: NO_GENERATION }
    }
}

/// A subscription as one assignor sends it.
pub(crate) fn encode_subscription(
    assignor: Assignor,
    topics: &BTreeSet<Str>,
    owned: &BTreeSet<TopicPartition>,
    last: &LastAssignment,
    rack: Option<&Str>,
) -> Result<Bytes, EncodeError> {
    let owned = grouped(owned.iter().cloned());
    let owned = owned
        .into_iter()
        .map(|(topic, partitions)| ConsumerProtocolSubscriptionTopicPartition { topic, partitions });
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().cloned().collect(),
        user_data: user_data(assignor, last)?,
        owned_partitions: owned.collect(),
        generation_id: last.generation,
        rack_id: rack.cloned(),
    };
    let mut writer = Writer::default();
    writer.i16(VERSION);
    subscription.encode(&mut writer, VERSION)?;
    Ok(writer.into_bytes())
}

/// What `assignor` sends along (`subscriptionUserData`).
fn user_data(assignor: Assignor, last: &LastAssignment) -> Result<Option<Bytes>, EncodeError> {
    let mut writer = Writer::default();
    match assignor {
        Assignor::Range | Assignor::RoundRobin => return Ok(None),
        Assignor::Sticky if last.generation == NO_GENERATION => return Ok(None),
        Assignor::Sticky => {
            let partitions = grouped(last.partitions.iter().cloned());
            writer.array(false, &partitions, |writer, (topic, partitions)| {
                writer.string(false, topic)?;
                writer.array(false, partitions, |writer, index| {
                    writer.i32(*index);
                    Ok(())
                })
            })?;
            writer.i32(last.generation);
        }
        Assignor::CooperativeSticky => writer.i32(last.generation),
    }
    Ok(Some(writer.into_bytes()))
}

/// What another member sent, as `assignor` understands it.
pub(crate) fn decode_subscription(
    assignor: Assignor,
    bytes: &Bytes,
    instance_id: Option<Str>,
) -> Result<MemberSubscription, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?.clamp(0, VERSION);
    let told = ConsumerProtocolSubscription::decode(&mut reader, version)?;
    let owned = told.owned_partitions.iter();
    let owned = owned.flat_map(|it| partitions(&it.topic, &it.partitions)).collect();
    let mut member = MemberSubscription {
        topics: told.topics.iter().map(Str::detached).collect(),
        owned,
        generation: told.generation_id,
        instance_id,
        rack: told.rack_id.map(|it| it.detached()),
    };
    match assignor {
        Assignor::Range | Assignor::RoundRobin => {}
        Assignor::Sticky => {
            // What cannot be read counts as nothing, as with Kafka.
            let last = told.user_data.and_then(|it| decode_last(it).ok()).unwrap_or_default();
            (member.owned, member.generation) = (last.partitions, last.generation);
        }
        Assignor::CooperativeSticky if version < 2 => {
            let generation = told.user_data.and_then(|it| Reader::new(it).i32().ok());
            member.generation = generation.unwrap_or(NO_GENERATION);
        }
        Assignor::CooperativeSticky => {}
    }
    Ok(member)
}

/// `StickyAssignorUserData`, versions 1 and 0: the former ends with the generation.
fn decode_last(bytes: Bytes) -> Result<LastAssignment, DecodeError> {
    let mut reader = Reader::new(bytes);
    let topics = reader.array(false, 6, |reader| {
        let topic = reader.string(false)?;
        let indexes = reader.array(false, 4, Reader::i32)?;
        Ok(partitions(&topic, &indexes).collect::<Vec<_>>())
    })?;
    let generation = if reader.remaining() >= 4 { reader.i32()? } else { NO_GENERATION };
    Ok(LastAssignment { partitions: topics.into_iter().flatten().collect(), generation })
}

/// An assignment, as the leader hands it out.
pub(crate) fn encode_assignment(assigned: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    let topics = grouped(assigned.iter().cloned()).into_iter();
    let topics =
        topics.map(|(topic, partitions)| ConsumerProtocolAssignmentTopicPartition { topic, partitions });
    let assignment = ConsumerProtocolAssignment { assigned_partitions: topics.collect(), user_data: None };
    let mut writer = Writer::default();
    writer.i16(VERSION);
    assignment.encode(&mut writer, VERSION)?;
    Ok(writer.into_bytes())
}

/// An assignment that the leader handed out; empty bytes are nothing.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?.clamp(0, VERSION);
    let told = ConsumerProtocolAssignment::decode(&mut reader, version)?;
    Ok(told.assigned_partitions.iter().flat_map(|it| partitions(&it.topic, &it.partitions)).collect())
}

/// The partitions of a topic that members told of; it does not keep the frame they came in.
fn partitions<'a>(topic: &Str, indexes: &'a [i32]) -> impl Iterator<Item = TopicPartition> + use<'a> {
    let topic = topic.detached();
    indexes.iter().map(move |index| TopicPartition::new(topic.clone(), *index))
}

/// Partitions by topic, as numbers.
fn grouped(partitions: impl Iterator<Item = TopicPartition>) -> Vec<(Str, Vec<i32>)> {
    let topics = by_topic(partitions.map(|it| (it, ()))).into_iter();
    topics.map(|(topic, it)| (topic, it.into_iter().map(|(index, ())| index.0).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(numbers: &[i32]) -> BTreeSet<TopicPartition> {
        numbers.iter().map(|it| TopicPartition::new("orders", *it)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let topics = BTreeSet::from([Str::from("orders"), Str::from("other")]);
        let last = LastAssignment { partitions: some(&[2, 5]).into_iter().collect(), generation: 7 };
        let rack = Str::from("a");
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky, Assignor::Sticky]
        {
            let bytes = encode_subscription(assignor, &topics, &some(&[1, 3]), &last, Some(&rack)).unwrap();
            let read = decode_subscription(assignor, &bytes, Some("me".into())).unwrap();
            let owned = if assignor == Assignor::Sticky { some(&[2, 5]) } else { some(&[1, 3]) };
            let owned = owned.into_iter().collect();
            let instance_id = Some("me".into());
            let rack = Some(rack.clone());
            let expected =
                MemberSubscription { topics: topics.clone(), owned, generation: 7, instance_id, rack };
            assert_eq!(read, expected);
        }
        let assigned: Vec<_> = some(&[0, 9]).into_iter().collect();
        assert_eq!(decode_assignment(&encode_assignment(&assigned).unwrap()).unwrap(), some(&[0, 9]));
        assert!(decode_assignment(&Bytes::new()).unwrap().is_empty());
    }

    #[test]
    fn damaged_bytes_are_refused_or_count_as_nothing() {
        let bytes = encode_subscription(
            Assignor::Sticky,
            &BTreeSet::from(["t".into()]),
            &some(&[1]),
            &LastAssignment { partitions: some(&[1]).into_iter().collect(), generation: 1 },
            None,
        )
        .unwrap();
        for end in 0..bytes.len() {
            assert!(decode_subscription(Assignor::Sticky, &bytes.slice(..end), None).is_err(), "{end}");
        }
        let short = Bytes::from_static(&[0, 0, 0, 9]);
        assert!(decode_last(short).is_err());
        assert!(decode_assignment(&Bytes::from_static(&[0, 1, 0x7f, 0xff, 0xff, 0xff])).is_err());
    }
}
