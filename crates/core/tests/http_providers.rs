//! HTTP providers from the public door: settings to registry to router, against loopback upstreams.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::config::{Credential, ProviderSettings, Settings};
use llm_router::deps::RouterDeps;
use llm_router::ids::ProviderId;
use llm_router::provider::registry::{Registry, Surroundings};
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::testing::scripted::Scripted;
use llm_router::testing::upstream::{Answer, Upstream};
use llm_router::{ErrorKind, provider::custom::provider_fn};

const REFUSAL: &str = r#"{"error":{"message":"Incorrect API key provided: sk-canary0123456789abcdef"}}"#;
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"from upstream"},"finish_reason":"stop"}]}"#;

fn id(text: &str) -> ProviderId {
    ProviderId::new(text).unwrap()
}

fn provider(url: String) -> ProviderSettings {
    let mut settings = ProviderSettings::default();
    settings.base_url = Some(url);
    settings.credentials = vec![Credential::Value(Secret::new("sk-canary0123456789abcdef"))];
    settings
}

/// Settings in which nothing but these providers could answer: not an agent of this machine, nor a server at its default port.
fn only(providers: impl IntoIterator<Item = (&'static str, ProviderSettings)>) -> Settings {
    let mut settings = Settings::default();
    for agent in ["codex_cli", "copilot_cli", "gemini_cli", "claude_code", "ollama", "llama_cpp", "lmstudio"] {
        let mut off = ProviderSettings::default();
        off.enabled = Some(false);
        settings.providers.insert(id(agent), off);
    }
    settings.providers.extend(providers.into_iter().map(|(name, provider)| (id(name), provider)));
    settings
}

fn router(registry: &Registry, settings: Settings) -> Router {
    let entries = registry.entries(&settings, &Surroundings::default()).unwrap();
    Router::new(RouterDeps::default(), Arc::new(settings), entries)
}

#[tokio::test]
async fn five_stale_keys_end_at_the_local_floor_and_are_then_passed_over() {
    let upstream = Upstream::serve([Answer::json(401, REFUSAL)]).await;
    let stale =
        ["openrouter", "openai", "anthropic", "gemini", "groq"].map(|name| (name, provider(upstream.url("/v1"))));
    let registry = Registry::default();
    registry.register(Arc::new(Scripted::text("local", "from this machine")), Vec::new(), None);
    let router = router(&registry, only(stale));
    let began = Instant::now();
    let response = router.generate(Request::new("hi")).await.unwrap();
    assert_eq!(response.text(), "from this machine");
    let trace = response.trace().unwrap();
    assert_eq!(trace.attempts.len(), 6);
    assert!(!format!("{trace:?}").contains("canary"));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(upstream.seen().requests.len(), 5);
    router.generate(Request::new("hi")).await.unwrap();
    assert_eq!(upstream.seen().requests.len(), 5);
}

#[tokio::test]
async fn a_provider_that_is_named_answers_or_fails_itself() {
    let upstream = Upstream::serve([Answer::json(200, ANSWER), Answer::json(401, REFUSAL)]).await;
    let registry = Registry::default();
    registry.register(Arc::new(Scripted::text("local", "from this machine")), Vec::new(), None);
    let router = router(&registry, only([("lab", provider(upstream.url("/v1")))]));
    let mut request = Request::new("hi");
    request.model = Some("lab/some/model".into());
    assert_eq!(router.generate(request.clone()).await.unwrap().text(), "from upstream");
    assert_eq!(upstream.last().json()["model"], "some/model");
    let error = router.generate(request).await.unwrap_err();
    assert_eq!((error.kind(), error.provider()), (ErrorKind::ProviderAuth, Some(&id("lab"))));
}

#[tokio::test]
async fn a_closure_replaces_a_provider_by_name() {
    let registry = Registry::default();
    let echo = provider_fn("openai", |call: Arc<llm_router::provider::Call>| async move {
        Ok(format!("echo: {}", call.request.plain_prompt().unwrap_or_default()))
    });
    registry.register(Arc::new(echo.unwrap()), Vec::new(), None);
    let router = router(&registry, only([]));
    let mut request = Request::new("hi");
    request.model = Some("openai/anything".into());
    assert_eq!(router.generate(request).await.unwrap().text(), "echo: hi");
    assert_eq!(router.generate(Request::new("ho")).await.unwrap().text(), "echo: ho");
}
