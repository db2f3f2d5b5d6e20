//! Money and tokens of calls that nobody heard, over real sockets: those that waited in a provider's queue, and those that never reached it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use llm_router::config::{ProviderSettings, Settings};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::ProviderId;
use llm_router::limits::Holder;
use llm_router::limits::key::{KeyRecord, KeySpec, Seal};
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::pricing::{Price, Prices};
use llm_router::request::Request;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};
use llm_router::store::MemoryStore;
use llm_router::testing::upstream::{Answer, Upstream};
use llm_router::{ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"one two"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

/// A key with a budget and a limit of tokens, and a router whose provider `lab` takes a tenth of a cent for each token of its answer.
struct World {
    router: Router,
    keyring: Keyring,
    holder: Arc<Holder>,
    record: KeyRecord,
}

impl World {
    async fn new(change: impl FnOnce(&mut ProviderSettings)) -> Self {
        let (clock, mut spec) = (Arc::new(SystemClock), KeySpec::new("k"));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let keyring = Keyring::new(store.clone(), Seal::new(|| Ok([3; 32])), clock, Scope::Key, []);
        (spec.limits.budget, spec.limits.tokens_per_minute) = (Some(1_000_000), Some(1_000));
        let (record, key) = keyring.create(spec, "tests").await.unwrap();
        let holder = keyring.find(key.expose()).unwrap().unwrap();
        let mut lab = ProviderSettings::default();
        lab.models = vec!["m".into()];
        change(&mut lab);
        let mut settings = Settings::default();
        settings.providers.insert(ProviderId::new("lab").unwrap(), lab);
        let (mut deps, mut price) = (RouterDeps::default(), Price::default());
        price.output = 1_000_000_000;
        deps.prices = Arc::new(Prices::default().with([("lab/m", price)]));
        deps.store = Some(store);
        deps.keyring = Some(keyring.clone());
        let router = Router::builder().deps(deps).settings(settings).build().unwrap();
        Self { router, keyring, holder, record }
    }

    fn op(&self) -> Op {
        let mut request = Request::new("hi");
        (request.model, request.sampling.max_tokens) = (Some("lab/m".into()), Some(50));
        Op::new(request, Door::Library).within(Some(Arc::clone(&self.holder)))
    }

    async fn ask(&self, op: Op) -> Result<()> {
        self.router.call(op).await?.collect().await.map(drop)
    }

    /// Micro-dollars in the books and tokens of the last minute.
    async fn counted(&self) -> (u64, u64) {
        self.keyring.settle_up().await.unwrap();
        let tokens = self.holder.standings(Instant::now()).tokens.unwrap();
        (self.keyring.drawn(&self.record).await.unwrap()[0].1, tokens.limit - tokens.remaining)
    }

    /// Waits until so many calls wait for a place.
    async fn queued(&self, wanted: u64) {
        let line = format!("llm_router_queued{{provider=\"lab\"}} {wanted}");
        let queued = async {
            while !self.router.prometheus().contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), queued).await;
        assert!(waited.is_ok(), "{}", self.router.prometheus());
    }
}

#[tokio::test]
async fn who_only_waited_in_a_queue_pays_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", ANSWER.len());
    let upstream = Upstream::serve([Answer::raw(head).gate(&gate).then(ANSWER)]).await;
    let world = World::new(|lab| {
        lab.base_url = Some(upstream.url("/v1"));
        (lab.max_in_flight, lab.max_queue) = (Some(1), 4);
    })
    .await;
    let first = world.ask(world.op());
    let others = async {
        upstream.until(|seen| seen.requests.len() == 1).await;
        {
            let mut leaves = std::pin::pin!(world.ask(world.op()));
            tokio::select! {
                done = &mut leaves => panic!("{done:?}"),
                () = world.queued(1) => {}
            }
        }
        world.queued(0).await;
        let mut hurries = world.op();
        hurries.request.timeout = Some(Duration::from_millis(50));
        let error = world.ask(hurries).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderTimeout, "{error}");
        gate.add_permits(1);
    };
    let (answered, ()) = tokio::join!(first, others);
    answered.unwrap();
    assert_eq!(upstream.seen().requests.len(), 1, "the others were never sent");
    // Who leaves before anything is known is counted with the tokens that were thought of it; money is another matter.
    let (micros, tokens) = world.counted().await;
    assert_eq!(micros, 2_000);
    assert!(tokens >= 3, "{tokens}");
}

#[tokio::test]
async fn who_never_reached_the_provider_pays_nothing() {
    // Nobody listens there.
    let world = World::new(|lab| lab.base_url = Some("http://127.0.0.1:1/v1".into())).await;
    let error = world.ask(world.op()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection, "{error}");
    assert_eq!(world.counted().await, (0, 0));

    // Somebody listens who never shakes hands: time is over before anything was sent.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let world = World::new(|lab| {
        lab.base_url = Some(format!("https://127.0.0.1:{port}/v1"));
        lab.timeouts.connect = Some(Duration::from_millis(50));
    })
    .await;
    let error = world.ask(world.op()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout, "{error}");
    assert_eq!(world.counted().await, (0, 0));
}
