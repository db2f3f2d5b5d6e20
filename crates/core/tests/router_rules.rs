//! The router's rules that need more than one provider and one answer: routes, hooks, riders, deadlines, the end of the router, the cache's words.
//!
//! Plans, fallback and single-flight are in `router.rs`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::{RouteSettings, Settings};
use llm_router::delta::DeltaStream;
use llm_router::deps::{Hook, RouterDeps, SystemClock};
use llm_router::dialect::{Dialect, RequestHead};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::{Availability, Call, Capabilities, Describe, Provider};
use llm_router::request::{Message, Origin, Request, Substitute};
use llm_router::router::resolve::{Automatic, Door, Entry};
use llm_router::router::{Op, Router};
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::trace::{CacheStatus, Trace};
use llm_router::{Error, ErrorKind, Result};

fn id(id: &str) -> ProviderId {
    ProviderId::new(id).unwrap()
}

fn failing(name: &str, kind: ErrorKind) -> Arc<Scripted> {
    Arc::new(Scripted::new(name, [Turn::Fail(Error::new(kind, "scripted"))]))
}

fn saying(name: &str, text: &str) -> Arc<Scripted> {
    Arc::new(Scripted::text(name, text))
}

fn hanging(name: &str, events: usize) -> Arc<Scripted> {
    let events = text_events("one two three", None).into_iter().take(events).collect();
    Arc::new(Scripted::new(name, [Turn::Hang(events)]))
}

fn router(deps: RouterDeps, settings: Settings, providers: &[&Arc<Scripted>]) -> Router {
    let entries = providers.iter().map(|provider| {
        let provider = Arc::clone(provider);
        Entry::new(Provider::describe(&*provider).id.clone(), provider)
    });
    Router::new(deps, Arc::new(settings), entries.collect())
}

fn plain(providers: &[&Arc<Scripted>]) -> Router {
    router(RouterDeps::default(), Settings::default(), providers)
}

fn cached() -> RouterDeps {
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    deps
}

fn route(groups: &[&[&str]]) -> RouteSettings {
    let mut route = RouteSettings::default();
    route.groups = groups.iter().map(|group| group.iter().map(|&target| target.to_owned()).collect()).collect();
    route
}

fn with_routes(routes: &[(&str, RouteSettings)]) -> Settings {
    let mut settings = Settings::default();
    settings.routes = routes.iter().map(|(name, route)| ((*name).to_owned(), route.clone())).collect();
    settings
}

fn naming(model: &str) -> Request {
    let mut request = Request::new("hello");
    request.model = Some(model.to_owned());
    request
}

