//! AlterReplicaLogDirs (key 34), versions 1 and 2: moves replicas of this broker to other log directories (KIP-113).
//!
//! The directory of a replica that is not here yet is remembered, and answered with `REPLICA_NOT_AVAILABLE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, Str, Uuid};
use ottla_net::Answer;
use ottla_storage::file_names::{DirectoryStanding, TopicPartition, directory_name};
use ottla_storage::{DirectoryStatus, LogSetError, Move};
use ottla_wire::messages::alter_replica_log_dirs_request::AlterReplicaLogDirsRequest;
use ottla_wire::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsResponse,
};

use crate::broker::Broker;
use crate::call::Call;

/// The longest name that file systems take.
const MAX_NAME_LEN: usize = 255;

/// Begins the moves, where the disk may be waited for; they go on in the background.
pub fn alter_replica_log_dirs(
    broker: &Arc<Broker>,
    call: Call,
    request: AlterReplicaLogDirsRequest,
) -> Answer {
    let broker = broker.clone();
    Answer::later(async move {
        let host = broker.host.clone();
        host.blocking(move || {
            let directories = broker.logs.directories();
            let mut topics: BTreeMap<Str, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
            for asked in &request.dirs {
                for topic in &asked.topics {
                    for index in &topic.partitions {
                        let code = alter(&broker, &directories, &asked.path, (&topic.name, *index));
                        let of_topic = topics.entry(topic.name.clone()).or_default();
                        of_topic.insert(*index, code.err().unwrap_or_default());
                    }
                }
            }
            broker.moves.begun();
            let partition = |(partition_index, code): (i32, ErrorCode)| AlterReplicaLogDirPartitionResult {
                partition_index,
                error_code: code.code(),
                ..Default::default()
            };
            let topic =
                |(topic_name, codes): (Str, BTreeMap<i32, ErrorCode>)| AlterReplicaLogDirTopicResult {
                    topic_name,
                    partitions: codes.into_iter().map(partition).collect(),
                    ..Default::default()
                };
            let results = topics.into_iter().map(topic).collect();
            call.respond(&AlterReplicaLogDirsResponse { results, ..Default::default() })
        })
        .await
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn alter(
    broker: &Broker,
    directories: &[DirectoryStatus],
    path: &str,
    (name, index): (&Str, i32),
) -> Result<(), ErrorCode> {
    let partition = TopicPartition::new(name.as_str(), index);
    if directory_name(&partition, DirectoryStanding::Future, Uuid::ZERO).len() > MAX_NAME_LEN {
        return Err(ErrorCode::InvalidTopicException);
    }
    // Only absolute paths are names of directories.
    let target = directories.iter().find(|it| absolute(&it.path) == Path::new(path));
    let target = target.ok_or(ErrorCode::LogDirNotFound)?;
    if target.failure.is_some() {
        return Err(ErrorCode::KafkaStorageError);
    }
    let settings = broker.settings.load();
    if settings.server.cordoned_directories().iter().any(|it| absolute(Path::new(it)) == Path::new(path)) {
        return Err(ErrorCode::InvalidReplicaAssignment);
    }
    let topic = broker.image.load().topics.id(name);
    let replica = topic.and_then(|topic| broker.partitions.get(topic, PartitionIndex(index).get()));
    if replica.is_some_and(|it| it.log().directory().failure().is_some()) {
        return Err(ErrorCode::KafkaStorageError);
    }
    match broker.logs.begin_move(&partition, &target.path) {
        Ok(Move::Begun | Move::UnderWay | Move::Done) => Ok(()),
        Err(LogSetError::NoDirectory(_)) => Err(ErrorCode::ReplicaNotAvailable),
        Err(error) => {
            tracing::warn!(%partition, path, %error, "a replica cannot be moved");
            Err(error.error_code())
        }
    }
}
