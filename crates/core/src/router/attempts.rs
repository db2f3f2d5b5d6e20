//! The attempts at one target: tried until one commits, alone or for several callers at once.
//!
//! A shared call is made under [`Terms`] that all who share it would have given it, so its failure is each one's own; how long a caller waits for it is that
//! caller's alone. What follows a failure is `retry.rs`, the sharing itself `cache/flight.rs`. When all targets failed, their errors become one here.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Router;
use super::answer::{Aftermath, Committed};
use super::asking::{Asking, Text};
use super::balance;
use super::breaker::{self, Permit};
use super::charge::{Charge, Payer};
use super::deadlines;
use super::first_event;
use super::opening::{self, Opening};
use super::record::Record;
use super::resolve::{self, Planned};
use super::retry::{self, Decision, Place};
use crate::cache::{CacheKey, Joined, ResponseCache, Terms};
use crate::delta::DeltaStream;
use crate::dialect::FieldPath;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::ids::RequestId;
use crate::provider::{Call, Deadlines};
use crate::request::Request;
use crate::trace::{CacheStatus, Candidate, TraceContext};

/// What one target is to be asked.
pub(super) struct Asked<'a> {
    /// As it goes out to this target.
    pub(super) request: Arc<Request>,
    /// What this target may not see of it, and so does not.
    pub(super) withheld: Vec<FieldPath>,
    pub(super) planned: &'a Planned,
    /// Whether another target remains that may be asked now.
    pub(super) others: bool,
}

/// All attempts at one target.
pub(super) struct Attempts<A> {
    router: Router,
    asking: A,
    request: Arc<Request>,
    withheld: Vec<FieldPath>,
    planned: Planned,
    deadlines: Deadlines,
    others: bool,
    id: RequestId,
    /// Ends the call when the router does.
    ending: CancellationToken,
    /// Whose money it costs.
    payer: Payer,
    /// Gone where its caller left a shared call to the others.
    record: Weak<Record>,
}

impl<A: Asking> Attempts<A> {
    pub(super) fn new(router: &Router, asking: A, asked: &Asked<'_>, record: &Arc<Record>) -> Self {
        Self {
            router: router.clone(),
            asking,
            request: Arc::clone(&asked.request),
            withheld: asked.withheld.clone(),
            planned: asked.planned.clone(),
            deadlines: asked.planned.deadlines,
            others: asked.others,
            id: record.id(),
            ending: record.ending().clone(),
            payer: record.payer(),
            record: Arc::downgrade(record),
        }
    }

    /// Tries until one attempt commits, as `retry` allows. The total deadline ends here with the commit; from there on providers hold to theirs, which do
    /// not count the time that a slow reader takes.
    pub(super) async fn committed(&self) -> Result<A::Done> {
        let total = self.deadlines.total;
        // All tries together have this share of the request's time for its first event.
        let share = self.deadlines.first_event;
        let counts = A::STREAMS && opening::counts(&self.request, self.planned.provider.describe());
        let ends = Instant::now() + share;
        let left = || if counts { ends.saturating_duration_since(Instant::now()) } else { share };
        let tries = Box::pin(async {
            let mut patience = if self.others { Duration::ZERO } else { breaker::PATIENCE.min(left()) };
            let mut last: Option<Error> = None;
            for attempt in 1.. {
                let permit = match self.enter(&mut patience).await {
                    Ok(permit) => permit,
                    // What went wrong here says more than that the target is left alone for it.
                    Err(held) => return Err(last.unwrap_or(held)),
                };
                let error = match self.attempt(attempt, left(), permit).await {
                    Ok(committed) => return Ok(committed),
                    Err(error) => error,
                };
                let jitter = self.router.deps().ids.jitter();
                let wait = match retry::decide(&error, Place { attempt, others: self.others, jitter }) {
                    Decision::Again(wait) if counts => first_event::wait_within(wait, &error, left(), share),
                    Decision::Again(wait) => Some(wait),
                    Decision::Next | Decision::Stop => None,
                };
                match wait {
                    Some(wait) if self.may_retry() => tokio::time::sleep(wait).await,
                    _ => return Err(error),
                }
                last = Some(error);
            }
            Err(Error::internal("attempts ran out of numbers"))
        });
        timeout(total, tries).await.unwrap_or_else(|_| Err(late(total)))
    }

