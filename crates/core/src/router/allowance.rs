//! What a client's key allows: whether a request may come in at all, and which targets it may reach.
//!
//! Who holds limits and how they are counted is `../limits.rs`; here a request is put into its terms. A request without a key's limits passes untouched.

use std::sync::Arc;

use super::Router;
use super::breaker::held;
use super::charge::{Paid, at_most, is_unpriced};
use super::count::estimate;
use super::record::Record;
use super::resolve::{Plan, Planned};
use crate::config::KeyLimits;
use crate::error::{Error, ErrorKind, NextTarget, Result};
use crate::limits::{Holder, Limits};
use crate::provider::Target;
use crate::request::Request;

impl From<&KeyLimits> for Limits {
    /// Limits as the configuration says them.
    fn from(said: &KeyLimits) -> Self {
        Self {
            requests_per_minute: said.requests_per_minute,
            tokens_per_minute: said.tokens_per_minute,
            max_tokens: said.max_tokens,
            concurrency: said.concurrency,
            models: said.models.clone(),
            budget_per_day: said.budget_per_day,
            budget_per_month: said.budget_per_month,
            unpriced: said.unpriced,
            ..Self::default()
        }
    }
}

/// Makes a request such that its answer is as long as the key allows and what is set aside for it is what may come, and remembers whose it is.
pub(super) fn fit(router: &Router, holder: Option<Arc<Holder>>, request: &mut Request, record: &Record) {
    let Some(holder) = holder else { return };
    let asked = request.sampling.max_tokens;
    let unsaid = || holder.counts_money().then(|| router.settings().limits.max_tokens);
    let given = match (asked.or_else(unsaid), holder.max_tokens()) {
        (Some(tokens), Some(most)) => Some(tokens.min(most)),
        (tokens, most) => tokens.or(most),
    };
    if given != asked {
        request.sampling.max_tokens = given;
        // The body as received would not say so.
        request.origin = None;
    }
    record.asked_by(holder);
}

/// The most prices of a plan that whoever counts is asked about: as many as a route has targets.
const MOST: usize = 256;

/// Lets a request in, for as long as its record lives. Where limits are counted together with others, this is the one question to whoever counts before the first call, and money is set aside with
/// it: of plenty, for whichever target of the plan will be asked; else for the first one that they have room for, and those before it are passed over.
pub(super) async fn admit(router: &Router, request: &Request, plan: &Plan, paid: Paid, record: &Record) -> Result<()> {
    let Some(holder) = record.holder() else { return Ok(()) };
    let clock = &router.deps().clock;
    let tokens = if holder.counts_tokens() { thought(request) } else { 0 };
    let counted = holder.is_shared() && holder.counts_money() && paid != Paid::Free;
    let amounts = if counted {
        let each: Vec<u64> = at_most(router, holder, in_turn(router, plan).into_iter(), request, paid).collect();
        let any = dearest(&each, plan.hedged).filter(|any| holder.has_plenty(*any, clock.now()));
        falling(any.into_iter().chain(each))
    } else {
        Vec::new()
    };
    let permit = holder.enter_all(clock.instant(), clock.now(), tokens, &amounts).await?;
    record.admitted(permit, tokens);
    Ok(())
}

/// The targets of a plan as their turns come: those that are full after those that have room, and after all of them those that are left alone for now, the soonest first.
fn in_turn<'a>(router: &Router, plan: &'a Plan) -> Vec<&'a Target> {
    let turn = |planned: &Planned| (held(router, planned).map(|held| held.until), planned.provider.is_full());
    let mut targets: Vec<_> = plan.targets.iter().map(|planned| (turn(planned), &planned.target)).collect();
    targets.sort_by_key(|(turn, _)| *turn);
    targets.into_iter().map(|(_, target)| target).collect()
}

/// What is enough whichever of the targets is called: the cheaper ones may all be found busy or left alone by then. Where a late one has another called beside it, for both.
fn dearest(each: &[u64], hedged: bool) -> Option<u64> {
    let (at, first) = each.iter().enumerate().max_by_key(|(_, amount)| **amount)?;
    let second = each.iter().enumerate().filter(|(other, _)| hedged && *other != at).map(|(_, amount)| *amount).max();
    Some(first.saturating_add(second.unwrap_or(0)))
}

