//! An agent that may use tools on this machine: whose requests reach it over HTTP and MCP, and who is told of it.

use std::sync::Arc;

use llm_router::config::{ClientKey, Credential, ProviderSettings, Settings};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::limits::grant::{Caveats, derive};
use llm_router::limits::key::{KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::provider::Describe;
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::store::MemoryStore;
use llm_router::testing::scripted::Scripted;
use llm_router_server::{Server, ServerOptions};
use serde_json::{Value, json};

use crate::support::{Ask, Serving, each};

/// A server whose agent lets two keys in, and the keys of everybody.
struct World {
    serving: Serving,
    made: Secret,
    derived: Secret,
    other: Secret,
}

async fn world() -> World {
    let keyring = Keyring::new(
        Arc::new(MemoryStore::new(Arc::new(SystemClock))),
        Seal::new(|| Ok([3; 32])),
        Arc::new(SystemClock),
        Scope::Key,
        [],
    );
    let (record, made) = keyring.create(KeySpec::new("alice"), "tests").await.unwrap();
    // A key may have the name that another one's id is not.
    let (_, other) = keyring.create(KeySpec::new("mallory"), "tests").await.unwrap();
    let mut caveats = Caveats::default();
    caveats.limits.concurrency = Some(9);
    let derived = derive(&made, &caveats).unwrap();
    let mut settings = Settings::default();
    settings.server.virtual_keys = true;
    settings.server.passthrough = vec!["agent".to_owned()];
    let fixed = |name: &str| ClientKey::new(name, Credential::Value(Secret::new(format!("{name}-key"))));
    // One of the configuration has no id, so that the id of another is no name of it.
    settings.server.api_keys = vec![fixed("desk"), fixed("hall"), fixed("alice")];
    let mut own = ProviderSettings::default();
    (own.agent, own.remote, own.configured) = (true, vec![record.id, "desk".to_owned()], true);
    settings.providers.insert(ProviderId::new("agent").unwrap(), own);
    let agent = Scripted::text("agent", "done").serving([ModelName::new("worker").unwrap()]);
    let agent = agent.describing(|describe: Describe| {
        let mut describe = describe;
        describe.agent = true;
        describe
    });
    let mut deps = RouterDeps::default();
    deps.keyring = Some(keyring);
    let options = ServerOptions::of(&settings);
    let builder = Router::builder().provider(agent).provider(Scripted::text("s", "hello"));
    let router = builder.deps(deps).settings(settings).build().unwrap();
    let serving = Serving::of(&Server::new(router, options).unwrap());
    World { serving, made, derived, other }
}

impl World {
    async fn asks(&self, ask: Ask, key: &str) -> crate::support::Reply {
        self.serving.send(ask.header("x-api-key", key)).await
    }

    async fn mcp(&self, tool: &str, arguments: Value, key: &str) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments}});
        let ask = Ask::post("/mcp", call.to_string()).header("accept", "application/json, text/event-stream");
        self.asks(ask.header("mcp-protocol-version", "2025-06-18"), key).await.json()["result"].clone()
    }
}

#[tokio::test]
async fn those_whom_its_owner_names_reach_an_agent_and_nobody_else() {
    let world = world().await;
    let invited = [world.made.expose(), "desk-key"];
    // One derived from a named key is narrower, and another key; one of the same name is another key.
    let others = [world.derived.expose(), world.other.expose(), "hall-key", "alice-key"];
    for stream in [false, true] {
        for (dialect, ask) in each("agent/worker", stream) {
            for key in invited {
                let reply = world.asks(ask.clone(), key).await;
                assert_eq!((reply.status, reply.text().contains("done")), (200, true), "{dialect}: {}", reply.text());
            }
            for key in others {
                let reply = world.asks(ask.clone(), key).await;
                assert_eq!(reply.status, 403, "{dialect}: {}", reply.text());
                assert!(reply.text().contains("answers the command and the library only"), "{}", reply.text());
            }
        }
    }
    assert_eq!(world.serving.send(Ask::chat("agent/worker")).await.status, 401, "nobody without a key");
    // No body and no header says whose key it was.
    let said = json!({"model": "agent/worker", "key": "desk", "riders": {"key": "desk"},
        "messages": [{"role": "user", "content": "hi"}]});
    let ask = Ask::post("/v1/chat/completions", said.to_string()).header("x-llm-router-key", "desk");
    assert_eq!(world.asks(ask, "hall-key").await.status, 403);
}

#[tokio::test]
async fn what_passes_through_unread_reaches_an_agent_for_nobody_else_either() {
    let world = world().await;
    let pass = || Ask::post("/passthrough/agent/files", "{}");
    for key in [world.derived.expose(), world.other.expose(), "hall-key", "alice-key"] {
        let reply = world.asks(pass(), key).await;
        assert_eq!(reply.status, 403, "{}", reply.text());
        assert!(reply.text().contains("answers the command and the library only"), "{}", reply.text());
    }
    // This one is a program: it says for itself that it has nothing to pass a request to.
    for key in [world.made.expose(), "desk-key"] {
        let reply = world.asks(pass(), key).await;
        assert_eq!((reply.status, reply.text().contains("no HTTP API")), (400, true), "{}", reply.text());
    }
}

#[tokio::test]
async fn lists_and_plans_show_an_agent_to_those_whom_it_answers() {
    let world = world().await;
    for (key, invited) in [("desk-key", true), ("hall-key", false), (world.derived.expose(), false)] {
        let models = world.asks(Ask::get("/v1/models"), key).await.text();
        assert_eq!(models.contains("agent/worker"), invited, "{models}");
        let one = world.asks(Ask::get("/v1/models/agent"), key).await.status;
        assert_eq!(one, if invited { 200 } else { 404 });
        let providers = world.asks(Ask::get("/api/v0/ai/llm/providers"), key).await.json();
        assert_eq!(providers["providers"].as_array().unwrap().contains(&json!("agent")), invited, "{providers}");
        let explain = Ask::post("/api/v0/ai/llm/explain", json!({"prompt": "hi", "model": "agent"}).to_string());
        assert_eq!(world.asks(explain, key).await.status, if invited { 200 } else { 403 });
    }
}

#[tokio::test]
async fn tools_of_mcp_are_as_the_rest() {
    let world = world().await;
    for (key, invited) in [("desk-key", true), ("hall-key", false)] {
        let done = world.mcp("generate", json!({"prompt": "hi", "model": "agent/worker"}), key).await;
        assert_eq!(done["isError"] == true, !invited, "{done}");
        let explained = world.mcp("explain", json!({"prompt": "hi", "model": "agent/worker"}), key).await;
        assert_eq!(explained["isError"] == true, !invited, "{explained}");
        let models = world.mcp("list_models", json!({}), key).await;
        assert_eq!(models.to_string().contains("agent/worker"), invited, "{models}");
    }
}
