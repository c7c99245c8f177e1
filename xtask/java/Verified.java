import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;

/** What the programs of Apache Kafka's system tests came to: their output has one JSON object a line. */
public final class Verified {
    private static final long LIMIT_MS = 60_000;
    private static final long QUIET_MS = 2_000;

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "produced" -> produced(arguments[1]);
            case "copied" -> copied(arguments[1], arguments[2], arguments[3]);
            case "committed" -> committed(arguments[1], arguments[2], arguments[3]);
            case "consumed" -> {
                committed(arguments[1], arguments[2], arguments[3]);
                consumed(Arrays.copyOfRange(arguments, 4, arguments.length));
            }
            case "shared" -> shared(Integer.parseInt(arguments[1]), Arrays.copyOfRange(arguments, 2, arguments.length));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static List<JsonNode> said(String name) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        List<JsonNode> events = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(name + ".out"))) {
            // A line may be cut short by the end of the program.
            if (line.startsWith("{") && line.endsWith("}")) {
                events.add(mapper.readTree(line));
            }
        }
        return events;
    }

    private static boolean until(BooleanSupplier isSo) throws InterruptedException {
        long end = System.currentTimeMillis() + LIMIT_MS;
        while (!isSo.getAsBoolean()) {
            if (System.currentTimeMillis() > end) {
                return false;
            }
            Thread.sleep(100);
        }
        return true;
    }

    private static void produced(String name) throws Exception {
        long failed = said(name).stream().filter(it -> it.path("name").asText().equals("producer_send_error")).count();
        JsonNode sum = said(name).stream().filter(it -> it.path("name").asText().equals("tool_data")).findFirst().orElseThrow();
        System.out.println(sum.get("sent") + " sent, " + sum.get("acked") + " acknowledged, " + failed + " failed");
    }

    private static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, String topic) {
        return consumer.partitionsFor(topic).stream().map(it -> new TopicPartition(topic, it.partition()))
            .sorted(Comparator.comparing(TopicPartition::partition)).toList();
    }

    private static KafkaConsumer<String, String> consumer(String server) {
        return new KafkaConsumer<>(
            Map.of("bootstrap.servers", server, "isolation.level", "read_committed", "auto.offset.reset", "earliest"),
            new StringDeserializer(), new StringDeserializer());
    }

    /** What is committed of a topic, by partition, once there is so much of it and nothing more comes. */
    private static Map<Integer, List<String>> read(String server, String topic, long enough) {
        Map<Integer, List<String>> values = new TreeMap<>();
        try (KafkaConsumer<String, String> consumer = consumer(server)) {
            consumer.assign(partitions(consumer, topic));
            long limit = System.currentTimeMillis() + LIMIT_MS;
            long count = 0;
            while (System.currentTimeMillis() < limit) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    values.computeIfAbsent(record.partition(), key -> new ArrayList<>()).add(record.value());
                    count++;
                    if (count == enough) {
                        limit = System.currentTimeMillis() + QUIET_MS;
                    }
                }
            }
        }
        return values;
    }

    /** The output of a transactional copier is its input, in order and once. */
    private static void copied(String server, String in, String out) {
        long all;
        try (KafkaConsumer<String, String> consumer = consumer(server)) {
            all = consumer.endOffsets(partitions(consumer, in)).values().stream().mapToLong(it -> it).sum();
        }
        Map<Integer, List<String>> given = read(server, in, all);
        Map<Integer, List<String>> taken = read(server, out, all);
        given.forEach((partition, values) -> System.out.println(
            "partition " + partition + ": " + values.size() + " records, "
                + (values.equals(taken.get(partition)) ? "copied in order, each once" : "copied as " + taken.get(partition))));
    }

    /** A group comes to the end of a topic. */
    private static void committed(String server, String group, String topic) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", server)); KafkaConsumer<String, String> consumer = consumer(server)) {
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions(consumer, topic));
            Map<TopicPartition, OffsetAndMetadata> committed = new TreeMap<>(Comparator.comparing(TopicPartition::partition));
            boolean reached = until(() -> {
                try {
                    committed.putAll(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
                } catch (Exception failure) {
                    throw new IllegalStateException(failure);
                }
                return ends.entrySet().stream().allMatch(
                    it -> committed.containsKey(it.getKey()) && committed.get(it.getKey()).offset() == it.getValue());
            });
            System.out.println(reached ? "committed to the end of " + ends.size() + " partitions" : "committed " + committed);
        }
    }

    /** Together, consumers read every record; while nobody was killed, once. */
    private static void consumed(String[] names) throws Exception {
        Map<Integer, TreeMap<Long, Integer>> read = new TreeMap<>();
        for (String name : names) {
            long failed = said(name).stream().filter(it -> it.path("name").asText().equals("offsets_committed"))
                .filter(it -> !it.get("success").asBoolean()).count();
            System.out.println(name + ": " + failed + " commits failed");
            for (JsonNode event : said(name)) {
                if (event.path("name").asText().equals("record_data")) {
                    read.computeIfAbsent(event.get("partition").asInt(), key -> new TreeMap<>())
                        .merge(event.get("offset").asLong(), 1, Integer::sum);
                }
            }
        }
        read.forEach((partition, offsets) -> System.out.println("partition " + partition + ": offsets 0 to " + offsets.lastKey()
            + (offsets.size() == offsets.lastKey() + 1 ? ", all read" : ", only " + offsets.size() + " of them read")));
    }

    /** Together, members of a share group acknowledge every record once. */
    private static void shared(int all, String[] names) throws Exception {
        Map<String, Integer> acknowledged = new TreeMap<>();
        until(() -> {
            acknowledged.clear();
            try {
                for (String name : names) {
                    for (JsonNode event : said(name)) {
                        if (event.path("name").asText().equals("offsets_acknowledged") && event.get("success").asBoolean()) {
                            event.get("partitions").forEach(of -> of.get("offsets").forEach(
                                offset -> acknowledged.merge(of.get("partition") + "@" + offset, 1, Integer::sum)));
                        }
                    }
                }
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
            return acknowledged.size() >= all;
        });
        long twice = acknowledged.values().stream().filter(it -> it > 1).count();
        System.out.println(acknowledged.size() + " records acknowledged, " + twice + " of them more than once");
        for (String name : names) {
            boolean took = said(name).stream().anyMatch(it -> it.path("name").asText().equals("offsets_acknowledged"));
            System.out.println(name + (took ? " took its part" : " took nothing"));
        }
    }
}
