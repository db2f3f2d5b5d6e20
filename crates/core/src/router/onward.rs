//! Who is left to ask after a failure: what an error says of the rest of a plan.
//!
//! The columns of `error/kind.rs` say whether anybody is asked; here is who. A prompt that is too long goes on to larger windows, a refusal by a content filter to the targets that the route names for
//! it, a failure that is not about a key past the other keys of the same provider. Whether the same target is asked again is `retry.rs`.

use std::sync::Arc;

use super::breaker::Aside;
use super::charge::Paid;
use super::record::Record;
use super::resolve::{self, Chain, Door, Plan, Planned};
use super::{Router, allowance, windows};
use crate::error::{Error, ErrorKind, NextTarget};
use crate::request::Request;

/// Leaves those in a plan that may be asked after an error, adds those that the route names for it, and says whether there are any. The plan's next target is its last one, as while it is carried out.
pub(super) fn leave(
    router: &Router,
    plan: &mut Plan,
    aside: &mut Aside,
    failed: (&Planned, &Error),
    asked: (&Arc<Request>, Door, Paid, &Arc<Record>),
) -> bool {
    let (planned, error) = failed;
    let (request, door, paid, record) = asked;
    let chain = |chain| {
        let mut targets = resolve::chain(chain, request, router.scope(door, &[]));
        targets
            .retain(|next| next.target != planned.target && allowance::allows(router, &next.target, request, record));
        targets
    };
    match allowance::next_after(router, record, &planned.target, paid, error) {
        NextTarget::No => return false,
        NextTarget::Yes if planned.key.is_some() && !is_of_the_key(error) => {
            plan.targets.retain(|other| other.target != planned.target);
        }
        NextTarget::Yes => {}
        NextTarget::LargerWindow => {
            let window = |planned: &Planned| windows::of(&planned.target, router.settings());
            let (too_small, needed) = (window(planned), windows::needed(request));
            let is_larger = |other: &Planned| {
                window(other).is_some_and(|window| too_small.map_or(window >= needed, |small| window > small))
            };
            plan.targets.retain(is_larger);
            aside.retain(is_larger);
            if plan.begins(Chain::Context) {
                let is_smaller =
                    |other: &Planned| window(other).zip(too_small).is_some_and(|(window, small)| window <= small);
                let named = chain(Chain::Context).into_iter().filter(|other| !is_smaller(other)).rev();
                let rest = std::mem::take(&mut plan.targets);
                // Who is in both is asked once, in the plan's own place.
                let named = named.filter(|named| rest.iter().all(|other| other.target != named.target));
                plan.targets = named.collect();
                plan.targets.extend(rest);
            }
        }
        NextTarget::ContentFilterChain => {
            aside.retain(|_| false);
            // Whoever stands there for it may refuse too, and the next one of them is asked.
            if plan.begins(Chain::ContentFilter) {
                plan.targets = chain(Chain::ContentFilter);
                plan.targets.reverse();
            }
        }
    }
    !(plan.targets.is_empty() && aside.is_empty())
}

impl Plan {
    /// Whether a chain was not begun before; it is now.
    fn begins(&mut self, chain: Chain) -> bool {
        let new = !self.begun.contains(&chain);
        self.begun.push(chain);
        new
    }
}

/// Whether another key may help: the error is about the one in use, or nothing was sent, be it that this key is left alone.
fn is_of_the_key(error: &Error) -> bool {
    error.is_unsent()
        || (error.kind() == ErrorKind::ProviderUnavailable && error.status().is_none())
        || matches!(
            error.kind(),
            ErrorKind::ProviderAuth
                | ErrorKind::ProviderBilling
                | ErrorKind::ProviderRateLimited
                | ErrorKind::ProviderQuotaExhausted
        )
}
