//! What a key's money does to a plan: a target that it cannot pay for is passed over, and only where none is left is the request refused.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use llm_router::config::{RouteSettings, Settings};
use llm_router::deps::RouterDeps;
use llm_router::limits::Holder;
use llm_router::limits::key::{KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::limits::shared::{Account, Alone, Ask, Correction, Counted, Limit, Shared, Sharing, Told};
use llm_router::pricing::{Price, Prices};
use llm_router::request::Request;
use llm_router::response::Response;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};
use llm_router::store::{MemoryStore, StoreError};
use llm_router::telemetry::Ledger;
use llm_router::testing::ManualClock;
use llm_router::testing::scripted::{Scripted, Turn};
use llm_router::{Error, ErrorKind, Result};

/// Asks a route of one target after another, with a cent to spend. Fifty tokens of `lab/dear` may cost five cents, of `lab/fair` half a cent, of `lab/cheap` next to nothing.
async fn asked(targets: &[&str], hedge: bool, counter: Option<Arc<Counter>>) -> Result<Response> {
    let (router, holder) = lab(targets, hedge, counter).await;
    ask(&router, holder).await
}

async fn ask(router: &Router, holder: Arc<Holder>) -> Result<Response> {
    let mut request = Request::new("hi");
    request.model = Some("r".to_owned());
    request.sampling.max_tokens = Some(50);
    router.call(Op::new(request, Door::Library).within(Some(holder))).await?.collect().await
}

/// The router with that route, and who asks it.
async fn lab(targets: &[&str], hedge: bool, counter: Option<Arc<Counter>>) -> (Router, Arc<Holder>) {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let seal = Seal::new(|| Ok([3; 32]));
    let keyring = match counter {
        None => Keyring::new(store, seal, clock.clone(), Scope::Key, []),
        Some(counter) => {
            let sharing = Arc::new(Sharing::new(counter, Alone::Closed, Ledger::default()));
            Keyring::shared(store, seal, clock.clone(), Scope::Key, [], sharing)
        }
    };
    let mut spec = KeySpec::new("k");
    spec.limits.budget = Some(10_000);
    let (_, key) = keyring.create(spec, "tests").await.unwrap();
    let holder = keyring.find(key.expose()).unwrap().unwrap();
    let price = |output| {
        let mut price = Price::default();
        price.output = output;
        price
    };
    let mut deps = RouterDeps::default();
    let prices = [
        ("lab/dear", 1_000_000_000),
        ("lab/fair", 100_000_000),
        ("lab/cheap", 1_000),
        ("down/m", 1_000),
        ("ill/m", 1_000),
    ];
    deps.prices = Arc::new(Prices::default().with(prices.map(|(name, output)| (name, price(output)))));
    deps.clock = clock;
    deps.keyring = Some(keyring);
    let mut route = RouteSettings::default();
    route.groups = targets.iter().map(|target| vec![(*target).to_owned()]).collect();
    route.hedge = hedge;
    let mut settings = Settings::default();
    settings.routes.insert("r".into(), route);
    let lab = Scripted::text("lab", "one two");
    let down = Scripted::new("down", [Turn::Fail(Error::new(ErrorKind::ProviderUnavailable, "it is down"))]);
    let ill =
        Scripted::new("ill", [(); 3].map(|()| Turn::Fail(Error::new(ErrorKind::ProviderServerError, "it is ill"))));
    let router =
        Router::builder().provider(lab).provider(down).provider(ill).settings(settings).deps(deps).build().unwrap();
    (router, holder)
}

