//! What drives load and watches a server, for bench and chaos alike.
//!
//! | file | holds |
//! |---|---|
//! | `process` | what the kernel knows of a server, and of the machine |
//! | `protocol` | a raw connection; topics, producing, fetching; record batches |
//! | `admin` | settings of topics, offsets of places |
//! | `flexible` | compact types |
//! | `groups` | members of classic and consumer groups, commits |
//! | `share` | members of share groups |
//! | `transactions` | transactional producers and readers of committed records |

pub mod admin;
pub mod flexible;
pub mod groups;
pub mod process;
pub mod protocol;
pub mod share;
pub mod transactions;
