import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.FileRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Utils;

import java.io.File;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Writes a log that has everything compaction looks at, lets it be compacted, and tells what is left of it.
 *
 * <p>Arguments: the server, then any of {@code write:N} (the Nth instalment, which is not compacted yet),
 * {@code clean:DIRECTORY} (lets the topics be compacted and waits until they are), {@code records} and {@code read} (tells
 * what consumers see, the second with look-ups by time: of segments that it has compacted itself, Apache Kafka finds
 * nothing by time until it is started again); or {@code dump} and a log directory, for which no server is needed.
 */
public final class Compaction {
    private static final long TIME = 1_600_000_000_000L;
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    /** Topics whose first instalment {@code LegacyLogs} writes. */
    private static final List<String> LEGACY_TOPICS = List.of("c-legacy", "c-legacy-cleaned");
    private static final List<String> TOPICS =
        Stream.concat(Stream.of("c-plain", "c-mixed", "c-append-time"), LEGACY_TOPICS.stream()).toList();
    private static final String NEVER = "9000000000000";

    private final String server;
    private final Admin admin;

    private Compaction(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of("bootstrap.servers", server, "default.api.timeout.ms", "20000",
            "request.timeout.ms", "10000"));
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("dump")) {
            for (String topic : TOPICS) {
                dump(new File(arguments[1], topic + "-0"));
            }
            return;
        }
        Compaction compaction = new Compaction(arguments[0]);
        for (String step : Arrays.copyOfRange(arguments, 1, arguments.length)) {
            if (step.equals("read") || step.equals("records")) {
                compaction.read(step.equals("read"));
            } else if (step.startsWith("write:")) {
                compaction.write(Integer.parseInt(step.substring(6)));
            } else {
                compaction.clean(new File(step.substring(6)));
            }
        }
        compaction.admin.close(Duration.ofSeconds(5));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private void write(int instalment) throws Exception {
        Map<String, String> configs = Map.of("cleanup.policy", "compact", "internal.segment.bytes", "6000",
            "index.interval.bytes", "500", "min.compaction.lag.ms", NEVER, "min.cleanable.dirty.ratio", "0.0",
            "delete.retention.ms", "1");
        if (instalment == 1) {
            create("c-plain", configs);
            create("c-mixed", configs);
            Map<String, String> appendTime = new HashMap<>(configs);
            appendTime.put("message.timestamp.type", "LogAppendTime");
            create("c-append-time", appendTime);
            for (String topic : LEGACY_TOPICS) {
                create(topic, configs);
            }
        } else {
            lag(NEVER);
            overLegacy(instalment);
        }
        plain(instalment);
        mixed(instalment);
        // The last segments are never compacted: what is to be must not be in them.
        for (String topic : TOPICS) {
            if (instalment == 1 && LEGACY_TOPICS.contains(topic)) {
                continue;
            }
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("enable.idempotence", "false", "acks", "1"))) {
                for (int record = 0; record < 4; record++) {
                    send(producer, topic, TIME, "filler " + record, "f".repeat(3500), false);
                    producer.flush();
                }
            }
        }
    }

    /** New values and tombstones for some of the keys that are in old formats. */
    private void overLegacy(int instalment) throws Exception {
        long time = TIME + instalment * 1_000_000L;
        for (String topic : LEGACY_TOPICS) {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("enable.idempotence", "false", "acks", "1"))) {
                for (String key : List.of("a", "d", "m", "aa", "l", "new")) {
                    send(producer, topic, time, key, key.equals("m") ? null : "over it", key.equals("a"));
                }
                producer.flush();
            }
        }
    }

    private void plain(int instalment) throws Exception {
        long time = TIME + instalment * 1_000_000L;
        for (String topic : List.of("c-plain", "c-append-time")) {
            for (String codec : CODECS) {
                Map<String, Object> settings = Map.of("compression.type", codec, "enable.idempotence", "false", "acks", "1");
                try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
                    for (int batch = 0; batch < 12; batch++) {
                        for (int record = 0; record < 6; record++) {
                            int key = (batch * 7 + record * 5 + instalment * 3) % 40;
                            String value = key % 9 == 4 ? null : codec + " " + instalment + " " + batch + "x".repeat(key * 4);
                            send(producer, topic, time + batch * 10L - record, "key " + key, value, record % 2 == 0);
                        }
                        producer.flush();
                    }
                }
            }
        }
    }

    /** Idempotent producers and transactions, committed and aborted, between each other. */
    private void mixed(int instalment) throws Exception {
        long time = TIME + instalment * 1_000_000L;
        try (KafkaProducer<byte[], byte[]> idempotent = producer(Map.of());
             KafkaProducer<byte[], byte[]> gone = producer(Map.of());
             KafkaProducer<byte[], byte[]> one = producer(Map.of("transactional.id", "one " + instalment));
             KafkaProducer<byte[], byte[]> other = producer(Map.of("transactional.id", "other", "compression.type", "lz4"))) {
            one.initTransactions();
            other.initTransactions();
            send(gone, "c-mixed", time, "k 0", "overwritten, but its sequence is the last", false);
            gone.flush();
            long end = end();
            for (int round = 0; round < 24; round++) {
                one.beginTransaction();
                other.beginTransaction();
                for (int record = 0; record < 3; record++) {
                    send(one, "c-mixed", time + round, "k " + (round + record) % 11, "one " + round, true);
                    send(other, "c-mixed", time + round, "k " + (round * 2 + record) % 11, record == 1 ? null : "other " + round, false);
                }
                one.flush();
                other.flush();
                send(idempotent, "c-mixed", time + round, "k " + round % 13, "idempotent " + round + " " + "y".repeat(150), false);
                send(idempotent, "c-mixed", time + round, "only " + round % 5, round % 4 == 3 ? null : "again", false);
                idempotent.flush();
                end(one, round % 3 == 1);
                await(end + 9);
                end(other, round % 4 == 2);
                end += 10;
                await(end);
            }
            // The last of this one is a marker.
            other.beginTransaction();
            send(other, "c-mixed", time + 30, "k 1", "aborted in the end", false);
            other.flush();
            other.abortTransaction();
            await(end + 2);
        }
    }

    /** The end of the log of transactions. */
    private long end() throws Exception {
        TopicPartition partition = new TopicPartition("c-mixed", 0);
        return admin.listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition).get().offset();
    }

    /** A transaction is committed before its marker is in the log: waits for that, so that every run writes the same. */
    private void await(long end) throws Exception {
        long deadline = System.currentTimeMillis() + 20_000;
        while (end() < end && System.currentTimeMillis() < deadline) {
            Thread.sleep(5);
        }
    }

    private static void end(KafkaProducer<byte[], byte[]> producer, boolean abort) {
        if (abort) {
            producer.abortTransaction();
        } else {
            producer.commitTransaction();
        }
    }

    private void lag(String milliseconds) throws Exception {
        Map<ConfigResource, Collection<AlterConfigOp>> changes = new HashMap<>();
        for (String topic : TOPICS) {
            ConfigEntry entry = new ConfigEntry("min.compaction.lag.ms", milliseconds);
            changes.put(new ConfigResource(ConfigResource.Type.TOPIC, topic),
                List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET)));
        }
        admin.incrementalAlterConfigs(changes).all().get();
    }

    /** Lets the topics be compacted, and waits until the checkpoint says that they are, up to their last segments. */
    private void clean(File directory) throws Exception {
        lag("0");
        long deadline = System.currentTimeMillis() + 60_000;
        for (String topic : TOPICS) {
            long end = segments(new File(directory, topic + "-0")).reduce((a, b) -> b).map(Compaction::base).orElseThrow();
            while (!Files.cleaned(directory, topic, end)) {
                if (System.currentTimeMillis() > deadline) {
                    System.out.println("## " + topic + " is not compacted up to " + end);
                    return;
                }
                Thread.sleep(50);
            }
        }
    }

    private static final class Files {
        static boolean cleaned(File directory, String topic, long end) throws Exception {
            File file = new File(directory, "cleaner-offset-checkpoint");
            return file.exists() && java.nio.file.Files.readAllLines(file.toPath()).contains(topic + " 0 " + end);
        }
    }

    private static Stream<File> segments(File directory) {
        return Arrays.stream(directory.listFiles((in, name) -> name.endsWith(".log"))).sorted();
    }

    private static long base(File segment) {
        return Long.parseLong(segment.getName().replace(".log", ""));
    }

    /** Tells what is in the files, batch by batch; of a transaction marker and a horizon only that they are there. */
    private static void dump(File directory) throws Exception {
        System.out.println("## files of " + directory.getName());
        Map<Long, String> producers = new HashMap<>();
        for (File segment : (Iterable<File>) segments(directory)::iterator) {
            System.out.println("segment " + base(segment));
            try (FileRecords records = FileRecords.open(segment, false)) {
                for (RecordBatch batch : records.batches()) {
                    batch.ensureValid();
                    boolean horizon = batch.deleteHorizonMs().isPresent();
                    String producer = batch.hasProducerId()
                        ? producers.computeIfAbsent(batch.producerId(), id -> "P" + producers.size()) + ":" + batch.producerEpoch()
                        : "-";
                    String time = batch.isControlBatch() || directory.getName().startsWith("c-append")
                        ? batch.timestampType().toString() : batch.timestampType() + " " + batch.maxTimestamp();
                    System.out.println("batch v" + batch.magic() + " " + batch.baseOffset() + ".." + batch.lastOffset() + " records "
                        + batch.countOrNull() + " " + producer + " " + batch.baseSequence() + ".." + batch.lastSequence()
                        + " " + batch.compressionType() + " " + time + " epoch " + batch.partitionLeaderEpoch()
                        + (batch.isTransactional() ? " transactional" : "") + (horizon ? " horizon" : ""));
                    for (Record record : batch) {
                        String what = batch.isControlBatch()
                            ? ControlRecordType.parse(record.key()).toString()
                            : text(record.key()) + "=" + text(record.value());
                        System.out.println("  " + record.offset() + " " + record.sequence() + " " + what
                            + " " + record.headers().length
                            + (batch.isControlBatch() || directory.getName().startsWith("c-append") ? "" : " " + record.timestamp()));
                    }
                }
            }
        }
    }

    private static String text(ByteBuffer bytes) {
        return bytes == null ? "null" : new String(Utils.toArray(bytes.duplicate()));
    }

    private void read(boolean byTime) throws Exception {
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            for (String topic : TOPICS) {
                System.out.println("## " + isolation + " " + topic);
                TopicPartition partition = new TopicPartition(topic, 0);
                Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", server, "isolation.level", isolation,
                    "fetch.max.bytes", "5000", "max.partition.fetch.bytes", "5000", "auto.offset.reset", "earliest"));
                try (KafkaConsumer<byte[], byte[]> consumer =
                         new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                    consumer.assign(List.of(partition));
                    consumer.seekToBeginning(List.of(partition));
                    long end = consumer.endOffsets(List.of(partition)).get(partition);
                    System.out.println("end " + end);
                    while (consumer.position(partition) < end) {
                        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                            StringBuilder line = new StringBuilder().append(record.offset()).append(' ');
                            line.append(new String(record.key())).append('=');
                            line.append(record.value() == null ? "null" : new String(record.value()));
                            for (Header header : record.headers()) {
                                line.append(' ').append(header.key());
                            }
                            if (!topic.equals("c-append-time")) {
                                line.append(' ').append(record.timestampType()).append(' ').append(record.timestamp());
                            }
                            System.out.println(line);
                        }
                    }
                    if (byTime && !topic.equals("c-append-time")) {
                        for (long time = TIME + 999_990; time < TIME + 2_000_130; time += time > TIME + 1_000_130 && time < TIME + 1_999_000 ? 333_333 : 20) {
                            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, time)).get(partition);
                            System.out.println("at " + (time - TIME) + ": " + (found == null ? "nothing" : found.offset() + " " + (found.timestamp() - TIME)));
                        }
                    }
                }
            }
        }
    }

    private void create(String name, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, Optional.of(1), Optional.empty()).configs(configs))).all().get();
        while (!admin.listTopics().names().get().contains(name)) {
            Thread.sleep(20);
        }
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", server, "linger.ms", "60000",
            "batch.size", "100000", "delivery.timeout.ms", "120000"));
        settings.putAll(more);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, long time, String key, String value, boolean header) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, time, key.getBytes(), value == null ? null : value.getBytes());
        if (header) {
            record.headers().add("header", "of a record".getBytes());
        }
        producer.send(record);
    }
}
