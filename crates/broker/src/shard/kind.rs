//! What a coordinator is to the shell: its topic, its machine, its records as lines of a log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{Offset, ProducerEpoch, ProducerId};
use ottla_coordinator::World;
use ottla_machine::Machine;
use ottla_metadata::settings::ServerSettings;
use ottla_wire::{DecodeError, EncodeError};

use super::Shards;
use super::seated::Shard;
use crate::broker::Broker;

/// A kind of coordinator.
pub(crate) trait Kind: Sized + Send + Sync + 'static {
    /// The machine on each partition of the topic.
    type Machine: Machine<Request: Send, Reply: Send + Unpin, Record: Send + Sync, Effect: Send, Soft: Send>
        + Default
        + Send
        + Sync;

    /// The topic whose partitions are the logs.
    const TOPIC: &'static str;
    /// What it is called in messages.
    const NAME: &'static str;

    /// The shards of this kind.
    fn shards(broker: &Broker) -> &Shards<Self>;

    /// What the line at `offset` means; nothing for a line that this release does not know.
    fn read(offset: Offset, line: Line) -> Result<Option<Record<Self>>, DecodeError>;

    /// A record as a line of the log.
    fn write(record: &Record<Self>) -> Result<Line, EncodeError>;

    /// The codec number of the batches (`offsets.topic.compression.codec`).
    fn compression_codec(world: &World) -> i32;

    /// How many bytes are read at once when the log is loaded.
    fn load_buffer_bytes(settings: &ServerSettings) -> i32;

    /// How long an answer waits until the log has committed what was decided.
    fn write_limit(settings: &ServerSettings) -> Duration;

    /// The request that tells a machine of a new or changed world.
    fn see_world(world: Arc<World>) -> Request<Self>;

    /// Does what a decision of a shard wants done. Must not block: what takes time is spawned. What it tells the shard is
    /// decided next.
    fn carry_out(broker: &Arc<Broker>, shard: &Arc<Shard<Self>>, effect: Effect<Self>);
}

/// A limit in a setting.
pub(super) fn limit_of(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// What can be asked of a kind's machine.
pub(crate) type Request<K> = <<K as Kind>::Machine as Machine>::Request;
/// What a kind's machine answers.
pub(crate) type Reply<K> = <<K as Kind>::Machine as Machine>::Reply;
/// One fact of a kind's log.
pub(crate) type Record<K> = <<K as Kind>::Machine as Machine>::Record;
/// What a kind's machine wants done.
pub(crate) type Effect<K> = <<K as Kind>::Machine as Machine>::Effect;

/// One line of a coordinator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A record that counts at once.
    Plain {
        /// The key.
        key: Bytes,
        /// The value; none for a tombstone.
        value: Option<Bytes>,
    },
    /// A record of a producer's transaction.
    Transactional {
        /// Whose transaction.
        producer: (ProducerId, ProducerEpoch),
        /// The key.
        key: Bytes,
        /// The value; none for a tombstone.
        value: Option<Bytes>,
    },
    /// The end of a producer's transaction.
    Marker {
        /// Whose transaction.
        producer: (ProducerId, ProducerEpoch),
        /// The epoch of the transaction coordinator.
        coordinator_epoch: i32,
        /// How it ended.
        marker: MarkerKind,
    },
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerKind {
    /// It counts.
    Commit,
    /// It does not count.
    Abort,
}

impl Line {
    /// What it adds to a batch at most: the bytes, and the varints around them.
    pub(super) fn size(&self) -> usize {
        const OVERHEAD_BYTES: usize = 32;
        match self {
            Line::Plain { key, value } | Line::Transactional { key, value, .. } => {
                key.len() + value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES
            }
            Line::Marker { .. } => 10 + OVERHEAD_BYTES,
        }
    }
}
