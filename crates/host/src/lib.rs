//! The computer: clock, entropy, disk, sockets; real or simulated.
//!
//! | file | holds |
//! |---|---|
//! | `handle` | [`Host`], the handle that everything takes its world from |
//! | `clock` | time: the real clock, or one that a test moves |
//! | `timer` | a deadline that moves often and passes seldom |
//! | `entropy` | randomness: the kernel's, or a seed's |
//! | `pool` | the few threads for what may block |
//! | `disk` | files and directories, positional and synchronous; real or simulated |
//! | `net` | real sockets: listen, connect, vectored writes, `sendfile` |
//! | `process` | what a server asks of its process: signals, descriptor limit, memory, CPU |
//!
//! Invariants: a [`Host`] is passed explicitly and never global; a simulated host driven the same way from
//! the same seed does the same things; nothing here retries an error of the disk. Linux only.
//!
//! Absent on purpose: buffering, caching, asynchronous file I/O, and any knowledge of what files mean.

mod clock;
pub mod disk;
mod entropy;
mod handle;
pub mod net;
mod pool;
pub mod process;
mod timer;

pub use clock::Elapsed;
pub use disk::{Disk, File};
pub use entropy::Prng;
pub use handle::{Host, Simulation};
pub use timer::Timer;
