//! What a new seat begins with, and how it hears of changes of the world.

use std::sync::Arc;

use ottla_machine::Ticket;

use super::deciding::Deciding;
use super::request::Reply;
use crate::World;

/// The world is new, or has changed.
pub(super) fn see_world(deciding: &mut Deciding<'_>, world: Arc<World>, caller: Ticket) {
    deciding.soft.world = Some((*world).clone());
    deciding.answer(caller, Reply::SeeWorld(()));
}