/// The models that a provider was asked for.
fn asked(provider: &Scripted) -> Vec<Option<String>> {
    provider.calls().iter().map(|call| call.model().map(str::to_owned)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_route_is_an_ordered_chain_and_may_name_another() {
    let a = failing("a", ErrorKind::ProviderUnavailable);
    let b = failing("b", ErrorKind::ProviderBilling);
    let c = saying("c", "third");
    let d = saying("d", "never");
    let settings =
        with_routes(&[("fast", route(&[&["a/one"], &["inner"], &["d"]])), ("inner", route(&[&["b/x/y", "c"]]))]);
    let router = router(RouterDeps::default(), settings, &[&d, &c, &b, &a]);
    let response = router.generate(naming("fast")).await.unwrap();
    assert_eq!(response.text(), "third");
    let planned: Vec<_> =
        response.trace().unwrap().candidates.iter().map(|candidate| candidate.provider.to_string()).collect();
    assert_eq!(planned, ["a", "b", "c", "d"]);
    assert_eq!((asked(&a), asked(&b)), (vec![Some("one".into())], vec![Some("x/y".into())]));
    assert!(d.calls().is_empty());
}

#[tokio::test]
async fn a_routes_limits_are_those_of_its_own_targets() {
    let (a, b) = (failing("a", ErrorKind::ProviderUnavailable), saying("b", "yes"));
    let mut inner = route(&[&["b"]]);
    inner.timeouts.total = Some(Duration::from_secs(7));
    let mut outer = route(&[&["a"], &["inner"]]);
    outer.timeouts.total = Some(Duration::from_secs(3));
    let settings = with_routes(&[("outer", outer), ("inner", inner)]);
    router(RouterDeps::default(), settings, &[&a, &b]).generate(naming("outer")).await.unwrap();
    let totals = [&a, &b].map(|provider| provider.calls()[0].deadlines.total.as_secs());
    assert_eq!(totals, [3, 7]);
}

#[tokio::test]
async fn routes_that_name_each_other_are_an_error() {
    let settings = with_routes(&[("x", route(&[&["y"]])), ("y", route(&[&["x"]]))]);
    let error = router(RouterDeps::default(), settings, &[]).generate(naming("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest);
    assert!(error.hint().unwrap().contains("config check"));
}

#[tokio::test]
async fn who_wants_no_substitute_gets_the_first_target_or_its_error() {
    let (a, b) = (failing("a", ErrorKind::ProviderUnavailable), saying("b", "other"));
    let mut request = Request::new("hello");
    request.riders.substitute = Substitute::Never;
    let error = plain(&[&a, &b]).generate(request.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.provider().unwrap().as_str()), (ErrorKind::ProviderUnavailable, "a"));
    assert!(b.calls().is_empty());
    // Nor another model of the same provider.
    let own = |describe: Describe| describe.with_default_model(llm_router::ids::ModelName::new("own").unwrap());
    let c = Arc::new(Scripted::new("c", [Turn::Fail(Error::new(ErrorKind::CallerModelUnknown, ""))]).describing(own));
    (request.provider, request.model) = (Some(id("c")), Some("asked".into()));
    let error = plain(&[&c]).generate(request).await.unwrap_err();
    assert_eq!((error.kind(), c.calls().len()), (ErrorKind::CallerModelUnknown, 1));
}

#[tokio::test]
async fn the_configuration_says_the_most_that_may_stand_in_for_what_is_named() {
    let own = |describe: Describe| describe.with_default_model(llm_router::ids::ModelName::new("own").unwrap());
    let ignorant = || {
        let turns = [Turn::Fail(Error::new(ErrorKind::CallerModelUnknown, "")), Turn::Text("own".into())];
        Arc::new(Scripted::new("c", turns).describing(own))
    };
    let answered = async |most: Substitute, fallback: bool, asked: Substitute, door: Door| {
        let c = ignorant();
        let mut settings = Settings::default();
        (settings.router.substitute, settings.router.model_fallback) = (most, fallback);
        let mut request = Request::new("hello");
        (request.provider, request.model) = (Some(id("c")), Some("asked".into()));
        request.riders.substitute = asked;
        router(RouterDeps::default(), settings, &[&c]).call(Op::new(request, door)).await.is_ok()
    };
    use Substitute::{Any, Never, SameModel};
    for (most, fallback, asked, door, answers) in [
        (Any, false, SameModel, Door::Library, false),
        (Any, true, SameModel, Door::Library, true),
        (Any, false, Any, Door::NativeApi, true),
        (Any, true, Never, Door::Library, false),
        (Any, true, Any, Door::CompatibleApi, false),
        (SameModel, true, Any, Door::Library, false),
        (Never, true, Any, Door::Library, false),
    ] {
        assert_eq!(answered(most, fallback, asked, door).await, answers, "{most:?} {fallback} {asked:?} {door:?}");
    }
    // `never` ends every plan after its first target, whatever a request says.
    let (a, b) = (failing("a", ErrorKind::ProviderUnavailable), saying("b", "other"));
    let mut settings = Settings::default();
    settings.router.substitute = Never;
    let mut request = Request::new("hello");
    request.riders.substitute = Any;
    let error = router(RouterDeps::default(), settings, &[&a, &b]).generate(request).await.unwrap_err();
    assert_eq!((error.kind(), b.calls().len()), (ErrorKind::ProviderUnavailable, 0));
}

#[tokio::test]
async fn without_fallback_nobody_follows_the_configured_provider() {
    let (a, floor) = (failing("a", ErrorKind::ProviderUnavailable), saying("local", "floor"));
    let answered = async |fallback: bool| {
        let mut settings = Settings::default();
        (settings.router.provider, settings.router.fallback) = (Some(id("a")), fallback);
        let entries = vec![
            Entry::new(id("a"), Arc::clone(&a) as _),
            Entry { automatic: Automatic::Floor, ..Entry::new(id("local"), Arc::clone(&floor) as _) },
        ];
        Router::new(RouterDeps::default(), Arc::new(settings), entries).generate(Request::new("hello")).await
    };
    assert_eq!(answered(true).await.unwrap().text(), "floor");
    assert_eq!(answered(false).await.unwrap_err().provider(), Some(&id("a")));
}

#[tokio::test]
async fn a_configured_provider_that_is_none_is_named_with_its_setting() {
    let mut settings = Settings::default();
    settings.router.provider = Some(id("opnai"));
    let router = router(RouterDeps::default(), settings, &[&saying("openai", "no")]);
    let error = router.explain(&Request::new("hello"), Door::Command).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest);
    assert!(error.message().contains("router.provider") && error.message().contains("opnai"), "{error}");
    assert!(error.hint().unwrap().contains("did you mean openai?"), "{:?}", error.hint());
}

/// Its models lie in files.
struct Filed(Scripted);

impl Provider for Filed {
    fn describe(&self) -> &Describe {
        Provider::describe(&self.0)
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        Provider::generate(&self.0, call).await
    }

    fn exact_model(&self, model: &ModelName) -> ModelName {
        ModelName::new(format!("{model}@0123")).unwrap()
    }
}

#[tokio::test]
async fn a_provider_of_the_call_itself_keeps_the_same_rules() {
    let own = Arc::new(Filed(Scripted::text("own", "mine")));
    let mut settings = Settings::default();
    settings.router.timeouts.idle = Some(Duration::from_secs(7));
    settings.router.timeouts.total = Some(Duration::from_secs(70));
    let router = router(RouterDeps::default(), settings, &[]);
    let mut request = naming("m");
    request.timeout = Some(Duration::from_secs(9));
    let op = Op::new(request, Door::Library).via(Arc::clone(&own) as _);
    let trace = router.call(op).await.unwrap().collect().await.unwrap().trace().unwrap().clone();
    let call = own.0.calls()[0].clone();
    assert_eq!(call.model(), Some("m@0123"));
    let deadlines = [call.deadlines.idle, call.deadlines.whole, call.deadlines.total].map(|limit| limit.as_secs());
    assert_eq!(deadlines, [7, 9, 9]);
    assert_eq!(trace.candidates.len(), 1);
}

#[tokio::test]
async fn a_remote_tier_is_a_part_of_the_cache_once() {
    let mut deps = cached();
    deps.remote_cache = Some(Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock))));
    let first = router(deps, Settings::default(), &[]);
    let second = router(first.deps().clone(), Settings::default(), &[]);
    let tiers = [&first, &second].map(|router| router.deps().cache.as_ref().unwrap().tiers().len());
    assert_eq!(tiers, [2, 2]);
}

