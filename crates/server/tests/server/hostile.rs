//! Clients that mean harm, or know no better: each gets an answer of 4xx in its own shape or a closed connection, the server stays, and nothing is asked of a provider.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use llm_router::testing::scripted::{Scripted, Turn};
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Ask, Setting, Talk, answer, chat, each, soon};

fn one() -> Setting {
    Setting::new().provider(Scripted::text("s", "hello"))
}

/// Every path that takes a body, with one that is right.
fn posts() -> Vec<(&'static str, Value)> {
    let mut all: Vec<(&'static str, Value)> = Vec::new();
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"s/m","messages":[{"role":"user","content":"hi"}]}"#),
        ("/v1/responses", r#"{"model":"s/m","input":"hi"}"#),
        ("/v1/completions", r#"{"model":"s/m","prompt":"hi"}"#),
        ("/v1/messages", r#"{"model":"s/m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#),
        ("/v1/messages/count_tokens", r#"{"model":"s/m","messages":[{"role":"user","content":"hi"}]}"#),
        ("/v1beta/models/s/m:generateContent", r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#),
        ("/v1beta/models/s/m:countTokens", r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#),
        ("/api/v0/ai/llm/generate", r#"{"prompt":"hi","model_name":"s/m"}"#),
    ] {
        all.push((path, serde_json::from_str(body).unwrap()));
    }
    all
}

/// An error in one of the shapes that clients know.
fn is_refusal(body: &Value) -> bool {
    body["error"]["message"].is_string() || body["detail"].is_string()
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused_in_the_clients_shape() {
    let provider = Arc::new(Scripted::text("s", "hello"));
    let serving = Setting::new().shared(provider.clone()).start();
    let broken: [&[u8]; 14] = [
        b"",
        b" ",
        b"null",
        b"true",
        b"[]",
        b"\"text\"",
        b"{",
        b"{}}",
        b"{\"a\":1}{\"b\":2}",
        b"{\"model\":\"s/m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
        b"\x00\x01\x02",
        b"\xef\xbb\xbf{}",
        b"{\"model\":\"\\ud800\"}",
        b"model=s%2Fm&messages=hi",
    ];
    for (path, _) in posts() {
        for body in broken {
            let reply = serving.send(Ask::post(path, body)).await;
            assert_eq!(reply.status, 400, "{path} {body:?} {}", reply.text());
            assert!(is_refusal(&reply.json()), "{path} {}", reply.text());
        }
    }
    assert_eq!(provider.calls().len(), 0);
}

#[tokio::test]
async fn numbers_out_of_all_bounds_break_nothing() {
    let serving = one().start();
    let names = [
        "temperature",
        "top_p",
        "top_k",
        "n",
        "max_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "seed",
        "logprobs",
        "top_logprobs",
        "presence_penalty",
        "timeout",
        "best_of",
        "stream",
        "stop",
        "tools",
        "messages",
        "contents",
        "input",
        "generationConfig",
        "thinking",
        "reasoning",
        "metadata",
        "model",
        "logit_bias",
    ];
    let values = [
        "1e999",
        "-1",
        "0",
        "18446744073709551616",
        "4294967296",
        "1.5",
        "\"\"",
        "\"NaN\"",
        "[]",
        "{\"\":null}",
        "true",
    ];
    for (path, body) in posts() {
        for name in names {
            for value in values {
                let rest = body.as_object().unwrap().iter().filter(|(field, _)| field.as_str() != name);
                let rest: serde_json::Map<String, Value> =
                    rest.map(|(name, value)| (name.clone(), value.clone())).collect();
                let rest = serde_json::to_string(&rest).unwrap();
                let comma = if rest == "{}" { "" } else { "," };
                let body = format!("{{\"{name}\":{value}{comma}{}", &rest[1..]);
                let reply = serving.send(Ask::post(path, body.clone())).await;
                assert!(matches!(reply.status, 200 | 400 | 404), "{path} {body} {} {}", reply.status, reply.text());
                assert!(reply.status == 200 || is_refusal(&reply.json()), "{path} {body} {}", reply.text());
            }
        }
    }
}

#[tokio::test]
async fn headers_said_twice_or_in_another_alphabet_do_not_pass_for_others() {
    let serving = one().start();
    let twice = |name: &str, values: [&str; 2]| {
        let mut ask = Ask::chat("s/m").without(name);
        ask.headers.extend(values.map(|value| (name.to_owned(), value.to_owned())));
        ask
    };
    for ask in [
        twice("host", ["localhost", "evil.example"]),
        twice("host", ["evil.example", "localhost"]),
        twice("origin", ["http://localhost", "https://evil.example"]),
        twice("content-type", ["application/json", "text/plain"]),
        twice("content-type", ["text/plain", "application/json"]),
        twice("x-llm-router-strict", ["1", "perhaps"]),
        twice("content-length", ["3", "4"]),
        Ask::chat("s/m").header("host", "localhost@evil.example"),
        Ask::chat("s/m").header("host", "localhost:80@evil.example"),
        Ask::chat("s/m").header("host", "löcalhost"),
        Ask::chat("s/m").header("origin", "http://löcalhost"),
        Ask::chat("s/m").header("origin", "http://localhost@evil.example"),
        Ask::chat("s/m").header("content-type", "application/jsön"),
        Ask::chat("s/m").header("content-encoding", "gzip"),
        Ask::chat("s/m").header("cache-control", "max-age=é"),
        Ask::chat("s/m").header("cache-control", "max-age=99999999999999999999"),
        Ask::chat("s/m").header("idempotency-key", "é"),
    ] {
        let reply = serving.send(ask.clone()).await;
        assert!(matches!(reply.status, 400 | 403), "{:?} {}", ask.headers, reply.status);
    }
    let locked = one().key("team", "k").start();
    for ask in [
        twice("authorization", ["Bearer wrong", "Bearer k"]),
        Ask::chat("s/m").header("authorization", "Bearer ké"),
        Ask::chat("s/m").header("authorization", "Bearer"),
        Ask::chat("s/m").header("x-api-key", "k\u{0}"),
        Ask::chat("s/m").header("x-api-key", &"k".repeat(8000)),
        Ask { target: "/v1/chat/completions?key=%6".into(), ..Ask::chat("s/m") },
    ] {
        let reply = locked.send(ask.clone()).await;
        assert!(matches!(reply.status, 400 | 401), "{:?} {}", ask.headers, reply.status);
    }
    // What nobody asked about is nobody's business.
    let strange = Ask::chat("s/m").header("x-änything", "x").header("user-agent", "é\u{2028}");
    assert!(matches!(serving.send(strange).await.status, 200 | 400));
    assert_eq!(serving.send(Ask::chat("s/m").header("accept", "application/xml")).await.status, 200);
}

#[tokio::test]
async fn other_methods_are_told_which_one_it_is() {
    let serving = one().start();
    for (path, _) in posts() {
        for method in ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let mut ask = Ask::get(path);
            ask.method = method.into();
            let reply = serving.send(ask).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(reply.header("allow").contains("POST") || path.starts_with("/v1beta"), "{method} {path}");
            assert_eq!(reply.header("access-control-allow-origin"), "");
            assert!(is_refusal(&reply.json()), "{method} {path}");
        }
        let mut head = Ask::get(path).header("connection", "close");
        head.method = "HEAD".into();
        let mut talk = Talk::to(serving.address).await;
        talk.write(&head.bytes()).await;
        let reply = soon(talk.head()).await;
        assert!(matches!(reply.status, 404 | 405), "{path} {}", reply.status);
        assert!(talk.closes().await, "nothing comes behind the head of a HEAD");
    }
    let mut connect = Ask::get("localhost:443");
    connect.method = "CONNECT".into();
    assert!(matches!(serving.send(connect).await.status, 400 | 404 | 405));
    let mut star = Ask::get("*");
    star.method = "OPTIONS".into();
    assert!(matches!(serving.send(star).await.status, 400 | 404 | 405));
}

#[tokio::test]
async fn paths_that_climb_or_hide_lead_nowhere() {
    let serving = one().start();
    for path in [
        "/v1/../metrics",
        "/v1/%2e%2e/metrics",
        "//metrics",
        "/metrics/",
        "/v1/models/../../metrics",
        "/%00",
        "/v1/responses/..%2f..",
        "/passthrough/s/../../etc/passwd",
        "/passthrough/lab/v1/files",
        "/v1/messages/",
        "/V1/Messages",
        "/v1beta/models/:generateContent",
        "/v1beta/models/s/m:unknownVerb",
        "/v1beta/models/s/m",
        "/v1/responses/%ff",
    ] {
        for ask in [Ask::get(path), Ask::post(path, "{}")] {
            let reply = serving.send(ask.clone()).await;
            assert!((400..500).contains(&reply.status), "{} {path} {} {}", ask.method, reply.status, reply.text());
            assert!(!reply.text().contains("llm_router_requests_total"), "{path}");
        }
    }
}

#[tokio::test]
async fn heads_without_an_end_are_not_read_for_ever() {
    let serving = one().start();
    let long = Ask::get(&format!("/v1/models/{}", "m".repeat(100_000)));
    let mut talk = Talk::to(serving.address).await;
    talk.write(&long.bytes()).await;
    assert!((400..500).contains(&soon(talk.reply()).await.status));
    let many = (0..300).fold(Ask::chat("s/m"), |ask, at| ask.header(&format!("x-{at}"), "1"));
    let mut talk = Talk::to(serving.address).await;
    talk.write(&many.bytes()).await;
    assert_eq!(soon(talk.reply()).await.status, 431);
    let mut talk = Talk::to(serving.address).await;
    talk.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n").await;
    let line = format!("x-more: {}\r\n", "y".repeat(8000));
    // It answers, or hangs up, before it has read ten megabytes.
    for _ in 0..1300 {
        if talk.socket.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    assert!(talk.closes().await);
}

#[tokio::test]
async fn requests_one_behind_the_other_are_answered_in_turn() {
    let serving = one().start();
    let asks: Vec<u8> = [
        Ask::chat("s/m").bytes(),
        Ask::get("/nowhere").bytes(),
        Ask::stream("s/m").bytes(),
        Ask::get("/healthz").bytes(),
        Ask::chat("nobody").bytes(),
    ]
    .concat();
    let mut talk = Talk::to(serving.address).await;
    talk.write(&asks).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let reply = soon(talk.reply()).await;
        assert!(reply.whole);
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [200, 404, 200, 200, 404]);
}

#[tokio::test]
async fn two_lengths_are_no_way_to_hide_a_second_request() {
    let serving = one().start();
    let hidden = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let body = format!("0\r\n\r\n{hidden}");
    let ask = Ask::post("/v1/chat/completions", body.clone())
        .header("content-length", &body.len().to_string())
        .header("transfer-encoding", "chunked");
    let mut talk = Talk::to(serving.address).await;
    talk.write(&ask.bytes()).await;
    assert_eq!(soon(talk.reply()).await.status, 400);
    // Whatever stands behind it is not answered on this connection as somebody else's.
    assert!(talk.closes().await);
}

#[tokio::test]
async fn a_client_that_stops_sending_is_gone() {
    let upstream = Upstream::serve([Answer::raw("").stall(), answer("hi")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).start();
    let mut half = Talk::to(serving.address).await;
    half.write(&Ask::chat("lab/m").bytes()).await;
    soon(upstream.until(|seen| seen.requests.len() == 1)).await;
    // Half a close cannot be told from a whole one, and nobody shall be paid for an answer that nobody reads.
    half.socket.shutdown().await.unwrap();
    soon(upstream.until(|seen| seen.hung_up == 1)).await;
    // Nor is half a body an order.
    let mut cut = Talk::to(serving.address).await;
    let bytes = Ask::chat("lab/m").bytes();
    cut.write(&bytes[..bytes.len() - 5]).await;
    cut.socket.shutdown().await.unwrap();
    assert!(cut.closes().await);
    assert_eq!(serving.send(Ask::chat("lab/m")).await.status, 200);
    assert_eq!(upstream.seen().requests.len(), 2);
}

#[tokio::test]
async fn streams_opened_and_reset_at_once_leave_nothing_behind() {
    let provider = Arc::new(Scripted::new("s", [Turn::Hang(Vec::new())]));
    let serving =
        Setting::new().shared(provider.clone()).options(|options| options.head_after = Duration::from_secs(60)).start();
    let stream = TcpStream::connect(serving.address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    for _ in 0..500 {
        let request = Request::post("http://localhost/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(chat("s/m", true).to_string()))
            .unwrap();
        let Ok(()) = sender.ready().await else { break };
        drop(sender.send_request(request));
    }
    soon(async {
        while provider.live() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The server is there for others, over either version.
    assert_eq!(serving.send(Ask::get("/healthz")).await.status, 200);
    let stream = TcpStream::connect(serving.address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _other = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let large = Request::get("http://localhost/healthz")
        .header("x-large", "y".repeat(100_000))
        .body(Full::<Bytes>::default())
        .unwrap();
    if let Ok(reply) = soon(sender.send_request(large)).await {
        assert_eq!(reply.status(), 431);
    }
    let plain = Request::get("http://localhost/healthz").body(Full::<Bytes>::default()).unwrap();
    if let Ok(reply) = soon(sender.send_request(plain)).await {
        assert_eq!(soon(reply.into_body().collect()).await.unwrap().to_bytes(), "ok\n");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused_in_every_dialects_shape() {
    let serving = one().options(|options| options.body = 4 << 10).start();
    for (dialect, ask) in each("s/m", false) {
        let large = Ask { body: vec![b' '; 8 << 10], ..ask };
        let reply = serving.send(large).await;
        assert_eq!(reply.status, 413, "{dialect}");
        assert!(is_refusal(&reply.json()), "{dialect} {}", reply.text());
    }
    for (path, _) in posts() {
        assert_eq!(serving.send(Ask::post(path, vec![b' '; 8 << 10])).await.status, 413, "{path}");
    }
}
