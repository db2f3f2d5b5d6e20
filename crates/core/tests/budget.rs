//! Money and tokens from the router's public door: set aside before each attempt, settled however it ends, and never more than the cap.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache};
use llm_router::config::{RouteSettings, Settings};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::limits::key::{KeyRecord, KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::limits::{Holder, Limits};
use llm_router::pricing::{Price, Prices};
use llm_router::provider::Provider;
use llm_router::request::{Hold, Request, Resume};
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router, RouterBuilder};
use llm_router::store::MemoryStore;
use llm_router::testing::ManualClock;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::{Error, ErrorKind};
use tokio::time::Instant;

/// A key with a budget, and a router whose provider `s` takes a tenth of a cent for each token of its answer and nothing for the prompt.
struct World {
    router: Router,
    keyring: Keyring,
    holder: Arc<Holder>,
    record: KeyRecord,
}

impl World {
    async fn new(provider: impl Provider, change: impl FnOnce(&mut Limits)) -> Self {
        Self::built(|builder| builder.provider(provider), change).await
    }

    async fn built(build: impl FnOnce(RouterBuilder) -> RouterBuilder, change: impl FnOnce(&mut Limits)) -> Self {
        Self::storing(build, change, None).await
    }

    async fn storing(
        build: impl FnOnce(RouterBuilder) -> RouterBuilder,
        change: impl FnOnce(&mut Limits),
        cache: Option<ResponseCache>,
    ) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let keyring = Keyring::new(store.clone(), Seal::new(|| Ok([3; 32])), clock.clone(), Scope::Key, []);
        let mut spec = KeySpec::new("k");
        change(&mut spec.limits);
        let (record, key) = keyring.create(spec, "tests").await.unwrap();
        let holder = keyring.find(key.expose()).unwrap().unwrap();
        let mut deps = RouterDeps::default();
        let mut price = Price::default();
        price.output = 1_000_000_000;
        deps.prices = Arc::new(Prices::default().with([("s/m", price.clone()), ("t/m", price)]));
        deps.clock = clock;
        deps.cache = cache;
        deps.store = Some(store);
        deps.keyring = Some(keyring.clone());
        let router = build(Router::builder()).deps(deps).build().unwrap();
        Self { router, keyring, holder, record }
    }

    fn op(&self, model: &str, max_tokens: Option<u32>) -> Op {
        let mut request = Request::new("hi");
        request.model = Some(model.to_owned());
        request.sampling.max_tokens = max_tokens;
        Op::new(request, Door::Library).within(Some(Arc::clone(&self.holder)))
    }

    /// Tokens that the last minute counts.
    fn tokens(&self) -> u64 {
        let standing = self.holder.standings(Instant::now()).tokens.unwrap();
        standing.limit - standing.remaining
    }

    /// What the books say once nothing is held any more.
    async fn counted(&self) -> u64 {
        self.keyring.settle_up().await.unwrap();
        self.keyring.drawn(&self.record).await.unwrap()[0].1
    }
}

