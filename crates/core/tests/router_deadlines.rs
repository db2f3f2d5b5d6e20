//! The time until the first event is the request's: how targets share it, who has one of its own, and what a request and a model may change.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::delta::Event;
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::provider::Liveness;
use llm_router::request::Request;
use llm_router::response::Response;
use llm_router::router::Router;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::{Error, ErrorKind, Result};
use tokio::time::Instant;

use common::{router, router_with};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn silent(id: &str) -> Arc<Scripted> {
    Arc::new(Scripted::new(id, [Turn::Hang(Vec::new())]))
}

/// Its answer, an event every so many seconds, after so many empty ones.
fn after(id: &str, empty: usize, liveness: Liveness) -> Arc<Scripted> {
    let events = std::iter::repeat_n(Event::default(), empty).chain(text_events("done", None));
    let turn = Turn::Slow(millis(1000), events.map(Ok).collect());
    Arc::new(Scripted::new(id, [turn]).describing(|describe| describe.with_liveness(liveness)))
}

fn asking() -> Request {
    let mut request = Request::new("hello");
    (request.model, request.stream) = (Some("all".into()), true);
    request
}

async fn ask(router: &Router, request: Request) -> (Result<Response>, Duration) {
    let began = Instant::now();
    let answered = router.generate(request).await;
    (answered, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn who_stays_silent_leaves_half_of_the_time_to_the_next() {
    let (a, b) = (silent("a"), Arc::new(Scripted::text("b", "b")));
    let (answered, took) = ask(&router(&[&a, &b]), asking()).await;
    assert_eq!(answered.unwrap().text(), "b");
    assert!(took >= millis(7500) && took < millis(7600), "{took:?}");
    assert_eq!(b.calls()[0].deadlines.first_event, millis(7499).max(b.calls()[0].deadlines.first_event));
    assert_eq!(a.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_only_one_has_all_of_it() {
    let (answered, took) = ask(&router(&[&silent("a")]), asking()).await;
    assert_eq!(answered.unwrap_err().kind(), ErrorKind::ProviderTimeout);
    assert_eq!(took.as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn however_many_are_silent_the_sum_holds_and_the_rest_is_not_asked() {
    let all: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(silent).into();
    let (answered, took) = ask(&router(&all.iter().collect::<Vec<_>>()), asking()).await;
    let error = answered.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert!(error.message().contains("f: not asked"), "{error}");
    assert!(took >= millis(15_000) && took < millis(15_100), "{took:?}");
    assert_eq!(all.iter().map(|one| one.calls().len()).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_once_costs_nothing_of_it() {
    let refusing = |id| Arc::new(Scripted::new(id, [Turn::Fail(Error::new(ErrorKind::ProviderAuth, "no"))]));
    let all = ["a", "b", "c", "d", "e", "f"].map(refusing);
    let last = Arc::new(Scripted::text("z", "z"));
    let providers: Vec<_> = all.iter().chain([&last]).collect();
    let (answered, _) = ask(&router(&providers), asking()).await;
    assert_eq!(answered.unwrap().text(), "z");
    assert!(last.calls()[0].deadlines.first_event > millis(14_990));
}

#[tokio::test(start_paused = true)]
async fn of_who_reads_a_prompt_progress_counts_and_not_the_time() {
    let (embedded, took) = ask(&router(&[&after("a", 90, Liveness::Progress)]), asking()).await;
    assert_eq!(embedded.unwrap().text(), "done");
    assert!(took.as_secs() > 90);
    let (service, took) = ask(&router(&[&after("a", 90, Liveness::Content)]), asking()).await;
    assert_eq!((service.unwrap_err().kind(), took.as_secs()), (ErrorKind::ProviderTimeout, 15));
    let (stuck, took) = ask(
        &router(&[&Arc::new(
            Scripted::new("a", [Turn::Hang(vec![Event::default()])])
                .describing(|describe| describe.with_liveness(Liveness::Progress)),
        )]),
        asking(),
    )
    .await;
    assert_eq!(
        (stuck.unwrap_err().kind(), took.as_secs()),
        (ErrorKind::ProviderTimeout, 30),
        "idle, since it once lived"
    );
}

#[tokio::test(start_paused = true)]
async fn the_embedded_model_behind_silent_services_has_its_own_time() {
    let all = [silent("a"), silent("b"), silent("c"), silent("d"), after("local", 20, Liveness::Progress)];
    let (answered, _) = ask(&router(&all.iter().collect::<Vec<_>>()), asking()).await;
    assert_eq!(answered.unwrap().text(), "done");
}

/// The embedded model, whose slots are taken for so many seconds.
fn queued(seconds: u64) -> Arc<Scripted> {
    let turn = Turn::Queued(millis(seconds * 1000), text_events("done", None));
    Arc::new(Scripted::new("local", [turn]).describing(|describe| describe.with_liveness(Liveness::Progress)))
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_a_slot_has_the_time_for_a_first_event_and_is_not_called_stalled() {
    let (answered, took) = ask(&router(&[&queued(14)]), asking()).await;
    assert_eq!((answered.unwrap().text().as_str(), took.as_secs()), ("done", 14));
    // The queue was longer than that: it says so, and no breaker learns of it.
    let (busy, next) = (queued(60), Arc::new(Scripted::text("next", "next")));
    let alone = router(&[&busy]);
    for _ in 0..4 {
        let (late, took) = ask(&alone, asking()).await;
        let late = late.unwrap_err();
        assert_eq!((late.kind(), took.as_secs()), (ErrorKind::ProviderOverloaded, 15), "{late}");
        assert!(late.message().contains("the calls that run already"), "{late}");
    }
    assert!(alone.breakers().is_empty(), "{:?}", alone.breakers());
    let (answered, _) = ask(&router(&[&busy, &next]), asking()).await;
    let answered = answered.unwrap();
    assert_eq!((answered.text().as_str(), busy.live()), ("next", 0));
    // A whole answer has the time that a whole answer has.
    let mut whole = asking();
    whole.stream = false;
    assert_eq!(ask(&alone, whole).await.0.unwrap().text(), "done");
}

#[tokio::test(start_paused = true)]
async fn programs_and_whole_answers_have_no_first_event() {
    let (program, _) = ask(&router(&[&after("a", 100, Liveness::End)]), asking()).await;
    assert_eq!(program.unwrap().text(), "done");
    let mut whole = asking();
    whole.stream = false;
    let (whole, _) = ask(&router(&[&after("a", 100, Liveness::Content)]), whole).await;
    assert_eq!(whole.unwrap().text(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_request_and_a_model_say_otherwise() {
    let (a, b) = (silent("a"), Arc::new(Scripted::text("b", "b")));
    let router = router_with(&[&a, &b], RouterDeps::default(), |settings| {
        let model = settings.models.entry("a/m".into()).or_default();
        model.timeouts.first_event = Some(millis(60_000));
    });
    let (answered, took) = ask(&router, asking()).await;
    assert_eq!((answered.unwrap().text().as_str(), took.as_secs()), ("b", 30));
    let mut hurried = asking();
    hurried.timeouts.first_event = Some(millis(2000));
    let (answered, took) = ask(&router, hurried).await;
    assert_eq!((answered.unwrap().text().as_str(), took.as_secs()), ("b", 1));
    let mut short = asking();
    short.timeout = Some(millis(4000));
    let (answered, took) = ask(&router, short).await;
    assert_eq!((answered.unwrap().text().as_str(), took.as_secs()), ("b", 2), "else the first one had all of it");
}

#[tokio::test(start_paused = true)]
async fn tries_at_one_target_share_its_time() {
    let limited = Error::new(ErrorKind::ProviderOverloaded, "busy").with_retry_after(millis(8000));
    let a = Arc::new(Scripted::new("a", [Turn::Fail(limited), Turn::Hang(Vec::new())]));
    let b = Arc::new(Scripted::text("b", "b"));
    let (answered, took) = ask(&router(&[&a, &b]), asking()).await;
    assert_eq!((answered.unwrap().text().as_str(), a.calls().len()), ("b", 1), "its wait is longer than its share");
    assert_eq!(took.as_secs(), 0);
    let (answered, took) = ask(&router(&[&a]), asking()).await;
    assert_eq!(answered.unwrap_err().kind(), ErrorKind::ProviderTimeout);
    assert_eq!((a.calls().len(), took.as_secs()), (2, 15));
}

#[tokio::test(start_paused = true)]
async fn who_had_little_time_left_over_by_others_is_not_blamed() {
    let all = [silent("a"), silent("b"), silent("c")];
    let router = router(&all.iter().collect::<Vec<_>>());
    for _ in 0..3 {
        ask(&router, asking()).await.0.unwrap_err();
    }
    let blamed: Vec<_> = router.breakers().iter().map(|state| state.provider.to_string()).collect();
    assert_eq!(blamed, ["a"], "b had a quarter, c another");
}

#[tokio::test(start_paused = true)]
async fn a_shared_call_ends_at_the_same_time_and_teaches_as_much() {
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    let (a, b) = (silent("a"), Arc::new(Scripted::text("b", "b")));
    let router = router_with(&[&a, &b], deps, |_| ());
    for round in 0..3 {
        let mut request = asking();
        request.messages = vec![llm_router::request::Message::user(format!("{round}"))];
        let (answered, took) = ask(&router, request).await;
        assert_eq!((answered.unwrap().text().as_str(), took.as_secs()), ("b", 7));
    }
    assert_eq!(router.breakers().len(), 1);
}
