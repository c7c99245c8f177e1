"""confluent-kafka (librdkafka) as member of groups and in transactions, against the server whose address is the argument."""

import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SERVER = sys.argv[1]
LIMIT = 30


def section(name):
    print(f"## {name}")


def show(name, call):
    try:
        print(name, call())
    except KafkaException as error:  # every failure is part of the transcript
        print(name, error.args[0].name())
    except Exception as error:
        print(name, type(error).__name__, str(error)[:200])


def member(group, **more):
    settings = {"bootstrap.servers": SERVER, "group.id": group, "auto.offset.reset": "earliest",
                "enable.auto.commit": False, "session.timeout.ms": 10000}
    settings.update({key.replace("_", "."): value for key, value in more.items()})
    if settings.get("group.protocol") == "consumer":
        del settings["session.timeout.ms"]
    return Consumer(settings)


def until(members, is_so, read):
    end = time.time() + LIMIT
    while not is_so():
        if time.time() > end:
            return False
        for it in members:
            message = it.poll(0.1)
            if message is not None and not message.error():
                read.append((message.topic(), message.partition(), message.offset()))
    return True


def sizes(members):
    return sorted(len(it.assignment()) for it in members)


def group(admin, name, **more):
    section(name)
    read, members = [], []
    for count in (1, 2):
        it = member(name, **more)
        it.subscribe(["confluent-groups"])
        members.append(it)
        done = until(members, lambda: sum(sizes(members)) == 4 and sizes(members)[0] > 0, read)
        print(count, "members", done, sizes(members))
        if count == 1:
            print("all read", until(members, lambda: len(read) >= 40, read), len(set(read)))
            show("commit", lambda: sorted((it.partition, it.offset) for it in members[0].commit(asynchronous=False)))
    partitions = [TopicPartition("confluent-groups", number) for number in range(4)]
    show("committed", lambda: [it.offset for it in members[0].committed(partitions, timeout=10)])
    described = admin.describe_consumer_groups([name])[name].result()
    print(described.state.name, described.partition_assignor, [len(it.assignment.topic_partitions) for it in described.members] != [])
    members.pop(0).close()
    print("one has left", until(members, lambda: sizes(members) == [4], read))
    members.pop().close()
    described = admin.describe_consumer_groups([name])[name].result()
    print(described.state.name, len(described.members))


def offsets(admin):
    section("offsets")
    wanted = [ConsumerGroupTopicPartitions("by-hand", [TopicPartition("confluent-groups", 1, 7)])]
    show("alter", lambda: [(it.partition, it.offset) for it in admin.alter_consumer_group_offsets(wanted)["by-hand"].result().topic_partitions])
    asked = [ConsumerGroupTopicPartitions("by-hand")]
    show("list", lambda: [(it.partition, it.offset) for it in admin.list_consumer_group_offsets(asked)["by-hand"].result().topic_partitions])
    show("groups", lambda: sorted(it.group_id for it in admin.list_consumer_groups().result().valid if it.group_id in ("by-hand", "confluent-classic")))
    show("delete", lambda: admin.delete_consumer_groups(["by-hand"])["by-hand"].result())
    show("delete again", lambda: admin.delete_consumer_groups(["by-hand"])["by-hand"].result())


def transactions():
    section("transactions")
    settings = {"bootstrap.servers": SERVER, "transactional.id": "confluent-txn"}
    producer = Producer(settings)
    producer.init_transactions(20)
    for number, end in enumerate(["commit", "abort", "commit"]):
        producer.begin_transaction()
        for partition in (0, 1):
            producer.produce("confluent-out", f"{number}", partition=partition)
        reader = member("confluent-processing")
        reader.subscribe(["confluent-groups"])
        until([reader], lambda: len(reader.assignment()) == 4, [])
        offset = TopicPartition("confluent-groups", 0, 10 + number)
        show("offsets", lambda: producer.send_offsets_to_transaction([offset], reader.consumer_group_metadata(), 10))
        show(end, lambda: producer.commit_transaction(20) if end == "commit" else producer.abort_transaction(20))
        show("committed", lambda: reader.committed([TopicPartition("confluent-groups", 0)], timeout=10)[0].offset)
        reader.close()
    other = Producer(settings)
    other.init_transactions(20)
    producer.begin_transaction()
    producer.produce("confluent-out", "fenced", partition=0)
    show("fenced", lambda: producer.commit_transaction(20))
    for isolation in ("read_committed", "read_uncommitted"):
        reader = member("confluent-reading", isolation_level=isolation)
        reader.assign([TopicPartition("confluent-out", number, 0) for number in (0, 1)])
        values, quiet = [], 0
        while quiet < 20:
            message = reader.poll(0.1)
            quiet = quiet + 1 if message is None else 0
            if message is not None and not message.error():
                values.append((message.partition(), message.offset(), message.value().decode()))
        reader.close()
        print(isolation, sorted(values))


def main():
    admin = AdminClient({"bootstrap.servers": SERVER})
    for it in admin.create_topics([NewTopic("confluent-groups", 4, 1), NewTopic("confluent-out", 2, 1)]).values():
        it.result()
    producer = Producer({"bootstrap.servers": SERVER})
    for number in range(40):
        producer.produce("confluent-groups", f"v{number}", partition=number % 4)
    producer.flush(20)
    group(admin, "confluent-classic")
    group(admin, "confluent-cooperative", partition_assignment_strategy="cooperative-sticky")
    group(admin, "confluent-consumer", group_protocol="consumer")
    offsets(admin)
    transactions()


main()
