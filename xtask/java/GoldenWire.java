import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.metadata.MetadataRecordSerde;
import org.apache.kafka.server.common.ApiMessageAndVersion;

/**
 * The bytes of Apache Kafka's own serializers, for comparing with ours.
 *
 * <p>{@code write FILE SEED SAMPLES}: fills every message that the jars of the class path describe, at every
 * version, with seeded random fields, and writes what Kafka makes of them.
 * {@code check FILE}: reads messages that somebody else serialized; each must come back as the same bytes.
 * {@code time NAME VERSION FILE}: how long Kafka takes to read and to write the entry of that name and version.
 *
 * <p>The file is compressed with gzip and is a sequence of entries: name (length in two bytes, UTF-8), version
 * (two bytes), body (length in four bytes, bytes), and the same value at another version: that version (two
 * bytes, -1 when there is none) and its body (length in four bytes, -1 when Kafka refuses; bytes). Names with a
 * slash are framed records: {@code metadata/}, {@code key/}, {@code value/} and the schema's name.
 */
public final class GoldenWire {
    private static final ObjectMapper JSON = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);

    public static void main(String[] arguments) throws Exception {
        Map<String, Schema> schemas = schemas();
        switch (arguments[0]) {
            case "write" -> write(schemas, arguments[1], Long.parseLong(arguments[2]), Integer.parseInt(arguments[3]));
            case "check" -> check(schemas, arguments[1]);
            case "time" -> time(schemas, arguments[1], Short.parseShort(arguments[2]), arguments[3]);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    // What there is to serialize.

    /** One message: what its schema says, and the class that Kafka generated from it. */
    private record Schema(JsonNode json, Class<?> type, Versions valid, Versions flexible) {
        Message fresh() throws ReflectiveOperationException {
            return (Message) type.getConstructor().newInstance();
        }
    }

    /** A range of versions, both ends inclusive; empty when the last is below the first. */
    private record Versions(int first, int last) {
        static Versions of(String text) {
            if (text.equals("none")) {
                return new Versions(0, -1);
            }
            if (text.endsWith("+")) {
                return new Versions(Integer.parseInt(text.substring(0, text.length() - 1)), Short.MAX_VALUE);
            }
            String[] ends = text.split("-");
            return new Versions(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1]));
        }

        static Versions of(JsonNode node, String field, Versions otherwise) {
            return node.hasNonNull(field) ? of(node.get(field).asText()) : otherwise;
        }

        boolean has(int version) {
            return first <= version && version <= last;
        }
    }

    private static Map<String, Schema> schemas() throws Exception {
        Map<String, Schema> found = new TreeMap<>();
        for (String path : System.getProperty("java.class.path").split(File.pathSeparator)) {
            if (!new File(path).getName().startsWith("kafka-")) {
                continue;
            }
            try (JarFile jar = new JarFile(path)) {
                List<JarEntry> entries = jar.stream().filter(it -> it.getName().endsWith(".json")).toList();
                for (JarEntry entry : entries) {
                    if (!entry.getName().matches("(common/)?(message|metadata)/[A-Za-z0-9]+\\.json")) {
                        continue;
                    }
                    try (InputStream input = jar.getInputStream(entry)) {
                        add(found, JSON.readTree(input), new File(path).getName());
                    }
                }
            }
        }
        return found;
    }

    private static void add(Map<String, Schema> found, JsonNode json, String jar) throws ClassNotFoundException {
        Versions valid = Versions.of(json.get("validVersions").asText());
        if (valid.last() < valid.first()) {
            return;
        }
        String name = json.get("name").asText();
        String kind = json.get("type").asText();
        String suffix = List.of("request", "response", "header").contains(kind) ? "Data" : "";
        String folder;
        if (jar.startsWith("kafka-metadata")) {
            folder = "org.apache.kafka.common.metadata.";
        } else if (jar.startsWith("kafka-group-coordinator")) {
            folder = "org.apache.kafka.coordinator.group.generated.";
        } else if (jar.startsWith("kafka-transaction-coordinator")) {
            folder = "org.apache.kafka.coordinator.transaction.generated.";
        } else if (jar.startsWith("kafka-share-coordinator")) {
            folder = "org.apache.kafka.coordinator.share.generated.";
        } else if (jar.startsWith("kafka-raft")) {
            folder = "org.apache.kafka.raft.generated.";
        } else if (jar.startsWith("kafka-storage")) {
            folder = "org.apache.kafka.server.log.remote.metadata.storage.generated.";
        } else {
            folder = "org.apache.kafka.common.message.";
        }
        Versions flexible = Versions.of(json, "flexibleVersions", new Versions(0, -1));
        found.put(name, new Schema(json, Class.forName(folder + name + suffix), valid, flexible));
    }

    // Random values.

    /** Fills one message for one version. */
    private static final class Filler {
        private final Random random;
        private final Schema schema;
        private final int version;
        private final Map<String, JsonNode> structs = new HashMap<>();

        Filler(Schema schema, int version, Random random) {
            this.schema = schema;
            this.version = version;
            this.random = random;
            for (JsonNode struct : schema.json().path("commonStructs")) {
                structs.put(struct.get("name").asText(), struct);
            }
            collect(schema.json());
        }

        private void collect(JsonNode node) {
            for (JsonNode field : node.path("fields")) {
                if (field.has("fields")) {
                    structs.put(element(field.get("type").asText()), field);
                    collect(field);
                }
            }
        }

        private static String element(String type) {
            return type.startsWith("[]") ? type.substring(2) : type;
        }

        Message message() throws ReflectiveOperationException {
            Message message = schema.fresh();
            fill(message, schema.json());
            return message;
        }

        private void fill(Message message, JsonNode struct) throws ReflectiveOperationException {
            int nextTag = 0;
            for (JsonNode field : struct.get("fields")) {
                Versions tagged = Versions.of(field, "taggedVersions", new Versions(0, -1));
                Versions versions = Versions.of(field, "versions", tagged);
                if (field.has("tag")) {
                    nextTag = Math.max(nextTag, field.get("tag").asInt() + 1);
                }
                // A field that may be left out often is: its default is a case of its own.
                if (!versions.has(version)) {
                    continue;
                }
                // Records have no default that could be written.
                boolean optional = !field.get("type").asText().equals("records");
                if (optional && (tagged.has(version) ? random.nextInt(3) == 0 : random.nextInt(12) == 0)) {
                    continue;
                }
                set(message, field);
            }
            if (schema.flexible().has(version) && random.nextInt(6) == 0) {
                int tag = nextTag;
                for (int count = random.nextInt(3); count >= 0; count--) {
                    tag += 1 + random.nextInt(200);
                    message.unknownTaggedFields().add(new RawTaggedField(tag, bytes(6)));
                }
            }
        }

        private void set(Message message, JsonNode field) throws ReflectiveOperationException {
            String name = field.get("name").asText();
            String setter = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
            Method method = Arrays.stream(message.getClass().getMethods())
                .filter(it -> it.getName().equals(setter) && it.getParameterCount() == 1)
                .findFirst()
                .orElseThrow(() -> new NoSuchMethodException(message.getClass() + "." + setter));
            if (Versions.of(field, "nullableVersions", new Versions(0, -1)).has(version) && random.nextInt(4) == 0) {
                method.invoke(message, new Object[] {null});
                return;
            }
            String type = field.get("type").asText();
            Class<?> wanted = method.getParameterTypes()[0];
            if (type.startsWith("[]")) {
                method.invoke(message, array(message, wanted, method, type.substring(2)));
            } else if (Character.isUpperCase(type.charAt(0))) {
                method.invoke(message, struct(wanted, type));
            } else {
                method.invoke(message, value(type, wanted));
            }
        }

        private Message struct(Class<?> wanted, String type) throws ReflectiveOperationException {
            Message inner = (Message) wanted.getConstructor().newInstance();
            fill(inner, structs.get(type));
            return inner;
        }

        @SuppressWarnings("unchecked")
        private Object array(Message message, Class<?> wanted, Method method, String type) throws ReflectiveOperationException {
            int size = random.nextInt(20) == 0 && !Character.isUpperCase(type.charAt(0)) ? 130 : random.nextInt(4);
            Collection<Object> all = wanted == List.class
                ? new ArrayList<>()
                : (Collection<Object>) wanted.getConstructor(int.class).newInstance(size);
            for (int i = 0; i < size; i++) {
                if (Character.isUpperCase(type.charAt(0))) {
                    Class<?> element = wanted == List.class
                        ? (Class<?>) ((ParameterizedType) method.getGenericParameterTypes()[0]).getActualTypeArguments()[0]
                        : Class.forName(schema.type().getName() + "$" + type, true, wanted.getClassLoader());
                    all.add(struct(element, type));
                } else {
                    all.add(value(type, null));
                }
            }
            return all;
        }

        private Object value(String type, Class<?> wanted) {
            switch (type) {
                case "bool":
                    return random.nextBoolean();
                case "int8":
                    return (byte) number(Byte.MIN_VALUE, Byte.MAX_VALUE);
                case "int16":
                    return (short) number(Short.MIN_VALUE, Short.MAX_VALUE);
                case "uint16":
                    return (int) number(0, 0xffff);
                case "int32":
                    return (int) number(Integer.MIN_VALUE, Integer.MAX_VALUE);
                case "uint32":
                    return number(0, 0xffffffffL);
                case "int64":
                    return number(Long.MIN_VALUE, Long.MAX_VALUE);
                case "float64":
                    return random.nextInt(4) == 0 ? 0.0 : random.nextGaussian() * 1e6;
                case "uuid":
                    return random.nextInt(5) == 0 ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
                case "string":
                    return text();
                case "bytes": {
                    byte[] bytes = bytes(random.nextInt(12) == 0 ? 200 : 12);
                    return wanted == ByteBuffer.class ? ByteBuffer.wrap(bytes) : bytes;
                }
                case "records":
                    return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes(random.nextInt(6) == 0 ? 300 : 40)));
                default:
                    throw new IllegalArgumentException(type);
            }
        }

        private long number(long least, long most) {
            switch (random.nextInt(6)) {
                case 0:
                    return Math.max(least, -1);
                case 1:
                    return 0;
                case 2:
                    return random.nextBoolean() ? least : most;
                case 3:
                    return random.nextInt(100);
                default:
                    return most == Long.MAX_VALUE
                        ? random.nextLong()
                        : least + Math.floorMod(random.nextLong(), most - least + 1);
            }
        }

        private byte[] bytes(int limit) {
            byte[] bytes = new byte[random.nextInt(limit + 1)];
            random.nextBytes(bytes);
            return bytes;
        }

        private String text() {
            int length = random.nextInt(16) == 0 ? 120 + random.nextInt(20) : random.nextInt(9);
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < length; i++) {
                text.appendCodePoint(random.nextInt(12) == 0
                    ? new int[] {0xe9, 0x20ac, 0x1f980, 0, 0x7f, 0x80}[random.nextInt(6)]
                    : 'a' + random.nextInt(26));
            }
            return text.toString();
        }
    }

    // Writing, reading, comparing.

    private static byte[] serialize(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = message.size(cache, version);
        ByteBuffer buffer = ByteBuffer.allocate(size);
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException("size and bytes of " + message.getClass() + " differ");
        }
        return buffer.array();
    }

    private static byte[] frame(String kind, ApiMessage message, short version) {
        switch (kind) {
            case "metadata": {
                ApiMessageAndVersion record = new ApiMessageAndVersion(message, version);
                ObjectSerializationCache cache = new ObjectSerializationCache();
                ByteBuffer buffer = ByteBuffer.allocate(MetadataRecordSerde.INSTANCE.recordSize(record, cache));
                MetadataRecordSerde.INSTANCE.write(record, cache, new ByteBufferAccessor(buffer));
                return buffer.array();
            }
            case "key":
                return MessageUtil.toCoordinatorTypePrefixedBytes(message);
            case "value":
                return MessageUtil.toVersionPrefixedBytes(version, message);
            default:
                throw new IllegalArgumentException(kind);
        }
    }

    private static void write(Map<String, Schema> schemas, String path, long seed, int samples) throws Exception {
        int entries = 0;
        long size = 0;
        try (DataOutputStream out = new DataOutputStream(new BufferedOutputStream(
                new GZIPOutputStream(new FileOutputStream(path))))) {
            for (Map.Entry<String, Schema> it : schemas.entrySet()) {
                Schema schema = it.getValue();
                for (int version = schema.valid().first(); version <= schema.valid().last(); version++) {
                    for (int sample = 0; sample < samples; sample++) {
                        Random random = new Random(seed ^ ((long) it.getKey().hashCode() << 16) ^ (version * 1000003L + sample));
                        Message message = new Filler(schema, version, random).message();
                        byte[] body = serialize(message, (short) version);
                        entry(out, it.getKey(), version, body);
                        another(out, schema, message, version, random);
                        entries++;
                        size += body.length;
                        entries += framed(out, schema, it.getKey(), message, version);
                    }
                }
            }
        }
        System.out.println(entries + " entries of " + schemas.size() + " messages, " + size + " bytes");
    }

    private static void entry(DataOutputStream out, String name, int version, byte[] body) throws Exception {
        out.writeUTF(name);
        out.writeShort(version);
        out.writeInt(body.length);
        out.write(body);
    }

    /** The same value at another version: Kafka converts it or refuses to. */
    private static void another(DataOutputStream out, Schema schema, Message message, int version, Random random)
            throws Exception {
        int others = schema.valid().last() - schema.valid().first();
        if (others == 0) {
            out.writeShort(-1);
            out.writeInt(-1);
            return;
        }
        int other = schema.valid().first() + random.nextInt(others);
        if (other >= version) {
            other++;
        }
        out.writeShort(other);
        try {
            byte[] body = serialize(message, (short) other);
            out.writeInt(body.length);
            out.write(body);
        } catch (RuntimeException refused) {
            out.writeInt(-1);
        }
    }

    private static int framed(DataOutputStream out, Schema schema, String name, Message message, int version)
            throws Exception {
        String kind = switch (schema.json().get("type").asText()) {
            case "metadata" -> "metadata";
            case "coordinator-key" -> "key";
            case "coordinator-value" -> "value";
            default -> null;
        };
        if (kind == null) {
            return 0;
        }
        entry(out, kind + "/" + name, version, frame(kind, (ApiMessage) message, (short) version));
        out.writeShort(-1);
        out.writeInt(-1);
        return 1;
    }

    private static Message parse(Schema schema, byte[] body, short version) throws Exception {
        Message message = schema.fresh();
        ByteBuffer buffer = ByteBuffer.wrap(body);
        message.read(new ByteBufferAccessor(buffer), version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(buffer.remaining() + " bytes left");
        }
        return message;
    }

    private static void check(Map<String, Schema> schemas, String path) throws Exception {
        int entries = 0;
        int failures = 0;
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(
                new GZIPInputStream(new FileInputStream(path))))) {
            while (true) {
                String name;
                try {
                    name = in.readUTF();
                } catch (EOFException end) {
                    break;
                }
                short version = in.readShort();
                byte[] body = in.readNBytes(in.readInt());
                in.readShort();
                in.readNBytes(Math.max(0, in.readInt()));
                entries++;
                try {
                    byte[] again = serialize(parse(schemas.get(name), body, version), version);
                    if (!Arrays.equals(again, body)) {
                        throw new IllegalStateException("other bytes");
                    }
                } catch (Exception error) {
                    failures++;
                    System.out.println(name + " version " + version + ": " + error);
                }
            }
        }
        System.out.println(entries + " entries, " + failures + " not as Apache Kafka writes them");
        System.exit(failures == 0 ? 0 : 1);
    }

    private static void time(Map<String, Schema> schemas, String name, short version, String path) throws Exception {
        byte[] body;
        try (FileInputStream in = new FileInputStream(path)) {
            body = in.readAllBytes();
        }
        Schema schema = schemas.get(name);
        for (int round = 0; round < 5; round++) {
            long start = System.nanoTime();
            int turns = 0;
            Message message = null;
            while (System.nanoTime() - start < 1_000_000_000L) {
                message = parse(schema, body, version);
                turns++;
            }
            long read = (System.nanoTime() - start) / turns;
            start = System.nanoTime();
            turns = 0;
            while (System.nanoTime() - start < 1_000_000_000L) {
                serialize(message, version);
                turns++;
            }
            System.out.println("read " + read + " ns, write " + (System.nanoTime() - start) / turns + " ns");
        }
    }
}
