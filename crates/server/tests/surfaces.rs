//! The surfaces that are no dialect's: the native API, lists of models, `/v1/completions`. Each as a client sees it, over a real socket.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use llm_router::config::Settings;
use llm_router::error::{Error, ErrorKind};
use llm_router::ids::ModelName;
use llm_router::router::Router;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use serde_json::{Value, json};
use support::{kept, serve, start};

fn echo() -> Scripted {
    let model = ModelName::new("org/parrot").unwrap();
    Scripted::text("echo", "one two three")
        .serving([model.clone(), ModelName::new("small").unwrap()])
        .describing(|describe| describe.with_default_model(model))
}

#[tokio::test]
async fn a_prompt_is_answered_with_the_truth_about_it() {
    let server = serve(echo()).await;
    let asked = json!({"prompt": "hi", "provider": "auto", "max_tokens": 9});
    for cached in [false, true] {
        let answer = server.post("/api/v0/ai/llm/generate", &asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["text"], "one two three");
        assert_eq!((&body["provider"], &body["model"]), (&json!("echo"), &json!("org/parrot")));
        assert_eq!(body["cached"], cached);
        assert_eq!((&body["usage"]["total"], &body["finish_reason"]), (&json!(4), &json!("stop")));
        assert_eq!(body["request_id"], answer.header("x-request-id"));
    }
    let call = server.post("/api/v0/ai/llm/generate", &json!({"prompt": "hi", "model_name": "echo/small"})).await;
    assert_eq!(call.json()["model"], "small");
    let cleared = server.send("POST", "/api/v0/ai/llm/cache/clear", &[], None).await.json();
    assert_eq!(cleared, json!({"status": "success", "message": "LLM router caches cleared: 2 stored answers"}));
    assert_eq!(server.post("/api/v0/ai/llm/generate", &asked).await.json()["cached"], false);
}

#[tokio::test]
async fn a_streamed_prompt_ends_with_what_the_whole_one_says() {
    let server = serve(echo()).await;
    let answer = server.post("/api/v0/ai/llm/generate", &json!({"prompt": "hi", "stream": true})).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let mut events = answer.events();
    let (name, done) = events.pop().unwrap();
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!((name.as_str(), &done["provider"], &done["finish_reason"]), ("done", &json!("echo"), &json!("stop")));
    assert!(done.get("text").is_none() && done["usage"]["output"] == 3, "{done}");
    let mut text = String::new();
    for (_, data) in events {
        let line: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(line["v"], 1);
        for delta in line["deltas"].as_array().unwrap() {
            text.push_str(delta["part"]["text"].as_str().unwrap_or_default());
        }
    }
    assert_eq!(text, "one two three");
}

