//! What an attempt costs a key with a budget: set aside before the call, settled when its price is known, or when whoever asked is gone.
//!
//! The charge rides in the answer's stream. Where the provider tells its counts they decide; where the stream ended before that, what was seen of it, counted roughly; and where
//! nothing was seen of a call that went out and was given up, all that was set aside: it may well have been paid for. An attempt that failed before its answer costs nothing.
//! A request without a budget passes untouched. Who holds money is `../limits.rs`, what tokens cost `../pricing.rs`.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::Router;
use super::count::{estimate, of_text};
use crate::delta::{Delta, DeltaStream, Event, Part};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Holder, Payer, Spending};
use crate::pricing::Price;
use crate::provider::Target;
use crate::request::Request;
use crate::usage::Usage;

/// How what is asked for is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paid {
    /// By the tokens of prompt and answer.
    ByToken,
    /// By the tokens of what is asked alone.
    ByInput,
    /// In a way that no price of a token says.
    Otherwise,
    /// Not at all.
    Free,
}

/// A prompt may have more tokens than it is estimated to have.
const MARGIN: u64 = 2;

/// The money of one attempt.
#[derive(Debug, Default)]
pub(super) struct Charge(Option<Open>);

#[derive(Debug)]
struct Open {
    spending: Option<Spending>,
    price: Price,
    /// Roughly, the tokens of the prompt.
    input: u64,
    /// Roughly, the tokens of the answer that were seen.
    seen: u64,
    usage: Option<Usage>,
    ended: bool,
}

impl Charge {
    /// Sets aside what an attempt at a target may cost at most.
    ///
    /// # Errors
    /// `policy_forbidden` for a target of unknown price, `policy_budget_exceeded` where the budget does not allow it.
    pub(super) async fn reserve(
        router: &Router,
        payer: Option<&Payer>,
        target: &Target,
        request: &Request,
        paid: Paid,
    ) -> Result<Self> {
        let Some(payer) = payer.filter(|payer| paid != Paid::Free && payer.holder().counts_money()) else {
            return Ok(Self::default());
        };
        let known = price(router, target, paid);
        if known.is_none() && !payer.holder().allows_unpriced() {
            return Err(Error::new(
                ErrorKind::PolicyForbidden,
                format!("{target}: its price is unknown, and this key has a budget"),
            )
            .with_hint(
                "set [prices.\"provider/model\"] in the configuration, or allow the key unknown prices: `--unpriced`",
            ));
        }
        let price = known.cloned().unwrap_or_default();
        let input = estimate(request);
        let most = most(router, &price, input, request, paid);
        let spending = Some(payer.reserve(most, router.deps().clock.now()).await?);
        Ok(Self(Some(Open { spending, price, input, seen: 0, usage: None, ended: false })))
    }

    /// The attempt failed before its answer began: gives its error back.
    pub(super) fn failed(mut self, error: Error) -> Error {
        // Time ran out while somebody worked: what they ask for it is not known.
        if error.kind() != ErrorKind::ProviderTimeout {
            self.settle(0);
        }
        error
    }

    /// It was answered at once, with these counts.
    pub(super) fn told(mut self, usage: Option<Usage>) {
        if let Some(open) = &mut self.0 {
            (open.usage, open.ended) = (usage, true);
        }
    }

    /// It is being answered: what comes is counted as it comes, whoever hears it.
    pub(super) fn riding(self, events: DeltaStream) -> DeltaStream {
        if self.0.is_none() {
            return events;
        }
        DeltaStream::unchecked(stream::unfold((events, self), |(mut events, mut charge)| async move {
            let event = events.next().await?;
            match &event {
                Ok(event) => charge.see(event),
                Err(error) => charge.broke(error),
            }
            Some((event, (events, charge)))
        }))
    }

    /// The answer broke off. Where nothing was said yet, it failed before it began.
    fn broke(&mut self, error: &Error) {
        let silent = self.0.as_ref().is_some_and(|open| open.seen == 0 && open.usage.is_none());
        if silent && error.kind() != ErrorKind::ProviderTimeout {
            self.settle(0);
        }
    }

    fn see(&mut self, event: &Event) {
        let Some(open) = &mut self.0 else { return };
        for delta in &event.deltas {
            match delta {
                Delta::Usage(usage) => open.usage = Some(*usage),
                Delta::End => open.ended = true,
                Delta::BlockDelta { part: Part::Text(text) | Part::ToolArguments(text), .. } => {
                    open.seen += of_text(text)
                }
                _ => {}
            }
        }
    }

    fn settle(&mut self, micros: u64) {
        if let Some(spending) = self.0.as_mut().and_then(|open| open.spending.take()) {
            spending.settle(micros);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(cost) = self.0.as_ref().and_then(Open::cost) else { return };
        self.settle(cost);
    }
}

impl Open {
    /// What it cost; none where nobody can tell, and all that was set aside is spent.
    fn cost(&self) -> Option<u64> {
        let Some(mut usage) = self.usage else {
            let seen = self.ended || self.seen > 0;
            return seen.then(|| self.price.cost(&Usage::new(self.input, self.seen)));
        };
        if let Some(micros) = usage.cost_micros.filter(|_| self.ended) {
            return Some(micros);
        }
        if !self.ended {
            // Some providers count as they go, and their last count is of the beginning.
            usage.output = usage.output.max(self.seen);
        }
        Some(self.price.cost(&usage))
    }
}

/// What one attempt at a target may cost a key at most, as far as it is known: set aside when its request is let in.
pub(super) fn at_most(router: &Router, holder: &Arc<Holder>, target: &Target, request: &Request, paid: Paid) -> u64 {
    if paid == Paid::Free || !holder.counts_money() {
        return 0;
    }
    let price = price(router, target, paid);
    price.map_or(0, |price| most(router, price, estimate(request), request, paid))
}

fn price<'a>(router: &'a Router, target: &Target, paid: Paid) -> Option<&'a Price> {
    let model = target.model.as_ref().map(|model| model.as_str());
    router.deps().prices.of(target.provider.as_str(), model).filter(|_| paid != Paid::Otherwise)
}

fn most(router: &Router, price: &Price, input: u64, request: &Request, paid: Paid) -> u64 {
    let answer = u64::from(request.sampling.max_tokens.unwrap_or(router.settings().limits.max_tokens));
    let output = if paid == Paid::ByInput { 0 } else { answer.saturating_mul(u64::from(request.choices())) };
    price.cost(&dearest(price, input.saturating_mul(MARGIN), output))
}

/// The dearest way in which so many tokens can be counted.
fn dearest(price: &Price, input: u64, output: u64) -> Usage {
    let mut usage = Usage::new(input, output);
    if price.written.is_some_and(|written| written > price.input) {
        usage.cache_write = input;
    }
    usage
}
