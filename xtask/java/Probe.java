import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.ApiVersionsRequestData;
import org.apache.kafka.common.message.ApiVersionsResponseData;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.FindCoordinatorRequestData;
import org.apache.kafka.common.message.FindCoordinatorResponseData;
import org.apache.kafka.common.message.MetadataRequestData;
import org.apache.kafka.common.message.MetadataResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;

import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.internals.Crc32C;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Sends requests to a server in every version that it advertises and prints the answers, one field a line.
 *
 * <p>A line of the script is {@code [~]Api[first-last] label {json}}: the request's fields by their names in
 * Kafka's schemas, a name followed by {@code @first-last} only in those versions. A tilde sorts the lists of the
 * answer. {@code {v}} in a text is the version. A text that begins with a dollar is looked up:
 * {@code $id:TOPIC}, {@code $session}, {@code $records:KIND}. {@code wait MS}, {@code listener NAME} (broker or
 * controller) and {@code raw label HEX} (bytes as they are) are the other lines, and: {@code keep NAME POINTER} keeps
 * what stands at a JSON pointer of the last answer, for <code>{NAME}</code> in the lines that follow;
 * {@code coordinator TYPE KEY} waits until the cluster has a coordinator for a key. <code>{x*N}</code> is N letters.
 */
public final class Probe {
    private static final int LIMIT_MS = 8_000;
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Fields that no two runs share. */
    private static final Set<String> DRAWN = Set.of("finalizedFeaturesEpoch", "totalBytes", "usableBytes",
        "clientInstanceId", "subscriptionId", "lastFetchTimestamp", "lastCaughtUpTimestamp");

    /** A coordinator that is not there yet, or is not through with the last transaction. */
    private static final Pattern NOT_YET = Pattern.compile("rrorCode\":(14|15|16|51)\\b");

    private final Map<String, Integer> ports;
    private final Map<String, Map<Short, short[]>> advertised = new TreeMap<>();
    private final Map<String, Uuid> ids = new TreeMap<>();
    private String listener = "broker";
    private Socket socket;
    private int correlation;
    private int session;
    private JsonNode latest;
    private final Map<String, String> kept = new TreeMap<>();
    private final Map<String, String> masked = new TreeMap<>();

    private Probe(int broker, int controller) {
        ports = Map.of("broker", broker, "controller", controller);
    }

