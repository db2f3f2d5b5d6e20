//! `/passthrough/{provider}/…`: what reaches the provider, what comes back, and what does not.

use std::sync::Arc;

use llm_router::config::Settings;
use llm_router::dialect::Dialect;
use llm_router::request::Privacy;
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{UPSTREAM_KEY, serve, settings, two_clients};

fn open(url: String) -> Settings {
    let mut settings = two_clients(settings("lab", url, Dialect::OpenaiChat));
    settings.server.passthrough = vec!["lab".into()];
    settings
}

const MULTIPART: &str = "authorization: Bearer ann-key\r\ncontent-type: multipart/form-data; boundary=x\r\n";

#[tokio::test]
async fn bytes_go_through_with_the_providers_key_and_nothing_of_the_clients() {
    let sound = [0_u8, 255, 13, 10].repeat(50_000);
    let answer = Answer::with_headers(
        201,
        &[
            ("content-type", "audio/mpeg"),
            ("set-cookie", "a=b"),
            ("x-ratelimit-remaining", "7"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
        ],
        sound.clone(),
    );
    let upstream = Upstream::serve([answer]).await;
    let server = serve(open(upstream.url("/v1")));
    let head = format!(
        "{MULTIPART}cookie: a=canary\r\nx-api-key: canary\r\nx-forwarded-for: 10.1.2.3\r\nopenai-beta: x=1\r\nte: trailers\r\n"
    );
    let file = [7_u8, 0, 200].repeat(70_000);
    let reply = server.send("POST", "/passthrough/lab/audio/transcriptions?a=b&key=canary", &head, &file).await;
    assert_eq!((reply.status, reply.body == sound), (201, true));
    assert_eq!((reply.header("content-type"), reply.header("x-ratelimit-remaining")), (Some("audio/mpeg"), Some("7")));
    assert_eq!((reply.header("set-cookie"), reply.header("x-hop")), (None, None));
    assert_eq!(reply.header("x-llm-router-provider"), Some("lab"));

    let sent = upstream.last();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/v1/audio/transcriptions?a=b"));
    assert_eq!(sent.body, file);
    assert_eq!(sent.header("authorization"), format!("Bearer {UPSTREAM_KEY}"));
    assert_eq!((sent.header("content-type"), sent.header("openai-beta")), ("multipart/form-data; boundary=x", "x=1"));
    let all = format!("{:?}", sent.headers);
    for word in ["canary\"", "ann-key", "10.1.2.3", "trailers"] {
        assert!(!all.contains(word), "{word}: {all}");
    }
    assert_eq!(sent.header("host"), upstream.address().to_string());
    // Clients that say the version themselves mean the same place.
    server.send("GET", "/passthrough/lab/v1/files", MULTIPART, b"").await;
    assert_eq!(upstream.last().target, "/v1/files");
}

#[tokio::test]
async fn it_is_off_unless_configured_and_never_leaves_the_address() {
    let upstream = Upstream::serve([Answer::json(200, "{}")]).await;
    let mut closed = open(upstream.url("/v1"));
    closed.server.passthrough.clear();
    let server = serve(closed);
    let reply = server.ask("GET", "/passthrough/lab/files", "ann-key", &Value::Null).await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("passthrough"), "{}", reply.text());

    let mut private = open(upstream.url("/v1"));
    private.router.privacy = Privacy::Local;
    private.providers.values_mut().for_each(|lab| lab.privacy = Some(Privacy::Any));
    assert_eq!(serve(private).ask("GET", "/passthrough/lab/files", "ann-key", &Value::Null).await.status, 403);

    let server = serve(open(upstream.url("/v1")));
    assert_eq!(server.ask("GET", "/passthrough/lab/files", "wrong", &Value::Null).await.status, 401);
    assert_eq!(server.ask("GET", "/passthrough/openai/files", "ann-key", &Value::Null).await.status, 403);
    for path in [
        "/passthrough/lab/../admin",
        "/passthrough/lab/a/%2e%2e/b",
        "/passthrough/lab//h/x",
        "/passthrough/lab/a%2fb",
        "/passthrough/lab",
    ] {
        let reply = server.ask("GET", path, "ann-key", &Value::Null).await;
        assert!(matches!(reply.status, 400 | 403 | 404), "{path}: {}", reply.status);
    }
    let foreign = format!("{MULTIPART}origin: https://evil.example\r\n");
    assert_eq!(server.send("POST", "/passthrough/lab/files", &foreign, b"x").await.status, 403);
    assert!(upstream.seen().requests.is_empty());
    let huge = format!(
        "POST /passthrough/lab/files HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 99999999999\r\n{MULTIPART}\r\n"
    );
    assert_eq!(server.raw(huge.as_bytes()).await.status, 413);
}

#[tokio::test]
async fn an_error_is_the_providers_own_but_words_about_its_key_are_not() {
    let refused =
        json!({"error": {"message": format!("Incorrect API key: {UPSTREAM_KEY}"), "code": "invalid_api_key"}});
    let answers = [
        Answer::json(404, r#"{"error":{"message":"No such File"}}"#),
        Answer::json(401, refused.to_string()),
        Answer::raw("HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n"),
    ];
    let upstream = Upstream::serve(answers).await;
    let server = serve(open(upstream.url("/v1")));
    let ask = || server.ask("GET", "/passthrough/lab/files/f", "ann-key", &Value::Null);
    let lost = ask().await;
    assert_eq!((lost.status, lost.text().as_str()), (404, r#"{"error":{"message":"No such File"}}"#));
    let refused = ask().await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert!(!refused.text().contains("canary"), "{}", refused.text());
    // A redirect is not followed: it would take the key along.
    assert_eq!(ask().await.status, 302);
    assert_eq!(upstream.seen().requests.len(), 3);
}

/// The first piece of an answer is with the client while the upstream still holds back the rest; a client that leaves takes the upstream's work with it.
#[tokio::test]
async fn an_answer_streams_and_ends_with_its_client() {
    let gate = Arc::new(Semaphore::new(0));
    let answer = Answer::raw("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        .chunk("first")
        .gate(&gate)
        .chunk("last")
        .end();
    let upstream = Upstream::serve([answer]).await;
    let server = serve(open(upstream.url("/v1")));
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET /passthrough/lab/audio HTTP/1.1\r\nhost: 127.0.0.1\r\n{MULTIPART}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
    while !seen.windows(5).any(|window| window == b"first") {
        let read = socket.read(&mut piece).await.unwrap();
        assert!(read > 0);
        seen.extend_from_slice(&piece[..read]);
    }
    drop(socket);
    upstream.until(|seen| seen.hung_up == 1).await;
}
