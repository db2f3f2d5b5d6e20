//! What clients of each dialect get back besides the words: ids in their own form, statuses and shapes of errors, models by name.

use std::sync::Arc;

use llm_router::delta::{BlockKind, Delta, Event, Part};
use llm_router::dialect::Dialect;
use llm_router::error::{Error, ErrorKind};
use llm_router::ids::ModelName;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::testing::upstream::Upstream;
use serde_json::{Value, json};

use crate::support::{Ask, Reply, Setting, answer, each};

/// The field in which an answer of each dialect has its id, and what the id begins with.
fn id_of(dialect: Dialect, body: &Value) -> (&str, &'static str) {
    let begins = match dialect {
        Dialect::OpenaiChat => "chatcmpl-",
        Dialect::OpenaiResponses => "resp_",
        Dialect::Anthropic => "msg_",
        _ => "",
    };
    let field = if dialect == Dialect::Gemini { "responseId" } else { "id" };
    (body[field].as_str().unwrap_or_default(), begins)
}

#[tokio::test]
async fn an_answer_of_another_dialects_provider_has_an_id_in_the_clients_form_and_a_time() {
    // A provider of no dialect at all, one that numbers its answers, and one that speaks Anthropic's.
    let numbered = Upstream::serve([answer("hi")]).await;
    let message = json!({"id": "msg_upstream", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let anthropic = Upstream::serve([llm_router::testing::upstream::Answer::json(200, message.to_string())]).await;
    let serving = Setting::new()
        .provider(Scripted::text("s", "hi"))
        .lab(numbered.url("/v1"))
        .http("claude_like", anthropic.url("/v1"))
        .set(|settings| {
            let lab = settings.providers.iter_mut().find(|(id, _)| **id == *"claude_like").unwrap().1;
            lab.dialects = vec![Dialect::Anthropic];
        })
        .start();
    let mut seen = Vec::new();
    for (model, own) in
        [("s/m", None), ("lab/m", Some(Dialect::OpenaiChat)), ("claude_like/m", Some(Dialect::Anthropic))]
    {
        for (dialect, ask) in each(model, false) {
            let reply = serving.send(ask).await;
            assert_eq!(reply.status, 200, "{model} {dialect} {}", reply.text());
            assert!(reply.header("x-request-id").starts_with("req_"), "{model} {dialect}");
            let body = reply.json();
            let (id, begins) = id_of(dialect, &body);
            if own == Some(dialect) {
                // Its own words are passed on.
                assert!(id == "c" || id == "msg_upstream", "{id}");
                continue;
            }
            assert!(id.starts_with(begins) && !id.contains("req_"), "{model} {dialect} {id}");
            assert!(dialect == Dialect::Gemini || !seen.contains(&id.to_owned()), "{id} was given before");
            seen.push(id.to_owned());
            let time = match dialect {
                Dialect::OpenaiChat => body["created"].as_u64(),
                Dialect::OpenaiResponses => body["created_at"].as_u64(),
                _ => continue,
            };
            // The provider's own word, where it says one.
            let says = own == Some(Dialect::OpenaiChat);
            assert!(time.unwrap() > 1_700_000_000 || (says && time == Some(1)), "{model} {dialect} {body}");
        }
    }
    for (dialect, ask) in each("s/m", true) {
        let text = serving.send(ask).await.text();
        let begins = id_of(dialect, &Value::Null).1;
        assert!(text.contains(&format!("\"id\":\"{begins}")) || dialect == Dialect::Gemini, "{dialect} {text}");
        assert!(!text.contains("\"id\":\"req_") && !text.contains("\"id\":\"scripted"), "{dialect} {text}");
    }
    let body = json!({"model": "s/m", "prompt": "hi"}).to_string();
    let completed = serving.send(Ask::post("/v1/completions", body)).await.json();
    assert!(completed["id"].as_str().unwrap().starts_with("cmpl-"), "{completed}");
    // Anthropic's clients look for the request's id under another name.
    let count = json!({"model": "s/m", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    for (ask, status) in [
        (each("s/m", false)[2].1.clone(), 200),
        (Ask::post("/v1/messages/count_tokens", count), 200),
        (Ask::post("/v1/messages", "{}"), 400),
        (Ask::post("/v1/messages", "{}").header("host", "evil.example"), 403),
        (Ask::post("/v1/messages/batches", "{}"), 404),
        (Ask::get("/v1/messages"), 405),
    ] {
        let reply = serving.send(ask).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.header("request-id").starts_with("req_"), "{status}");
        assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
    }
    assert_eq!(serving.send(each("s/m", false)[0].1.clone()).await.header("request-id"), "");
}

/// The error of a reply: its status where the body repeats it, its word, its message.
fn refusal(dialect: Dialect, reply: &Reply) -> (Option<u64>, String, String) {
    let body = reply.json();
    let error = &body["error"];
    let word = match dialect {
        Dialect::Gemini => &error["status"],
        _ => &error["type"],
    };
    assert!(dialect != Dialect::Anthropic || body["type"] == "error", "{body}");
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{dialect} {body}")).to_owned();
    (error["code"].as_u64(), text(word), text(&error["message"]))
}

#[tokio::test]
async fn each_status_has_each_dialects_shape_and_word() {
    let rows: [(ErrorKind, u16, &str, &str, &str); 7] = [
        (ErrorKind::CallerInvalidRequest, 400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        (ErrorKind::CallerModelUnknown, 404, "invalid_request_error", "not_found_error", "NOT_FOUND"),
        (ErrorKind::CallerTooLarge, 413, "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
        (ErrorKind::ProviderRateLimited, 429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (ErrorKind::RouterInternal, 500, "server_error", "api_error", "INTERNAL"),
        (ErrorKind::ProviderUnavailable, 503, "server_error", "api_error", "UNAVAILABLE"),
        // A word of Anthropic's own, under the status of everybody.
        (ErrorKind::ProviderOverloaded, 503, "server_error", "overloaded_error", "UNAVAILABLE"),
    ];
    for (kind, status, openai, anthropic, google) in rows {
        let serving = Setting::new().provider(Scripted::new("s", [Turn::Fail(Error::new(kind, "a reason"))])).start();
        for stream in [false, true] {
            for (dialect, ask) in each("s/m", stream) {
                let reply = serving.send(ask).await;
                assert_eq!(reply.status, status, "{kind} {dialect} {}", reply.text());
                let (code, word, message) = refusal(dialect, &reply);
                assert!(message.contains("a reason"), "{kind} {dialect} {message}");
                let wanted = match dialect {
                    Dialect::Anthropic => anthropic,
                    Dialect::Gemini => google,
                    _ => openai,
                };
                assert_eq!(word, wanted, "{kind} {dialect}");
                assert!(dialect != Dialect::Gemini || code == Some(status.into()), "{code:?}");
                let waits = !reply.header("retry-after").is_empty();
                assert_eq!(waits, matches!(status, 429 | 503), "{kind} {dialect}");
                assert!(reply.header("x-request-id").starts_with("req_"), "{kind} {dialect}");
            }
        }
    }
    let locked = Setting::new().provider(Scripted::text("s", "hi")).key("team", "k").start();
    for (dialect, ask) in each("s/m", false) {
        let reply = locked.send(ask).await;
        let (code, word, _) = refusal(dialect, &reply);
        let wanted = match dialect {
            Dialect::Anthropic => "authentication_error",
            Dialect::Gemini => "UNAUTHENTICATED",
            _ => "authentication_error",
        };
        assert_eq!((reply.status, word.as_str()), (401, wanted), "{dialect}");
        assert!(dialect != Dialect::Gemini || code == Some(401));
    }
}

#[tokio::test]
async fn where_nothing_is_the_shape_is_the_paths_and_the_body_says_the_same_as_the_status() {
    let serving = Setting::new().provider(Scripted::text("s", "hi")).start();
    let rows = [
        ("POST", "/v1/nothing", 404, Dialect::OpenaiChat, "invalid_request_error"),
        ("POST", "/v1/messages/nothing", 404, Dialect::Anthropic, "not_found_error"),
        ("POST", "/v1/responses/nothing/more", 404, Dialect::OpenaiResponses, "invalid_request_error"),
        ("POST", "/v1beta/nothing", 404, Dialect::Gemini, "NOT_FOUND"),
        ("GET", "/v1/chat/completions", 405, Dialect::OpenaiChat, "invalid_request_error"),
        ("DELETE", "/v1/messages", 405, Dialect::Anthropic, "invalid_request_error"),
        ("PUT", "/v1/responses", 405, Dialect::OpenaiResponses, "invalid_request_error"),
        ("PATCH", "/v1beta/models/s/m:generateContent", 405, Dialect::Gemini, "INVALID_ARGUMENT"),
    ];
    for (method, path, status, dialect, wanted) in rows {
        let mut ask = Ask::get(path);
        ask.method = method.into();
        let reply = serving.send(ask).await;
        assert_eq!(reply.status, status, "{method} {path} {}", reply.text());
        let (code, word, message) = refusal(dialect, &reply);
        assert_eq!(word, wanted, "{method} {path}");
        assert!(message.contains(path), "{message}");
        assert!(dialect != Dialect::Gemini || code == Some(status.into()), "{path} {code:?}");
        assert!(reply.header("x-request-id").starts_with("req_"), "{method} {path}");
        assert_eq!(reply.header("x-should-retry"), "false");
        assert!(status == 404 || !reply.header("allow").is_empty(), "{method} {path}");
    }
    let native = serving.send(Ask::post("/api/v0/ai/llm/nothing", "{}")).await;
    assert_eq!(native.status, 404);
    assert!(native.json()["detail"].is_string() && native.json()["kind"].is_string());
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let serving = Setting::new().provider(Scripted::text("s", "hi")).start();
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/v1/models",
        "/v1beta/models",
        "/v1/models/s/m",
        "/metrics",
        "/api/v0/ai/",
        "/api/v0/ai/llm",
        "/api/v0/ai/llm/providers",
        "/api/v0/ai/llm/health",
        "/v1/responses/resp_x",
        "/mcp",
    ] {
        let reply = serving.send(Ask::get(path)).await;
        assert!(reply.header("x-request-id").starts_with("req_"), "{path} {}", reply.status);
    }
}

/// A provider that draws: words, a picture, and something of its own that only another dialect knows.
fn painter() -> Scripted {
    let mut events = text_events("here it is", Some("m"));
    let picture = |delta| Event::from(delta);
    let at =
        events.iter().position(|event| event.deltas.iter().any(|delta| matches!(delta, Delta::Finish { .. }))).unwrap();
    let kind = BlockKind::Media { mime: "image/png".into() };
    let own = BlockKind::Provider { dialect: Dialect::Native, kind: "web_search_call".into() };
    let part = Part::Bytes("iVBORw0KGgo=".into());
    events.splice(
        at..at,
        [
            picture(Delta::BlockStart { choice: 0, block: 7, kind }),
            picture(Delta::BlockDelta { choice: 0, block: 7, part }),
            picture(Delta::BlockEnd { choice: 0, block: 7 }),
            picture(Delta::BlockStart { choice: 0, block: 8, kind: own }),
            picture(Delta::BlockEnd { choice: 0, block: 8 }),
        ],
    );
    Scripted::new("painter", [Turn::Events(events.into_iter().map(Ok).collect())])
}

#[tokio::test]
async fn what_of_an_answer_a_dialect_has_no_word_for_is_named() {
    let serving = Setting::new().provider(painter()).start();
    for (dialect, ask) in each("painter/m", false) {
        let reply = serving.send(ask).await;
        assert_eq!(reply.status, 200, "{dialect} {}", reply.text());
        let lost = reply.header("x-llm-router-dropped");
        assert_eq!(lost.contains("answer.image/png"), dialect == Dialect::Anthropic, "{dialect} {lost}");
        assert_eq!(reply.text().contains("iVBORw0KGgo="), dialect != Dialect::Anthropic, "{dialect}");
        assert!(lost.contains("answer.native.web_search_call"), "{dialect} {lost}");
    }
    for (dialect, mut ask) in each("painter/m", true) {
        if dialect == Dialect::OpenaiChat {
            let mut body = crate::support::chat("painter/m", true);
            body["stream_options"] = json!({"include_usage": true});
            ask.body = body.to_string().into();
        }
        let text = serving.send(ask).await.text();
        let end = text.rfind("\"llm_router\":{\"dropped\":[").unwrap_or_else(|| panic!("{dialect} {text}"));
        assert_eq!(text[end..].contains("answer.image/png"), dialect == Dialect::Anthropic, "{dialect} {text}");
        assert!(text[end..].contains("answer.native.web_search_call"), "{dialect} {text}");
    }
}

#[tokio::test]
async fn a_providers_name_alone_is_its_default_model() {
    let model = ModelName::new("org/parrot").unwrap();
    let talking = Arc::new(Scripted::text("talking", "hi").describing(|describe| describe.with_default_model(model)));
    let serving = Setting::new().shared(talking).provider(Scripted::text("plain", "hi")).start();
    for name in ["talking", "Talking"] {
        for (dialect, ask) in each(name, false) {
            let reply = serving.send(ask).await;
            assert_eq!(reply.status, 200, "{dialect} {name} {}", reply.text());
            assert_eq!(reply.header("x-llm-router-model"), "org/parrot");
        }
    }
    // Without a default the provider chooses.
    assert_eq!(serving.send(Ask::chat("plain")).await.status, 200);
    let one = serving.send(Ask::get("/v1/models/talking")).await;
    assert_eq!((one.status, &one.json()["id"]), (200, &json!("talking")));
    let unknown = serving.send(Ask::chat("talkin")).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    // A model of that name goes before.
    let listing = Scripted::text("other", "hi").serving([ModelName::new("talking").unwrap()]);
    let serving = Setting::new().provider(Scripted::text("talking", "hi")).provider(listing).start();
    assert_eq!(serving.send(Ask::chat("talking")).await.header("x-llm-router-provider"), "other");
}
