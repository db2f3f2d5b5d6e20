//! The router: one path from a request to an answer.
//!
//! [`Router::call`] is the only entrance, whichever [`Door`] a request came by. `run` tells the story:
//! resolve a plan, then for each target look into the cache, attempt, retry, and go on until the first content event commits the answer. Wire formats and
//! HTTP are unknown here. Names become plans in `router/resolve.rs`, one target is asked in `router/attempts.rs`, for what in
//! `router/asking.rs`, a plan is gone through in `router/course.rs`, failures become decisions in
//! `router/retry.rs`, what happened is in `router/record.rs`.

mod allowance;
mod answer;
mod asking;
mod attempts;
mod balance;
pub mod breaker;
mod builder;
mod charge;
mod count;
mod course;
mod deadlines;
mod envelope;
pub mod explain;
mod first_event;
mod hedge;
mod needs;
mod onward;
mod opening;
mod reach;
mod record;
pub mod refused;
pub mod resolve;
mod resume;
pub mod retry;
mod sealed;
mod windows;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::answer::Answer;
use self::asking::{Asking, Text};
use self::balance::{Balances, Turn};
use self::breaker::{Breakers, Instances};
pub use self::builder::RouterBuilder;
pub use self::count::TokenCount;
use self::course::meant;
use self::envelope::Enveloping;
use self::hedge::Hedges;
use self::record::{Recent, Record};
use self::refused::Refused;
use self::resolve::{Door, Entry, Plan, Planned, Scope};
use self::retry::Budget;
use self::sealed::{Learning, Makers};
use crate::cache::CacheKey;
use crate::config::Settings;
use crate::deps::RouterDeps;
use crate::dialect::Dialect;
use crate::error::Result;
use crate::ids::{ProviderId, RequestId};
use crate::limits::Holder;
use crate::provider::{Context, DynProvider, Target};
use crate::request::{Hold, Request, Resume};
use crate::response::Response;
use crate::telemetry::Meters;
use crate::trace::{Trace, TraceContext};

/// The router. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Router(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: RouterDeps,
    settings: Arc<Settings>,
    entries: Vec<Entry>,
    recent: Arc<Recent>,
    refused: Arc<Refused>,
    /// Of each entry, in their order.
    breakers: Vec<Arc<Breakers>>,
    balances: Balances,
    hedges: Hedges,
    retries: Budget,
    makers: Arc<Makers>,
    meters: Meters,
}

/// A request with what the door it came by adds: for text, or for embeddings or pictures.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Op<R = Request> {
    /// The request.
    pub request: R,
    /// By which door it came.
    pub door: Door,
    /// A provider for this call alone, asked instead of any configured one.
    pub provider: Option<Arc<dyn DynProvider>>,
    /// The request's id, where the door gave it one already.
    pub id: Option<RequestId>,
    /// The name of the key by which a client of the server asks; what it costs is counted under it.
    pub client: Option<Arc<str>>,
    /// The team of that key, under which it is counted too.
    pub team: Option<Arc<str>>,
    /// Who holds the limits under which it asks.
    pub holder: Option<Arc<Holder>>,
    /// Where it stands in the trace of whoever sent it.
    pub context: Option<TraceContext>,
    /// When it arrived, where that was before it is handed over.
    pub arrived: Option<Instant>,
}

impl<R> Op<R> {
    /// A request that came by `door`.
    pub fn new(request: R, door: Door) -> Self {
        Self {
            request,
            door,
            provider: None,
            id: None,
            client: None,
            team: None,
            holder: None,
            context: None,
            arrived: None,
        }
    }

