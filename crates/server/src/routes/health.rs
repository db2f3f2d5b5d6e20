//! Whether the process turns, and whether it wants traffic. Neither asks an upstream: a router whose providers are all down still answers, with errors that say so.

use axum::extract::State;
use http::StatusCode;

use crate::app::Server;

/// `GET /healthz`: the loop turns.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the configuration is loaded and the server is not draining.
pub(crate) async fn ready(State(server): State<Server>) -> (StatusCode, &'static str) {
    if server.0.router.deps().shutdown.is_cancelled() || server.0.door.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
