//! Sockets as typed requests and responses, both directions: framing, TLS, SASL.
