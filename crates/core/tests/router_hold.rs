//! Answers that are held back until they are complete: whatever goes wrong in the midst of one, the caller sees one clean answer.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use llm_router::config::{RouteSettings, Settings};
use llm_router::delta::{Delta, Event, Part};
use llm_router::deps::RouterDeps;
use llm_router::provider::Provider;
use llm_router::request::{Hold, Request};
use llm_router::response::Response;
use llm_router::router::resolve::Entry;
use llm_router::router::{Answer, Router};
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::{Error, ErrorKind, Result};

/// Says so many events of an answer, then what comes of it.
fn half(then: Option<Error>) -> Turn {
    let half = text_events("half of an answer", None).into_iter().take(3).map(Ok);
    Turn::Events(half.chain(then.map(Err)).collect())
}

fn router(providers: &[&Arc<Scripted>], change: impl FnOnce(&mut Settings)) -> Router {
    let mut settings = Settings::default();
    let mut route = RouteSettings::default();
    route.groups = providers.iter().map(|provider| vec![format!("{}/m", provider.describe().id)]).collect();
    route.hold = Some(Hold::Whole);
    settings.routes.insert("held".into(), route);
    change(&mut settings);
    let entry = |provider: &&Arc<Scripted>| Entry::new(provider.describe().id.clone(), Arc::clone(*provider) as _);
    Router::new(RouterDeps::default(), Arc::new(settings), providers.iter().map(entry).collect())
}

fn asking() -> Request {
    let mut request = Request::new("hello");
    (request.model, request.stream) = (Some("held".into()), true);
    request
}

async fn ask(router: &Router) -> Result<Response> {
    router.generate(asking()).await
}

/// What a streamed answer said, and how it ended.
async fn heard(mut answer: Answer) -> (String, Option<Error>) {
    let mut text = String::new();
    while let Some(event) = answer.next().await {
        match event {
            Ok(event) => text.extend(event.deltas.iter().filter_map(|delta| match delta {
                Delta::BlockDelta { part: Part::Text(text), .. } => Some(text.as_str()),
                _ => None,
            })),
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

#[tokio::test(start_paused = true)]
async fn a_cut_and_a_stall_in_the_midst_end_in_the_whole_answer_of_another() {
    let stalls = text_events("half of it", None).into_iter().take(2).map(Ok).chain([Err(Error::timeout("idle"))]);
    for broken in [half(None), half(Some(Error::connection("reset"))), Turn::Events(stalls.collect())] {
        let (a, b) = (Arc::new(Scripted::new("a", [broken])), Arc::new(Scripted::text("b", "the whole answer")));
        let router = router(&[&a, &b], |_| ());
        let (text, error) = heard(router.call(asking()).await.unwrap()).await;
        assert_eq!((text.as_str(), error), ("the whole answer", None));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_target_is_tried_again_and_every_attempt_is_in_the_trace() {
    let a = Arc::new(Scripted::new("a", [half(None), Turn::Text("at last".into())]));
    let response = ask(&router(&[&a], |_| ())).await.unwrap();
    assert_eq!((response.text().as_str(), a.calls().len()), ("at last", 2));
    let trace = response.trace().unwrap();
    assert_eq!(trace.attempts[0].error.as_ref().unwrap().kind(), ErrorKind::ProviderProtocol);
    assert!(trace.attempts[1].error.is_none() && !trace.spilled);
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_before_its_route_and_a_route_before_the_rest() {
    let both = || (Arc::new(Scripted::new("a", [half(None)])), Arc::new(Scripted::text("b", "b")));
    let (a, b) = both();
    let mut open = asking();
    open.riders.hold = Some(Hold::Content);
    let (text, error) = heard(router(&[&a, &b], |_| ()).call(open).await.unwrap()).await;
    assert_eq!((text.as_str(), error.unwrap().kind()), ("half of ", ErrorKind::ProviderProtocol));
    let (a, b) = both();
    let general = router(&[&a, &b], |settings| {
        settings.routes.get_mut("held").unwrap().hold = None;
        settings.router.hold = Hold::Whole;
    });
    assert_eq!(ask(&general).await.unwrap().text(), "b");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_hold_is_given_out_and_says_so() {
    let piece = |_| Event::from(Delta::BlockDelta { choice: 0, block: 0, part: Part::Text("x".repeat(1 << 20)) });
    let mut events = text_events("begin ", None);
    let end = events.pop().unwrap();
    let large = events.into_iter().chain((0..12).map(piece)).map(Ok);
    let a = Arc::new(Scripted::new("a", [Turn::Events(large.chain([Err(Error::connection("gone"))]).collect())]));
    let router_of_it = router(&[&a], |_| ());
    let answer = router_of_it.call(asking()).await.unwrap();
    assert!(answer.trace().spilled);
    let (text, error) = heard(answer).await;
    assert!(text.len() > 11 << 20 && error.unwrap().kind() == ErrorKind::ProviderConnection);
    let mut whole = text_events("small ", None);
    whole.push(end);
    whole.remove(whole.len() - 2);
    let small = Arc::new(Scripted::new("a", [Turn::Events(whole.into_iter().map(Ok).collect())]));
    assert!(!ask(&router(&[&small], |_| ())).await.unwrap().trace().unwrap().spilled);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_heard_before_the_end() {
    let events = text_events("one two three", None).into_iter().map(Ok).collect();
    let a = Arc::new(Scripted::new("a", [Turn::Slow(Duration::from_secs(2), events)]));
    let router = router(&[&a], |_| ());
    let began = tokio::time::Instant::now();
    let answer = router.call(asking()).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10, "five events, two seconds each");
    assert_eq!(heard(answer).await.0, "one two three");
}
