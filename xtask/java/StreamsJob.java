import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

import java.io.FileReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A stateful exactly-once job, what it reads, and whether what it wrote is what it should have written.
 *
 * <p>Orders are keyed by customer; the job sums their amounts by product (through a repartition topic) and counts them
 * by customer, and writes every step: for each key the committed output must be its steps 1, 2, 3, … once each, the
 * last with the sum of all.
 */
public final class StreamsJob {
    private static final int PARTITIONS = 4;
    private static final int CUSTOMERS = 13;
    private static final int PRODUCTS = 10;
    private static final long FIRST_TIMESTAMP_MS = 1_500_000_000_000L;
    private static final long LIMIT_MS = 60_000;
    private static final long QUIET_MS = 2_000;

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "feed" -> feed(arguments[1], arguments[2], Integer.parseInt(arguments[3]), Integer.parseInt(arguments[4]));
            case "temperatures" -> temperatures(arguments[1]);
            case "run" -> run(arguments[1]);
            case "verify" -> verify(arguments[1], arguments[2], Integer.parseInt(arguments[3]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static KafkaProducer<String, String> producer(String server) {
        Map<String, Object> settings = Map.of("bootstrap.servers", server, "linger.ms", "20");
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    /** Orders from {@code first} to {@code end}. */
    private static void feed(String server, String prefix, int first, int end) {
        try (KafkaProducer<String, String> producer = producer(server)) {
            for (int it = first; it < end; it++) {
                int customer = it % CUSTOMERS;
                producer.send(new ProducerRecord<>(prefix + "-orders", customer % PARTITIONS, FIRST_TIMESTAMP_MS + it,
                    "customer-" + customer, "product-" + it * 7 % PRODUCTS + ":" + it));
            }
        }
        System.out.println("orders " + first + " to " + end);
    }

    /** What TemperatureDemo reads: twelve seconds, one every second. */
    private static void temperatures(String server) {
        int[] degrees = {21, 25, 19, 22, 30, 12, 8, 17, 15, 20, 41, 40};
        try (KafkaProducer<String, String> producer = producer(server)) {
            for (int it = 0; it < degrees.length; it++) {
                producer.send(new ProducerRecord<>("iot-temperature", 0, FIRST_TIMESTAMP_MS + 1000L * it, null,
                    Integer.toString(degrees[it])));
            }
        }
        System.out.println(degrees.length + " temperatures");
    }

    /** Runs an instance until it is told to stop, or in the middle of everything after {@code halt.after} orders. */
    private static void run(String file) throws Exception {
        Properties settings = new Properties();
        try (FileReader reader = new FileReader(file)) {
            settings.load(reader);
        }
        String prefix = (String) settings.remove("prefix");
        int haltAfter = Integer.parseInt((String) settings.getOrDefault("halt.after", "-1"));
        settings.remove("halt.after");
        KafkaStreams streams = new KafkaStreams(topology(prefix, haltAfter).build(settings), settings);
        streams.setStateListener((now, before) -> System.out.println(before + " to " + now));
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }

    private static StreamsBuilder topology(String prefix, int haltAfter) {
        StreamsBuilder builder = new StreamsBuilder();
        AtomicInteger seen = new AtomicInteger();
        KStream<String, String> orders = builder
            .stream(prefix + "-orders", Consumed.with(Serdes.String(), Serdes.String()))
            .peek((customer, order) -> {
                if (seen.incrementAndGet() == haltAfter) {
                    Runtime.getRuntime().halt(9);
                }
            });
        orders
            .map((customer, order) -> KeyValue.pair(order.split(":")[0], Long.valueOf(order.split(":")[1])))
            .groupByKey(Grouped.with("product", Serdes.String(), Serdes.Long()))
            .aggregate(() -> "0:0", (product, amount, before) -> step(before, amount),
                Materialized.<String, String, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("sums")
                    .withKeySerde(Serdes.String()).withValueSerde(Serdes.String()))
            .toStream().to(prefix + "-sums", Produced.with(Serdes.String(), Serdes.String()));
        orders
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream().mapValues(count -> count + ":" + count)
            .to(prefix + "-counts", Produced.with(Serdes.String(), Serdes.String()));
        return builder;
    }

    /** How many and how much, with one more. */
    private static String step(String before, long amount) {
        String[] parts = before.split(":");
        return Long.parseLong(parts[0]) + 1 + ":" + (Long.parseLong(parts[1]) + amount);
    }

    /** Waits for the committed output of the first {@code end} orders and holds it against what it must be. */
    private static void verify(String server, String prefix, int end) {
        Map<String, Long> sums = new TreeMap<>();
        Map<String, Long> counts = new TreeMap<>();
        for (int it = 0; it < end; it++) {
            sums.merge("product-" + it * 7 % PRODUCTS, (long) it, Long::sum);
            counts.merge("customer-" + it % CUSTOMERS, 1L, Long::sum);
        }
        System.out.println("sums: " + compare(read(server, prefix + "-sums", end), sums));
        System.out.println("counts: " + compare(read(server, prefix + "-counts", end), counts));
    }

    /** Everything committed, once there is as much as {@code enough} and nothing more comes. */
    private static Map<String, List<String>> read(String server, String topic, int enough) {
        Map<String, Object> settings = Map.of("bootstrap.servers", server, "isolation.level", "read_committed",
            "auto.offset.reset", "earliest");
        Map<String, List<String>> steps = new TreeMap<>();
        try (KafkaConsumer<String, String> consumer =
                 new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(it -> partitions.add(new TopicPartition(topic, it.partition())));
            consumer.assign(partitions);
            long limit = System.currentTimeMillis() + LIMIT_MS;
            int count = 0;
            while (System.currentTimeMillis() < limit) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    steps.computeIfAbsent(record.key(), key -> new ArrayList<>()).add(record.value());
                    count++;
                    if (count == enough) {
                        limit = System.currentTimeMillis() + QUIET_MS;
                    }
                }
            }
        }
        return steps;
    }

    private static String compare(Map<String, List<String>> steps, Map<String, Long> expected) {
        if (!steps.keySet().equals(expected.keySet())) {
            return "other keys: " + steps.keySet();
        }
        StringBuilder wrong = new StringBuilder();
        int total = 0;
        for (Map.Entry<String, List<String>> of : steps.entrySet()) {
            List<String> taken = of.getValue();
            total += taken.size();
            for (int it = 0; it < taken.size(); it++) {
                if (!taken.get(it).startsWith(it + 1 + ":")) {
                    wrong.append(", ").append(of.getKey()).append(" has ").append(taken.get(it)).append(" at step ").append(it + 1);
                    break;
                }
            }
            if (!taken.get(taken.size() - 1).endsWith(":" + expected.get(of.getKey()))) {
                wrong.append(", ").append(of.getKey()).append(" ends with ").append(taken.get(taken.size() - 1));
            }
        }
        return steps.size() + " keys in " + total + " steps" + (wrong.isEmpty() ? ", each once" : wrong);
    }
}
