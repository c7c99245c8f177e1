//! WriteTxnMarkers (key 27), versions 1 and 2: transactions have ended, say their coordinators or an operator
//! (`kafka-transactions abort`).

use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, Str};
use ottla_coordinator::group::{Producer, TransactionResult};
use ottla_net::Answer;
use ottla_wire::messages::write_txn_markers_request::WriteTxnMarkersRequest;
use ottla_wire::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::shard::{Marked, Marker, append_marker};

/// Writes every marker into every partition it names, and answers when all of them are committed.
pub fn write_txn_markers(broker: &Arc<Broker>, call: Call, request: WriteTxnMarkersRequest) -> Answer {
    let mut written = Vec::new();
    for marker in request.markers {
        let producer_id = ProducerId(marker.producer_id);
        let told = Marker {
            producer: Producer { id: producer_id, epoch: ProducerEpoch(marker.producer_epoch) },
            coordinator_epoch: marker.coordinator_epoch,
            result: match marker.transaction_result {
                true => TransactionResult::Committed,
                false => TransactionResult::Aborted,
            },
            version: i16::from(marker.transaction_version),
        };
        for topic in marker.topics {
            for index in topic.partition_indexes {
                let index = PartitionIndex(index);
                let marked = append_marker(broker, &topic.name, index, told);
                written.push(Written { producer_id, topic: topic.name.clone(), index, marked });
            }
        }
    }
    if written.iter().any(|it| matches!(it.marked, Marked::Later(_))) {
        return Answer::later(async move {
            let mut outcomes = Outcomes::default();
            for it in written {
                let outcome = match it.marked {
                    Marked::Now(outcome) => outcome,
                    Marked::Later(future) => future.await,
                };
                outcomes.add(it.producer_id, it.topic, it.index, outcome);
            }
            call.respond(&outcomes.response)
        });
    }
    let mut outcomes = Outcomes::default();
    for it in written {
        if let Marked::Now(outcome) = it.marked {
            outcomes.add(it.producer_id, it.topic, it.index, outcome);
        }
    }
    call.respond(&outcomes.response).into()
}

/// One marker in one partition.
struct Written {
    producer_id: ProducerId,
    topic: Str,
    index: PartitionIndex,
    marked: Marked,
}

/// The answer as it grows: by producers, then by topics. Markers come in that order.
#[derive(Default)]
struct Outcomes {
    response: WriteTxnMarkersResponse,
}

impl Outcomes {
    fn add(
        &mut self,
        producer_id: ProducerId,
        topic: Str,
        index: PartitionIndex,
        outcome: Result<(), ErrorCode>,
    ) {
        let markers = &mut self.response.markers;
        let place = markers.iter().rposition(|it| it.producer_id == producer_id.get()).unwrap_or_else(|| {
            let producer_id = producer_id.get();
            markers.push(WritableTxnMarkerResult { producer_id, ..Default::default() });
            markers.len() - 1
        });
        let topics = &mut markers[place].topics;
        let place = topics.iter().rposition(|it| it.name == topic).unwrap_or_else(|| {
            topics.push(WritableTxnMarkerTopicResult { name: topic, ..Default::default() });
            topics.len() - 1
        });
        topics[place].partitions.push(WritableTxnMarkerPartitionResult {
            partition_index: index.get(),
            error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
            ..Default::default()
        });
    }
}
