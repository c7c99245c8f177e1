import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Members of groups and a transaction that live on while their server is stopped and another one goes on with its
 * directory. The argument is the server's address; commands come line by line, and after each answer a dot.
 */
public final class GroupTrip {
    private static final String TOPIC = "trip";
    private static final int PARTITIONS = 4;
    private static final long LIMIT_MS = 60_000;

    private final String server;
    private final Map<String, Member> members = new TreeMap<>();
    private Admin admin;
    private KafkaProducer<String, String> plain;
    private KafkaProducer<String, String> transactional;
    private int produced;
    private int transactions;

    private GroupTrip(String server) {
        this.server = server;
    }

    public static void main(String[] arguments) throws Exception {
        GroupTrip trip = new GroupTrip(arguments[0]);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            try {
                trip.obey(line);
            } catch (Throwable failure) {
                System.out.println("failed: " + failure);
            }
            System.out.println(".");
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private void obey(String command) throws Exception {
        switch (command) {
            case "join" -> join();
            case "produce" -> produce();
            case "commit" -> commit();
            case "begin" -> begin();
            case "end" -> end();
            case "look" -> look();
            default -> throw new IllegalArgumentException(command);
        }
    }

    /** One member of a group, polled by its own thread, which does what is asked of it in between. */
    private final class Member extends Thread {
        final String group;
        final String protocol;
        final Map<String, Integer> seen = new ConcurrentHashMap<>();
        final LinkedBlockingQueue<Runnable> asked = new LinkedBlockingQueue<>();
        volatile KafkaConsumer<String, String> consumer;

        Member(String group, String protocol) {
            this.group = group;
            this.protocol = protocol;
            setDaemon(true);
        }

        @Override public void run() {
            consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", server, "group.id", group, "group.protocol", protocol,
                "auto.offset.reset", "earliest", "enable.auto.commit", "false"), new StringDeserializer(), new StringDeserializer());
            consumer.subscribe(List.of(TOPIC));
            while (true) {
                consumer.poll(Duration.ofMillis(100)).forEach(it -> seen.merge(it.value(), 1, Integer::sum));
                for (Runnable it = asked.poll(); it != null; it = asked.poll()) {
                    it.run();
                }
            }
        }