    public static void main(String[] arguments) throws Exception {
        Probe probe = new Probe(Integer.parseInt(arguments[0]), Integer.parseInt(arguments[1]));
        for (String line : Files.readAllLines(Path.of(arguments[2]))) {
            if (!line.isBlank() && !line.startsWith("#")) {
                probe.step(line);
            }
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private void step(String line) throws Exception {
        String[] words = line.split(" ", 2);
        switch (words[0]) {
            case "wait" -> Thread.sleep(Long.parseLong(words[1]));
            case "keep" -> keep(words[1].split(" "));
            case "coordinator" -> coordinator(words[1].split(" "));
            case "listener" -> {
                disconnect();
                listener = words[1];
                advertise();
            }
            case "raw" -> {
                int end = words[1].lastIndexOf(' ');
                System.out.println("## raw " + words[1].substring(0, end));
                raw(HexFormat.of().parseHex(words[1].substring(end + 1)));
            }
            default -> request(line);
        }
    }

    // What the server says it speaks.

    private void advertise() throws Exception {
        System.out.println("## " + listener + " advertises");
        Map<Short, short[]> ranges = new TreeMap<>();
        advertised.put(listener, ranges);
        ApiVersionsRequestData request = new ApiVersionsRequestData()
            .setClientSoftwareName("probe").setClientSoftwareVersion("1");
        ApiVersionsResponseData response;
        try {
            response = (ApiVersionsResponseData) call(ApiKeys.API_VERSIONS, (short) 3, request);
        } catch (IOException failure) {
            System.out.println(ending(failure));
            return;
        }
        for (ApiVersionsResponseData.ApiVersion it : response.apiKeys()) {
            ranges.put(it.apiKey(), new short[] {it.minVersion(), it.maxVersion()});
        }
        for (ApiKeys key : ApiKeys.values()) {
            short[] range = ranges.get(key.id);
            if (range != null) {
                System.out.println(key + " " + range[0] + " to " + range[1]);
            }
        }
    }

    // One line of the script, in every version.

    private void request(String line) throws Exception {
        boolean sorted = line.startsWith("~");
        int brace = line.indexOf('{');
        String[] words = line.substring(sorted ? 1 : 0, brace).trim().split(" ", 2);
        String label = words.length > 1 ? words[1] : "";
        String api = words[0].replaceAll("\\[.*", "");
        short[] wanted = range(words[0].contains("[") ? words[0].substring(words[0].indexOf('[') + 1, words[0].length() - 1) : "");
        ApiKeys key = Arrays.stream(ApiKeys.values()).filter(it -> it.name.equals(api)).findFirst().orElseThrow();
        short[] theirs = advertised.get(listener).get(key.id);
        if (theirs == null) {
            System.out.println("## " + listener + " " + api);
            System.out.println("not advertised");
            return;
        }
        short last = (short) Math.min(Math.min(wanted[1], key.latestVersion()), theirs[1]);
        for (short version = (short) Math.max(wanted[0], Math.max(key.oldestVersion(), theirs[0])); version <= last; version++) {
            System.out.println(("## " + listener + " " + api + " v" + version + " " + label).trim());
            JsonNode fields = JSON.readTree(placed(line.substring(brace).replace("{v}", Short.toString(version))));
            ApiMessage request = key.messageType.newRequest();
            try {
                fill(request, fields, version);
                ApiMessage response = patient(key, version, request);
                if (response == null) {
                    System.out.println("no answer is due");
                } else {
                    latest = json(response, version);
                    print(api, hidden(latest), sorted);
                    if (response instanceof FetchResponseData fetched) {
                        fetched.responses().forEach(topic -> topic.partitions().forEach(Probe::records));
                    }
                }
            } catch (InvocationTargetException wrapped) {
                System.out.println("cannot be sent: " + wrapped.getCause());
            } catch (IOException failure) {
                System.out.println(ending(failure));
                disconnect();
            }
        }
    }

    private void keep(String[] words) {
        JsonNode found = latest.at(words[1]);
        kept.put(words[0], found.isTextual() ? found.asText() : found.toString());
        if (words.length > 2) {
            masked.put(kept.get(words[0]), words[2]);
        }
    }

    /** What was kept, and runs of letters, in the place of their names. */
    private String placed(String text) {
        for (Map.Entry<String, String> it : kept.entrySet()) {
            text = text.replace("{" + it.getKey() + "}", it.getValue());
        }
        Matcher run = Pattern.compile("\\{x\\*(\\d+)}").matcher(text);
        return run.replaceAll(it -> "x".repeat(Integer.parseInt(it.group(1))));
    }

    /** An answer without the words that were kept to be hidden. */
    private JsonNode hidden(JsonNode answer) throws IOException {
        String text = answer.toString();
        for (Map.Entry<String, String> it : masked.entrySet()) {
            text = text.replace("\"" + it.getKey() + "\"", "\"" + it.getValue() + "\"");
        }
        return JSON.readTree(text);
    }

    private void coordinator(String[] words) throws Exception {
        FindCoordinatorRequestData request = new FindCoordinatorRequestData()
            .setKeyType(Byte.parseByte(words[0])).setCoordinatorKeys(List.of(words[1]));
        for (int tries = 0; tries < 100; tries++) {
            var response = (FindCoordinatorResponseData) call(ApiKeys.FIND_COORDINATOR, (short) 6, request);
            if (response.coordinators().get(0).errorCode() == 0) {
                return;
            }
            Thread.sleep(100);
        }
        System.out.println("no coordinator for " + words[1]);
    }

    /** Asks again while a coordinator reads its log, or the last transaction is not quite over. */
    private ApiMessage patient(ApiKeys key, short version, ApiMessage request) throws Exception {
        ApiMessage response = call(key, version, request);
        for (int tries = 0; tries < 50 && response != null; tries++) {
            if (!NOT_YET.matcher(json(response, version).toString()).find()) {
                break;
            }
            Thread.sleep(100);
            response = call(key, version, request);
        }
        return response;
    }

    private static short[] range(String text) {
        if (text.isEmpty()) {
            return new short[] {0, Short.MAX_VALUE};
        }
        String[] ends = text.split("-", -1);
        short first = Short.parseShort(ends[0]);
        if (ends.length == 1) {
            return new short[] {first, first};
        }
        return new short[] {first, ends[1].isEmpty() ? Short.MAX_VALUE : Short.parseShort(ends[1])};
    }

    // From the script's fields to a message.

    private void fill(Object message, JsonNode fields, short version) throws Exception {
        for (Iterator<Map.Entry<String, JsonNode>> all = fields.fields(); all.hasNext();) {
            Map.Entry<String, JsonNode> field = all.next();
            String[] name = field.getKey().split("@");
            if (name.length > 1) {
                short[] range = range(name[1]);
                if (version < range[0] || version > range[1]) {
                    continue;
                }
            }
            String setter = "set" + Character.toUpperCase(name[0].charAt(0)) + name[0].substring(1);
            Method method = Arrays.stream(message.getClass().getMethods())
                .filter(it -> it.getName().equals(setter) && it.getParameterCount() == 1).findFirst()
                .orElseThrow(() -> new IllegalArgumentException(message.getClass() + " has no " + name[0]));
            method.invoke(message, value(method.getGenericParameterTypes()[0], field.getValue(), version));
        }
    }

    @SuppressWarnings("unchecked")
    private Object value(Type type, JsonNode node, short version) throws Exception {
        if (node.isNull()) {
            return null;
        }
        if (type instanceof ParameterizedType list) {
            List<Object> values = new ArrayList<>();
            for (JsonNode it : node) {
                values.add(value(list.getActualTypeArguments()[0], it, version));
            }
            return values;
        }
        Class<?> plain = (Class<?>) type;
        if (Collection.class.isAssignableFrom(plain)) {
            Collection<Object> values = (Collection<Object>) plain.getDeclaredConstructor().newInstance();
            Type element = ((ParameterizedType) plain.getGenericSuperclass()).getActualTypeArguments()[0];
            for (JsonNode it : node) {
                values.add(value(element, it, version));
            }
            return values;
        }
        return switch (plain.getSimpleName()) {
            case "boolean" -> node.asBoolean();
            case "byte", "Byte" -> (byte) node.asInt();
            case "short", "Short" -> (short) node.asInt();
            case "int", "Integer" -> node.asText().equals("$session") ? session : node.asInt();
            case "long", "Long" -> node.asLong();
            case "String" -> node.asText();
            case "byte[]" -> bytes(node.asText());
            case "ByteBuffer" -> ByteBuffer.wrap(node.asText().getBytes(StandardCharsets.UTF_8));
            case "Uuid" -> node.asText().startsWith("$id:") ? id(node.asText().substring(4)) : Uuid.fromString(node.asText());
            case "BaseRecords" -> records(node.asText().substring("$records:".length()));
            default -> {
                Object struct = plain.getDeclaredConstructor().newInstance();
                fill(struct, node, version);
                yield struct;
            }
        };
    }

    /** The bytes of a text, or those that a text beginning with {@code $hex:} spells. */
    private static byte[] bytes(String text) {
        return text.startsWith("$hex:") ? HexFormat.of().parseHex(text.substring(5)) : text.getBytes(StandardCharsets.UTF_8);
    }

    private Uuid id(String topic) throws Exception {
        if (!ids.containsKey(topic)) {
            MetadataRequestData request = new MetadataRequestData().setAllowAutoTopicCreation(false)
                .setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName(topic)));
            MetadataResponseData response = (MetadataResponseData) call(ApiKeys.METADATA, (short) 12, request);
            ids.put(topic, response.topics().iterator().next().topicId());
        }
        return ids.get(topic);
    }

