//! The record of one request: filled while it runs, closed when its stream finishes *or* is dropped. What becomes of it then is `record/end.rs`.

pub(super) mod end;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::charge::{Paid, Payer};
use super::resolve::{Plan, Planned};
use super::{Op, Router};
use crate::cache::CacheKey;
use crate::dialect::FieldPath;
use crate::error::{Error, ErrorKind};
use crate::ids::RequestId;
use crate::limits::{Holder, Permit};
use crate::provider::{Context, Target};
use crate::telemetry::{Gaps, SHARDS, own_shard};
use crate::trace::{Attempt, CacheStatus, Candidate, Hedged, Operation, Resumed, Served, Span, Trace, TraceContext};
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
    /// Where the request stands in somebody's trace, for those who are asked.
    context: Option<TraceContext>,
    /// The tier that a stored answer came from.
    tier: OnceLock<&'static str>,
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
    /// Who holds the limits under which it asks.
    holder: OnceLock<Arc<Holder>>,
    /// Its place within the limits of its key, given back at its end.
    permit: OnceLock<Permit>,
    /// What its calls took of the tokens that its key may have.
    taken: Mutex<Taken>,
}

/// The tokens of all calls that were made for a request: of each attempt that may have been paid for, each hedge, whatever became of the answer.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// What was thought of one call when the request was let in.
    thought: u64,
    /// Those of calls of which something is known.
    known: u64,
    /// Whether a call was settled at all.
    settled: bool,
}

impl Taken {
    /// A call is settled. One of which nothing was seen may have taken all that was thought.
    fn add(&mut self, usage: Option<Usage>) {
        self.known = self.known.saturating_add(usage.map_or(self.thought, |usage| usage.total()));
        self.settled = true;
    }
}

impl Record {
    pub(crate) fn open(router: &Router, op: &Op, (operation, paid): (Operation, Paid)) -> Self {
        router.0.meters.begin();
        let deps = router.deps();
        let now = deps.clock.now();
        let mut trace = Trace::new(op.id.clone().unwrap_or_else(|| deps.ids.request_id(now)), now);
        (trace.operation, trace.client) = (operation, op.client.clone());
        // Who collects spans makes them from the record; without anybody a client's place is passed on as it is.
        trace.span = deps.watch.as_ref().map(|watch| {
            let (id, above) = (deps.ids.span(), op.context.as_ref());
            let context =
                above.map_or_else(|| TraceContext::new(deps.ids.trace(), id, watch.samples()), |above| above.at(id));
            Span::new(context, above.map(|above| above.span))
        });
        let context = trace.span.as_ref().map(|span| span.context.clone()).or_else(|| op.context.clone());
        Self {
            trace: Mutex::new(trace),
            context,
            tier: OnceLock::new(),
            began: op.arrived.unwrap_or_else(|| deps.clock.instant()),
            router: router.clone(),
            ending: deps.shutdown.child_token(),
            client: op.client.clone(),
            team: op.team.clone(),
            kept: paid != Paid::Free,
            holder: OnceLock::new(),
            permit: OnceLock::new(),
            taken: Mutex::default(),
        }
    }

    /// Remembers who holds the limits.
    pub(crate) fn asked_by(&self, holder: Arc<Holder>) {
        let _ = self.holder.set(holder);
    }

    /// Where the next attempt stands in somebody's trace: at a span of its own where they are collected.
    pub(crate) fn next_span(&self) -> Option<TraceContext> {
        let context = self.context.as_ref()?;
        let deps = self.router.deps();
        Some(if deps.watch.is_some() { context.at(deps.ids.span()) } else { context.clone() })
    }

    /// Whether somebody collects spans.
    pub(crate) fn is_watched(&self) -> bool {
        self.router.deps().watch.is_some()
    }

    /// What the provider calls the model that answers.
    pub(crate) fn answered_as(&self, model: &str) {
        lock(&self.trace).answered_as = Some(model.to_owned()).filter(|model| !model.is_empty());
    }

    /// Counts how long the events of an answer are waited for: of one that a provider gives.
    pub(crate) fn gaps(&self) -> Option<Gaps> {
        let trace = lock(&self.trace);
        let served = trace.served.as_ref().filter(|_| trace.cache != CacheStatus::Hit)?;
        let model = served.model.as_ref().map(|model| model.as_str());
        Some(Gaps::new(self.router.0.meters.of(served.provider.as_str(), model)))
    }

    /// The time, as the request's clock has it.
    pub(crate) fn now(&self) -> Instant {
        self.router.deps().clock.instant()
    }

    /// The tier that the stored answer came from.
    pub(crate) fn found_in(&self, tier: &'static str) {
        let _ = self.tier.set(tier);
    }

    /// Keeps a place until the request's end; a call of it is thought to take as many tokens.
    pub(crate) fn admitted(&self, permit: Permit, thought: u64) {
        lock(&self.taken).thought = thought;
        if let Some(alone) = permit.alone() {
            lock(&self.trace).limits = Some(alone.to_owned());
        }
        let _ = self.permit.set(permit);
    }

    /// Who holds the limits under which the request asks.
    pub(crate) fn holder(&self) -> Option<&Arc<Holder>> {
        self.holder.get()
    }

