//! Stored answers, and calls that several share.

use std::time::Duration;

use futures_util::StreamExt;
use llm_router::ErrorKind;
use llm_router::ids::Namespace;
use llm_router::request::Request;
use llm_router::trace::CacheStatus;

use crate::support::{Script, Setup};

#[tokio::test]
async fn only_a_stored_answer_is_only_a_stored_answer_where_the_cache_is_off() {
    let (router, calls) = Setup::default().provider("openai", &[Script::Answer("no")]).build();
    let mut request = Request::new("hello");
    request.cache.only_if_cached = true;
    assert_eq!(router.generate(request).await.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
    assert_eq!(calls("openai"), 0);
}

#[tokio::test]
async fn a_stored_answer_is_replayed_whole_or_streamed() {
    let (router, calls) = Setup::default().provider("openai", &[Script::Answer("once")]).cached().build();
    let first = router.generate(Request::new("hello")).await.unwrap();
    let second = router.generate(Request::new("hello")).await.unwrap();
    assert_eq!((first.trace().unwrap().cache, second.trace().unwrap().cache), (CacheStatus::Miss, CacheStatus::Hit));
    assert_eq!((first.text(), calls("openai")), (second.text(), 1));
    let mut streamed = Request::new("hello");
    streamed.stream = true;
    assert!(router.call(streamed).await.unwrap().count().await > 3);
    let mut fresh = Request::new("hello");
    fresh.cache.no_cache = true;
    router.generate(fresh).await.unwrap();
    assert_eq!(calls("openai"), 2);
}

#[tokio::test]
async fn what_broke_or_must_not_be_stored_is_not() {
    let script = [Script::Cut("half"), Script::Answer("whole")];
    let (router, calls) = Setup::default().provider("openai", &script).cached().build();
    let mut request = Request::new("hello");
    request.cache.no_store = true;
    assert!(router.generate(Request::new("hello")).await.is_err());
    router.generate(request.clone()).await.unwrap();
    router.generate(request.clone()).await.unwrap();
    assert_eq!(calls("openai"), 3);
    request.cache.only_if_cached = true;
    assert_eq!(router.generate(request).await.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
}

#[tokio::test]
async fn overlapping_equal_requests_share_one_call() {
    let (router, calls) = Setup::default().provider("openai", &[Script::Answer("shared")]).cached().build();
    let first = router.call(Request::new("hello")).await.unwrap();
    let second = router.call(Request::new("hello")).await.unwrap();
    assert_eq!((first.trace().cache, second.trace().cache), (CacheStatus::Miss, CacheStatus::Coalesced));
    let (a, b) = futures_util::future::join(first.collect(), second.collect()).await;
    assert_eq!((a.unwrap().text(), b.unwrap().text()), ("shared".into(), "shared".into()));
    assert_eq!(calls("openai"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_who_joins_a_call_waits_no_longer_than_its_own_request_allows() {
    let (router, calls) = Setup::default().provider("openai", &[Script::Hang]).cached().build();
    let mut hurried = Request::new("hello");
    hurried.timeout = Some(Duration::from_secs(1));
    let (began, joined) = (router.generate(Request::new("hello")), router.generate(hurried));
    tokio::pin!(began);
    assert!(futures_util::poll!(&mut began).is_pending());
    let asked = tokio::time::Instant::now();
    let error = tokio::select! { outcome = joined => outcome.unwrap_err(), _ = &mut began => unreachable!() };
    assert_eq!((error.kind(), asked.elapsed().as_secs(), calls("openai")), (ErrorKind::ProviderTimeout, 1, 1));
}

#[tokio::test]
async fn two_namespaces_never_share_an_answer() {
    let (router, calls) = Setup::default().provider("openai", &[Script::Answer("mine")]).cached().build();
    for namespace in ["a", "b", "a"] {
        let mut request = Request::new("hello");
        request.riders.namespace = Namespace::new(namespace).unwrap();
        router.generate(request).await.unwrap();
    }
    assert_eq!(calls("openai"), 2);
}
