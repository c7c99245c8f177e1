import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.StreamsGroupDescription;
import org.apache.kafka.clients.admin.StreamsGroupMemberAssignment;
import org.apache.kafka.clients.admin.StreamsGroupMemberDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.apache.kafka.common.serialization.IntegerSerializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * An exactly-once job with much state, one instance of it, and then a second one that has none: what each of them
 * has meanwhile, whether the tasks that are to move go on, and whether every key is counted exactly.
 *
 * <p>The arguments are the server's address and a folder; commands come line by line, and after each answer a dot.
 * What takes long is told to standard error, with times.
 */
public final class WarmUp {
    private static final int PARTITIONS = 4;
    private static final int KEYS = 100_000;
    private static final long LIMIT_MS = 120_000;

    private final String server;
    private final Path folder;
    private final int[] sent = new int[KEYS];
    /** When the latest step of each partition was seen, and the longest time between two. */
    private final AtomicLongArray latest = new AtomicLongArray(PARTITIONS);
    private final AtomicLongArray longest = new AtomicLongArray(PARTITIONS);
    private final AtomicIntegerArray steps = new AtomicIntegerArray(PARTITIONS);
    private final List<KafkaStreams> instances = new ArrayList<>();
    private final Admin admin;
    private String name;
    private volatile boolean ends;
    private Thread feeder;
    private Thread watcher;

    private WarmUp(String server, Path folder) {
        this.server = server;
        this.folder = folder;
        this.admin = Admin.create(Map.of("bootstrap.servers", server));
    }

