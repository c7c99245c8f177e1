// Writes what Apache Kafka's own assignors give for cases made from seeds, one line a member:
// crates/coordinator/src/testdata/kafka_4.4.0/assignors.txt.
//
//   javac -cp 'server/jars/*' GoldenAssignors.java
//   java -cp '.:server/jars/*' GoldenAssignors

import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.*;
import org.apache.kafka.coordinator.group.assignor.*;
import org.apache.kafka.coordinator.group.modern.*;

public class GoldenAssignors {
    static final class Member {
        String instance;
        TreeSet<Uuid> topics = new TreeSet<>();
        TreeMap<Uuid, Set<Integer>> assigned = new TreeMap<>();
    }

    public static void main(String[] args) throws Exception {
        for (int seed = 0; seed < 60; seed++) {
            history(seed);
        }
    }

    /** A group that members join and leave, and whose topics come, grow and go. */
    static void history(int seed) throws Exception {
        Random random = new Random(seed);
        boolean uniform = seed % 3 != 0;
        boolean homogeneous = seed % 2 == 0;
        TreeMap<Uuid, Integer> counts = new TreeMap<>();
        TreeMap<String, Member> members = new TreeMap<>();
        for (int step = 0; step < 8; step++) {
            for (int i = random.nextInt(3) + (step == 0 ? 1 : 0); i > 0; i--) {
                Uuid id = new Uuid(0, 100 + random.nextInt(7));
                counts.merge(id, random.nextInt(9) + 1, Integer::sum);
            }
            if (random.nextInt(4) == 0 && counts.size() > 1) {
                counts.remove(counts.firstKey());
            }
            for (int i = random.nextInt(4) + (step == 0 ? 1 : 0); i > 0; i--) {
                Member member = new Member();
                if (random.nextInt(4) == 0) {
                    member.instance = "i" + random.nextInt(1000);
                }
                members.put("m" + random.nextInt(1000), member);
            }
            while (members.size() > 1 && random.nextInt(3) == 0) {
                List<String> ids = new ArrayList<>(members.keySet());
                members.remove(ids.get(random.nextInt(ids.size())));
            }
            for (Member member : members.values()) {
                member.topics.retainAll(counts.keySet());
                if (homogeneous) {
                    member.topics.addAll(counts.keySet());
                } else {
                    for (Uuid topic : counts.keySet()) {
                        int drawn = random.nextInt(8);
                        if (drawn == 0) member.topics.remove(topic);
                        if (drawn >= 5) member.topics.add(topic);
                    }
                }
            }
            assign(uniform, homogeneous, counts, members);
        }
    }

    static void assign(boolean uniform, boolean homogeneous, TreeMap<Uuid, Integer> counts,
                       TreeMap<String, Member> members) throws Exception {
        TreeMap<String, MemberSubscriptionAndAssignmentImpl> specs = new TreeMap<>();
        Map<Uuid, Map<Integer, String>> inverted = new HashMap<>();
        members.forEach((id, member) -> {
            specs.put(id, new MemberSubscriptionAndAssignmentImpl(Optional.empty(), Optional.ofNullable(member.instance),
                member.topics, new Assignment(member.assigned)));
            member.assigned.forEach((topic, partitions) -> partitions.forEach(partition ->
                inverted.computeIfAbsent(topic, __ -> new HashMap<>()).put(partition, id)));
        });
        GroupSpec spec = new GroupSpecImpl(specs,
            homogeneous ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS, inverted);
        SubscribedTopicDescriber describer = new SubscribedTopicDescriber() {
            public int numPartitions(Uuid topic) {
                return counts.getOrDefault(topic, -1);
            }
            public Set<String> racksForPartition(Uuid topic, int partition) {
                return Set.of();
            }
        };
        PartitionAssignor assignor = uniform ? new UniformAssignor() : new RangeAssignor();
        Map<String, MemberAssignment> result = assignor.assign(spec, describer).members();
        System.out.println((uniform ? "uniform " : "range ") + (homogeneous ? "homogeneous" : "heterogeneous"));
        counts.forEach((topic, count) ->
            System.out.println("t " + topic.getLeastSignificantBits() + " " + count));
        members.forEach((id, member) -> {
            TreeMap<Uuid, Set<Integer>> after = new TreeMap<>();
            if (result.containsKey(id)) {
                result.get(id).partitions().forEach((topic, partitions) -> {
                    if (!partitions.isEmpty()) after.put(topic, new TreeSet<>(partitions));
                });
            }
            StringJoiner topics = new StringJoiner(",", "[", "]");
            member.topics.forEach(topic -> topics.add(Long.toString(topic.getLeastSignificantBits())));
            System.out.println("m " + id + " " + (member.instance == null ? "-" : member.instance) + " " + topics
                + " " + text(member.assigned) + " " + text(after));
            member.assigned = after;
        });
    }

    static String text(Map<Uuid, Set<Integer>> assigned) {
        StringJoiner all = new StringJoiner(";", "[", "]");
        assigned.forEach((topic, partitions) -> {
            StringJoiner list = new StringJoiner(",", topic.getLeastSignificantBits() + ":", "");
            partitions.forEach(partition -> list.add(partition.toString()));
            all.add(list.toString());
        });
        return all.toString();
    }
}
