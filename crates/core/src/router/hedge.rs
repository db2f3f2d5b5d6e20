//! Hedging: where a target is late, the next one of the plan is asked beside it, and the first *content* wins. The loser is cancelled; both are paid for.
//!
//! Late is what 95 of a hundred answers of that target were not, or a fixed time until enough of them were seen. Only a share of a route's requests may be hedged: were everybody late, asking
//! twice would make it worse. Never hedged is what does something besides answering: agents, tools that run at a provider, conversations that a provider keeps. The other target is one of the plan, so
//! that the request's riders and the key's limits hold for it already.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::asking::Asking;
use super::attempts::Asked;
use super::breaker::held;
use super::first_event::FirstEvent;
use super::record::Record;
use super::resolve::{self, Plan, Planned};
use super::retry::Budget;
use super::{Router, allowance};
use crate::config::Settings;
use crate::error::{Error, NextTarget, Result};
use crate::provider::Target;
use crate::request::Request;
use crate::telemetry::HedgeOutcome;
use crate::trace::Hedged;

/// So many times must have been seen before they say when an answer is late.
const ENOUGH: usize = 20;
/// Fields that have a provider keep or go on with something of its own.
const KEPT: &[&str] = &["conversation", "previous_response_id", "background"];

/// The routes that hedge.
#[derive(Debug, Default)]
pub(super) struct Hedges(HashMap<String, Hedge>);

/// One of them.
#[derive(Debug)]
pub(super) struct Hedge {
    /// When a target is late whose times are not known well enough.
    after: Duration,
    budget: Budget,
    /// Its requests so far.
    requests: AtomicU64,
}

/// What became of a target that was asked, perhaps with another one beside it.
#[derive(Debug)]
pub(super) struct Raced<D> {
    pub(super) result: Result<D>,
    /// The other one, where it was the one that answered.
    pub(super) by: Option<Box<Planned>>,
    /// The other one with its error, where both failed.
    pub(super) beside: Option<Box<(Planned, Error)>>,
}

impl<D> Raced<D> {
    pub(super) fn alone(result: Result<D>) -> Self {
        Self { result, by: None, beside: None }
    }
}

impl Hedges {
    pub(super) fn new(settings: &Settings) -> Self {
        let hedged = settings.routes.iter().filter(|(_, route)| route.hedge);
        let hedge = |percent: u32, after| Hedge { after, budget: Budget::new(percent, 0), requests: AtomicU64::new(0) };
        Self(hedged.map(|(name, route)| (name.clone(), hedge(route.hedge_percent, route.hedge_after))).collect())
    }

    /// Whether a plan's targets may be hedged, which are watched then.
    pub(super) fn prepare<A: Asking>(&self, router: &Router, plan: &mut Plan, request: &Request) {
        if self.0.is_empty() || !A::STREAMS || plan.targets.len() < 2 || does_more(request) {
            return;
        }
        let Some(hedge) = self.of(router, request) else { return };
        hedge.requests.fetch_add(1, Ordering::Relaxed);
        plan.hedged = true;
        plan.targets.iter_mut().for_each(|planned| router.0.balances.watch(planned));
    }

    fn of(&self, router: &Router, request: &Request) -> Option<&Hedge> {
        self.0.get(resolve::route_of(request, router.settings())?)
    }
}

/// Whether a request does something besides being answered, which would then be done twice.
fn does_more(request: &Request) -> bool {
    let hosted = request.tools.iter().any(|tool| tool.name.is_empty());
    let kept = request.extra.values().any(|fields| KEPT.iter().any(|name| fields.contains_key(*name)));
    hosted || kept || request.cache.only_if_cached
}

/// What the router knows of the request that is carried out.
pub(super) struct Under<'a> {
    pub(super) request: &'a Arc<Request>,
    /// The target that it means.
    pub(super) meant: Option<&'a Target>,
    pub(super) first_event: FirstEvent,
    pub(super) record: &'a Arc<Record>,
}

