//! Where a target is late, the next one is asked beside it: who wins, who is not asked twice, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use llm_router::ErrorKind;
use llm_router::config::RouteSettings;
use llm_router::deps::RouterDeps;
use llm_router::request::{Request, Tool};
use llm_router::response::Response;
use llm_router::router::Router;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::{Error, Result};
use tokio::time::Instant;

use crate::common;

/// An answer whose first content comes after so long.
fn after(millis: u64, text: &str) -> Turn {
    Turn::Slow(Duration::from_millis(millis / 2), text_events(text, None).into_iter().map(Ok).collect())
}

fn fail(kind: ErrorKind) -> Turn {
    Turn::Fail(Error::new(kind, "scripted"))
}

fn provider(id: &str, turns: impl IntoIterator<Item = Turn>) -> Arc<Scripted> {
    Arc::new(Scripted::new(id, turns))
}

fn router_with(providers: &[&Arc<Scripted>], change: impl FnOnce(&mut RouteSettings)) -> Router {
    common::router_with(providers, RouterDeps::default(), |settings| {
        let route = settings.routes.get_mut("all").unwrap();
        (route.hedge, route.hedge_after, route.hedge_percent) = (true, Duration::from_millis(500), 100);
        change(route);
    })
}

fn router(providers: &[&Arc<Scripted>]) -> Router {
    router_with(providers, |_| {})
}

fn asking() -> Request {
    let mut request = Request::new("hello");
    (request.model, request.stream) = (Some("all".into()), true);
    request
}

async fn ask(router: &Router) -> Result<Response> {
    router.generate(asking()).await
}

fn counted(router: &Router, outcome: &str) -> bool {
    let label = format!("outcome=\"{outcome}\"}} 1");
    router.prometheus().lines().any(|line| line.starts_with("llm_router_hedges_total{") && line.ends_with(&label))
}

#[tokio::test(start_paused = true)]
async fn the_first_content_wins_and_the_loser_is_cancelled() {
    let (late, quick) = (provider("late", [after(9_000, "late")]), provider("quick", [after(200, "quick")]));
    let router = router(&[&late, &quick]);
    let began = Instant::now();
    let response = ask(&router).await.unwrap();
    assert_eq!(response.text(), "quick");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((late.live(), late.calls().len(), quick.calls().len()), (0, 1, 1));
    let trace = response.trace().unwrap();
    let [hedge] = trace.hedges.as_slice() else { panic!("{trace:?}") };
    assert_eq!((hedge.provider.as_str(), hedge.beside.as_str(), &*hedge.outcome), ("quick", "late/m", "won"));
    assert_eq!(hedge.after, Some(Duration::from_millis(500)));
    assert_eq!(trace.served.as_ref().unwrap().substituted.as_deref(), Some("late/m"));
    assert!(counted(&router, "won"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_late_may_still_win() {
    let (late, slow) = (provider("late", [after(900, "late")]), provider("slow", [after(5_000, "slow")]));
    let router = router(&[&late, &slow]);
    let response = ask(&router).await.unwrap();
    assert_eq!((response.text().as_str(), slow.calls().len(), slow.live()), ("late", 1, 0));
    let trace = response.trace().unwrap();
    assert_eq!((trace.hedges[0].outcome.as_str(), trace.served.as_ref().unwrap().substituted.clone()), ("lost", None));
    assert!(counted(&router, "lost"));
}

#[tokio::test(start_paused = true)]
async fn who_is_in_time_is_asked_alone_and_what_is_usual_is_learnt() {
    let (main, other) = (provider("main", [after(400, "main")]), provider("other", [after(10, "other")]));
    let router = router(&[&main, &other]);
    for _ in 0..20 {
        ask(&router).await.unwrap();
    }
    assert_eq!(other.calls().len(), 0);
    // Twenty answers at 400 ms: from now on 400 ms is in time and 450 is late, whatever the fixed time.
    let slower = provider("main", (0..20).map(|_| after(100, "main")).chain([after(450, "main")]));
    let router = router_with(&[&slower, &other], |_| {});
    for _ in 0..20 {
        ask(&router).await.unwrap();
    }
    assert_eq!(ask(&router).await.unwrap().text(), "other");
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_both_are_told_and_the_plan_goes_on() {
    let late = provider(
        "late",
        [Turn::Slow(Duration::from_secs(2), vec![Err(Error::new(ErrorKind::ProviderTimeout, "gone"))])],
    );
    let broken = provider("broken", [fail(ErrorKind::ProviderAuth)]);
    let last = provider("last", [after(10, "last")]);
    let all = router(&[&late, &broken, &last]);
    let response = ask(&all).await.unwrap();
    assert_eq!(response.text(), "last");
    assert_eq!(response.trace().unwrap().hedges[0].outcome, "failed");
    assert_eq!((broken.calls().len(), last.calls().len()), (1, 1));
    let error = ask(&router(&[&late, &broken])).await.unwrap_err();
    assert!(error.message().contains("late: gone") && error.message().contains("broken: scripted"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_the_callers_ends_both() {
    let refused = vec![Err(Error::invalid("no such field"))];
    let late = provider("late", [Turn::Slow(Duration::from_secs(1), refused)]);
    let slow = provider("slow", [after(60_000, "slow")]);
    let error = ask(&router(&[&late, &slow])).await.unwrap_err();
    assert_eq!((error.kind(), slow.live(), slow.calls().len()), (ErrorKind::CallerInvalidRequest, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_share_of_the_requests_is_asked_twice() {
    let (late, quick) = (provider("late", [after(2_000, "late")]), provider("quick", [after(10, "quick")]));
    let router = router_with(&[&late, &quick], |route| {
        route.hedge_percent = 25;
        route.hedge_after = Duration::from_millis(50);
    });
    // Fewer than would teach that this is usual.
    for _ in 0..19 {
        ask(&router).await.unwrap();
    }
    assert!((3..=4).contains(&quick.calls().len()), "{}", quick.calls().len());
}

#[tokio::test(start_paused = true)]
async fn what_does_more_than_answer_is_asked_once() {
    let (late, quick) = (provider("late", [after(2_000, "late")]), provider("quick", [after(10, "quick")]));
    let router = router(&[&late, &quick]);
    let mut request = asking();
    let search = serde_json::json!({ "name": "", "extra": { "openai_chat": { "type": "web_search" } } });
    request.tools = vec![serde_json::from_value::<Tool>(search).unwrap()];
    assert_eq!(router.generate(request).await.unwrap().text(), "late");
    let agent = Arc::new(Scripted::new("agent", [after(10, "agent")]).describing(|mut describe| {
        describe.agent = true;
        describe
    }));
    let router = super::hedging::router(&[&late, &agent]);
    assert_eq!(ask(&router).await.unwrap().text(), "late");
    assert_eq!((quick.calls().len(), agent.calls().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_the_wish_nobody_is_asked_twice() {
    let (late, quick) = (provider("late", [after(2_000, "late")]), provider("quick", [after(10, "quick")]));
    let router = router_with(&[&late, &quick], |route| route.hedge = false);
    assert_eq!(ask(&router).await.unwrap().text(), "late");
    assert_eq!(quick.calls().len(), 0);
}
