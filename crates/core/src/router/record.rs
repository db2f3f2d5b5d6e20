//! The record of one request: filled while it runs, closed when its stream finishes *or* is dropped, then given to the hooks and kept for a while.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::charge::{Paid, Payer};
use super::resolve::{Entry, Plan};
use super::{Op, Router};
use crate::books::{Day, Tally};
use crate::cache::CacheKey;
use crate::config::Settings;
use crate::deps::RouterDeps;
use crate::dialect::FieldPath;
use crate::error::{Error, ErrorKind};
use crate::ids::RequestId;
use crate::limits::{Holder, Permit};
use crate::provider::Target;
use crate::telemetry::{Ended, Meters, SHARDS, Tokens, own_shard};
use crate::trace::{Attempt, CacheStatus, Resumed, Served, Trace};
use crate::usage::Usage;

/// The last records, for [`Router::trace`](super::Router::trace): a list for each group of threads, so that requests do not wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Recent([Mutex<VecDeque<Arc<Trace>>>; SHARDS]);

/// How many records a group of threads keeps.
const KEPT: usize = 256;

impl Recent {
    fn push(&self, trace: Arc<Trace>) {
        let [first, ..] = &self.0;
        let mut recent = lock(self.0.get(own_shard()).unwrap_or(first));
        if recent.len() >= KEPT {
            recent.pop_front();
        }
        recent.push_back(trace);
    }

    pub(crate) fn get(&self, id: &RequestId) -> Option<Arc<Trace>> {
        self.0.iter().find_map(|recent| lock(recent).iter().rev().find(|trace| trace.id == *id).cloned())
    }
}

/// The record of a request that is under way. Dropping it closes it.
pub(crate) struct Record {
    trace: Mutex<Trace>,
    began: Instant,
    router: Router,
    /// Cancelled when the router shuts down. One for each request: all who wait for the router's own would wait for each other, too.
    ending: CancellationToken,
    /// The name of the client's key.
    client: Option<Arc<str>>,
    /// The team of that key, where the door knows one.
    team: Option<Arc<str>>,
    /// Whether it is in the books.
    kept: bool,
    /// Its place within the limits of its key, given back at its end.
    permit: OnceLock<Permit>,
}

impl Record {
    pub(crate) fn open(router: &Router, op: &Op, paid: Paid) -> Self {
        router.0.meters.begin();
        let deps = router.deps();
        let now = deps.clock.now();
        let trace = Trace::new(op.id.clone().unwrap_or_else(|| deps.ids.request_id(now)), now);
        Self {
            trace: Mutex::new(trace),
            began: deps.clock.instant(),
            router: router.clone(),
            ending: deps.shutdown.child_token(),
            client: op.client.clone(),
            team: op.team.clone(),
            kept: paid != Paid::Free,
            permit: OnceLock::new(),
        }
    }

    /// Keeps a place until the request's end.
    pub(crate) fn admitted(&self, permit: Permit) {
        let _ = self.permit.set(permit);
    }

    /// Who holds the limits under which the request asks.
    pub(crate) fn holder(&self) -> Option<&Arc<Holder>> {
        self.permit.get().map(Permit::holder)
    }

    /// Who pays for what the request makes others do.
    pub(crate) fn payer(&self) -> Payer {
        let holder = self.holder().cloned();
        let (key, team) = holder.as_ref().map(Holder::payers).unwrap_or_default();
        let (key, team) = (key.or(self.client.as_ref()).cloned(), team.or(self.team.as_ref()).cloned());
        Payer { holder, key, team }
    }

    /// Cancelled when the router shuts down.
    pub(crate) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// The time since then.
    fn since(&self, then: Instant) -> Duration {
        self.router.deps().clock.instant().saturating_duration_since(then)
    }

    pub(crate) fn id(&self) -> RequestId {
        lock(&self.trace).id.clone()
    }

    pub(crate) fn planned(&self, plan: &Plan) {
        lock(&self.trace).candidates = plan.candidates.iter().take(Trace::LIMIT).cloned().collect();
    }

