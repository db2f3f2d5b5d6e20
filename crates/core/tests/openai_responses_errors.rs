//! Errors of this dialect, in bodies and in the middle of streams, and what is no answer at all.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use llm_router::delta::Delta;
use llm_router::dialect::openai_responses::OpenaiResponses;
use llm_router::dialect::{Codec, Frame, Framing, decode_whole, sse};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use llm_router::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use support::call;

#[derive(Deserialize)]
struct Row {
    source: String,
    status: u16,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    kind: ErrorKind,
    retry_after: Option<f64>,
}

/// Rows with status 200 are events of a stream.
#[test]
fn errors_are_understood_wherever_they_stand() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("fixtures/openai_responses/errors.json")).unwrap();
    for row in rows {
        let headers: HeaderMap = (row.headers.iter())
            .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap()))
            .collect();
        let error = match row.status {
            200 => streamed(&[CREATED, &row.body]).unwrap_err(),
            status => {
                OpenaiResponses.decode_error(StatusCode::from_u16(status).unwrap(), &headers, row.body.as_bytes())
            }
        };
        assert_eq!(error.kind(), row.kind, "{}: {}", row.source, row.body);
        assert_eq!(error.retry_after(), row.retry_after.map(Duration::from_secs_f64), "{}: {}", row.source, row.body);
        assert!(!error.message().is_empty() && !error.message().contains("\"error\""), "{error}");
    }
}

fn whole(body: &str) -> Result<()> {
    let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Whole);
    decode_whole(&mut *decoder, Bytes::copy_from_slice(body.as_bytes())).map(drop)
}

fn streamed(frames: &[&str]) -> Result<()> {
    let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Stream);
    for data in frames {
        decoder.frame(Frame { name: None, data: Bytes::copy_from_slice(data.as_bytes()) })?;
    }
    decoder.end().map(drop)
}

const CREATED: &str =
    r#"{"type":"response.created","response":{"id":"resp_1","model":"m","status":"in_progress","output":[]}}"#;
const TEXT: &str = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#;
const ITEM: &str = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"m","content":[{"type":"output_text","text":"a"}]}}"#;
const DONE: &str = r#"{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[]}}"#;

#[test]
fn what_is_no_answer_is_an_error() {
    for body in [
        "",
        " ",
        "<html><title>Login</title></html>",
        "{\"id\":\"resp_1\",\"output\":[{\"type\":\"mess",
        "[]",
        "null",
        "{}",
        "{\"id\":\"resp_1\",\"output\":{}}",
        "{\"id\":\"resp_1\",\"output\":[1]}",
        "{\"id\":\"resp_1\",\"status\":\"queued\",\"output\":[]}",
        "{\"id\":\"resp_1\",\"status\":\"in_progress\",\"output\":[]}",
        "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
        "{\"id\":\"resp_1\",\"output\":[{\"type\":\"function_call\"}]}",
    ] {
        let error = whole(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{body}: {error}");
    }
    assert!(whole("<html>").unwrap_err().message().contains("web page"));
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
    for (frames, says) in cases {
        let error = streamed(frames).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{frames:?}");
        assert!(error.message().contains(says), "{frames:?}: {error}");
    }
    let many: Vec<String> =
        (0..2000).map(|n| TEXT.replace("\"output_index\":0", &format!("\"output_index\":{n}"))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(streamed(&many).unwrap_err().message().contains("more than 1024"));
}

#[test]
fn what_comes_after_the_end_or_twice_is_nothing() {
    streamed(&[CREATED, TEXT, ITEM, ITEM, DONE, "[DONE]", "anything", TEXT]).unwrap();
    streamed(&[
        r#"{"type":"keepalive","sequence_number":3}"#,
        CREATED,
        r#"{"type":"response.whatever.new","x":1}"#,
        TEXT,
        DONE,
    ])
    .unwrap();
}

/// Servers that number every item 0 are understood all the same.
#[test]
fn items_with_one_number_are_two_items() {
    let added =
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"n","content":[]}}"#;
    let text = TEXT.replace("\"a\"", "\"b\"");
    let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Stream);
    let mut folder = llm_router::response::Folder::default();
    for data in [CREATED, TEXT, ITEM, added, &text, DONE] {
        let event = decoder.frame(Frame { name: None, data: Bytes::copy_from_slice(data.as_bytes()) }).unwrap();
        event.deltas.iter().for_each(|delta| folder.push(delta));
    }
    assert_eq!(folder.finish().unwrap().text(), "ab");
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
    let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
    parser.push(&out, &mut frames).unwrap();
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
    // Before the answer began there is no answer that could fail.
    let (mut early, mut out) = (OpenaiResponses.encoder(&Request::new("x"), Framing::Stream), BytesMut::new());
    early.error(&error, &mut out);
    assert!(out.starts_with(b"event: error\n") && !out.windows(15).any(|bytes| bytes == b"response.failed"));
}
