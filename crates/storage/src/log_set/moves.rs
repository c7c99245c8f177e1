//! Moving logs between log directories: copies begun, advanced, promoted, given up, and settled after a stop (KIP-113).
//!
//! The copy is `<topic>-<n>.<id>-future`; when it takes the place of the log, that becomes `<topic>-<n>.<id>-delete`
//! first. So a start that finds both knows that the copy had everything, and goes on where the last process stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Offset, Uuid};

use super::{Changes, ClosedCopy, Entry, LogDirectory, LogSet, LogSetError};
use crate::config::LogConfig;
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
        let path = target.directory.path().join(name);
        let copy = self.open_as_copy(partition, &target.directory, path, entry.log.config())?;
        if let Some(topic_id) = entry.topic_id {
            copy.draft_topic_id(topic_id)?;
        }
        tracing::info!(%partition, from = %entry.log.path().display(), to = %copy.path().display(), "moving a log");
        self.futures.write().insert(partition.clone(), copy);
        Ok(())
    }

    /// Opens or makes a copy. It has no checkpoints and is read from its start.
    fn open_as_copy(
        &self,
        partition: &TopicPartition,
        directory: &Arc<Directory>,
        path: PathBuf,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, StorageError> {
        Log::open(OpenLog {
            host: self.host.clone(),
            directory: directory.clone(),
            open_files: self.open_files.clone(),
            partition: partition.clone(),
            path,
            config,
            producers: *self.producers.lock(),
            last_shutdown: LastShutdown::Unclean,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            cleaned: None,
        })
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
        self.give_up_held(&mut self.changes.lock(), partition)
    }

    fn give_up_held(&self, changes: &mut Changes, partition: &TopicPartition) -> Result<bool, StorageError> {
        if self.discard_closed_copy(changes, partition)? {
            return Ok(true);
        }
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
        let mut changes = self.changes.lock();
        for (partition, copy) in copies {
            let entry = self.logs.read().get(&partition).cloned();
            let settled = match entry {
                Some(entry) => self.settle_copy(&mut changes, &partition, &copy, &entry),
                None => self.settle_promotion(&mut changes, &partition, &copy),
            };
            match settled {
                Ok(()) | Err(StorageError::Offline { .. }) => {}
                Err(error @ StorageError::Full { .. }) => self.close_copy(&partition, &copy, error),
                Err(error) => {
                    tracing::error!(%partition, %error, "a copy that was being moved is left alone")
                }
            }
        }
        self.keep_sources(&mut changes);
    }

    /// What a copy was made of stays until the copy can be opened: it tells that the copy has everything.
    fn keep_sources(&self, changes: &mut Changes) {
        for copy in self.closed_copies.write().values_mut() {
            if let Some(at) = source_of(changes, &copy.path) {
                copy.source = changes.deleted.remove(at).map(|(_, directory, path)| (directory, path));
            }
        }
    }

    /// Ends the use of a copy, which is to be opened later.
    fn close_copy(&self, partition: &TopicPartition, copy: &Arc<Log>, error: StorageError) {
        tracing::warn!(%partition, %error, "a copy that was being moved waits");
        copy.close();
        self.futures.write().remove(partition);
        let (directory, path) = (copy.directory().clone(), copy.path().to_path_buf());
        let closed = ClosedCopy { error, directory, path, source: None };
        self.closed_copies.write().insert(partition.clone(), closed);
    }

    /// Tries to open the copies for which descriptors, memory or room were lacking and whose logs are here. Says whether
    /// any are lacking still. Blocks.
    pub fn open_closed_copies(&self) -> bool {
        let mut changes = self.changes.lock();
        let closed = self.closed_copies.read().clone();
        let mut lacking = false;
        for (partition, closed) in closed {
            let entry = self.logs.read().get(&partition).cloned();
            let (Some(entry), StorageError::Full { .. }) = (entry, &closed.error) else { continue };
            let settled = self.open_copy(&partition, &closed, entry.log.config()).and_then(|copy| {
                let settled = self.settle_copy(&mut changes, &partition, &copy, &entry);
                settled.inspect_err(|error| self.close_copy(&partition, &copy, error.clone()))
            });
            match settled {
                Ok(()) => tracing::info!(%partition, "a copy that could not be opened before goes on"),
                Err(error) => {
                    tracing::debug!(%partition, %error, "a copy cannot be opened");
                    lacking |= matches!(error, StorageError::Full { .. });
                }
            }
        }
        lacking
    }

    /// Whether there are copies that [`LogSet::open_closed_copies`] may open.
    pub fn has_closed_copies(&self) -> bool {
        self.closed_copies.read().values().any(|it| matches!(it.error, StorageError::Full { .. }))
    }

    fn open_copy(
        &self,
        partition: &TopicPartition,
        closed: &ClosedCopy,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, StorageError> {
        let copy = self.open_as_copy(partition, &closed.directory, closed.path.clone(), config)?;
        self.futures.write().insert(partition.clone(), copy.clone());
        self.closed_copies.write().remove(partition);
        Ok(copy)
    }

    /// A log that is not here may have a copy that has everything and could not be opened before: that takes its place
    /// now, and nothing else may. Gives the log that is here then.
    pub(super) fn promote_closed_copy(
        &self,
        changes: &mut Changes,
        partition: &TopicPartition,
        config: &Arc<LogConfig>,
    ) -> Result<Option<Entry>, StorageError> {
        let Some(closed) = self.closed_copies.read().get(partition).cloned() else { return Ok(None) };
        let (Some((directory, path)), StorageError::Full { .. }) = (&closed.source, &closed.error) else {
            // It may be all that there is.
            return Err(closed.error);
        };
        let copy = self.open_copy(partition, &closed, config.clone())?;
        changes.deleted.push_front((self.host.now(), directory.clone(), path.clone()));
        if let Err(error) = self.settle_promotion(changes, partition, &copy) {
            self.close_copy(partition, &copy, error.clone());
            self.keep_sources(changes);
            return Err(error);
        }
        Ok(self.logs.read().get(partition).cloned())
    }

    /// Deletes a copy that cannot be opened. Says whether there was one.
    pub(super) fn discard_closed_copy(
        &self,
        changes: &mut Changes,
        partition: &TopicPartition,
    ) -> Result<bool, StorageError> {
        let Some(closed) = self.closed_copies.write().remove(partition) else { return Ok(false) };
        let deleted = directory_name(partition, DirectoryStanding::Delete, self.host.random_uuid());
        let path = closed.directory.path().join(deleted);
        let renamed = self.host.disk().rename(&closed.path, &path);
        renamed.map_err(|error| closed.directory.fail(&closed.path, &error))?;
        let own = (closed.directory, path);
        changes
            .deleted
            .extend(closed.source.into_iter().chain([own]).map(|it| (self.host.now(), it.0, it.1)));
        tracing::info!(%partition, path = %closed.path.display(), "gave up a copy that cannot be opened");
        Ok(true)
    }

    /// What the log lost with an unclean stop, its copy must not have.
    pub(super) fn settle_copy(
        &self,
        changes: &mut Changes,
        partition: &TopicPartition,
        copy: &Arc<Log>,
        entry: &Entry,
    ) -> Result<(), StorageError> {
        let topic_id = self.topic_id_of(copy.directory(), &copy.path())?;
        if topic_id.is_some() && entry.topic_id.is_some() && topic_id != entry.topic_id {
            tracing::warn!(%partition, path = %copy.path().display(), "a copy is of another topic of the same name");
            return self.give_up_held(changes, partition).map(|_| ());
        }
        let end = entry.log.view().end;
        if copy.view().end > end { copy.truncate_to(end) } else { Ok(()) }
    }

    /// A copy without a log has everything if the log was marked as deleted for its sake.
    fn settle_promotion(
        &self,
        changes: &mut Changes,
        partition: &TopicPartition,
        copy: &Arc<Log>,
    ) -> Result<(), StorageError> {
        let path = copy.path();
        if self.damaged.read().contains_key(partition) || source_of(changes, &path).is_none() {
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

/// Where among what is deleted the log is whose place a copy was about to take.
fn source_of(changes: &Changes, copy: &Path) -> Option<usize> {
    let deleted = file_name(copy).and_then(renamed_as_deleted)?;
    changes.deleted.iter().position(|it| file_name(&it.2) == Some(deleted.as_str()))
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}