    pub(crate) fn cache(&self, status: CacheStatus, key: Option<&CacheKey>) {
        let mut trace = lock(&self.trace);
        trace.cache = status;
        if matches!(status, CacheStatus::Hit | CacheStatus::Coalesced) {
            // Somebody else's call answered, and paid.
            trace.cost_micros = Some(0);
        }
        trace.key = key.map(|key| key.printed().to_owned());
    }

    pub(crate) fn attempted(&self, target: &Target, since: Instant, error: Option<&Error>) {
        let took = self.since(since);
        let mut trace = lock(&self.trace);
        if trace.attempts.len() < Trace::LIMIT {
            let mut attempt = Attempt::new(target.provider.clone(), target.model.clone());
            attempt.error = error.cloned();
            attempt.took = Some(took);
            // Nearly always the only one.
            trace.attempts.reserve_exact(1);
            trace.attempts.push(attempt);
        }
    }

    /// A target was left alone for a while, and asked after that unless there is an error.
    pub(crate) fn held(&self, target: &Target, error: Option<&Error>, waited: Duration) {
        let mut trace = lock(&self.trace);
        if trace.held.len() < Trace::LIMIT {
            let mut held = Attempt::new(target.provider.clone(), target.model.clone());
            held.error = error.cloned();
            held.took = Some(waited);
            trace.held.push(held);
        }
    }

    /// Somebody goes on with the answer.
    pub(crate) fn resumed(&self, by: Resumed) {
        lock(&self.trace).resumed.push(by);
    }

    /// The answer was to be held back until its end and grew too large for that.
    pub(crate) fn spilled(&self) {
        lock(&self.trace).spilled = true;
    }

    pub(crate) fn dropped(&self, fields: Vec<FieldPath>) {
        lock(&self.trace).dropped = fields;
    }

    pub(crate) fn served(&self, served: Served) {
        lock(&self.trace).served = Some(served);
    }

    pub(crate) fn failed(&self, error: &Error) {
        lock(&self.trace).error.get_or_insert_with(|| error.clone());
    }

    /// The caller let go of the request before its end.
    pub(crate) fn left(&self) {
        self.failed(&Error::new(ErrorKind::CallerCancelled, "the caller left before the end"));
    }

    pub(crate) fn first_content(&self) {
        let took = self.since(self.began);
        lock(&self.trace).first_content.get_or_insert(took);
    }

    pub(crate) fn usage(&self, usage: Usage) {
        lock(&self.trace).usage = Some(usage);
    }

    /// A call is settled: what it cost, where that is known, and an estimate of its tokens where its provider told none.
    pub(crate) fn spent(&self, cost: Option<u64>, estimate: Option<Usage>) {
        let mut trace = lock(&self.trace);
        match cost {
            Some(micros) => trace.cost_micros = Some(trace.cost_micros.unwrap_or(0).saturating_add(micros)),
            None => trace.unpriced += 1,
        }
        // What the provider told of a broken answer is of its beginning.
        if let Some(estimate) = estimate
            && trace.usage.is_none_or(|told| told.output < estimate.output)
        {
            trace.usage = Some(estimate);
        }
    }

    /// Looks at the record without copying it. `look` must be quick: the record is locked meanwhile.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Trace) -> T) -> T {
        look(&lock(&self.trace))
    }

    /// The record as it stands.
    pub(crate) fn trace(&self) -> Trace {
        let mut trace = lock(&self.trace).clone();
        trace.total.get_or_insert_with(|| self.since(self.began));
        trace
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if lock(&self.trace).served.is_none() {
            self.left();
        }
        let took = self.since(self.began);
        let record = self.trace.get_mut().unwrap_or_else(PoisonError::into_inner);
        let empty = Trace::new(record.id.clone(), SystemTime::UNIX_EPOCH);
        let mut trace = std::mem::replace(record, empty);
        trace.total.get_or_insert(took);
        if let Some(permit) = self.permit.get_mut()
            && let Some(tokens) = tokens_taken(&trace)
        {
            permit.took(tokens);
        }
        let trace = Arc::new(trace);
        self.post(&trace);
        count(&self.router.0.meters, &trace, self.client.as_deref());
        self.router.deps().hooks.iter().for_each(|hook| hook.on_finish(&trace));
        self.router.0.recent.push(trace);
    }
}

