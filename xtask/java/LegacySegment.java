import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Writes a segment as brokers before 0.10 and before 0.11 did: message formats 0 and 1, plain and compressed.
 *
 * <p>The argument is the file. Kafka has no way left to write such records; clusters that have been upgraded for years
 * still have them.
 */
public final class LegacySegment {
    private static final long TIME = 1_500_000_000_000L;

    public static void main(String[] arguments) throws Exception {
        ByteArrayOutputStream file = new ByteArrayOutputStream();
        long offset = 0;
        List<Compression> codecs = List.of(Compression.NONE, Compression.gzip().build(), Compression.snappy().build(), Compression.lz4().build());
        for (byte magic : new byte[] {RecordBatch.MAGIC_VALUE_V0, RecordBatch.MAGIC_VALUE_V1}) {
            for (Compression codec : codecs) {
                for (int batch = 0; batch < 3; batch++) {
                    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 16), magic, codec,
                        batch == 2 && magic > 0 ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME, offset, TIME + offset);
                    for (int record = 0; record < 4; record++, offset++) {
                        String value = "format " + magic + " " + codec.type() + " " + "x".repeat(40 * batch);
                        builder.append(magic == 0 ? RecordBatch.NO_TIMESTAMP : TIME + offset,
                            record == 1 ? null : ("k" + record).getBytes(), record == 3 ? null : value.getBytes());
                    }
                    ByteBuffer bytes = builder.build().buffer();
                    file.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
                }
            }
        }
        Files.write(Path.of(arguments[0]), file.toByteArray());
        System.out.println("## segment\nends at " + offset);
    }
}
