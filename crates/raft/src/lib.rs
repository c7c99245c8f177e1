//! The KRaft quorum as a pure step function.