    public static void main(String[] arguments) throws Exception {
        WarmUp program = new WarmUp(arguments[0], Path.of(arguments[1]));
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            long begin = System.currentTimeMillis();
            try {
                program.obey(line.split(" "));
            } catch (Throwable failure) {
                failure.printStackTrace();
                System.out.println("failed: " + failure);
            }
            System.err.println(line + ": " + (System.currentTimeMillis() - begin) + " ms");
            System.out.println(".");
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private void obey(String[] words) throws Exception {
        switch (words[0]) {
            case "begin" -> begin(words[1], words.length > 2 ? words[2] : null);
            case "join" -> join(words[1]);
            case "warm" -> warm();
            case "move" -> move();
            case "count" -> count();
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** Topics, settings of the group, records, and the first instance, which takes them all in. */
    private void begin(String name, String assignor) throws Exception {
        this.name = name;
        admin.createTopics(List.of(
            new NewTopic(name + "-in", PARTITIONS, (short) 1), new NewTopic(name + "-out", PARTITIONS, (short) 1))).all().get();
        if (assignor != null) {
            ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, name);
            AlterConfigOp op = new AlterConfigOp(new ConfigEntry("streams.assignor.name", assignor), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(group, List.of(op))).all().get();
        }
        Arrays.fill(sent, 0);
        try (KafkaProducer<Integer, Long> producer = producer()) {
            for (int key = 0; key < KEYS; key++) {
                send(producer, key);
            }
        }
        for (int partition = 0; partition < PARTITIONS; partition++) {
            steps.set(partition, 0);
            longest.set(partition, 0);
        }
        ends = false;
        watcher = start("watcher", this::watch);
        instances.add(instance("one", 1000));
        until("one has taken everything in", () -> total() >= KEYS);
        feeder = start("feeder", this::feed);
        System.out.println("one has " + active("one") + " and processed " + KEYS + " records");
    }

    /** A second instance, whose store reads so many records of a changelog at a time. */
    private void join(String records) throws Exception {
        for (int partition = 0; partition < PARTITIONS; partition++) {
            longest.set(partition, 0);
        }
        instances.add(instance("two", Integer.parseInt(records)));
        until("two is there", () -> member("two") != null);
        System.out.println("two is there");
    }

    /** Waits until the second instance warms up, and looks whether the first one goes on with everything. */
    private void warm() throws Exception {
        until("two warms up", () -> warmups("two").size() == 2 && describe().groupState() == GroupState.STABLE);
        System.out.println("by " + describe().assignorName().orElse("?") + ", two has " + active("two") + " and warms up "
            + warmups("two") + ", one has " + active("one"));
        int[] before = IntStream.range(0, PARTITIONS).map(steps::get).toArray();
        until("one goes on with everything", () -> IntStream.range(0, PARTITIONS).allMatch(it -> steps.get(it) > before[it] + 20));
        System.out.println("one goes on with " + active("one") + " while two warms up " + warmups("two"));
    }

    /** Waits until each has half of the tasks and goes on with it. */
    private void move() throws Exception {
        TreeSet<Integer> seen = new TreeSet<>();
        until("both have half", () -> {
            seen.addAll(warmups("two"));
            return active("two").size() == 2 && active("one").size() == 2 && describe().groupState() == GroupState.STABLE;
        });
        int[] before = IntStream.range(0, PARTITIONS).map(steps::get).toArray();
        until("everything goes on", () -> IntStream.range(0, PARTITIONS).allMatch(it -> steps.get(it) > before[it] + 20));
        System.out.println("one has " + active("one") + ", two has " + active("two") + ", warm-ups left " + warmups("two"));
        System.err.println("longest time without a step, by partition: " + longest + " ms; seen to warm up: " + seen);
    }

    /** Ends everything and holds what was counted against what was sent. */
    private void count() throws Exception {
        ends = true;
        feeder.join();
        int all = Arrays.stream(sent).sum();
        until("everything is counted", () -> total() >= all);
        watcher.join();
        Map<Integer, List<Long>> counted = new TreeMap<>();
        try (KafkaConsumer<Integer, Long> consumer = consumer()) {
            Map<TopicPartition, Long> end = consumer.endOffsets(consumer.assignment());
            while (end.entrySet().stream().anyMatch(it -> consumer.position(it.getKey()) < it.getValue())) {
                for (ConsumerRecord<Integer, Long> record : consumer.poll(Duration.ofMillis(200))) {
                    counted.computeIfAbsent(record.key(), key -> new ArrayList<>()).add(record.value());
                }
            }
        }
        int wrong = 0;
        for (int key = 0; key < KEYS; key++) {
            List<Long> expected = IntStream.rangeClosed(1, sent[key]).mapToObj(Long::valueOf).toList();
            wrong += expected.equals(counted.get(key)) ? 0 : 1;
        }
        instances.forEach(it -> it.close(Duration.ofSeconds(30)));
        instances.clear();
        System.out.println(counted.size() + " keys, " + wrong + " of them not counted exactly once for each record");
        System.err.println(all + " records");
    }

    private KafkaStreams instance(String id, int records) {
        Properties settings = new Properties();
        settings.putAll(Map.of("application.id", name, "client.id", id, "bootstrap.servers", server, "group.protocol", "streams",
            "processing.guarantee", "exactly_once_v2", "statestore.cache.max.bytes", "0", "commit.interval.ms", "100",
            "auto.offset.reset", "earliest", "state.dir", folder.resolve(name + "-" + id).toString()));
        settings.put("restore.consumer.max.poll.records", records);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(name + "-in", Consumed.with(Serdes.Integer(), Serdes.Long()))
            .groupByKey(Grouped.with(Serdes.Integer(), Serdes.Long()))
            .count(Materialized.as("counts"))
            .toStream().to(name + "-out", Produced.with(Serdes.Integer(), Serdes.Long(), (topic, key, value, partitions) ->
                java.util.Optional.of(java.util.Set.of(key % PARTITIONS))));
        KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
        streams.setStateListener((now, before) -> System.err.println(id + ": " + before + " to " + now));
        streams.start();
        return streams;
    }

    private KafkaProducer<Integer, Long> producer() {
        return new KafkaProducer<>(Map.of("bootstrap.servers", server, "linger.ms", "5"), new IntegerSerializer(), new LongSerializer());
    }

    private void send(KafkaProducer<Integer, Long> producer, int key) {
        producer.send(new ProducerRecord<>(name + "-in", key % PARTITIONS, key, 1L));
        sent[key]++;
    }

    /** One record after the other, to all partitions in turn. */
    private void feed() {
        try (KafkaProducer<Integer, Long> producer = producer()) {
            for (int key = 0; !ends; key = (key + 1) % KEYS) {
                send(producer, key);
                Thread.sleep(5);
            }
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    private KafkaConsumer<Integer, Long> consumer() {
        KafkaConsumer<Integer, Long> consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", server,
            "isolation.level", "read_committed", "auto.offset.reset", "earliest"), new IntegerDeserializer(), new LongDeserializer());
        consumer.assign(IntStream.range(0, PARTITIONS).mapToObj(it -> new TopicPartition(name + "-out", it)).toList());
        return consumer;
    }

    /** Takes note of every step that is committed, until all that was sent is counted. */
    private void watch() {
        try (KafkaConsumer<Integer, Long> consumer = consumer()) {
            while (!ends || total() < Arrays.stream(sent).sum()) {
                for (ConsumerRecord<Integer, Long> record : consumer.poll(Duration.ofMillis(50))) {
                    int partition = record.partition();
                    long now = System.currentTimeMillis();
                    long before = latest.getAndSet(partition, now);
                    if (steps.getAndIncrement(partition) > 0) {
                        longest.set(partition, Math.max(longest.get(partition), now - before));
                    }
                }
            }
        }
    }

    private int total() {
        return IntStream.range(0, PARTITIONS).map(steps::get).sum();
    }

    private StreamsGroupDescription describe() throws Exception {
        return admin.describeStreamsGroups(List.of(name)).all().get().get(name);
    }

    private StreamsGroupMemberDescription member(String id) throws Exception {
        return describe().members().stream().filter(it -> it.clientId().startsWith(id)).findAny().orElse(null);
    }

    private TreeSet<Integer> active(String id) throws Exception {
        StreamsGroupMemberDescription member = member(id);
        return member == null ? new TreeSet<>() : tasks(member.assignment().activeTasks());
    }

    private TreeSet<Integer> warmups(String id) throws Exception {
        StreamsGroupMemberDescription member = member(id);
        return member == null ? new TreeSet<>() : tasks(member.assignment().warmupTasks());
    }

    private static TreeSet<Integer> tasks(List<StreamsGroupMemberAssignment.TaskIds> ids) {
        return ids.stream().flatMap(it -> it.partitions().stream()).collect(Collectors.toCollection(TreeSet::new));
    }

    private static Thread start(String name, Runnable work) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void until(String what, Condition condition) throws Exception {
        long end = System.currentTimeMillis() + LIMIT_MS;
        while (true) {
            try {
                if (condition.holds()) {
                    return;
                }
            } catch (ExecutionException notYet) {
                // The server is on its way.
            }
            if (System.currentTimeMillis() > end) {
                throw new IllegalStateException("it took too long until " + what);
            }
            Thread.sleep(50);
        }
    }
}