/// Changes what it is told to, and keeps what it sees at the end.
#[derive(Default)]
struct Watch {
    change: Option<fn(&mut Request) -> Result<()>>,
    seen: Mutex<Vec<Trace>>,
}

impl Hook for Watch {
    fn on_request(&self, request: &mut Request) -> Result<()> {
        self.change.map_or(Ok(()), |change| change(request))
    }

    fn on_finish(&self, trace: &Trace) {
        self.seen.lock().unwrap().push(trace.clone());
    }
}

impl Watch {
    fn on(change: Option<fn(&mut Request) -> Result<()>>) -> (Arc<Self>, RouterDeps) {
        let watch = Arc::new(Self { change, seen: Mutex::default() });
        let mut deps = RouterDeps::default();
        deps.hooks = vec![Arc::clone(&watch) as Arc<dyn Hook>];
        (watch, deps)
    }

    fn errors(&self) -> Vec<Option<ErrorKind>> {
        self.seen.lock().unwrap().iter().map(|trace| trace.error.as_ref().map(Error::kind)).collect()
    }
}

fn received() -> Request {
    let mut request = Request::new("my number is 4111");
    let head = RequestHead::post("/v1/chat/completions");
    request.origin = Some(Arc::new(Origin::new(Dialect::OpenaiChat, head, Bytes::from_static(b"my number is 4111"))));
    request
}

