// Writes the producer snapshot, transaction index and leader-epoch checkpoint of a made-up partition with Apache
// Kafka's own classes. The tests of `crates/storage` make the same appends and compare the files.
//
//   java -cp '<jars of kafka 4.4.0>/*' GoldenProducerState.java <output directory>

import java.io.File;
import java.util.List;
import java.util.Optional;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.message.AbortedTxn;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.checkpoint.LeaderEpochCheckpointFile;
import org.apache.kafka.storage.internals.log.*;

public class GoldenProducerState {
    static ProducerStateManager producers;
    static TransactionIndex index;

    public static void main(String[] args) throws Exception {
        File directory = new File(args[0]);
        directory.mkdirs();
        TopicPartition partition = new TopicPartition("golden", 0);
        producers = new ProducerStateManager(partition, directory, 900000, new ProducerStateManagerConfig(86400000, false),
            Time.SYSTEM);
        index = new TransactionIndex(0, new File(directory, "00000000000000000000.txnindex"));
        data(1, 0, 0, 0, 4, false);
        data(1, 0, 5, 5, 6, false);
        data(2, 3, Integer.MAX_VALUE - 1, 7, 10, true);
        data(3, 0, 0, 11, 11, true);
        marker(2, 4, 12, true, 9);
        data(2, 4, 0, 13, 15, true);
        data(4, 32767, 100, 16, 16, false);
        marker(3, 0, 17, true, 9);
        marker(5, 1, 18, false, 10);
        data(1, 1, 0, 19, 19, true);
        producers.updateMapEndOffset(20);
        producers.takeSnapshot();
        index.flush();
        index.close();
        LeaderEpochCheckpointFile epochs = new LeaderEpochCheckpointFile(new File(directory, "leader-epoch-checkpoint"),
            new LogDirFailureChannel(1));
        epochs.write(List.of(new EpochEntry(0, 0), new EpochEntry(3, 7), new EpochEntry(2147483647, 9223372036854775807L)));
    }

    static void data(long id, int epoch, int sequence, long first, long last, boolean transactional) {
        ProducerAppendInfo info = producers.prepareUpdate(id, AppendOrigin.CLIENT);
        int count = (int) (last - first);
        int lastSequence = org.apache.kafka.common.record.internal.DefaultRecordBatch.incrementSequence(sequence, count);
        info.appendDataBatch((short) epoch, sequence, lastSequence, 1700000000000L + first, new LogOffsetMetadata(first), last,
            transactional);
        producers.update(info);
    }

    static void marker(long id, int epoch, long offset, boolean abort, int coordinatorEpoch) throws Exception {
        ProducerAppendInfo info = producers.prepareUpdate(id, AppendOrigin.COORDINATOR);
        EndTransactionMarker marker =
            new EndTransactionMarker(abort ? ControlRecordType.ABORT : ControlRecordType.COMMIT, coordinatorEpoch);
        Optional<CompletedTxn> completed = info.appendEndTxnMarker(marker, (short) epoch, offset, 1700000000000L + offset,
            (short) 0);
        producers.update(info);
        if (completed.isPresent()) {
            CompletedTxn txn = completed.get();
            long stable = producers.lastStableOffset(txn);
            if (txn.isAborted())
                index.append(new AbortedTxn().setProducerId(txn.producerId()).setFirstOffset(txn.firstOffset())
                    .setLastOffset(txn.lastOffset()).setLastStableOffset(stable));
            producers.completeTxn(txn);
        }
    }
}
