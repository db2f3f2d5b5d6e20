//! The node: this process's place in the libp2p network.
//!
//! One task owns the swarm (`node/task.rs`); everybody else has a [`NodeHandle`], which sends it commands over a bounded queue and opens streams without it. What
//! it speaks is `node/behaviour.rs`, over what `node/transport.rs`, under which identity `node/identity.rs`. Requests and answers are unknown here: `serve` and
//! `call` bring them.

mod behaviour;
mod config;
mod event;
mod handle;
pub mod identity;
pub mod pnet;
mod task;
#[cfg(test)]
mod tests;
mod transport;

use libp2p::identity::Keypair;
use libp2p::{Swarm, swarm};
use llm_router::Result;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::behaviour::Behaviour;
pub use self::config::{Dht, NodeConfig};
pub use self::event::{Event, Linked};
pub use self::handle::NodeHandle;
use self::task::Task;
pub use self::transport::{Network, Transport};

/// How many commands wait for the node: past them, whoever commands waits too.
const COMMANDS: usize = 256;

/// How many events a slow listener may be behind before it misses some.
const EVENTS: usize = 1024;

/// Streams of one connection that may be negotiated at once; more are reset. The library's 128 is less than a busy peer sends in one go.
const NEGOTIATING: usize = 256;

/// A node, and the task that is it. Dropping it closes all connections.
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Starts a node of this identity in this network. Where it listens is known by [`NodeHandle::listening`].
    ///
    /// # Errors
    /// `router_internal` where the transport cannot be made, `caller_invalid_request` for an address that cannot be listened on.
    pub fn start(key: &Keypair, network: Network, config: &NodeConfig) -> Result<Self> {
        config.check()?;
        let (transport, relay) = transport::make(key, network, config.relay)?;
        let behaviour = Behaviour::new(key, config, relay)?;
        let control = behaviour.stream.new_control();
        let settings = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(config.idle)
            .with_max_negotiating_inbound_streams(NEGOTIATING)
            .with_smart_dial();
        let swarm = Swarm::new(transport, behaviour, key.public().to_peer_id(), settings);
        let (commands, to_do) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        let handle = NodeHandle::new(key.public().to_peer_id(), commands, control, events.clone());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let task = Task::new(swarm, to_do, events, config)?;
        tasks.spawn(stop.clone().run_until_cancelled_owned(task.run()));
        tasks.close();
        Ok(Self { handle, stop, tasks })
    }

    /// What commands it. Cheap to clone.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Closes all connections, and waits until the node is gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