/// Each amount that is less than all before it: where one was refused, no target that costs as much or more need be asked for. Of too many, the last is the least.
fn falling(amounts: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut falling: Vec<u64> = Vec::new();
    for amount in amounts {
        if falling.last().is_none_or(|least| amount < *least) {
            falling.truncate(MOST - 1);
            falling.push(amount);
        }
    }
    falling
}

/// Whether a target is passed over for what it costs: more than the key has left, or nobody knows what.
pub(super) fn passes_over(router: &Router, record: &Record, target: &Target, paid: Paid, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::PolicyBudgetExceeded => true,
        ErrorKind::PolicyForbidden => record.holder().is_some_and(|holder| is_unpriced(router, holder, target, paid)),
        _ => false,
    }
}

/// Who is asked after an error: as its kind says, and the next one after a target that is passed over for what it costs.
pub(super) fn next_after(router: &Router, record: &Record, target: &Target, paid: Paid, error: &Error) -> NextTarget {
    if passes_over(router, record, target, paid, error) { NextTarget::Yes } else { error.kind().row().next }
}

/// The tokens that a request may take: those of its prompt, and all that its answer may have where it says so.
fn thought(request: &Request) -> u64 {
    estimate(request).saturating_add(request.sampling.max_tokens.map_or(0, u64::from))
}

/// Leaves the targets in a plan that the key allows.
pub(super) fn leave_allowed(router: &Router, plan: &mut Plan, request: &Request, record: &Record) -> Result<()> {
    if record.holder().is_none_or(|holder| !holder.limits_models()) {
        return Ok(());
    }
    plan.targets.retain(|planned| allows(router, &planned.target, request, record));
    if !plan.targets.is_empty() {
        return Ok(());
    }
    let asked = request.model.as_deref().or(request.provider.as_ref().map(|id| id.as_str())).unwrap_or("any model");
    let asked: String = asked.chars().take(64).collect();
    Err(Error::new(ErrorKind::PolicyForbidden, format!("this key does not allow {asked:?}"))
        .with_hint("ask for a model that the key names, or for another key"))
}

/// Whether the key allows a target. A route that it names is allowed with all that it leads to.
pub(super) fn allows(router: &Router, target: &Target, request: &Request, record: &Record) -> bool {
    let Some(holder) = record.holder() else { return true };
    let route = request.model.as_deref().filter(|_| request.provider.is_none());
    let route = route.filter(|name| router.settings().routes.contains_key(*name));
    router.allows(holder, target.provider.as_str(), target.model.as_ref().map(|model| model.as_str()), route)
}

impl Router {
    /// Whether a target may be asked by whoever holds limits, as [`Holder::allows`] has it. A name that is also a route's means the route, and one that begins with a provider's means
    /// that provider's model: neither lets anybody reach another provider that takes a model of just that name.
    #[must_use]
    pub fn allows(&self, holder: &Arc<Holder>, provider: &str, model: Option<&str>, route: Option<&str>) -> bool {
        let of_provider = |name: &str| {
            let first = name.split_once('/').map(|(first, _)| first.to_ascii_lowercase());
            first.is_some_and(|first| self.entries().iter().any(|entry| entry.is(&first)))
        };
        let bare = model.filter(|name| !self.settings().routes.contains_key(*name) && !of_provider(name));
        holder.allows_as(provider, model, bare, route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_for_any_target_is_enough_for_the_dearest_and_with_a_hedge_for_the_dearest_two() {
        assert_eq!([dearest(&[], true), dearest(&[7], true)], [None, Some(7)]);
        assert_eq!([dearest(&[3, 9, 5], false), dearest(&[3, 9, 5], true)], [Some(9), Some(14)]);
        assert_eq!(dearest(&[4, 4], true), Some(8));
    }

    #[test]
    fn each_amount_is_less_than_all_before_it_and_of_too_many_the_least_is_there() {
        let of = |amounts: &[u64]| falling(amounts.iter().copied());
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[5, 9, 5, 3, 4, 0, 1]), [5_u64, 3, 0]);
        let many: Vec<u64> = (0..1_000).rev().collect();
        let kept = of(&many);
        assert_eq!((kept.len(), kept.first(), kept.last()), (MOST, Some(&999), Some(&0)));
        assert!(kept.is_sorted_by(|dear, cheap| dear > cheap));
    }
}