impl Record {
    /// Puts the request into the books; what its calls used is there already.
    fn post(&self, trace: &Trace) {
        let Some(books) = self.router.deps().books.as_ref().filter(|_| self.kept) else { return };
        let payer = self.payer();
        let (provider, model) = match (&trace.served, trace.attempts.last()) {
            (Some(served), _) => (served.provider.as_str(), served.model.as_ref().map(|model| model.as_str())),
            // What a client invented is no account.
            (None, Some(tried)) => {
                let (provider, model) = (tried.provider.as_str(), tried.model.as_ref().map(|model| model.as_str()));
                (provider, model.map(|model| self.router.0.meters.label(provider, Some(model))))
            }
            (None, None) => ("", None),
        };
        let mut tally = Tally::default();
        tally.requests = 1;
        tally.failed = u64::from(trace.error.is_some());
        tally.cached = u64::from(trace.cache == CacheStatus::Hit);
        tally.coalesced = u64::from(trace.cache == CacheStatus::Coalesced);
        books.post(payer.entry(Day::at(trace.at), provider, model), &tally);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("trace", &self.trace).finish_non_exhaustive()
    }
}

/// The counters of a router's providers. Counted under their own names are the models that a provider lists, its default ones, and those that routes name.
pub(crate) fn meters(deps: &RouterDeps, settings: &Settings, entries: &[Entry]) -> Meters {
    let models = |entry: &Entry| -> Vec<String> {
        let listed = entry.provider.models().into_iter().chain(entry.provider.describe().default_model.clone());
        let set = settings.default_model(&entry.id).cloned();
        let routed = settings.routes.values().flat_map(|route| route.groups.iter().flatten()).filter_map(|target| {
            let (id, model) = target.split_once('/')?;
            entry.is(&id.to_ascii_lowercase()).then(|| model.to_owned())
        });
        listed.chain(set).map(|model| model.as_str().to_owned()).chain(routed).collect()
    };
    let clients = settings.server.api_keys.iter().map(|key| key.name.as_str());
    Meters::new(&deps.ledger, entries.iter().map(|entry| (entry.id.as_str(), models(entry)))).with_clients(clients)
}

/// How many tokens a request took that ended; none where nobody can tell, and what was thought of it stands.
fn tokens_taken(trace: &Trace) -> Option<u64> {
    let left = trace.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::CallerCancelled);
    match (trace.cache, &trace.usage) {
        // Somebody else's call answered.
        (CacheStatus::Hit | CacheStatus::Coalesced, _) => Some(0),
        (_, Some(usage)) => Some(usage.total()),
        (_, None) if trace.served.is_none() && !left => Some(0),
        _ => None,
    }
}

/// Counts a request that ended under whoever answered, or was tried last.
fn count(meters: &Meters, trace: &Trace, client: Option<&str>) {
    let served = trace.served.as_ref().map(|served| (&served.provider, served.model.as_ref()));
    let tried = || trace.attempts.last().map(|attempt| (&attempt.provider, attempt.model.as_ref()));
    let (provider, model) = served.or_else(tried).map_or((None, None), |(id, model)| (Some(id.as_str()), model));
    let usage = trace.usage.unwrap_or_default();
    meters.end(&Ended {
        provider,
        model: model.map(|model| model.as_str()),
        client,
        failure: trace.error.as_ref().map(|error| error.kind().name()),
        cache: trace.cache.as_str(),
        retries: trace.attempts.windows(2).filter(|pair| is_retry(pair)).count() as u64,
        failed_attempts: trace.attempts.iter().filter(|attempt| attempt.error.is_some()).count() as u64,
        tokens: Tokens {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            reasoning: usage.reasoning,
        },
        first_content: trace.first_content,
        total: trace.total.unwrap_or_default(),
    });
}

fn is_retry(pair: &[Attempt]) -> bool {
    matches!(pair, [before, after] if (&before.provider, &before.model) == (&after.provider, &after.model))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
