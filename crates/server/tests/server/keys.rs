//! Keys that are made: over HTTP by administration, elsewhere by another process, and what their limits do on every path.

use std::sync::Arc;
use std::time::Duration;

use llm_router::config::{ClientKey, Credential, KeyLimits, RouteSettings, Settings};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::ModelName;
use llm_router::limits::grant::{Caveats, derive};
use llm_router::limits::key::{KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::limits::{Limits, Role};
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::store::{MemoryStore, Store};
use llm_router::testing::scripted::Scripted;
use llm_router_server::{Server, ServerOptions};
use serde_json::json;

use crate::support::{Ask, Serving, each};

/// A server that takes keys of a store, and another process's hold on the same store.
struct World {
    serving: Serving,
    elsewhere: Keyring,
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn keyring(store: &Arc<dyn Store>) -> Keyring {
    let team = limits(|l| l.requests_per_minute = Some(3));
    Keyring::new(
        Arc::clone(store),
        Seal::new(|| Ok([3; 32])),
        Arc::new(SystemClock),
        Scope::Key,
        [("lab".to_owned(), team)],
    )
}

fn world() -> World {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let mut settings = Settings::default();
    settings.server.virtual_keys = true;
    let mut tight = ClientKey::new("tight", Credential::Value(Secret::new("tight-key")));
    tight.limits.requests_per_minute = Some(2);
    tight.limits.models = vec!["fast".to_owned(), "s/b*".to_owned()];
    settings.server.api_keys =
        vec![ClientKey::new("static", Credential::Value(Secret::new("static-key"))).of_team("lab"), tight];
    settings.teams.insert("lab".to_owned(), KeyLimits::default());
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["s/a".to_owned()]];
    settings.routes.insert("fast".to_owned(), route);
    let mut deps = RouterDeps::default();
    deps.keyring = Some(keyring(&store));
    deps.store = Some(Arc::clone(&store));
    let options = ServerOptions::of(&settings);
    let provider = Scripted::text("s", "hello").serving(["a", "b1", "m"].map(|name| ModelName::new(name).unwrap()));
    let router = Router::builder().provider(provider).deps(deps).settings(settings).build().unwrap();
    World { serving: Serving::of(&Server::new(router, options).unwrap()), elsewhere: keyring(&store) }
}

impl World {
    async fn key(&self, name: &str, change: impl FnOnce(&mut KeySpec)) -> Secret {
        let mut spec = KeySpec::new(name);
        change(&mut spec);
        let key = self.elsewhere.create(spec, "tests").await.unwrap().1;
        self.until(&key, 200).await;
        key
    }

    /// Waits until a key is known to be good or not; two seconds are allowed.
    async fn until(&self, key: &Secret, status: u16) {
        let began = std::time::Instant::now();
        while self.ask(Ask::get("/v1/models"), key).await.status != status {
            assert!(began.elapsed() < Duration::from_secs(2), "a change is seen within two seconds");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&self, ask: Ask, key: &Secret) -> crate::support::Reply {
        self.serving.send(ask.header("x-api-key", key.expose())).await
    }
}

#[tokio::test]
async fn a_key_of_another_process_is_taken_and_refused_within_two_seconds() {
    let world = world();
    assert_eq!(world.serving.send(Ask::chat("s/m")).await.status, 401, "a key is wanted");
    let key = world.key("alice", |_| {}).await;
    let narrower = derive(&key, &{
        let mut caveats = Caveats::default();
        caveats.limits.models = vec!["s/a".to_owned()];
        caveats
    })
    .unwrap();
    for (dialect, ask) in each("s/m", false).into_iter().take(3) {
        assert_eq!(world.ask(ask.clone(), &key).await.status, 200, "{dialect}");
        assert_eq!(world.ask(ask, &narrower).await.status, 403, "{dialect}");
    }
    assert_eq!(world.ask(Ask::chat("s/a"), &narrower).await.status, 200);
    world.elsewhere.revoke("alice", "tests").await.unwrap();
    world.until(&key, 401).await;
    assert_eq!(world.ask(Ask::chat("s/a"), &narrower).await.status, 401);
    assert!(world.ask(Ask::chat("s/a"), &key).await.text().contains("revoked"));
}

#[tokio::test]
async fn what_is_over_a_limit_is_told_in_each_dialect_with_the_way_back() {
    let world = world();
    let key = world.key("bob", |spec| spec.limits = limits(|l| l.requests_per_minute = Some(1))).await;
    assert_eq!(world.ask(Ask::chat("s/m"), &key).await.status, 200);
    for (dialect, ask) in each("s/m", true) {
        let reply = world.ask(ask, &key).await;
        assert_eq!(reply.status, 429, "{dialect}: {}", reply.text());
        assert!((58..=61).contains(&reply.header("retry-after").parse::<u64>().unwrap()), "{dialect}");
        assert_eq!(reply.header("x-ratelimit-limit-requests"), "1", "{dialect}");
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), "0", "{dialect}");
        assert!(reply.header("x-ratelimit-reset-requests").ends_with('s'), "{dialect}");
        assert_eq!(reply.header("anthropic-ratelimit-requests-limit") == "1", dialect.as_str() == "anthropic");
        assert_eq!(reply.header("x-should-retry"), "", "{dialect}: waiting helps");
    }
    let native = Ask::post("/api/v0/ai/llm/generate", json!({"prompt": "hi", "provider": "s"}).to_string());
    assert_eq!(world.ask(native, &key).await.json()["kind"], "policy_rate_limited");
    let large = world.key("eve", |spec| spec.limits = limits(|l| l.tokens_per_minute = Some(2))).await;
    let reply = world.ask(Ask::chat("s/m"), &large).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-limit-tokens")), (429, "2"));
}

