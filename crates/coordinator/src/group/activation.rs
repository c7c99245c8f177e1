//! What a new seat begins with, and how it hears of changes of the world.

use std::sync::Arc;

use ottla_machine::Ticket;

use super::deciding::Deciding;
use super::modern::topics::{changed_topics, has_new_topics};
use super::request::Reply;
use super::{classic, consumer, offsets, share, streams};
use crate::World;

/// The world is new, or has changed.
pub(super) fn see_world(deciding: &mut Deciding<'_>, world: Arc<World>, caller: Ticket) {
    let before = deciding.soft.world.replace((*world).clone());
    match before {
        Some(before) => {
            forget_what_changed(deciding, &before, &world);
            offsets::delete::forget_deleted_topics(deciding, &before.image, &world.image);
        }
        None => begin(deciding),
    }
    share::see_world(deciding);
    streams::see_world(deciding);
    deciding.answer(caller, Reply::SeeWorld(()));
}

/// What was loaded comes to life (`GroupCoordinatorShard.onLoaded`).
fn begin(deciding: &mut Deciding<'_>) {
    offsets::delete::schedule_expiry(deciding);
    classic::rebalance::begin(deciding);
    consumer::expect_members(deciding);
    share::expect_members(deciding);
}

/// Lets groups whose topics have changed look again, and hashes be computed anew.
fn forget_what_changed(deciding: &mut Deciding<'_>, before: &World, now: &World) {
    let changed = changed_topics(&before.image, &now.image);
    if changed.is_empty() {
        return;
    }
    deciding.soft.metadata.forget_topics(&changed);
    if has_new_topics(&before.image, &now.image) {
        deciding.soft.metadata.saw_new_topics();
    }
    for (id, group) in &deciding.state.groups {
        if changed.iter().any(|topic| group.wants(topic)) {
            deciding.soft.metadata.forget_group(id);
        }
    }
}
