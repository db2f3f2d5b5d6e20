//! The list of routes, and what their handlers share.

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::routing::{any, get, post};
use llm_router::dialect::Dialect;
use llm_router::error::Result;
use llm_router::router::Router;

use crate::door::Door;
use crate::kept::Kept;
use crate::options::ServerOptions;
use crate::routes::{health, passthrough, responses};
use crate::{chat, error};

/// A router behind HTTP. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Server(pub(crate) Arc<Inner>);

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) router: Router,
    pub(crate) options: ServerOptions,
    pub(crate) door: Door,
    /// Answers that later requests may go on from.
    pub(crate) kept: Kept,
    pub(crate) passing: passthrough::Places,
}

impl Server {
    /// A server over this router, with the keys and names of the router's settings.
    ///
    /// # Errors
    /// `caller_invalid_request` naming a key of a client that cannot be read.
    pub fn new(router: Router, options: ServerOptions) -> Result<Self> {
        let settings = &router.settings().server;
        let door = Door::new(&settings.api_keys, &settings.hosts)?;
        Ok(Self(Arc::new(Inner { router, options, door, kept: Kept::default(), passing: Default::default() })))
    }

    /// The routes.
    pub(crate) fn routes(&self) -> Routes {
        type Shared = State<Server>;
        Routes::new()
            .route("/v1/chat/completions", post(|s: Shared, r: Request| chat::answer(s, Dialect::OpenaiChat, r)))
            .route(
                "/v1/responses",
                post(|s: Shared, r: Request| chat::answer(s, Dialect::OpenaiResponses, r)).get(error::no_websocket),
            )
            .route("/v1/responses/{id}", get(responses::one).delete(responses::forget))
            .route("/v1/messages", post(|s: Shared, r: Request| chat::answer(s, Dialect::Anthropic, r)))
            .route("/v1beta/models/{*call}", post(|s: Shared, r: Request| chat::answer(s, Dialect::Gemini, r)))
            .route("/v1/models/{*call}", post(|s: Shared, r: Request| chat::answer(s, Dialect::Gemini, r)))
            .route("/passthrough/{*rest}", any(passthrough::pass))
            .route("/healthz", get(health::alive))
            .route("/readyz", get(health::ready))
            .fallback(any(error::not_found))
            .method_not_allowed_fallback(error::wrong_method)
            .with_state(self.clone())
    }
}