    /// With a provider for this call alone.
    #[must_use]
    pub fn via(mut self, provider: Arc<dyn DynProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// As the client of this key's name asks.
    #[must_use]
    pub fn for_client(mut self, name: Option<Arc<str>>) -> Self {
        self.client = name;
        self
    }

    /// As one of this team; a holder's own team comes first.
    #[must_use]
    pub fn of_team(mut self, name: Option<Arc<str>>) -> Self {
        self.team = name;
        self
    }

    /// Within the limits of this holder.
    #[must_use]
    pub fn within(mut self, holder: Option<Arc<Holder>>) -> Self {
        self.holder = holder;
        self
    }

    /// At this place in the trace of whoever sent it.
    #[must_use]
    pub fn under(mut self, context: Option<TraceContext>) -> Self {
        self.context = context;
        self
    }

    /// As one that arrived at this time of the router's clock.
    #[must_use]
    pub fn arrived(mut self, at: Instant) -> Self {
        self.arrived = Some(at);
        self
    }

    /// Under an id that the door gave it, to say it in an error too.
    #[must_use]
    pub fn with_id(mut self, id: RequestId) -> Self {
        self.id = Some(id);
        self
    }
}

impl<R> From<R> for Op<R> {
    fn from(request: R) -> Self {
        Self::new(request, Door::Library)
    }
}

impl From<Request> for Box<Op> {
    fn from(request: Request) -> Self {
        Self::new(Op::from(request))
    }
}

impl Router {
    /// A router over these providers, in resolution order. A remote tier of `deps` is put behind their cache's own, and is a part of it from then on.
    pub fn new(mut deps: RouterDeps, settings: Arc<Settings>, entries: Vec<Entry>) -> Self {
        if let (Some(cache), Some(remote)) = (deps.cache.clone(), deps.remote_cache.take()) {
            deps.cache = Some(cache.with_tier(remote));
        }
        deps.books = deps.open_books();
        let meters = record::end::meters(&deps, &settings, &entries);
        let breakers = Instances::of_all(&deps, &entries);
        let (balances, hedges) = (Balances::new(&deps, &settings), Hedges::new(&settings));
        let retries = Budget::new(settings.router.retry_percent, settings.router.retry_floor);
        // What was learnt stays where a router takes the place of another one of the same dependencies.
        let recent = deps.get_or_create("recent", || Ok(Recent::default())).unwrap_or_default();
        let refused = deps.get_or_create("refused", || Ok(Refused::default())).unwrap_or_default();
        let makers = deps.get_or_create("makers", || Ok(Makers::default())).unwrap_or_default();
        Self(Arc::new(Inner {
            deps,
            settings,
            entries,
            recent,
            refused,
            breakers,
            balances,
            hedges,
            retries,
            makers,
            meters,
        }))
    }

    /// Answers a request. Returns when the first content has come, or when the answer came from the cache; the rest streams.
    ///
    /// # Errors
    /// What a hook refuses with, the error of the plan, of the only target tried, or of the last one, which then names all of them.
    pub fn call<O: Into<Box<Op>>>(&self, op: O) -> impl Future<Output = Result<Answer>> + Send + use<'_, O> {
        // In a box from here on: a future keeps a copy of what it was moved through, and connections keep the futures of their requests.
        self.answer(op.into())
    }

    async fn answer(&self, op: Box<Op>) -> Result<Answer> {
        let heard = op.request.origin.as_ref().map(|origin| origin.dialect);
        let (committed, target, record) = self.run(op, Text).await?;
        let foreign = heard.filter(|_| self.is_foreign(&target, heard));
        let enveloping = foreign.map(|heard| {
            let now = self.0.deps.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Box::new(Enveloping::new(target.clone(), envelope::answer_id(heard, &record.id()), now.as_secs()))
        });
        let learning = Learning::new(&self.0.makers, target);
        Ok(Answer::new(committed, record, learning, enveloping))
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
        self.limit_riders(&mut request);
        let mut plan = resolve::plan(&request, self.scope(door, &self.passed_over(&request).await))?;
        balance::arrange(self, &mut plan, &request, Turn::Look);
        let (meant, request) = (meant(&request, &plan), Arc::new(request));
        let key = |planned: &Planned| {
            let (request, _) = self.0.makers.for_target(&request, planned, meant.as_ref() == Some(&planned.target));
            self.key(&request, &planned.target)
        };
        let keys = plan.targets.iter().map(key).collect();
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
        self.context_until(self.0.deps.shutdown.child_token(), id)
    }

    fn context_until(&self, cancel: CancellationToken, id: RequestId) -> Context {
        let deps = &self.0.deps;
        Context::until(cancel, deps.http.clone(), Arc::clone(&deps.clock), id)
    }

    /// The providers that automatic plans pass over because they refused their key or login lately.
    pub async fn refused(&self) -> Vec<ProviderId> {
        let (deps, refused) = (&self.0.deps, &self.0.refused);
        let now = deps.clock.now();
        refused.load(deps.store.as_ref(), now).await;
        // One that has several keys is passed over when all of them were refused.
        let holds = |entry: &&Entry| match entry.keys.as_slice() {
            [] => refused.holds(&*entry.provider, now),
            keys => keys.iter().all(|key| refused.holds(&**key, now)),
        };
        let passed_over = self.0.entries.iter().filter(holds);
        passed_over.map(|entry| entry.id.clone()).collect()
    }

    /// Forgets all refusals and closes all breakers, so that everyone is asked again.
    ///
    /// # Errors
    /// `router_unavailable` when the state store cannot be written.
    pub async fn forget_refusals(&self) -> Result<()> {
        self.close_breakers();
        self.0.refused.forget(self.0.deps.store.as_ref()).await
    }

    fn scope<'a>(&'a self, door: Door, refused: &'a [ProviderId]) -> Scope<'a> {
        Scope {
            entries: &self.0.entries,
            settings: &self.0.settings,
            prices: &self.0.deps.prices,
            door,
            refused,
            vectors: false,
        }
    }