    /// Whether the router's retries are not used up.
    fn may_retry(&self) -> bool {
        let deps = self.router.deps();
        let may = self.router.0.retries.take(deps.ledger.begun(), deps.clock.instant());
        if !may {
            deps.ledger.retry_refused();
        }
        may
    }

    /// Leave to ask the target, where it is left alone once it has been waited for. Of a provider that has no breakers it is always given.
    async fn enter(&self, patience: &mut Duration) -> Result<Option<Permit<'_>>> {
        let Some(breakers) = self.router.breakers_of(&self.planned.provider) else { return Ok(None) };
        let asked = breaker::Asked { provider: &*self.planned.provider, model: self.planned.target.model.as_ref() };
        let before = *patience;
        let entered = breakers.enter(asked, patience).await;
        let waited = before.saturating_sub(*patience);
        let error = entered.as_ref().err().map(|held| held.error(self.router.deps().clock.instant()));
        if (error.is_some() || !waited.is_zero())
            && let Some(record) = self.record.upgrade()
        {
            record.held(&self.planned, error.as_ref(), waited);
        }
        entered.map(Some).map_err(|_| error.unwrap_or_else(|| Error::unavailable("it is left alone")))
    }

    /// The call of an attempt. Shared from the beginning: every future that it were moved through would keep room for it.
    fn call(&self, attempt: u32, first_event: Duration) -> Arc<Call> {
        let mut cx = self.router.context_until(self.ending.clone(), self.id.clone());
        cx.trace = self.record.upgrade().and_then(|record| record.next_span());
        let call = Call::new(Arc::clone(&self.request), self.planned.target.clone(), cx);
        Arc::new(Call { attempt, deadlines: Deadlines { first_event, ..self.deadlines }, ..call })
    }

    async fn attempt(&self, attempt: u32, first_event: Duration, permit: Option<Permit<'_>>) -> Result<A::Done> {
        let began = self.router.deps().clock.instant();
        let call = self.call(attempt, first_event);
        let busy = self.planned.gauge.as_ref().map(|gauge| gauge.enter(self.request.stream, began));
        let mut underway =
            UnderWay { record: Some(&self.record), planned: &self.planned, began, at: call.cx.trace.clone() };
        let mut outcome = match call.note_dropped(self.withheld.iter().cloned()) {
            Ok(()) => self.charged(&call).await,
            Err(strict) => Err(strict),
        };
        underway.record = None;
        outcome = balance::observed::<A>(outcome, busy, self.router.deps().clock.instant());
        if let Some(permit) = permit {
            self.tell(permit, &outcome, began);
            let aftermath = || Some(Aftermath::new(&self.router, &self.planned, began, self.haste()));
            outcome = outcome.map(|done| A::telling(done, aftermath));
        }
        if let Err(error) = &outcome {
            // Here, where each call passes: the loser of a hedge and who goes on with an answer tell of their keys too.
            let (deps, provider) = (self.router.deps(), &*self.planned.provider);
            self.router.0.refused.note(provider, error, deps.store.as_ref(), deps.clock.now()).await;
        }
        let Some(record) = self.record.upgrade() else { return outcome };
        // A server that was only guessed and is not there was never a target.
        let absent = |error: &Error| {
            error.kind() == ErrorKind::ProviderUnavailable && !self.planned.provider.availability().is_ready()
        };
        // What our own limits do not let out was never asked of anybody.
        let kept_in = |error: &Error| error.fault() == Fault::Policy;
        if !outcome.as_ref().is_err_and(|error| absent(error) || kept_in(error)) {
            record.attempted_at(&self.planned, began, outcome.as_ref().err(), Some(&call.cx));
        }
        record.dropped(call.cx.dropped());
        outcome
    }
}