#[tokio::test]
async fn a_team_counts_its_keys_together_those_of_the_configuration_too() {
    let world = world();
    let one = world.key("one", |spec| spec.team = Some("lab".to_owned())).await;
    let two = world.key("two", |spec| spec.team = Some("lab".to_owned())).await;
    assert_eq!(world.ask(Ask::chat("s/m"), &one).await.status, 200);
    assert_eq!(world.ask(Ask::chat("s/m"), &two).await.status, 200);
    assert_eq!(world.ask(Ask::chat("s/m"), &Secret::new("static-key")).await.status, 200);
    for key in [one, two, Secret::new("static-key")] {
        let reply = world.ask(Ask::chat("s/m"), &key).await;
        assert_eq!(reply.status, 429);
        assert!(reply.text().contains("team lab"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_route_that_a_key_names_is_allowed_and_nothing_beside_it() {
    let world = world();
    let key = world.key("routed", |spec| spec.limits = limits(|l| l.models = vec!["fast".to_owned()])).await;
    assert_eq!(world.ask(Ask::chat("fast"), &key).await.status, 200);
    let reply = world.ask(Ask::chat("s/a"), &key).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(reply.header("x-should-retry"), "false");
}

#[tokio::test]
async fn keys_and_caches_are_for_administration() {
    let world = world();
    let user = world.key("user", |_| {}).await;
    let admin = world.key("boss", |spec| spec.role = Role::Admin).await;
    let keys = "/api/v0/ai/llm/keys";
    let clear = Ask::post("/api/v0/ai/llm/cache/clear", "{}");
    let made = Ask::post(keys, json!({"name": "carol", "limits": {"requests_per_minute": 7}}).to_string());
    let (list, log) = (Ask::get(keys), Ask::get(&format!("{keys}/log")));
    let mut gone = Ask::get(&format!("{keys}/carol"));
    gone.method = "DELETE".to_owned();
    for ask in [&clear, &made, &list, &log, &gone] {
        assert_eq!(world.ask(ask.clone(), &user).await.status, 403, "{} {}", ask.method, ask.target);
    }
    assert_eq!(world.ask(clear, &admin).await.status, 200);
    let reply = world.ask(made.clone(), &admin).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let carol = Secret::new(reply.json()["key"].as_str().unwrap());
    assert_eq!(world.ask(Ask::chat("s/m"), &carol).await.status, 200, "at once where it was made");
    let reply = world.ask(made, &admin).await;
    assert_eq!((reply.status, reply.json()["kind"].as_str()), (400, Some("caller_invalid_request")));
    let typing = Ask::post(keys, json!({"name": "x", "limits": {"requests": 7}}).to_string());
    assert_eq!(world.ask(typing, &admin).await.status, 400, "no limit is overlooked");
    let listed = world.ask(list, &admin).await.text();
    assert!(listed.contains("carol") && !listed.contains(carol.expose()) && !listed.contains("hash"), "{listed}");
    assert_eq!(world.ask(gone, &admin).await.status, 200);
    assert_eq!(world.ask(Ask::chat("s/m"), &carol).await.status, 401);
    let log = world.ask(log, &admin).await.json();
    let last = log["log"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["did"], &last["name"]), (&json!("revoke"), &json!("carol")));
    assert!(last["by"].as_str().unwrap().starts_with("boss#"));
}

#[tokio::test]
async fn a_key_of_the_configuration_has_limits_of_its_own_and_sees_the_models_that_it_may_ask() {
    let world = world();
    let tight = Secret::new("tight-key");
    assert_eq!(world.ask(Ask::chat("s/a"), &tight).await.status, 403);
    assert_eq!(world.ask(Ask::chat("fast"), &tight).await.status, 200);
    assert_eq!(world.ask(Ask::chat("s/b1"), &tight).await.status, 200);
    let reply = world.ask(Ask::chat("s/b1"), &tight).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-limit-requests")), (429, "2"), "{}", reply.text());
    let listed = async |key: &Secret| {
        let list = world.ask(Ask::get("/v1/models"), key).await.json();
        let ids = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let all = listed(&Secret::new("static-key")).await;
    let seen = listed(&tight).await;
    assert!(seen.len() < all.len() && seen.contains(&"fast".to_owned()), "{seen:?} of {all:?}");
    assert!(seen.iter().all(|id| id == "fast" || id.starts_with("s/b")), "{seen:?}");
    let one = async |id: &str| world.ask(Ask::get(&format!("/v1/models/{id}")), &tight).await.status;
    assert_eq!((one("fast").await, one(&all.iter().find(|id| !seen.contains(*id)).unwrap().clone()).await), (200, 404));
}

#[tokio::test]
async fn administration_changes_a_key_while_it_is_in_use() {
    let world = world();
    let admin = world.key("root", |spec| spec.role = Role::Admin).await;
    let key = world.key("alice", |spec| spec.limits = limits(|l| l.requests_per_minute = Some(1))).await;
    assert_eq!(world.ask(Ask::chat("s/m"), &key).await.status, 200);
    assert_eq!(world.ask(Ask::chat("s/m"), &key).await.status, 429);
    let patch = |body: serde_json::Value| Ask {
        method: "PATCH".to_owned(),
        ..Ask::post("/api/v0/ai/llm/keys/alice", body.to_string())
    };
    let change = json!({"limits": {"requests_per_minute": 2, "models": ["s/*"]}});
    assert_eq!(world.ask(patch(change.clone()), &key).await.status, 403, "not by itself");
    let changed = world.ask(patch(change), &admin).await;
    assert_eq!((changed.status, changed.json()["limits"]["requests_per_minute"].as_u64()), (200, Some(2)));
    assert_eq!(world.ask(Ask::chat("s/m"), &key).await.status, 200, "at once where it was done");
    assert_eq!(world.ask(Ask::chat("s/m"), &key).await.status, 429, "the first one still counts");
    assert_eq!(world.ask(patch(json!({"limits": {"requests_per_minute": null}})), &admin).await.status, 200);
    assert_eq!(world.ask(Ask::chat("s/m"), &key).await.status, 200);
    assert_eq!(world.ask(patch(json!({"hash": "x"})), &admin).await.status, 400);
    for (said, micros) in [(json!("2.00"), 2_000_000), (json!(2), 2)] {
        let changed = world.ask(patch(json!({"limits": {"budget_per_day": said}})), &admin).await;
        assert_eq!(changed.json()["limits"]["budget_per_day"].as_u64(), Some(micros), "{said}");
    }
    let wrong = json!({"name": "bob", "limits": {"budget_per_day": "two"}});
    for ask in [Ask::post("/api/v0/ai/llm/keys", wrong.to_string()), patch(json!({"limits": {"budget_per_day": 2.5}}))]
    {
        let refused = world.ask(ask, &admin).await;
        assert_eq!(refused.status, 400);
        let said = refused.text();
        assert!(said.contains("limits.budget_per_day: ") && said.contains("micro-dollars as a whole number"), "{said}");
    }
}
