//! What a collector is sent, by a router that really answers; and what becomes of requests where there is no collector.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use llm_router::config::{RouteSettings, Settings};
use llm_router::deps::RouterDeps;
use llm_router::request::Request;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};
use llm_router::secret::Secret;
use llm_router::testing::scripted::{Scripted, Turn};
use llm_router::testing::upstream::{Answer, Upstream};
use llm_router::trace::TraceContext;
use serde_json::Value;

use super::*;

const PROMPT: &str = "a secret prompt";

fn settings(endpoint: &str) -> Settings {
    let mut settings = Settings::default();
    settings.telemetry.otlp = Some(endpoint.to_owned());
    settings.telemetry.otlp_headers = Some(Secret::new("x-tenant=a%20b"));
    settings.telemetry.resource = Some("deployment.environment.name=tests,service.name=overridden".to_owned());
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["gemini/m".to_owned()], vec!["t/m".to_owned()]];
    settings.routes.insert("both".to_owned(), route);
    settings
}

/// A router whose first target says the prompt in its error, and whose second one answers.
fn router(settings: &Settings) -> (Router, Arc<Otlp>) {
    let mut deps = RouterDeps::default();
    let otlp = Otlp::of(settings, &deps.ledger).unwrap().unwrap();
    deps.watch = Some(Arc::clone(&otlp) as Arc<dyn Watch>);
    let refused = Error::new(llm_router::ErrorKind::ProviderRejected, format!("cannot do {PROMPT:?}"));
    let first = Scripted::new("gemini", [Turn::Fail(refused)]);
    let builder = Router::builder().provider(first).provider(Scripted::text("t", "one two"));
    let router = builder.deps(deps).settings(settings.clone()).build().unwrap();
    otlp.follow(router.watched());
    (router, otlp)
}

fn asking(model: &str) -> Op {
    let mut request = Request::new(PROMPT);
    request.model = Some(model.to_owned());
    Op::new(request, Door::Library)
}

fn attributes(span: &Value) -> Vec<(String, String)> {
    let read = |attribute: &Value| {
        let value = attribute["value"].as_object().unwrap().values().next().unwrap().clone();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (attribute["key"].as_str().unwrap().to_owned(), text)
    };
    span["attributes"].as_array().unwrap().iter().map(read).collect()
}

fn has(span: &Value, key: &str, value: &str) -> bool {
    attributes(span).iter().any(|(name, text)| name == key && text == value)
}

#[tokio::test]
async fn a_request_is_a_span_and_each_attempt_one_below_it_in_the_clients_trace() {
    let collector = Upstream::serve([Answer::json(200, "{}")]).await;
    let (router, otlp) = router(&settings(&collector.url("")));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let op = asking("both").under(TraceContext::read(parent, Some("a=b")));
    router.call(op).await.unwrap().collect().await.unwrap();
    // A trace that its client does not keep is not kept here either.
    let unkept = parent.replace("-01", "-00");
    router.call(asking("t/m").under(TraceContext::read(&unkept, None))).await.unwrap().collect().await.unwrap();
    otlp.close().await;
    let seen = collector.seen();
    let [traces, metrics] = &seen.requests[..] else { panic!("{seen:?}") };
    assert_eq!((traces.target.as_str(), metrics.target.as_str()), ("/v1/traces", "/v1/metrics"));
    assert_eq!((traces.header("x-tenant"), traces.header("content-type")), ("a b", "application/json"));
    let text = traces.json().to_string() + &metrics.json().to_string();
    assert!(!text.contains("secret") && !text.contains("a b"), "{text}");

    let sent = traces.json();
    let resource = &sent["resourceSpans"][0]["resource"];
    assert!(has(resource, "service.name", "llm-router") && has(resource, "deployment.environment.name", "tests"));
    let spans = sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    let [request, failed, answered] = &spans[..] else { panic!("{sent}") };
    for span in &spans {
        assert_eq!(
            (&span["traceId"], &span["traceState"]),
            (&"0af7651916cd43dd8448eb211c80319c".into(), &"a=b".into())
        );
        let time = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    }
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&"b7ad6b7169203331".into(), &SERVER.into()));
    for attempt in [failed, answered] {
        assert_eq!((&attempt["parentSpanId"], &attempt["kind"]), (&request["spanId"], &CLIENT.into()));
    }
    assert!(has(failed, "gen_ai.provider.name", "gcp.gemini") && has(failed, "error.type", "provider_rejected"));
    assert_eq!(failed["status"]["code"], 2);
    for span in [request, answered] {
        assert_eq!(span["name"], "chat m");
        for (key, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "t"),
            ("gen_ai.request.model", "m"),
            ("gen_ai.response.model", "m"),
            ("gen_ai.usage.input_tokens", "1"),
            ("gen_ai.usage.output_tokens", "2"),
        ] {
            assert!(has(span, key, value), "{key} {span}");
        }
    }
    assert!(has(request, "llm_router.attempts", "2") && has(request, "llm_router.cache", "bypass"));

    let counted = metrics.json();
    let families = counted["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
    let of = |name: &str| families.iter().find(|family| family["name"] == name).unwrap().clone();
    let requests = of("llm_router_requests_total");
    assert_eq!(
        (&requests["sum"]["isMonotonic"], &requests["sum"]["dataPoints"][0]["asInt"]),
        (&true.into(), &"2".into())
    );
    let durations = of("llm_router_request_duration_seconds");
    let points = durations["histogram"]["dataPoints"].as_array().unwrap();
    let both = points.iter().find(|point| point["count"] == "2").unwrap_or_else(|| panic!("{durations}"));
    assert_eq!(both["bucketCounts"].as_array().unwrap().len(), both["explicitBounds"].as_array().unwrap().len() + 1);
}

