"""kafka-python against the server whose address is the argument."""

import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

SERVER = sys.argv[1]
TIME = 1_600_000_000_000


def section(name):
    print(f"## {name}")


def show(name, call):
    try:
        print(name, call())
    except Exception as error:  # every failure is part of the transcript
        print(name, type(error).__name__, str(error)[:200])


def plain(value):
    """Lists and dictionaries in an order that does not depend on the answer's."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(it) for it in value]
    return value


def main():
    admin = KafkaAdminClient(bootstrap_servers=SERVER)
    section("cluster")
    show("describe cluster", lambda: plain(admin.describe_cluster()))
    show("metadata quorum", lambda: sorted(admin.describe_metadata_quorum()))
    section("topics")
    show("create", lambda: admin.create_topics([NewTopic("kafka-python", 2, 1)]))
    show("create again", lambda: admin.create_topics([NewTopic("kafka-python", 2, 1)]))
    show("create with three replicas", lambda: admin.create_topics([NewTopic("kafka-python-rf", 1, 3)]))
    show("create partitions", lambda: admin.create_partitions({"kafka-python": 3}))
    show("list", lambda: sorted(it for it in admin.list_topics() if it.startswith("kafka-python")))
    show("describe", lambda: plain(admin.describe_topics(["kafka-python"])))
    produce()
    consume()
    section("configs")
    resource = ConfigResource(ConfigResourceType.TOPIC, "kafka-python")
    show("alter", lambda: admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "kafka-python", {"retention.ms": "9"})]))
    show("describe", lambda: plain(admin.describe_configs([resource])))
    section("records")
    show("delete records", lambda: plain(admin.delete_records({TopicPartition("kafka-python", 0): 2})))
    show("log dirs", lambda: type(admin.describe_log_dirs()).__name__)
    section("delete")
    show("delete", lambda: admin.delete_topics(["kafka-python"]))
    show("delete again", lambda: admin.delete_topics(["kafka-python"]))
    admin.close()


def produce():
    section("produce")
    for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
        for acks in [0, 1, "all"]:
            producer = KafkaProducer(bootstrap_servers=SERVER, compression_type=codec, acks=acks, linger_ms=20,
                                     enable_idempotence=acks == "all")
            sent = [producer.send("kafka-python", f"{codec} {number}".encode() * 10, key=b"k", partition=0,
                                  headers=[("codec", str(codec).encode())], timestamp_ms=TIME + number)
                    for number in range(2)]
            producer.flush(20)
            for it in sent:
                show(f"{codec} {acks}", lambda: it.get(10))
            producer.close()
    producer = KafkaProducer(bootstrap_servers=SERVER, max_request_size=3_000_000)
    show("too large", lambda: producer.send("kafka-python", b"x" * 2_000_000, partition=0).get(10))
    producer.close()


def consume():
    section("consume")
    partition = TopicPartition("kafka-python", 0)
    consumer = KafkaConsumer(bootstrap_servers=SERVER, consumer_timeout_ms=1500, group_id=None,
                             auto_offset_reset="earliest", enable_auto_commit=False)
    show("partitions", lambda: sorted(consumer.partitions_for_topic("kafka-python")))
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    for it in consumer:
        print(it.offset, it.timestamp, it.timestamp_type, it.key, it.value[:10], it.headers)
    section("offsets")
    show("beginning", lambda: consumer.beginning_offsets([partition]))
    show("end", lambda: consumer.end_offsets([partition]))
    show("times", lambda: consumer.offsets_for_times({partition: TIME + 1}))
    show("late", lambda: consumer.offsets_for_times({partition: TIME + 1_000_000}))
    show("position", lambda: consumer.position(partition))
    consumer.seek(partition, 5)
    show("after seek", lambda: next(consumer).offset)
    consumer.close()


main()
