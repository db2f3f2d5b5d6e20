//! Answers that break off after their first content and are gone on with: behind what was said, or anew.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Arc;

use futures_util::StreamExt;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::delta::{BlockKind, Delta, Event, Laws, Part};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::request::{Request, Resume, Role};
use llm_router::router::{Answer, Router};
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::trace::CacheStatus;
use llm_router::{Error, ErrorKind, Result};

use common::{router, router_with};

/// The first words of a text, then what comes of it.
fn half(text: &str, words: usize, then: Option<Error>) -> Turn {
    let half = text_events(text, None).into_iter().take(1 + words).map(Ok);
    Turn::Events(half.chain(then.map(Err)).collect())
}

fn breaking(id: &str) -> Arc<Scripted> {
    Arc::new(Scripted::new(id, [half("One two three four.", 2, Some(Error::connection("reset")))]))
}

/// Goes on behind the beginning of an answer.
fn going_on(id: &str, turns: impl IntoIterator<Item = Turn>) -> Arc<Scripted> {
    Arc::new(Scripted::new(id, turns).describing(|describe| describe.with_prefill(true)))
}

fn asking(resume: Resume) -> Request {
    let mut request = Request::new("Count.");
    (request.model, request.stream, request.riders.resume) = (Some("all".into()), true, Some(resume));
    request
}

