//! What can go wrong with a log, by what the caller should do about it.

use std::path::PathBuf;

use ottla_base::ErrorCode;

/// Why an operation on a log was not done. None of these is retried here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The log directory is offline: it failed once and is not trusted any more. Answer
    /// `KAFKA_STORAGE_ERROR`; the partition lives on elsewhere or not at all.
    #[error("log directory {directory} is offline: {reason}")]
    Offline {
        /// The log directory.
        directory: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The file system is full, or too many files are open. Nothing was changed; the same call may succeed later.
    #[error("no room for {path}")]
    Full {
        /// What could not be written or opened.
        path: PathBuf,
    },
    /// Bytes that had been made durable are not what was written. Only a replica can repair them.
    #[error("{path} is corrupt at byte {position}: {reason}")]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The log was deleted or closed.
    #[error("the log is closed")]
    Closed,
}

impl StorageError {
    /// The answer to a client whose request failed so.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            StorageError::Offline { .. } | StorageError::Full { .. } | StorageError::Corrupt { .. } => {
                ErrorCode::KafkaStorageError
            }
            StorageError::Closed => ErrorCode::NotLeaderOrFollower,
        }
    }
}
