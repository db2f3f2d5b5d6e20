//! A ledger as one router sees it: the counters of each provider and model that it knows, found without a lock, and what is counted there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::counters::{OUTCOMES, Series, range};
use super::{CACHE_STATUS, Client, HedgeOutcome, Ledger, NONE, OTHER, by_direction};
use crate::trace::Operation;
use crate::usage::Usage;

/// How one request ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended<'a> {
    /// Who answered or was tried last.
    pub provider: Option<&'a str>,
    /// With which model.
    pub model: Option<&'a str>,
    /// What was asked for.
    pub operation: Operation,
    /// `None` for an answer that came to its end, else the kind of the error.
    pub failure: Option<&'static str>,
    /// What the cache did.
    pub cache: &'static str,
    /// Which tier of it the answer came from.
    pub tier: Option<&'static str>,
    /// Until the first content.
    pub first_content: Option<Duration>,
    /// Of that, what no provider was waited for, where that is known.
    pub overhead: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

/// A ledger as one router sees it. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Meters(Arc<Known>);

#[derive(Debug)]
struct Known {
    ledger: Ledger,
    providers: HashMap<String, Models>,
    none: Arc<Series>,
    clients: HashMap<String, Arc<Client>>,
}

#[derive(Debug)]
struct Models {
    named: HashMap<String, Arc<Series>>,
    none: Arc<Series>,
    other: Arc<Series>,
}

impl Meters {
    /// The counters of these providers and their models.
    pub fn new<'a>(ledger: &Ledger, configured: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> Self {
        let mut providers: HashMap<String, Models> = HashMap::new();
        for (provider, models) in configured {
            let entry = providers.entry(provider.to_owned()).or_insert_with(|| Models {
                named: HashMap::new(),
                none: ledger.series(provider, NONE),
                other: ledger.series(provider, OTHER),
            });
            for model in models {
                let series = ledger.series(provider, &model);
                entry.named.insert(model, series);
            }
        }
        let clients = HashMap::new();
        Self(Arc::new(Known { ledger: ledger.clone(), providers, none: ledger.series(NONE, NONE), clients }))
    }

    /// With counters for the keys of these names, as far as there is room.
    #[must_use]
    pub fn with_clients<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let Known { ledger, providers, none, .. } = match Arc::try_unwrap(self.0) {
            Ok(known) => known,
            // Shared already, and so in use: its counters stay as they are.
            Err(shared) => return Self(shared),
        };
        let clients = names.into_iter().map(|name| (name.to_owned(), ledger.client(name))).collect();
        Self(Arc::new(Known { ledger, providers, none, clients }))
    }

    /// Counts a request that begins.
    pub fn begin(&self) {
        self.0.ledger.begin();
    }

    /// Counts a request that ended.
    pub fn end(&self, ended: &Ended<'_>) {
        let ledger = &self.0.ledger.0;
        ledger.in_flight.add(1, 1);
        if let Some(at) = CACHE_STATUS.iter().position(|status| *status == ended.cache) {
            ledger.cache.add(at, 1);
        }
        if let Some(tier) = ended.tier {
            ledger.hits.add(ledger.tiers.place(tier), 1);
        }
        let shard = self.series(ended.provider, ended.model).shard();
        shard.outcomes.add(ended.operation as usize * OUTCOMES + self.0.ledger.outcome(ended.failure), 1);
        shard.total.add(ended.total);
        if let Some(first) = ended.first_content {
            shard.first_content.add(first);
        }
        if let Some(overhead) = ended.overhead {
            shard.overhead.add(overhead);
        }
    }

    /// Counts an attempt that failed with an error of this kind.
    pub fn failed(&self, provider: &str, model: Option<&str>, kind: &'static str) {
        self.series(Some(provider), model).shard().failed.add(self.0.ledger.outcome(Some(kind)), 1);
    }

    /// Counts that a target was tried again, or else that another one was tried after it.
    pub fn followed(&self, provider: &str, model: Option<&str>, again: bool) {
        self.series(Some(provider), model).shard().again.add(usize::from(!again), 1);
    }

    /// Counts a target that was asked beside one that was late.
    pub fn hedged(&self, provider: &str, model: Option<&str>, outcome: HedgeOutcome) {
        self.series(Some(provider), model).shard().again.add(2 + outcome as usize, 1);
    }

    /// The counters of one target, for whoever counts there more than once.
    #[must_use]
    pub fn of(&self, provider: &str, model: Option<&str>) -> Meter {
        Meter(Arc::clone(self.series(Some(provider), model)))
    }

    /// The counters of a key of the configuration.
    pub(crate) fn client(&self, name: &str) -> Option<&Arc<Client>> {
        self.0.clients.get(name)
    }

    /// Counts a request of a client's that ended.
    pub(crate) fn asked(client: &Client) {
        client.0.add(0, 1);
    }

    /// The label under which a model is counted: its name where it is known, so that no client makes labels.
    pub fn label<'a>(&self, provider: &str, model: Option<&'a str>) -> &'a str {
        let Some(model) = model else { return NONE };
        let known = self.0.providers.get(provider).is_some_and(|models| models.named.contains_key(model));
        if known { model } else { OTHER }
    }

    fn series(&self, provider: Option<&str>, model: Option<&str>) -> &Arc<Series> {
        let Some(models) = provider.and_then(|provider| self.0.providers.get(provider)) else { return &self.0.none };
        match model {
            None => &models.none,
            Some(model) => {
                // The embedded model's name carries the digest of its file.
                let bare = || models.named.get(model.rsplit_once('@')?.0);
                models.named.get(model).or_else(bare).unwrap_or(&models.other)
            }
        }
    }
}

