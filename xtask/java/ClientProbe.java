import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DeletedRecords;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.TopicListing;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
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
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Collectors;

/** Apache Kafka's Java clients against the server whose address is the argument. */
public final class ClientProbe {
    private static final long TIME = 1_600_000_000_000L;
    private static final TopicPartition ZERO = new TopicPartition("java", 0);
    private static final TopicPartition ONE = new TopicPartition("java", 1);

    private final String server;
    private final Admin admin;

    private ClientProbe(String server) {
        this.server = server;
        this.admin = Admin.create(Map.of(
            "bootstrap.servers", server, "default.api.timeout.ms", "15000", "request.timeout.ms", "8000"));
    }

    public static void main(String[] arguments) throws Exception {
        ClientProbe probe = new ClientProbe(arguments[0]);
        probe.cluster();
        probe.topics();
        probe.produce();
        probe.refused();
        probe.consume();
        probe.offsets();
        probe.configs();
        probe.partitions();
        probe.folders();
        probe.deletion();
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

    /** Every future of a map, by key. */
    private static <K, V> void each(String name, Map<K, ? extends Future<V>> futures) {
        Map<String, Future<V>> sorted = new TreeMap<>();
        futures.forEach((key, future) -> sorted.put(key.toString(), future));
        sorted.forEach((key, future) -> show(name + " " + key, future::get));
    }

    private static String text(Object value) {
        if (value instanceof DeletedRecords deleted) {
            return "from " + deleted.lowWatermark();
        }
        if (value instanceof Map<?, ?> map) {
            Map<String, String> sorted = new TreeMap<>();
            map.forEach((key, it) -> sorted.put(text(key), text(it)));
            return sorted.toString();
        }
        if (value instanceof Set<?> set) {
            return new TreeSet<>(set.stream().map(ClientProbe::text).toList()).toString();
        }
        if (value instanceof Collection<?> list) {
            return list.stream().map(ClientProbe::text).toList().toString();
        }
        if (value instanceof Node node) {
            return "node " + node.id() + (node.hasRack() ? " " + node.rack() : "");
        }
        if (value instanceof Optional<?> optional) {
            return optional.map(ClientProbe::text).orElse("-");
        }
        return String.valueOf(value);
    }

    // The cluster.

    private void cluster() {
        section("cluster");
        var cluster = admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
        show("id", cluster.clusterId()::get);
        show("nodes", cluster.nodes()::get);
        show("controller", () -> cluster.controller().get().id());
        show("operations", cluster.authorizedOperations()::get);
        show("fenced", admin.describeCluster(new DescribeClusterOptions().includeFencedBrokers(true)).nodes()::get);
        show("features", () -> {
            var it = admin.describeFeatures().featureMetadata().get();
            return text(it.finalizedFeatures()) + " " + text(it.supportedFeatures()) + " " + it.finalizedFeaturesEpoch().isPresent();
        });
        show("quorum", () -> {
            QuorumInfo it = admin.describeMetadataQuorum().quorumInfo().get();
            return it.leaderId() + " " + (it.leaderEpoch() > 0) + " " + (it.highWatermark() > 0) + " "
                + it.voters().stream().map(voter -> voter.replicaId() + " " + voter.lastFetchTimestamp().isPresent() + " "
                    + !voter.replicaDirectoryId().equals(Uuid.ZERO_UUID)).toList()
                + it.observers() + it.nodes().keySet();
        });
        show("update features", admin.updateFeatures(
            Map.of("group.version", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)),
            new UpdateFeaturesOptions().validateOnly(true)).all()::get);
        show("update an unknown feature", admin.updateFeatures(
            Map.of("no.such", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)),
            new UpdateFeaturesOptions().validateOnly(true)).all()::get);
    }

    private void create(String label, NewTopic topic, boolean dry) {
        CreateTopicsResult result = admin.createTopics(List.of(topic), new CreateTopicsOptions().validateOnly(dry));
        String name = topic.name();
        show(label, () -> {
            result.all().get();
            Config config = result.config(name).get();
            return result.numPartitions(name).get() + " " + result.replicationFactor(name).get() + " "
                + config.entries().size() + " " + config.entries().stream().filter(it -> !it.isDefault())
                    .map(it -> it.name() + "=" + it.value() + " " + it.source()).sorted().toList();
        });
    }

    private void topics() throws Exception {
        section("topics");
        create("create", new NewTopic("java", 3, (short) 1).configs(Map.of("retention.ms", "-1")), false);
        create("create again", new NewTopic("java", 3, (short) 1), false);
        create("create with defaults", new NewTopic("java-default", Optional.empty(), Optional.empty()), false);
        create("create to see", new NewTopic("java-dry", 4, (short) 1), true);
        create("create assigned", new NewTopic("java-assigned", Map.of(0, List.of(1), 1, List.of(1))), false);
        create("create assigned to nobody", new NewTopic("java-bad-assigned", Map.of(0, List.of(5))), false);
        create("create with three replicas", new NewTopic("java-rf", 1, (short) 3), false);
        create("create badly named", new NewTopic("java bad", 1, (short) 1), false);
        create("create badly configured", new NewTopic("java-config", 1, (short) 1).configs(Map.of("retention.ms", "x")), false);
        create("create small", new NewTopic("java-small", 1, (short) 1).configs(Map.of("max.message.bytes", "1000")), false);
        create("create compacted", new NewTopic("java-compact", 1, (short) 1).configs(Map.of("cleanup.policy", "compact")), false);
        create("create by append time", new NewTopic("java-append", 1, (short) 1).configs(Map.of("message.timestamp.type", "LogAppendTime")), false);
        while (!admin.listTopics().names().get().contains("java-append")) {
            Thread.sleep(20);
        }
        show("list", () -> admin.listTopics(new ListTopicsOptions().listInternal(false)).listings().get().stream()
            .filter(it -> it.name().startsWith("java")).map(TopicListing::name).sorted().toList());
        show("describe", () -> told(admin.describeTopics(List.of("java"),
            new DescribeTopicsOptions().includeAuthorizedOperations(true).partitionSizeLimitPerResponse(2)).allTopicNames().get().get("java")));
        Uuid id = admin.describeTopics(List.of("java")).allTopicNames().get().get("java").topicId();
        show("describe by id", () -> told(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id)));
        each("describe", admin.describeTopics(List.of("java-absent")).topicNameValues());
        each("describe by id", admin.describeTopics(TopicCollection.ofTopicIds(List.of(new Uuid(1, 2)))).topicIdValues());
    }

    private static String told(TopicDescription it) {
        return it.name() + " " + it.isInternal() + " " + text(it.authorizedOperations()) + " " + it.partitions().stream()
            .map(p -> p.partition() + " " + text(p.leader()) + " " + text(p.replicas()) + " " + text(p.isr()) + " " + p.elr() + " " + p.lastKnownElr())
            .toList();
    }

    // Producing.

    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", server, "linger.ms", "10000",
            "max.block.ms", "5000", "request.timeout.ms", "5000", "delivery.timeout.ms", "20000"));
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, int partition, String key, String value) {
        return new ProducerRecord<>(topic, partition, TIME, key == null ? null : key.getBytes(), value == null ? null : value.getBytes());
    }

    private static String told(RecordMetadata it) {
        return it.topic() + "-" + it.partition() + " offset " + it.offset() + " time " + it.timestamp() + " sizes "
            + it.serializedKeySize() + " " + it.serializedValueSize();
    }

    private void produce() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            section("produce " + codec);
            for (Map<String, Object> settings : List.<Map<String, Object>>of(
                Map.of("acks", "0", "enable.idempotence", "false"), Map.of("acks", "1", "enable.idempotence", "false"),
                Map.of("acks", "all", "enable.idempotence", "false"), Map.of("acks", "all", "enable.idempotence", "true"))) {
                Map<String, Object> all = new HashMap<>(settings);
                all.put("compression.type", codec);
                try (KafkaProducer<byte[], byte[]> producer = producer(all)) {
                    ProducerRecord<byte[], byte[]> headed = record("java", 0, "headed", codec.repeat(100));
                    headed.headers().add("one", "1".getBytes()).add("one", new byte[0]).add("none", null);
                    List<Future<RecordMetadata>> sent = List.of(producer.send(headed), producer.send(record("java", 0, null, "no key")),
                        producer.send(record("java", 0, "no value", null)), producer.send(record("java", 0, "", "")));
                    producer.flush();
                    for (Future<RecordMetadata> it : sent) {
                        show(new TreeMap<>(settings).toString(), () -> told(it.get()));
                    }
                }
            }
        }
        section("produce large and to all partitions");
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("max.request.size", "5000000"))) {
            Future<RecordMetadata> large = producer.send(record("java", 1, "large", "x".repeat(1_000_000)));
            Future<RecordMetadata> keyed = producer.send(new ProducerRecord<>("java", null, TIME, "key".getBytes(), "v".getBytes()));
            Future<RecordMetadata> stamped = producer.send(record("java-append", 0, "k", "v"));
            producer.flush();
            show("large", () -> told(large.get()));
            show("by key", () -> told(keyed.get()));
            show("append time is later", () -> stamped.get().timestamp() > TIME);
            show("partitions", () -> producer.partitionsFor("java").stream().map(it -> it.partition() + " " + text(it.leader())
                + " " + it.inSyncReplicas().length + " " + it.offlineReplicas().length).sorted().toList());
        }
    }

    private void refuse(String label, Map<String, Object> settings, ProducerRecord<byte[], byte[]> record) {
        show(label, () -> {
            try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
                Future<RecordMetadata> sent = producer.send(record);
                producer.flush();
                return told(sent.get());
            }
        });
    }

    private void refused() {
        section("produce refused");
        refuse("too large for the server", Map.of("max.request.size", "5000000"), record("java", 0, "k", "x".repeat(2_000_000)));
        refuse("too large for the topic", Map.of(), record("java-small", 0, "k", "x".repeat(2_000)));
        refuse("badly named", Map.of(), record("java bad", 0, "k", "v"));
        refuse("beyond the last partition", Map.of("max.block.ms", "1500"), record("java", 9, "k", "v"));
        refuse("no key where compacted", Map.of(), record("java-compact", 0, null, "v"));
        refuse("negative delay", Map.of("acks", "1", "enable.idempotence", "false"),
            new ProducerRecord<>("java-compact", 0, 9_000_000_000_000L, "k".getBytes(), "v".getBytes()));
        refuse("created by producing", Map.of(), record("java-created", 0, "k", "v"));
    }

    // Consuming.

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", server, "enable.auto.commit", "false",
            "auto.offset.reset", "none", "fetch.max.wait.ms", "50", "allow.auto.create.topics", "false", "default.api.timeout.ms", "5000"));
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void drain(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, long end) {
        long deadline = System.currentTimeMillis() + 15_000;
        while (consumer.position(partition) < end) {
            if (System.currentTimeMillis() > deadline) {
                System.out.println("the end was not reached");
                return;
            }
            for (ConsumerRecord<byte[], byte[]> it : consumer.poll(Duration.ofMillis(200))) {
                StringBuilder headers = new StringBuilder();
                for (Header header : it.headers()) {
                    headers.append(' ').append(header.key()).append('=').append(Arrays.toString(header.value()));
                }
                System.out.println(it.partition() + " " + it.offset() + " " + it.timestamp() + " " + it.timestampType() + " "
                    + text(it.leaderEpoch()) + " " + it.serializedKeySize() + " " + it.serializedValueSize() + " "
                    + (it.key() == null ? "null" : new String(it.key())) + " " + Arrays.hashCode(it.value()) + headers);
            }
        }
    }

    private void consume() {
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            section("consume " + isolation);
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("isolation.level", isolation))) {
                consumer.assign(List.of(ZERO, ONE));
                consumer.seekToBeginning(List.of(ZERO, ONE));
                long end = consumer.endOffsets(List.of(ZERO)).get(ZERO);
                drain(consumer, ZERO, end);
                show("lag", () -> consumer.currentLag(ZERO));
                consumer.seek(ZERO, 41);
                drain(consumer, ZERO, 45);
                consumer.pause(List.of(ZERO));
                drain(consumer, ONE, consumer.endOffsets(List.of(ONE)).get(ONE));
                show("beginning", () -> consumer.beginningOffsets(List.of(ZERO, ONE)));
                show("end", () -> consumer.endOffsets(List.of(ZERO, ONE)));
                show("times", () -> consumer.offsetsForTimes(Map.of(ZERO, TIME, ONE, TIME + 1)));
                show("partitions", () -> consumer.partitionsFor("java").size());
                show("absent", () -> consumer.partitionsFor("java-absent"));
                show("topics", () -> consumer.listTopics().keySet().stream().filter(it -> it.startsWith("java")).sorted().toList());
            }
        }
        section("consume with little room");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("max.partition.fetch.bytes", "100", "fetch.max.bytes", "100", "max.poll.records", "3"))) {
            consumer.assign(List.of(ZERO));
            consumer.seek(ZERO, 70);
            drain(consumer, ZERO, 80);
        }
        section("consume out of range");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            consumer.assign(List.of(ZERO));
            consumer.seek(ZERO, 5_000);
            show("poll", () -> consumer.poll(Duration.ofSeconds(3)).count());
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "earliest"))) {
            consumer.assign(List.of(ZERO));
            consumer.seek(ZERO, 5_000);
            show("reset", () -> consumer.poll(Duration.ofSeconds(3)).iterator().next().offset());
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "by_duration:PT1H"))) {
            consumer.assign(List.of(ONE));
            consumer.seek(ONE, 5_000);
            show("reset to an hour ago", () -> consumer.poll(Duration.ofSeconds(1)).count());
        }
    }

    private void offsets() {
        section("list offsets");
        Map<String, OffsetSpec> specs = new TreeMap<>(Map.of("earliest", OffsetSpec.earliest(), "latest", OffsetSpec.latest(),
            "max timestamp", OffsetSpec.maxTimestamp(), "time", OffsetSpec.forTimestamp(TIME), "late", OffsetSpec.forTimestamp(TIME * 4),
            "earliest local", OffsetSpec.earliestLocal(), "latest tiered", OffsetSpec.latestTiered()));
        specs.forEach((name, spec) -> each(name, Map.of("0", admin.listOffsets(Map.of(ZERO, spec)).partitionResult(ZERO),
            "1", admin.listOffsets(Map.of(ONE, spec)).partitionResult(ONE))));
        TopicPartition beyond = new TopicPartition("java-absent", 0);
        show("absent", admin.listOffsets(Map.of(beyond, OffsetSpec.latest()),
            new org.apache.kafka.clients.admin.ListOffsetsOptions(IsolationLevel.READ_COMMITTED).timeoutMs(1_000)).partitionResult(beyond)::get);
        section("delete records");
        each("some", admin.deleteRecords(Map.of(ZERO, RecordsToDelete.beforeOffset(7))).lowWatermarks());
        each("too many", admin.deleteRecords(Map.of(ZERO, RecordsToDelete.beforeOffset(70_000))).lowWatermarks());
        each("all", admin.deleteRecords(Map.of(ONE, RecordsToDelete.beforeOffset(-1))).lowWatermarks());
        TopicPartition compacted = new TopicPartition("java-compact", 0);
        each("of a compacted topic", admin.deleteRecords(Map.of(compacted, RecordsToDelete.beforeOffset(0))).lowWatermarks());
        section("producers");
        show("active", () -> admin.describeProducers(List.of(ZERO)).partitionResult(ZERO).get().activeProducers().stream()
            .map(ProducerState::lastSequence).sorted().toList());
    }

    // Settings.

    private void configs() {
        section("describe configs");
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "java");
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        DescribeConfigsOptions everything = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        for (ConfigResource resource : List.of(topic, broker)) {
            show(resource.toString(), () -> {
                admin.describeConfigs(List.of(resource), everything).all().get().get(resource).entries().stream()
                    .map(it -> it.name() + " = " + it.value() + " " + it.source() + " " + it.type() + " " + it.isReadOnly() + " "
                        + it.isSensitive() + " " + it.synonyms().stream().map(s -> s.name() + "=" + s.value() + " " + s.source()).toList()
                        + " " + (it.documentation() != null && !it.documentation().isEmpty()))
                    .sorted().forEach(System.out::println);
                return "done";
            });
        }
        each("absent", admin.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.TOPIC, "java-absent"))).values());
        section("alter configs");
        alter("set", topic, new AlterConfigOp(new ConfigEntry("segment.ms", "7777777"), AlterConfigOp.OpType.SET));
        alter("append", topic, new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND));
        alter("subtract", topic, new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.SUBTRACT));
        alter("delete", topic, new AlterConfigOp(new ConfigEntry("segment.ms", null), AlterConfigOp.OpType.DELETE));
        alter("unknown", topic, new AlterConfigOp(new ConfigEntry("no.such", "1"), AlterConfigOp.OpType.SET));
        alter("append to a number", topic, new AlterConfigOp(new ConfigEntry("segment.ms", "1"), AlterConfigOp.OpType.APPEND));
        alter("a read-only one", broker, new AlterConfigOp(new ConfigEntry("log.dirs", "/x"), AlterConfigOp.OpType.SET));
        alter("a broker's", broker, new AlterConfigOp(new ConfigEntry("log.cleaner.threads", "2"), AlterConfigOp.OpType.SET));
        alter("a broker's back", broker, new AlterConfigOp(new ConfigEntry("log.cleaner.threads", null), AlterConfigOp.OpType.DELETE));
        show("resources", () -> admin.listConfigResources().all().get().stream().map(ConfigResource::toString)
            .filter(it -> it.contains("java") || !it.contains("TOPIC")).sorted().toList());
    }

    private void alter(String label, ConfigResource resource, AlterConfigOp change) {
        each(label, admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).values());
    }

    // Partitions and folders.

    private void partitions() {
        section("partitions");
        each("more", admin.createPartitions(Map.of("java-default", NewPartitions.increaseTo(4))).values());
        each("fewer", admin.createPartitions(Map.of("java-default", NewPartitions.increaseTo(2))).values());
        each("absent", admin.createPartitions(Map.of("java-absent", NewPartitions.increaseTo(2))).values());
        each("assigned", admin.createPartitions(Map.of("java-default", NewPartitions.increaseTo(5, List.of(List.of(1))))).values());
        each("badly assigned", admin.createPartitions(Map.of("java-default", NewPartitions.increaseTo(6, List.of(List.of(4))))).values());
        show("elect", () -> admin.electLeaders(ElectionType.PREFERRED, Set.of(ZERO, new TopicPartition("java-absent", 0))).partitions().get());
        show("elect uncleanly", () -> admin.electLeaders(ElectionType.UNCLEAN, Set.of(ZERO)).partitions().get());
        show("reassignments", admin.listPartitionReassignments().reassignments()::get);
        each("reassign", admin.alterPartitionReassignments(Map.of(ZERO, Optional.of(new NewPartitionReassignment(List.of(1))))).values());
        each("reassign far", admin.alterPartitionReassignments(Map.of(ZERO, Optional.of(new NewPartitionReassignment(List.of(7))))).values());
        each("cancel", admin.alterPartitionReassignments(Map.of(ZERO, Optional.empty())).values());
    }

    private void folders() {
        section("log directories");
        show("describe", () -> admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).entrySet().stream()
            .map(it -> it.getKey() + " " + it.getValue().error() + " " + it.getValue().totalBytes().isPresent() + " "
                + it.getValue().usableBytes().isPresent() + " " + it.getValue().replicaInfos().entrySet().stream()
                    .filter(replica -> replica.getKey().topic().startsWith("java"))
                    .map(replica -> replica.getKey() + " " + replica.getValue().size() + " " + replica.getValue().offsetLag() + " " + replica.getValue().isFuture())
                    .sorted().toList()).toList());
        TopicPartitionReplica replica = new TopicPartitionReplica("java", 0, 1);
        show("replica", () -> admin.describeReplicaLogDirs(List.of(replica)).all().get());
        each("move", admin.alterReplicaLogDirs(Map.of(replica, "/no/such/folder")).values());
    }

    private void deletion() throws Exception {
        section("delete topics");
        each("by name", admin.deleteTopics(List.of("java-default", "java-absent")).topicNameValues());
        Uuid id = admin.describeTopics(List.of("java-small")).allTopicNames().get().get("java-small").topicId();
        show("by id", admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all()::get);
        KafkaFuture<Void> unknown = admin.deleteTopics(TopicCollection.ofTopicIds(List.of(new Uuid(1, 2)))).all();
        show("by an unknown id", unknown::get);
        each("again", admin.deleteTopics(List.of("java-default")).topicNameValues());
        while (admin.listTopics().names().get().contains("java-small")) {
            Thread.sleep(20);
        }
        String left = admin.listTopics().names().get().stream().filter(it -> it.startsWith("java")).sorted().collect(Collectors.joining(" "));
        System.out.println("left: " + left);
    }
}
