//! What can be asked of a group coordinator, and the answers.

use std::sync::Arc;

use ottla_base::Str;
use ottla_machine::Ticket;

use super::activation;
use super::deciding::Deciding;
use crate::World;

/// Who asks, as groups remember their members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What the client calls itself.
    pub id: Str,
    /// Where it is, as Kafka writes it: `/127.0.0.1`.
    pub host: Str,
    /// The version of the request it sent.
    pub version: i16,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $variant:ident($request:ty) -> $reply:ty = $decide:path;)*) => {
        /// What can be asked of a group coordinator. Requests that name several groups are asked group by group.
        #[derive(Debug, Clone)]
        pub enum Request {
            $($(#[$doc])* $variant($request),)*
        }

        /// The answers, each to the request of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Reply {
            $($(#[$doc])* $variant($reply),)*
        }

        impl Deciding<'_> {
            /// One match from requests to deciders.
            pub(super) fn decide(&mut self, request: Request, caller: Ticket) {
                match request {
                    $(Request::$variant(request) => $decide(self, request, caller),)*
                }
            }
        }
    };
}

requests! {
    /// The seat was taken: the first request to every seat. Then, whenever the world changes.
    SeeWorld(Arc<World>) -> () = activation::see_world;
}
