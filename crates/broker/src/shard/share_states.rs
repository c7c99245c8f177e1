//! The state of share groups, on `__share_group_state`.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::Offset;
use ottla_coordinator::World;
use ottla_coordinator::share_state::{Effect, Request, ShareCoordinator, ShareFact, ShareRecord};
use ottla_metadata::settings::ServerSettings;
use ottla_storage::LogStartReason;
use ottla_wire::{DecodeError, EncodeError};

use super::kind::limit_of;
use super::seated::Shard;
use super::{Kind, Line, Shards};
use crate::broker::Broker;
use crate::topic;

/// The share coordinator.
pub(crate) struct ShareStates;

impl Kind for ShareStates {
    type Machine = ShareCoordinator;

    const TOPIC: &'static str = topic::SHARE_GROUP_STATE;
    const NAME: &'static str = "share states";

    fn shards(broker: &Broker) -> &Shards<Self> {
        &broker.coordinators.share_states
    }

    fn read(offset: Offset, line: Line) -> Result<Option<ShareFact>, DecodeError> {
        // Nobody writes here in transactions.
        let Line::Plain { key, value } = line else { return Ok(None) };
        Ok(ShareRecord::decode(key, value)?.map(|record| ShareFact { offset, record }))
    }

    fn write(fact: &ShareFact) -> Result<Line, EncodeError> {
        let (key, value) = fact.record.encode()?;
        Ok(Line::Plain { key, value })
    }

    fn compression_codec(world: &World) -> i32 {
        world.settings.share_groups.share_coordinator_state_topic_compression_codec
    }

    fn see_world(world: Arc<World>) -> Request {
        Request::SeeWorld(world)
    }

    fn write_limit(settings: &ServerSettings) -> Duration {
        limit_of(settings.share_groups.share_coordinator_write_timeout_ms)
    }

    fn load_buffer_bytes(settings: &ServerSettings) -> i32 {
        settings.share_groups.share_coordinator_load_buffer_size
    }

    fn carry_out(broker: &Arc<Broker>, shard: &Arc<Shard<Self>>, effect: Effect) {
        let Effect::DeleteRecords { before } = effect;
        let partition = shard.partition.clone();
        let host = broker.host.clone();
        broker.host.spawn(async move {
            let deleting = move || {
                let moved = partition.log().advance_log_start(before, LogStartReason::ClientRecordDeletion);
                if let Err(error) = moved {
                    tracing::warn!(partition = %partition, %before, %error, "what is redundant could not be cut off");
                }
            };
            host.blocking(deleting).await;
        });
    }
}
