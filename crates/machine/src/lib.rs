//! The contract of a state machine replayed from a log, and the seat that decides for it.
//!
//! | file | holds |
//! |---|---|
//! | `contract` | [`Machine`]: decide, then apply; what a decision may see and say |
//! | `held` | [`Held`]: callers who wait for something other than a commit |
//! | `entropy` | [`Entropy`]: the random numbers of a seat, all drawn from one seed |
//! | `seat` | [`Seat`]: the replica that decides; replies wait until the log vouches for what they saw |
//!
//! The controller, the coordinators and Connect's assignment are machines. Their hard state comes into being
//! by [`replay`] and in no other way, so a replica that reads the log knows what the one that wrote it knew.
//!
//! Absent on purpose: I/O, clocks, threads, `async`, and any way for [`Machine::apply`] to refuse.

mod contract;
mod entropy;
mod held;
mod seat;
#[cfg(test)]
mod tests;

pub use contract::{At, Atomicity, Input, Machine, Outcome, Soft, replay};
pub use entropy::Entropy;
pub use held::{Held, Ticket};
pub use seat::{Append, NotAdmitted, Release, Seat};
