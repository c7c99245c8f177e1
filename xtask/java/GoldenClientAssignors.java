// What Apache Kafka's assignors give for inputs out of a seed: one case a paragraph, as lines of text.

import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;

import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.AbstractPartitionAssignor;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

public class GoldenClientAssignors {
    private static final int CASES = 120;
    private static final List<String> RACKS = List.of("a", "b", "c");

    private final Random random;
    private final PrintStream out;

    private GoldenClientAssignors(long seed, PrintStream out) {
        this.random = new Random(seed);
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        try (PrintStream out = new PrintStream(arguments[0], StandardCharsets.UTF_8)) {
            for (int seed = 0; seed < CASES; seed++) {
                new GoldenClientAssignors(seed, out).run(seed);
            }
        }
    }

    private void run(int seed) {
        String[] names = {"range", "roundrobin", "sticky", "cooperative-sticky"};
        String name = names[seed % names.length];
        boolean withRacks = !name.equals("roundrobin") && random.nextBoolean();
        Map<String, List<PartitionInfo>> topics = new TreeMap<>();
        for (int i = 0, count = 1 + random.nextInt(4); i < count; i++) {
            topics.put("t" + i, partitions("t" + i, random.nextInt(9), withRacks));
        }
        Map<String, Member> members = new TreeMap<>();
        boolean alike = random.nextBoolean();
        for (int i = 0, count = 1 + random.nextInt(6); i < count; i++) {
            Member member = new Member();
            for (String topic : topics.keySet()) {
                if (alike || random.nextInt(3) > 0) {
                    member.topics.add(topic);
                }
            }
            if (random.nextInt(5) == 0) {
                member.instance = "i" + random.nextInt(100) + "-" + i;
            }
            if (withRacks && random.nextInt(5) > 0) {
                member.rack = RACKS.get(random.nextInt(RACKS.size()));
            }
            members.put("m" + i, member);
        }
        // What members had, a few rounds ago: some partitions have no owner, some an owner that does not want them.
        if (name.endsWith("sticky")) {
            List<Member> all = new ArrayList<>(members.values());
            for (List<PartitionInfo> partitions : topics.values()) {
                for (PartitionInfo it : partitions) {
                    if (random.nextInt(4) > 0) {
                        Member owner = all.get(random.nextInt(all.size()));
                        owner.owned.add(new TopicPartition(it.topic(), it.partition()));
                        owner.generation = 5;
                    }
                }
            }
        }
        write(seed, name, topics, members, assign(name, topics, members));
    }

    private List<PartitionInfo> partitions(String topic, int count, boolean withRacks) {
        List<PartitionInfo> partitions = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Node[] replicas = {};
            if (withRacks) {
                TreeSet<String> racks = new TreeSet<>();
                for (int r = 0; r < 2; r++) {
                    racks.add(RACKS.get(random.nextInt(RACKS.size())));
                }
                replicas = racks.stream().map(it -> new Node(it.charAt(0), "host", 1, it)).toArray(Node[]::new);
            }
            partitions.add(new PartitionInfo(topic, i, Node.noNode(), replicas, replicas));
        }
        return partitions;
    }

    private static Map<String, List<TopicPartition>> assign(
            String name, Map<String, List<PartitionInfo>> topics, Map<String, Member> members) {
        AbstractPartitionAssignor assignor = switch (name) {
            case "range" -> new RangeAssignor();
            case "roundrobin" -> new RoundRobinAssignor();
            case "sticky" -> new StickyAssignor();
            default -> new CooperativeStickyAssignor();
        };
        Map<String, Subscription> subscriptions = new HashMap<>();
        members.forEach((id, member) -> subscriptions.put(id, member.subscription(name)));
        Map<String, List<PartitionInfo>> wanted = new HashMap<>();
        topics.forEach((topic, partitions) -> {
            // The assignor is given the topics that somebody wants and that have partitions.
            if (!partitions.isEmpty() && members.values().stream().anyMatch(it -> it.topics.contains(topic))) {
                wanted.put(topic, partitions);
            }
        });
        return assignor.assignPartitions(wanted, subscriptions);
    }

    private void write(
            int seed,
            String name,
            Map<String, List<PartitionInfo>> topics,
            Map<String, Member> members,
            Map<String, List<TopicPartition>> assignment) {
        out.println("case " + seed + " " + name);
        topics.forEach((topic, partitions) -> {
            String racks = partitions.stream()
                    .map(it -> it.replicas().length == 0 ? "-" : List.of(it.replicas()).stream()
                            .map(Node::rack).collect(Collectors.joining("+")))
                    .collect(Collectors.joining(" "));
            out.println(("topic " + topic + " " + racks).trim());
        });
        members.forEach((id, member) -> out.println("member " + id + " " + String.join(",", member.topics)
                + " owned " + text(member.owned) + " generation " + member.generation
                + " instance " + (member.instance == null ? "-" : member.instance)
                + " rack " + (member.rack == null ? "-" : member.rack)));
        new TreeMap<>(assignment).forEach((id, partitions) -> out.println("gets " + id + " " + text(partitions)));
        out.println();
    }

    private static String text(Collection<TopicPartition> partitions) {
        String text = partitions.stream()
                .map(it -> it.topic() + ":" + it.partition()).sorted().collect(Collectors.joining(","));
        return text.isEmpty() ? "-" : text;
    }

    private static final class Member {
        final List<String> topics = new ArrayList<>();
        final List<TopicPartition> owned = new ArrayList<>();
        int generation = -1;
        String instance;
        String rack;

        Subscription subscription(String assignor) {
            ByteBuffer userData = assignor.equals("sticky") && generation >= 0 ? userData() : null;
            List<TopicPartition> told = assignor.equals("cooperative-sticky") ? owned : List.of();
            Subscription subscription =
                    new Subscription(topics, userData, told, generation, Optional.ofNullable(rack));
            subscription.setGroupInstanceId(Optional.ofNullable(instance));
            return subscription;
        }

        /** StickyAssignorUserData, version 1. */
        private ByteBuffer userData() {
            Map<String, List<TopicPartition>> byTopic =
                    owned.stream().collect(Collectors.groupingBy(TopicPartition::topic, TreeMap::new, Collectors.toList()));
            ByteBuffer buffer = ByteBuffer.allocate(4096);
            buffer.putInt(byTopic.size());
            byTopic.forEach((topic, partitions) -> {
                byte[] name = topic.getBytes(StandardCharsets.UTF_8);
                buffer.putShort((short) name.length).put(name).putInt(partitions.size());
                partitions.forEach(it -> buffer.putInt(it.partition()));
            });
            buffer.putInt(generation);
            buffer.flip();
            return buffer;
        }
    }
}
