//! The program as people use it.
//!
//! | file | holds |
//! |---|---|
//! | `running` | a server in a directory, and commands against it |
//! | `end_to_end` | a server, a first record, a stop, and the record is still there |
//! | `groups` | reading as a member of a group, and writing in transactions |
//! | `tiered` | what leaves the disk is still read |
//! | `members` | the client's members, transactions and administrator |

mod end_to_end;
mod groups;
mod members;
mod running;
mod tiered;
