//! The router: one path from a request to an answer.
//!
//! [`Router::call`] is the only entrance, whichever [`Door`] a request came by. `run` tells the story:
//! resolve a plan, then for each target look into the cache, attempt, retry, and go on until the first content event commits the answer. Wire formats and
//! HTTP are unknown here. Names become plans in `router/resolve.rs`, failures become decisions in `router/retry.rs`, what happened is in `router/record.rs`.

mod answer;
mod builder;
mod record;
pub mod refused;
pub mod resolve;
pub mod retry;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

pub use self::answer::Answer;
use self::answer::Committed;
pub use self::builder::RouterBuilder;
use self::record::{Recent, Record};
use self::refused::Refused;
use self::resolve::{Door, Entry, Plan, Planned, Scope};
use self::retry::{Decision, Place};
use crate::cache::{CacheKey, Joined};
use crate::config::Settings;
use crate::delta::DeltaStream;
use crate::deps::RouterDeps;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ProviderId, RequestId};
use crate::provider::{Availability, Call, Context, Deadlines, DynProvider, Target};
use crate::request::{Request, Substitute};
use crate::response::Response;
use crate::trace::{CacheStatus, Candidate, Served, Trace};

/// The router. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Router(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: RouterDeps,
    settings: Arc<Settings>,
    entries: Vec<Entry>,
    recent: Recent,
    refused: Refused,
}

/// A request with what the door it came by adds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Op {
    /// The request.
    pub request: Request,
    /// By which door it came.
    pub door: Door,
    /// A provider for this call alone, asked instead of any configured one.
    pub provider: Option<Arc<dyn DynProvider>>,
    /// The request's id, where the door gave it one already.
    pub id: Option<RequestId>,
}

impl Op {
    /// A request that came by `door`.
    pub fn new(request: Request, door: Door) -> Self {
        Self { request, door, provider: None, id: None }
    }

    /// With a provider for this call alone.
    #[must_use]
    pub fn via(mut self, provider: Arc<dyn DynProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Under an id that the door gave it, to say it in an error too.
    #[must_use]
    pub fn with_id(mut self, id: RequestId) -> Self {
        self.id = Some(id);
        self
    }
}

impl From<Request> for Op {
    fn from(request: Request) -> Self {
        Self::new(request, Door::Library)
    }
}

impl Router {
    /// A router over these providers, in resolution order. A remote tier of `deps` is put behind their cache's own, so hand in each `deps` that has one once.
    pub fn new(mut deps: RouterDeps, settings: Arc<Settings>, entries: Vec<Entry>) -> Self {
        if let Some(remote) = deps.remote_cache.clone() {
            deps.cache = deps.cache.map(|cache| cache.with_tier(remote));
        }
        Self(Arc::new(Inner { deps, settings, entries, recent: Recent::default(), refused: Refused::default() }))
    }

    /// Answers a request. Returns when the first content has come, or when the answer came from the cache; the rest streams.
    ///
    /// # Errors
    /// What a hook refuses with, the error of the plan, of the only target tried, or of the last one, which then names all of them.
    pub async fn call(&self, op: impl Into<Op>) -> Result<Answer> {
        self.run(op.into()).await
    }

    /// Answers a request with a whole response.
    ///
    /// # Errors
    /// As [`Router::call`], and what breaks the answer later.
    pub async fn generate(&self, request: Request) -> Result<Response> {
        self.call(request).await?.collect().await
    }

    /// The plan of a request, and each target's cache key. Nothing is sent.
    ///
    /// # Errors
    /// As [`resolve::plan`].
    pub async fn explain(&self, request: &Request, door: Door) -> Result<(Plan, Vec<Option<CacheKey>>)> {
        let mut request = request.clone();
        self.keep_private(&mut request);
        let plan = resolve::plan(&request, self.scope(door, &self.passed_over(&request).await))?;
        let keys = plan.targets.iter().map(|planned| self.key(&request, &planned.target)).collect();
        Ok((plan, keys))
    }

    /// What happened to a request that this router served lately.
    pub fn trace(&self, id: &RequestId) -> Option<Arc<Trace>> {
        self.0.recent.get(id)
    }

    /// The providers, in resolution order.
    pub fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The dependencies.
    pub fn deps(&self) -> &RouterDeps {
        &self.0.deps
    }

    /// What a provider may use, outside of any request.
    pub fn context(&self) -> Context {
        self.context_of(self.new_id())
    }

