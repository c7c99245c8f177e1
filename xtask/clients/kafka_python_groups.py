"""kafka-python as member of groups and in transactions, against the server whose address is the argument."""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import NewTopic

SERVER = sys.argv[1]
LIMIT = 30


def section(name):
    print(f"## {name}")


def show(name, call):
    try:
        print(name, call())
    except Exception as error:  # every failure is part of the transcript
        print(name, type(error).__name__)


def member(group, **more):
    return KafkaConsumer(bootstrap_servers=SERVER, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                         session_timeout_ms=10000, **more)


def until(members, is_so, read):
    end = time.time() + LIMIT
    while not is_so():
        if time.time() > end:
            return False
        for it in members:
            for records in it.poll(timeout_ms=100).values():
                read.extend((record.partition, record.offset) for record in records)
    return True


def sizes(members):
    return sorted(len(it.assignment()) for it in members)


def main():
    admin = KafkaAdminClient(bootstrap_servers=SERVER)
    admin.create_topics([NewTopic("kafka-python-groups", 4, 1), NewTopic("kafka-python-out", 1, 1)])
    producer = KafkaProducer(bootstrap_servers=SERVER)
    for number in range(40):
        producer.send("kafka-python-groups", b"v", partition=number % 4)
    producer.flush()
    section("group")
    read, members = [], []
    for count in (1, 2):
        it = member("kafka-python")
        it.subscribe(["kafka-python-groups"])
        members.append(it)
        print(count, "members", until(members, lambda: sum(sizes(members)) == 4 and sizes(members)[0] > 0, read), sizes(members))
        if count == 1:
            print("all read", until(members, lambda: len(read) >= 40, read), len(set(read)))
            members[0].commit()
    show("committed", lambda: [members[0].committed(TopicPartition("kafka-python-groups", number)) for number in range(4)])
    members.pop(0).close()
    print("one has left", until(members, lambda: sizes(members) == [4], read))
    members.pop().close()
    show("groups", lambda: "kafka-python" in str(admin.list_groups()))
    show("offsets", lambda: sorted((it.partition, offset.offset) for it, offset in
                                   admin.list_group_offsets(["kafka-python"])["kafka-python"].items()))

    section("transactions")
    producer = KafkaProducer(bootstrap_servers=SERVER, transactional_id="kafka-python-txn")
    producer.init_transactions()
    for number, end in enumerate(["commit", "abort", "commit"]):
        producer.begin_transaction()
        producer.send("kafka-python-out", str(number).encode(), partition=0)
        producer.flush()
        offsets = {TopicPartition("kafka-python-groups", 0): OffsetAndMetadata(10 + number, "", -1)}
        show("offsets", lambda: producer.send_offsets_to_transaction(offsets, "kafka-python-processing"))
        show(end, lambda: producer.commit_transaction() if end == "commit" else producer.abort_transaction())
    producer.close()
    for isolation in ("read_committed", "read_uncommitted"):
        reader = KafkaConsumer(bootstrap_servers=SERVER, auto_offset_reset="earliest", isolation_level=isolation, consumer_timeout_ms=2000)
        reader.assign([TopicPartition("kafka-python-out", 0)])
        print(isolation, [(it.offset, it.value.decode()) for it in reader])
        reader.close()


main()