/// What a streamed answer said, and how it ended. It keeps the laws of deltas to its end.
async fn heard(answer: &mut Answer) -> (String, Option<Error>) {
    let (mut text, mut laws) = (String::new(), Laws::default());
    while let Some(event) = answer.next().await {
        match event {
            Ok(event) => {
                event.deltas.iter().for_each(|delta| laws.check(delta).unwrap());
                text.extend(event.deltas.iter().filter_map(|delta| match delta {
                    Delta::BlockDelta { part: Part::Text(text), .. } => Some(text.as_str()),
                    _ => None,
                }));
            }
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

async fn ask(router: &Router, request: Request) -> (String, Option<Error>) {
    heard(&mut router.call(request).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_target_that_can_goes_on_behind_what_was_said_and_both_are_named() {
    let (a, b) = (breaking("a"), going_on("b", [Turn::Text("three four.".into())]));
    let router = router(&[&a, &b]);
    let mut request = asking(Resume::Continue);
    request.sampling.max_tokens = Some(100);
    let mut answer = router.call(request).await.unwrap();
    let (text, error) = heard(&mut answer).await;
    assert_eq!((text.as_str(), error), ("One two three four.", None));
    let asked = &b.calls()[0].request;
    let last = asked.messages.last().unwrap();
    assert_eq!((last.role, last.content[0].as_text()), (Role::Assistant, Some("One two")));
    assert!(asked.prefill && asked.sampling.max_tokens == Some(98), "two tokens of the hundred were used");
    let trace = answer.trace();
    assert_eq!(trace.served.as_ref().unwrap().provider, "a");
    let resumed = &trace.resumed[0];
    assert_eq!((resumed.target().as_str(), resumed.how, resumed.after), ("b/m", Resume::Continue, 8));
    assert_eq!(trace.attempts.len(), 2);
    assert!(trace.error.is_none() && trace.usage.unwrap().estimated);
}

#[tokio::test(start_paused = true)]
async fn cuts_and_stalls_are_resumed_alike_and_a_second_break_too() {
    let stalled = Arc::new(Scripted::new("a", [half("One two three four.", 1, Some(Error::timeout("idle")))]));
    let cut = going_on("b", [half("two three four.", 1, None)]);
    let last = going_on("c", [Turn::Text("three four.".into())]);
    let router = router(&[&stalled, &cut, &last]);
    let mut answer = router.call(asking(Resume::Continue)).await.unwrap();
    let (text, error) = heard(&mut answer).await;
    assert_eq!((text.as_str(), error), ("One two three four.", None));
    assert_eq!((stalled.calls().len(), cut.calls().len(), last.calls().len()), (1, 1, 1));
    let by: Vec<_> = answer.trace().resumed.iter().map(|by| by.after).collect();
    assert_eq!(by, [4, 8]);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_is_not_known_to_goes_on_unless_the_configuration_knows() {
    let (a, b) = (breaking("a"), Arc::new(Scripted::text("b", "three four.")));
    let (text, error) = ask(&router(&[&a, &b]), asking(Resume::Continue)).await;
    let error = error.unwrap();
    assert_eq!((text.as_str(), error.kind(), b.calls().len()), ("One two ", ErrorKind::ProviderConnection, 0));
    assert!(error.message().starts_with("reset; nobody is left"), "{error}");
    let router = router_with(&[&a, &b], RouterDeps::default(), |settings| {
        settings.models.entry("b/m".into()).or_default().prefill = Some(true);
    });
    assert_eq!(ask(&router, asking(Resume::Continue)).await.0, "One two three four.");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_beginning_never_hides_the_first_error() {
    let refusal = Error::new(ErrorKind::ProviderRejected, "the last message must be the user's");
    let (a, b) = (breaking("a"), going_on("b", [Turn::Fail(refusal)]));
    let (_, error) = ask(&router(&[&a, &b]), asking(Resume::Continue)).await;
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert!(error.message().contains("reset; nobody went on with it: b: the last message"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn anew_it_is_heard_once_it_has_said_the_same_and_the_same_target_is_first() {
    let whole = "One two three four.";
    let first = half(whole, 2, Some(Error::connection("reset")));
    let (a, b) = (Arc::new(Scripted::new("a", [first, Turn::Text(whole.into())])), Arc::new(Scripted::text("b", "x")));
    let answer = ask(&router(&[&a, &b]), asking(Resume::Restart)).await;
    assert_eq!((answer.0.as_str(), answer.1), (whole, None));
    assert_eq!((a.calls().len(), b.calls().len()), (2, 0));
    assert!(!a.calls()[1].request.prefill && a.calls()[1].request.messages.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn who_says_something_else_anew_is_not_heard() {
    let stalled = || Arc::new(Scripted::new("a", [half("One two three four.", 2, Some(Error::timeout("idle")))]));
    for other in ["One too many.", "One", "Eins zwei drei"] {
        let b = Arc::new(Scripted::text("b", other));
        let (text, error) = ask(&router(&[&stalled(), &b]), asking(Resume::Restart)).await;
        let error = error.unwrap();
        assert_eq!((text.as_str(), error.kind()), ("One two ", ErrorKind::ProviderTimeout));
        assert!(error.message().contains("began with something else"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_text_of_one_choice_is_gone_on_with_and_only_where_somebody_wished() {
    let call = BlockKind::ToolCall { id: "c".into(), name: "f".into() };
    let start = Delta::Start { id: "1".into(), model: "m".into(), created: None };
    let tool = Event::from(vec![start, Delta::BlockStart { choice: 0, block: 0, kind: call }]);
    let calling = Arc::new(Scripted::new("a", [Turn::Events(vec![Ok(tool), Err(Error::connection("reset"))])]));
    let b = going_on("b", [Turn::Text("three four.".into())]);
    let (_, error) = ask(&router(&[&calling, &b]), asking(Resume::Continue)).await;
    assert_eq!(error.unwrap().message(), "reset");
    for request in [asking(Resume::Off), {
        let mut two = asking(Resume::Continue);
        two.sampling.n = Some(2);
        two
    }] {
        let everything = |describe: llm_router::provider::Describe| {
            describe.with_capabilities(llm_router::provider::Capabilities::ALL).with_prefill(true)
        };
        let a =
            Arc::new(Scripted::new("a", [half("One two", 1, Some(Error::connection("reset")))]).describing(everything));
        let b = Arc::new(Scripted::text("b", "two").describing(everything));
        let (_, error) = ask(&router(&[&a, &b]), request).await;
        assert_eq!((error.unwrap().message(), b.calls().len()), ("reset", 0));
    }
    let mut plain = asking(Resume::Off);
    plain.riders.resume = None;
    let (a, b) = (breaking("a"), going_on("b", [Turn::Text("three four.".into())]));
    let route = router_with(&[&a, &b], RouterDeps::default(), |settings| {
        settings.routes.get_mut("all").unwrap().resume = Some(Resume::Continue);
    });
    assert_eq!(ask(&route, plain).await, ("One two three four.".into(), None));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_answer_is_never_stored() {
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    let (a, b) = (breaking("a"), going_on("b", [Turn::Text("three four.".into())]));
    let router = router_with(&[&a, &b], deps, |settings| settings.router.breaker = false);
    for _ in 0..2 {
        let mut answer = router.call(asking(Resume::Continue)).await.unwrap();
        assert_eq!(heard(&mut answer).await.0, "One two three four.");
        assert_eq!(answer.trace().cache, CacheStatus::Miss);
    }
    assert_eq!((a.calls().len(), b.calls().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_break_teaches_the_breakers_also_where_somebody_went_on() -> Result<()> {
    let (a, b) = (breaking("a"), going_on("b", [Turn::Text("three four.".into())]));
    let router = router(&[&a, &b]);
    for _ in 0..3 {
        assert_eq!(ask(&router, asking(Resume::Continue)).await.1, None);
    }
    assert_eq!(router.breakers()[0].provider, "a");
    Ok(())
}
