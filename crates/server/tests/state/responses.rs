//! `/v1/responses`: answers that are kept, gone on from, read and deleted, whichever dialect the provider speaks.

use llm_router::dialect::Dialect;
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::{Value, json};

use crate::support::{Reply, serve, settings, two_clients};

fn chat(id: &str, text: &str) -> Answer {
    let message = json!({"role": "assistant", "content": text});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
    let body =
        json!({"id": id, "object": "chat.completion", "created": 7, "model": "m", "choices": [choice], "usage": usage});
    Answer::json(200, body.to_string())
}

fn own(id: &str, text: &str) -> Value {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let output = json!([
        {"id": "rs_1", "type": "reasoning", "summary": []},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}]);
    json!({"id": id, "object": "response", "created_at": 7, "status": "completed", "model": "m", "output": output,
        "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}})
}

/// The id under which a client knows an answer of a provider that knows no such ids.
fn id_of(reply: &Reply) -> String {
    let id = reply.json()["id"].as_str().unwrap_or_default().to_owned();
    assert!(reply.status == 200 && id.starts_with("resp_") && !id.contains("_c"), "{}", reply.text());
    id
}

fn asking(text: &str, previous: Option<&str>) -> Value {
    let mut body = json!({"model": "lab/m", "input": text});
    if let Some(previous) = previous {
        body["previous_response_id"] = json!(previous);
    }
    body
}

#[tokio::test]
async fn a_conversation_goes_on_where_the_provider_knows_none() {
    let answers = [chat("c1", "one"), chat("c2", "two"), chat("c3", "three")];
    let upstream = Upstream::serve(answers).await;
    let server = serve(two_clients(settings("lab", upstream.url("/v1"), Dialect::OpenaiChat)));
    let first = server.ask("POST", "/v1/responses", "ann-key", &asking("hi", None)).await;
    let id = id_of(&first);

    let second = server.ask("POST", "/v1/responses", "ann-key", &asking("and?", Some(&id))).await;
    assert_eq!(second.json()["previous_response_id"], json!(id));
    let next = id_of(&second);
    let said =
        |value: &Value| value["messages"].as_array().unwrap().iter().map(|m| m["content"].clone()).collect::<Vec<_>>();
    assert_eq!(said(&upstream.last().json()), [json!("hi"), json!("one"), json!("and?")]);

    // The first may be gone: the second stands on its own feet.
    let gone = server.ask("DELETE", &format!("/v1/responses/{id}"), "ann-key", &Value::Null).await;
    assert_eq!(gone.json(), json!({"id": id, "object": "response", "deleted": true}));
    let third = server.ask("POST", "/v1/responses", "ann-key", &asking("so?", Some(&next))).await;
    assert_eq!(third.status, 200, "{}", third.text());
    assert_eq!(said(&upstream.last().json()).len(), 5);

    let read = server.ask("GET", &format!("/v1/responses/{next}"), "ann-key", &Value::Null).await;
    assert_eq!((read.status, read.json()), (200, second.json()));
}

#[tokio::test]
async fn nobody_elses_answer_and_none_that_was_not_kept_is_found() {
    // A provider that calls all its answers the same, as small servers do, mixes up nobody's.
    let upstream = Upstream::serve([chat("c1", "one"), chat("c1", "two")]).await;
    let server = serve(two_clients(settings("lab", upstream.url("/v1"), Dialect::OpenaiChat)));
    let kept = id_of(&server.ask("POST", "/v1/responses", "ann-key", &asking("hi", None)).await);
    let mut unkept = asking("hi", None);
    unkept["store"] = json!(false);
    let unkept = id_of(&server.ask("POST", "/v1/responses", "ann-key", &unkept).await);
    let (of_kept, of_unkept) = (format!("/v1/responses/{kept}"), format!("/v1/responses/{unkept}"));
    for (method, path, key, body) in [
        ("POST", "/v1/responses", "bob-key", asking("x", Some(&kept))),
        ("GET", &of_kept, "bob-key", Value::Null),
        ("DELETE", &of_kept, "bob-key", Value::Null),
        ("GET", &of_unkept, "ann-key", Value::Null),
        ("POST", "/v1/responses", "ann-key", asking("x", Some(&unkept))),
    ] {
        let reply = server.ask(method, path, key, &body).await;
        assert_eq!(reply.status, 404, "{method} {path} {key}");
        assert_eq!(reply.json()["error"]["type"], json!("invalid_request_error"));
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    assert_eq!(upstream.seen().requests.len(), 2, "none of these reached a provider");
    assert_eq!(server.ask("GET", &of_kept, "ann-key", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_streamed_answer_is_kept_before_its_last_event_is_out() {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).to_string()
    };
    let streamed = Answer::sse()
        .event(&chunk(json!({"role": "assistant", "content": "on"}), Value::Null))
        .event(&chunk(json!({"content": "e"}), json!("stop")))
        .event("[DONE]")
        .end();
    let cut = Answer::sse().event(&chunk(json!({"role": "assistant", "content": "on"}), Value::Null)).close();
    let upstream = Upstream::serve([streamed, chat("c2", "two"), cut]).await;
    let server = serve(settings("lab", upstream.url("/v1"), Dialect::OpenaiChat));
    let mut body = asking("hi", None);
    body["stream"] = json!(true);
    let first = server.ask("POST", "/v1/responses", "", &body).await;
    assert!(first.text().contains("response.completed"), "{}", first.text());
    let streamed = |reply: &Reply| {
        let text = reply.text();
        let (_, rest) = text.split_once("\"id\":\"resp_").unwrap();
        format!("resp_{}", rest.split('"').next().unwrap())
    };
    let id = streamed(&first);
    let second = server.ask("POST", "/v1/responses", "", &asking("and?", Some(&id))).await;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(upstream.last().json()["messages"][1]["content"], json!("one"));
    // One that was cut is no answer to go on from.
    let cut = streamed(&server.ask("POST", "/v1/responses", "", &body).await);
    assert_ne!(cut, id);
    assert_eq!(server.ask("GET", &format!("/v1/responses/{cut}"), "", &Value::Null).await.status, 404);
}

#[tokio::test]
async fn ids_are_resolved_here_also_where_the_provider_speaks_the_dialect() {
    let answers = ["resp_1", "resp_2"].map(|id| Answer::json(200, own(id, "one").to_string()));
    let upstream = Upstream::serve(answers).await;
    let server = serve(settings("lab", upstream.url("/v1"), Dialect::OpenaiResponses));
    let first = server.ask("POST", "/v1/responses", "", &asking("hi", None)).await;
    assert_eq!((first.status, first.json()), (200, own("resp_1", "one")));
    let mut body = asking("and?", Some("resp_1"));
    body["instructions"] = json!("Be brief.");
    assert_eq!(server.ask("POST", "/v1/responses", "", &body).await.status, 200);
    let sent = upstream.last().json();
    assert_eq!(sent.get("previous_response_id"), None);
    assert_eq!((&sent["instructions"], sent.get("store")), (&json!("Be brief."), None));
    let kinds: Vec<&str> =
        sent["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap_or("message")).collect();
    // Thoughts that came without their seal are nothing that a provider could read: they are not sent on.
    assert_eq!(kinds, ["message", "message", "message"]);
    // What only OpenAI keeps stays OpenAI's, and is not kept here by half.
    let mut body = asking("hi", None);
    body["conversation"] = json!("conv_1");
    assert_eq!(server.ask("POST", "/v1/responses", "", &body).await.status, 200);
    assert_eq!(upstream.last().json()["conversation"], json!("conv_1"));
}

#[tokio::test]
async fn an_answer_is_found_under_the_name_that_its_provider_gave_it() {
    // xAI's are bare UUIDs.
    const BARE: &str = "ad5663da-63e6-86c6-e0be-ff15effa8357";
    let upstream = Upstream::serve([BARE, "resp_2"].map(|id| Answer::json(200, own(id, "one").to_string()))).await;
    let server = serve(settings("lab", upstream.url("/v1"), Dialect::OpenaiResponses));
    let first = server.ask("POST", "/v1/responses", "", &asking("hi", None)).await;
    assert_eq!(first.json()["id"], json!(BARE));
    assert_eq!(server.ask("POST", "/v1/responses", "", &asking("and?", Some(BARE))).await.status, 200);
    assert_eq!(upstream.last().json()["input"].as_array().unwrap().len(), 3);
    let path = format!("/v1/responses/{BARE}");
    assert_eq!(server.ask("GET", &path, "", &Value::Null).await.status, 200);
    assert_eq!(server.ask("DELETE", &path, "", &Value::Null).await.status, 200);
    assert_eq!(server.ask("GET", &path, "", &Value::Null).await.status, 404);
}
