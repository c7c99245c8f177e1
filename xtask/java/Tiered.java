import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;

/**
 * Fills tiered topics, waits until their sealed segments have left the local disk, and tells what can be read.
 *
 * <p>Arguments: the server, then any of {@code write:N}, {@code settle}, {@code offsets}, {@code read}, {@code times},
 * {@code refusals}, {@code large} (segments that are put in parts), {@code delete}, {@code disable}, {@code drop}, {@code others} and {@code patient} (what can be done
 * while the store does not answer) and {@code mark} (a section between others).
 */
public final class Tiered {
    private static final long TIME = 1_600_000_000_000L;
    private static final int RECORDS = 350;
    private static final List<String> TOPICS = List.of("tier-plain", "tier-lz4", "tier-txn");
    private static final Map<String, OffsetSpec> SPECS = new TreeMap<>(Map.of(
        "earliest", OffsetSpec.earliest(),
        "earliest-local", OffsetSpec.earliestLocal(),
        "earliest-pending-upload", OffsetSpec.earliestPendingUpload(),
        "latest", OffsetSpec.latest(),
        "latest-tiered", OffsetSpec.latestTiered()));

    private final String server;
    private final Admin admin;

    private Tiered(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of("bootstrap.servers", server, "default.api.timeout.ms", "30000",
            "request.timeout.ms", "20000"));
    }

    public static void main(String[] arguments) throws Exception {
        Tiered it = new Tiered(arguments[0]);
        for (String step : Arrays.copyOfRange(arguments, 1, arguments.length)) {
            String[] parts = step.split(":");
            switch (parts[0]) {
                case "write" -> it.write(Integer.parseInt(parts[1]));
                case "settle" -> it.settle();
                case "offsets" -> it.offsets();
                case "read" -> it.read();
                case "times" -> it.times();
                case "refusals" -> it.refusals();
                case "large" -> it.large();
                case "delete" -> it.delete();
                case "disable" -> it.disable();
                case "drop" -> it.drop();
                case "others" -> it.others();
                case "patient" -> it.patient();
                case "mark" -> System.out.println("## mark");
                default -> throw new IllegalArgumentException(step);
            }
        }
        it.admin.close(Duration.ofSeconds(5));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static byte[] value(int instalment, int number) {
        byte[] value = new byte[10_240];
        // Looks like noise, so that compression does not make segments vanish.
        long state = instalment * 1_000_003L + number * 7919L + 1;
        for (int at = 0; at < value.length; at++) {
            state = state * 6364136223846793005L + 1442695040888963407L;
            value[at] = (byte) (state >>> 56);
        }
        return value;
    }

    private void create(String topic, Map<String, String> more) throws Exception {
        Map<String, String> configs = new HashMap<>(Map.of("segment.bytes", "1048576", "remote.storage.enable", "true",
            "local.retention.bytes", "1", "file.delete.delay.ms", "500",
            // Markers of transactions have the time of the day, records one of long ago.
            "segment.ms", String.valueOf(Long.MAX_VALUE)));
        configs.putAll(more);
        try {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1).configs(configs))).all().get();
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof TopicExistsException)) {
                throw error;
            }
        }
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", server, "acks", "all",
            "enable.idempotence", "false", "linger.ms", "0"));
        settings.putAll(more);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private void write(int instalment) throws Exception {
        create("tier-plain", Map.of());
        create("tier-lz4", Map.of("compression.type", "lz4"));
        create("tier-txn", Map.of());
        long time = TIME + instalment * 1_000_000L;
        for (String topic : List.of("tier-plain", "tier-lz4")) {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
                for (int number = 0; number < RECORDS; number++) {
                    // One batch each, wherever it is sent.
                    producer.send(new ProducerRecord<>(topic, 0, time + number * 1000L, null,
                        value(instalment, number))).get();
                }
            }
        }
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", "tier-" + instalment,
            "enable.idempotence", "true"))) {
            producer.initTransactions();
            for (int transaction = 0; transaction < 10; transaction++) {
                producer.beginTransaction();
                for (int at = 0; at < RECORDS / 10; at++) {
                    int number = transaction * RECORDS / 10 + at;
                    producer.send(new ProducerRecord<>("tier-txn", 0, time + number * 1000L, null,
                        value(instalment, number))).get();
                }
                if (transaction % 3 == 1) {
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
        }
    }

    private ListOffsetsResultInfo offset(String topic, OffsetSpec spec) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        return admin.listOffsets(Map.of(partition, spec), new ListOffsetsOptions()).partitionResult(partition).get();
    }

    private void settle() throws Exception {
        long end = System.currentTimeMillis() + 90_000;
        for (String topic : TOPICS) {
            while (true) {
                long local = offset(topic, OffsetSpec.earliestLocal()).offset();
                long tiered = offset(topic, OffsetSpec.latestTiered()).offset();
                long latest = offset(topic, OffsetSpec.latest()).offset();
                // The active segment holds about a hundred of the records.
                if (local == tiered + 1 && latest - local <= 105) {
                    break;
                }
                if (System.currentTimeMillis() > end) {
                    throw new IllegalStateException(topic + ": local from " + local + ", tiered to " + tiered
                        + ", end " + latest);
                }
                Thread.sleep(200);
            }
        }
    }

    private void offsets() throws Exception {
        for (String topic : TOPICS) {
            System.out.println("## offsets of " + topic);
            for (Map.Entry<String, OffsetSpec> spec : SPECS.entrySet()) {
                ListOffsetsResultInfo found = offset(topic, spec.getValue());
                System.out.println(spec.getKey() + " " + found.offset() + " timestamp " + found.timestamp() + " epoch "
                    + found.leaderEpoch().map(it -> it < 0 ? "none" : "some").orElse("absent"));
            }
        }
    }

    private void read() throws Exception {
        for (String topic : TOPICS) {
            for (String isolation : List.of("read_uncommitted", "read_committed")) {
                System.out.println("## " + topic + ", " + isolation);
                System.out.println(read(topic, isolation, 1_048_576));
            }
        }
        System.out.println("## tier-plain in small fetches");
        System.out.println(read("tier-plain", "read_uncommitted", 100));
    }

    private String read(String topic, String isolation, int bytes) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        Map<String, Object> settings = Map.of("bootstrap.servers", server, "isolation.level", isolation,
            "max.partition.fetch.bytes", bytes, "auto.offset.reset", "none", "max.poll.records", 2000);
        long hash = 0xcbf29ce484222325L;
        long count = 0;
        long first = -1;
        long last = -1;
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            long limit = System.currentTimeMillis() + 60_000;
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    first = first < 0 ? record.offset() : first;
                    last = record.offset();
                    count++;
                    hash = (hash ^ record.offset()) * 0x100000001b3L;
                    hash = (hash ^ record.timestamp()) * 0x100000001b3L;
                    hash = (hash ^ Arrays.hashCode(record.value())) * 0x100000001b3L;
                }
                if (System.currentTimeMillis() > limit) {
                    return "stuck at " + consumer.position(partition) + " before " + end;
                }
            }
        }
        return count + " records from " + first + " to " + last + ", hash " + Long.toHexString(hash);
    }

    private void times() throws Exception {
        for (String topic : List.of("tier-plain", "tier-lz4")) {
            System.out.println("## times in " + topic);
            List<Long> times = new ArrayList<>(List.of(0L, TIME));
            for (int number = 0; number < RECORDS; number += 57) {
                times.add(TIME + 1_000_000L + number * 1000L);
                times.add(TIME + 1_000_000L + number * 1000L + 1);
            }
            times.add(TIME + 900_000_000L);
            for (long time : times) {
                ListOffsetsResultInfo found = offset(topic, OffsetSpec.forTimestamp(time));
                System.out.println(time - TIME + " is at " + found.offset() + ", "
                    + (found.timestamp() < 0 ? found.timestamp() : found.timestamp() - TIME));
            }
            ListOffsetsResultInfo highest = offset(topic, OffsetSpec.maxTimestamp());
            System.out.println("highest at " + highest.offset() + ", " + (highest.timestamp() - TIME));
        }
    }

    private static String refusal(ExecutionException error) {
        return error.getCause().getClass().getSimpleName() + ": " + error.getCause().getMessage();
    }

    private void tryCreate(String name, Map<String, String> configs) throws Exception {
        System.out.println("## create with " + new TreeMap<>(configs));
        try {
            admin.createTopics(List.of(new NewTopic(name, 1, (short) 1).configs(configs))).all().get();
            System.out.println("created");
        } catch (ExecutionException error) {
            System.out.println(refusal(error));
        }
    }

    private void tryAlter(String topic, Map<String, String> configs) throws Exception {
        System.out.println("## alter " + topic + " to " + new TreeMap<>(configs));
        try {
            alter(topic, configs);
            System.out.println("altered");
        } catch (ExecutionException error) {
            System.out.println(refusal(error));
        }
    }

    private void alter(String topic, Map<String, String> configs) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        for (Map.Entry<String, String> config : new TreeMap<>(configs).entrySet()) {
            changes.add(new AlterConfigOp(new ConfigEntry(config.getKey(), config.getValue()), AlterConfigOp.OpType.SET));
        }
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), changes)).all().get();
    }

    private void refusals() throws Exception {
        tryCreate("tier-bad", Map.of("remote.storage.enable", "true", "cleanup.policy", "compact"));
        tryCreate("tier-bad", Map.of("remote.storage.enable", "true", "cleanup.policy", "compact,delete"));
        tryCreate("tier-bad", Map.of("remote.storage.enable", "true", "retention.bytes", "10", "local.retention.bytes", "11"));
        tryCreate("tier-bad", Map.of("remote.storage.enable", "true", "retention.ms", "10", "local.retention.ms", "-1"));
        tryCreate("tier-bad", Map.of("remote.storage.enable", "true", "remote.log.copy.disable", "true",
            "retention.ms", "100", "local.retention.ms", "10"));
        tryCreate("tier-bad", Map.of("remote.storage.enable", "true", "retention.ms", "100", "remote.copy.lag.ms", "200"));
        tryAlter("tier-plain", Map.of("cleanup.policy", "compact"));
        tryAlter("tier-plain", Map.of("remote.storage.enable", "false"));
        tryAlter("tier-plain", Map.of("remote.log.copy.disable", "true"));
        tryAlter("tier-plain", Map.of("remote.storage.enable", "maybe"));
    }

    /** A segment of more than one part leaves the disk and is read from the store. */
    private void large() throws Exception {
        System.out.println("## tier-large");
        create("tier-large", Map.of("segment.bytes", "41943040"));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int number = 0; number < 4_800; number++) {
                producer.send(new ProducerRecord<>("tier-large", 0, TIME + number, null, value(9, number))).get();
            }
        }
        long end = System.currentTimeMillis() + 90_000;
        while (offset("tier-large", OffsetSpec.earliestLocal()).offset() == 0) {
            if (System.currentTimeMillis() > end) {
                throw new IllegalStateException("no large segment has left the disk");
            }
            Thread.sleep(200);
        }
        System.out.println("local from " + offset("tier-large", OffsetSpec.earliestLocal()).offset());
        System.out.println(read("tier-large", "read_uncommitted", 1_048_576));
    }

    /** Deletes records up to the middle of what is tiered. */
    private void delete() throws Exception {
        for (String topic : TOPICS) {
            TopicPartition partition = new TopicPartition(topic, 0);
            System.out.println("## delete in " + topic);
            long low = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(150))).lowWatermarks()
                .get(partition).get().lowWatermark();
            System.out.println("low watermark " + low);
            System.out.println("earliest " + offset(topic, OffsetSpec.earliest()).offset());
            System.out.println(read(topic, "read_committed", 1_048_576));
        }
    }

    /** Nothing more is copied, then nothing is tiered. */
    private void disable() throws Exception {
        System.out.println("## disable tier-plain");
        alter("tier-plain", Map.of("remote.log.copy.disable", "true", "local.retention.bytes", "-2"));
        System.out.println(read("tier-plain", "read_uncommitted", 1_048_576));
        long local = offset("tier-plain", OffsetSpec.earliestLocal()).offset();
        alter("tier-plain", Map.of("remote.storage.enable", "false", "remote.log.delete.on.disable", "true"));
        long end = System.currentTimeMillis() + 30_000;
        while (offset("tier-plain", OffsetSpec.earliest()).offset() < local && System.currentTimeMillis() < end) {
            Thread.sleep(100);
        }
        for (Map.Entry<String, OffsetSpec> spec : SPECS.entrySet()) {
            System.out.println(spec.getKey() + " " + offset("tier-plain", spec.getValue()).offset());
        }
        System.out.println(read("tier-plain", "read_uncommitted", 1_048_576));
    }

    /** A topic that is not tiered is written and read. */
    private void others() throws Exception {
        System.out.println("## others");
        create("not-tiered", Map.of("remote.storage.enable", "false", "local.retention.bytes", "-2"));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int number = 0; number < 20; number++) {
                producer.send(new ProducerRecord<>("not-tiered", 0, TIME, null, value(0, number))).get();
            }
        }
        System.out.println(read("not-tiered", "read_committed", 1_048_576));
    }

    /** Asks for tiered records for a while, and for those at the end of the same topic. */
    private void patient() throws Exception {
        System.out.println("## patient");
        TopicPartition partition = new TopicPartition("tier-plain", 0);
        Map<String, Object> settings = Map.of("bootstrap.servers", server, "auto.offset.reset", "none");
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            int found = 0;
            long end = System.currentTimeMillis() + 3_000;
            while (System.currentTimeMillis() < end) {
                found += consumer.poll(Duration.ofMillis(200)).count();
            }
            System.out.println(found + " records from the store");
            consumer.seek(partition, consumer.endOffsets(List.of(partition)).get(partition) - 5);
            found = 0;
            end = System.currentTimeMillis() + 30_000;
            while (found < 5 && System.currentTimeMillis() < end) {
                found += consumer.poll(Duration.ofMillis(200)).count();
            }
            System.out.println(found + " records from the end");
        }
    }

    private void drop() throws Exception {
        admin.deleteTopics(admin.listTopics().names().get().stream().filter(it -> it.startsWith("tier-")).toList())
            .all().get();
    }
}
