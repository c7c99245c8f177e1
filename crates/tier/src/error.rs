//! What can go wrong with a tier, by what the caller should do about it.

use std::time::Duration;

use ottla_base::ErrorCode;
use ottla_storage::StorageError;

/// Why an operation on a tier was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TierError {
    /// There is no such object.
    #[error("{0} is not in tiered storage")]
    NotFound(String),
    /// The store did not do it; the same call may succeed later.
    #[error("tiered storage: {0}")]
    Store(String),
    /// The store did not answer in time; whether it did it is not known.
    #[error("tiered storage has not answered within {limit:?}: {operation} of {object}")]
    Unanswered {
        /// What it was asked for.
        operation: &'static str,
        /// Which object.
        object: String,
        /// How long was waited.
        limit: Duration,
    },
    /// What came back is not what was put there.
    #[error("{object} in tiered storage is corrupt at byte {position}: {reason}")]
    Corrupt {
        /// Which object.
        object: String,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A local file cannot be used.
    #[error("{path}: {reason}")]
    Local {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] StorageError),
    /// A setting makes no store.
    #[error("{0}")]
    Settings(String),
}

impl TierError {
    /// The answer to who wanted to read.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            TierError::Log(error) => error.error_code(),
            // What is recorded and not there is lost or late, and no reason for a reader to go elsewhere.
            TierError::NotFound(_)
            | TierError::Store(_)
            | TierError::Unanswered { .. }
            | TierError::Corrupt { .. }
            | TierError::Local { .. }
            | TierError::Settings(_) => ErrorCode::KafkaStorageError,
        }
    }
}
