//! Embeddings and pictures as clients see them, over a real socket, from a scripted provider.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use llm_router::image::{Picture, PictureBody};
use llm_router::testing::scripted::Scripted;
use serde_json::{Value, json};
use support::serve;

fn maker() -> Scripted {
    let pictures = [
        Picture::new(PictureBody::Base64 { data: Bytes::from_static(b"AAAA"), mime: None }),
        Picture::new(PictureBody::Url("https://h/x.png".to_owned())),
    ];
    Scripted::text("maker", "hi").embedding(2).drawing(pictures)
}

#[tokio::test]
async fn texts_become_numbers_or_base64() {
    let server = serve(maker()).await;
    let asked = json!({"model": "maker/e", "input": ["one", "three"]});
    let answer = server.post("/v1/embeddings", &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("list"), &json!("e")));
    assert_eq!(body["data"][1], json!({"object": "embedding", "index": 1, "embedding": [5.0, 1.0]}));
    assert_eq!(body["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    assert_eq!((answer.header("x-llm-router-provider"), answer.header("x-llm-router-model")), ("maker", "e"));
    assert!(!answer.header("x-request-id").is_empty());
    let mut packed = asked.clone();
    packed["encoding_format"] = json!("base64");
    // 3.0 and 0.0, four bytes each, the least significant first.
    assert_eq!(server.post("/v1/embeddings", &packed).await.json()["data"][0]["embedding"], "AABAQAAAAAA=");
    let short = json!({"model": "maker/e", "input": [7, 8, 9], "dimensions": 3});
    assert_eq!(server.post("/v1/embeddings", &short).await.json()["data"][0]["embedding"], json!([3.0, 0.0, 0.0]));
}

#[tokio::test]
async fn google_clients_get_theirs_by_the_verb_of_the_path() {
    let server = serve(maker()).await;
    let one = json!({"content": {"parts": [{"text": "one"}]}});
    let answer = server.post("/v1beta/models/maker/e:embedContent", &one).await;
    assert_eq!(answer.json(), json!({"embedding": {"values": [3.0, 0.0]}}), "{answer:?}");
    let batch = json!({"requests": [one, {"content": {"parts": [{"text": "three"}]}}]});
    let answer = server.post("/v1/models/maker/e:batchEmbedContents", &batch).await;
    assert_eq!(answer.json()["embeddings"][1], json!({"values": [5.0, 1.0]}), "{answer:?}");
    let bad = server.post("/v1beta/models/maker/e:embedContent", &json!({})).await;
    assert_eq!((bad.status, &bad.json()["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
}

#[tokio::test]
async fn pictures_come_as_the_provider_gives_them() {
    let server = serve(maker()).await;
    let asked = json!({"model": "maker/p", "prompt": "a cat", "n": 2, "size": "256x256"});
    let answer = server.post("/v1/images/generations", &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["data"], json!([{"b64_json": "AAAA"}, {"url": "https://h/x.png"}]));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn what_cannot_be_made_is_said_in_the_clients_own_way() {
    let server = serve(Scripted::text("talks", "hi")).await;
    for (path, asked, status) in [
        ("/v1/embeddings", json!({"model": "talks/m", "input": "a"}), 400),
        ("/v1/embeddings", json!({"model": "talks/m", "input": []}), 400),
        ("/v1/embeddings", json!({"model": "nobody", "input": "a"}), 404),
        ("/v1/images/generations", json!({"model": "talks/m", "prompt": "a"}), 400),
        ("/v1/images/generations", json!({"model": "talks/m"}), 400),
    ] {
        let refused = server.post(path, &asked).await;
        assert_eq!(refused.status, status, "{path} {asked}");
        let body: Value = refused.json();
        assert!(body["error"]["message"].is_string() && body["error"]["type"].is_string(), "{body}");
    }
}
