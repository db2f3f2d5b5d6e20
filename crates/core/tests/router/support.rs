//! Scripted providers, and a router of them put together as a sentence.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{ResponseCache, Stat, StorageKey, Tier};
use llm_router::config::Settings;
use llm_router::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::{ModelName, Namespace, ProviderId};
use llm_router::provider::{Availability, Call, Describe, DynProvider, Provider};
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::router::resolve::{Automatic, Entry};
use llm_router::{Error, ErrorKind, Result};

/// What a scripted provider does on one call.
#[derive(Clone)]
pub(crate) enum Script {
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

pub(crate) struct Scripted {
    pub(crate) describe: Describe,
    pub(crate) models: Vec<ModelName>,
    pub(crate) missing: Option<&'static str>,
    pub(crate) script: Mutex<VecDeque<Script>>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) seen: Arc<Mutex<Vec<Option<ModelName>>>>,
}

pub(crate) fn start() -> Event {
    vec![
        Delta::Start { id: "1".into(), model: "m".into(), created: None },
        Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
    ]
    .into()
}

pub(crate) fn text(text: &str) -> Event {
    Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(text.into()) }.into()
}

pub(crate) fn end() -> Event {
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
pub(crate) struct Setup {
    pub(crate) entries: Vec<Entry>,
    pub(crate) calls: HashMap<String, Arc<AtomicUsize>>,
    pub(crate) settings: Settings,
    pub(crate) deps: RouterDeps,
    pub(crate) seen: Arc<Mutex<Vec<Option<ModelName>>>>,
}

impl Setup {
    pub(crate) fn provider(self, id: &str, script: &[Script]) -> Self {
        self.with(id, script, |_| {})
    }

    pub(crate) fn with(mut self, id: &str, script: &[Script], change: impl FnOnce(&mut Scripted)) -> Self {
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
        self.entries.push(Entry { automatic, ..Entry::new(id, provider) });
        self
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn cached(mut self) -> Self {
        let tier: Arc<dyn Tier> = Arc::new(Shelf::default());
        self.deps.cache = Some(ResponseCache::new(vec![tier], KeyStrategy::default(), Arc::new(SystemClock), true));
        self
    }

    pub(crate) fn build(self) -> (Router, impl Fn(&str) -> usize) {
        let calls = self.calls;
        let router = Router::new(self.deps, Arc::new(self.settings), self.entries);
        (router, move |id: &str| calls[id].load(Ordering::SeqCst))
    }
}

/// A tier that never forgets.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<HashMap<StorageKey, Bytes>>);

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

pub(crate) fn asking(model: Option<&str>, provider: Option<&str>) -> Request {
    let mut request = Request::new("hello");
    request.model = model.map(str::to_owned);
    request.provider = provider.map(|id| ProviderId::new(id).unwrap());
    request
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}
