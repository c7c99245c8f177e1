//! DeleteRecords (key 21), versions 0 to 2: moves the log start, -1 to the high watermark (KIP-107).

use std::sync::Arc;

use ottla_base::{ErrorCode, Offset};
use ottla_net::Answer;
use ottla_storage::LogStartReason;
use ottla_wire::messages::delete_records_request::DeleteRecordsRequest;
use ottla_wire::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::topic;

const TO_HIGH_WATERMARK: i64 = -1;

/// Deletes what is below the asked offsets, where the disk may be waited for.
pub fn delete_records(broker: &Arc<Broker>, call: Call, request: DeleteRecordsRequest) -> Answer {
    let broker = broker.clone();
    Answer::later(async move {
        let host = broker.host.clone();
        host.blocking(move || {
            let topics = request.topics.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    let deleted = delete(&broker, &topic.name, asked.partition_index, asked.offset);
                    DeleteRecordsPartitionResult {
                        partition_index: asked.partition_index,
                        low_watermark: deleted.map_or(-1, Offset::get),
                        error_code: deleted.err().unwrap_or_default().code(),
                        ..Default::default()
                    }
                });
                let partitions = partitions.collect();
                DeleteRecordsTopicResult { name: topic.name, partitions, ..Default::default() }
            });
            call.respond(&DeleteRecordsResponse { topics: topics.collect(), ..Default::default() })
        })
        .await
    })
}

fn delete(broker: &Broker, name: &str, index: i32, offset: i64) -> Result<Offset, ErrorCode> {
    if topic::is_internal(name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = broker.find_partition(name, index)?;
    partition.leader_epoch(-1)?;
    if !partition.may_delete_records() {
        return Err(ErrorCode::PolicyViolation);
    }
    let view = partition.log().view();
    let start = match offset {
        TO_HIGH_WATERMARK => view.high_watermark,
        below if below < 0 => return Err(ErrorCode::OffsetOutOfRange),
        offset => Offset(offset),
    };
    if start > view.high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    partition
        .log()
        .advance_log_start(start, LogStartReason::ClientRecordDeletion)
        .map_err(|error| error.error_code())
}