fn a_dollar(limits: &mut Limits) {
    limits.budget_per_day = Some(1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_dollar_is_never_overspent_by_two_hundred_at_once_and_the_ledger_is_the_counter() {
    let slow = text_events("one two three four five", None).into_iter().map(Ok).collect();
    let world = Arc::new(World::new(Scripted::new("s", [Turn::Slow(Duration::from_millis(7), slow)]), a_dollar).await);
    let tasks: Vec<_> = (0..200)
        .map(|at| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut ledger = 0;
                for _ in 0..3 {
                    let answered = match world.router.call(world.op("s/m", Some(5 + at % 7))).await {
                        Ok(answer) => answer.collect().await,
                        Err(error) => Err(error),
                    };
                    match answered {
                        Ok(response) => ledger += response.usage.unwrap().output * 1_000,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded, "{error}"),
                    }
                }
                ledger
            })
        })
        .collect();
    let mut ledger = 0;
    for task in tasks {
        ledger += task.await.unwrap();
    }
    assert!((900_000..=1_000_000).contains(&ledger), "{ledger}");
    assert_eq!(world.counted().await, ledger);
    let error = world.router.call(world.op("s/m", Some(1_000))).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(86_400)), "until the next day of UTC");
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_pays_for_what_may_have_been_made() {
    let begun = text_events("one two three four five", None).into_iter().take(3).collect();
    let turns = [
        Turn::Hang(begun),
        Turn::Hang(Vec::new()),
        Turn::Fail(Error::new(ErrorKind::ProviderUnavailable, "down")),
        Turn::Text("one two".into()),
    ];
    let world = World::new(Scripted::new("s", turns), a_dollar).await;
    let mut answer = world.router.call(world.op("s/m", Some(50))).await.unwrap();
    for _ in 0..3 {
        answer.next().await.unwrap().unwrap();
    }
    drop(answer);
    assert_eq!(world.counted().await, 2_000, "two words were seen");
    let waiting = world.router.call(world.op("s/m", Some(50)));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
    assert_eq!(world.counted().await, 52_000, "nothing was seen, and all may have been made");
    assert!(world.router.call(world.op("s/m", Some(50))).await.is_err());
    assert_eq!(world.counted().await, 52_000, "a failure is no answer");
    world.router.call(world.op("s/m", Some(50))).await.unwrap().collect().await.unwrap();
    assert_eq!(world.counted().await, 54_000, "what it cost, and not what was set aside");
}

/// Two words of an answer, then a broken connection; then all of it.
fn broken_then_whole() -> [Turn; 2] {
    let half = text_events("one two three", None).into_iter().take(3).map(Ok);
    [Turn::Events(half.chain([Err(Error::connection("reset"))]).collect()), Turn::Text("one two three".into())]
}

