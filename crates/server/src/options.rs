//! What a server is told at its start. Values only; `config` of the core says where they come from.

use std::time::Duration;

/// What a server is told at its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Names that `Host` may have besides the loopback's and addresses of this machine's loopback.
    pub hosts: Vec<String>,
    /// The most bytes of a request's body.
    pub body: usize,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// The longest silence while a request's body is read.
    pub body_idle: Duration,
    /// The most connections at once; more wait in the system's queue.
    pub connections: usize,
    /// When the head of a streamed answer goes out although there is no content yet.
    pub head_after: Duration,
    /// The silence after which a sign of life is sent in a stream.
    pub ping_after: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            body: 32 << 20,
            head_timeout: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            connections: 4096,
            head_after: Duration::from_secs(10),
            ping_after: Duration::from_secs(15),
        }
    }
}
