//! The native API, in the shapes of the Python project that it comes from: what this server is, who could answer, whether anybody could, and forgetting stored answers.
//!
//! Generating is in `native/generate.rs`. Where the original had a field, it has the same name and meaning here; what is added stands beside. What it said of an
//! answer without knowing it (`"provider": "auto"`, `"cached": false`) is the truth here.

pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod keys;
pub(crate) mod usage;

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::provider::Availability;
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::router::resolve::{Door, Entry, is_invited};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::Server;
use crate::body::json_of;
use crate::door::Caller;
use crate::error;

/// What stands under `/api/v0/ai/`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Components {
    name: String,
    version: String,
    components: Vec<Component>,
}

/// One part of the API.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Component {
    name: String,
    status: String,
    description: String,
}

const DESCRIPTION: &str = "Multi-provider LLM text generation with IPFS peer support";

/// `GET /api/v0/ai/`: the parts of the API.
pub(crate) async fn components() -> Response {
    let component = Component {
        name: "llm_router".to_owned(),
        status: "available".to_owned(),
        description: DESCRIPTION.to_owned(),
    };
    let body = Components { name: "AI/ML API".to_owned(), version: version(), components: vec![component] };
    json_of(StatusCode::OK, &body)
}

/// What the router is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Info {
    name: String,
    version: String,
    description: String,
    features: Vec<String>,
    /// Path below this one → what it does.
    endpoints: BTreeMap<String, String>,
}

const FEATURES: &[&str] = &[
    "Multiple LLM providers (cloud APIs, servers of one's own, agent CLIs, peers)",
    "Embedded local model as the last resort",
    "Response caching",
    "Streaming",
    "Configurable via environment variables and a file",
];

const ENDPOINTS: &[(&str, &str)] = &[
    ("/generate", "Generate text from a prompt"),
    ("/providers", "List available providers"),
    ("/health", "Health check"),
    ("/explain", "Say who would answer, and why; nothing is sent"),
    ("/requests/{id}", "What happened to a request of late"),
    ("/cache/clear", "Forget stored answers"),
    ("/breakers/clear", "Ask providers again that are left alone"),
    ("/keys", "Make, list and revoke the keys of clients"),
    ("/usage", "What was used and what it cost"),
];

/// `GET /api/v0/ai/llm`: what the router is.
pub(crate) async fn info() -> Response {
    let owned = |text: &&str| (*text).to_owned();
    let body = Info {
        name: "LLM Router".to_owned(),
        version: version(),
        description: DESCRIPTION.to_owned(),
        features: FEATURES.iter().map(owned).collect(),
        endpoints: ENDPOINTS.iter().map(|(path, what)| (owned(path), owned(what))).collect(),
    };
    json_of(StatusCode::OK, &body)
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Who could answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Providers {
    /// The ids of those that could answer now, in resolution order.
    providers: Vec<String>,
    /// The one that heads every plan, where the configuration names one.
    default_provider: Option<String>,
    /// All that are known, with what the others lack.
    details: Vec<ProviderDetails>,
}

/// A provider as this server sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProviderDetails {
    /// Its id.
    id: String,
    /// Other names that it answers to.
    aliases: Vec<String>,
    /// Whether it could answer now; absent where only connecting would tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<bool>,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// The model that it uses when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_model: Option<String>,
    /// The dialects that it takes.
    dialects: Vec<String>,
    /// Its breakers that are not closed: what each is about, for how long, and after which error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    breakers: Vec<String>,
}

impl ProviderDetails {
    fn of(entry: &Entry, router: &Router, caller: &Caller) -> Self {
        let describe = entry.provider.describe();
        let (available, missing) = match entry.provider.availability() {
            Availability::Ready
                if describe.agent && !is_invited(entry.id.as_str(), caller.key.as_deref(), router.settings()) =>
            {
                (Some(false), Some("it may use tools on this machine and answers no server's clients".to_owned()))
            }
            Availability::Ready if describe.guess => (None, None),
            Availability::Ready => (Some(true), None),
            Availability::Missing { what, .. } => (Some(false), Some(what)),
        };
        Self {
            id: entry.id.to_string(),
            aliases: entry.aliases.iter().map(ToString::to_string).collect(),
            available,
            missing,
            default_model: describe.default_model.as_ref().map(ToString::to_string),
            dialects: describe.dialects.iter().map(ToString::to_string).collect(),
            breakers: Vec::new(),
        }
    }
}

impl Providers {
    pub(crate) fn of(router: &Router, caller: &Caller) -> Self {
        let details = router.entries().iter().map(|entry| ProviderDetails::of(entry, router, caller));
        let mut details: Vec<_> = details.collect();
        for state in router.breakers() {
            let provider = details.iter_mut().find(|details| state.provider == *details.id);
            provider.into_iter().for_each(|details| details.breakers.push(state.to_string()));
        }
        let ready = details.iter().filter(|provider| provider.available == Some(true));
        Self {
            providers: ready.map(|provider| provider.id.clone()).collect(),
            default_provider: router.settings().head().map(ToString::to_string),
            details,
        }
    }
}