impl<A: Asking> Attempts<A> {
    /// Tells the breakers how an attempt went. A caller who allows too little time says nothing of the target.
    fn tell(&self, permit: Permit<'_>, outcome: &Result<A::Done>, began: Instant) {
        let now = self.router.deps().clock.instant();
        let hurried = self.haste().is_some_and(|limit| now.saturating_duration_since(began) >= limit);
        // Nor does one who had but little of it, because others used it up before.
        let rushed = !first_event::is_fair(self.deadlines.first_event, self.planned.shared.first_event);
        let timed_out = |error: &Error| error.kind() == ErrorKind::ProviderTimeout && !error.is_unsent();
        match outcome {
            Ok(_) if A::STREAMS => permit.begun(now),
            Ok(_) => permit.answered(now),
            Err(error) if error.kind() == ErrorKind::ProviderTimeout && hurried => {}
            Err(error) if A::STREAMS && self.request.stream && rushed && timed_out(error) => {}
            Err(error) => permit.failed(error, now, self.router.deps().ids.jitter()),
        }
    }

    fn haste(&self) -> Option<Duration> {
        deadlines::haste(&self.deadlines, &self.planned.shared)
    }

    /// One call, with what it may cost set aside.
    async fn charged(&self, call: &Arc<Call>) -> Result<A::Done> {
        let charge = Charge::reserve(&self.router, (&self.payer, &self.record), call, A::PAID).await?;
        let outcome = self.asking.attempt(&*self.planned.provider, Arc::clone(call), charge).await;
        // Of a provider that was not asked, time says nothing.
        let queued = |error: &Error| call.cx.waits_for_place() && error.kind() != ErrorKind::ProviderOverloaded;
        outcome.map_err(|error| if queued(&error) { still_queued() } else { error })
    }
}

impl Attempts<Text> {
    /// The attempts as a stream, for a call that several may listen to.
    fn into_stream(mut self) -> DeltaStream {
        self.deadlines = self.planned.shared;
        self.deadlines.first_event = first_event::first_share(self.deadlines.first_event, self.others);
        DeltaStream::new(
            stream::once(async move { self.committed().await }).map_ok(Committed::into_stream).try_flatten().boxed(),
        )
    }
}

/// A call under way. Dropped before it is over, it was given up, and its record says so.
struct UnderWay<'a> {
    /// None once it is over.
    record: Option<&'a Weak<Record>>,
    planned: &'a Planned,
    began: Instant,
    at: Option<TraceContext>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record.and_then(Weak::upgrade) {
            record.given_up(self.planned, self.began, self.at.take());
        }
    }
}

/// The answer of a call that equal requests share: of the one under way, or of one begun here. Nobody waits longer for it than its own request allows.
pub(super) async fn shared(
    router: &Router,
    cache: &ResponseCache,
    key: &CacheKey,
    asked: &Asked<'_>,
    record: &Arc<Record>,
) -> Result<Committed> {
    let Asked { request, planned, .. } = asked;
    let terms = Terms {
        streamed: request.stream,
        deadlines: planned.shared,
        others: asked.others,
        privacy: request.riders.privacy,
        substitute: request.riders.substitute,
        strict: request.riders.strict,
        hold: request.riders.hold.unwrap_or_default(),
    };
    let begin = || cache.fill(key, request, &planned.target, Attempts::new(router, Text, asked, record).into_stream());
    let (events, joined) = cache.join(key, request, terms, begin);
    let status = if joined == Joined::First { CacheStatus::Miss } else { CacheStatus::Coalesced };
    record.cache(status, Some(key));
    let (began, total) = (Instant::now(), planned.deadlines.total);
    // The call ends by itself when its own time is over; who has less of it left leaves before.
    let (own, of_call) =
        (planned.deadlines.first_event, first_event::first_share(planned.shared.first_event, asked.others));
    let hurries = own < of_call && opening::counts(request, planned.provider.describe());
    let limit = if hurries { own.min(total) } else { total };
    let heard = timeout(limit, Committed::of(events, &mut Opening::unhurried(request))).await;
    let left = total.saturating_sub(began.elapsed());
    match heard {
        Ok(Ok(committed)) => Ok(committed.then(|rest| within(rest, total, left))),
        // The one that began the call has its attempts in its record already.
        Ok(Err(error)) if joined == Joined::First => Err(error),
        // What its key does not allow says nothing about this one's.
        Ok(Err(error)) if error.fault() == Fault::Policy => {
            record.cache(CacheStatus::Miss, Some(key));
            Box::pin(Committed::of(begin(), &mut Opening::unhurried(request))).await
        }
        heard => {
            let silent = || if hurries { opening::late(own) } else { late(total) };
            let error = heard.ok().and_then(Result::err).unwrap_or_else(silent);
            record.attempted(planned, began, Some(&error));
            Err(error)
        }
    }
}

