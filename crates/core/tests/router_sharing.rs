//! Equal requests that share one call: each with its own patience and its own plan.
//!
//! What is stored is in `router.rs`; how listeners read one stream, in `cache/flight.rs`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::Settings;
use llm_router::delta::Event;
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::ProviderId;
use llm_router::limits::bank::SPACE;
use llm_router::limits::key::{KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::pricing::{Price, Prices};
use llm_router::provider::Provider;
use llm_router::request::Request;
use llm_router::router::resolve::{Door, Entry};
use llm_router::router::{Op, Router};
use llm_router::store::{Change, MemoryStore, Scan, Store, StoreResult};
use llm_router::testing::ManualClock;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::trace::CacheStatus;
use llm_router::{Error, ErrorKind, Result};
use tokio::time::Instant;

fn router(providers: &[&Arc<Scripted>], change: impl FnOnce(&mut Settings)) -> Router {
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    let mut settings = Settings::default();
    change(&mut settings);
    let entry = |provider: &&Arc<Scripted>| Entry::new(provider.describe().id.clone(), Arc::clone(provider) as _);
    Router::new(deps, Arc::new(settings), providers.iter().map(entry).collect())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Says four words, an event each second: the first word at the second one.
fn slow(id: &str) -> Arc<Scripted> {
    let events: Vec<Result<Event>> = text_events("one two three four", None).into_iter().map(Ok).collect();
    Arc::new(Scripted::new(id, [Turn::Slow(seconds(1), events)]))
}

/// Fails a second after it was asked, then answers.
fn failing(id: &str, error: Error) -> Arc<Scripted> {
    Arc::new(Scripted::new(id, [Turn::Slow(seconds(1), vec![Err(error)]), Turn::Text("at last".into())]))
}

fn asking(timeout: Option<u64>) -> Request {
    let mut request = Request::new("hello");
    request.timeout = timeout.map(seconds);
    request
}

fn of(id: &str) -> Request {
    let mut request = Request::new("hello");
    request.provider = Some(ProviderId::new(id).unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn who_began_a_call_in_a_hurry_leaves_it_to_the_patient() {
    let a = slow("a");
    let router = router(&[&a], |_| ());
    let began = Instant::now();
    let hurried = async {
        let error = router.generate(asking(Some(1))).await.unwrap_err();
        (error.kind(), began.elapsed())
    };
    let (hurried, patient) = join(hurried, router.generate(asking(None))).await;
    assert_eq!(hurried, (ErrorKind::ProviderTimeout, seconds(1)));
    let patient = patient.unwrap();
    assert_eq!((patient.text().as_str(), a.calls().len()), ("one two three four", 1));
    assert_eq!(patient.trace().unwrap().cache, CacheStatus::Coalesced);
    assert_eq!(a.calls()[0].deadlines.total, seconds(600), "nobody's hurry is the call's");
}

#[tokio::test(start_paused = true)]
async fn who_joins_in_a_hurry_leaves_at_its_own_time_also_after_the_first_content() {
    let a = slow("a");
    let router = router(&[&a], |_| ());
    let (patient, hurried) = join(router.generate(asking(None)), router.generate(asking(Some(3)))).await;
    assert_eq!(patient.unwrap().text(), "one two three four");
    let error = hurried.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert!(error.message().contains("not complete after 3 s"), "{error}");
    assert_eq!((a.calls().len(), a.live()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_content_sends_each_on_with_its_own_plan() {
    let a = failing("a", Error::new(ErrorKind::ProviderBilling, "pay first"));
    let b = slow("b");
    let router = router(&[&a, &b], |_| ());
    let (first, second) = join(router.generate(asking(None)), router.generate(asking(None))).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.text(), second.text()), ("one two three four".into(), "one two three four".into()));
    assert_eq!((a.calls().len(), b.calls().len()), (1, 1));
    let statuses = [&first, &second].map(|response| response.trace().unwrap().cache);
    assert_eq!(statuses, [CacheStatus::Miss, CacheStatus::Coalesced]);
    for response in [first, second] {
        let failed = &response.trace().unwrap().attempts[0];
        let kind = failed.error.as_ref().map(Error::kind);
        assert_eq!((failed.provider.as_str(), kind), ("a", Some(ErrorKind::ProviderBilling)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_other_target_does_not_share_the_haste_of_one_who_has() {
    let limited = Error::new(ErrorKind::ProviderRateLimited, "slowly").with_retry_after(seconds(2));
    let a = failing("a", limited);
    let b = slow("b");
    // Else an automatic plan would wait less for a connection, and share no call for that alone.
    let router = router(&[&a, &b], |settings| settings.router.timeouts.connect = Some(seconds(5)));
    let (any, named) = join(router.generate(asking(None)), router.generate(of("a"))).await;
    assert_eq!((any.unwrap().text(), named.unwrap().text()), ("one two three four".into(), "at last".into()));
    assert_eq!(a.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_the_first_content_is_everybodys() {
    let half = text_events("one two", None).into_iter().take(2).map(Ok).chain([Err(Error::connection("gone"))]);
    let a = Arc::new(Scripted::new("a", [Turn::Slow(seconds(1), half.collect())]));
    let b = slow("b");
    let router = router(&[&a, &b], |_| ());
    let (first, second) = join(router.generate(asking(None)), router.generate(asking(None))).await;
    let kinds = [first, second].map(|outcome| outcome.unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::ProviderConnection; 2]);
    assert_eq!((a.calls().len(), b.calls().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_route_with_limits_of_its_own_makes_a_call_of_its_own() {
    let a = slow("a");
    let router = router(&[&a], |settings| {
        let mut brief = llm_router::config::RouteSettings::default();
        brief.groups = vec![vec!["a".into()]];
        brief.timeouts.total = Some(seconds(1));
        settings.routes.insert("brief".into(), brief);
    });
    let mut brief = Request::new("hello");
    brief.model = Some("brief".into());
    let (brief, plain) = join(router.generate(brief), router.generate(of("a"))).await;
    assert_eq!(brief.unwrap_err().kind(), ErrorKind::ProviderTimeout);
    assert_eq!(plain.unwrap().text(), "one two three four");
    assert_eq!(a.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_allows_less_shares_no_call_with_who_allows_more() {
    let a = slow("a");
    let router = router(&[&a], |_| ());
    let mut discreet = of("a");
    discreet.riders.substitute = llm_router::request::Substitute::Never;
    let (open, discreet) = join(router.generate(of("a")), router.generate(discreet)).await;
    assert_eq!(
        (open.unwrap().text(), discreet.unwrap().text()),
        ("one two three four".into(), "one two three four".into())
    );
    // What a call passes on to a peer is one caller's word, and must be both's.
    assert_eq!(a.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_record_of_one_who_left_a_shared_call_is_closed_at_once() {
    let a = slow("a");
    let router = router(&[&a], |_| ());
    let mut patient = Box::pin(router.generate(asking(None)));
    {
        let hurried = router.generate(asking(Some(1)));
        tokio::pin!(hurried);
        assert!(futures_util::poll!(&mut hurried).is_pending());
        assert!(futures_util::poll!(&mut patient).is_pending());
        assert_eq!(hurried.await.unwrap_err().kind(), ErrorKind::ProviderTimeout);
    }
    assert_eq!((a.calls().len(), a.live()), (1, 1), "the call goes on for the other one");
    let id = a.calls()[0].cx.id.clone();
    let trace = router.trace(&id).unwrap();
    assert_eq!(trace.error.as_ref().map(Error::kind), Some(ErrorKind::ProviderTimeout));
    assert_eq!(trace.attempts.len(), 1);
    assert_eq!(patient.await.unwrap().text(), "one two three four");
}

/// A store that takes a second to say what is in its books.
#[derive(Debug)]
struct SlowBooks(MemoryStore);

impl Store for SlowBooks {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        async move {
            if space == SPACE {
                tokio::time::sleep(seconds(1)).await;
            }
            self.0.get(space, key).await
        }
        .boxed()
    }
    fn put<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        value: Bytes,
        expires: Option<std::time::SystemTime>,
    ) -> StoreResult<'a, ()> {
        self.0.put(space, key, value, expires)
    }
    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        self.0.remove(space, key)
    }
    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        self.0.compare_and_set(space, key, change)
    }
    fn increment<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        by: i64,
        expires: Option<std::time::SystemTime>,
    ) -> StoreResult<'a, i64> {
        self.0.increment(space, key, by, expires)
    }
    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        self.0.scan(space, range)
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_first_ones_key_may_not_spend_the_second_one_may() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(SlowBooks(MemoryStore::new(clock.clone())));
    let keyring = Keyring::new(store, Seal::new(|| Ok([3; 32])), clock.clone(), Scope::Global, []);
    let holder = async |name: &str, budget: Option<u64>| {
        let mut spec = KeySpec::new(name);
        spec.limits.budget = budget;
        let (_, key) = keyring.create(spec, "tests").await.unwrap();
        keyring.find(key.expose()).unwrap().unwrap()
    };
    let (poor, rich) = (holder("poor", Some(1)).await, holder("rich", None).await);
    let provider = slow("s");
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    let mut price = Price::default();
    price.output = 1_000_000_000;
    deps.prices = Arc::new(Prices::default().with([("s/m", price)]));
    let entry = Entry::new(provider.describe().id.clone(), Arc::clone(&provider) as _);
    let router = Router::new(deps, Arc::new(Settings::default()), vec![entry]);
    let op = |holder| {
        let mut request = Request::new("hello");
        request.model = Some("s/m".to_owned());
        request.sampling.max_tokens = Some(9);
        Op::new(request, Door::Library).within(Some(holder))
    };
    let (first, second) = join(router.call(op(poor)), router.call(op(rich))).await;
    assert_eq!(first.unwrap_err().kind(), ErrorKind::PolicyBudgetExceeded);
    assert_eq!(second.unwrap().collect().await.unwrap().text(), "one two three four");
    assert_eq!(provider.calls().len(), 1);
}
