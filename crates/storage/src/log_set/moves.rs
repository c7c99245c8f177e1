//! Moving logs between log directories: copies begun, advanced, promoted, given up, and settled after a stop (KIP-113).
//!
//! The copy is `<topic>-<n>.<id>-future`; when it takes the place of the log, that becomes `<topic>-<n>.<id>-delete`
//! first. So a start that finds both knows that the copy had everything, and goes on where the last process stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Offset, Uuid};

use super::{Entry, LogDirectory, LogSet, LogSetError};
use crate::error::StorageError;
use crate::file_names::{DirectoryStanding, TopicPartition, directory_name, renamed_as_deleted};
use crate::files::Directory;
use crate::log::{LastShutdown, Log, OpenLog};

/// What became of a wish to move a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// A copy is there now, and is to be advanced.
    Begun,
    /// It is under way already.
    UnderWay,
    /// The log is where it should be; a copy on the way elsewhere was given up.
    Done,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep {
    /// So many bytes were copied, and there may be more.
    Copied(u32),
    /// It has what the log had a moment ago.
    Level,
    /// There is nothing to copy, or nowhere.
    Over,
}

impl LogSet {
    /// Wishes a log to be in another log directory, named by its path. The wish for a log that is not here is
    /// remembered until it is made. Blocks.
    pub fn begin_move(&self, partition: &TopicPartition, path: &Path) -> Result<Move, LogSetError> {
        let mut changes = self.changes.lock();
        let absent = || LogSetError::NoDirectory(partition.clone());
        let target = self.directories.iter().find(|it| it.directory.path() == path).ok_or_else(absent)?;
        let Some(entry) = self.logs.read().get(partition).cloned() else {
            self.prefer(&mut changes, partition, path);
            return Err(absent());
        };
        let copy = self.futures.read().get(partition).cloned();
        let is_in = |log: &Log| Arc::ptr_eq(log.directory(), &target.directory);
        if copy.as_ref().is_some_and(|it| is_in(it)) {
            return Ok(Move::UnderWay);
        }
        drop(changes);
        self.give_up_move(partition)?;
        if is_in(&entry.log) {
            return Ok(Move::Done);
        }
        // With a directory offline there may be another copy in it (`LogManager.getOrCreateLog`).
        for it in &self.directories {
            it.directory.check()?;
        }
        self.make_copy(partition, &entry, target)?;
        Ok(Move::Begun)
    }

    fn make_copy(
        &self,
        partition: &TopicPartition,
        entry: &Entry,
        target: &LogDirectory,
    ) -> Result<(), StorageError> {
        let _changes = self.changes.lock();
        let name = directory_name(partition, DirectoryStanding::Future, self.host.random_uuid());
        let copy = Log::open(OpenLog {
            host: self.host.clone(),
            directory: target.directory.clone(),
            open_files: self.open_files.clone(),
            partition: partition.clone(),
            path: target.directory.path().join(name),
            config: entry.log.config(),
            producers: *self.producers.lock(),
            last_shutdown: LastShutdown::Unclean,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            cleaned: None,
        })?;
        if let Some(topic_id) = entry.topic_id {
            copy.draft_topic_id(topic_id)?;
        }
        tracing::info!(%partition, from = %entry.log.path().display(), to = %copy.path().display(), "moving a log");
        self.futures.write().insert(partition.clone(), copy);
        Ok(())
    }

    /// Copies up to about so many bytes more. Blocks.
    pub fn advance_move(&self, partition: &TopicPartition, max_bytes: u32) -> Result<CopyStep, StorageError> {
        let copy = self.futures.read().get(partition).cloned();
        let (Some(copy), Some(log)) = (copy, self.get(partition)) else { return Ok(CopyStep::Over) };
        if copy.view().end == log.view().end && copy.view().end >= log.view().local_start() {
            return Ok(CopyStep::Level);
        }
        let bytes = copy.copy_from(&log, max_bytes)?;
        Ok(if bytes == 0 { CopyStep::Level } else { CopyStep::Copied(bytes) })
    }

    /// Makes what a copy has durable. Blocks.
    pub fn flush_move(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        let copy = self.futures.read().get(partition).cloned();
        copy.map_or(Ok(()), |it| it.flush_now())
    }

    /// Where a log is being moved: the id of the log directory.
    pub fn move_target(&self, partition: &TopicPartition) -> Option<Uuid> {
        let copy = self.futures.read().get(partition).cloned()?;
        self.directory_id(&copy)
    }

