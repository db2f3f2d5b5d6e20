//! Embeddings, pictures and token counts over HTTP: what goes out to each kind of provider, and what its answer becomes.
#![allow(clippy::unwrap_used, missing_docs)]

use llm_router::config::{Credential, ProviderSettings, Settings};
use llm_router::embedding::{EmbedInput, EmbedRequest};
use llm_router::error::ErrorKind;
use llm_router::ids::ProviderId;
use llm_router::image::{ImageRequest, PictureBody};
use llm_router::provider::upstream::HttpProvider;
use llm_router::request::{RawJson, Request};
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::{Value, json};

fn router(preset: &str, url: String) -> Router {
    let mut settings = ProviderSettings::default();
    settings.base_url = Some(url);
    settings.credentials = vec![Credential::Value(Secret::new("canary-key-0123456789"))];
    let provider = HttpProvider::new(&ProviderId::new(preset).unwrap(), &settings).unwrap();
    Router::builder().provider(provider).settings(Settings::default()).build().unwrap()
}

async fn upstream(answer: Value) -> Upstream {
    Upstream::serve([Answer::json(200, answer.to_string())]).await
}

fn ask(model: &str) -> EmbedRequest {
    let mut ask = EmbedRequest::new(["one".into(), "two".into()]);
    (ask.model, ask.dimensions) = (Some(model.to_owned()), Some(2));
    ask
}

#[tokio::test]
async fn an_openai_server_is_asked_at_embeddings() {
    let data = json!([{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": "AACAPwAAAEA="}]);
    let up = upstream(
        json!({"object": "list", "data": data, "model": "e", "usage": {"prompt_tokens": 4, "total_tokens": 4}}),
    )
    .await;
    let made = router("openai", up.url("/v1")).embed(ask("openai/e")).await.unwrap();
    assert_eq!(made.vectors, [[1.0, 2.0], [0.5, 1.0]]);
    assert_eq!((made.model.as_str(), made.usage.unwrap().input), ("e", 4));
    let sent = up.last();
    assert_eq!(
        (sent.target.as_str(), sent.header("authorization")),
        ("/v1/embeddings", "Bearer canary-key-0123456789")
    );
    assert_eq!(sent.json(), json!({"model": "e", "input": ["one", "two"], "dimensions": 2}));
}

#[tokio::test]
async fn google_is_asked_for_a_batch() {
    let up = upstream(json!({"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]})).await;
    let router = router("gemini", up.url("/v1beta"));
    let made = router.embed(ask("gemini/gemini-embedding-001")).await.unwrap();
    assert_eq!((made.vectors, made.model.as_str()), (vec![vec![1.0, 2.0], vec![3.0, 4.0]], "gemini-embedding-001"));
    let sent = up.last();
    assert_eq!(sent.target, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(sent.header("x-goog-api-key"), "canary-key-0123456789");
    assert_eq!(sent.json()["requests"][1]["content"]["parts"][0]["text"], "two");
    let mut tokens = ask("gemini/m");
    tokens.inputs = vec![EmbedInput::Tokens(vec![1])];
    assert_eq!(router.embed(tokens).await.unwrap_err().kind(), ErrorKind::CallerUnsupported);
}

#[tokio::test]
async fn answers_that_do_not_fit_their_question_are_none() {
    for answer in [json!({"data": [{"embedding": [1]}]}), json!({"data": []}), json!({"nothing": 1})] {
        let up = Upstream::serve(vec![Answer::json(200, answer.to_string()); 3]).await;
        let error = router("openai", up.url("/v1")).embed(ask("openai/e")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{answer}");
    }
    let up = upstream(json!({})).await;
    let error = router("anthropic", up.url("/v1")).embed(ask("anthropic/e")).await.unwrap_err();
    assert_eq!((error.kind(), up.seen().requests.len()), (ErrorKind::CallerUnsupported, 0));
    let refused = json!({"error": {"message": "no such dimensions", "type": "invalid_request_error"}});
    let up = Upstream::serve([Answer::json(400, refused.to_string())]).await;
    let error = router("openai", up.url("/v1")).embed(ask("openai/e")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderRejected);
}

#[tokio::test]
async fn pictures_are_drawn_by_both_families() {
    let up = upstream(json!({"created": 3, "data": [{"b64_json": "AAAA"}, {"url": "https://h/x.png"}]})).await;
    let mut asked = ImageRequest::new("a cat");
    (asked.model, asked.n) = (Some("openai/gpt-image-1".to_owned()), Some(2));
    asked.extra.insert("size".to_owned(), RawJson::parse("\"512x512\"").unwrap());
    let drawn = router("openai", up.url("/v1")).image(asked.clone()).await.unwrap();
    assert_eq!(drawn.pictures[1].body, PictureBody::Url("https://h/x.png".to_owned()));
    assert_eq!(up.last().target, "/v1/images/generations");
    assert_eq!(up.last().json(), json!({"model": "gpt-image-1", "prompt": "a cat", "n": 2, "size": "512x512"}));

    let part = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let content = json!({"role": "model", "parts": [{"text": "Here."}, part]});
    let up = upstream(json!({"candidates": [{"content": content, "finishReason": "STOP", "index": 0}]})).await;
    let gemini = router("gemini", up.url("/v1beta"));
    asked.model = Some("gemini/gemini-2.5-flash-image".to_owned());
    assert_eq!(gemini.image(asked.clone()).await.unwrap_err().kind(), ErrorKind::CallerUnsupported);
    asked.n = None;
    let drawn = gemini.image(asked).await.unwrap();
    let body = PictureBody::Base64 { data: "AAAA".into(), mime: Some("image/png".to_owned()) };
    assert_eq!(drawn.pictures.iter().map(|one| &one.body).collect::<Vec<_>>(), [&body]);
    assert_eq!(drawn.trace().unwrap().dropped, [llm_router::dialect::FieldPath::from("size")]);
    assert_eq!(up.last().json()["generationConfig"]["responseModalities"], json!(["TEXT", "IMAGE"]));
}

#[tokio::test]
async fn who_can_count_is_asked_and_others_are_estimated() {
    let asked = |model: &str| {
        let mut request = Request::new("hello");
        request.model = Some(model.to_owned());
        request
    };
    for (preset, prefix, path, answer) in [
        ("anthropic", "/v1", "/v1/messages/count_tokens", json!({"input_tokens": 21})),
        ("gemini", "/v1beta", "/v1beta/models/m:countTokens", json!({"totalTokens": 21})),
    ] {
        let up = upstream(answer).await;
        let counted = router(preset, up.url(prefix)).count_tokens(asked(&format!("{preset}/m"))).await.unwrap();
        assert_eq!((counted.tokens, counted.estimated, up.last().target.as_str()), (21, false, path));
    }
    let up = upstream(json!({})).await;
    let counted = router("openai", up.url("/v1")).count_tokens(asked("openai/m")).await.unwrap();
    assert!(counted.estimated && up.seen().requests.is_empty());
}
