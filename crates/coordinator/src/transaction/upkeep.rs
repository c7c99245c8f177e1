//! What a new seat begins with; transactions that took too long, transactional ids that nobody uses.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ProducerId, Str};

use super::deciding::{Deciding, Rules, Timer};
use super::{Abandoned, Decline, Effect, Status, end};
use crate::World;

/// The most transactions that one decision aborts.
const MAX_ABORTS: usize = 1_000;
/// How long the other requests have between two such decisions.
const ABORT_PAUSE: Duration = Duration::from_millis(100);
/// The most transactional ids that one decision looks at.
const MAX_LOOKED_AT: usize = 10_000;

/// The world is new, or has changed. A new seat writes the markers of all transactions whose end is decided: its
/// predecessor may not have.
pub(super) fn see_world(deciding: &mut Deciding<'_>, world: Arc<World>) {
    let rules = Rules::of(&world);
    let before = deciding.soft.rules.replace(rules);
    if before.is_some() {
        return;
    }
    let now = deciding.at.now;
    deciding.soft.timers.set(Timer::Overdue, now + rules.overdue_interval);
    deciding.soft.timers.set(Timer::Unused, now + rules.unused_interval);
    for (transactional_id, transaction) in deciding.state.transactions() {
        if transaction.is_ending() {
            deciding.write_markers(transactional_id, transaction);
        }
    }
}

/// Aborts transactions that took too long.
pub(super) fn abort_overdue(deciding: &mut Deciding<'_>) {
    let Ok(rules) = deciding.rules() else { return };
    let overdue: Vec<Str> =
        deciding.state.overdue(deciding.at.wall_clock).take(MAX_ABORTS).cloned().collect();
    let pause = if overdue.len() < MAX_ABORTS { rules.overdue_interval } else { ABORT_PAUSE };
    deciding.soft.timers.set(Timer::Overdue, deciding.at.now + pause);
    for transactional_id in overdue {
        let Some(transaction) = deciding.transaction(&transactional_id) else { continue };
        if let Err(Decline::NeedsProducerId) = end::fence(deciding, &transactional_id, transaction, None) {
            let abandoned = Abandoned { transactional_id, producer: transaction.producer };
            deciding.effect(Effect::DrawProducerId(abandoned));
        }
    }
}

/// Aborts a transaction that took too long, now that its successor has a producer id.
pub(super) fn abort_abandoned(deciding: &mut Deciding<'_>, (abandoned, fresh): (Abandoned, ProducerId)) {
    let id = &abandoned.transactional_id;
    let Some(transaction) = deciding.transaction(id) else { return };
    if transaction.status == Status::Ongoing && transaction.producer == abandoned.producer {
        // Without rules nothing was ever found to be abandoned, and the id it needs is here.
        let _fenced = end::fence(deciding, id, transaction, Some(fresh));
    }
}

/// Forgets transactional ids that were not used for too long.
pub(super) fn forget_unused(deciding: &mut Deciding<'_>) {
    let Ok(rules) = deciding.rules() else { return };
    let unused_since = deciding.at.wall_clock.0.saturating_sub(rules.expiration_ms);
    let first = deciding.soft.unused_from.take().unwrap_or_default();
    for (looked_at, (transactional_id, transaction)) in deciding.state.from(&first).enumerate() {
        if looked_at == MAX_LOOKED_AT {
            deciding.soft.unused_from = Some(transactional_id.clone());
            break;
        }
        let idle =
            matches!(transaction.status, Status::Empty | Status::CompleteCommit | Status::CompleteAbort);
        if idle && transaction.last_update.0 <= unused_since {
            deciding.forget(transactional_id);
        }
    }
    let goes_on = deciding.soft.unused_from.is_some();
    let pause = if goes_on { Duration::ZERO } else { rules.unused_interval };
    deciding.soft.timers.set(Timer::Unused, deciding.at.now + pause);
}
