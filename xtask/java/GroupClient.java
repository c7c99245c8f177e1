import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.DescribeProducersOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;

/** Groups and transactions of Apache Kafka's Java clients, against the server whose address is the argument. */
public final class GroupClient {
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long LIMIT_MS = 30_000;

    private final String server;
    private final Admin admin;

    private GroupClient(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of(
            "bootstrap.servers", server, "default.api.timeout.ms", "20000", "request.timeout.ms", "10000"));
    }

    public static void main(String[] arguments) throws Exception {
        GroupClient client = new GroupClient(arguments[0]);
        client.prepare();
        client.group("classic", "classic", Map.of());
        client.group("classic-cooperative", "classic", Map.of(
            "partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
        client.group("consumer", "consumer", Map.of());
        client.group("consumer-range", "consumer", Map.of("group.remote.assignor", "range"));
        client.expressions();
        client.statics("classic");
        client.statics("consumer");
        client.migration();
        client.offsets();
        client.transactions();
        client.processing();
        client.deletion();
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    // How things are told.

    private static void section(String name) {
        System.out.println("## " + name);
    }

    private static void show(String name, Callable<?> call) {
        String told;
        try {
            told = text(call.call());
        } catch (Throwable failure) {
            Throwable cause = failure instanceof ExecutionException ? failure.getCause() : failure;
            told = cause.getClass().getSimpleName() + ": " + cause.getMessage();
        }
        System.out.println(name + ": " + told);
    }

    private static String text(Object value) {
        if (value instanceof Map<?, ?> map) {
            Map<String, String> sorted = new TreeMap<>();
            map.forEach((key, it) -> sorted.put(text(key), text(it)));
            return sorted.toString();
        }
        if (value instanceof Set<?> set) {
            return new TreeSet<>(set.stream().map(GroupClient::text).toList()).toString();
        }
        if (value instanceof Collection<?> list) {
            return list.stream().map(GroupClient::text).toList().toString();
        }
        if (value instanceof Optional<?> optional) {
            return optional.map(GroupClient::text).orElse("-");
        }
        return String.valueOf(value);
    }

    private static Object nothing(Object ignored) {
        return "done";
    }

    // Members.

    private KafkaConsumer<String, String> member(String group, String protocol, Map<String, String> more) {
        Map<String, Object> settings = new HashMap<>(Map.of(
            "bootstrap.servers", server, "group.id", group, "group.protocol", protocol,
            "auto.offset.reset", "earliest", "enable.auto.commit", "false", "max.poll.records", "50"));
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    /** Polls every member until something is so; says whether it became so. */
    private static boolean until(List<KafkaConsumer<String, String>> members, BooleanSupplier isSo, List<String> read) {
        long end = System.currentTimeMillis() + LIMIT_MS;
        while (!isSo.getAsBoolean()) {
            if (System.currentTimeMillis() > end) {
                return false;
            }
            for (KafkaConsumer<String, String> member : members) {
                for (ConsumerRecord<String, String> record : member.poll(POLL)) {
                    read.add(record.topic() + "-" + record.partition() + "@" + record.offset() + "=" + record.value());
                }
            }
        }
        return true;
    }

    private static List<Integer> sizes(List<KafkaConsumer<String, String>> members) {
        return members.stream().map(it -> it.assignment().size()).sorted().toList();
    }

    private static Set<TopicPartition> union(List<KafkaConsumer<String, String>> members) {
        Set<TopicPartition> all = new TreeSet<>((one, two) -> one.toString().compareTo(two.toString()));
        members.forEach(it -> all.addAll(it.assignment()));
        return all;
    }

    private static TopicPartition of(String topic, int partition) {
        return new TopicPartition(topic, partition);
    }

    private void prepare() throws Exception {
        admin.createTopics(List.of(
            new NewTopic("gc-four", 4, (short) 1), new NewTopic("gc-two", 2, (short) 1),
            new NewTopic("gc-in", 2, (short) 1), new NewTopic("gc-out", 2, (short) 1))).all().get();
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int number = 0; number < 40; number++) {
                producer.send(new ProducerRecord<>("gc-four", number % 4, "k", "v" + number));
                producer.send(new ProducerRecord<>("gc-two", number % 2, "k", "w" + number));
                producer.send(new ProducerRecord<>("gc-in", number % 2, "k", "i" + number));
            }
        }
    }

    private KafkaProducer<String, String> producer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", server, "delivery.timeout.ms", "20000",
            "request.timeout.ms", "10000", "max.block.ms", "20000"));
        settings.putAll(more);
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    /** One member, then two, then three, then the first leaves. */
    private void group(String group, String protocol, Map<String, String> more) throws Exception {
        section("group " + group);
        List<String> read = new ArrayList<>();
        List<KafkaConsumer<String, String>> members = new ArrayList<>();
        for (int count = 1; count <= 3; count++) {
            KafkaConsumer<String, String> member = member(group, protocol, more);
            member.subscribe(List.of("gc-four", "gc-two"));
            members.add(member);
            boolean shared = until(members, () -> union(members).size() == 6
                && sizes(members).stream().mapToInt(it -> it).sum() == 6 && sizes(members).get(0) > 0, read);
            System.out.println(count + " members: " + shared + " " + sizes(members) + " " + union(members));
            if (count == 1) {
                show("all read", () -> until(members, () -> read.size() >= 80, read) + " " + read.size());
                show("in order", () -> new TreeSet<>(read).size());
                show("committed", () -> {
                    member.commitSync();
                    return member.committed(Set.of(of("gc-four", 0), of("gc-four", 3), of("gc-two", 1)));
                });
                show("described", () -> described(group));
            }
        }
        read.clear();
        show("nothing is read twice", () -> {
            long end = System.currentTimeMillis() + 500;
            until(members, () -> System.currentTimeMillis() > end, read);
            return read;
        });
        show("three are there", () -> described(group));
        show("stays below", () -> members.get(1).groupMetadata().groupId() + " " + (members.get(1).groupMetadata().generationId() > 0));
        KafkaConsumer<String, String> first = members.remove(0);
        first.close();
        boolean shared = until(members, () -> union(members).size() == 6
            && sizes(members).stream().mapToInt(it -> it).sum() == 6, read);
        System.out.println("one has left: " + shared + " " + sizes(members));
        members.forEach(KafkaConsumer::close);
        show("empty", () -> described(group));
        show("listed", () -> listed(group));
        show("offsets stay", () -> admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
    }

    private String described(String group) throws Exception {
        ConsumerGroupDescription it = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
        List<String> members = it.members().stream()
            .map(member -> member.clientId().replaceAll("\\d+", "N") + " " + member.host() + " " + text(member.groupInstanceId())
                + " " + member.assignment().topicPartitions().size()
                + " upgraded " + text(member.upgraded()))
            .sorted().toList();
        return it.type() + " " + it.groupState() + " " + it.partitionAssignor() + " " + it.isSimpleConsumerGroup()
            + " coordinator " + it.coordinator().id() + " " + members;
    }

    private String listed(String group) throws Exception {
        Optional<GroupListing> found = admin.listGroups().all().get().stream().filter(it -> it.groupId().equals(group)).findFirst();
        return text(found.map(it -> text(it.type()) + " " + it.protocol() + " " + text(it.groupState())));
    }

    private void expressions() throws Exception {
        section("expressions");
        for (String protocol : List.of("classic", "consumer")) {
            List<String> read = new ArrayList<>();
            KafkaConsumer<String, String> member = member("expression-" + protocol, protocol, Map.of("metadata.max.age.ms", "500"));
            if (protocol.equals("consumer")) {
                member.subscribe(new SubscriptionPattern("gc-(four|more.*)"));
            } else {
                member.subscribe(Pattern.compile("gc-(four|more.*)"));
            }
            List<KafkaConsumer<String, String>> members = List.of(member);
            System.out.println(protocol + ": " + until(members, () -> union(members).size() == 4, read) + " " + union(members));
            show("described", () -> described("expression-" + protocol));
            member.close();
        }
        List<String> read = new ArrayList<>();
        KafkaConsumer<String, String> member = member("expression-bad", "consumer", Map.of());
        member.subscribe(new SubscriptionPattern("gc-("));
        show("a bad one", () -> until(List.of(member), () -> false, read));
        member.close();
    }

    private void statics(String protocol) throws Exception {
        section("static members, " + protocol);
        String group = "static-" + protocol;
        List<String> read = new ArrayList<>();
        Map<String, String> one = Map.of("group.instance.id", "one");
        KafkaConsumer<String, String> before = member(group, protocol, one);
        before.subscribe(List.of("gc-four"));
        System.out.println("joined: " + until(List.of(before), () -> before.assignment().size() == 4, read));
        int generation = before.groupMetadata().generationId();
        before.commitSync(Map.of(of("gc-four", 0), new OffsetAndMetadata(3, "three")));
        before.close();
        show("after it closed", () -> described(group));
        KafkaConsumer<String, String> after = member(group, protocol, one);
        after.subscribe(List.of("gc-four"));
        System.out.println("back: " + until(List.of(after), () -> after.assignment().size() == 4, read));
        System.out.println("generations apart: " + (after.groupMetadata().generationId() - generation));
        show("position", () -> after.position(of("gc-four", 0)) > 0);
        show("described", () -> described(group));
        show("removed", () -> nothing(admin.removeMembersFromConsumerGroup(group,
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")))).all().get()));
        show("nobody removed", () -> nothing(admin.removeMembersFromConsumerGroup(group,
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("two")))).all().get()));
        show("afterwards", () -> described(group));
        after.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(Duration.ofMillis(500)));
    }

    /** Members of either protocol in one group. */
    private void migration() throws Exception {
        section("migration");
        String group = "migrating";
        List<String> read = new ArrayList<>();
        KafkaConsumer<String, String> old = member(group, "classic", Map.of());
        old.subscribe(List.of("gc-four"));
        System.out.println("classic: " + until(List.of(old), () -> old.assignment().size() == 4, read));
        KafkaConsumer<String, String> young = member(group, "consumer", Map.of());
        young.subscribe(List.of("gc-four"));
        List<KafkaConsumer<String, String>> both = List.of(old, young);
        System.out.println("both: " + until(both, () -> sizes(both).equals(List.of(2, 2)) && union(both).size() == 4, read));
        show("described", () -> described(group));
        show("committed", () -> {
            old.commitSync();
            young.commitSync();
            return "done";
        });
        young.close();
        System.out.println("classic again: " + until(List.of(old), () -> old.assignment().size() == 4, read));
        show("described", () -> described(group));
        KafkaConsumer<String, String> again = member(group, "consumer", Map.of());
        again.subscribe(List.of("gc-four"));
        List<KafkaConsumer<String, String>> pair = List.of(old, again);
        System.out.println("both again: " + until(pair, () -> sizes(pair).equals(List.of(2, 2)) && union(pair).size() == 4, read));
        old.close();
        System.out.println("consumer: " + until(List.of(again), () -> again.assignment().size() == 4, read));
        show("described", () -> described(group));
        show("read once", () -> read.size() + " " + new TreeSet<>(read).size());
        again.close();
        show("listed", () -> listed(group));
    }

    private void offsets() throws Exception {
        section("offsets");
        show("altered", () -> nothing(admin.alterConsumerGroupOffsets("by-hand", Map.of(
            of("gc-four", 0), new OffsetAndMetadata(4, "four"), of("gc-two", 1), new OffsetAndMetadata(5))).all().get()));
        show("altered where nothing is", () -> nothing(admin.alterConsumerGroupOffsets("by-hand", Map.of(
            of("gc-absent", 0), new OffsetAndMetadata(4, "four"))).all().get()));
        show("listed", () -> admin.listConsumerGroupOffsets("by-hand").partitionsToOffsetAndMetadata().get());
        show("of two", () -> admin.listConsumerGroupOffsets(Map.of(
            "by-hand", new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(of("gc-four", 0), of("gc-four", 1))),
            "no-such-group", new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(of("gc-four", 0))))).all().get());
        show("described", () -> described("by-hand"));
        show("nobody described", () -> described("no-such-group"));
        show("deleted", () -> nothing(admin.deleteConsumerGroupOffsets("by-hand", Set.of(of("gc-four", 0))).all().get()));
        show("left", () -> admin.listConsumerGroupOffsets("by-hand").partitionsToOffsetAndMetadata().get());
        try (KafkaConsumer<String, String> member = member("assigning", "classic", Map.of())) {
            member.assign(List.of(of("gc-four", 1)));
            show("assigned", () -> member.poll(Duration.ofSeconds(10)).count());
            show("committed", () -> {
                member.commitSync(Map.of(of("gc-four", 1), new OffsetAndMetadata(2, Optional.of(0), "two")));
                return member.committed(Set.of(of("gc-four", 1)));
            });
        }
    }

    private void transactions() throws Exception {
        section("transactions");
        TopicPartition out = of("gc-out", 0);
        Map<String, Object> settings = Map.of("transactional.id", "gc-txn", "transaction.timeout.ms", "30000");
        KafkaProducer<String, String> producer = producer(settings);
        producer.initTransactions();
        producer.beginTransaction();
        show("sent", () -> producer.send(new ProducerRecord<>("gc-out", 0, "k", "one")).get().offset());
        show("latest, uncommitted", () -> latest(out, IsolationLevel.READ_UNCOMMITTED));
        show("latest, committed", () -> latest(out, IsolationLevel.READ_COMMITTED));
        show("described", () -> transaction("gc-txn"));
        show("producers", () -> admin.describeProducers(List.of(out), new DescribeProducersOptions()).all().get().get(out)
            .activeProducers().stream().map(it -> it.producerEpoch() + " " + it.lastSequence() + " " + it.currentTransactionStartOffset()).toList());
        producer.commitTransaction();
        // The commit is decided; its markers may still be on their way.
        show("latest, committed in the end", () -> {
            long end = System.currentTimeMillis() + LIMIT_MS;
            while (latest(out, IsolationLevel.READ_COMMITTED) < 2 && System.currentTimeMillis() < end) {
                Thread.sleep(50);
            }
            return latest(out, IsolationLevel.READ_COMMITTED);
        });
        producer.beginTransaction();
        for (int number = 0; number < 3; number++) {
            producer.send(new ProducerRecord<>("gc-out", 0, "k", "aborted" + number));
            producer.send(new ProducerRecord<>("gc-out", 1, "k", "aborted" + number));
        }
        producer.flush();
        producer.abortTransaction();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>("gc-out", 0, "k", "two"));
        producer.commitTransaction();
        show("read committed", () -> values("read_committed"));
        show("read uncommitted", () -> values("read_uncommitted"));
        show("described", () -> transaction("gc-txn"));
        show("listed", () -> admin.listTransactions().all().get().stream().filter(it -> it.transactionalId().startsWith("gc-"))
            .map(it -> it.transactionalId() + " " + it.state()).sorted().toList());
        KafkaProducer<String, String> other = producer(settings);
        other.initTransactions();
        producer.beginTransaction();
        show("the one before", () -> producer.send(new ProducerRecord<>("gc-out", 0, "k", "fenced")).get().offset());
        // In which words depends on what the producer has noticed first.
        show("the one before commits", () -> {
            try {
                producer.commitTransaction();
                return "done";
            } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
                return "it is fenced";
            }
        });
        producer.close(Duration.ofSeconds(1));
        other.beginTransaction();
        show("the one after", () -> other.send(new ProducerRecord<>("gc-out", 0, "k", "after")).get().offset() > 0);
        show("fenced by hand", () -> nothing(admin.fenceProducers(List.of("gc-txn")).all().get()));
        show("the one after commits", () -> {
            other.commitTransaction();
            return "done";
        });
        other.close(Duration.ofSeconds(1));
        show("read committed in the end", () -> values("read_committed"));
        KafkaProducer<String, String> late = producer(Map.of("transactional.id", "gc-late", "transaction.timeout.ms", "1500"));
        late.initTransactions();
        late.beginTransaction();
        late.send(new ProducerRecord<>("gc-out", 1, "k", "too late")).get();
        show("ended by the coordinator", () -> {
            long end = System.currentTimeMillis() + LIMIT_MS;
            while (latest(of("gc-out", 1), IsolationLevel.READ_COMMITTED) != latest(of("gc-out", 1), IsolationLevel.READ_UNCOMMITTED)) {
                if (System.currentTimeMillis() > end) {
                    return "it hangs";
                }
                Thread.sleep(200);
            }
            return "it is over";
        });
        show("too late", () -> {
            late.commitTransaction();
            return "done";
        });
        late.close(Duration.ofSeconds(1));
        show("a time-out beyond the limit", () -> {
            try (KafkaProducer<String, String> it = producer(Map.of("transactional.id", "gc-long", "transaction.timeout.ms", "999999999"))) {
                it.initTransactions();
            }
            return "done";
        });
        show("nothing to abort", () -> nothing(admin.abortTransaction(new AbortTransactionSpec(out, 424242, (short) 0, 0)).all().get()));
    }

    private long latest(TopicPartition partition, IsolationLevel isolation) throws Exception {
        return admin.listOffsets(Map.of(partition, OffsetSpec.latest()), new ListOffsetsOptions(isolation)).all().get().get(partition).offset();
    }

    private String transaction(String id) throws Exception {
        TransactionDescription it = admin.describeTransactions(List.of(id)).description(id).get();
        return it.state() + " epoch " + it.producerEpoch() + " timeout " + it.transactionTimeoutMs() + " " + text(it.topicPartitions())
            + " started " + it.transactionStartTimeMs().isPresent() + " coordinator " + it.coordinatorId();
    }

    private List<String> values(String isolation) {
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> reader = member("reading", "classic", Map.of("isolation.level", isolation))) {
            reader.assign(List.of(of("gc-out", 0), of("gc-out", 1)));
            reader.seekToBeginning(reader.assignment());
            Map<TopicPartition, Long> ends = reader.endOffsets(reader.assignment());
            long limit = System.currentTimeMillis() + LIMIT_MS;
            while (ends.entrySet().stream().anyMatch(it -> reader.position(it.getKey()) < it.getValue())
                && System.currentTimeMillis() < limit) {
                reader.poll(POLL).forEach(it -> values.add(it.partition() + "@" + it.offset() + "=" + it.value()));
            }
        }
        values.sort(null);
        return values;
    }

    /** Reads, writes and commits in transactions; some are aborted and done again. */
    private void processing() throws Exception {
        for (String protocol : List.of("classic", "consumer")) {
            section("exactly once, " + protocol);
            String group = "processing-" + protocol;
            try (KafkaProducer<String, String> producer = producer(Map.of("transactional.id", "gc-" + group));
                KafkaConsumer<String, String> reader = member(group, protocol, Map.of("isolation.level", "read_committed", "max.poll.records", "7"))) {
                producer.initTransactions();
                reader.subscribe(List.of("gc-in"));
                int done = 0;
                int round = 0;
                long limit = System.currentTimeMillis() + LIMIT_MS;
                while (done < 40 && System.currentTimeMillis() < limit) {
                    var records = reader.poll(POLL);
                    if (records.isEmpty()) {
                        continue;
                    }
                    producer.beginTransaction();
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    records.forEach(it -> {
                        producer.send(new ProducerRecord<>("gc-out", it.partition(), "k", protocol + "-" + it.value()));
                        offsets.put(of(it.topic(), it.partition()), new OffsetAndMetadata(it.offset() + 1));
                    });
                    producer.sendOffsetsToTransaction(offsets, reader.groupMetadata());
                    if (round++ % 3 == 1) {
                        producer.abortTransaction();
                        reader.committed(reader.assignment()).forEach((partition, offset) ->
                            reader.seek(partition, offset == null ? 0 : offset.offset()));
                    } else {
                        producer.commitTransaction();
                        done += records.count();
                    }
                }
                System.out.println("done: " + done);
                List<String> written = values("read_committed").stream().map(it -> it.replaceAll(".*=", ""))
                    .filter(it -> it.startsWith(protocol + "-")).sorted().toList();
                System.out.println("written: " + written.size() + " " + new TreeSet<>(written).size());
                show("committed", () -> admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
                ConsumerGroupMetadata stranger = new ConsumerGroupMetadata(group, 99, "somebody", Optional.empty());
                producer.beginTransaction();
                show("as a stranger", () -> {
                    producer.sendOffsetsToTransaction(Map.of(of("gc-in", 0), new OffsetAndMetadata(1)), stranger);
                    producer.commitTransaction();
                    return "done";
                });
                show("aborted", () -> {
                    producer.abortTransaction();
                    return "done";
                });
            }
            show("committed in the end", () -> admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
        }
    }

    private void deletion() throws Exception {
        section("deletion");
        show("deleted", () -> nothing(admin.deleteConsumerGroups(List.of("classic", "consumer", "by-hand")).all().get()));
        show("nobody", () -> nothing(admin.deleteConsumerGroups(List.of("classic")).all().get()));
        show("gone", () -> admin.listConsumerGroupOffsets("classic").partitionsToOffsetAndMetadata().get());
        KafkaConsumer<String, String> member = member("consumer-range", "consumer", Map.of());
        member.subscribe(List.of("gc-four"));
        List<String> read = new ArrayList<>();
        System.out.println("joined: " + until(List.of(member), () -> member.assignment().size() == 4, read));
        show("not empty", () -> nothing(admin.deleteConsumerGroups(List.of("consumer-range")).all().get()));
        show("subscribed", () -> nothing(admin.deleteConsumerGroupOffsets("consumer-range", Set.of(of("gc-four", 0))).all().get()));
        admin.createPartitions(Map.of("gc-four", NewPartitions.increaseTo(6))).all().get();
        System.out.println("more partitions: " + until(List.of(member), () -> member.assignment().size() == 6, read));
        member.close();
        show("a topic goes", () -> nothing(admin.deleteTopics(List.of("gc-two")).all().get()));
        Thread.sleep(1_000);
        show("its offsets go", () -> admin.listConsumerGroupOffsets("consumer-range").partitionsToOffsetAndMetadata().get().keySet()
            .stream().filter(it -> it.topic().equals("gc-two")).count());
    }
}
