//! What was used, over HTTP: everybody's for administration, one's own for a client; and where an answer says what it cost.

use std::sync::Arc;

use llm_router::config::{ClientKey, Credential, Settings};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::limits::grant::{Caveats, derive};
use llm_router::limits::key::{KeySpec, Role, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::pricing::{Price, Prices};
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::store::{MemoryStore, Store};
use llm_router::testing::scripted::Scripted;
use llm_router_server::{Server, ServerOptions};
use serde_json::Value;

use crate::support::{Ask, Serving, each};

const USAGE: &str = "/api/v0/ai/llm/usage";

fn deps(store: &Arc<dyn Store>) -> RouterDeps {
    let mut price = Price::default();
    (price.input, price.output) = (1_000_000, 2_000_000);
    let mut deps = RouterDeps::default();
    deps.prices = Arc::new(Prices::default().with([("s/m", price)]));
    deps.store = Some(Arc::clone(store));
    deps
}

fn serve(deps: RouterDeps, settings: Settings) -> Serving {
    let options = ServerOptions::of(&settings);
    let builder = Router::builder().provider(Scripted::text("s", "one two"));
    Serving::of(&Server::new(builder.deps(deps).settings(settings).build().unwrap(), options).unwrap())
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

#[tokio::test]
async fn administration_sees_all_that_was_used_and_a_client_its_own() {
    let store = store();
    let seal = Seal::new(|| Ok([3; 32]));
    let keyring = Keyring::new(Arc::clone(&store), seal, Arc::new(SystemClock), Scope::Key, []);
    let mut admin = KeySpec::new("ops");
    admin.role = Role::Admin;
    let (_, admin) = keyring.create(admin, "tests").await.unwrap();
    let (record, ann) = keyring.create(KeySpec::new("ann"), "tests").await.unwrap();
    let mut caveats = Caveats::default();
    caveats.limits.models = vec!["s/*".to_owned()];
    let narrower = derive(&ann, &caveats).unwrap();
    let mut settings = Settings::default();
    settings.server.virtual_keys = true;
    settings.server.api_keys = vec![ClientKey::new("bob", Credential::Value(Secret::new("bobs"))).of_team("lab")];
    let mut deps = deps(&store);
    deps.keyring = Some(keyring);
    let serving = serve(deps, settings);
    let ask = async |ask: Ask, key: &str| serving.send(ask.header("x-api-key", key)).await;

    for (dialect, chat) in each("s/m", false) {
        assert_eq!(ask(chat, ann.expose()).await.status, 200, "{dialect}");
    }
    assert_eq!(ask(Ask::chat("s/m"), narrower.expose()).await.status, 200);
    assert_eq!(ask(Ask::stream("s/m"), "bobs").await.status, 200);

    let read = async |query: &str, key: &str| -> Value {
        let reply = ask(Ask::get(&format!("{USAGE}?{query}")), key).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        serde_json::from_str(&reply.text()).unwrap()
    };
    let name = format!("ann#{}", record.id);
    let asked = each("s/m", false).len() as u64 + 1;
    let all = read("by=key%2Cteam", admin.expose()).await;
    let row = |key: &str| all["rows"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    // A token in, two out: one and four micro-dollars.
    assert_eq!(row(&name)["requests"], asked, "{all}");
    assert_eq!((&row(&name)["cost_micros"], &row(&name)["team"]), (&(5 * asked).into(), &"".into()));
    assert_eq!((&row("bob")["cost_micros"], &row("bob")["team"]), (&5.into(), &"lab".into()));
    assert_eq!(all["total"]["cost_micros"], 5 * asked + 5);

    let own = read("by=key", ann.expose()).await;
    assert_eq!((own["rows"].as_array().unwrap().len(), &own["rows"][0]["key"]), (1, &name.into()));
    assert_eq!(read("by=model&of=bob", admin.expose()).await["total"]["requests"], 1);
    assert_eq!(read("by=day&since=1d", "bobs").await["total"]["requests"], 1);
    for said in ["ann", &record.id, &format!("ann%23{}", record.id)] {
        assert_eq!(read(&format!("of={said}"), admin.expose()).await["total"]["requests"], asked, "{said}");
        assert_eq!(read(&format!("of={said}"), ann.expose()).await["total"]["requests"], asked, "{said}");
    }
    let unknown = ask(Ask::get(&format!("{USAGE}?of=nobody")), admin.expose()).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.text().contains(r#"no key \"nobody\" is in the books"#), "{}", unknown.text());
    for (query, key, status) in [
        ("of=bob", ann.expose(), 403),
        ("by=key", narrower.expose(), 403),
        ("by=colour", ann.expose(), 400),
        ("since=yesterday", ann.expose(), 400),
        ("colour=red", ann.expose(), 400),
        ("by=key", "nobody's", 401),
    ] {
        assert_eq!(ask(Ask::get(&format!("{USAGE}?{query}")), key).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn an_answer_says_what_it_cost_where_its_price_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let mut settings = Settings::default();
    settings.server.access_log = Some(path.display().to_string());
    let serving = serve(deps(&store()), settings);
    for (dialect, chat) in each("s/m", false) {
        assert_eq!(serving.send(chat).await.header("x-llm-router-cost"), "0.000005", "{dialect}");
    }
    assert_eq!(serving.send(Ask::chat("s/other")).await.header("x-llm-router-cost"), "", "unknown is not nothing");
    let native = |model: &str| {
        let body = format!(r#"{{"prompt":"hi","provider":"s","model_name":"{model}"}}"#);
        Ask::post("/api/v0/ai/llm/generate", body)
    };
    let told =
        async |model: &str| -> Value { serde_json::from_str(&serving.send(native(model)).await.text()).unwrap() };
    assert_eq!(told("m").await["cost_micros"], 5);
    assert!(told("other").await.get("cost_micros").is_none());
    let count = each("s/m", false).len() + 3;
    let lines = crate::support::soon(crate::observe::lines(&path, count)).await;
    let costs: Vec<_> = lines.iter().map(|line| line["cost_micros"].as_u64()).collect();
    assert_eq!(costs.iter().filter(|cost| **cost == Some(5)).count(), count - 2, "{costs:?}");
    // Where nobody needs a key everybody sees all.
    let all: Value = serde_json::from_str(&serving.send(Ask::get(USAGE)).await.text()).unwrap();
    assert_eq!((&all["total"]["requests"], &all["total"]["unpriced"]), (&count.into(), &2.into()));
}

#[tokio::test]
async fn without_a_state_store_there_is_no_usage_and_everything_else() {
    let mut deps = RouterDeps::default();
    deps.store = None;
    let serving = serve(deps, Settings::default());
    assert_eq!(serving.send(Ask::chat("s/m")).await.status, 200);
    let refused = serving.send(Ask::get(USAGE)).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("state store"), "{}", refused.text());
}
