//! Error answers of many servers, and what each must become; and what is no answer at all.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use llm_router::dialect::openai_chat::{OpenaiChat, Quirks};
use llm_router::dialect::{Codec, Frame, Framing, decode_whole};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use llm_router::{Error, Result};
use serde::Deserialize;

use support::call;

#[derive(Deserialize)]
struct Row {
    server: String,
    status: u16,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    kind: ErrorKind,
    retry_after: Option<f64>,
}

#[test]
fn every_servers_errors_are_understood() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("fixtures/openai_chat/errors.json")).unwrap();
    for row in rows {
        let headers: HeaderMap = (row.headers.iter())
            .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap()))
            .collect();
        let status = StatusCode::from_u16(row.status).unwrap();
        let error = OpenaiChat::default().decode_error(status, &headers, row.body.as_bytes());
        assert_eq!(error.kind(), row.kind, "{}: {}", row.server, row.body);
        assert_eq!(error.retry_after(), row.retry_after.map(Duration::from_secs_f64), "{}: {}", row.server, row.body);
        assert!(!error.message().is_empty() && !error.message().starts_with('{'), "{error}");
        if row.status != 200 {
            assert_eq!(error.status(), Some(status), "{}", row.server);
        }
    }
}

#[test]
fn our_own_errors_are_understood_by_another_router() {
    let codec = OpenaiChat::default();
    for &kind in ErrorKind::ALL {
        let (status, body) = codec.encode_error(&Error::new(kind, "why").with_hint("do this"));
        assert_eq!(status, kind.http_status());
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["message"], "why (do this)");
        assert!(value["error"]["type"].is_string() && value["error"]["code"].is_string());
        let again = codec.decode_error(status, &HeaderMap::new(), &body).kind();
        if kind.name().starts_with("provider_")
            || matches!(kind.name(), "caller_context_length" | "caller_model_unknown")
        {
            assert_eq!(again, kind);
        }
    }
}

fn whole(body: &str) -> Result<()> {
    let codec = OpenaiChat::default();
    let mut decoder = codec.decoder(&call(Request::new("x")), Framing::Whole);
    decode_whole(&mut *decoder, Bytes::copy_from_slice(body.as_bytes())).map(drop)
}

fn streamed(frames: &[&str], no_done: bool) -> Result<()> {
    let codec = OpenaiChat::new(Quirks { no_done, ..Quirks::default() });
    let mut decoder = codec.decoder(&call(Request::new("x")), Framing::Stream);
    for data in frames {
        decoder.frame(Frame { name: None, data: Bytes::copy_from_slice(data.as_bytes()) })?;
    }
    decoder.end().map(drop)
}

const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn what_is_no_answer_is_an_error() {
    for body in [
        "",
        " ",
        "<html><title>Login</title></html>",
        "{\"choices\":[{\"message\":{\"content\":\"a",
        "[]",
        "null",
        "{}",
        "{\"choices\":[]}",
        "{\"choices\":{}}",
        "{\"choices\":[1]}",
        "{\"choices\":[{\"index\":99,\"message\":{}}]}",
    ] {
        let error = whole(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{body}: {error}");
    }
    assert!(whole("<html>").unwrap_err().message().contains("web page"));
    let cases: &[(&[&str], &str)] = &[
        (&[], "without [DONE]"),
        (&["[DONE]"], "no choices"),
        (&[TEXT], "without [DONE]"),
        (&[TEXT, STOP], "every choice was finished, but"),
        (&[TEXT, STOP, TEXT, "[DONE]"], "goes on with content after it was finished"),
        (&[TEXT, "{\"choices\":[{\"index\":0,"], "cannot be read"),
        (&[TEXT, "<html>"], "web page"),
    ];
    for (frames, says) in cases {
        let error = streamed(frames, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{frames:?}");
        assert!(error.message().contains(says), "{frames:?}: {error}");
    }
}

#[test]
fn the_end_is_what_the_server_is_known_to_send() {
    streamed(&[TEXT, STOP, "[DONE]", "anything", "[DONE]"], false).unwrap();
    // A server that says it is done has finished, whether or not it gave a reason.
    streamed(&[TEXT, "[DONE]"], false).unwrap();
    streamed(&[TEXT, STOP], true).unwrap();
    streamed(&[TEXT], true).unwrap_err();
    streamed(&[TEXT, r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#, STOP], true).unwrap_err();
}

#[test]
fn errors_in_the_middle_are_errors() {
    for data in [
        r#"{"error":{"message":"The server is overloaded","type":"server_error","code":503}}"#,
        r#"{"error":"the model is overloaded"}"#,
        r#"{"object":"error","message":"overloaded","code":503}"#,
    ] {
        assert_eq!(streamed(&[TEXT, data], false).unwrap_err().kind(), ErrorKind::ProviderOverloaded, "{data}");
        assert_eq!(whole(data).unwrap_err().kind(), ErrorKind::ProviderOverloaded, "{data}");
    }
    let ended = r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#;
    assert_eq!(streamed(&[TEXT, ended], false).unwrap_err().kind(), ErrorKind::ProviderServerError);
    let codec = OpenaiChat::default();
    let mut decoder = codec.decoder(&call(Request::new("x")), Framing::Stream);
    let named = Frame { name: Some("error".into()), data: Bytes::from_static(b"{\"message\":\"rate limit\"}") };
    assert_eq!(decoder.frame(named).unwrap_err().kind(), ErrorKind::ProviderRateLimited);
}

#[test]
fn errors_in_the_middle_are_written() {
    let codec = OpenaiChat::default();
    let error = Error::timeout("no event in 30 s");
    let mut out = BytesMut::new();
    codec.encoder(&Request::new("x"), Framing::Stream).error(&error, &mut out);
    assert_eq!(
        out,
        "data: {\"error\":{\"message\":\"no event in 30 s\",\"type\":\"server_error\",\"param\":null,\"code\":\"provider_timeout\"}}\n\n"
    );
}
