//! The threads that tasks run on.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::failure::{Failure, Outcome};

/// As many threads as the computer has cores.
pub(crate) fn for_a_server() -> Outcome<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, |it| it.get());
    Builder::new_multi_thread()
        .worker_threads(cores)
        .thread_name("ottla")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("threads cannot be started: {error}")))
}

/// Runs a tool to its end, on this thread.
pub(crate) fn run_tool(tool: impl Future<Output = Outcome>) -> Outcome {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the event loop cannot be started: {error}")))?
        .block_on(tool)
}
