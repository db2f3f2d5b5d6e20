//! Automatic plans where the network swallows what is sent: the floor has its turn soon, and nobody is given up untried.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::{Credential, ProviderSettings, Settings};
use llm_router::delta::DeltaStream;
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::ProviderId;
use llm_router::provider::registry::{Registry, Surroundings};
use llm_router::provider::{Availability, Call, Context, Describe, Provider};
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::router::resolve::{Automatic, Entry};
use llm_router::secret::Secret;
use llm_router::testing::Silent;
use llm_router::testing::scripted::{Scripted, text_events};
use llm_router::testing::upstream::{Answer, Upstream};
use llm_router::{Error, Result};
use tokio::time::Instant;

fn id(text: &str) -> ProviderId {
    ProviderId::new(text).unwrap()
}

/// A provider somewhere in the network: whether it is reached is known only by trying.
struct Far {
    describe: Describe,
    there: bool,
    asked: AtomicUsize,
    tried: AtomicUsize,
}

impl Far {
    fn new(name: &str, there: bool) -> Arc<Self> {
        Arc::new(Self {
            describe: Describe::new(id(name)),
            there,
            asked: AtomicUsize::new(0),
            tried: AtomicUsize::new(0),
        })
    }

    async fn connect(&self, limit: Duration) -> Result<()> {
        if self.there {
            tokio::time::sleep(limit.min(Duration::from_millis(200))).await;
            return Ok(());
        }
        tokio::time::sleep(limit).await;
        Err(Error::timeout("no connection").unsent())
    }

    fn counts(&self) -> (usize, usize) {
        (self.asked.load(Ordering::SeqCst), self.tried.load(Ordering::SeqCst))
    }
}

impl Provider for Far {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.connect(call.deadlines.connect).await?;
        Ok(DeltaStream::of(text_events(self.describe.id.as_str(), None).into_iter().map(Ok)))
    }

    async fn reach(&self, _: &Context, limit: Duration) -> Result<()> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        self.connect(limit).await
    }
}

fn router(deps: RouterDeps, settings: Settings, far: &[&Arc<Far>]) -> Router {
    let entry = |far: &&Arc<Far>| Entry::new(far.describe.id.clone(), Arc::clone(far) as _);
    let mut entries: Vec<Entry> = far.iter().map(entry).collect();
    let floor = Entry::new(id("local"), Arc::new(Scripted::text("local", "floor")));
    entries.push(Entry { automatic: Automatic::Floor, ..floor });
    Router::new(deps, Arc::new(settings), entries)
}

#[tokio::test(start_paused = true)]
async fn however_many_keys_are_left_over_silence_is_met_twice_at_most() {
    let far = ["a", "b", "c", "d", "e"].map(|name| Far::new(name, false));
    let router = router(RouterDeps::default(), Settings::default(), &far.each_ref());
    let began = Instant::now();
    let response = router.generate(Request::new("hello")).await.unwrap();
    assert_eq!((response.text().as_str(), began.elapsed()), ("floor", Duration::from_secs(4)));
    assert_eq!(far.each_ref().map(|far| far.counts()), [(1, 0), (0, 1), (0, 1), (0, 1), (0, 1)]);
    let attempts: Vec<_> =
        response.trace().unwrap().attempts.iter().map(|a| (a.provider.to_string(), a.error.is_some())).collect();
    let failed = ["a", "b", "c", "d", "e"].map(|name| (name.to_owned(), true));
    assert_eq!(attempts, [failed.as_slice(), &[("local".to_owned(), false)]].concat());
}

#[tokio::test(start_paused = true)]
async fn one_that_lets_itself_be_reached_answers_whatever_stands_before_it() {
    let far = [("a", false), ("b", false), ("c", true), ("d", true)].map(|(name, there)| Far::new(name, there));
    let router = router(RouterDeps::default(), Settings::default(), &far.each_ref());
    assert_eq!(router.generate(Request::new("hello")).await.unwrap().text(), "c");
    assert_eq!(far.each_ref().map(|far| far.counts()), [(1, 0), (0, 1), (1, 1), (0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_named_has_the_whole_deadline_and_nobody_is_tried_beside_it() {
    let (a, b) = (Far::new("a", false), Far::new("b", true));
    let mut settings = Settings::default();
    let began = Instant::now();
    let mut named = Request::new("hello");
    named.provider = Some(id("a"));
    let error = router(RouterDeps::default(), settings.clone(), &[&a, &b]).generate(named).await.unwrap_err();
    assert_eq!((error.message(), began.elapsed()), ("no connection", Duration::from_secs(5)));
    assert_eq!(b.counts(), (0, 0));
    // So has whoever the configuration gives one.
    settings.router.timeouts.connect = Some(Duration::from_secs(20));
    let began = Instant::now();
    router(RouterDeps::default(), settings, &[&a, &b]).generate(Request::new("hello")).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_stored_answer_needs_no_network() {
    let far = ["a", "b"].map(|name| Far::new(name, name == "b"));
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    let online = router(deps.clone(), Settings::default(), &far.each_ref());
    assert_eq!(online.generate(Request::new("hello")).await.unwrap().text(), "b");
    let gone = ["a", "b"].map(|name| Far::new(name, false));
    let offline = router(deps, Settings::default(), &gone.each_ref());
    assert_eq!(offline.generate(Request::new("hello")).await.unwrap().text(), "b");
    assert_eq!(gone[1].counts(), (0, 1));
}

fn provider(url: String) -> ProviderSettings {
    let mut settings = ProviderSettings::default();
    settings.base_url = Some(url);
    settings.credentials = vec![Credential::Value(Secret::new("sk-canary0123456789abcdef"))];
    settings.timeouts.connect = Some(Duration::from_millis(400));
    settings
}

#[tokio::test]
async fn over_real_sockets_five_silent_services_cost_no_more_than_two() {
    let silent = Silent::listen().await.unwrap();
    let upstream = Upstream::serve([Answer::json(401, r#"{"error":{"message":"who are you?"}}"#)]).await;
    let names = ["openrouter", "openai", "anthropic", "gemini", "groq"];
    let mut settings = Settings::default();
    for agent in ["codex_cli", "copilot_cli", "gemini_cli", "claude_code", "ollama", "llama_cpp", "lmstudio"] {
        let mut off = ProviderSettings::default();
        off.enabled = Some(false);
        settings.providers.insert(id(agent), off);
    }
    for name in names {
        settings.providers.insert(id(name), provider(silent.url("/v1")));
    }
    // One that is there, behind all of them: it is asked, though its key is stale.
    settings.providers.insert(id("xai"), provider(upstream.url("/v1")));
    let registry = Registry::default();
    registry.register(Arc::new(Scripted::text("local", "floor")), Vec::new(), None);
    let entries = registry.entries(&settings, &Surroundings::default()).unwrap();
    let router = Router::new(RouterDeps::default(), Arc::new(settings), entries);
    let began = std::time::Instant::now();
    let response = router.generate(Request::new("hello")).await.unwrap();
    assert_eq!(response.text(), "floor");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(5 * 400), "it took {took:?}: every service cost its own deadline");
    let trace = response.trace().unwrap();
    let silent: Vec<_> =
        trace.attempts.iter().filter(|attempt| attempt.error.as_ref().is_some_and(Error::is_unsent)).collect();
    assert_eq!((silent.len(), upstream.seen().requests.len()), (5, 1));
}
