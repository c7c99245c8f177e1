import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;

/**
 * Groups, transactions and old records of a cluster that changes its servers: made by one, read by the next.
 *
 * <p>Arguments: the server, then any of {@code fill:N} (the Nth instalment of everything), {@code read}, {@code mark}.
 * Speaks only what clients of 3.9 and of 4.4 both know.
 */
public final class Takeover {
    private static final String IN = "tk-in";
    private static final String OUT = "tk-out";
    private static final String LEGACY = "tk-legacy";

    private final String server;
    private final Admin admin;

    private Takeover(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of("bootstrap.servers", server, "default.api.timeout.ms", "30000", "request.timeout.ms", "15000"));
    }

    public static void main(String[] arguments) throws Exception {
        Takeover takeover = new Takeover(arguments[0]);
        for (String step : Arrays.copyOfRange(arguments, 1, arguments.length)) {
            if (step.equals("read")) {
                takeover.read();
            } else if (step.equals("mark")) {
                System.out.println("## mark");
            } else {
                takeover.fill(Integer.parseInt(step.split(":")[1]));
            }
        }
        takeover.admin.close(Duration.ofSeconds(5));
        System.out.flush();
        // A transaction that is open stays open.
        Runtime.getRuntime().halt(0);
    }

    private void fill(int instalment) throws Exception {
        create(IN, 3);
        create(OUT, 2);
        create(LEGACY, 1);
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int record = 0; record < 60; record++) {
                producer.send(new ProducerRecord<>(IN, record % 3, "k" + record % 7, "in " + instalment + " " + record)).get();
            }
            for (int record = 0; record < 5; record++) {
                producer.send(new ProducerRecord<>(LEGACY, 0, "k" + record, "now " + instalment)).get();
            }
        }
        // The same static member comes again in every instalment; it never says that it leaves.
        consume("tk-static", Map.of("group.instance.id", "tk-instance", "session.timeout.ms", "1800000",
            "heartbeat.interval.ms", "3000"), "static " + instalment);
        consume("tk-plain", Map.of(), null);
        consume("tk-plain-" + instalment, Map.of(), "once");
        commitAlone(instalment);
        transactions(instalment);
    }

    private void create(String name, int partitions) throws Exception {
        try {
            admin.createTopics(List.of(new NewTopic(name, Optional.of(partitions), Optional.empty()))).all().get();
        } catch (ExecutionException refused) {
            if (!(refused.getCause() instanceof TopicExistsException)) {
                throw refused;
            }
        }
    }

    /** Reads all of the topic as a member of a group, commits what was read, and closes. */
    private void consume(String group, Map<String, String> settings, String metadata) {
        Map<String, Object> all = new HashMap<>(Map.of("group.id", group));
        all.putAll(settings);
        try (KafkaConsumer<String, String> consumer = consumer(all)) {
            consumer.subscribe(List.of(IN));
            long limit = System.currentTimeMillis() + 40_000;
            Map<TopicPartition, Long> ends = Map.of();
            while (ends.isEmpty() || !ends.entrySet().stream().allMatch(it -> consumer.position(it.getKey()) >= it.getValue())) {
                if (System.currentTimeMillis() > limit) {
                    System.out.println("## " + group + "\nthe end was not reached");
                    return;
                }
                consumer.poll(Duration.ofMillis(100));
                ends = consumer.endOffsets(consumer.assignment());
            }
            if (metadata == null) {
                consumer.commitSync();
                return;
            }
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            ends.forEach((partition, end) -> offsets.put(partition, new OffsetAndMetadata(end, Optional.of(0), metadata)));
            consumer.commitSync(offsets);
        }
    }

    /** A group without members that only keeps offsets. */
    private void commitAlone(int instalment) {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("group.id", "tk-alone"))) {
            TopicPartition partition = new TopicPartition(IN, instalment % 3);
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(instalment, Optional.empty(), "m" + instalment)));
        }
    }

    /** Some that end, one after the other, and one that stays open; the next instalment finds it and ends it. */
    private void transactions(int instalment) throws Exception {
        try (KafkaProducer<String, String> producer = producer(Map.of("transactional.id", "tk-ended"))) {
            producer.initTransactions();
            for (int transaction = 0; transaction < 3; transaction++) {
                producer.beginTransaction();
                for (int partition = 0; partition < 2; partition++) {
                    producer.send(new ProducerRecord<>(OUT, partition, "k", "ended " + instalment + " " + transaction)).get();
                }
                producer.sendOffsetsToTransaction(Map.of(new TopicPartition(IN, 1), new OffsetAndMetadata(10L * instalment + transaction)),
                    new ConsumerGroupMetadata("tk-transactional"));
                if (transaction == 1) {
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
        }
        KafkaProducer<String, String> open = producer(Map.of("transactional.id", "tk-open", "transaction.timeout.ms", "900000"));
        open.initTransactions();
        open.beginTransaction();
        open.send(new ProducerRecord<>(OUT, 1, "k", "open " + instalment)).get();
        open.sendOffsetsToTransaction(Map.of(new TopicPartition(IN, 0), new OffsetAndMetadata(instalment)),
            new ConsumerGroupMetadata("tk-open-group"));
    }

    private KafkaProducer<String, String> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", server, "max.block.ms", "30000"));
        all.putAll(settings);
        return new KafkaProducer<>(all, new StringSerializer(), new StringSerializer());
    }

    private KafkaConsumer<String, String> consumer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", server, "enable.auto.commit", "false",
            "auto.offset.reset", "earliest", "fetch.max.wait.ms", "50"));
        all.putAll(settings);
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    private void read() throws Exception {
        System.out.println("## features");
        FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
        new TreeMap<>(features.finalizedFeatures()).forEach((name, it) -> System.out.println(name + " " + it.maxVersionLevel()));
        System.out.println("## groups");
        TreeSet<String> groups = new TreeSet<>();
        admin.listConsumerGroups().all().get().stream().map(it -> it.groupId()).filter(it -> it.startsWith("tk-")).forEach(groups::add);
        groups.forEach(System.out::println);
        for (ConsumerGroupDescription it : new TreeMap<>(admin.describeConsumerGroups(groups).all().get()).values()) {
            System.out.println("## group " + it.groupId());
            System.out.println(it.state() + " " + it.partitionAssignor() + " " + it.isSimpleConsumerGroup());
            for (MemberDescription member : it.members()) {
                System.out.println(member.groupInstanceId().orElse("dynamic") + " " + member.consumerId() + " " + member.clientId()
                    + " " + new TreeSet<>(member.assignment().topicPartitions().stream().map(Object::toString).toList()));
            }
            Map<String, String> offsets = new TreeMap<>();
            admin.listConsumerGroupOffsets(it.groupId()).partitionsToOffsetAndMetadata().get().forEach((partition, offset) ->
                offsets.put(partition.toString(), offset.offset() + " " + offset.leaderEpoch() + " " + offset.metadata()));
            offsets.forEach((partition, offset) -> System.out.println(partition + " " + offset));
        }
        System.out.println("## transactions");
        TreeSet<String> ids = new TreeSet<>();
        for (TransactionListing it : admin.listTransactions().all().get()) {
            ids.add(it.transactionalId());
        }
        for (String id : ids) {
            TransactionDescription it = admin.describeTransactions(List.of(id)).description(id).get();
            System.out.println(id + " " + it.state() + " " + it.producerId() + " " + it.producerEpoch() + " " + it.transactionTimeoutMs()
                + " " + it.transactionStartTimeMs() + " " + new TreeSet<>(it.topicPartitions().stream().map(Object::toString).toList()));
        }
        for (int partition = 0; partition < 2; partition++) {
            TopicPartition out = new TopicPartition(OUT, partition);
            admin.describeProducers(List.of(out)).partitionResult(out).get().activeProducers().stream()
                .map(it -> out + " " + it.producerId() + " " + it.producerEpoch() + " " + it.lastSequence() + " "
                    + it.lastTimestamp() + " " + it.currentTransactionStartOffset())
                .sorted().forEach(System.out::println);
        }
        for (IsolationLevel isolation : IsolationLevel.values()) {
            for (TopicPartition it : List.of(new TopicPartition(IN, 0), new TopicPartition(IN, 1), new TopicPartition(IN, 2),
                new TopicPartition(OUT, 0), new TopicPartition(OUT, 1), new TopicPartition(LEGACY, 0))) {
                records(it, isolation);
            }
        }
        System.out.println("## times of old records");
        TopicPartition legacy = new TopicPartition(LEGACY, 0);
        for (long time : new long[] {0, 1_500_000_000_000L, 1_500_000_000_060L, 1_500_000_000_095L, 1_500_000_001_000L, 9_000_000_000_000L}) {
            System.out.println(time + ": " + offset(legacy, OffsetSpec.forTimestamp(time)));
        }
        System.out.println("latest by time: " + offset(legacy, OffsetSpec.maxTimestamp()));
    }

    private String offset(TopicPartition partition, OffsetSpec spec) throws Exception {
        ListOffsetsResult.ListOffsetsResultInfo it = admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
        return it.offset() + " " + it.timestamp() + " " + it.leaderEpoch();
    }

    private void records(TopicPartition partition, IsolationLevel isolation) throws Exception {
        System.out.println("## records of " + partition + " " + isolation);
        ListOffsetsOptions options = new ListOffsetsOptions(isolation);
        long end = admin.listOffsets(Map.of(partition, OffsetSpec.latest()), options).partitionResult(partition).get().offset();
        System.out.println(offset(partition, OffsetSpec.earliest()) + " to " + end);
        try (KafkaConsumer<String, String> reader = consumer(Map.of("isolation.level", isolation.toString().toLowerCase()))) {
            reader.assign(List.of(partition));
            reader.seekToBeginning(List.of(partition));
            long limit = System.currentTimeMillis() + 20_000;
            while (reader.position(partition) < end) {
                if (System.currentTimeMillis() > limit) {
                    System.out.println("the end was not reached: " + reader.position(partition));
                    return;
                }
                for (ConsumerRecord<String, String> it : reader.poll(Duration.ofMillis(200))) {
                    System.out.println(it.offset() + " " + it.timestamp() + " " + it.timestampType() + " " + it.leaderEpoch()
                        + " " + it.key() + "=" + it.value());
                }
            }
        }
    }
}
