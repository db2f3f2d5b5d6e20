//! Claude Code.

use llm_router::error::ErrorKind;
use llm_router::request::Request;
use serde_json::json;

use crate::support::{Machine, Transcript, all_gone, content, pieces, streamed, watch};

fn out(line: serde_json::Value) -> serde_json::Value {
    json!({"out": line.to_string()})
}

fn piece(text: &str) -> serde_json::Value {
    out(
        json!({"type": "stream_event", "event": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}}),
    )
}

fn result(text: &str) -> serde_json::Value {
    out(json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2}}))
}

#[tokio::test]
async fn the_stand_in_shows_how_it_was_started_and_what_it_says_arrives() {
    let machine = Machine::new()
        .with("claude", Transcript::of([piece("one "), piece("two"), result("one two"), json!({"exit": 0})]))
        .variable("OPENAI_API_KEY", "canary");
    let stream = machine.open("claude", None, streamed("-say it\n\"now\"")).await.unwrap();
    let (said, ended) = pieces(stream).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said, ["one ", "two"]);
    let seen = machine.last("claude");
    assert_eq!(seen.stdin(), "-say it\n\"now\"");
    assert_eq!(seen.option("--output-format"), Some("stream-json"));
    assert_eq!(seen.variable("OPENAI_API_KEY"), None);
    assert!(seen.files().is_empty() && seen.home().is_empty(), "{seen:?}");
    machine.runner.shutdown().await;
    assert!(machine.left().is_empty());
}

#[tokio::test]
async fn whoever_leaves_ends_the_whole_group() {
    let machine = Machine::new();
    let pipe = machine.pipe("held");
    let held = json!({"hold": pipe});
    machine.plays("claude", &Transcript::of([held, json!({"child": true}), piece("one"), json!({"hang": true})]));
    let pipe = watch(pipe);
    let mut stream = machine.open("claude", None, streamed("x")).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    all_gone(pipe.join().unwrap());
}

#[tokio::test]
async fn an_absent_program_is_named_with_how_to_come_by_it() {
    let error = Machine::new().ask("claude_code", Request::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
    assert!(error.hint().unwrap().contains("npm install"), "{error}");
}