        /** Does something between two polls. */
        <T> T ask(Callable<T> call) throws Exception {
            var answer = new java.util.concurrent.CompletableFuture<T>();
            asked.add(() -> {
                try {
                    answer.complete(call.call());
                } catch (Throwable failure) {
                    answer.completeExceptionally(failure);
                }
            });
            return answer.get(LIMIT_MS, java.util.concurrent.TimeUnit.MILLISECONDS);
        }
    }

    private void join() throws Exception {
        Map<String, Object> at = Map.of("bootstrap.servers", server, "request.timeout.ms", "5000");
        admin = Admin.create(Map.of("bootstrap.servers", server, "request.timeout.ms", "5000", "default.api.timeout.ms", "60000"));
        admin.createTopics(List.of(new NewTopic(TOPIC, PARTITIONS, (short) 1), new NewTopic("trip-out", 1, (short) 1))).all().get();
        plain = new KafkaProducer<>(at, new StringSerializer(), new StringSerializer());
        Map<String, Object> settings = new HashMap<>(at);
        settings.putAll(Map.of("transactional.id", "trip", "transaction.timeout.ms", "600000", "max.block.ms", "60000"));
        transactional = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        transactional.initTransactions();
        for (String protocol : List.of("classic", "consumer")) {
            for (int number = 1; number <= 2; number++) {
                Member member = new Member("trip-" + protocol, protocol);
                members.put(protocol + number, member);
                member.start();
                Thread.sleep(200);
            }
        }
        until(this::isShared);
        System.out.println("joined");
    }

    /** Whether every member has its share of the partitions, and no group is in the middle of a rebalance. */
    private boolean isShared() throws Exception {
        for (Member it : members.values()) {
            if (it.consumer == null || it.ask(() -> it.consumer.assignment().size()) != PARTITIONS / 2) {
                return false;
            }
        }
        var described = admin.describeConsumerGroups(List.of("trip-classic", "trip-consumer")).all().get();
        return described.values().stream().allMatch(it -> it.groupState() == GroupState.STABLE);
    }

    private static void until(Callable<Boolean> isSo) throws Exception {
        long end = System.currentTimeMillis() + LIMIT_MS;
        while (!isSo.call()) {
            if (System.currentTimeMillis() > end) {
                System.out.println("it took too long");
                return;
            }
            Thread.sleep(100);
        }
    }

    private void produce() throws Exception {
        for (int number = 0; number < 20; number++, produced++) {
            plain.send(new ProducerRecord<>(TOPIC, produced % PARTITIONS, "k", "v" + produced)).get();
        }
        for (String protocol : List.of("classic", "consumer")) {
            until(() -> read(protocol).size() >= produced);
        }
        System.out.println("produced and read");
    }

    private Map<String, Integer> read(String protocol) {
        Map<String, Integer> all = new TreeMap<>();
        members.forEach((name, it) -> {
            if (name.startsWith(protocol)) {
                it.seen.forEach((value, count) -> all.merge(value, count, Integer::sum));
            }
        });
        return all;
    }

    private void commit() throws Exception {
        for (Member it : members.values()) {
            it.ask(() -> {
                it.consumer.commitSync();
                return null;
            });
        }
        System.out.println("committed");
    }

    /** Begins a transaction, writes in it, and leaves it open. */
    private void begin() throws Exception {
        transactional.beginTransaction();
        transactions++;
        transactional.send(new ProducerRecord<>("trip-out", 0, "k", "t" + transactions)).get();
        ConsumerGroupMetadata group = new ConsumerGroupMetadata("trip-transactional");
        transactional.sendOffsetsToTransaction(Map.of(new TopicPartition(TOPIC, 0), new OffsetAndMetadata(transactions)), group);
        System.out.println("began");
    }

    private void end() {
        transactional.send(new ProducerRecord<>("trip-out", 0, "k", "t" + transactions + " goes on"));
        transactional.commitTransaction();
        System.out.println("ended");
    }

    /** What must be the same before and after. */
    private void look() throws Exception {
        // Whoever lost the connection is back.
        Thread.sleep(3_000);
        until(this::isShared);
        for (Map.Entry<String, Member> it : members.entrySet()) {
            Member member = it.getValue();
            // A member of the classic protocol asks for a rebalance when its client has lost sight of a topic.
            boolean keepsEpoch = member.protocol.equals("consumer");
            System.out.println(it.getKey() + ": " + member.ask(() -> member.consumer.assignment().stream().map(Object::toString).sorted().toList()
                + (keepsEpoch ? " in " + member.consumer.groupMetadata().generationId() : "")
                + " as " + Integer.toHexString(member.consumer.groupMetadata().memberId().hashCode())));
        }
        for (String protocol : List.of("classic", "consumer")) {
            System.out.println(protocol + " read " + read(protocol).size() + ", twice "
                + read(protocol).values().stream().filter(count -> count > 1).count());
            var described = admin.describeConsumerGroups(List.of("trip-" + protocol)).all().get().get("trip-" + protocol);
            System.out.println(protocol + ": " + described.type() + " " + described.groupState() + " " + described.partitionAssignor()
                + " " + described.members().size());
            System.out.println(protocol + ": " + offsets("trip-" + protocol));
        }
        System.out.println("in transactions: " + offsets("trip-transactional"));
        var transaction = admin.describeTransactions(List.of("trip")).description("trip").get();
        System.out.println("transaction: " + transaction.state() + " " + transaction.producerId() + " " + transaction.producerEpoch()
            + " " + transaction.topicPartitions().stream().map(Object::toString).sorted().toList());
        for (IsolationLevel isolation : IsolationLevel.values()) {
            TopicPartition out = new TopicPartition("trip-out", 0);
            System.out.println(isolation + ": " + admin.listOffsets(Map.of(out, OffsetSpec.latest()), new ListOffsetsOptions(isolation)).all().get().get(out).offset()
                + " " + values(isolation));
        }
    }

    private Map<String, Long> offsets(String group) throws Exception {
        Map<String, Long> offsets = new TreeMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, it) -> offsets.put(partition.toString(), it.offset()));
        return offsets;
    }

    private List<String> values(IsolationLevel isolation) {
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> reader = new KafkaConsumer<>(Map.of("bootstrap.servers", server,
            "isolation.level", isolation.toString().toLowerCase()), new StringDeserializer(), new StringDeserializer())) {
            TopicPartition out = new TopicPartition("trip-out", 0);
            reader.assign(Set.of(out));
            reader.seekToBeginning(Set.of(out));
            long end = reader.endOffsets(Set.of(out)).get(out);
            long limit = System.currentTimeMillis() + LIMIT_MS;
            while (reader.position(out) < end && System.currentTimeMillis() < limit) {
                reader.poll(Duration.ofMillis(100)).forEach(it -> values.add(it.offset() + "=" + it.value()));
            }
        }
        return values;
    }
}
