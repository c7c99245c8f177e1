// Writes record batches with Apache Kafka's own classes, and beside each what Kafka reads in it. The tests of
// `crates/record` read the result, and rebuild what is not compressed byte for byte.
//
//   java -cp '<jars of kafka 4.4.0>/*' GoldenBatches.java <output file>
//
// The file is a run of cases: name, description, batch; each with its length before it (four bytes).

import java.io.DataOutputStream;
import java.io.FileOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Random;

import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.utils.internals.ByteBufferOutputStream;
import org.apache.kafka.common.utils.internals.Crc32C;

public class GoldenBatches {
    static final Compression[] COMPRESSIONS = {
        Compression.NONE, Compression.gzip().build(), Compression.snappy().build(), Compression.lz4().build(),
        Compression.zstd().build(),
    };

    static DataOutputStream out;

    public static void main(String[] args) throws Exception {
        out = new DataOutputStream(new FileOutputStream(args[0]));
        for (Compression compression : COMPRESSIONS) {
            String name = compression.type().name;
            one(name, compression);
            nulls(name, compression);
            many(name, compression);
        }
        logAppendTime();
        transactional();
        control();
        empty();
        deleteHorizon();
        for (byte magic = 0; magic <= 1; magic++) {
            legacy(magic, TimestampType.CREATE_TIME);
        }
        legacy((byte) 1, TimestampType.LOG_APPEND_TIME);
        out.close();
    }

    static MemoryRecordsBuilder builder(Compression compression, long baseOffset, TimestampType type, long appendTime,
            long producerId, short epoch, int sequence, boolean transactional, boolean control, int leaderEpoch,
            long deleteHorizon) {
        return new MemoryRecordsBuilder(new ByteBufferOutputStream(1024), (byte) 2, compression, type, baseOffset,
            appendTime, producerId, epoch, sequence, transactional, control, leaderEpoch, Integer.MAX_VALUE,
            deleteHorizon);
    }

