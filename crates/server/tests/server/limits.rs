//! Bounds: bodies, depth, slow and silent clients, connections.

use std::time::Duration;

use llm_router::delta::{BlockKind, Delta, Event, Part};
use llm_router::testing::scripted::{Scripted, Turn};
use tokio::io::AsyncWriteExt;

use crate::support::{Ask, Setting, Talk, chat, soon};

const LIMIT: usize = 64 << 10;

fn one() -> Setting {
    Setting::new().provider(Scripted::text("s", "hello"))
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_whoever_still_sends() {
    assert_eq!(llm_router_server::ServerOptions::default().body, 32 << 20);
    let serving = one().options(|options| options.body = LIMIT).start();
    let fits = serde_json::json!({"model": "s/x", "messages": [{"role": "user", "content": "x".repeat(LIMIT / 2)}]});
    assert_eq!(serving.send(Ask::post("/v1/chat/completions", fits.to_string())).await.status, 200);

    // The length says it: the client writes all of it before it reads.
    let large = Ask::post("/v1/chat/completions", vec![b'x'; 8 << 20]);
    let reply = serving.send(large.clone()).await;
    assert_eq!(reply.status, 413);
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("limit"), "{}", reply.text());
    assert!(reply.whole);

    // Nobody says how long it is, and the client never ends: the answer comes all the same, while it sends.
    let mut talk = Talk::to(serving.address).await;
    let ask = Ask::post("/v1/chat/completions", Vec::new()).header("transfer-encoding", "chunked");
    talk.write(&ask.bytes()).await;
    let chunk = [format!("{:x}\r\n", LIMIT).as_bytes(), &vec![b'x'; LIMIT], b"\r\n"].concat();
    for _ in 0..4 {
        talk.write(&chunk).await;
    }
    let head = soon(talk.head()).await;
    assert_eq!(head.status, 413);
    talk.until("limit").await;
    // It may go on sending and is not reset.
    for _ in 0..16 {
        talk.write(&chunk).await;
    }
    talk.write(b"0\r\n\r\n").await;
    assert!(talk.closes().await);

    // Who asks first whether it may send is told at once, and nothing is waited for.
    let mut polite = Talk::to(serving.address).await;
    let ask = Ask::post("/v1/chat/completions", Vec::new()).header("content-length", "1000000000");
    polite.write(&ask.header("expect", "100-continue").bytes()).await;
    let reply = soon(polite.reply()).await;
    assert_eq!((reply.status, reply.whole), (413, true));

    // Refusals at the door are readable too.
    let locked = one().key("team", "k").start();
    let reply = locked.send(large).await;
    assert_eq!((reply.status, reply.whole), (401, true));
    let lost = Ask { target: "/nowhere".into(), ..Ask::post("/", vec![b'x'; 1 << 20]) }.header("x-api-key", "k");
    let reply = locked.send(lost).await;
    assert_eq!((reply.status, reply.whole), (404, true));
}

#[tokio::test]
async fn json_that_nests_too_deep_is_refused() {
    let serving = one().start();
    let deep = |depth: usize| {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        chat("s/x", false).to_string().replacen('{', &format!("{{\"metadata\":{text},"), 1)
    };
    for depth in [129, 1000, 100_000] {
        let reply = serving.send(Ask::post("/v1/chat/completions", deep(depth))).await;
        assert_eq!(reply.status, 400, "{depth}: {}", reply.text());
    }
    for body in ["", "{", "null", "[]", "\u{feff}{}", "{\"model\":\"s/x\",\"messages\":[]}"] {
        assert_eq!(serving.send(Ask::post("/v1/chat/completions", body)).await.status, 400, "{body}");
    }
    let many = chat("s/x", false).to_string().replacen('{', "{\"n\":17,", 1);
    assert_eq!(serving.send(Ask::post("/v1/chat/completions", many)).await.status, 400);
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_or_says_nothing_is_let_go() {
    let serving = one()
        .options(|options| {
            options.head_timeout = Duration::from_millis(50);
            options.idle = Duration::from_millis(50);
            options.body_idle = Duration::from_millis(50);
        })
        .start();
    let mut silent = Talk::to(serving.address).await;
    let mut slow = Talk::to(serving.address).await;
    slow.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-").await;
    assert!(silent.closes().await && slow.closes().await);
    // After an answer, too.
    let mut kept = Talk::to(serving.address).await;
    kept.write(&Ask::chat("s/x").bytes()).await;
    assert_eq!(soon(kept.reply()).await.status, 200);
    assert!(kept.closes().await);
    // HTTP/2 that begins and asks nothing.
    let mut second = Talk::to(serving.address).await;
    second.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(second.closes().await);
    // A body that stops.
    let mut stopped = Talk::to(serving.address).await;
    let ask = Ask::chat("s/x").header("content-length", "1000");
    stopped.write(&ask.bytes()).await;
    assert_eq!(soon(stopped.head()).await.status, 499);
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_at_once_in_every_dialects_shape() {
    let event = |deltas: Vec<Delta>| Event::from(deltas);
    let begun = vec![
        event(vec![Delta::Start { id: "scripted".into(), model: "x".into(), created: None }]),
        event(vec![Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text }]),
        event(vec![Delta::BlockDelta { choice: 0, block: 0, part: Part::Text("begun".into()) }]),
    ];
    let provider = Scripted::new("s", [Turn::Hang(begun), Turn::Text("later".into())]);
    let serving = Setting::new().provider(provider).options(|options| options.in_flight = 1).start();
    let mut first = Talk::to(serving.address).await;
    first.write(&Ask::stream("s/x").bytes()).await;
    soon(first.head()).await;
    soon(first.until("begun")).await;
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1beta/models/s/x:generateContent"] {
        // Its body is not read: it would be refused for other reasons.
        let reply = serving.send(Ask::post(path, "not json")).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, "1"), "{path}: {}", reply.text());
        assert!(reply.text().contains("max_in_flight"), "{}", reply.text());
    }
    // Who looks whether it lives is answered.
    assert_eq!(serving.send(Ask::get("/healthz")).await.status, 200);
    drop(first);
    let answered = async {
        while serving.send(Ask::chat("s/x")).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon(answered).await;
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let serving = one().options(|options| options.connections = 1).start();
    let mut first = Talk::to(serving.address).await;
    first.write(&Ask::chat("s/x").bytes()).await;
    assert_eq!(soon(first.reply()).await.status, 200);
    let mut second = Talk::to(serving.address).await;
    second.write(&Ask::chat("s/x").bytes()).await;
    // The server turns meanwhile, and has not taken the second.
    first.write(&Ask::chat("s/x").bytes()).await;
    assert_eq!(soon(first.reply()).await.status, 200);
    let nothing = second.socket.try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    first.socket.shutdown().await.unwrap();
    assert_eq!(soon(second.reply()).await.status, 200);
}
