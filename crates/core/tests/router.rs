//! The router from its public door: plans, fallback, commit, substitution, single-flight and the trace.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{ResponseCache, Stat, StorageKey, Tier};
use llm_router::config::Settings;
use llm_router::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::{ModelName, Namespace, ProviderId};
use llm_router::provider::{Availability, Call, Describe, DynProvider, Provider};
use llm_router::request::{Privacy, Request};
use llm_router::router::resolve::{Automatic, Door, Entry};
use llm_router::router::{Op, Router};
use llm_router::store::{MemoryStore, Store};
use llm_router::testing::scripted::Turn;
use llm_router::trace::CacheStatus;
use llm_router::{Error, ErrorKind, Result};

/// What a scripted provider does on one call.
#[derive(Clone)]
enum Script {
    Answer(&'static str),
    Fail(ErrorKind),
    /// Says something, then fails.
    Break(&'static str, ErrorKind),
    /// Starts, then fails before any content.
    Stumble(ErrorKind),
    /// Ends without its end.
    Cut(&'static str),
    /// Nothing, ever.
    Hang,
}

struct Scripted {
    describe: Describe,
    models: Vec<ModelName>,
    missing: Option<&'static str>,
    script: Mutex<VecDeque<Script>>,
    calls: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Option<ModelName>>>>,
}

fn start() -> Event {
    vec![
        Delta::Start { id: "1".into(), model: "m".into(), created: None },
        Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
    ]
    .into()
}

fn text(text: &str) -> Event {
    Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(text.into()) }.into()
}

fn end() -> Event {
    vec![
        Delta::BlockEnd { choice: 0, block: 0 },
        Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: None },
        Delta::End,
    ]
    .into()
}

impl Provider for Scripted {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        self.missing.map_or(Availability::Ready, |what| Availability::missing(what, "add it"))
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.seen.lock().unwrap().push(call.target.model.clone());
        let next = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        let fail = |kind| Error::new(kind, "scripted");
        Ok(match next.unwrap() {
            Script::Answer(words) => DeltaStream::of([Ok(start()), Ok(text(words)), Ok(end())]),
            Script::Fail(kind) => return Err(fail(kind)),
            Script::Break(words, kind) => DeltaStream::of([Ok(start()), Ok(text(words)), Err(fail(kind))]),
            Script::Stumble(kind) => DeltaStream::of([Ok(start()), Err(fail(kind))]),
            Script::Hang => return std::future::pending().await,
            Script::Cut(words) => DeltaStream::of([Ok(start()), Ok(text(words))]),
        })
    }

    fn models(&self) -> Vec<ModelName> {
        self.models.clone()
    }

    fn login_mark(&self) -> Option<String> {
        Some("key-1".into())
    }
}

/// A router of scripted providers, put together as a sentence.
#[derive(Default)]
struct Setup {
    entries: Vec<Entry>,
    calls: HashMap<String, Arc<AtomicUsize>>,
    settings: Settings,
    deps: RouterDeps,
    seen: Arc<Mutex<Vec<Option<ModelName>>>>,
}

impl Setup {
    fn provider(self, id: &str, script: &[Script]) -> Self {
        self.with(id, script, |_| {})
    }

    fn with(mut self, id: &str, script: &[Script], change: impl FnOnce(&mut Scripted)) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let id = ProviderId::new(id).unwrap();
        let mut scripted = Scripted {
            describe: Describe::new(id.clone()),
            models: Vec::new(),
            missing: None,
            script: Mutex::new(script.iter().cloned().collect()),
            calls: Arc::clone(&calls),
            seen: Arc::clone(&self.seen),
        };
        change(&mut scripted);
        self.calls.insert(id.to_string(), calls);
        let automatic = if id == "local" { Automatic::Floor } else { Automatic::Yes };
        let provider: Arc<dyn DynProvider> = Arc::new(scripted);
        self.entries.push(Entry { id, aliases: Vec::new(), provider, automatic, program: None });
        self
    }

    fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn cached(mut self) -> Self {
        let tier: Arc<dyn Tier> = Arc::new(Shelf::default());
        self.deps.cache = Some(ResponseCache::new(vec![tier], KeyStrategy::default(), Arc::new(SystemClock), true));
        self
    }

    fn build(self) -> (Router, impl Fn(&str) -> usize) {
        let calls = self.calls;
        let router = Router::new(self.deps, Arc::new(self.settings), self.entries);
        (router, move |id: &str| calls[id].load(Ordering::SeqCst))
    }
}