    private static final long TIME = 1_600_000_000_000L;

    private static SimpleRecord[] some(int count) {
        SimpleRecord[] records = new SimpleRecord[count];
        for (int number = 0; number < count; number++) {
            records[number] = new SimpleRecord(TIME + number, ("k" + number).getBytes(), "value".repeat(20).getBytes());
        }
        return records;
    }

    /** Batches by name; {@code PID:EPOCH:SEQUENCE} is an idempotent one, with {@code :t} a transactional one. */
    private static MemoryRecords records(String kind) {
        return switch (kind) {
            case "none" -> MemoryRecords.withRecords(Compression.NONE, some(3));
            case "gzip" -> MemoryRecords.withRecords(Compression.gzip().build(), some(3));
            case "snappy" -> MemoryRecords.withRecords(Compression.snappy().build(), some(3));
            case "lz4" -> MemoryRecords.withRecords(Compression.lz4().build(), some(3));
            case "zstd" -> MemoryRecords.withRecords(Compression.zstd().build(), some(3));
            case "magic0" -> MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V0, Compression.NONE, some(1));
            case "magic1" -> MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V1, Compression.NONE, some(1));
            case "empty" -> MemoryRecords.EMPTY;
            case "two" -> together(some(1), some(2));
            case "nokey" -> MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(TIME, null, "v".getBytes()));
            case "future" -> MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(9_000_000_000_000L, "k".getBytes(), "v".getBytes()));
            case "large" -> MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(TIME, "k".getBytes(), new byte[1_100_000]));
            case "corrupt" -> changed(some(2), 70, 0x55);
            case "attributes" -> sealed(some(2), 22, 0x07);
            case "control" -> sealed(some(2), 22, 0x20);
            case "transactional" -> sealed(some(2), 22, 0x10);
            case "count" -> sealed(some(2), 60, 9);
            case "delta" -> sealed(some(2), 26, 9);
            case "magic3" -> changed(some(2), 16, 3);
            case "length" -> changed(some(2), 11, 0x7f);
            case "cut" -> {
                ByteBuffer buffer = MemoryRecords.withRecords(Compression.NONE, some(2)).buffer();
                buffer.limit(buffer.limit() - 5);
                yield MemoryRecords.readableRecords(buffer.slice());
            }
            default -> {
                String[] parts = kind.split(":");
                if (parts.length > 3) {
                    yield MemoryRecords.withTransactionalRecords(Compression.NONE, Long.parseLong(parts[0]),
                        Short.parseShort(parts[1]), Integer.parseInt(parts[2]), some(2));
                }
                yield MemoryRecords.withIdempotentRecords(Compression.NONE, Long.parseLong(parts[0]),
                    Short.parseShort(parts[1]), Integer.parseInt(parts[2]), some(2));
            }
        };
    }

    private static MemoryRecords together(SimpleRecord[] first, SimpleRecord[] second) {
        ByteBuffer one = MemoryRecords.withRecords(Compression.NONE, first).buffer();
        ByteBuffer two = MemoryRecords.withRecords(Compression.NONE, second).buffer();
        ByteBuffer both = ByteBuffer.allocate(one.remaining() + two.remaining()).put(one).put(two).flip();
        return MemoryRecords.readableRecords(both);
    }

    /** A batch with one byte changed. */
    private static MemoryRecords changed(SimpleRecord[] records, int position, int value) {
        ByteBuffer buffer = MemoryRecords.withRecords(Compression.NONE, records).buffer();
        buffer.put(position, (byte) value);
        return MemoryRecords.readableRecords(buffer);
    }

    /** A batch with one byte changed, and the checksum to match. */
    private static MemoryRecords sealed(SimpleRecord[] records, int position, int value) {
        ByteBuffer buffer = changed(records, position, value).buffer();
        int first = 21;
        buffer.putInt(17, (int) Crc32C.compute(buffer, first, buffer.limit() - first));
        return MemoryRecords.readableRecords(buffer);
    }

    // Over the wire.

    private Socket connected() throws IOException {
        if (socket == null) {
            socket = new Socket("localhost", ports.get(listener));
            socket.setSoTimeout(LIMIT_MS);
            socket.setTcpNoDelay(true);
        }
        return socket;
    }

    private void disconnect() throws IOException {
        if (socket != null) {
            socket.close();
            socket = null;
        }
    }

    private ApiMessage call(ApiKeys key, short version, ApiMessage request) throws Exception {
        correlation++;
        RequestHeaderData header = new RequestHeaderData().setRequestApiKey(key.id).setRequestApiVersion(version)
            .setCorrelationId(correlation).setClientId("probe");
        short headerVersion = key.requestHeaderVersion(version);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size;
        try {
            size = header.size(cache, headerVersion) + request.size(cache, version);
        } catch (RuntimeException refused) {
            throw new InvocationTargetException(refused);
        }
        ByteBuffer frame = ByteBuffer.allocate(4 + size).putInt(size);
        ByteBufferAccessor writer = new ByteBufferAccessor(frame);
        header.write(writer, cache, headerVersion);
        request.write(writer, cache, version);
        connected().getOutputStream().write(frame.array());
        if (key == ApiKeys.PRODUCE && ((org.apache.kafka.common.message.ProduceRequestData) request).acks() == 0) {
            return null;
        }
        ByteBufferAccessor reader = new ByteBufferAccessor(ByteBuffer.wrap(frame()));
        ResponseHeaderData answered = new ResponseHeaderData(reader, key.responseHeaderVersion(version));
        if (answered.correlationId() != correlation) {
            System.out.println("correlation id " + answered.correlationId() + " instead of " + correlation);
        }
        ApiMessage response = ApiMessageType.fromApiKey(key.id).newResponse();
        response.read(reader, version);
        if (reader.remaining() > 0) {
            System.out.println(reader.remaining() + " bytes too many");
        }
        if (response instanceof FetchResponseData fetched) {
            session = fetched.sessionId();
            fetched.setSessionId(session == 0 ? 0 : 1);
        }
        return response;
    }

    private byte[] frame() throws IOException {
        DataInputStream input = new DataInputStream(connected().getInputStream());
        byte[] frame = new byte[input.readInt()];
        input.readFully(frame);
        return frame;
    }

    private static String ending(IOException failure) {
        if (failure instanceof SocketTimeoutException) {
            return "no answer";
        }
        if (failure instanceof EOFException || failure instanceof SocketException) {
            return "closed";
        }
        return failure.toString();
    }

    private void raw(byte[] bytes) throws IOException {
        disconnect();
        try {
            connected().getOutputStream().write(bytes);
            connected().setSoTimeout(1_500);
            System.out.println("answered " + HexFormat.of().formatHex(frame()));
        } catch (IOException failure) {
            System.out.println(ending(failure));
        }
        disconnect();
    }

    // From a message to lines.

    private static JsonNode json(ApiMessage response, short version) throws Exception {
        Class<?> converter = Class.forName(response.getClass().getName() + "JsonConverter");
        Method write = converter.getMethod("write", response.getClass(), short.class, boolean.class);
        return (JsonNode) write.invoke(null, response, version, false);
    }

    private static void print(String api, JsonNode node, boolean sorted) {
        if (node.isObject() && api.equals("DescribeQuorum")) {
            hide(node, Set.of("highWatermark", "logEndOffset", "leaderEpoch"));
        }
        hide(node, DRAWN);
        lines("", node, sorted);
    }

    /** The bytes themselves, as a fingerprint: who appended the same must read the same. */
    private static void records(FetchResponseData.PartitionData partition) {
        if (partition.records() instanceof MemoryRecords records) {
            List<String> told = new ArrayList<>();
            for (MutableRecordBatch batch : records.batches()) {
                // A marker has the time at which it was written.
                told.add(batch.isControlBatch()
                    ? "marker at " + batch.baseOffset() + " of epoch " + batch.producerEpoch() + " "
                        + HexFormat.of().formatHex(key(batch.iterator().next()))
                    : Integer.toString(bytes(batch)));
            }
            System.out.println("records of " + partition.partitionIndex() + ": " + told);
        }
    }

    private static byte[] key(Record record) {
        byte[] key = new byte[record.keySize()];
        record.key().duplicate().get(key);
        return key;
    }

    private static int bytes(MutableRecordBatch batch) {
        ByteBuffer buffer = ByteBuffer.allocate(batch.sizeInBytes());
        batch.writeTo(buffer);
        return buffer.flip().hashCode();
    }

    private static void hide(JsonNode node, Set<String> names) {
        if (node instanceof ObjectNode fields) {
            for (String name : names) {
                if (fields.has(name) && fields.get(name).asLong(1) > 0) {
                    fields.put(name, "drawn");
                }
            }
        }
        node.forEach(it -> hide(it, names));
    }

    /** What is the same in every run. */
    private static String undrawn(JsonNode node) {
        return node.toString().replaceAll("\"topicId\":\"[^\"]*\"", "");
    }

    private static void lines(String path, JsonNode node, boolean sorted) {
        if (node.isObject()) {
            for (Iterator<Map.Entry<String, JsonNode>> all = node.fields(); all.hasNext();) {
                Map.Entry<String, JsonNode> field = all.next();
                lines(path.isEmpty() ? field.getKey() : path + "." + field.getKey(), field.getValue(), sorted);
            }
        } else if (node.isArray() && node.size() > 0) {
            List<JsonNode> elements = new ArrayList<>();
            node.forEach(elements::add);
            if (sorted) {
                elements.sort(Comparator.comparing(Probe::undrawn));
            }
            for (int index = 0; index < elements.size(); index++) {
                // Keys of APIs name themselves, so that one more does not move the others.
                JsonNode key = elements.get(index).get("apiKey");
                lines(path + "[" + (key == null ? index : "api " + key) + "]", elements.get(index), sorted);
            }
        } else {
            System.out.println(path + " = " + node);
        }
    }
}
