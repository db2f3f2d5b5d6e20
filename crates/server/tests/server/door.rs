//! What every request must pass: the host, the origin, the kind of body, the key.

use llm_router::config::{ClientKey, Credential};
use llm_router::testing::scripted::Scripted;
use llm_router::testing::upstream::Upstream;

use crate::support::{Ask, Setting, Talk, answer, soon};

fn one() -> Setting {
    Setting::new().provider(Scripted::text("s", "hello"))
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused_whichever_address_it_leads_to() {
    let serving = one().set(|settings| settings.server.hosts = vec!["router.example.org".into()]).start();
    for host in
        ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "router.example.org", "Router.Example.org:443"]
    {
        assert_eq!(serving.send(Ask::chat("s/x").header("host", host)).await.status, 200, "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8000", "router.example.org.evil.example", ""]
    {
        for ask in [Ask::chat("s/x"), Ask::get("/healthz"), Ask::get("/readyz"), Ask::post("/mcp", "{}")] {
            let reply = serving.send(ask.header("host", host)).await;
            assert!(matches!(reply.status, 400 | 403), "{host} {}", reply.text());
        }
    }
    assert_eq!(serving.send(Ask::chat("s/x").without("host")).await.status, 400);
    // The name that a proxy's request line holds counts, not the header beside it.
    let mut ask = Ask::chat("s/x");
    ask.target = "http://evil.example/v1/chat/completions".into();
    assert_eq!(serving.send(ask).await.status, 403);
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused() {
    let serving = one().set(|settings| settings.server.hosts = vec!["router.example.org".into()]).start();
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://router.example.org"] {
        assert_eq!(serving.send(Ask::chat("s/x").header("origin", origin)).await.status, 200, "{origin}");
    }
    for origin in ["null", "https://evil.example", "http://localhost.evil.example", "file://", ""] {
        let reply = serving.send(Ask::chat("s/x").header("origin", origin)).await;
        assert!(matches!(reply.status, 400 | 403), "{origin:?} {}", reply.status);
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_post_that_is_not_json_is_refused() {
    let serving = one().start();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "text/plain; application/json",
    ] {
        for path in ["/v1/chat/completions", "/mcp", "/v1/messages", "/api/v0/ai/llm/generate"] {
            let ask = Ask::chat("s/x").header("content-type", kind);
            let reply = serving.send(Ask { target: path.into(), ..ask }).await;
            assert_eq!(reply.status, 400, "{kind} {path}");
        }
    }
    assert_eq!(serving.send(Ask::chat("s/x").without("content-type")).await.status, 400);
    assert_eq!(
        serving.send(Ask::chat("s/x").header("content-type", "Application/JSON; charset=utf-8")).await.status,
        200
    );
}

#[tokio::test]
async fn a_key_is_taken_from_every_place_and_goes_no_further() {
    let upstream = Upstream::serve([answer("hello")]).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.jsonl");
    let to = log.display().to_string();
    let serving = Setting::new()
        .lab(upstream.url("/v1"))
        .key("team", "client-key-one")
        .key("other", "client-key-two")
        .key("third", "client-key+3/w==")
        .options(move |options| options.access_log = Some(to))
        .start();
    let ask = Ask::chat("lab/m");
    let with_query = Ask { target: "/v1/chat/completions?alt=sse&key=client-key-one".into(), ..ask.clone() };
    let escaped = Ask { target: "/v1/chat/completions?key=client-key%2B3%2Fw%3d%3D".into(), ..ask.clone() };
    for ask in [
        ask.clone().header("authorization", "Bearer client-key-one"),
        ask.clone().header("authorization", "bearer client-key-two"),
        ask.clone().header("x-api-key", "client-key-one"),
        ask.clone().header("x-goog-api-key", "client-key-one"),
        with_query,
        escaped,
        Ask { target: "/v1/chat/completions?key=client-key+3/w==".into(), ..ask.clone() },
    ] {
        let reply = serving.send(ask).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let received = upstream.last();
        let sent = format!("{received:?}");
        assert!(!sent.contains("client-key"), "{sent}");
    }
    let wrong = [
        ask.clone(),
        ask.clone().header("authorization", "Bearer client-key-on"),
        ask.clone().header("authorization", "Basic client-key-one"),
        ask.clone().header("x-api-key", ""),
        ask.clone().header("x-api-key", "client-key-one-and-more"),
    ];
    for ask in wrong {
        let reply = serving.send(ask).await;
        assert_eq!((reply.status, reply.header("x-should-retry")), (401, "false"));
        assert!(!reply.text().contains("client-key"), "{}", reply.text());
        assert!(!reply.header("x-request-id").is_empty());
    }
    // Who probes has no key, and learns nothing.
    assert_eq!(serving.send(Ask::get("/healthz")).await.status, 200);
    assert_eq!(serving.send(Ask::get("/readyz")).await.status, 200);
    drop(serving);
    let written = soon(crate::observe::lines(&log, 14)).await;
    assert!(written.iter().all(|line| !line.to_string().contains("client-key")));
    assert_eq!(written[0]["key"], "team");
    assert_eq!(written[1]["key"], "other");
}

#[tokio::test]
async fn a_key_in_a_file_may_be_replaced_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "first\n").unwrap();
    let key = ClientKey::new("team", Credential::File(file.clone()));
    let serving = one()
        .set(|settings| settings.server.api_keys.push(key))
        .options(|options| options.reread = std::time::Duration::from_millis(20))
        .start();
    let status = |key: &'static str| {
        let ask = Ask::chat("s/x").header("x-api-key", key);
        let serving = &serving;
        async move { serving.send(ask).await.status }
    };
    assert_eq!((status("first").await, status("second").await), (200, 401));
    // Half a rotation leaves the old key in place.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(status("first").await, 200);
    std::fs::write(&file, "second\n").unwrap();
    soon(async { while status("second").await != 200 {} }).await;
    assert_eq!(status("first").await, 401);
}