    /// An id for a request that is about to come.
    pub fn new_id(&self) -> RequestId {
        let deps = &self.0.deps;
        deps.ids.request_id(deps.clock.now())
    }

    /// What a provider may use for the request of this id.
    pub fn context_of(&self, id: RequestId) -> Context {
        let deps = &self.0.deps;
        let mut cx = Context::new(deps.http.clone(), Arc::clone(&deps.clock), id);
        cx.cancel = deps.shutdown.child_token();
        cx
    }

    /// The providers that automatic plans pass over because they refused their key or login lately.
    pub async fn refused(&self) -> Vec<ProviderId> {
        let (deps, refused) = (&self.0.deps, &self.0.refused);
        let now = deps.clock.now();
        refused.load(deps.store.as_ref(), now).await;
        let passed_over = self.0.entries.iter().filter(|entry| refused.holds(&*entry.provider, now));
        passed_over.map(|entry| entry.id.clone()).collect()
    }

    /// Forgets all refusals, so that everyone is asked again.
    ///
    /// # Errors
    /// `router_unavailable` when the state store cannot be written.
    pub async fn forget_refusals(&self) -> Result<()> {
        self.0.refused.forget(self.0.deps.store.as_ref()).await
    }

    fn scope<'a>(&'a self, door: Door, refused: &'a [ProviderId]) -> Scope<'a> {
        Scope { entries: &self.0.entries, settings: &self.0.settings, door, refused }
    }

    fn key(&self, request: &Request, target: &Target) -> Option<CacheKey> {
        self.0.deps.cache.as_ref().and_then(|cache| cache.key(request, target).ok())
    }

    async fn run(&self, op: Op) -> Result<Answer> {
        let record = Arc::new(Record::open(&self.0.deps, &self.0.recent, op.id.clone()));
        match self.committed(op, &record).await {
            Ok(committed) => Ok(Answer::new(committed, record, self.0.deps.shutdown.clone())),
            Err(error) => {
                record.failed(&error);
                Err(error)
            }
        }
    }

    async fn committed(&self, op: Op, record: &Arc<Record>) -> Result<Committed> {
        let Op { mut request, door, provider, .. } = op;
        self.ask_hooks(&mut request)?;
        self.keep_private(&mut request);
        if provider.is_some() {
            // It may share its id with another one, and answers are stored by id.
            request.cache.enabled = Some(false);
        }
        let plan = match provider {
            Some(provider) => only(provider, &request)?,
            None => resolve::plan(&request, self.scope(door, &self.passed_over(&request).await))?,
        };
        record.planned(&plan);
        let total = request.timeout;
        let request = Arc::new(request);
        let answering = async {
            tokio::select! {
                answered = self.first_answer(&request, plan, door, record) => answered,
                () = self.0.deps.shutdown.cancelled() => Err(answer::shutting_down()),
            }
        };
        // Each target has its own limits; the caller's holds for all of them together.
        let Some(total) = total else { return answering.await };
        timeout(total, answering).await.unwrap_or_else(|_| Err(late(total)))
    }

    /// Shows the request to the hooks. One that changes it must not leave the body as received behind, which would go out instead.
    fn ask_hooks(&self, request: &mut Request) -> Result<()> {
        let hooks = &self.0.deps.hooks;
        let before = request.origin.as_ref().filter(|_| !hooks.is_empty()).map(|_| request.clone());
        for hook in hooks {
            hook.on_request(request)?;
        }
        let Some(mut before) = before else { return Ok(()) };
        // These three are spliced into the body as received.
        before.model.clone_from(&request.model);
        before.provider.clone_from(&request.provider);
        before.stream = request.stream;
        if before != *request {
            request.origin = None;
        }
        Ok(())
    }

    /// The operator's rule and the caller's: the stricter one holds.
    fn keep_private(&self, request: &mut Request) {
        request.riders.privacy = request.riders.privacy.min(self.0.settings.router.privacy);
    }

    /// Whom this request's plan passes over; nobody where somebody was named.
    async fn passed_over(&self, request: &Request) -> Vec<ProviderId> {
        if resolve::names_somebody(request) { Vec::new() } else { self.refused().await }
    }