    /// Who pays for what the request makes others do.
    pub(crate) fn payer(&self) -> Payer {
        let holder = self.holder().cloned();
        let (key, team) = holder.as_ref().map(Holder::payers).unwrap_or_default();
        let (key, team) = (key.or(self.client.as_ref()).cloned(), team.or(self.team.as_ref()).cloned());
        let counters = holder.as_ref().and_then(|holder| holder.counters(&self.router.deps().ledger));
        let counters = counters.or_else(|| self.router.0.meters.client(key.as_deref()?)).cloned();
        Payer { purse: self.permit.get().map(Permit::payer), key, team, counters }
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

    /// A target of the plan was not asked, since it costs more than its key may spend.
    pub(crate) fn passed_over(&self, planned: &Planned, error: &Error) {
        let mut trace = lock(&self.trace);
        let Target { provider, model } = &planned.target;
        let mut left_out = Candidate::new(provider.clone(), model.clone(), false, error.message());
        (left_out.key, left_out.hint) = (planned.key, error.hint().map(str::to_owned));
        let is_it = |other: &&mut Candidate| other.provider == *provider && other.model == *model;
        let mut is_there = false;
        // All keys of a provider cost the same.
        for candidate in trace.candidates.iter_mut().filter(is_it) {
            is_there = true;
            *candidate = Candidate { key: candidate.key, ..left_out.clone() };
        }
        if !is_there && trace.candidates.len() < Trace::LIMIT {
            trace.candidates.push(left_out);
        }
    }

    pub(crate) fn cache(&self, status: CacheStatus, key: Option<&CacheKey>) {
        let mut trace = lock(&self.trace);
        trace.cache = status;
        if matches!(status, CacheStatus::Hit | CacheStatus::Coalesced) {
            // Somebody else's call answered, and paid; what was asked before it stays to be paid.
            trace.cost_micros.get_or_insert(0);
        }
        trace.key = key.map(|key| key.printed().to_owned());
    }

    pub(crate) fn attempted(&self, planned: &Planned, since: Instant, error: Option<&Error>) {
        self.attempted_at(planned, since, error, None);
    }

    /// As [`Record::attempted`], for an attempt that had a place in somebody's trace.
    pub(crate) fn attempted_at(&self, planned: &Planned, since: Instant, error: Option<&Error>, cx: Option<&Context>) {
        let mut attempt = self.attempt(planned, since, cx.and_then(|cx| cx.trace.clone()));
        if let Some(cx) = cx {
            (attempt.peer, attempt.receipt) = cx.asked();
        }
        attempt.error = error.cloned();
        let mut trace = lock(&self.trace);
        if trace.attempts.len() < Trace::LIMIT {
            // Nearly always the only one.
            trace.attempts.reserve_exact(1);
            trace.attempts.push(attempt);
        }
    }

    /// A call was given up before anything came of it.
    pub(crate) fn given_up(&self, planned: &Planned, since: Instant, at: Option<TraceContext>) {
        let attempt = self.attempt(planned, since, at);
        let mut trace = lock(&self.trace);
        if trace.given_up.len() < Trace::LIMIT {
            trace.given_up.push(attempt);
        }
    }

    /// An attempt that began then and is over now.
    fn attempt(&self, planned: &Planned, since: Instant, at: Option<TraceContext>) -> Attempt {
        let mut attempt = attempt_at(planned);
        attempt.began = Some(since.saturating_duration_since(self.began));
        attempt.took = Some(self.since(since));
        let above = lock(&self.trace).span.as_ref().map(|span| span.context.span);
        attempt.span = at.filter(|_| above.is_some()).map(|context| Span::new(context, above));
        attempt
    }

    /// A target was left alone for a while, and asked after that unless there is an error.
    pub(crate) fn held(&self, planned: &Planned, error: Option<&Error>, waited: Duration) {
        let mut trace = lock(&self.trace);
        if trace.held.len() < Trace::LIMIT {
            let mut held = attempt_at(planned);
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

    /// Another target was asked beside one that was late.
    pub(crate) fn hedged(&self, hedged: Hedged) {
        let mut trace = lock(&self.trace);
        if trace.hedges.len() < Trace::LIMIT {
            trace.hedges.push(hedged);
        }
    }

    /// What was told last of the cache and of fields left out.
    pub(crate) fn told(&self) -> Told {
        let trace = lock(&self.trace);
        Told { cache: trace.cache, key: trace.key.clone(), dropped: trace.dropped.clone() }
    }

    /// Tells it again.
    pub(crate) fn tell(&self, Told { cache, key, dropped }: Told) {
        let mut trace = lock(&self.trace);
        (trace.cache, trace.key, trace.dropped) = (cache, key, dropped);
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

    /// A call is settled: what it cost and what it used, where that is known, and whether it is the one that answers.
    pub(crate) fn spent(&self, cost: Option<u64>, usage: Option<Usage>, answers: bool) {
        lock(&self.taken).add(usage);
        let mut trace = lock(&self.trace);
        match cost {
            Some(micros) => trace.cost_micros = Some(trace.cost_micros.unwrap_or(0).saturating_add(micros)),
            None => trace.unpriced += 1,
        }
        // What the provider told of a broken answer is of its beginning.
        if let Some(estimate) = usage.filter(|usage| answers && usage.estimated)
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

/// What a record says of the target that is asked.
#[derive(Debug)]
pub(crate) struct Told {
    cache: CacheStatus,
    key: Option<String>,
    dropped: Vec<FieldPath>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("trace", &self.trace).finish_non_exhaustive()
    }
}

fn attempt_at(planned: &Planned) -> Attempt {
    let mut attempt = Attempt::new(planned.target.provider.clone(), planned.target.model.clone());
    attempt.key = planned.key;
    attempt
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