/// A tier that never forgets.
#[derive(Default)]
struct Shelf(Mutex<HashMap<StorageKey, Bytes>>);

impl Tier for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }
    fn get<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async { Ok(self.0.lock().unwrap().get(key).cloned()) })
    }
    fn put<'a>(&'a self, key: &'a StorageKey, value: Bytes, _: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            self.0.lock().unwrap().insert(key.clone(), value);
            Ok(())
        })
    }
    fn remove<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(self.0.lock().unwrap().remove(key).is_some()) })
    }
    fn clear<'a>(&'a self, _: Option<&'a Namespace>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async { Ok(self.0.lock().unwrap().drain().count() as u64) })
    }
    fn stat(&self) -> BoxFuture<'_, Result<Stat>> {
        Box::pin(async { Ok(Stat::default()) })
    }
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

fn asking(model: Option<&str>, provider: Option<&str>) -> Request {
    let mut request = Request::new("hello");
    request.model = model.map(str::to_owned);
    request.provider = provider.map(|id| ProviderId::new(id).unwrap());
    request
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

#[tokio::test]
async fn the_first_available_provider_answers_and_the_trace_says_so() {
    let (router, calls) = Setup::default()
        .with("openrouter", &[Script::Answer("no")], |provider| provider.missing = Some("no key"))
        .provider("openai", &[Script::Answer("yes")])
        .provider("local", &[Script::Answer("floor")])
        .build();
    let response = router.generate(Request::new("hello")).await.unwrap();
    assert_eq!(response.text(), "yes");
    let trace = response.trace().unwrap();
    assert_eq!(trace.served.as_ref().unwrap().provider, "openai");
    let considered: Vec<_> = trace.candidates.iter().map(|c| (c.provider.as_str(), c.planned)).collect();
    assert_eq!(considered, [("openrouter", false), ("openai", true), ("local", true)]);
    assert_eq!((calls("openrouter"), calls("openai"), calls("local")), (0, 1, 0));
}

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

#[tokio::test]
async fn a_named_model_is_a_contract() {
    let (router, _) = Setup::default()
        .with("openai", &[Script::Fail(ErrorKind::ProviderUnavailable)], |p| p.models = vec![model("gpt-4o-mini")])
        .with("lab", &[Script::Answer("lab")], |p| p.models = vec![model("gpt-4o-mini")])
        .provider("local", &[Script::Answer("floor")])
        .build();
    assert_eq!(router.generate(asking(Some("gpt-4o-mini"), None)).await.unwrap().text(), "lab");
    assert_eq!(router.generate(asking(Some("lab/any/name"), None)).await.unwrap().text(), "lab");
    let error = router.generate(asking(Some("gpt-4o-mni"), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown);
    assert!(error.hint().unwrap().contains("openai/gpt-4o-mini"), "{:?}", error.hint());
    let error = router.generate(asking(None, Some("opnai"))).await.unwrap_err();
    assert!(error.hint().unwrap().contains("openai"), "{:?}", error.hint());
}

#[tokio::test]
async fn a_provider_that_does_not_know_the_model_answers_with_its_own_only_where_that_was_allowed_and_says_so() {
    let setup = || {
        let script = [Script::Fail(ErrorKind::CallerModelUnknown), Script::Answer("own")];
        Setup::default().with("openai", &script, |p| {
            p.describe = p.describe.clone().with_default_model(model("gpt-4o-mini"));
        })
    };
    let (router, _) = setup().build();
    let error = router.generate(asking(Some("gpt-9"), Some("openai"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown);
    let setup = || setup().settings(|settings| settings.router.model_fallback = true);
    let (router, _) = setup().build();
    let response = router.generate(asking(Some("gpt-9"), Some("openai"))).await.unwrap();
    assert_eq!(response.text(), "own");
    assert_eq!(response.trace().unwrap().served.as_ref().unwrap().substituted.as_deref(), Some("openai/gpt-9"));
    let (router, _) = setup().build();
    let op = Op::new(asking(Some("gpt-9"), Some("openai")), Door::CompatibleApi);
    assert_eq!(router.call(op).await.unwrap_err().kind(), ErrorKind::CallerModelUnknown);
}

#[tokio::test]
async fn the_configured_provider_heads_the_plan_and_only_the_floor_follows() {
    let (router, calls) = Setup::default()
        .provider("openrouter", &[Script::Answer("no")])
        .provider("openai", &[Script::Fail(ErrorKind::ProviderUnavailable)])
        .provider("local", &[Script::Answer("floor")])
        .settings(|settings| settings.router.provider = Some(ProviderId::new("openai").unwrap()))
        .build();
    assert_eq!(router.generate(Request::new("hello")).await.unwrap().text(), "floor");
    assert_eq!(calls("openrouter"), 0);
}

#[tokio::test]
async fn privacy_leaves_out_who_may_not_see_the_request() {
    let (router, calls) = Setup::default()
        .provider("openai", &[Script::Answer("no")])
        .with("local", &[Script::Answer("here")], |p| p.describe = p.describe.clone().with_privacy(Privacy::Local))
        .build();
    let mut request = Request::new("hello");
    request.riders.privacy = Privacy::Local;
    assert_eq!(router.generate(request).await.unwrap().text(), "here");
    assert_eq!(calls("openai"), 0);
    let mut request = asking(None, Some("openai"));
    request.riders.privacy = Privacy::Local;
    assert_eq!(router.generate(request).await.unwrap_err().kind(), ErrorKind::PolicyForbidden);
}

#[tokio::test]
async fn the_operators_privacy_holds_for_what_explain_says_too() {
    let (router, _) = Setup::default()
        .provider("openai", &[Script::Answer("no")])
        .with("local", &[Script::Answer("here")], |p| p.describe = p.describe.clone().with_privacy(Privacy::Local))
        .settings(|settings| settings.router.privacy = Privacy::Local)
        .build();
    let (plan, _) = router.explain(&Request::new("hello"), Door::Command).await.unwrap();
    let planned: Vec<_> = plan.targets.iter().map(|planned| planned.target.provider.as_str()).collect();
    assert_eq!(planned, ["local"]);
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

#[tokio::test]
async fn only_a_stored_answer_is_only_a_stored_answer_where_the_cache_is_off() {
    let (router, calls) = Setup::default().provider("openai", &[Script::Answer("no")]).build();
    let mut request = Request::new("hello");
    request.cache.only_if_cached = true;
    assert_eq!(router.generate(request).await.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
    assert_eq!(calls("openai"), 0);
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

#[tokio::test]
async fn a_refused_key_is_passed_over_by_automatic_plans_only_and_in_the_next_process_too() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let with = |script: &[Script]| {
        let mut setup = Setup::default().provider("openai", script).provider("local", &[Script::Answer("floor")]);
        setup.deps.store = Some(Arc::clone(&store));
        setup.build()
    };
    let (first, calls) = with(&[Script::Fail(ErrorKind::ProviderAuth)]);
    first.generate(Request::new("hello")).await.unwrap();
    first.generate(Request::new("hello")).await.unwrap();
    assert_eq!(calls("openai"), 1);
    let (second, calls) = with(&[Script::Answer("mended")]);
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "floor");
    assert_eq!(second.refused().await, [ProviderId::new("openai").unwrap()]);
    assert_eq!(second.generate(asking(None, Some("openai"))).await.unwrap().text(), "mended");
    second.forget_refusals().await.unwrap();
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "mended");
    assert_eq!(calls("openai"), 2);
}

#[tokio::test]
async fn a_refusal_read_from_another_process_ends_at_its_own_time() {
    let clock = Arc::new(llm_router::testing::ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    let with = |script: &[Script]| {
        let mut setup = Setup::default().provider("openai", script).provider("local", &[Script::Answer("floor")]);
        setup.deps.store = Some(Arc::clone(&store));
        setup.deps.clock = Arc::clone(&clock) as _;
        setup.build().0
    };
    with(&[Script::Fail(ErrorKind::ProviderAuth)]).generate(Request::new("hello")).await.unwrap();
    clock.advance(Duration::from_secs(8 * 60));
    let second = with(&[Script::Answer("mended")]);
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "floor");
    clock.advance(Duration::from_secs(2 * 60 + 1));
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "mended");
}

#[tokio::test]
async fn a_record_of_a_refusal_that_cannot_be_so_is_not_believed() {
    let clock = Arc::new(llm_router::testing::ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    let far = [0x7f; 8].to_vec();
    for (provider, record) in [("openai", far), ("lab", Vec::new())] {
        store.put("refused", &format!("{provider}:key-1"), record.into(), None).await.unwrap();
    }
    let mut setup =
        Setup::default().provider("openai", &[Script::Answer("no")]).provider("lab", &[Script::Answer("yes")]);
    setup.deps.store = Some(store);
    setup.deps.clock = Arc::clone(&clock) as _;
    let (router, _) = setup.build();
    assert_eq!(router.refused().await, [ProviderId::new("openai").unwrap()]);
    clock.advance(Duration::from_secs(601));
    assert!(router.refused().await.is_empty());
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
