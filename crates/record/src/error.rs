//! Why bytes are not the records they should be.

use std::borrow::Cow;

use ottla_base::ErrorCode;

/// What is wrong with a batch or with the records in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The bytes cannot be a batch: a length, a magic or a structure that no writer makes.
    #[error("{0}")]
    Corrupt(Cow<'static, str>),
    /// The checksum does not match the bytes.
    #[error("Record is corrupt (stored crc = {stored}, computed crc = {computed})")]
    Checksum {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The batch is what its writer sent, but the records in it are not well formed.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// The attributes name a compression that does not exist.
    #[error("Unknown compression type id: {0}")]
    UnknownCompression(u8),
    /// Decompression was stopped because it gave more bytes than allowed.
    #[error("The records decompress to more than {limit_bytes} bytes")]
    DecompressedTooLarge {
        /// The most that was allowed.
        limit_bytes: u64,
    },
}

impl RecordsError {
    pub(crate) fn corrupt(reason: impl Into<Cow<'static, str>>) -> RecordsError {
        RecordsError::Corrupt(reason.into())
    }

    pub(crate) fn invalid(reason: impl Into<Cow<'static, str>>) -> RecordsError {
        RecordsError::Invalid(reason.into())
    }

    /// The refusal that a producer of such bytes receives.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            RecordsError::Corrupt(_) | RecordsError::Checksum { .. } => ErrorCode::CorruptMessage,
            RecordsError::Invalid(_) | RecordsError::DecompressedTooLarge { .. } => ErrorCode::InvalidRecord,
            RecordsError::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
        }
    }
}