    /// Goes through the plan until a target commits.
    async fn first_answer(
        &self,
        request: &Arc<Request>,
        mut plan: Plan,
        door: Door,
        record: &Arc<Record>,
    ) -> Result<Committed> {
        // Whoever named nobody was promised nobody. Of a route it is the first target that counts, even one that is left out.
        let first = plan.candidates.first().filter(|_| resolve::names_somebody(request));
        let asked = first.map(|first| Target::new(first.provider.clone(), first.model.clone()));
        let mut failures = Vec::new();
        plan.targets.reverse();
        while let Some(planned) = plan.targets.pop() {
            let others = !plan.targets.is_empty();
            match self.answer_from(request, &planned, others, record).await {
                Ok(committed) => {
                    let substituted = asked.filter(|asked| *asked != planned.target).map(|asked| asked.to_string());
                    record.served(Served { substituted, ..Served::new(planned.target.provider, planned.target.model) });
                    return Ok(committed);
                }
                Err(error) => {
                    let default = self.default_instead(&error, request, &planned, door);
                    let goes_on = default.is_some()
                        || retry::decide(&error, Place { attempt: retry::MAX_ATTEMPTS, others, jitter: 0.0 })
                            == Decision::Next;
                    plan.targets.extend(default);
                    let deps = &self.0.deps;
                    self.0.refused.note(&*planned.provider, &error, deps.store.as_ref(), deps.clock.now()).await;
                    failures.push(error.at(&planned.target.provider, planned.target.model.as_ref()));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        Err(last_of(failures, &plan.candidates))
    }

    /// The same provider with its default model, where it does not know the one asked for and the caller may be given another.
    fn default_instead(&self, error: &Error, request: &Request, planned: &Planned, door: Door) -> Option<Planned> {
        let may = error.kind() == ErrorKind::CallerModelUnknown
            && door != Door::CompatibleApi
            && request.provider.is_some()
            && request.riders.substitute != Substitute::Never
            && self.0.settings.router.model_fallback;
        let model = planned.provider.describe().default_model.as_ref().filter(|_| may)?;
        let model = planned.provider.exact_model(model);
        (planned.target.model.as_ref() != Some(&model)).then(|| {
            let target = Target::new(planned.target.provider.clone(), Some(model));
            Planned { target, ..planned.clone() }
        })
    }

    /// One target's answer: from the cache, from a call under way, or from a call of our own.
    async fn answer_from(
        &self,
        request: &Arc<Request>,
        planned: &Planned,
        others: bool,
        record: &Arc<Record>,
    ) -> Result<Committed> {
        let cache = self.0.deps.cache.clone().filter(|cache| cache.covers(request));
        let Some((cache, key)) =
            cache.and_then(|cache| cache.key(request, &planned.target).ok().map(|key| (cache, key)))
        else {
            if request.cache.only_if_cached {
                return Err(not_cached("the request asked for a stored answer, and the cache is off for it"));
            }
            record.cache(CacheStatus::Bypass, None);
            let attempts = Attempts::new(self, request, planned, others, record);
            return attempts.committed().await;
        };
        if let Some(stored) = cache.get(&key, request).await {
            record.cache(CacheStatus::Hit, Some(&key));
            return Ok(Committed::replay(&stored, request.stream));
        }
        if request.cache.only_if_cached {
            return Err(not_cached("the answer is not in the cache, and the request asked for nothing else"));
        }
        let attempts = Attempts::new(self, request, planned, others, record);
        let (shared, joined) =
            cache.join(&key, request, || cache.fill(&key, request, &planned.target, attempts.into_stream()));
        let status = if joined == Joined::First { CacheStatus::Miss } else { CacheStatus::Coalesced };
        record.cache(status, Some(&key));
        // Whoever joined waits as long as its own request allows, not as long as the one that began the call.
        within(planned.deadlines.total, Committed::of(shared)).await
    }
}

/// Waits for the first content no longer than `total`.
async fn within(total: Duration, content: impl Future<Output = Result<Committed>>) -> Result<Committed> {
    timeout(total, content).await.unwrap_or_else(|_| Err(late(total)))
}

fn not_cached(message: &str) -> Error {
    Error::unavailable(message).with_hint("drop `only-if-cached` to have it generated")
}

/// A plan of one provider that the caller brought along.
fn only(provider: Arc<dyn DynProvider>, request: &Request) -> Result<Plan> {
    let describe = provider.describe().clone();
    if describe.privacy > request.riders.privacy {
        return Err(
            Error::new(ErrorKind::PolicyForbidden, "the request's privacy does not allow it").at(&describe.id, None)
        );
    }
    if let Availability::Missing { what, hint } = provider.availability() {
        return Err(Error::unavailable(what).with_hint(hint).at(&describe.id, None));
    }
    let model = request.model.as_deref().map(crate::ids::ModelName::new).transpose()?.or(describe.default_model);
    let mut deadlines = Deadlines::default();
    deadlines.total = request.timeout.unwrap_or(deadlines.total);
    let target = Target::new(describe.id, model);
    Ok(Plan { targets: vec![Planned { provider, target, deadlines }], candidates: Vec::new() })
}

fn late(total: Duration) -> Error {
    Error::timeout(format!("no content within {} s", total.as_secs_f64()))
        .with_hint("allow more with `--timeout`, or `timeouts.total` in the config")
}

/// The error that the caller sees: the only one as it is, or the last one with all that came before it, and who would have been next.
fn last_of(mut failures: Vec<Error>, candidates: &[Candidate]) -> Error {
    let Some(last) = failures.pop() else { return Error::internal("a plan without targets") };
    if failures.is_empty() {
        return last;
    }
    let tried = failures.iter().chain([&last]).map(ToString::to_string);
    let next = candidates.iter().rev().take_while(|candidate| !candidate.planned).collect::<Vec<_>>();
    let left_out = next.iter().rev().map(|candidate| format!("{}: {}", candidate.provider, candidate.reason));
    let all: Vec<String> = tried.chain(left_out).collect();
    let error = Error::new(last.kind(), format!("every target failed: {}", all.join("; ")))
        .with_hint(last.hint().unwrap_or("`llm-router doctor` says what each provider needs"));
    let soonest = failures.iter().chain([&last]).filter_map(Error::retry_after).min();
    soonest.map_or(error.clone(), |after| error.with_retry_after(after))
}

/// All attempts at one target.
struct Attempts {
    router: Router,
    request: Arc<Request>,
    planned: Planned,
    others: bool,
    record: Arc<Record>,
}

impl Attempts {
    fn new(router: &Router, request: &Arc<Request>, planned: &Planned, others: bool, record: &Arc<Record>) -> Self {
        Self {
            router: router.clone(),
            request: Arc::clone(request),
            planned: planned.clone(),
            others,
            record: Arc::clone(record),
        }
    }

    /// Tries until one attempt commits, as `retry` allows. The total deadline ends here with the commit; from there on providers hold to theirs, which do
    /// not count the time that a slow reader takes.
    async fn committed(self) -> Result<Committed> {
        let total = self.planned.deadlines.total;
        let tries = async {
            for attempt in 1.. {
                let error = match self.attempt(attempt).await {
                    Ok(committed) => return Ok(committed),
                    Err(error) => error,
                };
                let jitter = self.router.0.deps.ids.jitter();
                match retry::decide(&error, Place { attempt, others: self.others, jitter }) {
                    Decision::Again(wait) => tokio::time::sleep(wait).await,
                    Decision::Next | Decision::Stop => return Err(error),
                }
            }
            Err(Error::internal("attempts ran out of numbers"))
        };
        within(total, tries).await
    }

    async fn attempt(&self, attempt: u32) -> Result<Committed> {
        let deps = &self.router.0.deps;
        let began = deps.clock.instant();
        let cx = self.router.context_of(self.record.id());
        let mut call = Call::new(Arc::clone(&self.request), self.planned.target.clone(), cx.clone());
        call.attempt = attempt;
        call.deadlines = self.planned.deadlines;
        let outcome = match self.planned.provider.generate(Arc::new(call)).await {
            Ok(stream) => Committed::of(stream).await,
            Err(error) => Err(error),
        };
        // A server that was only guessed and is not there was never a target.
        let absent = |error: &Error| {
            error.kind() == ErrorKind::ProviderUnavailable && !self.planned.provider.availability().is_ready()
        };
        if !outcome.as_ref().is_err_and(absent) {
            self.record.attempted(&self.planned.target, began, outcome.as_ref().err());
        }
        self.record.dropped(cx.dropped());
        outcome
    }

    /// The attempts as a stream, for a flight that several listen to.
    fn into_stream(self) -> DeltaStream {
        DeltaStream::new(stream::once(self.committed()).map_ok(Committed::into_stream).try_flatten().boxed())
    }
}