/// `GET /api/v0/ai/llm/providers`: who could answer. Nobody is asked.
pub(crate) async fn providers(State(server): State<Server>, caller: Option<Extension<Caller>>) -> Response {
    let caller = caller.map(|Extension(caller)| caller).unwrap_or_default();
    json_of(StatusCode::OK, &Providers::of(&server.0.router, &caller))
}

/// Whether anybody could answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    status: HealthStatus,
    message: String,
    provider_available: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HealthStatus {
    Healthy,
    Unhealthy,
}

/// `GET /api/v0/ai/llm/health`: whether a request that names nobody would find somebody. As in the original the status is 200 in both cases.
pub(crate) async fn health(State(server): State<Server>) -> Response {
    let somebody = match server.0.router.explain(&Request::new(""), Door::NativeApi).await {
        Ok((plan, _)) if plan.targets.iter().all(|target| target.provider.describe().guess) => {
            Err("nothing is configured, and a server at a default address may not be there".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let body = match somebody {
        Ok(()) => Health {
            status: HealthStatus::Healthy,
            message: "LLM router is operational".to_owned(),
            provider_available: true,
        },
        Err(why) => Health {
            status: HealthStatus::Unhealthy,
            message: format!("LLM router error: {why}"),
            provider_available: false,
        },
    };
    json_of(StatusCode::OK, &body)
}

/// What became of a wish.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    status: String,
    message: String,
}

/// `POST /api/v0/ai/llm/cache/clear`: forgets the stored answers of whoever asks, and what was learnt of providers: for this machine's owner or an admin key.
///
/// The original drops its provider objects as well, so that the next call makes them from its environment anew. Here they are made once, from the configuration, and
/// hold what is dear (connections, loaded models, agents): what could be stale of them is who refused a key and what models there are, and that is forgotten.
pub(crate) async fn clear_cache(State(server): State<Server>, caller: Option<Extension<Caller>>) -> Response {
    let caller = caller.map(|Extension(caller)| caller).unwrap_or_default();
    let inner = &server.0;
    if let Err(error) = may_clear(&caller, "caches") {
        return error::native(&error, None);
    }
    let cleared = cleared(&inner.router, &caller).await;
    inner.catalog.forget().await;
    // A state store that cannot be written changes nothing about the answers, which are what was asked about.
    if let Err(error) = inner.router.forget_refusals().await {
        tracing::warn!("what was learnt of providers is not forgotten: {error}");
    }
    match cleared {
        Ok(cleared) => {
            let answers = if cleared == 1 { "answer" } else { "answers" };
            let message = format!("LLM router caches cleared: {cleared} stored {answers}");
            json_of(StatusCode::OK, &Done { status: "success".to_owned(), message })
        }
        Err(error) => error::native(&error, None),
    }
}

/// `POST /api/v0/ai/llm/breakers/clear`: closes all breakers and forgets refused logins, for this machine's owner or an admin key.
pub(crate) async fn clear_breakers(State(server): State<Server>, caller: Option<Extension<Caller>>) -> Response {
    let caller = caller.map(|Extension(caller)| caller).unwrap_or_default();
    let inner = &server.0;
    if let Err(error) = may_clear(&caller, "breakers") {
        return error::native(&error, None);
    }
    let open = inner.router.breakers().len();
    match inner.router.forget_refusals().await {
        Ok(()) => {
            let breakers = if open == 1 { "breaker" } else { "breakers" };
            let message = format!("{open} open {breakers} closed; every provider is asked again");
            json_of(StatusCode::OK, &Done { status: "success".to_owned(), message })
        }
        Err(error) => error::native(&error, None),
    }
}

/// Whether a caller may clear what others use too: whoever needs no key, and who shows an admin key.
///
/// # Errors
/// `policy_forbidden`.
pub(crate) fn may_clear(caller: &Caller, what: &str) -> Result<()> {
    if caller.name.is_none() || caller.admin {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PolicyForbidden, format!("only administration clears {what}"))
        .with_hint("show a key with `admin = true` or of the role admin"))
}

/// Forgets the stored answers of a caller and says how many there were.
pub(crate) async fn cleared(router: &Router, caller: &Caller) -> Result<u64> {
    let mut most = 0;
    for tier in router.deps().cache.iter().flat_map(|cache| cache.tiers()) {
        // The tiers hold the same answers, the nearer ones fewer of them.
        most = most.max(tier.clear(Some(&caller.namespace)).await?);
    }
    Ok(most)
}
