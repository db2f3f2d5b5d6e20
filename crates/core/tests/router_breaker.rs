//! Breakers from the router's public door: who is left alone, who tries whether it is back, who waits.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use llm_router::config::{RouteSettings, Settings};
use llm_router::deps::{Ids, RouterDeps};
use llm_router::ids::RequestId;
use llm_router::provider::DynProvider;
use llm_router::request::Request;
use llm_router::response::Response;
use llm_router::router::Router;
use llm_router::router::resolve::Entry;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// No chance: half of every backoff, and pauses as they are written.
#[derive(Debug)]
struct Half;

impl Ids for Half {
    fn request_id(&self, _: std::time::SystemTime) -> RequestId {
        RequestId::from_parts(1, 1)
    }

    fn jitter(&self) -> f64 {
        0.5
    }
}

fn fail(kind: ErrorKind) -> Turn {
    Turn::Fail(Error::new(kind, "scripted"))
}

fn saying(id: &str) -> Arc<Scripted> {
    Arc::new(Scripted::text(id, id))
}

fn settings() -> Settings {
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["main/m".into()], vec!["other/m".into()]];
    let mut settings = Settings::default();
    settings.routes.insert("both".into(), route);
    settings
}

fn deps() -> RouterDeps {
    let mut deps = RouterDeps::default();
    deps.ids = Arc::new(Half);
    deps
}

fn router_of(deps: RouterDeps, settings: Settings, providers: &[&Arc<Scripted>]) -> Router {
    let entry = |provider: &&Arc<Scripted>| {
        let provider: Arc<dyn DynProvider> = Arc::clone(*provider) as _;
        Entry::new(provider.describe().id.clone(), provider)
    };
    Router::new(deps, Arc::new(settings), providers.iter().map(entry).collect())
}

fn router(providers: &[&Arc<Scripted>]) -> Router {
    router_of(deps(), settings(), providers)
}

async fn ask(router: &Router, model: &str) -> Result<Response> {
    let mut request = Request::new("hello");
    request.model = Some(model.into());
    router.generate(request).await
}

async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_failure_costs_a_few_probes_and_the_primary_is_back_at_once() {
    let (down, up) = (10, Turn::Text("main".into()));
    let turns = (0..down).map(|_| fail(ErrorKind::ProviderServerError)).chain([up]);
    let main = Arc::new(Scripted::new("main", turns));
    let other = saying("other");
    let router = router(&[&main, &other]);
    // Three attempts open it, then one probe after 1, 2, 4, 4, … seconds: ten failures last for 3 + 7 × 4 seconds less a bit.
    let mut answers = Vec::new();
    for _ in 0..70 {
        answers.push(ask(&router, "both").await.unwrap().text());
        pass(500).await;
    }
    let back = answers.iter().position(|text| text == "main").unwrap();
    assert_eq!(main.calls().len(), down + answers.len() - back, "one call each from then on");
    assert!(answers.iter().skip(back).all(|text| text == "main"));
    assert!(other.calls().len() == back && back > 40, "{back}");
}

