//! Error answers of Google's servers, and what each must become; and what is no answer at all.

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use llm_router::Error;
use llm_router::dialect::gemini::Gemini;
use llm_router::dialect::{Codec, Framing, RequestHead};
use llm_router::error::ErrorKind;

use crate::errors::{are_no_answers, rows, streamed, whole};

/// An error that came as an event has no status of its own.
#[test]
fn in_the_middle_an_error_means_unavailable() {
    for row in rows(&Gemini).iter().filter(|row| row.status == 200) {
        let error = Gemini.decode_error(StatusCode::OK, &HeaderMap::new(), row.body.as_bytes());
        assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE), "{}", row.source);
    }
}

#[test]
fn our_own_errors_are_understood_by_another_router_and_by_clients() {
    for &kind in ErrorKind::ALL {
        let error = Error::new(kind, "why").with_hint("do this").with_retry_after(Duration::from_millis(1500));
        let (status, body) = Gemini.encode_error(&error);
        assert_eq!(status, kind.http_status());
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&value["error"]["message"], value["error"]["code"].as_u64()),
            (&"why (do this)".into(), Some(status.as_u16().into()))
        );
        assert!(value["error"]["status"].as_str().is_some_and(|word| word == word.to_uppercase()));
        let again = Gemini.decode_error(status, &HeaderMap::new(), &body);
        assert_eq!(again.retry_after(), Some(Duration::from_millis(1500)), "{kind}");
        // What another router forbids or lacks is that provider's failure here.
        match kind.name() {
            name if name.starts_with("provider_") || name.starts_with("caller_") => assert_eq!(again.kind(), kind),
            _ => assert!(again.kind().name().starts_with("provider_"), "{kind} {}", again.kind()),
        }
    }
}

const TEXT: &str = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
const STOP: &str = r#"{"candidates":[{"finishReason":"STOP"}]}"#;

#[test]
fn what_is_no_answer_is_an_error() {
    let bodies = [
        "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a",
        "[1]",
        "{\"candidates\":[]}",
        "{\"candidates\":1}",
        "{\"candidates\":[1]}",
        "{\"candidates\":[{\"content\":1}]}",
        "{\"candidates\":[{\"content\":{\"parts\":\"x\"}}]}",
        "{\"candidates\":[{\"content\":{\"parts\":[\"x\"]}}]}",
        "{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":[]}]}}]}",
        "{\"candidates\":[{\"index\":99}]}",
        "{\"usageMetadata\":{\"promptTokenCount\":1}}",
        "{\"candidates\":[],\"candidates\":[]}",
    ];
    let deep = format!("{{\"candidates\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    assert!(whole(&Gemini, &deep).unwrap_err().message().contains("deeper than 128"));
    let cases: &[(&[&str], &str)] = &[
        (&[], "without a candidate"),
        (&["[DONE]"], "without a candidate"),
        (&[TEXT], "before a finish reason"),
        (&[STOP, r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#], "before a finish reason"),
        (&[TEXT, "{\"candidates\":[{\"index\":0,"], "cannot be read"),
        (&[TEXT, "<html>"], "web page"),
    ];
    are_no_answers(&Gemini, &bodies, cases);
    streamed(&Gemini, &[TEXT, STOP]).unwrap();
    streamed(&Gemini, &[STOP, TEXT, "", STOP, "[DONE]"]).unwrap();
}

#[test]
fn a_blocked_prompt_is_the_callers() {
    let blocked = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","safetyRatings":[]},"usageMetadata":{"promptTokenCount":3},"modelVersion":"m"}"#;
    for error in [
        whole(&Gemini, blocked).unwrap_err(),
        streamed(&Gemini, &[blocked]).unwrap_err(),
        streamed(&Gemini, &[TEXT, blocked]).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::CallerContentFilter);
        assert!(error.message().contains("PROHIBITED_CONTENT"), "{error}");
    }
    let allowed = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"promptFeedback":{"safetyRatings":[{"probability":"LOW"}]}}"#;
    whole(&Gemini, allowed).unwrap();
}

#[test]
fn errors_in_the_middle_are_errors() {
    let data = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    assert_eq!(streamed(&Gemini, &[TEXT, data]).unwrap_err().kind(), ErrorKind::ProviderOverloaded);
    assert_eq!(whole(&Gemini, data).unwrap_err().kind(), ErrorKind::ProviderOverloaded);
    assert_eq!(whole(&Gemini, &format!("[{TEXT},{data}]")).unwrap_err().kind(), ErrorKind::ProviderOverloaded);
}

#[test]
fn errors_in_the_middle_are_written() {
    let error = Error::timeout("no event in 30 s");
    let body = r#"{"error":{"code":504,"message":"no event in 30 s","status":"DEADLINE_EXCEEDED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"provider_timeout","domain":"llm-router"}]}}"#;
    let asking = |target: &str, query: Option<&str>| {
        let mut head = RequestHead::post(target);
        head.query = query.map(str::to_owned);
        Gemini.decode_request(&head, br#"{"contents":[{"parts":[{"text":"x"}]}]}"#).unwrap()
    };
    let events = asking("/v1beta/models/m:streamGenerateContent", Some("key=k&alt=sse"));
    let mut out = BytesMut::new();
    Gemini.encoder(&events, Framing::Stream).error(&error, &mut out);
    assert_eq!(out, format!("data: {body}\n\n"));
    let list = asking("/v1beta/models/m:streamGenerateContent", None);
    let mut out = BytesMut::new();
    let mut encoder = Gemini.encoder(&list, Framing::Stream);
    encoder.ping(&mut out);
    encoder.error(&error, &mut out);
    assert_eq!(out, format!("\n[{body}]"));
}