/// The rest of a shared answer as one caller hears it: for `left` of its `total`, counted only while it waits.
fn within(rest: DeltaStream, total: Duration, left: Duration) -> DeltaStream {
    DeltaStream::unchecked(stream::unfold(Some((rest, left)), move |state| async move {
        let (mut rest, left) = state?;
        let began = Instant::now();
        match timeout(left, rest.next()).await {
            Ok(event) => event.map(|event| (event, Some((rest, left.saturating_sub(began.elapsed()))))),
            Err(_) => Some((Err(overdue(format!("not complete after {} s", total.as_secs_f64()))), None)),
        }
    }))
}

/// What is told of a call that found no place in time.
fn still_queued() -> Error {
    let message = "the calls that run already, as many as it takes at once, took all the time that there was";
    Error::new(ErrorKind::ProviderOverloaded, message)
        .with_hint("ask again later, or allow more of them: `max_in_flight` of the provider, `parallel` of [local]")
}

/// What a caller is told who has heard nothing when its time is over.
pub(super) fn late(total: Duration) -> Error {
    overdue(format!("no content within {} s", total.as_secs_f64()))
}

fn overdue(message: String) -> Error {
    Error::timeout(message).with_hint("allow more with `--timeout`, or `timeouts.total` in the config")
}

/// The error that the caller sees: the only one as it is, or the last one with all that came before it, and who would have been next. Where all targets were passed over for what they cost, nobody
/// failed, and it is the budget's own.
pub(super) fn last_of(mut passed_over: Vec<Error>, failures: Vec<Error>, candidates: &[Candidate]) -> Error {
    if failures.is_empty() && !passed_over.is_empty() {
        let spent = passed_over.iter().position(|error| error.kind() == ErrorKind::PolicyBudgetExceeded);
        return passed_over.swap_remove(spent.unwrap_or(0));
    }
    let mut failures: Vec<Error> = passed_over.into_iter().chain(failures).collect();
    let Some(last) = failures.pop() else { return Error::internal("a plan without targets") };
    if failures.is_empty() {
        return last;
    }
    let tried = failures.iter().chain([&last]).map(ToString::to_string);
    let next = candidates.iter().rev().take_while(|candidate| !candidate.planned).collect::<Vec<_>>();
    let left_out = next.iter().rev().map(|candidate| format!("{}: {}", candidate.provider, candidate.reason));
    let all: Vec<String> = tried.chain(left_out).collect();
    let hint = resolve::next_step(candidates).or_else(|| last.hint().map(str::to_owned));
    let error = Error::new(last.kind(), format!("every target failed: {}", all.join("; ")))
        .with_hint(hint.unwrap_or_else(|| resolve::DOCTOR.to_owned()));
    let soonest = failures.iter().chain([&last]).filter_map(Error::retry_after).min();
    soonest.map_or(error.clone(), |after| error.with_retry_after(after))
}
