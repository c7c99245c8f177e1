//! What a node finds when it starts: election state, snapshot, log, and how its cluster begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use ottla_base::{Offset, Timestamp};
use ottla_host::Host;
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{MetadataVersion, Record, Replay, bootstrap_records};
use ottla_raft::{
    Election, LogShape, Membership, OffsetAndEpoch, Recovered, SnapshotBatch, SnapshotFile, VoterSet,
    control_records, record_values,
};
use ottla_record::{BatchView, Batches, StoredBatch};
use ottla_storage::{Directory, OpenFiles};
use ottla_wire::records::metadata::MetadataRecord;

use super::metadata_log::{MetadataLog, path_in};
use super::{QuorumError, snapshot_files};

/// The longest `quorum-state` and `bootstrap.checkpoint` that are read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// What Kafka before 4.4 wrote when it formatted a directory, in the place of records in the first snapshot.
const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";

/// Records that are in the log and not known to be committed.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) end: OffsetAndEpoch,
    pub(super) timestamp: Timestamp,
    pub(super) bytes: usize,
    pub(super) facts: Vec<MetadataRecord>,
}

/// What was found, ready to start a replica.
pub(super) struct Found {
    pub(super) log: MetadataLog,
    pub(super) recovered: Recovered,
    /// The latest snapshot, read.
    pub(super) replay: Replay,
    pub(super) applied: OffsetAndEpoch,
    /// The log behind the snapshot.
    pub(super) pending: VecDeque<PendingBatch>,
    pub(super) snapshots: BTreeMap<OffsetAndEpoch, u64>,
    /// What a cluster that has no records yet begins with.
    pub(super) bootstrap: Vec<MetadataRecord>,
}

/// Reads everything. Blocks.
pub(super) fn recover(
    host: &Host,
    settings: &ServerSettings,
    directory: Arc<Directory>,
    open_files: Arc<OpenFiles>,
    static_voters: VoterSet,
) -> Result<Found, QuorumError> {
    let disk = host.disk();
    let path = path_in(directory.path());
    let on_disk = || QuorumError::disk(&path);
    snapshot_files::create_directory(&disk, &path).map_err(on_disk())?;
    let election = read_election(host, &path)?;
    let mut snapshots = snapshot_files::find(&disk, &path).map_err(on_disk())?;
    // What a snapshot covers was committed when it was taken, hence durable.
    let durable = snapshots.last_key_value().map_or(Offset::ZERO, |(id, _)| id.offset);
    let root = directory.path().to_owned();
    let log = MetadataLog::open(host, directory, open_files, settings, durable)?;
    let start = log.log.view().log_start;
    for (id, _) in snapshots.extract_if(.., |id, _| id.offset < start) {
        snapshot_files::remove(&disk, &path, SnapshotFile::Whole(id)).map_err(on_disk())?;
    }
    if start > Offset::ZERO && snapshots.is_empty() {
        return Err(log.corrupt(start, "the log begins here, but there is no snapshot of what was before"));
    }
    let last_epoch =
        log.log.with_epochs(|epochs| epochs.latest().map(|latest| latest.epoch)).unwrap_or_default();
    let end = log.log.view().end;
    // A follower crashed between fetching a snapshot and giving up the log that it replaces.
    let is_ahead = |id: &OffsetAndEpoch| id.epoch > last_epoch || id.epoch == last_epoch && id.offset > end;
    if let Some((latest, _)) = snapshots.last_key_value().filter(|(id, _)| is_ahead(id)) {
        log.log.truncate_fully(latest.offset)?;
        log.log.flush_now()?;
    }
    let mut bootstrap = read_bootstrap_file(host, &root)?;
    let mut membership = Membership::new(static_voters);
    let (replay, applied) = load_snapshot(host, &path, &snapshots, &mut membership, &mut bootstrap)?;
    let pending = read_log(&log, applied, &mut membership)?;
    let shape = shape_of(&log, snapshots.keys().copied().collect());
    let bootstrap = match bootstrap {
        Some(bootstrap) => bootstrap,
        // Nothing was written about how the cluster begins: with the newest features.
        None => bootstrap_records(MetadataVersion::LATEST_PRODUCTION, &BTreeMap::new())
            .map_err(|error| QuorumError::Log(error.to_string()))?,
    };
    let recovered = Recovered { election, log: shape, membership };
    Ok(Found { log, recovered, replay, applied, pending, snapshots, bootstrap })
}

fn read_election(host: &Host, path: &Path) -> Result<Option<Election>, QuorumError> {
    let file = path.join(Election::FILE_NAME);
    let text = match host.disk().read(&file, MAX_FILE_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(QuorumError::disk(&file)(error)),
    };
    let corrupt = |reason: String| QuorumError::Corrupt { path: file.clone(), reason };
    let text = std::str::from_utf8(&text).map_err(|error| corrupt(error.to_string()))?;
    Election::from_text(text).map(Some).map_err(|error| corrupt(error.to_string()))
}

