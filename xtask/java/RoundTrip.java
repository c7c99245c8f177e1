import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;

/**
 * Writes the same batches wherever it is pointed, and tells everything that topics hold.
 *
 * <p>Arguments: the server, then any of {@code plain:N} and {@code all:N} (write the Nth instalment, the second
 * with what only a server with transactions and groups can hold), with {@code :keep} behind it if no records shall be
 * deleted, {@code read}, and {@code mark} (a section between others).
 */
public final class RoundTrip {
    private static final long TIME = 1_600_000_000_000L;
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private final String server;
    private final Admin admin;

    private RoundTrip(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of("bootstrap.servers", server, "default.api.timeout.ms", "20000",
            "request.timeout.ms", "10000"));
    }

    public static void main(String[] arguments) throws Exception {
        RoundTrip trip = new RoundTrip(arguments[0]);
        for (String step : Arrays.copyOfRange(arguments, 1, arguments.length)) {
            if (step.equals("read")) {
                trip.read();
            } else if (step.equals("mark")) {
                System.out.println("## mark");
            } else {
                String[] parts = step.split(":");
                trip.write(Integer.parseInt(parts[1]), parts.length == 2);
                if (parts[0].equals("all")) {
                    trip.writeMore(Integer.parseInt(parts[1]));
                }
            }
        }
        trip.admin.close(Duration.ofSeconds(5));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private void write(int instalment, boolean delete) throws Exception {
        create("rt-plain", 1, Map.of());
        create("rt-codecs", 1, Map.of());
        create("rt-compact", 1, Map.of("cleanup.policy", "compact"));
        create("rt-segments", 1, Map.of("segment.bytes", "1048576", "retention.ms", "-1"));
        create("rt-many", 12, Map.of("max.message.bytes", "2000000"));
        create("rt-deleted", 1, Map.of());
        create("rt-dropped", 1, Map.of());
        long time = TIME + instalment * 1_000_000L;
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int batch = 0; batch < 10; batch++) {
                for (int record = 0; record <= batch; record++) {
                    send(producer, "rt-plain", 0, time + batch, "k" + record, "plain " + batch, batch % 2 == 0);
                }
                producer.flush();
            }
            for (int record = 0; record < 20; record++) {
                send(producer, "rt-compact", 0, time, "k" + record % 7, record % 5 == 0 ? null : "v" + record, false);
            }
            producer.flush();
            String text = "0123456789abcdef".repeat(200);
            for (int batch = 0; batch < 60; batch++) {
                for (int record = 0; record < 15; record++) {
                    send(producer, "rt-segments", 0, time + batch * 15L + record, null, text + record, false);
                }
                producer.flush();
            }
            for (int partition = 0; partition < 12; partition++) {
                for (int record = 0; record <= partition; record++) {
                    send(producer, "rt-many", partition, time, "k", "many " + partition, false);
                }
                producer.flush();
            }
            for (int batch = 0; batch < 4; batch++) {
                send(producer, "rt-deleted", 0, time, "k", "first", false);
                send(producer, "rt-deleted", 0, time, "k", "second", false);
                producer.flush();
            }
        }
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("enable.idempotence", "false", "acks", "1"))) {
            send(producer, "rt-plain", 0, time + 100, "old", "without a producer id", true);
            producer.flush();
        }
        for (String codec : CODECS) {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", codec))) {
                for (int record = 0; record < 50; record++) {
                    send(producer, "rt-codecs", 0, time + record, "k" + record, codec.repeat(30), true);
                }
                producer.flush();
            }
        }
        create("rt-moved", 1, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int record = 0; record < 10; record++) {
                send(producer, "rt-moved", 0, time, "k" + record, "moved", false);
            }
            producer.flush();
        }
        move();
        long end = instalment * 5L;
        if (delete) {
            admin.deleteRecords(Map.of(new TopicPartition("rt-deleted", 0), RecordsToDelete.beforeOffset(end))).all().get();
        }
        admin.deleteTopics(List.of("rt-dropped")).all().get();
        // A broker learns of a deletion after the controller has answered.
        while (admin.listTopics().names().get().contains("rt-dropped")) {
            Thread.sleep(20);
        }
    }

    /** Has a partition moved to the other log directory, and waits until it is there. */
    private void move() throws Exception {
        TopicPartitionReplica replica = new TopicPartitionReplica("rt-moved", 0, 1);
        String from = admin.describeReplicaLogDirs(List.of(replica)).all().get().get(replica).getCurrentReplicaLogDir();
        Optional<String> other = admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).keySet().stream()
            .filter(it -> !it.equals(from)).findFirst();
        if (other.isEmpty()) {
            return;
        }
        String to = other.get();
        try {
            admin.alterReplicaLogDirs(Map.of(replica, to)).all().get();
        } catch (ExecutionException refused) {
            System.out.println("## move\n" + refused.getCause());
            return;
        }
        long deadline = System.currentTimeMillis() + 20_000;
        while (!to.equals(admin.describeReplicaLogDirs(List.of(replica)).all().get().get(replica).getCurrentReplicaLogDir())) {
            if (System.currentTimeMillis() > deadline) {
                System.out.println("## move\nthe partition was not moved");
                return;
            }
            Thread.sleep(50);
        }
    }

    private void writeMore(int instalment) throws Exception {
        create("rt-append-time", 1, Map.of("message.timestamp.type", "LogAppendTime"));
        create("rt-transactions", 2, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int batch = 0; batch < 5; batch++) {
                send(producer, "rt-append-time", 0, TIME, "k", "appended " + batch, false);
                producer.flush();
            }
        }
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", "rt"))) {
            producer.initTransactions();
            for (int transaction = 0; transaction < 6; transaction++) {
                producer.beginTransaction();
                for (int partition = 0; partition < 2; partition++) {
                    send(producer, "rt-transactions", partition, TIME, "k", "transaction " + transaction, false);
                }
                producer.flush();
                if (transaction % 3 == 1) {
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", "rt-group"))) {
            TopicPartition partition = new TopicPartition("rt-plain", 0);
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(instalment * 3L)));
        }
    }

    private void create(String name, int partitions, Map<String, String> configs) throws Exception {
        try {
            NewTopic topic = new NewTopic(name, Optional.of(partitions), Optional.empty());
            admin.createTopics(List.of(topic.configs(configs))).all().get();
        } catch (ExecutionException refused) {
            if (!(refused.getCause() instanceof TopicExistsException)) {
                throw refused;
            }
        }
    }

    /** Nothing leaves before {@code flush}, so that batches are the same in every run. */
    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of(
            "bootstrap.servers", server, "linger.ms", "60000", "batch.size", "900000", "max.block.ms", "20000",
            "request.timeout.ms", "10000", "delivery.timeout.ms", "80000"));
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of(
            "bootstrap.servers", server, "enable.auto.commit", "false", "auto.offset.reset", "none",
            "fetch.max.wait.ms", "20"));
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, int partition, long time,
                             String key, String value, boolean headers) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, partition, time,
            key == null ? null : key.getBytes(), value == null ? null : value.getBytes());
        if (headers) {
            record.headers().add("h", "v".getBytes()).add("h", null);
        }
        producer.send(record);
    }

    private void read() throws Exception {
        Collection<String> names = new TreeSet<>(admin.listTopics().names().get());
        names.removeIf(it -> !it.startsWith("rt-"));
        for (TopicDescription topic : new TreeMap<>(admin.describeTopics(names).allTopicNames().get()).values()) {
            System.out.println("## topic " + topic.name());
            System.out.println(topic.topicId());
            for (TopicPartitionInfo it : topic.partitions()) {
                System.out.println(it.partition() + " " + it.leader().id() + " " + it.replicas().size() + " " + it.isr().size());
            }
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic.name());
            admin.describeConfigs(List.of(resource)).all().get().get(resource).entries().stream()
                .filter(it -> it.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG)
                .map(it -> it.name() + "=" + it.value()).sorted().forEach(System.out::println);
            for (String isolation : List.of("read_uncommitted", "read_committed")) {
                System.out.println("## records of " + topic.name() + " " + isolation);
                records(topic, isolation);
            }
        }
    }

    private void records(TopicDescription topic, String isolation) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("isolation.level", isolation))) {
            List<TopicPartition> partitions = topic.partitions().stream()
                .map(it -> new TopicPartition(topic.name(), it.partition())).collect(Collectors.toList());
            Map<TopicPartition, Long> first = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> end = consumer.endOffsets(partitions);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, StringBuilder> said = new HashMap<>();
            long deadline = System.currentTimeMillis() + 20_000;
            while (!partitions.stream().allMatch(it -> consumer.position(it) >= end.get(it))) {
                if (System.currentTimeMillis() > deadline) {
                    System.out.println("the end was not reached");
                    break;
                }
                for (ConsumerRecord<byte[], byte[]> it : consumer.poll(Duration.ofMillis(200))) {
                    said.computeIfAbsent(new TopicPartition(it.topic(), it.partition()), key -> new StringBuilder())
                        .append(line(it)).append('\n');
                }
            }
            for (TopicPartition it : partitions) {
                System.out.println(it.partition() + ": " + first.get(it) + " to " + end.get(it));
                System.out.print(said.getOrDefault(it, new StringBuilder()));
            }
        }
    }

    private static String line(ConsumerRecord<byte[], byte[]> it) {
        StringBuilder headers = new StringBuilder();
        for (Header header : it.headers()) {
            headers.append(' ').append(header.key()).append('=').append(Arrays.hashCode(header.value()));
        }
        return it.offset() + " " + it.timestamp() % 1_000_000_000L + " " + it.timestampType() + " "
            + it.leaderEpoch().map(Object::toString).orElse("-") + " "
            + (it.key() == null ? "null" : new String(it.key())) + " "
            + (it.value() == null ? "null" : it.value().length + ":" + Arrays.hashCode(it.value())) + headers;
    }
}