#[tokio::test]
async fn a_public_address_without_keys_is_refused() {
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let error = one().server().bind(anywhere).unwrap_err();
    assert_eq!(error.kind().name(), "policy_forbidden");
    assert!(error.hint().unwrap().contains("api_keys"), "{error}");
    assert!(one().key("team", "k").server().bind(anywhere).is_ok());
    assert!(one().set(|settings| settings.server.public = true).server().bind(anywhere).is_ok());
    let admin = |setting: Setting| setting.set(|settings| settings.server.admin = Some("0.0.0.0:0".into())).server();
    let here = "127.0.0.1:0".parse().unwrap();
    assert_eq!(admin(one().key("team", "k")).bind(here).unwrap_err().kind().name(), "policy_forbidden");
    assert!(admin(one().admin_key("ops", "k")).bind(here).is_ok());
}

#[tokio::test]
async fn what_is_no_http_gets_an_answer() {
    let serving = one().start();
    for bytes in ["GET / HTTP/1.1\r\nhost: a\u{7f}b\r\n\r\n", "NONSENSE\r\n\r\n", "GET /\u{1}HTTP/1.1\r\n\r\n"] {
        let mut talk = Talk::to(serving.address).await;
        talk.write(bytes.as_bytes()).await;
        assert_eq!(soon(talk.reply()).await.status, 400, "{bytes:?}");
    }
}

#[tokio::test]
async fn strings_that_a_client_chooses_do_not_break_a_header() {
    let serving = one().start();
    for model in ["s/x\r\nset-cookie: a=b", "s/\u{0}", "s/é", "s/-rf", &format!("s/{}", "m".repeat(300))] {
        let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let reply = serving.send(Ask::post("/v1/chat/completions", body)).await;
        assert!(matches!(reply.status, 200 | 400), "{model:?} {}", reply.status);
        assert_eq!(reply.header("set-cookie"), "");
    }
}
