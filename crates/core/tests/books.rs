//! The books from the router's public door: after every kind of end the money in them is the money that the budgets count.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join;
use llm_router::books::{Books, Query, Report, Tally};
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::{RouteSettings, Settings};
use llm_router::delta::Delta;
use llm_router::deps::RouterDeps;
use llm_router::limits::grant::{Caveats, derive};
use llm_router::limits::key::{KeyRecord, KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::limits::{Holder, Limits};
use llm_router::pricing::{Price, Prices};
use llm_router::request::Request;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};
use llm_router::secret::Secret;
use llm_router::store::{MemoryStore, Store};
use llm_router::testing::ManualClock;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router::usage::Usage;
use llm_router::{Error, ErrorKind};

/// A key with a budget, and a router whose providers `s` and `t` take a tenth of a cent for each token of an answer and nothing for the prompt.
struct World {
    router: Router,
    keyring: Keyring,
    holder: Arc<Holder>,
    key: Secret,
    record: KeyRecord,
}

impl World {
    async fn new(providers: impl IntoIterator<Item = Scripted>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let mut team = Limits::default();
        team.budget_per_month = Some(90_000_000);
        team.unpriced = true;
        let teams = [("lab".to_owned(), team)];
        let keyring = Keyring::new(store.clone(), Seal::new(|| Ok([3; 32])), clock.clone(), Scope::Key, teams);
        let mut spec = KeySpec::new("k");
        spec.team = Some("lab".to_owned());
        spec.limits.budget_per_day = Some(9_000_000);
        spec.limits.unpriced = true;
        let (record, key) = keyring.create(spec, "tests").await.unwrap();
        let holder = keyring.find(key.expose()).unwrap().unwrap();
        let mut deps = RouterDeps::default();
        let mut price = Price::default();
        price.output = 1_000_000_000;
        deps.prices = Arc::new(Prices::default().with([("s/m", price.clone()), ("t/m", price)]));
        let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, clock.clone()));
        deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), clock.clone(), false));
        deps.clock = clock;
        deps.store = Some(store);
        deps.keyring = Some(keyring.clone());
        let mut settings = Settings::default();
        let mut route = RouteSettings::default();
        route.groups = vec![vec!["s/m".to_owned()], vec!["t/m".to_owned()]];
        settings.routes.insert("both".to_owned(), route);
        let builder = providers.into_iter().fold(Router::builder(), |builder, provider| builder.provider(provider));
        let router = builder.deps(deps).settings(settings).build().unwrap();
        Self { router, keyring, holder, key, record }
    }

    fn op(&self, model: &str) -> Op {
        let mut request = Request::new("hi");
        request.model = Some(model.to_owned());
        request.sampling.max_tokens = Some(50);
        self.of(request)
    }

    fn of(&self, request: Request) -> Op {
        let holder = Arc::clone(&self.holder);
        Op::new(request, Door::Library).for_client(Some(Arc::clone(holder.name()))).within(Some(holder))
    }

    fn books(&self) -> &Books {
        self.router.deps().books.as_ref().unwrap()
    }

    async fn report(&self, by: &str) -> Report {
        let today = llm_router::books::Day::of(self.router.deps().clock.now());
        self.books().report(&Query::parse(today, Some(by), None, None).unwrap()).await.unwrap()
    }

    /// The sums of the key, which are those of its budget and of its team's.
    async fn sums(&self) -> Tally {
        self.keyring.settle_up().await.unwrap();
        let drawn = self.keyring.drawn(&self.record).await.unwrap()[0].1;
        let team = self.keyring.team("lab").unwrap().drawn(self.router.deps().clock.now()).await.unwrap()[0].1;
        let report = self.report("key,team").await;
        assert_eq!(report.rows.len(), 1, "{report:?}");
        assert_eq!(report.rows[0].key.as_deref(), Some(self.holder.name().as_ref()));
        assert_eq!(report.rows[0].team.as_deref(), Some("lab"));
        assert_eq!((drawn, team), (report.total.cost_micros, report.total.cost_micros), "the books are the counters");
        report.total
    }
}

fn of(change: impl FnOnce(&mut Tally)) -> Tally {
    let mut tally = Tally::default();
    change(&mut tally);
    tally
}