    /// Puts a copy in the place of its log, copying what is left while appends are held; call it when the copy is
    /// level. `promoted` gets the log before anybody can append to it. Says whether there was one. Blocks.
    pub fn finish_move(
        &self,
        partition: &TopicPartition,
        promoted: impl FnOnce(&Arc<Log>),
    ) -> Result<bool, StorageError> {
        let mut changes = self.changes.lock();
        let copy = self.futures.read().get(partition).cloned();
        let entry = self.logs.read().get(partition).cloned();
        let (Some(copy), Some(entry), false) = (copy, entry, self.is_stopped()) else { return Ok(false) };
        copy.directory().check()?;
        if changes.checkpoints_stale {
            // A checkpoint may tell of a log of this name that was there before.
            self.write_checkpoints();
            changes.checkpoints_stale = false;
        }
        copy.flush_now()?;
        let current = directory_name(partition, DirectoryStanding::Current, Uuid::ZERO);
        let deleted = file_name(&copy.path()).and_then(renamed_as_deleted);
        let Some(deleted) = deleted else { return Ok(false) };
        let old_path = entry.log.path();
        let taken = copy.take_place_of(&entry.log, (&current, &deleted), || {
            let entry = Entry { log: copy.clone(), topic_id: entry.topic_id };
            self.logs.write().insert(partition.clone(), entry);
            self.futures.write().remove(partition);
            promoted(&copy);
        });
        if entry.log.path() == old_path {
            return taken.map(|()| true);
        }
        changes.checkpoints_stale = true;
        if let Err(error) = taken {
            // Neither has its name for certain: the next start finds out.
            self.logs.write().remove(partition);
            self.futures.write().remove(partition);
            copy.close();
            return Err(error);
        }
        self.write_checkpoints();
        changes.checkpoints_stale = false;
        let due = self.host.now() + Duration::from_millis(copy.config().file_delete_delay_ms);
        changes.deleted.push_back((due, entry.log.directory().clone(), entry.log.path().to_path_buf()));
        tracing::info!(%partition, path = %copy.path().display(), "moved a log");
        Ok(true)
    }

    /// Gives up moving a log. Says whether it was being moved. Blocks.
    pub fn give_up_move(&self, partition: &TopicPartition) -> Result<bool, StorageError> {
        let mut changes = self.changes.lock();
        let Some(copy) = self.futures.write().remove(partition) else { return Ok(false) };
        copy.close();
        if copy.directory().failure().is_none() {
            copy.rename(&directory_name(partition, DirectoryStanding::Delete, self.host.random_uuid()))?;
            let due = self.host.now() + Duration::from_millis(copy.config().file_delete_delay_ms);
            changes.deleted.push_back((due, copy.directory().clone(), copy.path().to_path_buf()));
        }
        tracing::info!(%partition, path = %copy.path().display(), "gave up moving a log");
        Ok(true)
    }

    /// After loading: ends what the last process was in the middle of. Blocks.
    pub(super) fn settle_moves(&self) {
        let copies: Vec<(TopicPartition, Arc<Log>)> =
            self.futures.read().iter().map(|(partition, log)| (partition.clone(), log.clone())).collect();
        for (partition, copy) in copies {
            let entry = self.logs.read().get(&partition).cloned();
            let settled = match entry {
                Some(entry) => self.settle_copy(&partition, &copy, &entry),
                None => self.settle_promotion(&partition, &copy),
            };
            match settled {
                Ok(()) | Err(StorageError::Offline { .. }) => {}
                Err(error) => {
                    tracing::error!(%partition, %error, "a copy that was being moved is left alone")
                }
            }
        }
    }

    /// What the log lost with an unclean stop, its copy must not have.
    fn settle_copy(
        &self,
        partition: &TopicPartition,
        copy: &Arc<Log>,
        entry: &Entry,
    ) -> Result<(), StorageError> {
        let topic_id = self.topic_id_of(copy.directory(), &copy.path())?;
        if topic_id.is_some() && entry.topic_id.is_some() && topic_id != entry.topic_id {
            tracing::warn!(%partition, path = %copy.path().display(), "a copy is of another topic of the same name");
            return self.give_up_move(partition).map(|_| ());
        }
        let end = entry.log.view().end;
        if copy.view().end > end { copy.truncate_to(end) } else { Ok(()) }
    }

    /// A copy without a log has everything if the log was marked as deleted for its sake.
    fn settle_promotion(&self, partition: &TopicPartition, copy: &Arc<Log>) -> Result<(), StorageError> {
        let mut changes = self.changes.lock();
        let deleted = file_name(&copy.path()).and_then(renamed_as_deleted);
        let is_source = |it: &(_, Arc<Directory>, PathBuf)| file_name(&it.2) == deleted.as_deref();
        if self.damaged.read().contains_key(partition) || !changes.deleted.iter().any(is_source) {
            let path = copy.path();
            tracing::warn!(%partition, path = %path.display(), "a copy of a log that is not here is left alone");
            return Ok(());
        }
        if changes.checkpoints_stale {
            self.write_checkpoints();
        }
        copy.flush_now()?;
        copy.rename(&directory_name(partition, DirectoryStanding::Current, Uuid::ZERO))?;
        copy.directory().sync_names(&self.host.disk())?;
        copy.promote();
        let topic_id = self.topic_id_of(copy.directory(), &copy.path())?;
        self.futures.write().remove(partition);
        self.logs.write().insert(partition.clone(), Entry { log: copy.clone(), topic_id });
        changes.checkpoints_stale = true;
        tracing::info!(%partition, path = %copy.path().display(), "moved a log, as the last process had begun to");
        Ok(())
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}
