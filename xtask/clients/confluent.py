"""confluent-kafka (librdkafka) against the server whose address is the argument."""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

SERVER = sys.argv[1]
TIME = 1_600_000_000_000


def section(name):
    print(f"## {name}")


def outcome(call):
    """The value, or the name of the Kafka error."""
    try:
        return call()
    except Exception as error:  # every failure is part of the transcript
        inner = error.args[0] if error.args else error
        return f"{inner.name()}: {inner.str()}" if isinstance(inner, KafkaError) else repr(error)


def futures(found):
    for key in sorted(found, key=str):
        value = outcome(found[key].result)
        print(key, getattr(value, "low_watermark", value))


def main():
    admin = AdminClient({"bootstrap.servers": SERVER})
    section("create topics")
    futures(admin.create_topics([NewTopic("confluent", 2, 1, config={"retention.ms": "-1"})]))
    futures(admin.create_topics([NewTopic("confluent", 2, 1)]))
    futures(admin.create_topics([NewTopic("confluent-rf", 1, 3)]))
    futures(admin.create_topics([NewTopic("confluent bad", 1, 1)]))
    futures(admin.create_topics([NewTopic("confluent-dry", 1, 1)], validate_only=True))
    futures(admin.create_topics([NewTopic("confluent-other")]))
    futures(admin.create_topics([NewTopic("confluent-config", 1, 1, config={"no.such": "1"})]))

    section("metadata")
    metadata = admin.list_topics(timeout=10)
    print("brokers", sorted(metadata.brokers), "controller", metadata.controller_id, "cluster", metadata.cluster_id)
    for name in sorted(it for it in metadata.topics if it.startswith("confluent")):
        topic = metadata.topics[name]
        for partition in topic.partitions.values():
            print(name, partition.id, partition.leader, partition.replicas, partition.isrs, partition.error)
    section("describe cluster")
    cluster = admin.describe_cluster(include_authorized_operations=True).result()
    print(cluster.cluster_id, cluster.controller.id, [it.id for it in cluster.nodes])
    print(sorted(it.name for it in cluster.authorized_operations or []))
    section("describe topics")
    found = admin.describe_topics(TopicCollection(["confluent", "confluent-absent"]), include_authorized_operations=True)
    for name in sorted(found):
        description = outcome(found[name].result)
        if isinstance(description, str):
            print(name, description)
        else:
            print(name, description.is_internal, sorted(it.name for it in description.authorized_operations or []))
            for it in description.partitions:
                print(it.id, it.leader.id, [r.id for r in it.replicas], [r.id for r in it.isr])

    section("create partitions")
    futures(admin.create_partitions([NewPartitions("confluent-other", 3)]))
    futures(admin.create_partitions([NewPartitions("confluent-other", 2)]))
    futures(admin.create_partitions([NewPartitions("confluent-absent", 2)]))

    produce(admin)
    consume()
    configs(admin)

    section("delete topics")
    futures(admin.delete_topics(["confluent-other", "confluent-absent"]))


def produce(admin):
    section("produce")
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        for settings in [{"acks": "all"}, {"acks": "1"}, {"enable.idempotence": True}]:
            producer = Producer({"bootstrap.servers": SERVER, "compression.type": codec, "linger.ms": 50, **settings})
            lines = []

            def delivered(error, message):
                lines.append(f"{codec} {settings} {error.name() if error else None} "
                             f"{message.partition()} {message.offset()} {message.timestamp()}")

            for number in range(3):
                producer.produce("confluent", value=f"{codec} {number}" * 20, key=None if number == 0 else f"k{number}",
                                 partition=0, timestamp=TIME + number, headers=[("codec", codec), ("none", None)],
                                 on_delivery=delivered)
            print("left", producer.flush(20))
            print("\n".join(lines))
    section("produce errors")
    producer = Producer({"bootstrap.servers": SERVER, "message.timeout.ms": 5000, "message.max.bytes": 3_000_000})
    lines = []

    def ended(error, message):
        lines.append(f"{error.name() if error else None} {message.topic()} {message.partition()}")

    for topic, partition, size in [("confluent", 0, 2_000_000), ("confluent", 9, 1), ("confluent bad", 0, 1)]:
        print(topic, partition, size, outcome(
            lambda: producer.produce(topic, value=b"x" * size, partition=partition, on_delivery=ended)))
        producer.flush(20)
    print("\n".join(lines))


def consume():
    settings = {"bootstrap.servers": SERVER, "group.id": "unused", "enable.auto.commit": False,
                "enable.partition.eof": True, "auto.offset.reset": "error"}
    for isolation in ["read_uncommitted", "read_committed"]:
        section(f"consume {isolation}")
        consumer = Consumer({**settings, "isolation.level": isolation})
        consumer.assign([TopicPartition("confluent", 0, OFFSET_BEGINNING)])
        while True:
            message = consumer.poll(10)
            if message is None:
                print("nothing came")
                break
            if message.error():
                print(message.error().name(), message.offset())
                break
            print(message.offset(), message.timestamp(), message.key(), message.value()[:10], message.headers(),
                  message.leader_epoch())
        section(f"offsets {isolation}")
        print(consumer.get_watermark_offsets(TopicPartition("confluent", 0), timeout=10))
        for time in [0, TIME + 2, TIME + 1_000_000, -1, -2]:
            asked = [TopicPartition("confluent", 0, time), TopicPartition("confluent", 1, time)]
            print(time, [it.offset for it in consumer.offsets_for_times(asked, timeout=10)])
        consumer.close()
    section("consume out of range")
    consumer = Consumer(settings)
    consumer.assign([TopicPartition("confluent", 0, 9_999)])
    message = consumer.poll(10)
    print(message.error().name() if message is not None else None)
    consumer.close()


def configs(admin):
    section("list offsets")
    for name, spec in [("earliest", OffsetSpec.earliest()), ("latest", OffsetSpec.latest()),
                       ("max timestamp", OffsetSpec.max_timestamp()), ("time", OffsetSpec.for_timestamp(TIME + 1))]:
        found = admin.list_offsets({TopicPartition("confluent", 0): spec, TopicPartition("confluent", 1): spec})
        for key in sorted(found):
            result = found[key].result()
            print(name, key.partition, result.offset, result.timestamp, result.leader_epoch)
    section("describe configs")
    for resource in [ConfigResource(ResourceType.TOPIC, "confluent"), ConfigResource(ResourceType.BROKER, "1")]:
        entries = admin.describe_configs([resource])[resource].result()
        for name in sorted(entries):
            it = entries[name]
            print(name, it.value, it.is_read_only, it.is_default, it.is_sensitive, it.source, sorted(it.synonyms))
    section("alter configs")
    entry = ConfigEntry("max.message.bytes", "3000000", incremental_operation=AlterConfigOpType.SET)
    futures(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, "confluent", incremental_configs=[entry])]))
    entry = ConfigEntry("retention.ms", "x", incremental_operation=AlterConfigOpType.SET)
    futures(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, "confluent", incremental_configs=[entry])]))
    section("delete records")
    futures(admin.delete_records([TopicPartition("confluent", 0, 5)]))
    futures(admin.delete_records([TopicPartition("confluent", 0, 5_000)]))


main()
