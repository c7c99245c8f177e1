//! A server process: broker role, controller role, or both.