    fn key(&self, request: &Request, target: &Target) -> Option<CacheKey> {
        self.0.deps.cache.as_ref().and_then(|cache| cache.key(request, target).ok())
    }

    async fn run<A: Asking>(&self, op: Box<Op>, asking: A) -> Result<(A::Done, Target, Arc<Record>)> {
        let record = Arc::new(Record::open(self, &op, (A::OPERATION, A::PAID)));
        match self.committed(op, asking, &record).await {
            Ok((done, target)) => Ok((done, target, record)),
            Err(error) => {
                record.failed(&error);
                Err(error)
            }
        }
    }

    /// Whether a target speaks another dialect than the caller hears. Who hears our own gets everything as it is.
    fn is_foreign(&self, target: &Target, heard: Option<Dialect>) -> bool {
        let entry = self.0.entries.iter().find(|entry| entry.id == target.provider);
        let heard = heard.filter(|heard| *heard != Dialect::Native);
        heard.zip(entry).is_some_and(|(heard, entry)| !entry.provider.describe().dialects.contains(&heard))
    }

    async fn committed<A: Asking>(
        &self,
        mut op: Box<Op>,
        mut asking: A,
        record: &Arc<Record>,
    ) -> Result<(A::Done, Target)> {
        let request = &mut op.request;
        self.ask_hooks(request)?;
        if !self.0.deps.hooks.is_empty() {
            asking.heed(request);
        }
        self.limit_riders(request);
        if op.provider.is_some() {
            // It may share its id with another one, and answers are stored by id.
            request.cache.enabled = Some(false);
        }
        allowance::fit(self, op.holder.take(), request, record);
        let passed_over = if op.provider.is_some() { Vec::new() } else { self.passed_over(&op.request).await };
        let (request, door) = (&op.request, op.door);
        let scope = Scope { vectors: A::VECTORS, ..self.scope(door, &passed_over) };
        let mut plan = match op.provider.take() {
            Some(provider) => resolve::plan_via(provider, request, scope)?,
            None => resolve::plan(request, scope)?,
        };
        allowance::leave_allowed(self, &mut plan, request, record)?;
        balance::arrange(self, &mut plan, request, Turn::Take);
        self.0.hedges.prepare::<A>(self, &mut plan, request);
        allowance::admit(self, request, &plan, A::PAID, record).await?;
        record.planned(&plan);
        let total = request.timeout;
        let request = Arc::new(op.request);
        // In a box: a future keeps a copy of each one that it was moved through, and this one is large.
        let answering = Box::pin(async {
            tokio::select! {
                biased;
                answered = self.first_answer(&request, &asking, plan, door, record) => answered,
                () = record.ending().cancelled() => Err(answer::shutting_down()),
            }
        });
        // Each target has its own limits; the caller's holds for all of them together.
        let Some(total) = total else { return answering.await };
        timeout(total, answering).await.unwrap_or_else(|_| Err(attempts::late(total)))
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

    /// The operator's rules and the caller's: the stricter ones hold.
    fn limit_riders(&self, request: &mut Request) {
        let most = &self.0.settings.router;
        let route = resolve::route_of(request, &self.0.settings).and_then(|name| self.0.settings.routes.get(name));
        let riders = &mut request.riders;
        let privacy = riders.privacy.min(most.privacy).min(route.and_then(|route| route.privacy).unwrap_or_default());
        let max_price = [riders.max_price, route.and_then(|route| route.max_price)].into_iter().flatten().min();
        let substitute = riders.substitute.min(most.substitute);
        let before = (riders.privacy, riders.max_price, riders.substitute);
        (riders.privacy, riders.max_price, riders.substitute) = (privacy, max_price, substitute);
        // Of all dialects only our own says them in its body, and the next router must hear the stricter ones.
        if before != (privacy, max_price, substitute) {
            request.origin.take_if(|origin| origin.dialect == Dialect::Native);
        }
        let route = request.model.as_deref().filter(|_| request.provider.is_none());
        let route = route.and_then(|model| self.0.settings.routes.get(model));
        // What a request says of these goes before everything. What is nobody's wish is not written down.
        let hold = route.and_then(|route| route.hold).unwrap_or(most.hold);
        request.riders.hold = request.riders.hold.or(Some(hold)).filter(|hold| *hold != Hold::default());
        let resume = route.and_then(|route| route.resume).unwrap_or(most.resume);
        request.riders.resume = request.riders.resume.or(Some(resume)).filter(|resume| *resume != Resume::default());
    }

    /// Whom this request's plan passes over; nobody where somebody was named.
    async fn passed_over(&self, request: &Request) -> Vec<ProviderId> {
        if resolve::names_somebody(request) { Vec::new() } else { Box::pin(self.refused()).await }
    }
}