#[tokio::test]
async fn failures_say_detail_and_kind_before_and_after_the_head() {
    let broken = Error::new(ErrorKind::ProviderConnection, "the line went dead");
    let mut events: Vec<_> = text_events("one two", None).into_iter().take(2).map(Ok).collect();
    events.push(Err(broken));
    let turns = [Turn::Fail(Error::new(ErrorKind::CallerContextLength, "too long")), Turn::Events(events)];
    let server = serve(Scripted::new("echo", turns)).await;
    let refused = server.post("/api/v0/ai/llm/generate", &json!({"prompt": "hi"})).await;
    assert_eq!((refused.status, refused.json()["kind"].as_str()), (400, Some("caller_context_length")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("too long"));
    let cut = server.post("/api/v0/ai/llm/generate", &json!({"prompt": "hi", "stream": true})).await;
    let (name, data) = cut.events().pop().unwrap();
    assert_eq!(name, "error");
    assert!(data.contains("provider_connection"), "{data}");
    for (path, body, status) in [
        ("/api/v0/ai/llm/generate", json!({"prompt": 3}), 400),
        ("/api/v0/ai/llm/generate", json!({"prompt": "x", "provider": "nobody"}), 400),
        ("/api/v0/ai/llm/generate", json!({"prompt": "x", "model_name": "nobody"}), 404),
        ("/api/v0/ai/llm/nothing", json!({}), 404),
        ("/api/v0/ai/llm/providers", json!({}), 405),
    ] {
        let refused = server.post(path, &body).await;
        assert_eq!(refused.status, status, "{path} {body}");
        assert!(refused.json()["detail"].is_string() && refused.json()["kind"].is_string(), "{refused:?}");
    }
}

#[tokio::test]
async fn the_original_finds_what_it_knew() {
    let server = serve(echo()).await;
    let index = server.get("/api/v0/ai/", &[]).await.json();
    assert_eq!(index["components"][0]["name"], "llm_router");
    for path in ["/api/v0/ai/llm", "/api/v0/ai/llm/"] {
        let info = server.get(path, &[]).await.json();
        assert_eq!(info["name"], "LLM Router");
        assert!(info["features"].is_array() && info["endpoints"]["/generate"].is_string(), "{info}");
    }
    let providers = server.get("/api/v0/ai/llm/providers", &[]).await.json();
    assert!(providers["providers"].as_array().unwrap().contains(&json!("echo")), "{providers}");
    assert_eq!(providers["default_provider"], Value::Null);
    let health = server.get("/api/v0/ai/llm/health", &[]).await.json();
    assert_eq!((&health["status"], &health["provider_available"]), (&json!("healthy"), &json!(true)));
    let missing = llm_router::provider::Availability::missing("its key", "set it");
    let nobody = serve(Scripted::text("echo", "x").available(missing)).await;
    let health = nobody.get("/api/v0/ai/llm/health", &[]).await.json();
    assert_eq!((&health["status"], &health["provider_available"]), (&json!("unhealthy"), &json!(false)));
}

#[tokio::test]
async fn one_list_of_models_has_three_shapes_and_ids_that_can_be_sent_back() {
    let mut settings = Settings::default();
    let mut route = llm_router::config::RouteSettings::default();
    route.groups = vec![vec!["echo/small".to_owned()]];
    settings.routes.insert("fast".to_owned(), route);
    let server = start(Router::builder().provider(echo()).deps(kept()).settings(settings)).await;
    let openai = server.get("/v1/models", &[]).await.json();
    let ids: Vec<&str> = openai["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fast", "echo/org/parrot", "echo/small"]);
    for id in ids {
        let asked = json!({"model": id, "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(server.post("/v1/chat/completions", &asked).await.status, 200, "{id}");
    }
    let anthropic = server.get("/v1/models?limit=2", &[("anthropic-version", "2023-06-01")]).await.json();
    assert_eq!((&anthropic["last_id"], &anthropic["has_more"]), (&json!("echo/org/parrot"), &json!(true)));
    for (path, headers) in
        [("/v1beta/models", &[][..]), ("/v1/models", &[("x-goog-api-key", "k")]), ("/v1/models?key=k", &[])]
    {
        let google = server.get(path, headers).await.json();
        assert_eq!(google["models"][1]["name"], "models/echo/org/parrot", "{path}");
    }
    for (path, id) in [
        ("/v1/models/echo/org/parrot", "echo/org/parrot"),
        ("/v1/models/echo%2Forg%2Fparrot", "echo/org/parrot"),
        ("/v1/models/small", "small"),
    ] {
        assert_eq!(server.get(path, &[]).await.json()["id"], id);
    }
    let one = server.get("/v1beta/models/echo/small", &[]).await.json();
    assert_eq!(one["name"], "models/echo/small");
    assert_eq!(one["supportedGenerationMethods"], json!(["generateContent", "countTokens"]));
    let none = server.get("/v1/models/nobody", &[]).await;
    assert_eq!((none.status, &none.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn google_clients_see_which_models_make_vectors() {
    let models = ["chat", "bge-m3", "text-embedding-3-small"].map(|name| ModelName::new(name).unwrap());
    let own = models[1].clone();
    let maker = Scripted::text("maker", "x").serving(models).describing(|describe| describe.with_embedding_model(own));
    let list = serve(maker).await.get("/v1beta/models", &[]).await.json();
    let methods: Vec<_> =
        list["models"].as_array().unwrap().iter().map(|model| &model["supportedGenerationMethods"]).collect();
    let (text, vectors) = (json!(["generateContent", "countTokens"]), json!(["embedContent", "countTokens"]));
    assert_eq!(methods, [&text, &vectors, &vectors], "{list}");
}

#[tokio::test]
async fn the_page_comes_with_a_policy_that_allows_only_itself() {
    let server = serve(echo()).await;
    let page = server.get("/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'sha256-"), "{policy}");
}

#[tokio::test]
async fn the_page_may_ask_the_server_that_it_came_from() {
    let server = serve(echo()).await;
    let body = json!({"messages": [{"role": "user", "content": "hi"}]}).to_string();
    let own = format!("http://{}", server.address);
    for (origin, status) in [(own.as_str(), 200), ("https://elsewhere.example", 403)] {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        assert_eq!(server.send("POST", "/v1/chat/completions", &headers, Some(&body)).await.status, status, "{origin}");
    }
}

#[tokio::test]
async fn the_document_names_what_is_there() {
    let server = serve(echo()).await;
    let document = server.get("/openapi.json", &[]).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let kept = path.contains("{id}");
            let path = path.replace("{model}", "echo/small").replace("{id}", "resp_nobody");
            let headers = [("content-type", "application/json")];
            let answer = server.send(&method.to_uppercase(), &path, &headers, Some("{}")).await;
            // Of an answer or a request that nobody knows it is said in the path's own shape that there is none; of a path that is not there nobody gives a hint.
            let said =
                |answer: &support::Answer| answer.json()["error"].is_object() || answer.json()["hint"].is_string();
            let absent = kept && answer.status == 404 && said(&answer);
            assert!(absent || !matches!(answer.status, 404 | 405), "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn tokens_are_counted_or_guessed_and_the_answer_says_which() {
    let server = serve(echo()).await;
    let asked = json!({"model": "echo/small", "messages": [{"role": "user", "content": "12345678"}]});
    let counted = server.post("/v1/messages/count_tokens", &asked).await;
    assert_eq!(
        (counted.json(), counted.header("x-llm-router-estimated")),
        (json!({"input_tokens": 6, "estimated": true}), "true")
    );
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": "12345678"}]}]});
    let counted = server.post("/v1beta/models/echo/small:countTokens", &asked).await;
    assert_eq!(counted.json(), json!({"totalTokens": 6, "estimated": true}));
}

#[tokio::test]
async fn probes_of_clients_harm_nobody() {
    let server = serve(echo()).await;
    assert_eq!(server.send("HEAD", "/", &[], None).await.status, 404);
    assert_eq!(server.send("HEAD", "/api/hello", &[], None).await.status, 404);
}

#[tokio::test]
async fn a_prompt_is_completed_whole_and_streamed() {
    let provider = Arc::new(echo());
    let server = start(Router::builder().instance(provider.clone()).settings(Settings::default())).await;
    let asked = json!({"model": "echo/small", "prompt": "say: ", "echo": true, "stop": ["x"], "max_tokens": 5});
    let whole = server.post("/v1/completions", &asked).await.json();
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["text"]),
        (&json!("text_completion"), &json!("say: one two three"))
    );
    assert_eq!(whole["usage"], json!({"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}));
    assert!(whole["created"].as_u64().unwrap() > 1_700_000_000, "{whole}");
    let sent = &provider.calls()[0].request.sampling;
    assert_eq!((sent.max_tokens, sent.stop.as_slice()), (Some(5), &["x".to_owned()][..]));
    let mut streamed = asked.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/completions", &streamed).await.events();
    assert_eq!(events.last().unwrap().1, "[DONE]");
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "say: one two three");
    let refused = server.post("/v1/completions", &json!({"model": "echo/small", "prompt": "a", "suffix": "b"})).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["message"].as_str().map(|text| text.contains("suffix"))),
        (400, Some(true))
    );
}
