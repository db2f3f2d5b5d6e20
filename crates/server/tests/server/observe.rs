//! What an operator sees: metrics and the access log.

use std::path::Path;

use llm_router::testing::scripted::Scripted;
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::Value;

use crate::support::{Ask, Setting, Talk, answer, chat, finished, piece, soon};

/// The lines of a log, once there are so many.
pub(crate) async fn lines(path: &Path, count: usize) -> Vec<Value> {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn metrics_count_requests_times_tokens_and_what_is_under_way() {
    let stalled = Answer::sse().event(&piece("one ")).stall();
    let upstream =
        Upstream::serve([answer("hi"), finished(Answer::sse().event(&piece("hi"))), Answer::json(500, "{}"), stalled])
            .await;
    let serving = Setting::new()
        .lab(upstream.url("/v1"))
        .set(|settings| settings.server.admin = Some("127.0.0.1:0".into()))
        .set(|settings| {
            let route = settings.routes.entry("fast".into()).or_default();
            route.groups = vec![vec!["lab/known".into()]];
        })
        .start();
    let admin = serving.admin.unwrap();
    let metrics = async || Ask::get("/metrics").send(admin).await.text();

    assert_eq!(serving.send(Ask::chat("fast")).await.status, 200);
    assert_eq!(serving.send(Ask::stream("lab/invented-by-a-client")).await.status, 200);
    assert_eq!(serving.send(Ask::get("/nowhere")).await.status, 404);
    let text = metrics().await;
    for line in [
        r#"llm_router_requests_total{provider="lab",model="known",operation="chat",outcome="ok"} 1"#,
        r#"llm_router_requests_total{provider="lab",model="other",operation="chat",outcome="ok"} 1"#,
        r#"llm_router_tokens_total{provider="lab",model="known",direction="input"} 3"#,
        r#"llm_router_tokens_total{provider="lab",model="other",direction="output"} 5"#,
        r#"llm_router_request_duration_seconds_count{provider="lab",model="known"} 1"#,
        r#"llm_router_http_responses_total{code="200"} 2"#,
        r#"llm_router_http_responses_total{code="404"} 1"#,
        "llm_router_requests_in_flight 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("invented"));
    // Each line is a comment, or a name with labels and a number.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() && name.starts_with(['l', 'p']), "{line}");
    }

    let mut talk = Talk::to(serving.address).await;
    // The third answer fails and is tried again; the last one hangs.
    talk.write(&Ask::stream("fast").bytes()).await;
    soon(talk.head()).await;
    talk.until("one").await;
    assert!(metrics().await.contains("llm_router_requests_in_flight 1\n"));
    drop(talk);
    soon(upstream.until(|seen| seen.hung_up == 1)).await;
    let text = metrics().await;
    for line in [
        r#"llm_router_requests_total{provider="lab",model="known",operation="chat",outcome="caller_cancelled"} 1"#,
        r#"llm_router_failed_attempts_total{provider="lab",model="known",kind="provider_server_error"} 1"#,
        "llm_router_requests_in_flight 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn metrics_are_for_the_admin_address_and_for_admin_keys() {
    let setting = || Setting::new().provider(Scripted::text("s", "hello"));
    let open = setting().start();
    assert_eq!(open.send(Ask::get("/metrics")).await.status, 403);
    let serving = setting()
        .key("team", "t")
        .admin_key("ops", "o")
        .set(|settings| settings.server.admin = Some("127.0.0.1:0".into()))
        .start();
    let status = async |key: &str| serving.send(Ask::get("/metrics").header("x-api-key", key)).await.status;
    assert_eq!((status("t").await, status("o").await, status("x").await), (403, 200, 401));
    let admin = serving.admin.unwrap();
    assert_eq!(Ask::get("/metrics").send(admin).await.status, 200);
    let page = Ask::get("/docs").send(admin).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(page.text().contains("/v1/chat/completions"));
    assert_eq!(Ask::get("/openapi.json").send(admin).await.status, 200);
    let docs = async |key: &str| serving.send(Ask::get("/docs").header("x-api-key", key)).await.status;
    assert_eq!((docs("t").await, docs("o").await, docs("").await), (403, 200, 401));
    // Nothing is generated there, and pages stay out there too.
    assert_eq!(Ask::chat("s/x").send(admin).await.status, 404);
    assert_eq!(Ask::get("/metrics").header("host", "evil.example").send(admin).await.status, 403);
    assert_eq!(Ask::get("/metrics").header("origin", "null").send(admin).await.status, 403);
}

#[tokio::test]
async fn the_access_log_says_who_asked_what_and_nothing_of_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let to = path.display().to_string();
    let upstream = Upstream::serve([
        answer("a secret answer"),
        finished(Answer::sse().event(&piece("a secret answer"))),
        Answer::sse().event(&piece("one ")).stall(),
    ])
    .await;
    let serving = Setting::new()
        .lab(upstream.url("/v1"))
        .key("team", "t")
        .options(|options| options.access_log = Some(to))
        .start();
    let secret = |stream| {
        let mut body = chat("lab/m", stream);
        body["messages"][0]["content"] = "a secret prompt".into();
        Ask::post("/v1/chat/completions", body.to_string()).header("x-api-key", "t")
    };
    let reply = serving.send(secret(false)).await;
    serving.send(secret(true)).await;
    serving.send(secret(false).header("x-api-key", "wrong")).await;
    let mut talk = Talk::to(serving.address).await;
    talk.write(&secret(true).bytes()).await;
    soon(talk.head()).await;
    talk.until("one").await;
    drop(talk);
    let written = soon(lines(&path, 4)).await;
    let [whole, streamed, refused, cut] = &written[..] else { panic!("{written:?}") };
    for line in [whole, streamed] {
        assert_eq!(line["key"], "team");
        assert_eq!(
            (&line["method"], &line["path"], &line["status"]),
            (&"POST".into(), &"/v1/chat/completions".into(), &200.into())
        );
        assert_eq!((&line["provider"], &line["model"], &line["cache"]), (&"lab".into(), &"m".into(), &"bypass".into()));
        assert_eq!((&line["input_tokens"], &line["output_tokens"]), (&3.into(), &5.into()));
        assert!(line["ms"].is_u64() && line["at"].is_f64() && line["cut"].is_null());
    }
    assert_eq!(whole["id"], reply.header("x-request-id"));
    assert_eq!((&refused["status"], &refused["key"], &refused["provider"]), (&401.into(), &Value::Null, &Value::Null));
    assert_eq!((&cut["cut"], &cut["error"]), (&true.into(), &"caller_cancelled".into()));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret") && !text.contains("wrong"), "{text}");

    // Rotation: the file is moved away, and a new one takes its place.
    std::fs::rename(&path, folder.path().join("access.1")).unwrap();
    soon(async {
        while !path.exists() {
            serving.send(Ask::get("/healthz")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_access_log_that_cannot_be_written_is_said_at_the_start() {
    for place in ["relative.jsonl", "/nowhere/at/all/access.jsonl", ""] {
        let setting = Setting::new();
        let mut options = llm_router_server::ServerOptions::default();
        options.access_log = Some(place.into());
        let error = llm_router_server::Server::new(setting.router(), options).unwrap_err();
        assert!(error.message().contains("access_log"), "{error}");
    }
}

#[tokio::test]
async fn who_is_left_alone_is_shown_and_forgotten_for_admins() {
    let upstream = Upstream::serve([Answer::json(401, r#"{"error":{"message":"no"}}"#), answer("hi")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).key("ann", "a").admin_key("ops", "o").start();
    let chat = || Ask::chat("lab/m").header("x-api-key", "a");
    assert_eq!(serving.send(chat()).await.status, 502);
    let held = serving.send(chat()).await;
    assert_eq!(held.status, 502, "it says what is the matter");
    assert!(held.text().contains("provider_auth"), "{}", held.text());
    assert_eq!(held.header("retry-after"), "600");
    let shown = serving.send(Ask::get("/metrics").header("x-api-key", "o")).await.text();
    assert!(shown.contains(r#"llm_router_breakers{provider="lab",model="none",scope="credential""#), "{shown}");
    let listed = serving.send(Ask::get("/api/v0/ai/llm/providers").header("x-api-key", "a")).await.text();
    assert!(listed.contains("after provider_auth"), "{listed}");
    let clear = |key: &str| Ask::post("/api/v0/ai/llm/breakers/clear", "{}").header("x-api-key", key);
    assert_eq!(serving.send(clear("a")).await.status, 403);
    assert_eq!(serving.send(chat()).await.status, 502);
    assert_eq!(serving.send(clear("o")).await.status, 200);
    assert_eq!(serving.send(chat()).await.status, 200);
}

/// The names of a text that are a metric's.
fn named(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("llm_router_") || word.starts_with("process_"));
    let bare = |word: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    metrics.map(bare).collect()
}

#[tokio::test]
async fn dashboard_and_alerts_name_metrics_that_there_are_and_the_page_names_all() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.jsonl").display().to_string();
    let setting = Setting::new().provider(Scripted::text("s", "hello")).admin_key("ops", "o");
    let serving = setting.options(|options| options.access_log = Some(log)).start();
    let shown = serving.send(Ask::get("/metrics").header("x-api-key", "o")).await.text();
    let types = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: std::collections::BTreeSet<String> = types.map(str::to_owned).collect();
    let read = |page: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate").join(page);
        std::fs::read_to_string(path).unwrap()
    };
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 15);
    for page in ["grafana.json", "alerts.yml", "telemetry.md"] {
        let named = named(&read(page));
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(named.len() > 8 && missing.is_empty(), "{page} names what there is not: {missing:?}");
    }
    let page = read("telemetry.md");
    let silent: Vec<_> = there.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(silent.is_empty(), "docs/operate/telemetry.md does not name {silent:?}");
}

#[tokio::test]
async fn a_clients_trace_goes_on_to_the_provider_and_its_baggage_does_not() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let upstream = Upstream::serve([answer("hi")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).start();
    for (dialect, ask) in crate::support::each("lab/m", false) {
        let ask = ask.header("traceparent", PARENT).header("tracestate", "a=b").header("baggage", "user=ann");
        serving.send(ask).await;
        let last = upstream.last();
        assert_eq!((last.header("traceparent"), last.header("tracestate")), (PARENT, "a=b"), "{dialect}");
        assert_eq!(last.header("baggage"), "", "{dialect}");
    }
    serving.send(Ask::chat("lab/m")).await;
    assert_eq!((upstream.last().header("traceparent"), upstream.last().header("tracestate")), ("", ""));
    serving.send(Ask::chat("lab/m").header("traceparent", "00-nonsense")).await;
    assert_eq!(upstream.last().header("traceparent"), "");
}
