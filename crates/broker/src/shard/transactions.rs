//! Transactional ids and their transactions, on `__transaction_state`.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::Offset;
use ottla_coordinator::World;
use ottla_coordinator::transaction::{Abandoned, Effect, Fact, Request, TransactionCoordinator};
use ottla_metadata::settings::ServerSettings;
use ottla_wire::{DecodeError, EncodeError};

use super::kind::limit_of;
use super::seated::Shard;
use super::{Kind, Line, Shards, markers};
use crate::broker::Broker;
use crate::{producer_ids, topic};

/// The transaction coordinator.
pub(crate) struct Transactions;

impl Kind for Transactions {
    type Machine = TransactionCoordinator;

    const TOPIC: &'static str = topic::TRANSACTION_STATE;
    const NAME: &'static str = "transactions";

    fn shards(broker: &Broker) -> &Shards<Self> {
        &broker.coordinators.transactions
    }

    fn read(_offset: Offset, line: Line) -> Result<Option<Fact>, DecodeError> {
        match line {
            Line::Plain { key, value } => Fact::decode(key, value),
            // Nobody has transactions here.
            Line::Transactional { .. } | Line::Marker { .. } => Ok(None),
        }
    }

    fn write(fact: &Fact) -> Result<Line, EncodeError> {
        let (key, value) = fact.encode()?;
        Ok(Line::Plain { key, value })
    }

    fn compression_codec(_world: &World) -> i32 {
        // `TransactionLog.ENFORCED_COMPRESSION`
        0
    }

    fn write_limit(settings: &ServerSettings) -> Duration {
        limit_of(settings.network.request_timeout_ms)
    }

    fn load_buffer_bytes(settings: &ServerSettings) -> i32 {
        settings.transactions.transaction_state_log_load_buffer_size
    }

    fn see_world(world: Arc<World>) -> Request {
        Request::SeeWorld(world)
    }

    fn carry_out(broker: &Arc<Broker>, shard: &Arc<Shard<Self>>, effect: Effect) {
        match effect {
            Effect::WriteMarkers(it) => markers::write(broker, shard, it),
            Effect::DrawProducerId(abandoned) => draw(broker.clone(), shard.clone(), abandoned),
        }
    }
}

/// Draws a producer id for the successor of a transaction that took too long. If there is none to be had, the machine
/// finds the transaction again when it next looks.
fn draw(broker: Arc<Broker>, shard: Arc<Shard<Transactions>>, abandoned: Abandoned) {
    let host = broker.host.clone();
    host.spawn(async move {
        match producer_ids::next(&broker).await {
            Ok(id) => shard.tell(&broker, Request::AbortAbandoned((abandoned, id))),
            Err(code) => {
                let id = &abandoned.transactional_id;
                tracing::warn!(transactional_id = %id, %code, "a late transaction cannot be aborted yet");
            }
        }
    });
}
