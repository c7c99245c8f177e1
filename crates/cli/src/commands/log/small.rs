//! The small files of partition and log directories.

use std::path::Path;

use ottla_base::{LeaderEpoch, Offset};
use ottla_host::Disk;
use ottla_raft::Election;
use ottla_storage::checkpoint_file::{fields_of, read_entries, read_offsets};
use ottla_storage::meta_properties::MetaProperties;
use ottla_storage::partition_metadata::read_topic_id;
use ottla_storage::producer_state::snapshot;
use serde_json::{Value, json};

use super::report::Report;
use super::{Dumped, Stop};

/// The longest producer snapshot that is read, as brokers do.
const PRODUCERS_BYTES_MAX: u64 = 512 << 20;
/// The longest file of a few lines.
const LINES_BYTES_MAX: u64 = 64 << 10;

/// Shows a producer snapshot.
pub(super) fn dump_producer_snapshot(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    let bytes = disk.read(path, PRODUCERS_BYTES_MAX)?;
    let producers = snapshot::decode(&bytes).map_err(|error| Stop::Unreadable(error.to_string()))?;
    for (producer_id, entry) in producers {
        let mut fields = json!({
            "producerId": producer_id.0,
            "producerEpoch": entry.epoch().0,
            "coordinatorEpoch": entry.coordinator_epoch(),
            "currentTxnFirstOffset": entry.transaction_first_offset().map(Offset::get),
            "lastTimestamp": entry.last_timestamp().get(),
        });
        if let (Some(batch), Some(fields)) = (entry.last_batch(), fields.as_object_mut()) {
            fields.insert("firstSequence".to_owned(), json!(batch.first_sequence()));
            fields.insert("lastSequence".to_owned(), json!(batch.last_sequence));
            fields.insert("lastOffset".to_owned(), json!(batch.last_offset.get()));
            fields.insert("offsetDelta".to_owned(), json!(batch.offset_delta));
            fields.insert("timestamp".to_owned(), json!(batch.timestamp.get()));
        }
        report.entry("producer", fields)?;
    }
    Ok(())
}

/// Shows the epochs of a partition's leaders.
pub(super) fn dump_leader_epochs(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    let parse = |line: &str| {
        let [epoch, start] = fields_of(line)?;
        Some((LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?)))
    };
    let mut before: Option<(LeaderEpoch, Offset)> = None;
    for (epoch, start) in read_entries(disk, path, parse)? {
        report.entry("epoch", json!({"epoch": epoch.get(), "startOffset": start.get()}))?;
        if before.is_some_and(|it| it.0 >= epoch || it.1 >= start) {
            report.problem(format!("epoch {epoch} from offset {start} on is out of order"))?;
        }
        before = Some((epoch, start));
    }
    Ok(())
}

/// Shows a checkpoint of a log directory: an offset of each partition.
pub(super) fn dump_offsets(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    for (partition, offset) in read_offsets(disk, path)? {
        let fields =
            json!({"topic": partition.topic, "partition": partition.partition.get(), "offset": offset.get()});
        report.entry("partition", fields)?;
        if offset < Offset::ZERO {
            report.problem(format!("the offset of {partition} is negative"))?;
        }
    }
    Ok(())
}

/// Shows who a log directory is.
pub(super) fn dump_meta_properties(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    if let Some(properties) = MetaProperties::read(disk, path.parent().unwrap_or(Path::new(".")))? {
        let fields = json!({
            "version": properties.version.number(),
            "cluster.id": properties.cluster_id,
            "node.id": properties.node_id.map(|it| it.get()),
            "directory.id": properties.directory_id.map(|it| it.to_string()),
        });
        report.entry("properties", fields)?;
    }
    Ok(())
}

/// Shows of which topic a partition is.
pub(super) fn dump_partition_metadata(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    let topic_id = read_topic_id(disk, path.parent().unwrap_or(Path::new(".")))?;
    Ok(report.entry("partition", json!({"topic_id": topic_id.map(|it| it.to_string())}))?)
}

/// Shows what a voter remembers of elections.
pub(super) fn dump_quorum_state(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    let text = read_text(disk, path)?;
    let election = Election::from_text(&text).map_err(|error| Stop::Unreadable(error.to_string()))?;
    let fields = json!({
        "leaderEpoch": election.epoch.get(),
        "leaderId": election.leader.map(|it| it.get()),
        "votedId": election.voted.map(|it| it.id.get()),
        "votedDirectoryId": election.voted.map(|it| it.directory.to_string()),
    });
    Ok(report.entry("election", fields)?)
}

/// Shows which broker stopped cleanly.
pub(super) fn dump_clean_shutdown(disk: &Disk, path: &Path, report: &mut Report) -> Dumped {
    let text = read_text(disk, path)?;
    if text.is_empty() {
        return Ok(report.note("A broker older than Kafka 3.7 stopped cleanly.")?);
    }
    let said: Value = serde_json::from_str(&text).map_err(|error| Stop::Unreadable(error.to_string()))?;
    if said.get("brokerEpoch").and_then(Value::as_i64).is_none() {
        report.problem("brokerEpoch is missing")?;
    }
    Ok(report.entry("shutdown", said)?)
}

fn read_text(disk: &Disk, path: &Path) -> Result<String, Stop> {
    let bytes = disk.read(path, LINES_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|error| Stop::Unreadable(error.to_string()))
}
