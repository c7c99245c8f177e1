//! Groups and committed offsets, on `__consumer_offsets`.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::Offset;
use ottla_coordinator::World;
use ottla_coordinator::group::{self, Fact, GroupCoordinator, GroupRecord, Producer, TransactionResult};
use ottla_metadata::settings::ServerSettings;
use ottla_wire::{DecodeError, EncodeError};

use super::kind::limit_of;
use super::seated::Shard;
use super::{Kind, Line, MarkerKind, Shards, share_state_work};
use crate::broker::Broker;
use crate::topic;

/// The group coordinator.
pub(crate) struct Groups;

impl Kind for Groups {
    type Machine = GroupCoordinator;

    const TOPIC: &'static str = topic::CONSUMER_OFFSETS;
    const NAME: &'static str = "groups";

    fn shards(broker: &Broker) -> &Shards<Self> {
        &broker.coordinators.groups
    }

    fn read(_offset: Offset, line: Line) -> Result<Option<Fact>, DecodeError> {
        let producer = |(id, epoch)| Producer { id, epoch };
        Ok(match line {
            Line::Plain { key, value } => GroupRecord::decode(key, value)?.map(Fact::Plain),
            Line::Transactional { producer: it, key, value } => GroupRecord::decode(key, value)?
                .map(|record| Fact::Transactional { producer: producer(it), record }),
            Line::Marker { producer: it, coordinator_epoch, marker } => {
                let result = match marker {
                    MarkerKind::Commit => TransactionResult::Committed,
                    MarkerKind::Abort => TransactionResult::Aborted,
                };
                Some(Fact::Marker { producer: producer(it), coordinator_epoch, result })
            }
        })
    }

    fn write(fact: &Fact) -> Result<Line, EncodeError> {
        Ok(match fact {
            Fact::Plain(record) => {
                let (key, value) = record.encode()?;
                Line::Plain { key, value }
            }
            Fact::Transactional { producer, record } => {
                let (key, value) = record.encode()?;
                Line::Transactional { producer: (producer.id, producer.epoch), key, value }
            }
            Fact::Marker { producer, coordinator_epoch, result } => Line::Marker {
                producer: (producer.id, producer.epoch),
                coordinator_epoch: *coordinator_epoch,
                marker: match result {
                    TransactionResult::Committed => MarkerKind::Commit,
                    TransactionResult::Aborted => MarkerKind::Abort,
                },
            },
        })
    }

    fn compression_codec(world: &World) -> i32 {
        world.settings.groups.offsets_topic_compression_codec
    }

    fn see_world(world: Arc<World>) -> Box<group::Request> {
        Box::new(group::Request::SeeWorld(world))
    }

    fn write_limit(settings: &ServerSettings) -> Duration {
        limit_of(settings.groups.offsets_commit_timeout_ms)
    }

    fn load_buffer_bytes(settings: &ServerSettings) -> i32 {
        settings.groups.offsets_load_buffer_size
    }

    fn carry_out(broker: &Arc<Broker>, _shard: &Arc<Shard<Self>>, effect: group::Effect) {
        share_state_work::carry_out(broker, effect);
    }
}