const SERVER: u8 = 2;
const CLIENT: u8 = 3;

#[tokio::test]
async fn a_collector_that_is_gone_or_refuses_costs_no_request() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = Upstream::serve([Answer::json(400, "{}")]).await;
    for endpoint in [format!("http://{gone}"), refusing.url("")] {
        let (router, otlp) = router(&settings(&endpoint));
        for _ in 0..3 {
            router.call(asking("t/m")).await.unwrap().collect().await.unwrap();
        }
        otlp.close().await;
        // A request's span and its attempt's, three times.
        assert!(router.prometheus().contains("llm_router_lost_spans_total 6\n"), "{endpoint}");
    }
}

#[tokio::test]
async fn what_waits_is_bounded_and_the_rest_is_counted() {
    // It takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (router, otlp) = router(&settings(&format!("http://{}", silent.local_addr().unwrap())));
    router.call(asking("t/m")).await.unwrap().collect().await.unwrap();
    let trace = Arc::new(Trace::new(router.new_id(), SystemTime::UNIX_EPOCH));
    for _ in 0..2 * WAITING + TOGETHER {
        otlp.finished(&trace);
    }
    let shown = router.prometheus();
    let lost = shown.lines().find_map(|line| line.strip_prefix("llm_router_lost_spans_total ")).unwrap();
    assert!(lost.parse::<usize>().unwrap() >= WAITING, "{lost}");
    let began = std::time::Instant::now();
    otlp.close().await;
    assert!(began.elapsed() < AT_END + Duration::from_secs(2), "the end waits so long and no longer");
}

#[test]
fn without_a_collector_nothing_is_made_and_a_setting_that_cannot_be_used_is_said() {
    let ledger = Ledger::default();
    assert!(Otlp::of(&Settings::default(), &ledger).unwrap().is_none());
    let mut off = settings("http://127.0.0.1:4318");
    off.telemetry.disabled = true;
    assert!(Otlp::of(&off, &ledger).unwrap().is_none());
    let mut wrong = settings("http://127.0.0.1:4318");
    wrong.telemetry.otlp_headers = Some(Secret::new("authorization=hidden%"));
    let error = Otlp::of(&wrong, &ledger).unwrap_err();
    assert!(error.message().contains("telemetry.otlp_headers") && !error.to_string().contains("hidden"), "{error}");
    let mut some = settings("http://127.0.0.1:4318");
    some.telemetry.sample = 0;
    assert!(!Otlp::of(&some, &ledger).unwrap().unwrap().samples());
}
