//! What a server is told at its start. Values only; [`ServerOptions::of`] takes them from the settings.

use std::time::Duration;

use llm_router::config::Settings;

/// What a server is told at its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The most bytes of a request's body.
    pub body: usize,
    /// How long a client may take to send a request's head, the wait between two requests included.
    pub head_timeout: Duration,
    /// The longest silence while a request's body is read.
    pub body_idle: Duration,
    /// After how long a connection is closed on which nothing moves and nothing is being answered; it may take up to twice as long.
    pub idle: Duration,
    /// The most requests being answered at once; more are refused.
    pub in_flight: usize,
    /// The most connections at once; more wait in the system's queue.
    pub connections: usize,
    /// When the head of a streamed answer goes out although there is no content yet.
    pub head_after: Duration,
    /// The silence after which a sign of life is sent in a stream.
    pub ping_after: Duration,
    /// How often the files of keys and certificates are looked at again.
    pub reread: Duration,
    /// Where a line about each request goes: `stdout`, `stderr` or an absolute path.
    pub access_log: Option<String>,
    /// Whether only the owner of the environment has a key: what merely lies there is reached with it too.
    pub own: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

impl ServerOptions {
    /// As these settings say.
    pub fn of(settings: &Settings) -> Self {
        let server = &settings.server;
        Self {
            body: server.body_limit,
            head_timeout: server.head_timeout,
            body_idle: Duration::from_secs(30),
            idle: server.idle_timeout,
            in_flight: server.max_in_flight,
            connections: server.max_connections,
            head_after: settings.router.head_after,
            ping_after: server.ping_after,
            reread: Duration::from_secs(2),
            access_log: server.access_log.clone(),
            own: false,
        }
    }
}
