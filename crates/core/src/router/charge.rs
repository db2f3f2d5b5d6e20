//! What an attempt costs: set aside before the call where a key has a budget, settled when its price is known, or when whoever asked is gone.
//!
//! The charge rides in the answer's stream. Where the provider tells its counts they decide; where the stream ended before that, what was seen of it, counted roughly; and where
//! nothing was seen of a call that went out and was given up, all that was set aside: it may well have been paid for. An attempt that failed before its answer costs nothing.
//! Here and nowhere else money is settled: with the budgets, in the books, among the metrics and in the request's record, so that all of them say the same. Who holds money is
//! `../limits.rs`, what tokens cost `../pricing.rs`, where usage is kept `../books.rs`.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::Router;
use super::count::{estimate, of_text};
use super::record::Record;
use crate::books::{Day, Entry, Tally};
use crate::delta::{Delta, DeltaStream, Event, Part};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{self, Holder, Spending};
use crate::pricing::Price;
use crate::provider::{Call, Context as CallContext, Target};
use crate::request::Request;
use crate::telemetry::{self, InFlight};
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

/// Who pays.
#[derive(Clone, Debug, Default)]
pub(super) struct Payer {
    /// Whose budgets it comes from.
    pub(super) purse: Option<limits::Payer>,
    /// The name of the client's key, in the books.
    pub(super) key: Option<Arc<str>>,
    /// Its team.
    pub(super) team: Option<Arc<str>>,
    /// Where the key is counted.
    pub(super) counters: Option<Arc<telemetry::Client>>,
}

impl Payer {
    /// The account of what is asked of a target.
    pub(super) fn entry<'a>(&'a self, day: Day, provider: &'a str, model: Option<&'a str>) -> Entry<'a> {
        let [key, team] = [&self.key, &self.team].map(|name| name.as_deref().unwrap_or_default());
        Entry { day, key, team, provider, model: Entry::bare(model.unwrap_or_default()) }
    }
}

/// The money of one attempt.
#[derive(Debug, Default)]
pub(super) struct Charge(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    router: Router,
    /// Gone where the request ended before a call that others share.
    record: Weak<Record>,
    payer: Payer,
    target: Target,
    call: InFlight,
    /// Knows whether anything was sent yet.
    cx: CallContext,
    /// The day in which money was set aside.
    day: Day,
    /// What was set aside, and how much it is.
    spending: Option<(Spending, u64)>,
    price: Option<Price>,
    /// Roughly, the tokens of the prompt.
    input: u64,
    /// Roughly, the tokens of the answer that were seen.
    seen: u64,
    usage: Option<Usage>,
    /// Whether this is the call that answers the caller.
    answers: bool,
    ended: bool,
}

impl Charge {
    /// Sets aside what an attempt at a target may cost at most.
    ///
    /// # Errors
    /// `policy_forbidden` for a target of unknown price, `policy_budget_exceeded` where the budget does not allow it.
    pub(super) async fn reserve(
        router: &Router,
        (payer, record): (&Payer, &Weak<Record>),
        call: &Call,
        paid: Paid,
    ) -> Result<Self> {
        let (target, request) = (&call.target, &*call.request);
        if paid == Paid::Free {
            return Ok(Self::default());
        }
        let (now, input) = (router.deps().clock.now(), estimate(request));
        let price = price(router, target, paid);
        let spending = match payer.purse.as_ref().filter(|purse| purse.holder().counts_money()) {
            None => None,
            Some(purse) if is_unpriced(router, purse.holder(), target, paid) => {
                let message = format!("{target}: its price is unknown, and this key has a budget");
                return Err(Error::new(ErrorKind::PolicyForbidden, message).with_hint(
                    "set [prices.\"provider/model\"] in the configuration, or allow the key unknown prices: `--unpriced`",
                ));
            }
            Some(purse) => {
                let most = price.map_or(0, |price| most(router, price, input, request, paid));
                // In a box: few requests have a purse.
                Some((Box::pin(purse.reserve(most, now)).await?, most))
            }
        };
        let model = target.model.as_ref().map(|model| model.as_str());
        Ok(Self(Some(Box::new(Open {
            router: router.clone(),
            record: Weak::clone(record),
            payer: payer.clone(),
            target: target.clone(),
            call: router.0.meters.of(target.provider.as_str(), model).call(),
            cx: call.cx.clone(),
            day: Day::of(now),
            spending,
            price: price.cloned(),
            input,
            seen: 0,
            usage: None,
            answers: false,
            ended: false,
        }))))
    }

    /// The attempt failed before its answer began: gives its error back.
    pub(super) fn failed(mut self, error: Error) -> Error {
        // Time ran out while somebody worked: what they ask for it is not known. Who was never reached asks nothing.
        if error.kind() != ErrorKind::ProviderTimeout || error.is_unsent() || self.waits() {
            self.unpaid();
        }
        error
    }

