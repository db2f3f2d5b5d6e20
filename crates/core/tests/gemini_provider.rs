//! The preset `gemini` against a loopback upstream: paths, the key's header, streams and failures, through the public door of a provider.
#![allow(clippy::unwrap_used, missing_docs)]

use llm_router::ErrorKind;
use llm_router::config::{Credential, ProviderSettings};
use llm_router::dialect::gemini::Gemini;
use llm_router::dialect::{Codec, RequestHead};
use llm_router::ids::ProviderId;
use llm_router::provider::Call;
use llm_router::provider::upstream::HttpProvider;
use llm_router::request::Request;
use llm_router::secret::Secret;
use llm_router::testing::conformance::{self, answers, fails, survives_drops};
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::json;

fn fixture(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gemini");
    std::fs::read_to_string(format!("{root}/{path}")).unwrap()
}

fn google(upstream: &Upstream) -> HttpProvider {
    let mut settings = ProviderSettings::default();
    settings.base_url = Some(upstream.url("/v1beta"));
    settings.credentials = vec![Credential::Value(Secret::new("canary-key-0123456789"))];
    HttpProvider::new(&ProviderId::new("gemini").unwrap(), &settings).unwrap()
}

fn call(provider: &HttpProvider, stream: bool) -> Call {
    let mut request = Request::new("hi");
    request.stream = stream;
    conformance::call(provider, request)
}

fn stream(path: &str) -> Answer {
    Answer::sse().chunk(&fixture(path)).end()
}

#[tokio::test]
async fn the_model_stands_in_the_path_and_the_key_in_its_header() {
    let upstream =
        Upstream::serve([Answer::json(200, fixture("whole_max_tokens/answer.json")), stream("stream_text/answer.sse")])
            .await;
    let provider = google(&upstream);
    let response = answers(&provider, call(&provider, false)).await.unwrap();
    assert_eq!((response.text().as_str(), response.model.as_str()), ("The capital of France is", "gemini-2.5-flash"));
    let sent = upstream.last();
    assert_eq!(sent.target, "/v1beta/models/gemini-3.5-flash-lite:generateContent");
    assert_eq!(sent.header("x-goog-api-key"), "canary-key-0123456789");
    assert_eq!(sent.header("authorization"), "");
    assert_eq!(sent.json(), json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}));
    let response = answers(&provider, call(&provider, true)).await.unwrap();
    assert_eq!(
        (response.text().as_str(), response.usage.unwrap().total()),
        ("The capital of Mexico is Mexico City.", 173)
    );
    assert_eq!(upstream.last().target, "/v1beta/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse");
}

#[tokio::test]
async fn a_server_that_streams_no_events_is_understood() {
    let list = fixture("whole_list_of_chunks_text/answer.json");
    let upstream = Upstream::serve([Answer::json(200, list)]).await;
    let provider = google(&upstream);
    assert_eq!(answers(&provider, call(&provider, true)).await.unwrap().text(), "5 times 3 is 15.");
}

#[tokio::test]
async fn a_cut_stream_is_never_a_success() {
    let whole = fixture("stream_text/answer.sse");
    let first = whole.split_inclusive("\r\n\r\n").next().unwrap();
    let upstream = Upstream::serve([Answer::sse().chunk(first).end(), Answer::sse().chunk(first).close()]).await;
    let provider = google(&upstream);
    fails(&provider, call(&provider, true), ErrorKind::ProviderProtocol).await;
    fails(&provider, call(&provider, true), ErrorKind::ProviderConnection).await;
}

#[tokio::test]
async fn errors_say_whose_they_are_and_when_to_come_back() {
    let rows: Vec<serde_json::Value> = serde_json::from_str(&fixture("errors.json")).unwrap();
    for row in rows {
        let (Some(status), Some(kind)) = (row["status"].as_u64(), row["kind"].as_str()) else { panic!("{row}") };
        if status == 200 {
            continue;
        }
        let upstream =
            Upstream::serve([Answer::json(u16::try_from(status).unwrap(), row["body"].as_str().unwrap().to_owned())])
                .await;
        let provider = google(&upstream);
        // A 400 to a body that was written here is not the caller's.
        let kind = if kind == "caller_invalid_request" { "provider_rejected" } else { kind };
        let kind: ErrorKind = serde_json::from_value(kind.into()).unwrap();
        let error = fails(&provider, call(&provider, false), kind).await;
        assert!(!format!("{error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_clients_own_body_goes_on_as_it_came() {
    let body = fixture("py_conversation/request.json");
    let mut head = RequestHead::post("/v1beta/models/gemini-3-pro-preview:streamGenerateContent");
    head.query = Some("alt=sse".into());
    let request = Gemini.decode_request(&head, body.as_bytes()).unwrap();
    let upstream = Upstream::serve([stream("stream_tool_call/answer.sse")]).await;
    let provider = google(&upstream);
    answers(&provider, conformance::call(&provider, request)).await.unwrap();
    assert_eq!(upstream.last().json(), serde_json::from_str::<serde_json::Value>(&body).unwrap());
    assert_eq!(upstream.last().target, "/v1beta/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse");
}

#[tokio::test]
async fn it_survives_being_dropped() {
    let upstream = Upstream::serve([stream("stream_text/answer.sse")]).await;
    let provider = google(&upstream);
    survives_drops(&provider, || call(&provider, true)).await;
}
