//! What a group knows of its topics, as one number: Kafka's own hash, so that either implementation sees what changed.

use ottla_metadata::Image;
use twox_hash::XxHash3_64;

/// Fields one after another, as hash4j feeds them to XXH3: numbers little-endian, text as UTF-16 and its length.
#[derive(Default)]
struct Fields(Vec<u8>);

/// The hash of one topic: its id, name, and the racks of each partition's replicas (`Utils.computeTopicHash`); 0 if
/// there is no such topic.
pub fn topic_hash(name: &str, image: &Image) -> i64 {
    let Some(topic) = image.topics.named(name) else { return 0 };
    let mut fields = Fields::default();
    let id = topic.id.number();
    fields.0.push(0);
    fields.long((id >> 64) as i64);
    fields.long(id as i64);
    fields.text(&topic.name);
    fields.int(topic.partition_count);
    for (index, partition) in image.topics.partitions(topic.id) {
        fields.int(index.get());
        let racks = partition.replicas.iter().filter_map(|id| image.cluster.broker(*id)?.rack.as_deref());
        let mut racks: Vec<&str> = racks.collect();
        racks.sort_unstable();
        for rack in racks {
            fields.int(rack.encode_utf16().count() as i32);
            fields.text(rack);
        }
    }
    fields.hash()
}

/// The hash of a group's topics, out of the hashes of those that exist, by their names in order
/// (`Utils.computeGroupHash`); 0 if none does.
pub fn group_hash(topics: impl IntoIterator<Item = i64>) -> i64 {
    let mut fields = Fields::default();
    topics.into_iter().for_each(|hash| fields.long(hash));
    if fields.0.is_empty() { 0 } else { fields.hash() }
}

impl Fields {
    fn int(&mut self, number: i32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn long(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        let before = self.0.len();
        text.encode_utf16().for_each(|unit| self.0.extend_from_slice(&unit.to_le_bytes()));
        self.int(((self.0.len() - before) / 2) as i32);
    }

    fn hash(&self) -> i64 {
        XxHash3_64::oneshot(&self.0) as i64
    }
}

#[cfg(test)]
mod tests {
    use ottla_base::Uuid;
    use ottla_metadata::Image;
    use ottla_wire::records::metadata::{MetadataRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord};

    use super::{group_hash, topic_hash};

    fn image() -> Image {
        let broker = |id: i32, rack: Option<&str>| {
            MetadataRecord::RegisterBrokerRecord(RegisterBrokerRecord {
                broker_id: id,
                broker_epoch: id.into(),
                rack: rack.map(Into::into),
                ..Default::default()
            })
        };
        let topic = |name: &str, topic_id: Uuid| {
            MetadataRecord::TopicRecord(TopicRecord { name: name.into(), topic_id, ..Default::default() })
        };
        let partition = |topic_id: Uuid, partition_id: i32, replicas: &[i32]| {
            MetadataRecord::PartitionRecord(PartitionRecord {
                topic_id,
                partition_id,
                replicas: replicas.to_vec(),
                isr: replicas.to_vec(),
                leader: replicas[0],
                directories: vec![Uuid::from_number(1 << 80); replicas.len()],
                ..Default::default()
            })
        };
        let orders = Uuid::from_number(0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10);
        let plain = Uuid::from_number(7 << 64 | 8);
        let records = [
            topic("orders", orders),
            broker(1, Some("rack-b")),
            broker(2, Some("rack-a")),
            broker(3, None),
            partition(orders, 0, &[1, 2, 3]),
            partition(orders, 1, &[1, 2, 3]),
            topic("plain", plain),
            partition(plain, 0, &[3]),
        ];
        let mut image = Image::default();
        for record in &records {
            image.apply(record).expect("a possible record");
        }
        image
    }

    /// The numbers were printed by Apache Kafka 4.4.0's `Utils` on the same metadata.
    #[test]
    fn hashes_are_those_of_kafka() {
        let image = image();
        assert_eq!(topic_hash("orders", &image), 5_332_941_237_354_913_288);
        assert_eq!(topic_hash("plain", &image), 7_376_175_707_745_856_889);
        assert_eq!(topic_hash("none", &image), 0);
        let both = ["orders", "plain"].map(|name| topic_hash(name, &image));
        assert_eq!(group_hash(both), 3_844_934_769_947_456_056);
        assert_eq!(group_hash([-2, 1]), -7_441_158_178_328_187_894);
        assert_eq!(group_hash([]), 0);
    }
}
