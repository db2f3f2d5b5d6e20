//! What clients of one server share: stored answers, as `cache.scope` says, and nothing else; and what each of them cost.

use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::{ClientKey, Credential, Settings};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::testing::scripted::Scripted;
use llm_router_server::{Server, ServerOptions};
use std::sync::Arc;

use crate::support::{Ask, Serving};

/// A server with stored answers and three clients, two of them of one team.
fn serving(scope: &str) -> Serving {
    let clock = Arc::new(SystemClock);
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, clock.clone()));
    let strategy = KeyStrategy::parse("sha256", "base32").unwrap();
    let mut deps = RouterDeps::default();
    deps.cache = Some(ResponseCache::new(vec![memory], strategy, clock, true));
    let mut settings = Settings::default();
    settings.cache.scope = scope.to_owned();
    settings.server.admin = Some("127.0.0.1:0".into());
    let key = |name: &str| ClientKey::new(name, Credential::Value(Secret::new(format!("{name}-key"))));
    settings.server.api_keys =
        vec![key("ann").of_team("lab"), key("bob").of_team("lab").for_admin(), key("eve"), key("ops").for_admin()];
    let options = ServerOptions::of(&settings);
    let router =
        Router::builder().provider(Scripted::text("s", "hello")).deps(deps).settings(settings).build().unwrap();
    Serving::of(&Server::new(router, options).unwrap())
}

async fn cache(serving: &Serving, name: &str) -> String {
    let reply = serving.send(Ask::chat("s/m").header("x-api-key", &format!("{name}-key"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-llm-router-cache").to_owned()
}

#[tokio::test]
async fn clients_share_stored_answers_as_the_scope_says() {
    for (scope, bob, eve) in [("key", "miss", "miss"), ("team", "hit", "miss"), ("global", "hit", "hit")] {
        let serving = serving(scope);
        assert_eq!(cache(&serving, "ann").await, "miss", "{scope}");
        assert_eq!(cache(&serving, "ann").await, "hit", "{scope}");
        assert_eq!(
            (cache(&serving, "bob").await.as_str(), cache(&serving, "eve").await.as_str()),
            (bob, eve),
            "{scope}"
        );
        // What is cleared is what is shared, and by administration alone.
        let clear = |key: &str| Ask::post("/api/v0/ai/llm/cache/clear", "{}").header("x-api-key", key);
        assert_eq!(serving.send(clear("ann-key")).await.status, 403);
        assert_eq!(serving.send(clear("bob-key")).await.status, 200);
        let after = if scope == "key" { "hit" } else { "miss" };
        assert_eq!(cache(&serving, "ann").await, after, "{scope}");
    }
}

#[tokio::test]
async fn a_team_that_cannot_be_a_place_is_said_at_the_start() {
    let mut settings = Settings::default();
    settings.cache.scope = "team".to_owned();
    settings.server.api_keys = vec![ClientKey::new("ann", Credential::Value(Secret::new("k"))).of_team("two words")];
    let options = ServerOptions::of(&settings);
    let router = Router::builder().settings(settings).build().unwrap();
    let error = Server::new(router, options).unwrap_err();
    assert!(error.message().contains("server.api_keys") && error.message().contains("two words"), "{error}");
}

#[tokio::test]
async fn what_each_key_cost_is_counted_under_its_name() {
    let serving = serving("key");
    for name in ["ann", "ann", "eve"] {
        let fresh =
            Ask::chat("s/m").header("x-api-key", &format!("{name}-key")).header("cache-control", "no-store, no-cache");
        assert_eq!(serving.send(fresh).await.status, 200);
    }
    let prompt = Ask::post("/api/v0/ai/llm/generate", r#"{"prompt": "hi", "model_name": "s/m"}"#);
    assert_eq!(serving.send(prompt.header("x-api-key", "eve-key")).await.status, 200);
    assert_eq!(serving.send(Ask::chat("s/m").header("x-api-key", "stranger")).await.status, 401);
    let text = Ask::get("/metrics").send(serving.admin.unwrap()).await.text();
    for line in [
        r#"llm_router_key_requests_total{key="ann"} 2"#,
        r#"llm_router_key_requests_total{key="eve"} 2"#,
        r#"llm_router_key_requests_total{key="bob"} 0"#,
        r#"llm_router_key_tokens_total{key="ann",direction="output"} 2"#,
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("-key") && !text.contains("stranger"), "{text}");
}