    /// It was answered at once, with these counts.
    pub(super) fn told(mut self, usage: Option<Usage>) {
        if let Some(open) = &mut self.0 {
            (open.usage, open.answers, open.ended) = (usage, true, true);
        }
    }

    /// It is being answered: what comes is counted as it comes, whoever hears it.
    pub(super) fn riding(mut self, events: DeltaStream) -> DeltaStream {
        let Some(open) = &mut self.0 else { return events };
        open.answers = true;
        DeltaStream::unchecked(Riding { events, charge: self })
    }

    /// The answer broke off. Where nothing was said yet, it failed before it began.
    fn broke(&mut self, kind: ErrorKind) {
        let silent = self.0.as_ref().is_some_and(|open| open.seen == 0 && open.usage.is_none());
        if silent && kind != ErrorKind::ProviderTimeout {
            self.unpaid();
        } else {
            self.close();
        }
    }

    /// Nothing was made, and nothing is paid.
    fn unpaid(&mut self) {
        let waits = self.waits();
        match self.0.take().and_then(|open| open.spending) {
            Some((spending, _)) if waits => spending.give_back(),
            Some((spending, _)) => spending.settle(0),
            None => {}
        }
    }

    /// Whether the call has no place yet, so that nobody was asked.
    fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.cx.waits_for_place())
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
        if open.ended {
            // Before the caller sees the end, which may tell what it cost.
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.0.take() {
            open.close();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.waits() { self.unpaid() } else { self.close() }
    }
}

/// An answer, with what it costs.
struct Riding {
    events: DeltaStream,
    charge: Charge,
}

impl Stream for Riding {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.events).poll_next(cx));
        match &next {
            Some(Ok(event)) => self.charge.see(event),
            Some(Err(error)) => self.charge.broke(error.kind()),
            // Without its last event it is an answer that broke off.
            None => self.charge.broke(ErrorKind::ProviderProtocol),
        }
        Poll::Ready(next)
    }
}

impl Open {
    /// Settles it: what it cost goes to the budgets, into the books and into the record.
    fn close(mut self: Box<Self>) {
        let usage = self.used();
        let cost = self.cost(usage.as_ref());
        let mut counted = usage.unwrap_or_default();
        if let Some((spending, _)) = self.spending.take() {
            spending.settle(cost.unwrap_or(0));
            counted.estimated |= usage.is_none();
        }
        self.call.meter().used(&counted, cost, self.payer.counters.as_deref());
        if let Some(books) = &self.router.deps().books {
            let model = self.target.model.as_ref().map(|model| model.as_str());
            let entry = self.payer.entry(self.day, self.target.provider.as_str(), model);
            books.post(entry, &Tally::of_call(&counted, cost));
        }
        if let Some(record) = self.record.upgrade() {
            record.spent(cost, usage, self.answers);
        }
    }

    /// What was used: as the provider told, else roughly what was seen; none where nothing was.
    fn used(&self) -> Option<Usage> {
        let Some(mut usage) = self.usage else {
            let mut usage = Usage::new(self.input, self.seen);
            usage.estimated = true;
            return (self.ended || self.seen > 0).then_some(usage);
        };
        if !self.ended && usage.output < self.seen {
            // Some providers count as they go, and their last count is of the beginning.
            (usage.output, usage.estimated) = (self.seen, true);
        }
        Some(usage)
    }

    /// What it cost; all that was set aside where nobody can tell, and none where nothing was set aside for it or its price is not known.
    fn cost(&self, used: Option<&Usage>) -> Option<u64> {
        let Some(usage) = used else {
            let set_aside = self.spending.as_ref().map(|(_, micros)| *micros);
            return set_aside.filter(|_| self.price.is_some());
        };
        let told = usage.cost_micros.filter(|_| self.ended);
        told.or_else(|| self.price.as_ref().map(|price| price.cost(usage)))
    }
}

/// Whether a key may not ask a target because nobody knows what it costs.
pub(super) fn is_unpriced(router: &Router, holder: &Arc<Holder>, target: &Target, paid: Paid) -> bool {
    let is_limited = paid != Paid::Free && holder.counts_money() && !holder.allows_unpriced();
    is_limited && price(router, target, paid).is_none()
}

/// What one attempt at each of these targets may cost a key at most, as far as it may ask them: of this it is let in with one.
pub(super) fn at_most<'a>(
    router: &'a Router,
    holder: &'a Arc<Holder>,
    targets: impl Iterator<Item = &'a Target>,
    request: &'a Request,
    paid: Paid,
) -> impl Iterator<Item = u64> {
    let input = estimate(request);
    targets.filter_map(move |target| match price(router, target, paid) {
        Some(price) => Some(most(router, price, input, request, paid)),
        None => holder.allows_unpriced().then_some(0),
    })
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