#[tokio::test]
async fn what_a_hook_takes_out_does_not_go_out_with_the_body_as_received() {
    let a = saying("a", "ok");
    let (_, deps) = Watch::on(Some(|request| {
        request.messages = vec![Message::user("my number is ****")];
        Ok(())
    }));
    router(deps, Settings::default(), &[&a]).generate(received()).await.unwrap();
    let sent = a.calls()[0].request.clone();
    assert_eq!((sent.plain_prompt(), sent.origin.is_none()), (Some("my number is ****"), true));
    // One that only looks, or names another model, leaves the body to be passed on.
    for change in [
        None,
        Some(
            (|request| {
                request.model = Some("a/m".into());
                Ok(())
            }) as fn(&mut Request) -> Result<()>,
        ),
    ] {
        let (_, deps) = Watch::on(change);
        router(deps, Settings::default(), &[&a]).generate(received()).await.unwrap();
        assert!(a.calls().last().unwrap().request.origin.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_hear_of_every_end_with_its_reason() {
    let (watch, deps) = Watch::on(None);
    let (good, bad) = (saying("good", "ok"), failing("bad", ErrorKind::ProviderBilling));
    let half = text_events("one two", None).into_iter().take(2).map(Ok);
    let breaks = half.chain([Err(Error::connection("gone"))]).collect();
    let breaks = Arc::new(Scripted::new("breaks", [Turn::Events(breaks)]));
    let slow = hanging("slow", 0);
    let router = router(deps, Settings::default(), &[&good, &bad, &breaks, &slow]);
    router.generate(naming("good/m")).await.unwrap();
    router.generate(naming("bad/m")).await.unwrap_err();
    router.generate(naming("nobody-serves-this")).await.unwrap_err();
    router.generate(naming("breaks/m")).await.unwrap_err();
    drop(router.call(naming("good/m")).await.unwrap());
    assert!(tokio::time::timeout(Duration::from_secs(1), router.call(naming("slow/m"))).await.is_err());
    let kinds = [
        None,
        Some(ErrorKind::ProviderBilling),
        Some(ErrorKind::CallerModelUnknown),
        Some(ErrorKind::ProviderConnection),
        Some(ErrorKind::CallerCancelled),
        Some(ErrorKind::CallerCancelled),
    ];
    assert_eq!(watch.errors(), kinds);
}

#[tokio::test]
async fn a_hook_that_refuses_keeps_everybody_from_seeing_the_request() {
    let a = saying("a", "ok");
    let (watch, deps) = Watch::on(Some(|_| Err(Error::new(ErrorKind::PolicyForbidden, "not this"))));
    let error = router(deps, Settings::default(), &[&a]).generate(Request::new("hello")).await.unwrap_err();
    assert_eq!((error.kind(), a.calls().len()), (ErrorKind::PolicyForbidden, 0));
    assert_eq!(watch.errors(), [Some(ErrorKind::PolicyForbidden)]);
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_holds_for_all_targets_together() {
    let (a, b) = (hanging("a", 0), hanging("b", 0));
    let mut settings = Settings::default();
    settings.router.timeouts.total = Some(Duration::from_secs(4));
    let router = router(RouterDeps::default(), settings, &[&a, &b]);
    // The targets' own limit lets the next one have its turn.
    let began = tokio::time::Instant::now();
    let error = router.generate(Request::new("hello")).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::ProviderTimeout, 8));
    let mut request = Request::new("hello");
    request.timeout = Some(Duration::from_secs(3));
    let began = tokio::time::Instant::now();
    let error = router.generate(request).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::ProviderTimeout, 3));
    assert_eq!((a.live(), b.live()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_routers_end_cancels_what_waits_and_what_streams() {
    let (waits, streams) = (hanging("waits", 0), hanging("streams", 2));
    let deps = RouterDeps::default();
    let router = router(deps.clone(), Settings::default(), &[&waits, &streams]);
    let mut answer = router.call(naming("streams/m")).await.unwrap();
    let other = router.clone();
    let waiting = tokio::spawn(async move { other.generate(naming("waits/m")).await });
    while waits.live() == 0 {
        tokio::task::yield_now().await;
    }
    let (ended, ()) = futures_util::future::join(waiting, deps.shut_down()).await;
    assert_eq!(ended.unwrap().unwrap_err().kind(), ErrorKind::RouterUnavailable);
    let last = loop {
        match answer.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(last.kind(), ErrorKind::RouterUnavailable);
    assert_eq!((waits.live(), streams.live()), (0, 0));
    assert!(streams.calls()[0].cx.cancel.is_cancelled());
}

#[tokio::test]
async fn a_provider_of_the_call_itself_is_the_only_one_asked() {
    let (configured, own) = (saying("configured", "no"), failing("own", ErrorKind::ProviderUnavailable));
    let router = plain(&[&configured]);
    let op = |provider: &Arc<Scripted>| Op::new(naming("any/name"), Door::Library).via(Arc::clone(provider) as _);
    assert_eq!(router.call(op(&own)).await.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
    let own = saying("own", "mine");
    let response = router.call(op(&own)).await.unwrap().collect().await.unwrap();
    assert_eq!((response.text().as_str(), asked(&own)), ("mine", vec![Some("any/name".into())]));
    let missing = Arc::new(Scripted::text("own", "").available(Availability::missing("no key", "add one")));
    assert_eq!(router.call(op(&missing)).await.unwrap_err().hint(), Some("add one"));
    assert!(configured.calls().is_empty());
}

#[tokio::test]
async fn only_if_cached_looks_at_every_target_and_asks_nobody() {
    let (a, b) = (saying("a", "from a"), saying("b", "from b"));
    let router = router(cached(), Settings::default(), &[&a, &b]);
    let mut stored = Request::new("hello");
    stored.provider = Some(id("b"));
    router.generate(stored).await.unwrap();
    let mut request = Request::new("hello");
    request.cache.only_if_cached = true;
    let response = router.generate(request.clone()).await.unwrap();
    assert_eq!((response.text().as_str(), response.trace().unwrap().cache), ("from b", CacheStatus::Hit));
    request.messages = vec![Message::user("never asked")];
    let error = router.generate(request).await.unwrap_err();
    assert!(error.hint().unwrap().contains("only-if-cached"), "{error}");
    assert_eq!((a.calls().len(), b.calls().len()), (0, 1));
}

#[tokio::test]
async fn an_answer_older_than_the_request_allows_is_asked_for_anew() {
    let clock = Arc::new(llm_router::testing::ManualClock::default());
    let a = saying("a", "text");
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::clone(&clock) as _));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::clone(&clock) as _, true));
    deps.clock = Arc::clone(&clock) as _;
    let router = router(deps, Settings::default(), &[&a]);
    let mut request = Request::new("hello");
    request.cache.max_age = Some(Duration::from_secs(60));
    for (advance, status) in
        [(0, CacheStatus::Miss), (59, CacheStatus::Hit), (2, CacheStatus::Miss), (1, CacheStatus::Hit)]
    {
        clock.advance(Duration::from_secs(advance));
        let response = router.generate(request.clone()).await.unwrap();
        assert_eq!(response.trace().unwrap().cache, status, "after {advance} s more");
    }
    assert_eq!(a.calls().len(), 2);
}

/// Cannot say what it is asked.
struct Terse(Describe);

impl Provider for Terse {
    fn describe(&self) -> &Describe {
        &self.0
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        call.note_dropped(["logit_bias".into()])?;
        Ok(DeltaStream::of(text_events("ok", None).into_iter().map(Ok)))
    }
}

#[tokio::test]
async fn what_could_not_be_said_is_named_in_the_trace() {
    let terse = Arc::new(Terse(Describe::new(id("terse")).with_capabilities(Capabilities::ALL)));
    let router = Router::new(RouterDeps::default(), Arc::default(), vec![Entry::new(id("terse"), terse)]);
    let response = router.generate(Request::new("hello")).await.unwrap();
    let dropped: Vec<String> = response.trace().unwrap().dropped.iter().map(ToString::to_string).collect();
    assert_eq!(dropped, ["logit_bias"]);
}
