//! Tests of what a client knows of a cluster.