/// The counters of one target.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Series>);

impl Meter {
    /// Counts a call that is under way until what this gives is dropped.
    #[must_use]
    pub fn call(self) -> InFlight {
        self.0.shard().under_way.add(0, 1);
        InFlight(self)
    }

    /// Counts what a call used, in micro-dollars where that is known, for this client too.
    pub(crate) fn used(&self, usage: &Usage, cost: Option<u64>, client: Option<&Client>) {
        let shard = self.0.shard();
        for (at, count) in by_direction(usage).into_iter().enumerate().filter(|(_, count)| *count > 0) {
            shard.tokens.add(at, count);
        }
        match cost {
            Some(micros) => shard.money.add(0, micros),
            None => shard.money.add(1, 1),
        }
        if let Some(client) = client {
            client.used(usage, cost);
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct InFlight(Meter);

impl InFlight {
    /// Whose it is.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.shard().under_way.add(1, 1);
    }
}

/// How long one answer's events were waited for: counted alone, and told at its end. What a slow reader takes is nobody's wait.
#[derive(Debug)]
pub struct Gaps {
    meter: Meter,
    waiting: Option<Instant>,
    counts: [u32; 15],
    micros: u64,
}

impl Gaps {
    /// Those of an answer of this target.
    #[must_use]
    pub fn new(meter: Meter) -> Self {
        Self { meter, waiting: None, counts: [0; 15], micros: 0 }
    }

    /// Somebody waits for the next event.
    pub fn wait(&mut self, now: impl FnOnce() -> Instant) {
        self.waiting.get_or_insert_with(now);
    }

    /// The next event is there.
    pub fn event(&mut self, now: impl FnOnce() -> Instant) {
        let waited = self.waiting.take().map(|since| now().saturating_duration_since(since)).unwrap_or_default();
        let (at, micros) = range::<true>(waited);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        self.micros = self.micros.saturating_add(micros);
    }
}

impl Drop for Gaps {
    fn drop(&mut self) {
        self.meter.0.shard().gaps.add_all(&self.counts, self.micros);
    }
}
