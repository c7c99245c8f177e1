//! DescribeLogDirs (key 35), versions 1 to 5: the log directories, what is in them and how full they are (KIP-113,
//! KIP-827).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_net::Answer;
use ottla_storage::{DirectoryStatus, Log};
use ottla_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use ottla_wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::broker::Broker;
use crate::call::Call;

/// Describes every log directory, where the disk may be waited for.
pub fn describe_log_dirs(broker: &Arc<Broker>, call: Call, request: DescribeLogDirsRequest) -> Answer {
    let broker = broker.clone();
    Answer::later(async move {
        let host = broker.host.clone();
        host.blocking(move || {
            let results =
                broker.logs.directories().iter().map(|it| directory(&broker, &request, it)).collect();
            call.respond(&DescribeLogDirsResponse { results, ..Default::default() })
        })
        .await
    })
}

fn directory(
    broker: &Broker,
    request: &DescribeLogDirsRequest,
    status: &DirectoryStatus,
) -> DescribeLogDirsResult {
    let path = std::path::absolute(&status.path).unwrap_or_else(|_| status.path.clone());
    let log_dir = Str::from(path.display().to_string());
    if status.failure.is_some() {
        let error_code = ErrorCode::KafkaStorageError.code();
        return DescribeLogDirsResult { error_code, log_dir, ..Default::default() };
    }
    let is_here = |log: &Arc<Log>| broker.logs.directory_id(log) == Some(status.id);
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let logs = broker.logs.logs().into_iter().map(|it| (it, false));
    let futures = broker.logs.futures().into_iter().map(|it| (it, true));
    for (log, is_future) in logs.chain(futures).filter(|(log, _)| is_here(log) && is_asked(request, log)) {
        let view = log.view();
        let lag = match is_future {
            true => broker.logs.get(log.partition()).map_or(-1, |it| it.view().end.get() - view.end.get()),
            false => (view.high_watermark.get() - view.end.get()).max(0),
        };
        topics.entry(log.partition().topic.to_string()).or_default().push(DescribeLogDirsPartition {
            partition_index: log.partition().partition.get(),
            partition_size: i64::try_from(view.size()).unwrap_or(i64::MAX),
            offset_lag: lag,
            is_future_key: is_future,
            ..Default::default()
        });
    }
    let topic = |(name, partitions): (String, Vec<_>)| DescribeLogDirsTopic {
        name: Str::from(name),
        partitions,
        ..Default::default()
    };
    let bytes = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let cordoned =
        broker.settings.load().server.cordoned_directories().iter().any(|it| *it == *log_dir || it == "*");
    DescribeLogDirsResult {
        log_dir,
        topics: topics.into_iter().map(topic).collect(),
        total_bytes: status.space.map_or(-1, |it| bytes(it.total_bytes)),
        usable_bytes: status.space.map_or(-1, |it| bytes(it.usable_bytes)),
        is_cordoned: cordoned,
        ..Default::default()
    }
}

fn is_asked(request: &DescribeLogDirsRequest, log: &Log) -> bool {
    let partition = log.partition();
    request.topics.as_ref().is_none_or(|topics| {
        let of_topic = |it: &&ottla_wire::messages::describe_log_dirs_request::DescribableLogDirTopic| {
            it.topic == *partition.topic && it.partitions.contains(&partition.partition.get())
        };
        topics.iter().any(|it| of_topic(&it))
    })
}