/// How a directory that Kafka before 4.4 formatted says its cluster begins.
pub(super) fn read_bootstrap_file(
    host: &Host,
    root: &Path,
) -> Result<Option<Vec<MetadataRecord>>, QuorumError> {
    let file = root.join(BOOTSTRAP_FILE);
    let bytes = match host.disk().read(&file, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(QuorumError::disk(&file)(error)),
    };
    let corrupt = |reason: String| QuorumError::Corrupt { path: file.clone(), reason };
    let mut facts = Vec::new();
    for batch in Batches::new(&bytes) {
        let StoredBatch::V2(batch) = batch.map_err(|error| corrupt(error.to_string()))? else {
            return Err(corrupt("a batch of an old format".to_owned()));
        };
        batch.verify_crc().map_err(|error| corrupt(error.to_string()))?;
        facts.extend(facts_of(&batch).map_err(corrupt)?);
    }
    Ok(Some(facts))
}

/// The records of a batch that feed the image.
pub(super) fn facts_of(batch: &BatchView<'_>) -> Result<Vec<MetadataRecord>, String> {
    let values = record_values(batch).map_err(|error| error.to_string())?;
    let fact = |value| Record::decode(value).map(|record| record.fact).map_err(|error| error.to_string());
    values.into_iter().map(fact).collect()
}

/// Reads the latest snapshot. The one that formatting wrote is no state of a cluster but how it begins: its records
/// are written to the log by the first controller.
pub(super) fn load_snapshot(
    host: &Host,
    path: &Path,
    snapshots: &BTreeMap<OffsetAndEpoch, u64>,
    membership: &mut Membership,
    bootstrap: &mut Option<Vec<MetadataRecord>>,
) -> Result<(Replay, OffsetAndEpoch), QuorumError> {
    let Some((id, bytes)) = snapshots.last_key_value() else {
        return Ok((Replay::new(), OffsetAndEpoch::default()));
    };
    let file = snapshot_files::path_of(path, *id);
    let (replay, facts) = read_snapshot(host, &file, *id, membership)?;
    tracing::info!(snapshot = %id, bytes, "read the latest snapshot of the metadata");
    if *id == OffsetAndEpoch::BOOTSTRAP {
        // Kafka before 4.4 wrote control records only.
        if !facts.is_empty() {
            *bootstrap = Some(facts);
        }
        return Ok((Replay::new(), *id));
    }
    Ok((replay, *id))
}

/// Reads a snapshot into an image; returns the records too if it is the one that formatting wrote.
pub(super) fn read_snapshot(
    host: &Host,
    file: &Path,
    id: OffsetAndEpoch,
    membership: &mut Membership,
) -> Result<(Replay, Vec<MetadataRecord>), QuorumError> {
    let mut replay = Replay::new();
    let mut bootstrap = Vec::new();
    let look = |batch: SnapshotBatch| match batch {
        SnapshotBatch::Control(records) => {
            let offset = Offset(id.offset.0 - 1);
            records.into_iter().for_each(|record| membership.apply(offset, record));
            Ok(())
        }
        SnapshotBatch::Values(values) => {
            for value in values {
                let fact = Record::decode(value).map_err(snapshot_files::invalid)?.fact;
                replay.apply(&fact).map_err(snapshot_files::invalid)?;
                if id == OffsetAndEpoch::BOOTSTRAP {
                    bootstrap.push(fact);
                }
            }
            Ok(())
        }
    };
    let corrupt = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            QuorumError::Corrupt { path: file.to_owned(), reason: error.to_string() }
        }
        _ => QuorumError::disk(file)(error),
    };
    let reader = snapshot_files::read(&host.disk(), file, look).map_err(corrupt)?;
    reader.finish().map_err(|error| corrupt(snapshot_files::invalid(error)))?;
    Ok((replay, bootstrap))
}

/// Reads the log behind a snapshot.
fn read_log(
    log: &MetadataLog,
    applied: OffsetAndEpoch,
    membership: &mut Membership,
) -> Result<VecDeque<PendingBatch>, QuorumError> {
    let mut pending = VecDeque::new();
    let end = log.log.view().end;
    log.for_each_batch(applied.offset, end, |batch| {
        if batch.base_offset() < applied.offset {
            return Ok(());
        }
        let corrupt = |reason: String| log.corrupt(batch.base_offset(), &reason);
        let control = control_records(batch).map_err(|error| corrupt(error.to_string()))?;
        control.into_iter().for_each(|(offset, record)| membership.apply(offset, record));
        pending.push_back(PendingBatch {
            end: OffsetAndEpoch::new(batch.end_offset(), batch.partition_leader_epoch()),
            timestamp: batch.max_timestamp(),
            bytes: batch.bytes().len(),
            facts: facts_of(batch).map_err(corrupt)?,
        });
        Ok::<(), QuorumError>(())
    })?;
    Ok(pending)
}

fn shape_of(log: &MetadataLog, snapshots: BTreeSet<OffsetAndEpoch>) -> LogShape {
    let view = log.log.view();
    let epochs =
        log.log.with_epochs(|epochs| epochs.entries().iter().map(|it| (it.epoch, it.start)).collect());
    LogShape::recovered(view.log_start, view.end, epochs, snapshots)
}
