//! A real server on loopback, asked over raw connections: what every client sees.

mod commit_limits;
mod compaction;
mod configs;
mod failure;
mod feature_levels;
mod fetch;
mod fixture;
mod log_dirs;
mod offsets;
mod produce;
mod restart;
mod share_groups;
mod tiering;
mod topics;
mod versions;
