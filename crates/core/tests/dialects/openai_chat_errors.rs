//! Error answers of many servers, and what each must become; and what is no answer at all.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use llm_router::dialect::openai_chat::{OpenaiChat, Quirks};
use llm_router::dialect::{Codec, Frame, Framing};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use llm_router::{Error, Result};

use crate::errors::{are_no_answers, whole};
use crate::support::call;

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

fn streamed(frames: &[&str], no_done: bool) -> Result<()> {
    crate::errors::streamed(&OpenaiChat::new(Quirks { no_done, ..Quirks::default() }), frames)
}

const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn what_is_no_answer_is_an_error() {
    let bodies = [
        "{\"choices\":[{\"message\":{\"content\":\"a",
        "{\"choices\":[]}",
        "{\"choices\":{}}",
        "{\"choices\":[1]}",
        "{\"choices\":[{\"index\":99,\"message\":{}}]}",
    ];
    let cases: &[(&[&str], &str)] = &[
        (&[], "without [DONE]"),
        (&["[DONE]"], "no choices"),
        (&[TEXT], "without [DONE]"),
        (&[TEXT, STOP], "every choice was finished, but"),
        (&[TEXT, STOP, TEXT, "[DONE]"], "goes on with content after it was finished"),
        (&[TEXT, "{\"choices\":[{\"index\":0,"], "cannot be read"),
        (&[TEXT, "<html>"], "web page"),
    ];
    are_no_answers(&OpenaiChat::default(), &bodies, cases);
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
        assert_eq!(whole(&OpenaiChat::default(), data).unwrap_err().kind(), ErrorKind::ProviderOverloaded, "{data}");
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
