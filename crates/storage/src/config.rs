//! What a topic's configuration says about its logs.

/// The topic-level values that a log lives by, under Kafka's names. May be replaced while the log is in use.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it would grow past this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is rolled when its records span more than this.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to this much is taken off `segment.ms`, drawn anew for every segment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is rolled when one of its indexes would grow past this.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: how many bytes of batches lie between two index entries.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: u32,
    /// `preallocate`: whether the blocks of a segment are reserved when it is made.
    pub preallocate: bool,
    /// Whether `cleanup.policy` contains `delete`.
    pub cleanup_delete: bool,
    /// Whether `cleanup.policy` contains `compact`.
    pub cleanup_compact: bool,
    /// `retention.ms`; `None` for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` without bound.
    pub retention_bytes: Option<u64>,
    /// `file.delete.delay.ms`: how long a file that left the log is kept for who still reads it.
    pub file_delete_delay_ms: u64,
    /// `delete.retention.ms`: how long tombstones and markers stay after they were first compacted.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`: the part of a log that must be uncompacted before it is compacted again.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: how old a record must be to be compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: how old a record may get before it is compacted, whatever the ratio.
    pub max_compaction_lag_ms: i64,
    /// `flush.messages`: an append after which this many records are unflushed waits for a flush.
    pub flush_messages: u64,
    /// `flush.ms`: the longest that a record stays unflushed.
    pub flush_ms: u64,
    /// What stays on the disk of a log whose segments are copied elsewhere; `None` if they are not.
    pub tiering: Option<Tiering>,
}

/// What stays on the disk of a log whose segments are copied elsewhere (KIP-405).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiering {
    /// Whether nothing more is copied (`remote.log.copy.disable`): the disk keeps what the log keeps, then.
    pub copy_disabled: bool,
    /// `local.retention.ms`; `None` for ever.
    pub local_retention_ms: Option<u64>,
    /// `local.retention.bytes`; `None` without bound.
    pub local_retention_bytes: Option<u64>,
}

impl LogConfig {
    /// How the disk lets go of what was copied; `None` if nothing is being copied.
    pub(crate) fn copying(&self) -> Option<Tiering> {
        self.tiering.filter(|it| !it.copy_disabled)
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: WEEK_MS as i64,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: (1 << 20) + 12,
            preallocate: false,
            cleanup_delete: true,
            cleanup_compact: false,
            retention_ms: Some(WEEK_MS),
            retention_bytes: None,
            file_delete_delay_ms: 60_000,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            flush_messages: u64::MAX,
            flush_ms: u64::MAX,
            tiering: None,
        }
    }
}
