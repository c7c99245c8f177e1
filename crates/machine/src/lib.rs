//! The contract of a state machine replayed from a log, and the seat that decides for it.
