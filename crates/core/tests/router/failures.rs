//! What follows a failure, before the first content and after it.

use futures_util::StreamExt;
use llm_router::ErrorKind;
use llm_router::delta::{Delta, Event, Part};
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::testing::scripted::Turn;

use crate::support::{Script, Setup, asking, start};

#[tokio::test(start_paused = true)]
async fn an_automatic_plan_goes_on_until_somebody_answers() {
    let (router, calls) = Setup::default()
        .provider("openrouter", &[Script::Fail(ErrorKind::ProviderServerError)])
        .provider("openai", &[Script::Stumble(ErrorKind::ProviderAuth)])
        .provider("local", &[Script::Answer("floor")])
        .build();
    let response = router.generate(Request::new("hello")).await.unwrap();
    assert_eq!(response.text(), "floor");
    let trace = response.trace().unwrap();
    let tried: Vec<_> = trace.attempts.iter().map(|a| (a.provider.as_str(), a.error.is_some())).collect();
    let server = ("openrouter", true);
    assert_eq!(tried, [server, server, server, ("openai", true), ("local", false)]);
    assert_eq!(calls("openrouter"), 3);
    assert_eq!(trace.served.as_ref().unwrap().substituted, None, "nobody was named, so nobody was replaced");
}

#[tokio::test]
async fn a_named_provider_never_falls_to_another() {
    let (router, calls) = Setup::default()
        .provider("openai", &[Script::Fail(ErrorKind::ProviderAuth)])
        .provider("local", &[Script::Answer("floor")])
        .build();
    let error = router.generate(asking(None, Some("openai"))).await.unwrap_err();
    assert_eq!((error.kind(), error.provider().unwrap().as_str()), (ErrorKind::ProviderAuth, "openai"));
    assert_eq!(calls("local"), 0);
}

#[tokio::test]
async fn after_the_first_content_an_error_is_the_callers() {
    let (router, calls) = Setup::default()
        .provider("openai", &[Script::Break("half", ErrorKind::ProviderConnection)])
        .provider("local", &[Script::Answer("floor")])
        .build();
    let mut answer = router.call(Request::new("hello")).await.unwrap();
    let mut heard = String::new();
    let error = loop {
        match answer.next().await.unwrap() {
            Ok(event) => heard.extend(event.deltas.iter().filter_map(|delta| match delta {
                Delta::BlockDelta { part: Part::Text(text), .. } => Some(text.as_str()),
                _ => None,
            })),
            Err(error) => break error,
        }
    };
    assert_eq!((heard.as_str(), error.kind()), ("half", ErrorKind::ProviderConnection));
    assert_eq!(calls("local"), 0);
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn a_stream_without_its_end_is_an_error() {
    let (router, _) = Setup::default().provider("openai", &[Script::Cut("half")]).build();
    let error = router.generate(Request::new("hello")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderProtocol);
}

#[tokio::test(start_paused = true)]
async fn who_would_have_been_next_is_named_in_the_last_error() {
    let (router, _) = Setup::default()
        .provider("ollama", &[Script::Fail(ErrorKind::ProviderUnavailable)])
        .provider("lmstudio", &[Script::Fail(ErrorKind::ProviderUnavailable)])
        .with("local", &[Script::Answer("no")], |p| p.missing = Some("the model is not here"))
        .build();
    let error = router.generate(Request::new("hello")).await.unwrap_err();
    assert!(error.message().ends_with("; local: the model is not here"), "{error}");
    assert!(error.hint().unwrap().contains("doctor"));
}

#[tokio::test(start_paused = true)]
async fn all_failures_are_named_in_the_last_error() {
    let (router, _) = Setup::default()
        .provider("openai", &[Script::Fail(ErrorKind::ProviderAuth)])
        .provider("local", &[Script::Fail(ErrorKind::ProviderUnavailable)])
        .build();
    let error = router.generate(Request::new("hello")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
    assert!(error.message().contains("openai: ") && error.message().contains("local: "), "{error}");
}

#[tokio::test]
async fn an_answer_of_nothing_but_empty_events_is_given_up() {
    let empty = Event::from(Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(String::new()) });
    let events = std::iter::once(start()).chain(std::iter::repeat_n(empty, 5000)).map(Ok).collect();
    let scripted = llm_router::testing::scripted::Scripted::new("openai", [Turn::Events(events)]);
    let router = Router::builder().provider(scripted).build().unwrap();
    let error = router.generate(asking(None, Some("openai"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderProtocol);
    assert!(error.message().contains("1024"), "{error}");
}

#[tokio::test]
async fn the_record_is_kept_when_the_caller_leaves() {
    let (router, _) = Setup::default().provider("openai", &[Script::Answer("long")]).build();
    let answer = router.call(Request::new("hello")).await.unwrap();
    let id = answer.trace().id;
    drop(answer);
    assert!(router.trace(&id).unwrap().total.is_some());
}
