//! Ids for idempotent producers, out of blocks that the controller hands out (KIP-730).

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerId};
use parking_lot::Mutex;

use crate::broker::Broker;

/// The rest of the block that this broker holds.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<std::ops::Range<i64>>,
    /// One fetches a block, the others wait for it.
    fetching: tokio::sync::Mutex<()>,
}

impl ProducerIds {
    fn take(&self) -> Option<ProducerId> {
        self.block.lock().next().map(ProducerId)
    }
}

/// An id that no other producer of the cluster has or will have.
pub(crate) async fn next(broker: &Arc<Broker>) -> Result<ProducerId, ErrorCode> {
    loop {
        if let Some(id) = broker.producer_ids.take() {
            return Ok(id);
        }
        let _one = broker.producer_ids.fetching.lock().await;
        if let Some(id) = broker.producer_ids.take() {
            return Ok(id);
        }
        let block = broker.allocate_producer_ids().await?;
        *broker.producer_ids.block.lock() = block;
    }
}