/// Asks a target, and where it is late the next one beside it.
pub(super) async fn race<A: Asking>(
    router: &Router,
    asking: &A,
    asked: &Asked<'_>,
    plan: &mut Plan,
    under: Under<'_>,
) -> Raced<A::Done> {
    let Under { request, meant, first_event, record } = under;
    let own = asking.answer_from(router, asked, record);
    let (Some(hedge), true) = (router.0.hedges.of(router, request), may_be_doubled(asked.planned)) else {
        return Raced::alone(own.await);
    };
    let mut own = Box::pin(own);
    let usual = asked.planned.gauge.as_ref().and_then(|gauge| gauge.p95(request.stream, ENOUGH));
    let after = usual.unwrap_or(hedge.after);
    tokio::select! {
        biased;
        done = &mut own => return Raced::alone(done),
        () = sleep(after) => {}
    }
    let now = router.deps().clock.instant();
    let may = |other: &Planned| {
        other.target != asked.planned.target && may_be_doubled(other) && held(router, other).is_none()
    };
    let Some(at) = plan.targets.iter().rposition(may) else { return Raced::alone(own.await) };
    if !hedge.budget.take(hedge.requests.load(Ordering::Relaxed), now) {
        return Raced::alone(own.await);
    }
    let mut partner = plan.targets.remove(at);
    let others = !plan.targets.is_empty();
    first_event.turn(&mut partner, others, now);
    let (seen, withheld) = router.0.makers.for_target(request, &partner, meant == Some(&partner.target));
    let before = record.told();
    let Target { provider, model } = partner.target.clone();
    let mut hedged = Hedged::new(provider, model, asked.planned.target.to_string(), after);
    hedged.key = partner.key;
    let mut failed: (Option<Error>, Option<Error>) = (None, None);
    let is_last =
        |error: &Error| allowance::next_after(router, record, &asked.planned.target, A::PAID, error) == NextTarget::No;
    let second = Asked { request: seen, withheld, planned: &partner, others };
    let done = {
        let mut beside = Box::pin(asking.answer_from(router, &second, record));
        loop {
            tokio::select! {
                biased;
                done = &mut own, if failed.0.is_none() => match done {
                    // Nobody else would be asked after it either.
                    Err(error) if is_last(&error) => break Some((Err(error), HedgeOutcome::Lost)),
                    Err(error) => failed.0 = Some(error),
                    Ok(done) => break Some((Ok(done), if failed.1.is_some() { HedgeOutcome::Failed } else { HedgeOutcome::Lost })),
                },
                done = &mut beside, if failed.1.is_none() => match done {
                    Err(error) => failed.1 = Some(error),
                    Ok(done) => break Some((Ok(done), HedgeOutcome::Won)),
                },
            }
            if failed.0.is_some() && failed.1.is_some() {
                break None;
            }
        }
    };
    drop(own);
    let outcome = done.as_ref().map_or(HedgeOutcome::Failed, |(_, outcome)| *outcome);
    hedged.outcome = outcome.name().to_owned();
    router.0.meters.hedged(hedged.provider.as_str(), hedged.model.as_ref().map(|model| model.as_str()), outcome);
    record.hedged(hedged);
    match (done, failed) {
        (Some((result, HedgeOutcome::Won)), _) => Raced { result, by: Some(Box::new(partner)), beside: None },
        (Some((result, _)), _) => {
            // What the other one told of cache and fields is not what this answer is.
            record.tell(before);
            Raced::alone(result)
        }
        (None, (Some(first), Some(second))) => {
            Raced { result: Err(first), by: None, beside: Some(Box::new((partner, second))) }
        }
        (None, _) => Raced::alone(Err(Error::internal("a hedge without an end"))),
    }
}

/// Whether asking a target does nothing but have it answer, as far as is known, and it is asked at all.
fn may_be_doubled(planned: &Planned) -> bool {
    !planned.provider.describe().agent && planned.held.is_none() && planned.unreached.is_none()
}