/// Who answered, by model, and why each target of the plan that was passed over was.
fn told(response: &Response) -> (String, Vec<String>) {
    let trace = response.trace().unwrap();
    assert_eq!(trace.attempts.len(), 1, "whoever is passed over is not asked");
    let left_out = trace.candidates.iter().filter(|candidate| !candidate.planned);
    (
        trace.served.as_ref().unwrap().model.as_ref().unwrap().to_string(),
        left_out.map(|one| one.reason.clone()).collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_target_that_costs_too_much_is_passed_over() {
    for hedge in [false, true] {
        let (served, left_out) = told(&asked(&["lab/dear", "lab/cheap"], hedge, None).await.unwrap());
        assert_eq!((served.as_str(), left_out.len()), ("cheap", 1));
        assert!(left_out[0].contains("may spend"), "{left_out:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_of_unknown_price_is_passed_over() {
    for hedge in [false, true] {
        let (served, left_out) = told(&asked(&["lab/other", "lab/dear", "lab/cheap"], hedge, None).await.unwrap());
        assert_eq!((served.as_str(), left_out.len()), ("cheap", 2));
        assert!(left_out[0].contains("its price is unknown"), "{left_out:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_target_is_left_the_request_is_refused() {
    let refused = async |targets: &[&str]| asked(targets, false, None).await.unwrap_err();
    for targets in [["lab/dear", "lab/other"], ["lab/other", "lab/dear"]] {
        let error = refused(&targets).await;
        assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded);
        assert!(error.message().contains("may spend") && error.retry_after().is_none(), "{error:?}");
    }
    assert_eq!(refused(&["lab/other", "lab/another"]).await.kind(), ErrorKind::PolicyForbidden);
    // One that was asked and failed may answer the next time, wherever it stands.
    for targets in [["lab/dear", "down/m"], ["down/m", "lab/dear"]] {
        let error = refused(&targets).await;
        assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
        assert!(error.message().contains("may spend") && error.message().contains("it is down"), "{error}");
    }
}

/// Counts money together with others, who are not there.
#[derive(Debug, Default)]
struct Counter {
    drawn: Mutex<BTreeMap<Arc<str>, u64>>,
    /// The amounts of each question, and which was granted.
    asked: Mutex<Vec<(Vec<u64>, Option<u64>)>>,
}

impl Shared for Counter {
    fn enter(&self, ask: Ask) -> BoxFuture<'_, Result<Told, StoreError>> {
        let mut drawn = self.drawn.lock().unwrap();
        let due = &ask.accounts[0].money[0];
        let sum = drawn.entry(Arc::clone(&due.books)).or_default();
        let fits = ask.amounts.iter().copied().find(|amount| *sum + amount <= due.cap);
        self.asked.lock().unwrap().push((ask.amounts.clone(), fits));
        let told = if fits.is_none() && !ask.amounts.is_empty() {
            Told::Full { at: 0, limit: Limit::Money(0), wait: None, accounts: Vec::new() }
        } else {
            let drew = fits.unwrap_or(0);
            *sum += drew;
            let counted = |_: &Account| Counted { drawn: vec![*sum], ..Counted::default() };
            Told::In { slot: None, drew, accounts: ask.accounts.iter().map(counted).collect() }
        };
        async { Ok(told) }.boxed()
    }

    fn correct(&self, correction: Correction) {
        if let Correction::Money { books, more, .. } = correction {
            let mut drawn = self.drawn.lock().unwrap();
            let sum = drawn.entry(books).or_default();
            *sum = sum.saturating_add_signed(more);
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_is_shared_is_asked_once_for_all_prices_of_the_plan() {
    let asked_for = |counter: &Counter| counter.asked.lock().unwrap().clone();
    for hedge in [false, true] {
        let counter = Arc::new(Counter::default());
        let targets = ["lab/dear", "lab/other", "lab/dear", "lab/fair", "lab/dear", "lab/cheap"];
        let response = asked(&targets, hedge, Some(Arc::clone(&counter))).await;
        assert_eq!(told(&response.unwrap()).0, "fair");
        // Each price that is less than those before it; and those before the one that was granted are not asked for again.
        assert_eq!(asked_for(&counter), [(vec![50_000, 5_000, 1], Some(5_000))]);
        assert_eq!(counter.drawn.lock().unwrap().values().copied().collect::<Vec<_>>(), [200], "what the answer cost");
    }

    let counter = Arc::new(Counter::default());
    let error = asked(&["lab/dear", "lab/other"], false, Some(Arc::clone(&counter))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::PolicyBudgetExceeded, None));
    assert_eq!(asked_for(&counter), [(vec![50_000], None)]);
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_is_shared_is_asked_again_only_for_a_dearer_target_after_another_was_called() {
    let counter = Arc::new(Counter::default());
    let response = asked(&["lab/dear", "down/m", "lab/fair"], false, Some(Arc::clone(&counter))).await.unwrap();
    let trace = response.trace().unwrap();
    assert_eq!(trace.served.as_ref().unwrap().model.as_ref().unwrap().as_str(), "fair");
    let asked_for = counter.asked.lock().unwrap().clone();
    assert_eq!(asked_for, [(vec![50_000, 1], Some(1)), (vec![4_999], Some(4_999))]);
    assert_eq!(counter.drawn.lock().unwrap().values().copied().collect::<Vec<_>>(), [200]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_left_alone_is_asked_for_after_those_that_are_not() {
    let counter = Arc::new(Counter::default());
    let (router, holder) = lab(&["ill/m", "lab/fair"], false, Some(Arc::clone(&counter))).await;
    for _ in 0..2 {
        let response = ask(&router, Arc::clone(&holder)).await.unwrap();
        assert_eq!(response.trace().unwrap().served.as_ref().unwrap().model.as_ref().unwrap().as_str(), "fair");
    }
    let asked_for = counter.asked.lock().unwrap().clone();
    // The first finds out that it is ill; the second does not ask it, and needs no second question.
    assert_eq!(asked_for, [(vec![1], Some(1)), (vec![4_999], Some(4_999)), (vec![5_000, 1], Some(5_000))]);
}
