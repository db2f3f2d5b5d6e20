//! What of a request cannot be said to a provider: left out by name, refused where it must not be lost, and all of it refused where the client says `strict`.

use llm_router::dialect::Dialect;
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::{Value, json};

use crate::support::{Ask, Setting, answer, finished, piece};

const STRICT: &str = "x-llm-router-strict";

fn function() -> Value {
    json!({"type": "function", "name": "shell", "parameters": {"type": "object", "properties": {}}})
}

/// As Codex asks: functions of its own, and a web search that runs at OpenAI.
fn codex(tools: Value, choice: &str, stream: bool) -> Ask {
    let body = json!({"model": "lab/m", "input": "hi", "stream": stream, "store": false, "tools": tools, "tool_choice": choice,
        "parallel_tool_calls": false, "include": ["reasoning.encrypted_content"]});
    Ask::post("/v1/responses", body.to_string())
}

fn of(upstream: &Upstream, dialect: Dialect) -> Setting {
    Setting::new().lab(upstream.url("/v1")).set(|settings| {
        settings
            .providers
            .values_mut()
            .filter(|one| one.base_url.is_some())
            .for_each(|one| one.dialects = vec![dialect]);
    })
}

#[tokio::test]
async fn a_tool_that_runs_elsewhere_is_left_out_by_name_where_the_model_is_free() {
    let upstream = Upstream::serve([answer("hi")]).await;
    let serving = of(&upstream, Dialect::OpenaiChat).start();
    for choice in ["auto", "none"] {
        let reply = serving.send(codex(json!([function(), {"type": "web_search"}]), choice, false)).await;
        assert_eq!(reply.status, 200, "{choice} {}", reply.text());
        assert!(reply.header("x-llm-router-dropped").contains("tools.web_search"), "{choice}");
        let sent = upstream.last().json();
        assert_eq!((sent["tools"].as_array().unwrap().len(), &sent["tool_choice"]), (1, &json!(choice)));
    }
    // Nothing but such tools: then no word about tools is sent, which servers refuse without any.
    let reply = serving.send(codex(json!([{"type": "web_search"}]), "auto", false)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = upstream.last().json();
    for name in ["tools", "tool_choice", "parallel_tool_calls"] {
        assert!(sent.get(name).is_none(), "{name} {sent}");
    }
    // One that must be called is refused, and nobody is asked.
    let calls = upstream.seen().requests.len();
    for ask in [
        codex(json!([function(), {"type": "web_search"}]), "required", false),
        codex(json!([function(), {"type": "web_search"}]), "auto", false).header(STRICT, "1"),
        codex(json!([{"type": "custom", "name": "apply_patch"}]), "auto", false),
    ] {
        let reply = serving.send(ask).await;
        let said = reply.text();
        assert!(reply.status == 400 && (said.contains("web_search") || said.contains("custom")), "{said}");
    }
    assert_eq!(upstream.seen().requests.len(), calls);
}

#[tokio::test]
async fn a_stream_names_what_was_left_out_in_its_head_and_at_its_end() {
    let upstream = Upstream::serve([finished(Answer::sse().event(&piece("hi")))]).await;
    let serving = of(&upstream, Dialect::OpenaiChat).start();
    let reply = serving.send(codex(json!([function(), {"type": "web_search"}]), "auto", true)).await;
    assert!(reply.header("x-llm-router-dropped").contains("tools.web_search"));
    let text = reply.text();
    let end = text.find("event: response.completed").unwrap();
    assert!(
        text[end..].contains("\"llm_router\":{\"dropped\":[") && text[end..].contains("tools.web_search"),
        "{text}"
    );
}

#[tokio::test]
async fn tools_of_each_dialect_are_left_out_for_providers_of_another() {
    let upstream = Upstream::serve([answer("hi")]).await;
    let serving = of(&upstream, Dialect::OpenaiChat).start();
    let user = json!([{"role": "user", "content": "hi"}]);
    let anthropic = json!({"model": "lab/m", "max_tokens": 9, "messages": user,
        "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}]});
    let gemini = json!({"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}]}]});
    for (path, body, name) in [
        ("/v1/messages", anthropic.clone(), "tools.web_search_20250305"),
        ("/v1beta/models/lab/m:generateContent", gemini, "tools.googleSearch"),
    ] {
        let reply = serving.send(Ask::post(path, body.to_string())).await;
        assert_eq!(reply.status, 200, "{path} {}", reply.text());
        assert!(reply.header("x-llm-router-dropped").contains(name), "{}", reply.header("x-llm-router-dropped"));
        assert_eq!(upstream.last().json()["tools"].as_array().unwrap().len(), 1);
    }
    // Claude Code asks for its web search by name: that is no free choice.
    let mut forced = anthropic;
    forced["tool_choice"] = json!({"type": "tool", "name": "web_search"});
    let reply = serving.send(Ask::post("/v1/messages", forced.to_string())).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
}

#[tokio::test]
async fn a_strict_request_goes_out_whole_or_not_at_all() {
    let upstream = Upstream::serve([answer("hi")]).await;
    let serving = of(&upstream, Dialect::OpenaiChat).start();
    let whole = json!({"model": "lab/m", "input": "hi", "store": false});
    let mut more = whole.clone();
    more["truncation"] = json!("auto");
    let ask = |body: &Value| Ask::post("/v1/responses", body.to_string());
    let reply = serving.send(ask(&more)).await;
    assert_eq!((reply.status, reply.header("x-llm-router-dropped").contains("truncation")), (200, true));
    for value in ["0", "false"] {
        assert_eq!(serving.send(ask(&more).header(STRICT, value)).await.status, 200);
    }
    let calls = upstream.seen().requests.len();
    for value in ["1", "true"] {
        let reply = serving.send(ask(&more).header(STRICT, value)).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        let said = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(said.contains("truncation") && said.contains("strict"), "{said}");
        assert_eq!(reply.header("x-should-retry"), "false");
    }
    assert_eq!(upstream.seen().requests.len(), calls, "nothing was sent");
    for value in ["yes", "", "é", "2"] {
        let reply = serving.send(ask(&whole).header(STRICT, value)).await;
        assert!(reply.status == 400 && reply.text().contains(STRICT), "{value} {}", reply.text());
    }
    // What can be said whole is answered.
    let plain = Ask::chat("lab/m").header(STRICT, "1");
    assert_eq!(serving.send(plain).await.status, 200);
}

#[tokio::test]
async fn a_strict_request_goes_on_to_a_target_that_can_be_told_all() {
    let chat = Upstream::serve([answer("from chat")]).await;
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "from responses", "annotations": []}]});
    let own = json!({"id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "model": "m",
        "output": [message], "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}});
    let responses = Upstream::serve([Answer::json(200, own.to_string())]).await;
    let serving = Setting::new()
        .http("lab", chat.url("/v1"))
        .http("own", responses.url("/v1"))
        .set(|settings| {
            let own = settings.providers.iter_mut().find(|(id, _)| **id == *"own").unwrap().1;
            own.dialects = vec![Dialect::OpenaiResponses];
            let route = settings.routes.entry("both".into()).or_default();
            route.groups = vec![vec!["lab/m".into()], vec!["own/m".into()]];
        })
        .start();
    let body = json!({"model": "both", "input": "hi", "store": false, "tools": [{"type": "web_search"}]}).to_string();
    let lenient = serving.send(Ask::post("/v1/responses", body.clone())).await;
    assert_eq!(lenient.header("x-llm-router-provider"), "lab", "{}", lenient.text());
    let strict = serving.send(Ask::post("/v1/responses", body).header(STRICT, "1")).await;
    assert_eq!((strict.status, strict.header("x-llm-router-provider")), (200, "own"), "{}", strict.text());
    assert_eq!(strict.header("x-llm-router-dropped"), "");
}

#[tokio::test]
async fn names_that_others_chose_fit_into_a_header() {
    let upstream = Upstream::serve([answer("hi")]).await;
    let serving = of(&upstream, Dialect::OpenaiChat).start();
    let fields: serde_json::Map<String, Value> =
        (0..4000).map(|at| (format!("unknown_field_é_{at}"), json!(1))).collect();
    let mut body = json!({"model": "lab/m", "input": "hi", "store": false});
    body.as_object_mut().unwrap().extend(fields);
    let reply = serving.send(Ask::post("/v1/responses", body.to_string())).await;
    let names = reply.header("x-llm-router-dropped");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(names.contains("unknown_field_?_") && names.ends_with("more") && names.len() < 2200, "{names}");
}