#[tokio::test(start_paused = true)]
async fn with_the_breaker_off_every_request_pays_for_the_failure() {
    let main = Arc::new(Scripted::new("main", [fail(ErrorKind::ProviderServerError)]));
    let mut settings = settings();
    settings.router.breaker = false;
    let router = router_of(deps(), settings, &[&main, &saying("other")]);
    for _ in 0..4 {
        ask(&router, "both").await.unwrap();
    }
    assert_eq!(main.calls().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_single_candidate_is_waited_for_and_the_trace_says_how_long() {
    let turns = (0..3).map(|_| fail(ErrorKind::ProviderConnection)).chain([Turn::Text("main".into())]);
    let main = Arc::new(Scripted::new("main", turns));
    let router = router(&[&main]);
    assert_eq!(ask(&router, "main/m").await.unwrap_err().kind(), ErrorKind::ProviderConnection);
    let open = router.breakers();
    assert_eq!((open.len(), open[0].scope, open[0].kind), (1, "provider", ErrorKind::ProviderConnection));
    let began = Instant::now();
    let response = ask(&router, "main/m").await.unwrap();
    assert_eq!(response.text(), "main");
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_millis(1100), "{waited:?}");
    let trace = response.trace().unwrap();
    assert_eq!((trace.attempts.len(), trace.held.len()), (1, 2));
    assert!(trace.held[1].error.is_none() && trace.held[1].took.unwrap() > Duration::from_millis(900));
    assert!(router.breakers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_stays_away_for_long_is_an_error_at_once_that_names_when() {
    let refused = Error::new(ErrorKind::ProviderQuotaExhausted, "out").with_retry_after(Duration::from_secs(90));
    let main = Arc::new(Scripted::new("main", [Turn::Fail(refused), Turn::Text("main".into())]));
    let router = router(&[&main]);
    assert_eq!(ask(&router, "main/m").await.unwrap_err().kind(), ErrorKind::ProviderQuotaExhausted);
    let began = Instant::now();
    let error = ask(&router, "main/m").await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::ProviderQuotaExhausted, Duration::ZERO));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
    assert!(error.message().contains("quota") && error.message().contains("90 s"), "{error}");
    pass(90_000).await;
    assert_eq!(ask(&router, "main/m").await.unwrap().text(), "main");
    assert_eq!(main.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_held_back_the_soonest_is_waited_for() {
    let limited = Error::new(ErrorKind::ProviderRateLimited, "").with_retry_after(Duration::from_secs(30));
    let main = Arc::new(Scripted::new("main", [Turn::Fail(limited)]));
    let turns = (0..3).map(|_| fail(ErrorKind::ProviderServerError)).chain([Turn::Text("other".into())]);
    let other = Arc::new(Scripted::new("other", turns));
    let router = router(&[&main, &other]);
    ask(&router, "both").await.unwrap_err();
    let response = ask(&router, "both").await.unwrap();
    assert_eq!((response.text().as_str(), main.calls().len(), other.calls().len()), ("other", 1, 4));
}

#[tokio::test(start_paused = true)]
async fn one_of_many_probes_and_the_others_have_their_fallback() {
    let turns = (0..3).map(|_| fail(ErrorKind::ProviderServerError)).chain([Turn::Hang(Vec::new())]);
    let main = Arc::new(Scripted::new("main", turns));
    let other = saying("other");
    let router = router(&[&main, &other]);
    ask(&router, "both").await.unwrap();
    pass(1000).await;
    let probing = tokio::spawn({
        let router = router.clone();
        async move { ask(&router, "both").await }
    });
    tokio::task::yield_now().await;
    for _ in 0..10 {
        assert_eq!(ask(&router, "both").await.unwrap().text(), "other");
    }
    assert_eq!(main.calls().len(), 4);
    probing.abort();
    assert!(probing.await.unwrap_err().is_cancelled());
    assert!(router.breakers()[0].half_open, "a probe whose caller left is none");
}

#[tokio::test(start_paused = true)]
async fn the_callers_errors_and_the_callers_hurry_open_nothing() {
    for kind in [ErrorKind::CallerInvalidRequest, ErrorKind::CallerContextLength, ErrorKind::CallerUnsupported] {
        let main = Arc::new(Scripted::new("main", [fail(kind)]));
        let router = router(&[&main]);
        for _ in 0..5 {
            assert_eq!(ask(&router, "main/m").await.unwrap_err().kind(), kind);
        }
        assert!(router.breakers().is_empty());
    }
    let main = Arc::new(Scripted::new("main", [Turn::Hang(Vec::new())]));
    let router = router(&[&main]);
    for _ in 0..5 {
        let mut hurried = Request::new("a");
        (hurried.timeout, hurried.model) = (Some(Duration::from_millis(20)), Some("main/m".into()));
        assert_eq!(router.generate(hurried).await.unwrap_err().kind(), ErrorKind::ProviderTimeout);
    }
    assert_eq!((router.breakers().len(), main.calls().len()), (0, 5));
    // Nor does one who will not wait long for what comes after the first content.
    let begun = || text_events("long answer", None).into_iter().take(2).map(Ok);
    let stalls: Vec<_> = begun().chain([Err(Error::timeout("nothing in 20 ms"))]).collect();
    let main = Arc::new(Scripted::new("main", [Turn::Slow(Duration::from_millis(20), stalls)]));
    let router = self::router(&[&main]);
    for idle in [Some(Duration::from_millis(20)), None] {
        for _ in 0..3 {
            let mut hurried = Request::new("a");
            (hurried.timeouts.idle, hurried.model) = (idle, Some("main/m".into()));
            assert_eq!(router.generate(hurried).await.unwrap_err().kind(), ErrorKind::ProviderTimeout);
        }
        assert_eq!(router.breakers().len(), usize::from(idle.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_made_anew_knows_what_was_learnt_of_the_instances_it_keeps() {
    let main = Arc::new(Scripted::new("main", [fail(ErrorKind::ProviderBilling), Turn::Text("main".into())]));
    let deps = deps();
    let first = router_of(deps.clone(), settings(), &[&main]);
    ask(&first, "main/m").await.unwrap_err();
    let second = router_of(deps, settings(), &[&main]);
    let again = ask(&second, "main/m").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ProviderBilling, "told what is the matter");
    assert_eq!(second.close_breakers(), 1);
    assert_eq!(ask(&second, "main/m").await.unwrap().text(), "main");
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_share_of_the_requests() {
    let main = Arc::new(Scripted::new("main", [fail(ErrorKind::ProviderServerError)]));
    let mut settings = settings();
    settings.router.breaker = false;
    (settings.router.retry_percent, settings.router.retry_floor) = (20, 0);
    let router = router_of(deps(), settings, &[&main, &saying("other")]);
    for _ in 0..50 {
        assert_eq!(ask(&router, "both").await.unwrap().text(), "other");
    }
    assert_eq!(main.calls().len(), 50 + 10);
    let counts = router.prometheus();
    assert!(counts.contains(r#"llm_router_retries_total{provider="main",model="m"} 10"#), "{counts}");
    assert!(
        counts.contains("llm_router_retries_refused_total 50"),
        "one of each request, the last of three or the first: {counts}"
    );
}

/// Says a word and breaks off.
fn broken() -> Turn {
    let half = text_events("half of it", None).into_iter().take(2).map(Ok);
    Turn::Events(half.chain([Err(Error::protocol("cut"))]).collect())
}

#[tokio::test(start_paused = true)]
async fn a_target_that_breaks_off_each_of_its_answers_is_found_out() {
    let turns = (0..4).map(|_| broken()).chain([Turn::Text("main".into())]);
    let main = Arc::new(Scripted::new("main", turns));
    let other = saying("other");
    let router = router(&[&main, &other]);
    for _ in 0..3 {
        assert_eq!(ask(&router, "both").await.unwrap_err().kind(), ErrorKind::ProviderProtocol);
    }
    assert_eq!(ask(&router, "both").await.unwrap().text(), "other");
    pass(1000).await;
    assert_eq!(ask(&router, "both").await.unwrap_err().kind(), ErrorKind::ProviderProtocol, "the probe");
    assert_eq!(ask(&router, "both").await.unwrap().text(), "other", "closed anew, by one failure");
    pass(2000).await;
    assert_eq!(ask(&router, "both").await.unwrap().text(), "main");
    assert!(router.breakers().is_empty());
    assert_eq!(main.calls().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_first_content_of_a_probe_lets_the_others_pass() {
    let turns = (0..3).map(|_| fail(ErrorKind::ProviderServerError));
    let begun = text_events("long answer", None).into_iter().take(2).collect();
    let main = Arc::new(Scripted::new("main", turns.chain([Turn::Hang(begun), Turn::Text("main".into())])));
    let router = router(&[&main, &saying("other")]);
    ask(&router, "both").await.unwrap();
    pass(1000).await;
    let mut request = Request::new("hello");
    request.model = Some("both".into());
    let under_way = router.call(request).await.unwrap();
    assert_eq!(ask(&router, "both").await.unwrap().text(), "main", "while the probe's answer is under way");
    drop(under_way);
    assert!(router.breakers().is_empty(), "a caller who leaves says nothing of the target");
}
