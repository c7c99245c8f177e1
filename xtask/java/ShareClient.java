import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ShareGroupDescription;
import org.apache.kafka.clients.admin.SharePartitionOffsetInfo;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;

/** Share groups of Apache Kafka's Java clients, against the server whose address is the argument. */
public final class ShareClient {
    private static final Duration POLL = Duration.ofMillis(200);
    private static final long LIMIT_MS = 30_000;

    private final String server;
    private final Admin admin;

    private ShareClient(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of(
            "bootstrap.servers", server, "default.api.timeout.ms", "20000", "request.timeout.ms", "10000"));
    }

    public static void main(String[] arguments) throws Exception {
        ShareClient client = new ShareClient(arguments[0]);
        client.section("implicit acknowledgement", client::implicit);
        client.section("explicit acknowledgement", client::explicit);
        client.section("a record that nobody wants", client::deliveredTooOften);
        client.section("many members", client::many);
        client.section("committed transactions only", client::committedOnly);
        client.section("where a new group begins", client::beginnings);
        client.section("new partitions", client::newPartitions);
        client.section("the admin client", client::administer);
        client.section("refusals", client::refusals);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private interface Part {
        void run() throws Exception;
    }

    private void section(String name, Part part) {
        System.out.println("## " + name);
        try {
            part.run();
        } catch (Exception problem) {
            System.out.println("ended by " + problem);
        }
        System.out.flush();
    }

    private void topic(String name, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
        until(() -> attempt(() -> admin.describeTopics(List.of(name)).allTopicNames().get()) != null);
    }

    private void configure(String group, String... pairs) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        for (int at = 0; at < pairs.length; at += 2) {
            changes.add(new AlterConfigOp(new ConfigEntry(pairs[at], pairs[at + 1]), AlterConfigOp.OpType.SET));
        }
        ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
        admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
    }

    private void produce(String topic, int partition, int from, int to) throws Exception {
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int number = from; number < to; number++) {
                producer.send(new ProducerRecord<>(topic, partition, null, topic + "-" + number)).get();
            }
        }
    }

    private KafkaProducer<String, String> producer(Map<String, Object> more) {
        Map<String, Object> settings = new TreeMap<>(more);
        settings.put("bootstrap.servers", server);
        settings.put("linger.ms", 0);
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    private KafkaShareConsumer<String, String> consumer(String group, String... pairs) {
        Map<String, Object> settings = new TreeMap<>();
        settings.put("bootstrap.servers", server);
        settings.put("group.id", group);
        for (int at = 0; at < pairs.length; at += 2) {
            settings.put(pairs[at], pairs[at + 1]);
        }
        return new KafkaShareConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private static boolean until(BooleanSupplier reached) {
        long end = System.currentTimeMillis() + LIMIT_MS;
        while (!reached.getAsBoolean()) {
            if (System.currentTimeMillis() > end) {
                return false;
            }
            try {
                Thread.sleep(20);
            } catch (InterruptedException stopped) {
                return false;
            }
        }
        return true;
    }

    private static <T> T attempt(Callable<T> asked) {
        try {
            return asked.call();
        } catch (Exception refused) {
            return null;
        }
    }

    private static String said(Callable<?> asked) {
        try {
            return String.valueOf(asked.call());
        } catch (ExecutionException refused) {
            return refused.getCause().getClass().getSimpleName() + ": " + refused.getCause().getMessage();
        } catch (Exception refused) {
            return refused.getClass().getSimpleName() + ": " + refused.getMessage();
        }
    }

    /** Reads until so many different values have come. */
    private static Map<String, Integer> read(KafkaShareConsumer<String, String> consumer, int count) {
        Map<String, Integer> seen = new TreeMap<>();
        until(() -> {
            for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                seen.merge(record.value(), 1, Integer::sum);
            }
            return seen.size() >= count;
        });
        return seen;
    }

    /** Which problems a commit met. How many partitions it is about depends on what was polled together. */
    private static String commit(KafkaShareConsumer<String, String> consumer) {
        Map<TopicIdPartition, Optional<KafkaException>> results = consumer.commitSync();
        Set<String> told = new TreeSet<>();
        results.forEach((partition, problem) -> told.add(problem.map(KafkaException::toString).orElse("done")));
        return told.toString();
    }

    private void implicit() throws Exception {
        topic("share-implicit", 2);
        configure("implicit", "share.auto.offset.reset", "earliest");
        produce("share-implicit", 0, 0, 10);
        produce("share-implicit", 1, 10, 20);
        try (KafkaShareConsumer<String, String> consumer = consumer("implicit")) {
            consumer.subscribe(Set.of("share-implicit"));
            System.out.println("subscribed to " + consumer.subscription());
            System.out.println(read(consumer, 20));
            System.out.println(commit(consumer));
            System.out.println("nothing to commit: " + commit(consumer));
        }
        produce("share-implicit", 0, 20, 25);
        try (KafkaShareConsumer<String, String> consumer = consumer("implicit")) {
            consumer.subscribe(Set.of("share-implicit"));
            System.out.println(read(consumer, 5));
            System.out.println(commit(consumer));
        }
        System.out.println(until(() -> lags("implicit", "share-implicit").equals("{0=0, 1=0}"))
            + " " + lags("implicit", "share-implicit"));
    }

    /** How many records are ahead of each partition; where it begins depends on what was acknowledged together. */
    private String lags(String group, String topic) {
        return offsets(group, topic).replaceAll("=[0-9]+/", "=");
    }

    /** Start offset and lag of each partition. */
    private String offsets(String group, String topic) {
        Map<TopicPartition, SharePartitionOffsetInfo> told = attempt(() -> admin
            .listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec()))
            .partitionsToOffsetInfo(group).get());
        Map<Integer, String> sorted = new TreeMap<>();
        if (told != null) {
            told.forEach((partition, info) -> {
                if (partition.topic().equals(topic)) {
                    sorted.put(partition.partition(), info == null ? "none"
                        : info.startOffset() + "/" + info.lag().map(String::valueOf).orElse("unknown"));
                }
            });
        }
        return sorted.toString();
    }

    private void explicit() throws Exception {
        topic("share-explicit", 1);
        configure("explicit", "share.auto.offset.reset", "earliest");
        produce("share-explicit", 0, 0, 6);
        try (KafkaShareConsumer<String, String> consumer =
                 consumer("explicit", "share.acknowledgement.mode", "explicit")) {
            consumer.subscribe(Set.of("share-explicit"));
            List<ConsumerRecord<String, String>> records = new ArrayList<>();
            until(() -> {
                ConsumerRecords<String, String> polled = consumer.poll(POLL);
                polled.forEach(records::add);
                return records.size() >= 6;
            });
            for (ConsumerRecord<String, String> record : records) {
                AcknowledgeType type = switch ((int) record.offset()) {
                    case 1 -> AcknowledgeType.RELEASE;
                    case 2 -> AcknowledgeType.REJECT;
                    case 3 -> AcknowledgeType.RENEW;
                    default -> AcknowledgeType.ACCEPT;
                };
                System.out.println(record.offset() + " " + record.deliveryCount() + " " + type);
                consumer.acknowledge(record, type);
            }
            System.out.println(commit(consumer));
            // Who renews the hold on a record still has to say what became of it.
            records.stream().filter(record -> record.offset() == 3)
                .forEach(record -> consumer.acknowledge(record, AcknowledgeType.ACCEPT));
            System.out.println(commit(consumer));
            List<ConsumerRecord<String, String>> again = new ArrayList<>();
            until(() -> {
                consumer.poll(POLL).forEach(again::add);
                return !again.isEmpty();
            });
            Map<Long, Object> counts = new TreeMap<>();
            again.forEach(record -> counts.put(record.offset(), record.deliveryCount()));
            System.out.println("again " + counts);
            again.forEach(record -> consumer.acknowledge(record, AcknowledgeType.ACCEPT));
            System.out.println(commit(consumer));
            System.out.println("twice: " + said(() -> {
                consumer.acknowledge(again.get(0), AcknowledgeType.ACCEPT);
                return "acknowledged";
            }));
        }
        System.out.println(until(() -> lags("explicit", "share-explicit").equals("{0=0}"))
            + " " + lags("explicit", "share-explicit"));
    }

    private void deliveredTooOften() throws Exception {
        topic("share-poison", 1);
        configure("poison", "share.auto.offset.reset", "earliest", "share.delivery.count.limit", "3");
        produce("share-poison", 0, 0, 2);
        Map<Long, List<Short>> counts = new TreeMap<>();
        try (KafkaShareConsumer<String, String> consumer =
                 consumer("poison", "share.acknowledgement.mode", "explicit")) {
            consumer.subscribe(Set.of("share-poison"));
            AtomicBoolean last = new AtomicBoolean();
            until(() -> {
                for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                    counts.computeIfAbsent(record.offset(), it -> new ArrayList<>())
                        .add(record.deliveryCount().orElse((short) -1));
                    consumer.acknowledge(record,
                        record.offset() == 0 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
                    last.set(counts.getOrDefault(0L, List.of()).size() >= 3);
                }
                return last.get();
            });
            System.out.println(counts + " " + commit(consumer));
            produce("share-poison", 0, 2, 3);
            System.out.println(next(consumer));
        }
    }

    private static String next(KafkaShareConsumer<String, String> consumer) {
        List<String> values = new ArrayList<>();
        until(() -> {
            for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                values.add(record.offset() + " " + record.value() + " " + record.deliveryCount());
                consumer.acknowledge(record, AcknowledgeType.ACCEPT);
            }
            return !values.isEmpty();
        });
        consumer.commitSync();
        return values.toString();
    }

    private void many() throws Exception {
        topic("share-many", 2);
        configure("many", "share.auto.offset.reset", "earliest");
        int count = 300;
        produce("share-many", 0, 0, count / 2);
        produce("share-many", 1, count / 2, count);
        Map<String, Integer> seen = new ConcurrentSkipListMap<>();
        AtomicBoolean stop = new AtomicBoolean();
        List<Thread> threads = new ArrayList<>();
        for (int member = 0; member < 4; member++) {
            Thread thread = new Thread(() -> {
                try (KafkaShareConsumer<String, String> consumer = consumer("many", "max.poll.records", "10")) {
                    consumer.subscribe(Set.of("share-many"));
                    while (!stop.get()) {
                        for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                            seen.merge(record.value(), 1, Integer::sum);
                        }
                    }
                }
            });
            thread.start();
            threads.add(thread);
        }
        boolean all = until(() -> seen.size() >= count);
        boolean four = until(() -> describe("many").members().size() == 4);
        ShareGroupDescription described = describe("many");
        Set<TopicPartition> assigned = new TreeSet<>((one, other) -> one.toString().compareTo(other.toString()));
        described.members().forEach(member -> assigned.addAll(member.assignment().topicPartitions()));
        System.out.println(all + " " + four + " " + described.groupState() + " " + assigned);
        stop.set(true);
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println(seen.size() + " values, each once: " + seen.values().stream().allMatch(it -> it == 1));
        System.out.println(until(() -> describe("many").members().isEmpty()) + " " + describe("many").groupState());
        System.out.println(until(() -> lags("many", "share-many").equals("{0=0, 1=0}")) + " " + lags("many", "share-many"));
    }

    private ShareGroupDescription describe(String group) {
        return attempt(() -> admin.describeShareGroups(List.of(group)).describedGroups().get(group).get());
    }

    private void committedOnly() throws Exception {
        topic("share-txn", 1);
        configure("committed", "share.auto.offset.reset", "earliest", "share.isolation.level", "read_committed");
        configure("uncommitted", "share.auto.offset.reset", "earliest");
        try (KafkaProducer<String, String> producer = producer(Map.of("transactional.id", "share-txn"))) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>("share-txn", "aborted")).get();
            producer.abortTransaction();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>("share-txn", "committed")).get();
            producer.commitTransaction();
        }
        try (KafkaShareConsumer<String, String> consumer = consumer("committed")) {
            consumer.subscribe(Set.of("share-txn"));
            System.out.println("read_committed " + read(consumer, 1));
        }
        try (KafkaShareConsumer<String, String> consumer = consumer("uncommitted")) {
            consumer.subscribe(Set.of("share-txn"));
            System.out.println("read_uncommitted " + read(consumer, 2));
        }
    }

    private void beginnings() throws Exception {
        topic("share-begin", 1);
        produce("share-begin", 0, 0, 3);
        try (KafkaShareConsumer<String, String> consumer = consumer("latest")) {
            consumer.subscribe(Set.of("share-begin"));
            until(() -> {
                consumer.poll(POLL);
                return offsets("latest", "share-begin").startsWith("{0=3");
            });
            produce("share-begin", 0, 3, 4);
            System.out.println(read(consumer, 1));
        }
        configure("duration", "share.auto.offset.reset", "by_duration:PT1H");
        try (KafkaShareConsumer<String, String> consumer = consumer("duration")) {
            consumer.subscribe(Set.of("share-begin"));
            System.out.println(read(consumer, 4));
        }
    }

    private void newPartitions() throws Exception {
        topic("share-grows", 1);
        produce("share-grows", 0, 0, 1);
        configure("grows", "share.auto.offset.reset", "earliest");
        try (KafkaShareConsumer<String, String> consumer = consumer("grows")) {
            consumer.subscribe(Set.of("share-grows"));
            System.out.println(read(consumer, 1));
            admin.createPartitions(Map.of("share-grows", NewPartitions.increaseTo(2))).all().get();
            until(() -> attempt(() -> admin.describeTopics(List.of("share-grows")).allTopicNames().get()
                .get("share-grows").partitions().size()).equals(2));
            produce("share-grows", 1, 1, 3);
            System.out.println(read(consumer, 2));
        }
    }

    private void administer() throws Exception {
        topic("share-admin", 2);
        produce("share-admin", 0, 0, 5);
        produce("share-admin", 1, 5, 10);
        TopicPartition first = new TopicPartition("share-admin", 0);
        System.out.println(said(() -> admin.alterShareGroupOffsets("admin", Map.of(first, 2L)).all().get()));
        System.out.println(offsets("admin", "share-admin"));
        System.out.println(describe("admin").groupState() + " " + describe("admin").members());
        try (KafkaShareConsumer<String, String> consumer = consumer("admin")) {
            consumer.subscribe(Set.of("share-admin"));
            System.out.println(read(consumer, 8));
            System.out.println(said(() -> admin.alterShareGroupOffsets("admin", Map.of(first, 2L)).all().get()));
            System.out.println(said(() -> admin.deleteShareGroupOffsets("admin", Set.of("share-admin")).all().get()));
            System.out.println(said(() -> admin.deleteShareGroups(List.of("admin")).all().get()));
        }
        until(() -> describe("admin").members().isEmpty());
        Set<String> listed = new TreeSet<>();
        for (GroupListing listing : admin.listGroups().all().get()) {
            listed.add(listing.groupId() + " " + listing.type() + " " + listing.protocol() + " " + listing.groupState());
        }
        System.out.println(listed);
        System.out.println(said(() -> admin.deleteShareGroupOffsets("admin", Set.of("share-admin")).all().get()));
        System.out.println(offsets("admin", "share-admin"));
        System.out.println(said(() -> admin.deleteShareGroups(List.of("admin")).all().get()));
        System.out.println(said(() -> admin.describeShareGroups(List.of("admin")).describedGroups().get("admin").get()));
        System.out.println(said(() -> admin.deleteShareGroups(List.of("many")).all().get()));
        System.out.println(said(() -> admin.deleteShareGroups(List.of("many")).all().get()));
    }

    private void refusals() throws Exception {
        System.out.println(said(() -> admin.describeShareGroups(List.of("nobody")).describedGroups().get("nobody").get()));
        System.out.println(said(() -> admin.deleteShareGroups(List.of("nobody")).all().get()));
        System.out.println(said(() -> admin.deleteShareGroupOffsets("nobody", Set.of("share-admin")).all().get()));
        TopicPartition absent = new TopicPartition("share-absent", 0);
        System.out.println(said(() -> admin.alterShareGroupOffsets("refused", Map.of(absent, 2L)).all().get()));
        TopicPartition beyond = new TopicPartition("share-admin", 9);
        System.out.println(said(() -> admin.alterShareGroupOffsets("refused", Map.of(beyond, 2L)).all().get()));
        System.out.println(said(() -> admin.listShareGroupOffsets(Map.of("nobody", new ListShareGroupOffsetsSpec()))
            .partitionsToOffsetInfo("nobody").get()));
        System.out.println(said(() -> {
            configure("refused", "share.session.timeout.ms", "1");
            return "configured";
        }));
        System.out.println(said(() -> {
            configure("refused", "share.auto.offset.reset", "yesterday");
            return "configured";
        }));
    }
}