/// An answer whose provider tells these counts, or none.
fn words(text: &str, usage: Option<Usage>) -> Turn {
    let events = text_events(text, None).into_iter().map(|mut event| {
        event.deltas.retain(|delta| usage.is_some() || !matches!(delta, Delta::Usage(_)));
        for delta in &mut event.deltas {
            if let (Delta::Usage(told), Some(usage)) = (delta, usage) {
                *told = usage;
            }
        }
        Ok(event)
    });
    Turn::Events(events.collect())
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_counted_by_kind_of_token_and_told_in_its_trace() {
    let mut usage = Usage::new(100, 7);
    (usage.cache_read, usage.reasoning, usage.cache_write) = (40, 3, 20);
    let world = World::new([Scripted::new("s", [words("one two", Some(usage)), words("one two three", None)])]).await;
    let response = world.router.call(world.op("s/m")).await.unwrap().collect().await.unwrap();
    assert_eq!(response.trace().unwrap().cost(), Some(7_000));
    let expected = of(|t| {
        (t.requests, t.input_tokens, t.output_tokens, t.cost_micros) = (1, 100, 7, 7_000);
        (t.cache_read_tokens, t.reasoning_tokens, t.cache_write_tokens) = (40, 3, 20);
    });
    assert_eq!(world.sums().await, expected);
    // A provider that tells nothing: estimated, and said so.
    let response = world.router.call(world.op("s/m")).await.unwrap().collect().await.unwrap();
    let told = response.trace().unwrap().usage.unwrap();
    assert!(told.estimated && told.output > 0, "{told:?}");
    let sums = world.sums().await;
    assert_eq!((sums.requests, sums.estimated, sums.output_tokens), (2, 1, 7 + told.output));
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_end_leaves_the_books_and_the_budgets_alike() {
    let begun: Vec<_> = text_events("one two three four five", None).into_iter().take(3).collect();
    let cut = begun.iter().cloned().map(Ok).chain([Err(Error::new(ErrorKind::ProviderConnection, "cut"))]).collect();
    let down = || Turn::Fail(Error::new(ErrorKind::ProviderServerError, "down"));
    let turns = [
        Turn::Hang(begun),
        Turn::Hang(Vec::new()),
        Turn::Events(cut),
        down(),
        down(),
        down(),
        Turn::Fail(Error::new(ErrorKind::ProviderTimeout, "late")),
        Turn::Text("one two".into()),
    ];
    let other = Scripted::new("t", [Turn::Text("one".into())]);
    let world = World::new([Scripted::new("s", turns), other]).await;

    // The caller leaves in the middle.
    let mut answer = world.router.call(world.op("s/m")).await.unwrap();
    for _ in 0..3 {
        answer.next().await.unwrap().unwrap();
    }
    drop(answer);
    let left = world.sums().await;
    assert_eq!((left.requests, left.failed, left.estimated, left.cost_micros), (1, 1, 1, 2_000));
    // And before anything came: all that was set aside.
    let waiting = world.router.call(world.op("s/m"));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
    assert_eq!(world.sums().await.cost_micros, 52_000);
    // The answer breaks after its first words.
    let broken = world.router.call(world.op("s/m")).await.unwrap().collect().await;
    assert_eq!(broken.unwrap_err().kind(), ErrorKind::ProviderConnection);
    assert_eq!(world.sums().await.cost_micros, 54_000);
    // Failures are no answers; the one that carries on is paid.
    let response = world.router.call(world.op("both")).await.unwrap().collect().await.unwrap();
    assert_eq!(response.trace().unwrap().served.as_ref().unwrap().provider, "t");
    assert_eq!(world.sums().await.cost_micros, 55_000);
    // Who timed out may have worked.
    world.router.close_breakers();
    let late = world.router.call(world.op("both")).await.unwrap().collect().await.unwrap();
    assert_eq!(late.trace().unwrap().cost(), Some(51_000), "both calls of it");
    let sums = world.sums().await;
    assert_eq!((sums.requests, sums.failed, sums.cost_micros), (5, 3, 106_000));
    // Of whom nobody knows the price: it is counted, and it is not nothing.
    world.router.close_breakers();
    let unpriced = world.router.call(world.op("s/unheard-of")).await.unwrap().collect().await.unwrap();
    assert_eq!(unpriced.trace().unwrap().cost(), None);
    let sums = world.sums().await;
    assert_eq!((sums.requests, sums.unpriced, sums.cost_micros), (6, 1, 106_000));
    // Who is refused before anybody was asked has used nothing.
    let mut greedy = world.op("s/m");
    greedy.request.sampling.max_tokens = Some(1_000_000);
    let error = world.router.call(greedy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded);
    let sums = world.sums().await;
    assert_eq!((sums.requests, sums.failed, sums.cost_micros), (7, 4, 106_000));
    let by_target = world.report("provider,model").await;
    let costs: Vec<_> =
        by_target.rows.iter().map(|row| (row.provider.clone().unwrap(), row.tally.cost_micros)).collect();
    assert!(costs.contains(&("t".into(), 2_000)) && costs.contains(&("s".into(), 104_000)), "{costs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hit_and_a_shared_call_are_requests_that_cost_nothing() {
    let slow = text_events("one two three", None).into_iter().map(Ok).collect();
    let world = World::new([Scripted::new("s", [Turn::Slow(Duration::from_millis(5), slow)])]).await;
    let stored = || {
        let mut op = world.op("s/m");
        op.request.cache.enabled = Some(true);
        op
    };
    let answer = async || world.router.call(stored()).await.unwrap().collect().await.unwrap();
    let (first, joined) = join(answer(), answer()).await;
    let cost = |response: &llm_router::response::Response| response.trace().unwrap().cost().unwrap();
    assert_eq!((cost(&first), cost(&joined)), (3_000, 0));
    assert_eq!(cost(&answer().await), 0);
    let sums = world.sums().await;
    assert_eq!((sums.requests, sums.cached, sums.coalesced, sums.cost_micros), (3, 1, 1, 3_000));
    assert_eq!(sums.output_tokens, 3, "a stored answer uses nothing");
    // Who began a shared call pays for it also where only the other one hears its end.
    let mut other = stored();
    other.request.messages = Request::new("another").messages;
    let mut again = stored();
    again.request.messages = Request::new("another").messages;
    let (began, joined) = (world.router.call(other), world.router.call(again));
    let (began, joined) = join(began, joined).await;
    drop(began.unwrap());
    joined.unwrap().collect().await.unwrap();
    assert_eq!(world.sums().await.cost_micros, 6_000);
}

#[tokio::test(start_paused = true)]
async fn what_a_derived_key_spends_is_in_the_books_of_the_key_that_it_came_from() {
    let world = World::new([Scripted::text("s", "one two")]).await;
    let mut caveats = Caveats::default();
    caveats.limits.budget = Some(1_000_000);
    let narrower = derive(&world.key, &caveats).unwrap();
    let holder = world.keyring.find(narrower.expose()).unwrap().unwrap();
    let name = Arc::clone(holder.name());
    let op = world.op("s/m").for_client(Some(name)).within(Some(holder));
    world.router.call(op).await.unwrap().collect().await.unwrap();
    assert_eq!(world.sums().await.cost_micros, 2_000);
}

#[tokio::test]
async fn without_keys_it_is_under_no_key_and_without_a_store_nowhere() {
    let clock = Arc::new(ManualClock::default());
    let mut deps = RouterDeps::default();
    deps.clock = clock.clone();
    deps.store = Some(Arc::new(MemoryStore::new(clock)));
    let router = Router::builder().provider(Scripted::text("s", "one two")).deps(deps).build().unwrap();
    let asking = || {
        let mut request = Request::new("hi");
        request.model = Some("s/m".to_owned());
        request
    };
    router.generate(asking()).await.unwrap();
    router.count_tokens(asking()).await.unwrap();
    let books = router.deps().books.clone().unwrap();
    let today = llm_router::books::Day::of(router.deps().clock.now());
    let report = books.report(&Query::parse(today, Some("key,provider,model"), None, None).unwrap()).await.unwrap();
    assert_eq!(report.rows.len(), 1, "{report:?}");
    assert_eq!(report.rows[0].key.as_deref(), Some(""));
    let tally = report.total;
    assert_eq!((tally.requests, tally.unpriced, tally.output_tokens), (1, 1, 2), "a count of tokens uses nothing");

    let router = Router::builder().provider(Scripted::text("s", "one two")).build().unwrap();
    assert!(router.deps().books.is_none());
    assert_eq!(router.generate(asking()).await.unwrap().trace().unwrap().cost(), None);
}
