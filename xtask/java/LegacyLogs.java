import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.RecordBatch;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;

/**
 * Puts logs of compacted topics in place of empty ones as clusters have them that began before 0.11: message formats 0
 * and 1, plain and in compressed wrappers, then 2.
 *
 * <p>The argument is the log directory of a server that was stopped.
 */
public final class LegacyLogs {
    private static final long TIME = 1_600_001_000_000L;
    private static final byte V0 = RecordBatch.MAGIC_VALUE_V0;
    private static final byte V1 = RecordBatch.MAGIC_VALUE_V1;
    private static final byte V2 = RecordBatch.MAGIC_VALUE_V2;
    private static final Compression NONE = Compression.NONE;
    private static final Compression GZIP = Compression.gzip().build();
    private static final Compression SNAPPY = Compression.snappy().build();
    private static final Compression LZ4 = Compression.lz4().build();
    private static final Compression ZSTD = Compression.zstd().build();
    private static final TimestampType CREATED = TimestampType.CREATE_TIME;
    private static final TimestampType APPENDED = TimestampType.LOG_APPEND_TIME;

    private final Path folder;
    private final ByteArrayOutputStream segment = new ByteArrayOutputStream();
    private long base;
    private long offset;
    private long firstOfV2 = -1;

    private LegacyLogs(Path folder) throws Exception {
        this.folder = folder;
        for (File file : folder.toFile().listFiles()) {
            if (!file.getName().equals("partition.metadata")) {
                Files.delete(file.toPath());
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]);
        neverCleaned(new LegacyLogs(directory.resolve("c-legacy-0")));
        long dirty = halfCleaned(new LegacyLogs(directory.resolve("c-legacy-cleaned-0")));
        // The cleaner of an old broker has been here.
        Files.writeString(directory.resolve("cleaner-offset-checkpoint"), "0\n1\nc-legacy-cleaned 0 " + dirty + "\n");
    }

    /** A log that no cleaner has seen. */
    private static void neverCleaned(LegacyLogs log) throws Exception {
        log.add(V0, NONE, CREATED, "a=1", "b=1", "c=1", "=no key", "a=2");
        log.add(V0, GZIP, CREATED, "a=3", "b=2", "d=1", "e", "=no key");
        log.add(V0, SNAPPY, CREATED, "f=1", "g=1", "h=1");
        log.add(V0, LZ4, CREATED, "i=1", "+", "j=1", "a=4");
        log.end(1);
        log.add(V1, NONE, CREATED, "f=2", "k=1", "l", "=no key");
        log.add(V1, GZIP, CREATED, "g=2", "h=2", "m=1", "+", "b=3", "m=2");
        log.add(V1, SNAPPY, CREATED, "n=1", "o=1");
        log.add(V1, LZ4, APPENDED, "c=2", "+", "p=1", "=no key", "q");
        log.add(V1, NONE, APPENDED, "n=2", "r=1");
        log.add(V1, GZIP, APPENDED, "s=1", "t=1");
        log.end(2);
        log.add(V1, LZ4, CREATED, "o=2", "s=2", "u=1");
        log.add(V1, NONE, CREATED, "t=2");
        log.add(V2, NONE, CREATED, "u=2", "v=1", "k");
        log.add(V2, LZ4, CREATED, "w=1", "a=5", "s=3");
        // `log.message.format.version` could be set back.
        log.add(V1, SNAPPY, CREATED, "x=1", "w=2", "y");
        log.add(V2, ZSTD, APPENDED, "x=2", "v=2", "z=1");
        log.end(3);
        // What the first pass leaves alone and the second finds.
        log.add(V1, GZIP, CREATED, "a=6", "d=2", "aa=1", "bb");
        log.add(V0, NONE, CREATED, "cc=1", "e");
        log.add(V2, NONE, CREATED, "dd=1");
        log.end(4);
        log.epochs();
    }

    /**
     * A log of which a part was cleaned. Old tombstones go from segments that are older than the end of that part, and
     * stay in the others.
     */
    private static long halfCleaned(LegacyLogs log) throws Exception {
        log.add(V0, GZIP, CREATED, "a=1", "+", "b", "+", "c=1");
        log.add(V1, NONE, CREATED, "d=1", "e");
        log.end(20);
        long dirty = log.offset;
        log.add(V0, NONE, CREATED, "f", "a=2");
        log.add(V1, GZIP, CREATED, "g=1", "h", "c=2");
        log.add(V1, SNAPPY, CREATED, "i", "j");
        log.add(V1, LZ4, APPENDED, "k", "l=1");
        log.end(10);
        log.add(V1, NONE, CREATED, "m", "n=1");
        log.add(V1, LZ4, CREATED, "o", "l=2");
        log.add(V2, NONE, CREATED, "p", "q=1");
        log.end(30);
        log.add(V2, NONE, CREATED, "n=2");
        log.end(40);
        log.epochs();
        return dirty;
    }

    /** Adds a batch, or records without one; {@code +} leaves an offset out, and a key alone is a tombstone. */
    private void add(byte magic, Compression codec, TimestampType type, String... records) {
        if (magic == V2 && firstOfV2 < 0) {
            firstOfV2 = offset;
        }
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 16), magic, codec,
            magic == V0 ? TimestampType.NO_TIMESTAMP_TYPE : type, offset, TIME + offset, magic == V2 ? 0 : -1);
        for (String record : records) {
            if (!record.equals("+")) {
                List<String> parts = List.of(record.split("=", 2));
                String value = parts.size() < 2 ? null : "format " + magic + " " + codec.type() + " " + parts.get(1) + "x".repeat(40);
                builder.appendWithOffset(offset, magic == V0 ? RecordBatch.NO_TIMESTAMP : TIME + offset,
                    parts.get(0).isEmpty() ? null : parts.get(0).getBytes(), value == null ? null : value.getBytes());
            }
            offset++;
        }
        ByteBuffer bytes = builder.build().buffer();
        segment.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
    }

    /** Writes the segment, which was last written to so many hours after the time. */
    private void end(int hours) throws Exception {
        Path file = folder.resolve(String.format("%020d.log", base));
        Files.write(file, segment.toByteArray());
        Files.setLastModifiedTime(file, FileTime.fromMillis(TIME + hours * 3_600_000L));
        segment.reset();
        base = offset;
    }

    /** Epochs begin where format 2 does. */
    private void epochs() throws Exception {
        Files.writeString(folder.resolve("leader-epoch-checkpoint"), "0\n1\n0 " + firstOfV2 + "\n");
    }
}
