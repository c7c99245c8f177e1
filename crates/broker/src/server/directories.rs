//! The directories of a server: known by their ids, locked, and the logs in them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{BrokerEpoch, NodeId, Str, Uuid};
use ottla_host::disk::FileLock;
use ottla_host::{Disk, Host};
use ottla_metadata::Image;
use ottla_metadata::controller::{FeatureLevels, Options, TopicDeletion};
use ottla_metadata::settings::ServerSettings;
use ottla_storage::log_directory::lock_log_directory;
use ottla_storage::{
    Directory, DirectoryOptions, FLUSH_CHECK_INTERVAL, FoundLog, Intervals, LogSet, LogSetOptions,
    OPEN_FILES_MAX, OpenFiles, Progress, TopicPartition,
};

use super::StartError;
use crate::config::BrokerSettings;
use crate::quorum;
use crate::readiness::{Claim, Finding, Weight};
use crate::settings_change;

/// The directories of a server: no other process may use them.
pub(super) struct LockedDirectories {
    pub(super) cluster_id: Str,
    pub(super) metadata_directory_id: Uuid,
    log_directories: Vec<DirectoryOptions>,
    _locks: Vec<FileLock>,
}

/// Reads what every directory was formatted with, and locks them all. A log directory whose disk fails is offline from
/// the beginning, as long as it is not that of the metadata (`LogManager.lockLogDirs`).
pub(super) fn lock(host: &Host, settings: &BrokerSettings) -> Result<LockedDirectories, StartError> {
    let mut claim = Claim::default();
    claim.read(&host.disk(), settings)?;
    let locks = take_locks(&mut claim, &host.disk())?;
    give_ids(&mut claim, host)?;
    let id = |path: &Path| claim.id(path).unwrap_or_default();
    let directories = settings.log_directories().map(|path| DirectoryOptions {
        path: path.to_owned(),
        id: id(path),
        failure: claim.failed.get(path).cloned(),
    });
    Ok(LockedDirectories {
        cluster_id: claim.cluster_id().map(Str::from).unwrap_or_default(),
        metadata_directory_id: id(&claim.metadata),
        log_directories: directories.collect(),
        _locks: locks,
    })
}

/// Locks what can be used. Refused while another process has one of them.
fn take_locks(claim: &mut Claim, disk: &Disk) -> Result<Vec<FileLock>, Finding> {
    let mut locks = Vec::new();
    for path in claim.usable.keys().cloned().collect::<Vec<_>>() {
        match lock_log_directory(disk, &path) {
            Ok(lock) => locks.push(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Finding::new(Weight::Refusal, path.display().to_string(), error.to_string()));
            }
            Err(error) => claim.fail(&path, &error)?,
        }
    }
    Ok(locks)
}

/// Gives ids to directories that a release before 3.7 formatted.
fn give_ids(claim: &mut Claim, host: &Host) -> Result<(), Finding> {
    let mut failures = Vec::new();
    for (path, meta) in &mut claim.usable {
        if meta.directory_id.is_none() {
            meta.directory_id = Some(host.random_uuid());
            if let Err(error) = meta.write(&host.disk(), path, host.wall_clock()) {
                failures.push((path.clone(), error));
            }
        }
    }
    failures.into_iter().try_for_each(|(path, error)| claim.fail(&path, &error))
}

/// The logs of a server, and which there were when they were opened.
pub(super) struct OpenLogs {
    /// The epoch of the last process, if all directories say that it stopped cleanly.
    pub(super) previous_epoch: BrokerEpoch,
    pub(super) logs: Arc<LogSet>,
    /// Whose logs there were, and the topics they said they belong to.
    pub(super) found: Vec<(TopicPartition, Option<Uuid>)>,
}

impl LockedDirectories {
    /// Opens every log, recovering those of a process that did not stop cleanly. `image` knows the topics: compacted
    /// logs may have gaps that would be damage in others.
    pub(super) async fn open_logs(
        &self,
        host: &Host,
        settings: &BrokerSettings,
        image: Arc<Image>,
    ) -> Result<OpenLogs, StartError> {
        let options = log_set_options(host, settings, self.log_directories.clone(), image);
        let (logs, found) =
            LogSet::open(options).await.map_err(|error| StartError::Settings(error.to_string()))?;
        logs.cordon(settings_change::cordoned_paths(settings));
        let described = |it: FoundLog| (it.log.partition().clone(), it.topic_id);
        Ok(OpenLogs {
            previous_epoch: found.last_broker_epoch.unwrap_or(BrokerEpoch(-1)),
            logs,
            found: found.logs.into_iter().map(described).collect(),
        })
    }

