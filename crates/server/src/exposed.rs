//! What clients of a server may reach: everything where only this machine's owner can ask, and otherwise what a person configured.
//!
//! A key that lies in the environment was put there for its owner's own commands; whoever may merely reach the socket, or has a key of the server's, must not
//! spend it. What counts as configured: a section of the config file, a route's target, what a program registered, and the floor, which runs here and costs nobody's key.

use std::sync::Arc;

use llm_router::config::names::builtin;
use llm_router::provider::registry::{Automatic, Entry};
use llm_router::router::Router;

/// The router with these providers alone. It shares everything that the given one is built from.
pub(crate) fn only_configured(router: &Router) -> Router {
    let settings = router.settings();
    let routed = |entry: &Entry| {
        let mut targets = settings.routes.values().flat_map(|route| route.groups.iter().flatten());
        targets.any(|target| {
            let id = target.split('/').next().unwrap_or_default();
            entry.is(&id.to_ascii_lowercase())
        })
    };
    let peers = router.deps().ipfs_backend.is_some();
    let configured = |entry: &&Entry| {
        settings.providers.iter().any(|(id, provider)| provider.configured && entry.is(id.as_str()))
            || entry.automatic == Automatic::Floor
            || builtin(entry.id.as_str()).is_none()
            || (entry.id == *"ipfs_peer" && peers)
            || routed(entry)
    };
    let entries = router.entries().iter().filter(configured).cloned().collect();
    Router::new(router.deps().clone(), Arc::new(settings.clone()), entries)
}