    static MemoryRecordsBuilder plain(Compression compression, long baseOffset) {
        return builder(compression, baseOffset, TimestampType.CREATE_TIME, -1, -1, (short) -1, -1, false, false, -1, -1);
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static void one(String name, Compression compression) throws Exception {
        MemoryRecordsBuilder builder = plain(compression, 0);
        builder.append(1700000000000L, bytes("key"), bytes("value"), new Header[0]);
        write(name + " one", builder.build());
    }

    static void nulls(String name, Compression compression) throws Exception {
        MemoryRecordsBuilder builder = plain(compression, 1L << 40);
        builder.append(5, bytes(null), bytes(null), new Header[0]);
        builder.append(3, bytes(""), bytes(null), new Header[] { new RecordHeader("name", bytes("h\u00e9")) });
        builder.append(1L << 50, bytes(null), bytes(""), new Header[] {
            new RecordHeader("", bytes("")), new RecordHeader("twice", (byte[]) null), new RecordHeader("twice", bytes("2")) });
        builder.appendWithOffset((1L << 40) + 1000, -1, bytes("gap"), bytes("before"), new Header[0]);
        write(name + " nulls", builder.build());
    }

    static void many(String name, Compression compression) throws Exception {
        Random random = new Random(42);
        int count = compression.type() == CompressionType.NONE ? 8 : 300;
        MemoryRecordsBuilder builder = builder(compression, 500, TimestampType.CREATE_TIME, -1, 4000, (short) 7,
            Integer.MAX_VALUE - 5, false, false, 3, -1);
        for (int index = 0; index < count; index++) {
            StringBuilder value = new StringBuilder();
            int words = random.nextInt(60);
            for (int word = 0; word < words; word++)
                value.append(random.nextBoolean() ? "segment" : "offset").append(random.nextInt(50)).append(' ');
            builder.append(1700000000000L + random.nextInt(10000), bytes("key-" + random.nextInt(100)),
                bytes(value.toString()), new Header[0]);
        }
        write(name + " many", builder.build());
    }

    static void logAppendTime() throws Exception {
        MemoryRecordsBuilder builder = builder(Compression.NONE, 10, TimestampType.LOG_APPEND_TIME, 1700000099999L, -1,
            (short) -1, -1, false, false, 0, -1);
        builder.append(1700000000000L, bytes("a"), bytes("1"), new Header[0]);
        builder.append(1700000000500L, bytes("b"), bytes("2"), new Header[0]);
        write("log append time", builder.build());
    }

    static void transactional() throws Exception {
        MemoryRecordsBuilder builder = builder(Compression.NONE, 77, TimestampType.CREATE_TIME, -1, 9_000_000_000L,
            Short.MAX_VALUE, 0, true, false, 12, -1);
        builder.append(1, bytes("a"), bytes("1"), new Header[0]);
        builder.append(2, bytes("b"), bytes("2"), new Header[0]);
        write("transactional", builder.build());
    }

    static void control() throws Exception {
        write("commit", MemoryRecords.withEndTransactionMarker(0, 1234567, -1, 55, (short) 4,
            new EndTransactionMarker(ControlRecordType.COMMIT, 17)));
        write("abort", MemoryRecords.withEndTransactionMarker(0, 1234567, -1, 55, (short) 4,
            new EndTransactionMarker(ControlRecordType.ABORT, -1)));
        LeaderChangeMessage message = new LeaderChangeMessage().setLeaderId(1);
        write("leader change", MemoryRecords.withLeaderChangeMessage(0, 1234567, 8, ByteBuffer.allocate(256), message));
    }

    static void empty() throws Exception {
        ByteBuffer buffer = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        DefaultRecordBatch.writeEmptyHeader(buffer, (byte) 2, 31, (short) 2, 40, 100, 109, 6, TimestampType.CREATE_TIME,
            1700000000000L, true, false);
        buffer.flip();
        write("empty", MemoryRecords.readableRecords(buffer));
    }

    static void deleteHorizon() throws Exception {
        MemoryRecordsBuilder builder = builder(Compression.NONE, 5, TimestampType.CREATE_TIME, -1, -1, (short) -1, -1,
            false, false, 2, 1700000500000L);
        builder.append(1700000000000L, bytes("tombstone"), bytes(null), new Header[0]);
        builder.append(1700000000001L, bytes("kept"), bytes("x"), new Header[0]);
        write("delete horizon", builder.build());
    }

    static void legacy(byte magic, TimestampType type) throws Exception {
        for (Compression compression : COMPRESSIONS) {
            if (compression.type() == CompressionType.ZSTD)
                continue;
            MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1024), magic, compression, type, 300,
                1700000099999L);
            int count = compression.type() == CompressionType.NONE ? 1 : 40;
            for (int index = 0; index < count; index++)
                builder.append(1700000000000L + index, bytes(index == 3 ? null : "key-" + index), bytes("value of " + index),
                    Record.EMPTY_HEADERS);
            write("v" + magic + " " + type + " " + compression.type().name, builder.build());
        }
    }

    static void write(String name, MemoryRecords records) throws Exception {
        StringBuilder text = new StringBuilder();
        MutableRecordBatch batch = records.batches().iterator().next();
        boolean legacy = batch.magic() < 2;
        text.append("magic=").append(batch.magic());
        text.append(" base=").append(batch.baseOffset()).append(" last=").append(batch.lastOffset());
        text.append(" size=").append(batch.sizeInBytes()).append(" crc=").append(batch.checksum());
        text.append(" compression=").append(batch.compressionType().name);
        text.append(" logAppendTime=").append(batch.timestampType() == TimestampType.LOG_APPEND_TIME);
        text.append(" maxTimestamp=").append(batch.maxTimestamp());
        if (!legacy) {
            text.append(" leaderEpoch=").append(batch.partitionLeaderEpoch());
            text.append(" baseTimestamp=").append(((DefaultRecordBatch) batch).baseTimestamp());
            text.append(" deleteHorizon=").append(batch.deleteHorizonMs().orElse(-1));
            text.append(" transactional=").append(batch.isTransactional()).append(" control=").append(batch.isControlBatch());
            text.append(" producer=").append(batch.producerId()).append('/').append(batch.producerEpoch());
            text.append(" sequence=").append(batch.baseSequence()).append("..").append(batch.lastSequence());
            text.append(" count=").append(batch.countOrNull());
        }
        text.append('\n');
        for (Record record : batch) {
            text.append("offset=").append(record.offset()).append(" timestamp=").append(record.timestamp());
            if (!legacy)
                text.append(" sequence=").append(record.sequence());
            text.append(" key=").append(show(record.key())).append(" value=").append(show(record.value()));
            for (Header header : record.headers())
                text.append(" header=").append(header.key()).append(':')
                    .append(show(header.value() == null ? null : ByteBuffer.wrap(header.value())));
            text.append('\n');
        }
        part(bytes(name));
        part(bytes(text.toString()));
        byte[] whole = new byte[records.buffer().remaining()];
        records.buffer().duplicate().get(whole);
        part(whole);
    }

    static String show(ByteBuffer bytes) {
        if (bytes != null && bytes.remaining() > 200)
            return "#" + bytes.remaining() + ":" + Long.toHexString(Crc32C.compute(bytes, 0, bytes.remaining()));
        return bytes == null ? "null" : "'" + StandardCharsets.ISO_8859_1.decode(bytes).chars()
            .mapToObj(c -> c >= 32 && c < 127 ? String.valueOf((char) c) : String.format("\\%02x", c))
            .reduce("", String::concat) + "'";
    }

    static void part(byte[] bytes) throws Exception {
        out.writeInt(bytes.length);
        out.write(bytes);
    }
}
