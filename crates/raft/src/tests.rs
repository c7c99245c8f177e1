//! Tests of the machine's parts and of whole quorums under simulation.

mod log;
mod quorum_state;
mod simulation;
mod single_voter;
mod snapshot;
mod wire_form;
