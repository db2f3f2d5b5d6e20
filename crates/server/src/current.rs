//! Which server answers now: exchanged whole when the configuration is read again. What is under way goes on with the one that it began with.
//!
//! Each runtime looks at a number that hardly ever changes, and only when it has changed at what the others look at too: nothing that is shared is written for a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llm_router::error::Result;
use llm_router::router::Router;

use crate::app::Server;

/// A server with its routes.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) server: Server,
    pub(crate) clients: axum::Router,
    pub(crate) admins: axum::Router,
}

impl Generation {
    fn of(server: Server) -> Arc<Self> {
        let (clients, admins) = (server.routes(), server.admin_routes());
        Arc::new(Self { server, clients, admins })
    }
}

/// The server of one socket, for all its runtimes.
#[derive(Debug)]
pub(crate) struct Current {
    turn: AtomicU64,
    now: Mutex<Arc<Generation>>,
    /// Whether more than this machine reaches it.
    others: bool,
}

impl Current {
    pub(crate) fn new(server: Server, others: bool) -> Arc<Self> {
        Arc::new(Self { turn: AtomicU64::new(0), now: Mutex::new(Generation::of(server)), others })
    }

    pub(crate) fn now(&self) -> Arc<Generation> {
        Arc::clone(&lock(&self.now))
    }
}

/// The generation that one runtime has seen last.
#[derive(Debug)]
pub(crate) struct Following {
    current: Arc<Current>,
    seen: Mutex<(u64, Arc<Generation>)>,
}

impl Following {
    pub(crate) fn new(current: Arc<Current>) -> Self {
        let turn = current.turn.load(Ordering::Acquire);
        let seen = Mutex::new((turn, current.now()));
        Self { current, seen }
    }

    /// The generation that answers now.
    pub(crate) fn now(&self) -> Arc<Generation> {
        let turn = self.current.turn.load(Ordering::Acquire);
        let mut seen = lock(&self.seen);
        if seen.0 != turn {
            *seen = (turn, self.current.now());
        }
        Arc::clone(&seen.1)
    }
}

/// Puts another router behind the sockets of a server.
#[derive(Clone, Debug)]
pub struct Renewal(pub(crate) Arc<Current>);

impl Renewal {
    /// From now on requests go to this router, made of the same dependencies as the one before; who may ask, and the limits of bodies and times, are as its settings say.
    ///
    /// # Errors
    /// `caller_invalid_request` naming a key of a client that cannot be read, `policy_forbidden` where others reach the server and no key would be left. Nothing has changed then.
    pub fn take_over(&self, router: Router) -> Result<()> {
        let mut now = lock(&self.0.now);
        *now = Generation::of(now.server.renewed(router, self.0.others)?);
        self.0.turn.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is exchanged whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
