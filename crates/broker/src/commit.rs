//! Waiting until what was appended is as safe as `acks=all` promises.

use std::sync::Arc;

use ottla_base::{ErrorCode, Moment};
use ottla_storage::{Appended, Listener};

use crate::broker::Broker;
use crate::partition::Partition;

/// Waits until what was appended to a partition is committed, but not past `deadline`.
pub(crate) async fn until_committed(
    broker: &Broker,
    partition: &Arc<Partition>,
    appended: &Appended,
    deadline: Moment,
) -> Result<(), ErrorCode> {
    let log = partition.log();
    if appended.flush_first {
        log.flush_to(appended.end).await.map_err(|error| error.error_code())?;
        if partition.leadership().isr.len() <= 1 {
            log.advance_high_watermark(appended.end);
        }
    }
    let listener = Listener::new();
    loop {
        listener.reset();
        log.listen(&listener);
        if log.view().high_watermark >= appended.end {
            return Ok(());
        }
        partition.leader_epoch(-1)?;
        let waited = broker.host.timeout_at(deadline, listener.wait()).await;
        waited.map_err(|_| ErrorCode::RequestTimedOut)?;
    }
}