    /// What the quorum needs: its own directory, and what the controller knows from the settings.
    pub(super) fn quorum(&self, host: &Host, settings: &BrokerSettings) -> quorum::Start {
        let server = &settings.server;
        quorum::Start {
            host: host.clone(),
            settings: server.clone(),
            directory: Arc::new(Directory::new(settings.metadata_directory(), Arc::new(Progress::new()))),
            open_files: Arc::new(OpenFiles::new(METADATA_OPEN_FILES)),
            cluster_id: self.cluster_id.to_string(),
            directory_id: self.metadata_directory_id,
            controller: Arc::new(controller_options(settings, &self.cluster_id)),
        }
    }
}

fn controller_options(settings: &BrokerSettings, cluster_id: &Str) -> Options {
    let server = &settings.server;
    let ms = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
    let replication = &server.replication;
    let balance = ms(replication.leader_imbalance_check_interval_seconds.saturating_mul(1000));
    Options {
        node: settings.node_id(),
        cluster_id: cluster_id.clone(),
        settings: settings.layers.fixed().clone(),
        server: server.clone(),
        default_partitions: server.general.num_partitions,
        default_replication_factor: i16::try_from(server.general.default_replication_factor).unwrap_or(1),
        topic_deletion: match server.general.delete_topic_enable {
            true => TopicDeletion::Enabled,
            false => TopicDeletion::Disabled,
        },
        session_timeout: ms(i64::from(server.quorum.broker_session_timeout_ms)),
        leader_balance_interval: replication.auto_leader_rebalance_enable.then_some(balance),
        unclean_election_interval: ms(replication.unclean_leader_election_interval_ms),
        static_controllers: static_controllers(server),
        feature_levels: match server.quorum.unstable_feature_versions_enable {
            true => FeatureLevels::Unstable,
            false => FeatureLevels::Production,
        },
    }
}

/// The ids that `controller.quorum.voters` names, as `id@host:port` each.
fn static_controllers(server: &ServerSettings) -> Vec<NodeId> {
    let id = |voter: &String| voter.split_once('@').and_then(|(id, _)| id.trim().parse().ok()).map(NodeId);
    server.quorum.controller_quorum_voters.iter().filter_map(id).collect()
}

/// How often logs are looked over at most.
const FLUSH_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How many files of sealed segments the metadata log keeps open.
const METADATA_OPEN_FILES: usize = 16;

fn log_set_options(
    host: &Host,
    settings: &BrokerSettings,
    directories: Vec<DirectoryOptions>,
    image: Arc<Image>,
) -> LogSetOptions {
    let of_topics = settings.clone();
    let log = &settings.server.log;
    let ms = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
    let transactions = &settings.server.transactions;
    LogSetOptions {
        host: host.clone(),
        directories,
        default_config: settings_change::default_log_config(settings),
        topic_configs: Arc::new(move |topic| {
            let known = image.topics.named(topic)?;
            Some(settings_change::log_config_of(&of_topics, &image, &known.name))
        }),
        producers: settings_change::producer_rules(settings),
        recovery_threads_per_directory: usize::try_from(log.num_recovery_threads_per_data_dir)
            .unwrap_or(1)
            .max(1),
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals {
            initial_delay: ms(log.log_initial_task_delay_ms),
            // Kafka's default, never, would make nothing of a topic's `flush.ms`.
            flush: match log.log_flush_scheduler_interval_ms {
                i64::MAX => FLUSH_CHECK_INTERVAL,
                interval => ms(interval).max(FLUSH_INTERVAL_MIN),
            },
            retention: ms(log.log_retention_check_interval_ms),
            recovery_point_checkpoint: ms(i64::from(log.log_flush_offset_checkpoint_interval_ms)),
            log_start_checkpoint: ms(i64::from(log.log_flush_start_offset_checkpoint_interval_ms)),
            high_watermark_checkpoint: ms(settings
                .server
                .replication
                .replica_high_watermark_checkpoint_interval_ms),
            producer_expiration: ms(i64::from(transactions.producer_id_expiration_check_interval_ms)),
        },
    }
}
