//! Errors of this dialect, in bodies and in the middle of streams, and what is no answer at all.

use bytes::BytesMut;
use llm_router::Error;
use llm_router::delta::Delta;
use llm_router::dialect::openai_responses::OpenaiResponses;
use llm_router::dialect::{Codec, Framing};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use serde_json::{Value, json};

use crate::errors::{are_no_answers, rows, streamed};
use crate::support::{call, fold, frame, frames, read};

/// Rows with status 200 are events of a stream.
#[test]
fn errors_are_understood_in_the_middle_of_a_stream() {
    for row in rows(&OpenaiResponses).iter().filter(|row| row.status == 200) {
        let error = streamed(&OpenaiResponses, &[CREATED, &row.body]).unwrap_err();
        row.check(&error);
        assert!(!error.message().is_empty() && !error.message().contains("\"error\""), "{error}");
    }
}

const CREATED: &str =
    r#"{"type":"response.created","response":{"id":"resp_1","model":"m","status":"in_progress","output":[]}}"#;
const TEXT: &str = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#;
const ITEM: &str = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"m","content":[{"type":"output_text","text":"a"}]}}"#;
const DONE: &str = r#"{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[]}}"#;

#[test]
fn what_is_no_answer_is_an_error() {
    let bodies = [
        "{\"id\":\"resp_1\",\"output\":[{\"type\":\"mess",
        "{\"id\":\"resp_1\",\"output\":{}}",
        "{\"id\":\"resp_1\",\"output\":[1]}",
        "{\"id\":\"resp_1\",\"status\":\"queued\",\"output\":[]}",
        "{\"id\":\"resp_1\",\"status\":\"in_progress\",\"output\":[]}",
        "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
        "{\"id\":\"resp_1\",\"output\":[{\"type\":\"function_call\"}]}",
    ];
    let arguments = r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{"}"#;
    let cases: &[(&[&str], &str)] = &[
        (&[], "without response.completed"),
        (&["[DONE]"], "[DONE] came before"),
        (&[CREATED, TEXT], "without response.completed"),
        (&[CREATED, ITEM], "without response.completed"),
        (&[CREATED, ITEM, TEXT, DONE], "output item 0 goes on after its end"),
        (&[CREATED, arguments], "is no tool call but has arguments"),
        (&[CREATED, TEXT, "{\"type\":"], "cannot be read"),
        (&[CREATED, "{\"delta\":\"a\"}"], "has no type"),
        (&[CREATED, TEXT, "<html>"], "web page"),
    ];
    are_no_answers(&OpenaiResponses, &bodies, cases);
    let many: Vec<String> =
        (0..2000).map(|n| TEXT.replace("\"output_index\":0", &format!("\"output_index\":{n}"))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(streamed(&OpenaiResponses, &many).unwrap_err().message().contains("more than 1024"));
}

#[test]
fn what_comes_after_the_end_or_twice_is_nothing() {
    streamed(&OpenaiResponses, &[CREATED, TEXT, ITEM, ITEM, DONE, "[DONE]", "anything", TEXT]).unwrap();
    streamed(
        &OpenaiResponses,
        &[
            r#"{"type":"keepalive","sequence_number":3}"#,
            CREATED,
            r#"{"type":"response.whatever.new","x":1}"#,
            TEXT,
            DONE,
        ],
    )
    .unwrap();
}

/// Servers that number every item 0 are understood all the same.
#[test]
fn items_with_one_number_are_two_items() {
    let added =
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"n","content":[]}}"#;
    let text = TEXT.replace("\"a\"", "\"b\"");
    let frames = [CREATED, TEXT, ITEM, added, &text, DONE].map(|data| frame(data.as_bytes().to_vec()));
    let events = read(&OpenaiResponses, &Request::new("x"), Framing::Stream, frames.into()).unwrap();
    assert_eq!(fold(&events).text(), "ab");
}

#[test]
fn errors_have_openais_shape() {
    for &kind in ErrorKind::ALL {
        let (status, body) = OpenaiResponses.encode_error(&Error::new(kind, "why").with_hint("do this"));
        assert_eq!(status, kind.http_status());
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["message"], "why (do this)");
        assert!(value["error"]["type"].is_string() && value["error"]["code"].is_string());
    }
}

/// Twice, for clients differ in what they read; each by itself is understood by another router.
#[test]
fn errors_in_the_middle_are_written() {
    let error = Error::timeout("no event in 30 s");
    let mut encoder = OpenaiResponses.encoder(&Request::new("x"), Framing::Stream);
    let mut out = BytesMut::new();
    encoder.event(&Delta::Start { id: "a".into(), model: "m".into(), created: None }.into(), &mut out).unwrap();
    out.clear();
    encoder.error(&error, &mut out);
    let frames = frames(&out, Framing::Stream);
    let names: Vec<&str> = frames.iter().map(|frame| frame.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["error", "response.failed"]);
    let events: Vec<Value> = frames.iter().map(|frame| serde_json::from_slice(&frame.data).unwrap()).collect();
    assert_eq!((&events[0]["sequence_number"], &events[1]["sequence_number"]), (&json!(2), &json!(3)));
    assert_eq!(events[0]["error"]["code"], "provider_timeout");
    assert_eq!((&events[1]["response"]["status"], &events[1]["response"]["id"]), (&json!("failed"), &json!("resp_a")));
    for frame in frames {
        let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Stream);
        assert_eq!(decoder.frame(frame).unwrap_err().kind(), ErrorKind::ProviderTimeout);
    }
    // Where the head went out before anybody answered, an answer without words is what failed.
    let (mut early, mut out) = (OpenaiResponses.encoder(&Request::new("x"), Framing::Stream), BytesMut::new());
    early.error(&error, &mut out);
    let events: Vec<Value> = (crate::support::frames(&out, Framing::Stream).iter())
        .map(|frame| serde_json::from_slice(&frame.data).unwrap())
        .collect();
    assert_eq!((&events[0]["type"], &events[0]["sequence_number"]), (&json!("error"), &json!(0)));
    assert_eq!((&events[1]["type"], &events[1]["sequence_number"]), (&json!("response.failed"), &json!(1)));
    let failed = &events[1]["response"];
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("provider_timeout")));
    assert_eq!((failed["id"].is_string(), &failed["output"]), (true, &json!([])));
}
