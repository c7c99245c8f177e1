//! ListOffsets (key 2), versions 1 to 11: offsets by time, and those with a name.
//!
//! Names are negative timestamps: -1 latest, -2 earliest, -3 of the highest timestamp (KIP-734), -4 earliest on this
//! broker (KIP-405), -5 latest tiered (KIP-1005), -6 earliest waiting to be tiered (KIP-1023). Without tiered storage
//! nothing is tiered: -4 is the earliest offset and -5 none. Looking a time up may read from the disk and is done
//! where that may be, after the part of the log that is tiered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Offset, Str, Timestamp};
use ottla_net::Answer;
use ottla_storage::{ReadLimit, TimestampedOffset};
use ottla_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use ottla_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::partition::Partition;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Which version first knows which name.
const FIRST_VERSIONS: [(i64, i16); 4] =
    [(MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_PENDING_UPLOAD, 11)];

/// Which version first tells epochs: a message of an earlier one has no place for them.
const FIRST_WITH_EPOCHS: i16 = 4;
const NO_EPOCH: i32 = -1;
/// Which version first tells how long the answer may take (KIP-1075).
const FIRST_WITH_TIMEOUT: i16 = 10;

const READ_COMMITTED: i8 = 1;
const CONSUMER: i32 = -1;

/// An offset as it is answered.
#[derive(Clone, Copy)]
struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

impl From<&TimestampedOffset> for Found {
    fn from(it: &TimestampedOffset) -> Found {
        Found {
            offset: it.offset.get(),
            timestamp: it.timestamp.get(),
            leader_epoch: it.leader_epoch.map_or(-1, |it| it.get()),
        }
    }
}

const NOTHING: Found = Found { offset: -1, timestamp: -1, leader_epoch: -1 };

/// Looks every partition's offset up: names at once, times where the disk may be waited for.
pub fn list_offsets(broker: &Arc<Broker>, call: Call, request: ListOffsetsRequest) -> Answer {
    let limit = match (request.replica_id, request.isolation_level) {
        (CONSUMER, READ_COMMITTED) => ReadLimit::LastStable,
        (CONSUMER, _) => ReadLimit::HighWatermark,
        _ => ReadLimit::End,
    };
    let reads = |it: &ListOffsetsPartition| it.timestamp >= 0 || it.timestamp == MAX_TIMESTAMP;
    if !request.topics.iter().flat_map(|it| &it.partitions).any(reads) {
        let response = answer(broker, &call, request, limit, &FoundInTier::new());
        return call.respond(&response).into();
    }
    let broker = broker.clone();
    Answer::later(async move {
        let host = broker.host.clone();
        let tiered = look_into_tier(&broker, &call, &request).await;
        host.blocking(move || {
            let response = answer(&broker, &call, request, limit, &tiered);
            call.respond(&response)
        })
        .await
    })
}

/// What was found in tiered storage of the partitions that have something there and nowhere else, by topic and number.
type FoundInTier = BTreeMap<(Str, i32), Result<TimestampedOffset, ErrorCode>>;

/// All partitions are looked into at once: one whose objects are not answered for holds up no other.
async fn look_into_tier(broker: &Arc<Broker>, call: &Call, request: &ListOffsetsRequest) -> FoundInTier {
    let (mut found, mut looking) = (FoundInTier::new(), Vec::new());
    let Some(tier) = broker.tier.get() else { return found };
    let own = broker.settings.load().server.tiered.remote_list_offsets_request_timeout_ms;
    let limit_ms = if call.version >= FIRST_WITH_TIMEOUT { i64::from(request.timeout_ms) } else { own };
    let limit = Duration::from_millis(u64::try_from(limit_ms).unwrap_or(0));
    for topic in &request.topics {
        for asked in topic.partitions.iter().filter(|it| it.timestamp >= 0) {
            let Ok(partition) = broker.find_partition(&topic.name, asked.partition_index) else { continue };
            let log = partition.log();
            let view = log.view();
            let is_tiered = log.config().tiering.is_some() && view.log_start < view.local_start();
            if !is_tiered || partition.leader_epoch(asked.current_leader_epoch).is_err() {
                continue;
            }
            let (tier, looker, timestamp) = (tier.clone(), broker.clone(), Timestamp(asked.timestamp));
            let look = async move { tier.find_timestamp(&looker, &partition, timestamp, limit).await };
            looking.push(((topic.name.clone(), asked.partition_index), broker.host.spawn(look)));
        }
    }
    for (partition, look) in looking {
        let looked = look.await.unwrap_or(Err(ErrorCode::UnknownServerError));
        found.extend(looked.transpose().map(|it| (partition, it)));
    }
    found
}

