//! What must hold of every recorded request: it means what a person accepted, goes on as it came, and can be said again.

use llm_router::Result;
use llm_router::dialect::{Dialect, Framing, HttpCall, anthropic, gemini, native};
use llm_router::provider::Call;
use serde_json::Value;

use crate::fixtures::{Fixture, requests};
use crate::support::{call, head, without_origin};

/// Where the request asked for a count of tokens, it asks for it again.
fn sent(fixture: &Fixture, call: &Call) -> Result<HttpCall> {
    match fixture.dialect {
        Dialect::Anthropic if fixture.head.path.ends_with("count_tokens") => anthropic::count::encode_request(call),
        Dialect::Gemini if gemini::count::asks(&fixture.head) => gemini::count::encode_request(call),
        _ => fixture.codec.encode_request(call),
    }
}

#[test]
fn they_mean_what_the_snapshots_say() {
    for fixture in requests() {
        let request = fixture.request();
        let written = native::write_request(&request).unwrap();
        let value: Value = serde_json::from_slice(&written).unwrap();
        fixture.snapshot("request", &serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(native::read_request(&written).unwrap(), without_origin(request), "{}", fixture.name);
    }
}

/// To a provider of this dialect a request of this dialect is passed on, byte for byte.
#[test]
fn they_go_on_as_received() {
    for fixture in requests() {
        let (name, request) = (&fixture.name, fixture.request());
        let (streams, received) = (request.stream, fixture.request.as_ref().unwrap());
        let sent = sent(fixture, &call(request)).unwrap();
        if sent.body != received {
            // What is added is added to streams alone, and nothing but that is changed.
            assert!(streams && !fixture.customs().added.is_empty(), "{name}");
            let [received, sent] = [received, &sent.body[..]].map(|body| {
                let mut body: serde_json::Map<String, Value> = serde_json::from_slice(body).unwrap();
                body.retain(|field, _| !fixture.customs().added.contains(&field.as_str()));
                body
            });
            assert_eq!(sent, received, "{name}");
        }
        assert!(sent.dropped.is_empty(), "{name}: {:?}", sent.dropped);
        assert!(fixture.head.path.ends_with(&sent.path), "{name}: {}", sent.path);
        assert_eq!(sent.query, fixture.head.query, "{name}");
        assert_eq!(sent.framing, Framing::of(streams), "{name}");
        for header in ["anthropic-version", "anthropic-beta"] {
            assert_eq!(sent.headers.get(header), fixture.head.headers.get(header), "{name}");
        }
    }
}

#[test]
fn they_mean_the_same_when_written_anew() {
    for fixture in requests() {
        let name = &fixture.name;
        let mut request = without_origin(fixture.request());
        let sent = fixture.codec.encode_request(&call(request.clone())).unwrap();
        assert!(sent.dropped.is_empty(), "{name}: {:?}", sent.dropped);
        let query = sent.query.map(|query| format!("?{query}")).unwrap_or_default();
        let head = head(&format!("/v1beta{}{query}", sent.path));
        let mut again = without_origin(fixture.codec.decode_request(&head, &sent.body).unwrap());
        (fixture.customs().settle)(&mut request, &mut again);
        assert_eq!(again, request, "{name}");
    }
}