#[tokio::test(start_paused = true)]
async fn every_attempt_at_an_answer_that_is_held_back_or_gone_on_with_is_paid_for() {
    for (hold, resume) in [(Some(Hold::Whole), None), (None, Some(Resume::Restart))] {
        let world = World::new(Scripted::new("s", broken_then_whole()), a_dollar).await;
        let mut op = world.op("s/m", Some(50));
        (op.request.riders.hold, op.request.riders.resume, op.request.stream) = (hold, resume, true);
        let response = world.router.call(op).await.unwrap().collect().await.unwrap();
        assert_eq!(response.text(), "one two three");
        assert_eq!(world.counted().await, 5_000, "two words that were cut off, and three");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_price_is_refused_unless_allowed_and_no_limit_is_left_open() {
    let provider = Arc::new(Scripted::text("s", "hello"));
    let world = World::new(Shared(Arc::clone(&provider)), a_dollar).await;
    let error = world.router.call(world.op("s/other", None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyForbidden);
    assert!(error.message().contains("s/other") && error.hint().unwrap().contains("[prices."), "{error}");
    assert!(provider.calls().is_empty(), "nobody was asked");
    let error = world.router.call(world.op("s/m", None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded, "4,096 tokens are more than a dollar");
    assert!(provider.calls().is_empty());

    let world = World::new(Shared(Arc::clone(&provider)), |limits| {
        a_dollar(limits);
        limits.budget_per_day = Some(9_000_000);
        limits.unpriced = true;
    })
    .await;
    world.router.call(world.op("s/other", None)).await.unwrap().collect().await.unwrap();
    assert_eq!(world.counted().await, 0);
    assert_eq!(provider.calls()[0].request.sampling.max_tokens, Some(4096), "what was set aside is sent");
}

/// A provider that the test looks at, too.
struct Shared(Arc<Scripted>);

impl Provider for Shared {
    fn describe(&self) -> &llm_router::provider::Describe {
        Provider::describe(&*self.0)
    }

    fn availability(&self) -> llm_router::provider::Availability {
        Provider::availability(&*self.0)
    }

    async fn generate(
        &self,
        call: Arc<llm_router::provider::Call>,
    ) -> llm_router::Result<llm_router::delta::DeltaStream> {
        Provider::generate(&*self.0, call).await
    }
}

#[tokio::test(start_paused = true)]
async fn both_who_were_asked_at_once_are_paid_for() {
    let (late, quick) = (Scripted::new("s", [Turn::Hang(Vec::new())]), Scripted::text("t", "one two"));
    let world = World::built(|builder| builder.settings(hedging()).provider(late).provider(quick), a_dollar).await;
    let response = world.router.call(world.op("r", Some(10))).await.unwrap().collect().await.unwrap();
    assert_eq!(response.text(), "one two");
    // Two tokens of the winner's; of the loser nobody saw anything, so that all that was set aside for it is spent.
    assert_eq!(world.counted().await, 2_000 + 10_000);
}

/// A route that asks `t` beside `s` where `s` is late.
fn hedging() -> Settings {
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["s/m".into()], vec!["t/m".into()]];
    (route.hedge, route.hedge_percent) = (true, 100);
    let mut settings = Settings::default();
    settings.routes.insert("r".into(), route);
    settings
}

#[tokio::test(start_paused = true)]
async fn a_stored_answer_costs_nothing_and_forgives_nothing() {
    let memory = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    let cache = ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true);
    let (late, quick) = (Scripted::new("s", [Turn::Hang(Vec::new())]), Scripted::text("t", "one two"));
    let build = |builder: RouterBuilder| builder.settings(hedging()).provider(late).provider(quick);
    let change = |limits: &mut Limits| {
        a_dollar(limits);
        limits.tokens_per_minute = Some(1_000);
    };
    let world = World::storing(build, change, Some(cache)).await;
    world.router.call(world.op("t/m", Some(10))).await.unwrap().collect().await.unwrap();
    assert_eq!((world.counted().await, world.tokens()), (2_000, 3));
    let stored = world.router.call(world.op("t/m", Some(10))).await.unwrap().collect().await.unwrap();
    assert_eq!(stored.trace().unwrap().cost_micros, Some(0));
    assert_eq!((world.counted().await, world.tokens()), (2_000, 3), "a stored answer takes nothing");
    // The late one is given up for the stored answer of the other, and may have made all that was set aside.
    let response = world.router.call(world.op("r", Some(10))).await.unwrap().collect().await.unwrap();
    let trace = response.trace().unwrap();
    assert_eq!((trace.cache.as_str(), trace.cost_micros), ("hit", Some(10_000)));
    assert_eq!(world.counted().await, 12_000);
    assert!(world.tokens() > 10, "{}", world.tokens());
}

#[tokio::test(start_paused = true)]
async fn tokens_a_minute_count_every_call_of_a_request() {
    let limited = |limits: &mut Limits| limits.tokens_per_minute = Some(1_000);
    // The prompt is thought to have five tokens, and is said to have one. Cut off after two words, and made again.
    let world = World::new(Scripted::new("s", broken_then_whole()), limited).await;
    let mut op = world.op("s/m", Some(50));
    (op.request.riders.hold, op.request.stream) = (Some(Hold::Whole), true);
    world.router.call(op).await.unwrap().collect().await.unwrap();
    assert_eq!(world.tokens(), (5 + 2) + (1 + 3));

    // Given up for another one without a word: all that was thought of it.
    let (late, quick) = (Scripted::new("s", [Turn::Hang(Vec::new())]), Scripted::text("t", "one two"));
    let world = World::built(|builder| builder.settings(hedging()).provider(late).provider(quick), limited).await;
    world.router.call(world.op("r", Some(50))).await.unwrap().collect().await.unwrap();
    assert_eq!(world.tokens(), (5 + 50) + (1 + 2));

    // What failed before it began took nothing, and neither does counting.
    let down = Turn::Fail(Error::new(ErrorKind::ProviderServerError, "down"));
    let world = World::new(Scripted::new("s", [down, Turn::Text("one two".into())]), limited).await;
    world.router.call(world.op("s/m", Some(50))).await.unwrap().collect().await.unwrap();
    assert_eq!(world.tokens(), 3);

    // Who leaves in the middle took what was seen of the answer.
    let begun = text_events("one two three four", None).into_iter().take(3).collect();
    let world = World::new(Scripted::new("s", [Turn::Hang(begun)]), limited).await;
    let mut answer = world.router.call(world.op("s/m", Some(50))).await.unwrap();
    for _ in 0..3 {
        answer.next().await.unwrap().unwrap();
    }
    drop(answer);
    assert_eq!(world.tokens(), 5 + 2);
}
