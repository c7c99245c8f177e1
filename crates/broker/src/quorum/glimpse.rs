//! A look at the metadata log without opening it: nothing is repaired, written or removed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ottla_base::{NodeId, Offset, Uuid};
use ottla_host::Host;
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{Image, Replay};
use ottla_raft::{Membership, OffsetAndEpoch, ReplicaKey, SnapshotFile, VoterSet, control_records};
use ottla_record::BatchView;
use ottla_storage::dump::walk_batches;
use ottla_storage::file_names::{FileName, SegmentFile, Standing};

use super::metadata_log::path_in;
use super::{QuorumError, raft_config, recover};

/// The cluster as its metadata log has it.
pub(crate) struct Glimpse {
    /// The state at the end of the log, or what the cluster is to begin with.
    pub(crate) image: Image,
    /// `kraft.version` in force.
    pub(crate) kraft_version: i16,
    /// The voters in force.
    pub(crate) voters: VoterSet,
    /// Where the log ends.
    pub(crate) end: Offset,
}

impl Glimpse {
    /// Why this node cannot take part in the quorum, if it cannot. A directory without an id would get one.
    pub(crate) fn unsupported(&self, node: NodeId, directory_id: Uuid) -> Option<String> {
        super::unsupported_voters(&self.voters, ReplicaKey::new(node, directory_id))
    }
}

/// Looks; nothing if there is no metadata log yet. What a crash may have torn off the end is passed over.
pub(crate) fn glimpse(
    host: &Host,
    settings: &ServerSettings,
    directory: &Path,
    directory_id: Uuid,
) -> Result<Option<Glimpse>, QuorumError> {
    let path = path_in(directory);
    let on_disk = || QuorumError::disk(&path);
    if !host.disk().exists(&path).map_err(on_disk())? {
        return Ok(None);
    }
    let (_, static_voters) = raft_config(settings, directory_id)?;
    let (mut snapshots, mut segments) = (BTreeMap::new(), BTreeMap::<Offset, PathBuf>::new());
    for entry in host.disk().list(&path).map_err(on_disk())? {
        if let Some(SnapshotFile::Whole(id)) = SnapshotFile::of_name(&entry.name) {
            snapshots.insert(id, host.disk().metadata(path.join(&entry.name)).map_err(on_disk())?.len);
        }
        let live = |it: &FileName| it.kind == SegmentFile::Log && it.standing == Standing::Live;
        if let Some(name) = FileName::parse(&entry.name).filter(live) {
            segments.insert(name.base, path.join(&entry.name));
        }
    }
    let mut bootstrap = recover::read_bootstrap_file(host, directory)?;
    let mut membership = Membership::new(static_voters);
    let (replay, applied) = recover::load_snapshot(host, &path, &snapshots, &mut membership, &mut bootstrap)?;
    let mut reading = Reading { membership, replay, end: applied.offset, wrong: None };
    for segment in segments.values() {
        let walked = walk_batches(host, segment, |_, bytes| reading.take(applied, bytes));
        walked.map_err(QuorumError::from)?;
        if let Some(reason) = reading.wrong.take() {
            return Err(QuorumError::Corrupt { path: segment.clone(), reason });
        }
    }
    let Reading { membership, mut replay, end, .. } = reading;
    if replay.image().features.metadata_version.is_none() {
        for fact in bootstrap.iter().flatten() {
            replay.apply(fact)?;
        }
    }
    Ok(Some(Glimpse {
        image: replay.image().clone(),
        kraft_version: membership.last_kraft_version().level(),
        voters: membership.last_voters().clone(),
        end,
    }))
}

/// A log that is being read.
struct Reading {
    membership: Membership,
    replay: Replay,
    end: Offset,
    wrong: Option<String>,
}

impl Reading {
    fn take(&mut self, applied: OffsetAndEpoch, bytes: &[u8]) -> ControlFlow<()> {
        let batch = match BatchView::new(bytes) {
            Ok(batch) if batch.verify_crc().is_ok() => batch,
            // A start decides whether that is damage or what a crash left.
            _ => return ControlFlow::Break(()),
        };
        if batch.base_offset() < applied.offset {
            return ControlFlow::Continue(());
        }
        match self.apply(&batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(reason) => {
                self.wrong = Some(reason);
                ControlFlow::Break(())
            }
        }
    }

    fn apply(&mut self, batch: &BatchView<'_>) -> Result<(), String> {
        let control = control_records(batch).map_err(|error| error.to_string())?;
        control.into_iter().for_each(|(offset, record)| self.membership.apply(offset, record));
        for fact in recover::facts_of(batch)? {
            self.replay.apply(&fact).map_err(|error| error.to_string())?;
        }
        self.end = batch.end_offset();
        Ok(())
    }
}
