//! What a client's key allows: whether a request may come in at all, and which targets it may reach.
//!
//! Who holds limits and how they are counted is `../limits.rs`; here a request is put into its terms. A request without a key's limits passes untouched.

use std::sync::Arc;

use super::Router;
use super::charge::{Paid, at_most, is_unpriced};
use super::count::estimate;
use super::record::Record;
use super::resolve::Plan;
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
            concurrency: said.concurrency,
            models: said.models.clone(),
            budget_per_day: said.budget_per_day,
            budget_per_month: said.budget_per_month,
            unpriced: said.unpriced,
            ..Self::default()
        }
    }
}

/// Makes a request such that what is set aside for it is what may come, and remembers whose it is.
pub(super) fn fit(router: &Router, holder: Option<Arc<Holder>>, request: &mut Request, record: &Record) {
    let Some(holder) = holder else { return };
    if holder.counts_money() && request.sampling.max_tokens.is_none() {
        request.sampling.max_tokens = Some(router.settings().limits.max_tokens);
        // The body as received would not say so.
        request.origin = None;
    }
    record.asked_by(holder);
}

/// Lets a request in, for as long as its record lives. Its first target's price is what is set aside with the same step, where limits are counted together with others; the cheapest one's where
/// that is too much. What is missing for a target between them is asked for when its turn comes.
pub(super) async fn admit(router: &Router, request: &Request, plan: &Plan, paid: Paid, record: &Record) -> Result<()> {
    let Some(holder) = record.holder() else { return Ok(()) };
    let tokens = if holder.counts_tokens() { thought(request) } else { 0 };
    let clock = &router.deps().clock;
    let targets = plan.targets.iter().map(|planned| &planned.target).filter(|_| holder.is_shared());
    let mut most = targets
        .filter(|target| !is_unpriced(router, holder, target, paid))
        .map(|target| at_most(router, holder, target, request, paid));
    let first = most.next().unwrap_or(0);
    let enter = |micros| holder.enter_all(clock.instant(), clock.now(), tokens, micros);
    let permit = match enter(first).await {
        Err(error) if error.kind() == ErrorKind::PolicyBudgetExceeded => {
            let least = most.min().filter(|least| *least < first).ok_or(error)?;
            enter(least).await?
        }
        entered => entered?,
    };
    record.admitted(permit, tokens);
    Ok(())
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
