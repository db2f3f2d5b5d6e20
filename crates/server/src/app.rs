//! The list of routes, and what their handlers share.

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use http::Method;
use http::request::Parts;
use llm_router::dialect::Dialect;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::router::Router;
use tokio::sync::Semaphore;

use crate::access::AccessLog;
use crate::catalog::Catalog;
use crate::door::Door;
use crate::fetch::{Fetcher, Net, System};
use crate::kept::Kept;
use crate::options::ServerOptions;
use crate::replay::Replays;
use crate::routes::metrics::Counts;
use crate::routes::native::{self, explain, generate, keys, usage};
use crate::routes::{completions, embeddings, health, images, metrics, models, passthrough, responses, tokens};
use crate::{chat, docs, error, exposed, mcp, openapi, ui};

/// A router behind HTTP. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Server(pub(crate) Arc<Inner>);

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) router: Router,
    pub(crate) options: ServerOptions,
    pub(crate) door: Door,
    /// Where URLs in requests are fetched at all.
    pub(crate) fetcher: Option<Fetcher>,
    pub(crate) replays: Arc<Replays>,
    pub(crate) log: Option<Arc<AccessLog>>,
    pub(crate) counts: Arc<Counts>,
    /// Places for connections, shared by all runtimes.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) catalog: Arc<Catalog>,
    /// Answers that later requests may go on from.
    pub(crate) kept: Arc<Kept>,
    pub(crate) passing: Arc<passthrough::Places>,
}

/// The paths that nearly all requests go to, and what is spoken there.
const CONVERSATIONS: [(&str, Dialect); 3] = [
    ("/v1/chat/completions", Dialect::OpenaiChat),
    ("/v1/responses", Dialect::OpenaiResponses),
    ("/v1/messages", Dialect::Anthropic),
];

/// What is spoken, where a request goes to one of these paths: it need not pass the table of routes.
pub(crate) fn conversation(head: &Parts) -> Option<Dialect> {
    let path = head.uri.path();
    let spoken = CONVERSATIONS.iter().find(|(known, _)| *known == path).map(|(_, dialect)| *dialect);
    spoken.filter(|_| head.method == Method::POST)
}

impl Server {
    /// A server over this router, with the keys and names of the router's settings. Where keys are configured, clients reach what a person configured and
    /// not what merely lies in the environment.
    ///
    /// # Errors
    /// `caller_invalid_request` naming a key of a client that cannot be read, `router_unavailable` naming an access log that cannot be written.
    pub fn new(router: Router, options: ServerOptions) -> Result<Self> {
        let fetcher = fetcher(&router)?;
        Self::with(router, options, fetcher)
    }

    /// The server that takes this one's place over another router, made of the same dependencies: what it has counted and kept goes on, who may ask and who is reached is as the
    /// router's settings say now. What has to do with sockets and files that are open stays as it was. `others` is whether more than this machine reaches it.
    ///
    /// # Errors
    /// As [`Server::new`], and `policy_forbidden` where others reach it and no key would be left.
    pub(crate) fn renewed(&self, router: Router, others: bool) -> Result<Self> {
        let old = &self.0;
        let mut options = ServerOptions::of(router.settings());
        (options.connections, options.own) = (old.options.connections, old.options.own);
        options.access_log.clone_from(&old.options.access_log);
        let mut door = Door::new(router.settings(), router.deps().keyring.as_ref())?;
        door.follow(&old.door);
        if others && door.keys.is_open() && !router.settings().server.public {
            return Err(Error::new(
                ErrorKind::PolicyForbidden,
                "others reach this server, and no client key would be configured any more",
            )
            .with_hint("keep [[server.api_keys]], or set `public = true` under [server] if everybody may ask"));
        }
        let fetcher = fetcher(&router)?;
        let all = !others && (door.keys.is_open() || options.own);
        let router = if all { router } else { exposed::only_configured(&router) };
        Ok(Self(Arc::new(Inner {
            router,
            options,
            door,
            fetcher,
            replays: Arc::clone(&old.replays),
            log: old.log.clone(),
            counts: Arc::clone(&old.counts),
            slots: Arc::clone(&old.slots),
            catalog: Arc::default(),
            kept: Arc::clone(&old.kept),
            passing: Arc::clone(&old.passing),
        })))
    }

    fn with(router: Router, options: ServerOptions, fetcher: Option<Fetcher>) -> Result<Self> {
        let door = Door::new(router.settings(), router.deps().keyring.as_ref())?;
        let log = options.access_log.as_deref().map(AccessLog::open).transpose()?.map(Arc::new);
        let all = door.keys.is_open() || options.own;
        let router = if all { router } else { exposed::only_configured(&router) };
        let counts = Arc::new(Counts::new(router.deps().clock.now()));
        let slots = Arc::new(Semaphore::new(options.connections.min(Semaphore::MAX_PERMITS)));
        let shared = router.deps().store.clone().filter(|_| router.settings().store.url.is_some());
        let kept = Arc::new(shared.map_or_else(Kept::default, Kept::shared));
        let (replays, catalog, passing) = Default::default();
        Ok(Self(Arc::new(Inner {
            router,
            options,
            door,
            fetcher,
            replays,
            log,
            counts,
            slots,
            catalog,
            kept,
            passing,
        })))
    }

