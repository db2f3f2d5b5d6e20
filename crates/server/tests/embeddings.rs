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

/// Whether a value is of a schema of this document, as far as the words go that it uses.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(document, document.pointer(reference.trim_start_matches('#')).unwrap(), value);
    }
    let number = |word: &str| schema[word].as_f64();
    let of_type = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    let types = match &schema["type"] {
        Value::String(name) => of_type(name),
        Value::Array(names) => names.iter().any(|name| of_type(name.as_str().unwrap())),
        _ => true,
    };
    let named = |name: &str, inner: &Value| value.get(name).is_none_or(|value| fits(document, inner, value));
    let length = value.as_array().map(Vec::len).or(value.as_str().map(str::len)).map(|length| length as f64);
    let within = |least, most, size: Option<f64>| {
        size.is_none_or(|size| {
            number(least).is_none_or(|least| size >= least) && number(most).is_none_or(|most| size <= most)
        })
    };
    let any_of = |all: &Value| all.as_array().is_none_or(|all| all.iter().any(|one| fits(document, one, value)));
    let lengths = if value.is_array() { ("minItems", "maxItems") } else { ("minLength", "maxLength") };
    types
        && schema.get("const").is_none_or(|wanted| wanted == value)
        && schema["enum"].as_array().is_none_or(|all| all.contains(value))
        && ["anyOf", "oneOf"].iter().all(|word| any_of(&schema[*word]))
        && schema["required"]
            .as_array()
            .is_none_or(|all| all.iter().all(|name| value.get(name.as_str().unwrap()).is_some()))
        && schema["properties"].as_object().is_none_or(|all| all.iter().all(|(name, inner)| named(name, inner)))
        && value
            .as_array()
            .is_none_or(|all| schema.get("items").is_none_or(|inner| all.iter().all(|one| fits(document, inner, one))))
        && within(lengths.0, lengths.1, length)
        && within("minimum", "maximum", value.as_f64())
}

/// What the document says of a request is what decides whether it is answered, and what it says of answers is so.
#[tokio::test]
async fn the_document_says_what_is_taken_and_given() {
    let server = serve(maker()).await;
    let document = server.get("/openapi.json", &[]).await.json();
    let text = json!({"content": {"parts": [{"text": "a"}]}});
    for (path, described, good, bad) in [
        (
            "/v1/embeddings",
            "/v1/embeddings",
            vec![
                json!({"model": "maker/e", "input": "a"}),
                json!({"input": ["a", "b"], "encoding_format": "base64", "unknown": [1]}),
                json!({"input": [1, 2], "dimensions": 3, "user": null}),
                json!({"input": [[1], [2, 3]], "encoding_format": "float"}),
            ],
            vec![
                json!({"model": "maker/e"}),
                json!({"input": ""}),
                json!({"input": []}),
                json!({"input": ["a", ""]}),
                json!({"input": ["a", 1]}),
                json!({"input": [-1]}),
                json!({"input": "a", "dimensions": 0}),
                json!({"input": "a", "dimensions": 65_537}),
                json!({"input": "a", "encoding_format": "hex"}),
                json!({"input": "a", "model": 3}),
                json!({"input": vec!["a"; 2049]}),
            ],
        ),
        (
            "/v1/images/generations",
            "/v1/images/generations",
            vec![json!({"prompt": "a cat"}), json!({"model": "maker/p", "prompt": "a", "n": 10, "size": "1x1"})],
            vec![
                json!({"model": "maker/p"}),
                json!({"prompt": ""}),
                json!({"prompt": "a", "n": 0}),
                json!({"prompt": "a", "n": 11}),
                json!({"prompt": 3}),
                json!({"prompt": "a", "user": 1}),
            ],
        ),
        (
            "/v1beta/models/maker/e:embedContent",
            "/v1beta/models/{model}:embedContent",
            vec![
                text.clone(),
                json!({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "outputDimensionality": 2}),
            ],
            vec![json!({}), json!({"content": {}}), json!({"content": {"parts": [{}]}}), json!({"content": "a"})],
        ),
        (
            "/v1beta/models/maker/e:batchEmbedContents",
            "/v1beta/models/{model}:batchEmbedContents",
            vec![json!({"requests": [text, text]})],
            vec![json!({}), json!({"requests": []}), json!({"requests": [{}]})],
        ),
    ] {
        let operation = &document["paths"][described]["post"];
        let asked = &operation["requestBody"]["content"]["application/json"]["schema"];
        let given = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        for (bodies, status) in [(good, 200), (bad, 400)] {
            for body in bodies {
                let answer = server.post(path, &body).await;
                let shown: String = body.to_string().chars().take(80).collect();
                assert_eq!(answer.status, status, "{path} {shown} {answer:?}");
                assert_eq!(fits(&document, asked, &body), status == 200, "{path} {shown}");
                assert!(status != 200 || fits(&document, given, &answer.json()), "{path} {answer:?}");
            }
        }
        assert!(
            !fits(&document, given, &json!({})) && !fits(&document, given, &json!({"data": 1, "embedding": 2})),
            "{path}"
        );
    }
}
