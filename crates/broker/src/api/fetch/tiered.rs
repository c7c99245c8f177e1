//! The part of a fetch that is read from tiered storage.

use std::sync::Arc;

use ottla_base::ErrorCode;

use super::{Planned, Read};
use crate::broker::Broker;

/// Reads what was found to be tiered, all at once. What is not there in time stays empty: the reader asks again, and
/// finds it in memory.
pub(super) async fn complete(broker: &Arc<Broker>, plan: &Arc<Vec<Planned>>, mut read: Read) -> Read {
    let parts = std::mem::take(&mut read.tiered);
    let Some(tier) = broker.tier.get() else {
        // It was switched off while the fetch was on its way.
        for part in parts {
            read.answers[part.at].code = ErrorCode::OffsetOutOfRange;
        }
        return read;
    };
    let mut running = Vec::with_capacity(parts.len());
    for part in parts {
        let Ok(partition) = &plan[part.at].partition else { continue };
        let (tier, broker, partition) = (tier.clone(), broker.clone(), partition.clone());
        let host = broker.host.clone();
        let reading = host.spawn(async move { tier.read(&broker, &partition, part.wanted).await });
        running.push((part.at, reading));
    }
    for (at, reading) in running {
        let answer = &mut read.answers[at];
        match reading.await {
            Ok(Ok(found)) => {
                answer.records_len = u32::try_from(found.records.len()).unwrap_or(u32::MAX);
                answer.tiered = found.records;
                if let Some(aborted) = &mut answer.aborted {
                    *aborted = found.aborted;
                }
            }
            Ok(Err(code)) => {
                answer.code = code;
                answer.aborted = None;
            }
            Err(_) => answer.code = ErrorCode::UnknownServerError,
        }
    }
    read
}
