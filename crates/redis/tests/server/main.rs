//! The shared state against a real redis-server, started by each test for itself.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod limits;
mod lost;
mod process;
mod state;
mod windows;
mod wire;

use llm_router::secret::Secret;
use llm_router_redis::{Options, Redis};

/// The state of a server, as one process has it.
fn open(server: &process::RedisServer) -> Redis {
    Redis::new(options(server)).unwrap()
}

fn options(server: &process::RedisServer) -> Options {
    let mut options = Options::new(Secret::new(server.url()));
    // A busy machine is no failure; what patience does is tested where it is meant.
    options.patience = std::time::Duration::from_secs(5);
    options
}