fn answer(
    broker: &Broker,
    call: &Call,
    request: ListOffsetsRequest,
    limit: ReadLimit,
    tiered: &FoundInTier,
) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let repeated =
            |index: i32| topic.partitions.iter().filter(|it| it.partition_index == index).count() > 1;
        // A partition that is asked for twice is refused once.
        let is_first =
            |place: usize, index: i32| topic.partitions[..place].iter().all(|it| it.partition_index != index);
        let asked = topic.partitions.iter().enumerate();
        let asked = asked.filter(|(place, it)| is_first(*place, it.partition_index));
        let partitions = asked.map(|(_, asked)| {
            let found = if repeated(asked.partition_index) {
                Err(ErrorCode::InvalidRequest)
            } else {
                match tiered.get(&(topic.name.clone(), asked.partition_index)) {
                    Some(found) => found.map(|it| Found::from(&it)),
                    None => find(broker, call.version, &topic.name, asked, limit),
                }
            };
            let (error, found) = match found {
                Ok(found) => (ErrorCode::None, found),
                Err(code) => (code, NOTHING),
            };
            ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code: error.code(),
                timestamp: found.timestamp,
                offset: found.offset,
                leader_epoch: if call.version < FIRST_WITH_EPOCHS { NO_EPOCH } else { found.leader_epoch },
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions, ..Default::default() }
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

fn find(
    broker: &Broker,
    version: i16,
    topic: &str,
    asked: &ListOffsetsPartition,
    limit: ReadLimit,
) -> Result<Found, ErrorCode> {
    let too_new = FIRST_VERSIONS.iter().any(|(name, first)| asked.timestamp == *name && version < *first);
    if too_new || asked.timestamp < EARLIEST_PENDING_UPLOAD {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let partition = broker.find_partition(topic, asked.partition_index)?;
    partition.leader_epoch(asked.current_leader_epoch)?;
    lookup(&partition, asked.timestamp, limit).map_err(|error| {
        tracing::error!(partition = %partition, %error, "an offset could not be looked up");
        error.error_code()
    })
}

fn lookup(
    partition: &Partition,
    timestamp: i64,
    limit: ReadLimit,
) -> Result<Found, ottla_storage::StorageError> {
    let log = partition.log();
    let view = log.view();
    let at = |offset: Offset| Found {
        offset: offset.get(),
        timestamp: -1,
        leader_epoch: log.with_epochs(|it| it.epoch_of(offset)).map_or(-1, |it| it.get()),
    };
    let found = match timestamp {
        LATEST => Found { leader_epoch: partition.leadership().leader_epoch.get(), ..at(view.limit(limit)) },
        EARLIEST => at(view.log_start),
        EARLIEST_LOCAL => at(view.local_start()),
        LATEST_TIERED => match log.tiered_end() {
            Some(end) if log.config().tiering.is_some() => at(end.after(-1)),
            _ => NOTHING,
        },
        EARLIEST_PENDING_UPLOAD if log.config().tiering.is_some() => match log.tiered_end() {
            Some(end) => at(end.max(view.log_start)),
            // What is there may have been tiered, which is not known yet.
            None if view.local_start() > view.log_start => NOTHING,
            None => at(view.log_start),
        },
        EARLIEST_PENDING_UPLOAD => NOTHING,
        _ => {
            let found = match timestamp {
                MAX_TIMESTAMP => log.offset_of_max_timestamp()?,
                _ => log.offset_for_timestamp(Timestamp(timestamp))?,
            };
            // What the caller may not read yet is not found.
            let found = found.filter(|it| it.offset < view.limit(limit));
            found.map_or(NOTHING, |it| Found::from(&it))
        }
    };
    Ok(found)
}
