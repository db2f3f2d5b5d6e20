//! Error answers of the vendor and of what stands before it, and what each must become; what is no answer at all; and our own errors in its shape.

use bytes::BytesMut;
use http::HeaderMap;
use llm_router::Error;
use llm_router::dialect::anthropic::Anthropic;
use llm_router::dialect::{Codec, Framing};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use serde_json::Value;

use crate::errors::{are_no_answers, rows, streamed, whole};

/// What stands in a body may stand in the middle of a stream too, and in a body that came with 200.
#[test]
fn an_error_is_one_wherever_it_stands() {
    for row in rows(&Anthropic).iter().filter(|row| row.body.starts_with("{\"type\":\"error\"")) {
        assert_eq!(streamed(&Anthropic, &[START, &row.body]).unwrap_err().kind(), row.kind, "{}", row.body);
        assert_eq!(whole(&Anthropic, &row.body).unwrap_err().kind(), row.kind, "{}", row.body);
    }
}

#[test]
fn our_own_errors_have_the_vendors_shape_and_are_understood_by_another_router() {
    for &kind in ErrorKind::ALL {
        let (status, body) = Anthropic.encode_error(&Error::new(kind, "why").with_hint("do this"));
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["type"], "error");
        assert!(value["error"]["message"].as_str().unwrap().ends_with("why (do this)"));
        let class = value["error"]["type"].as_str().unwrap();
        let wanted = match status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            503 if kind.name().ends_with("_overloaded") => "overloaded_error",
            400 | 499 => "invalid_request_error",
            _ => "api_error",
        };
        assert_eq!(class, wanted, "{kind}");
        let again = Anthropic.decode_error(status, &HeaderMap::new(), &body).kind();
        if kind.name().starts_with("provider_")
            || matches!(kind.name(), "caller_context_length" | "caller_model_unknown" | "caller_too_large")
        {
            assert_eq!(again, kind);
        }
    }
    let (_, body) = Anthropic.encode_error(&Error::new(ErrorKind::CallerContextLength, "9 tokens, 8 fit"));
    assert!(body.windows(19).any(|words| words == b"prompt is too long:"), "{body:?}");
}

const START: &str =
    r#"{"type":"message_start","message":{"id":"1","model":"m","content":[],"usage":{"input_tokens":1}}}"#;
const TEXT: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a"}}"#;
const MORE: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#;
const DONE: &str = r#"{"type":"content_block_stop","index":0}"#;
const REASON: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

#[test]
fn what_is_no_answer_is_an_error() {
    let bodies = [
        "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"a",
        "{\"type\":\"message\"}",
        "{\"content\":{}}",
        "{\"content\":[1]}",
        "{\"content\":[{\"type\":\"tool_use\",\"id\":\"x\"}]}",
    ];
    let cases: &[(&[&str], &str)] = &[
        (&[], "without message_stop"),
        (&[STOP], "without having begun"),
        (&[TEXT], "does not begin with message_start"),
        (&[REASON], "does not begin with message_start"),
        (&[START, START], "begins twice"),
        (&[START, TEXT], "without message_stop"),
        (&[START, TEXT, TEXT], "block 0 of the answer begins twice"),
        (&[START, TEXT, DONE, TEXT], "block 0 of the answer begins twice"),
        (&[START, MORE], "goes on and never began"),
        (&[START, TEXT, DONE, MORE], "goes on after its end"),
        (&[START, DONE], "ends without having begun"),
        (&[START, TEXT, DONE, REASON], "had its stop_reason, but"),
        (&[START, TEXT, DONE, REASON, MORE], "goes on after its stop_reason"),
        (&[START, "{\"type\":\"message_delta\",\"delta\":7}"], "delta is not an object"),
        (&[START, "{\"type\":\"content_block_start\",\"index\":0"], "cannot be read"),
        (&[START, "<html>"], "web page"),
    ];
    are_no_answers(&Anthropic, &bodies, cases);
}

#[test]
fn the_end_is_message_stop_and_nothing_counts_after_it() {
    streamed(&Anthropic, &[START, TEXT, MORE, DONE, REASON, STOP, TEXT, "anything"]).unwrap();
    streamed(&Anthropic, &["[DONE]", START, "{\"type\":\"ping\"}", TEXT, STOP, "[DONE]"]).unwrap();
}

#[test]
fn errors_in_the_middle_are_written_as_the_vendor_does() {
    let mut out = BytesMut::new();
    let mut encoder = Anthropic.encoder(&Request::new("x"), Framing::Stream);
    encoder.ping(&mut out);
    encoder.error(&Error::timeout("no event in 30 s"), &mut out);
    assert_eq!(
        out,
        "event: ping\ndata: {\"type\": \"ping\"}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"no event in 30 s\",\"code\":\"provider_timeout\"}}\n\n"
    );
}