    /// The same server for an address that others reach.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub(crate) fn for_others(&self) -> Result<Self> {
        let inner = &self.0;
        if !inner.door.keys.is_open() {
            return Ok(self.clone());
        }
        Self::with(exposed::only_configured(&inner.router), inner.options.clone(), inner.fetcher.clone())
    }

    /// The same server with this way into the network for `server.fetch_urls`: for tests, which have none.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn fetching_through(&self, net: Arc<dyn Net>) -> Result<Self> {
        Self::with(self.0.router.clone(), self.0.options.clone(), Some(Fetcher::new(net)?))
    }

    /// What the administration's socket answers.
    pub(crate) fn admin_routes(&self) -> Routes {
        Routes::new()
            .route("/metrics", get(metrics::all))
            .route("/docs", get(docs::page))
            .route("/openapi.json", get(openapi::document))
            .route("/healthz", get(health::alive))
            .route("/readyz", get(health::ready))
            .merge(key_routes())
            .fallback(any(error::not_found))
            .method_not_allowed_fallback(error::wrong_method)
            .with_state(self.clone())
    }

    /// The routes.
    pub(crate) fn routes(&self) -> Routes {
        type Shared = State<Server>;
        let mut routes = Routes::new();
        if self.0.router.settings().mcp.enabled {
            routes = routes.route_service("/mcp", mcp::over_http(self));
        }
        for (path, dialect) in CONVERSATIONS {
            routes = routes.route(path, post(move |s: Shared, r: Request| chat::routed(s, dialect, r)));
        }
        routes
            .route("/v1/responses", get(error::no_websocket))
            .route("/v1/responses/{id}", get(responses::one).delete(responses::forget))
            .route("/passthrough/{*rest}", any(passthrough::pass))
            .route("/v1/completions", post(completions::complete))
            .route("/v1/embeddings", post(embeddings::openai))
            .route("/v1/images/generations", post(images::generate))
            .route("/v1/messages/count_tokens", post(|s: Shared, r: Request| tokens::count(s, Dialect::Anthropic, r)))
            .route("/v1beta/models/{*call}", post(google).get(models::one))
            .route("/v1/models/{*call}", post(google).get(models::one))
            .route("/v1/models", get(models::all))
            .route("/v1beta/models", get(models::all))
            .merge(native_routes())
            // Claude Code looks for a HEAD first and is content with nothing there.
            .route("/", get(ui::page).head(error::not_found))
            .route("/openapi.json", get(openapi::document))
            .route("/healthz", get(health::alive))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(metrics::for_admins))
            .route("/docs", get(docs::for_admins))
            .fallback(any(error::not_found))
            .method_not_allowed_fallback(error::wrong_method)
            .with_state(self.clone())
    }
}

fn fetcher(router: &Router) -> Result<Option<Fetcher>> {
    router.settings().server.fetch_urls.then(|| Fetcher::new(Arc::new(System))).transpose()
}

/// Google's clients say what they want behind a colon of the path.
async fn google(server: State<Server>, request: Request) -> Response {
    let path = request.uri().path();
    match path.rsplit('/').next().and_then(|last| last.rsplit_once(':').or(last.rsplit_once("%3A"))) {
        Some((_, "embedContent" | "batchEmbedContents")) => embeddings::google(server, request).await,
        Some((_, "countTokens")) => tokens::count(server, Dialect::Gemini, request).await,
        Some(_) => chat::routed(server, Dialect::Gemini, request).await,
        None => error::only(request, "GET,HEAD").await,
    }
}

/// The project's own API, under the paths of the Python project that it comes from.
fn native_routes() -> Routes<Server> {
    Routes::new()
        .route("/api/v0/ai", get(native::components))
        .route("/api/v0/ai/", get(native::components))
        .route("/api/v0/ai/llm", get(native::info))
        .route("/api/v0/ai/llm/", get(native::info))
        .route("/api/v0/ai/llm/generate", post(generate::generate))
        .route("/api/v0/ai/llm/explain", post(explain::explain))
        .route("/api/v0/ai/llm/providers", get(native::providers))
        .route("/api/v0/ai/llm/health", get(native::health))
        .route("/api/v0/ai/llm/cache/clear", post(native::clear_cache))
        .route("/api/v0/ai/llm/breakers/clear", post(native::clear_breakers))
        .merge(key_routes())
}

/// Keys of clients and what they used: at the administration's address, and at the clients' for admin keys and for each key's own.
fn key_routes() -> Routes<Server> {
    Routes::new()
        .route("/api/v0/ai/llm/keys", get(keys::list).post(keys::create))
        .route("/api/v0/ai/llm/keys/log", get(keys::log))
        .route("/api/v0/ai/llm/usage", get(usage::report))
        .route("/api/v0/ai/llm/keys/{key}", delete(keys::revoke).patch(keys::update))
        .route("/api/v0/ai/llm/requests/{id}", get(explain::request))
}
