//! Limits: who may ask for how much, and how that is counted.
//!
//! A [`Holder`] is whoever holds limits: a team, a key of it, a narrower key derived from that one. Holders stand above each other, and what passes must pass all of them,
//! so a derived key is never stronger than what it came from. Asking is in memory alone and takes the locks of the asked holders only: two keys of no common team never
//! meet. Read next: `limits/rate.rs` (requests and tokens per minute), `limits/budget.rs` (money), `limits/grant.rs` (keys as text, and how one is derived), `limits/keyring.rs` (the keys that are known,
//! shared by several processes through the `Store`). Providers, plans and HTTP are unknown here.

pub mod budget;
pub mod grant;
pub mod key;
pub mod keyring;
pub mod rate;

use std::iter::successors;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::budget::{Bank, Period, Purse, Reserved};
use self::rate::{Full, Standing, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Namespace, matches_pattern};
use crate::telemetry;

pub use key::Role;
pub use keyring::Keyring;

/// The most holders above each other: a team, a key, and as many derivations as [`grant::MOST_BLOCKS`].
const MOST_ABOVE: usize = 2 + grant::MOST_BLOCKS;

/// What a holder may do. What is absent is not limited. A field that this version does not know is an error: a limit must never be overlooked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Requests in any sixty seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens in any sixty seconds, those of prompts and of answers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Models that may be asked: `provider/model`, a model's name, or a route; `*` stands for anything. None is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Money for each UTC day, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_per_day: Option<u64>,
    /// Money for each UTC month, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_per_month: Option<u64>,
    /// Money in all, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Whether models may be asked whose price is unknown, though money is limited.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpriced: bool,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The caps on money.
    fn caps(&self) -> impl Iterator<Item = (Period, u64)> {
        let caps =
            [(Period::Day, self.budget_per_day), (Period::Month, self.budget_per_month), (Period::Ever, self.budget)];
        caps.into_iter().filter_map(|(period, cap)| Some((period, cap?)))
    }
}

/// Whoever holds limits, with what passed lately.
#[derive(Debug)]
pub struct Holder {
    name: Arc<str>,
    what: &'static str,
    limits: Limits,
    role: Role,
    namespace: Namespace,
    expires: Option<SystemTime>,
    above: Option<Arc<Holder>>,
    /// From when its time is counted.
    began: Instant,
    rates: Mutex<Rates>,
    running: AtomicU32,
    /// One for each cap on its money.
    purses: Vec<Purse>,
    /// Where it is counted, once it was.
    counters: OnceLock<Arc<telemetry::Client>>,
}

#[derive(Debug, Default)]
struct Rates {
    requests: Window,
    tokens: Window,
}

/// How a holder stands with its rates; of all that hold, the tightest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standings {
    /// Requests per minute, where they are limited.
    pub requests: Option<Standing>,
    /// Tokens per minute, where they are limited.
    pub tokens: Option<Standing>,
}

/// Where in its windows a request counts.
type Ticks = (u64, u64);

impl Holder {
    /// A team. Its members count together, and spend what is counted at this bank.
    #[must_use]
    pub fn team(name: &str, limits: Limits, began: Instant, bank: &Arc<dyn Bank>) -> Arc<Self> {
        Arc::new(Self::bare("team", name, limits, None, began).banking(&format!("team/{name}"), bank))
    }

    #[cfg(test)]
    fn of(what: &'static str, name: &str, limits: Limits, above: Option<Arc<Self>>, began: Instant) -> Arc<Self> {
        Arc::new(Self::bare(what, name, limits, above, began))
    }

    fn bare(what: &'static str, name: &str, limits: Limits, above: Option<Arc<Self>>, began: Instant) -> Self {
        Self {
            name: name.into(),
            what,
            limits,
            role: Role::User,
            namespace: Namespace::default(),
            expires: None,
            above,
            began,
            rates: Mutex::default(),
            running: AtomicU32::new(0),
            purses: Vec::new(),
            counters: OnceLock::new(),
        }
    }

    /// With its money counted under an account of this name.
    fn banking(mut self, account: &str, bank: &Arc<dyn Bank>) -> Self {
        let purse = |(period, cap)| Purse::new(account, period, cap, Arc::clone(bank));
        self.purses = self.limits.caps().map(purse).collect();
        self
    }

    /// Its name: of a key with its id, so that no two keys ever have the same.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it may do besides asking.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where its stored answers are.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Whether it is a key that was derived from another one.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.what == "derived key"
    }

    /// Its own limits, those above it left out.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// It and all above it.
    fn chain(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        successors(Some(self), |holder| holder.above.as_ref())
    }

    /// The names under which its usage is counted: the key that it is or comes from, and the team of that.
    pub(crate) fn payers(self: &Arc<Self>) -> (Option<&Arc<str>>, Option<&Arc<str>>) {
        let named = |what: &str| self.chain().find(|holder| holder.what == what).map(|holder| &holder.name);
        (named("key"), named("team"))
    }

    /// The counters of the key that it is or comes from.
    pub(crate) fn counters(self: &Arc<Self>, ledger: &telemetry::Ledger) -> Option<&Arc<telemetry::Client>> {
        let key = self.chain().find(|holder| holder.what == "key")?;
        Some(key.counters.get_or_init(|| ledger.client(&key.name)))
    }

    /// Lets a request in that is thought to take as many tokens, if all who hold allow it. What the permit holds is given back when it is dropped.
    ///
    /// # Errors
    /// `policy_rate_limited` with the wait, naming the holder and its limit.
    pub fn admit(self: &Arc<Self>, now: Instant, tokens: u64) -> Result<Permit> {
        let mut entered = [(0, 0); MOST_ABOVE];
        for (at, holder) in self.chain().enumerate() {
            let outcome = match entered.get_mut(at) {
                Some(place) => holder.enter(now, tokens).map(|ticks| *place = ticks),
                None => Err(Error::internal("more holders above each other than there can be")),
            };
            if let Err(error) = outcome {
                for (holder, ticks) in self.chain().zip(entered).take(at) {
                    holder.leave();
                    holder.correct(ticks, Some(0), tokens, 0);
                }
                return Err(error);
            }
        }
        Ok(Permit { holder: Arc::clone(self), entered, thought: tokens })
    }

    fn enter(&self, now: Instant, tokens: u64) -> Result<Ticks> {
        let Limits { requests_per_minute, tokens_per_minute, concurrency, .. } = self.limits;
        if let Some(most) = concurrency
            && self.running.fetch_add(1, Ordering::AcqRel) >= most
        {
            self.leave();
            return Err(self.full(&format!("{most} requests at once"), Full::For(Duration::from_secs(1))));
        }
        if requests_per_minute.is_none() && tokens_per_minute.is_none() {
            return Ok((0, 0));
        }
        let now = now.saturating_duration_since(self.began);
        let mut rates = self.rates();
        let mut ticks = (0, 0);
        let mut refused = None;
        if let Some(most) = requests_per_minute {
            match rates.requests.take(now, 1, most) {
                Ok(tick) => ticks.0 = tick,
                Err(full) => refused = Some((format!("{most} requests a minute"), full)),
            }
        }
        if let Some(most) = tokens_per_minute.filter(|_| refused.is_none()) {
            match rates.tokens.take(now, tokens, most) {
                Ok(tick) => ticks.1 = tick,
                Err(full) => {
                    rates.requests.correct(ticks.0, 1, 0);
                    let what = format!("{most} tokens a minute, and this request may take {tokens}");
                    refused = Some((what, full));
                }
            }
        }
        drop(rates);
        let Some((what, full)) = refused else { return Ok(ticks) };
        self.leave();
        Err(self.full(&what, full))
    }

    fn leave(&self) {
        if self.limits.concurrency.is_some() {
            self.running.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Puts right what was thought of a request: `requests` that it counts for, and its tokens.
    fn correct(&self, (request, token): Ticks, requests: Option<u64>, thought: u64, true_tokens: u64) {
        let Limits { requests_per_minute, tokens_per_minute, .. } = self.limits;
        let requests = requests.filter(|_| requests_per_minute.is_some());
        if requests.is_none() && (tokens_per_minute.is_none() || thought == true_tokens) {
            return;
        }
        let mut rates = self.rates();
        if let Some(requests) = requests {
            rates.requests.correct(request, 1, requests);
        }
        if tokens_per_minute.is_some() {
            rates.tokens.correct(token, thought, true_tokens);
        }
    }

    fn full(&self, what: &str, full: Full) -> Error {
        let message = format!("the {} {} allows {what}", self.what, self.name);
        let error = Error::new(ErrorKind::PolicyRateLimited, message);
        match full {
            Full::For(wait) => error.with_retry_after(wait),
            Full::ForEver => error.with_hint("ask for less: no wait makes room for this"),
        }
    }

    /// How it stands with its rates.
    #[must_use]
    pub fn standings(self: &Arc<Self>, now: Instant) -> Standings {
        let tighter = |a: Option<Standing>, b: Option<Standing>| match (a, b) {
            (Some(a), Some(b)) => Some(if b.remaining < a.remaining { b } else { a }),
            (a, b) => a.or(b),
        };
        self.chain().fold(Standings::default(), |all, holder| {
            let now = now.saturating_duration_since(holder.began);
            let mut rates = holder.rates();
            let requests = holder.limits.requests_per_minute.map(|most| rates.requests.standing(now, most));
            let tokens = holder.limits.tokens_per_minute.map(|most| rates.tokens.standing(now, most));
            Standings { requests: tighter(all.requests, requests), tokens: tighter(all.tokens, tokens) }
        })
    }

    /// Whether a target may be asked; `route` is the name of the route that led there, which may be allowed as a whole.
    #[must_use]
    pub fn allows(self: &Arc<Self>, provider: &str, model: Option<&str>, route: Option<&str>) -> bool {
        self.chain().filter(|holder| !holder.limits.models.is_empty()).all(|holder| {
            let whole = model.map_or_else(|| provider.to_owned(), |model| format!("{provider}/{model}"));
            let names = [Some(whole.as_str()), model, route];
            holder.limits.models.iter().any(|pattern| names.iter().flatten().any(|name| matches_pattern(pattern, name)))
        })
    }

    /// Whether some holder counts tokens.
    #[must_use]
    pub fn counts_tokens(self: &Arc<Self>) -> bool {
        self.chain().any(|holder| holder.limits.tokens_per_minute.is_some())
    }

    /// Whether some holder names the models that may be asked.
    #[must_use]
    pub fn limits_models(self: &Arc<Self>) -> bool {
        self.chain().any(|holder| !holder.limits.models.is_empty())
    }

    /// Whether some holder limits models or anything that only a request's content shows. Such a key may not use what passes through unread.
    #[must_use]
    pub fn looks_inside(self: &Arc<Self>) -> bool {
        self.limits_models() || self.counts_tokens() || self.counts_money()
    }

    /// Whether some holder has only so much money.
    #[must_use]
    pub fn counts_money(self: &Arc<Self>) -> bool {
        self.chain().any(|holder| !holder.purses.is_empty())
    }

    /// Whether a model may be asked whose price is unknown: all whose money is limited must say so.
    #[must_use]
    pub fn allows_unpriced(self: &Arc<Self>) -> bool {
        self.chain().all(|holder| holder.purses.is_empty() || holder.limits.unpriced)
    }

    /// Sets money aside for one attempt: as much as it may cost at most, from all who hold.
    ///
    /// # Errors
    /// `policy_budget_exceeded` naming the holder, with the wait until its next period; what the store fails with.
    pub async fn reserve(self: &Arc<Self>, micros: u64, now: SystemTime) -> Result<Spending> {
        let mut spending = Spending { holder: Arc::clone(self), micros, held: Vec::new() };
        for holder in self.chain() {
            for purse in &holder.purses {
                let who = || format!("the {} {}", holder.what, holder.name);
                match purse.reserve(who, micros, now).await {
                    Ok(reserved) => spending.held.push(reserved),
                    Err(error) => {
                        spending.settle(0);
                        return Err(error);
                    }
                }
            }
        }
        Ok(spending)
    }

    /// Tells the bank what was spent beyond the leases, and gives back what lies idle: all but `keep` leases.
    pub(crate) async fn balance(&self, keep: u64, now: SystemTime) -> Result<()> {
        for purse in &self.purses {
            purse.balance(keep, now).await?;
        }
        Ok(())
    }

    /// What was drawn of each cap in this period, as it is counted for all processes: leases at hand included.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn drawn(&self, now: SystemTime) -> Result<Vec<(Period, u64, u64)>> {
        let mut all = Vec::new();
        for (purse, (period, cap)) in self.purses.iter().zip(self.limits.caps()) {
            all.push((period, purse.drawn(now).await?, cap));
        }
        Ok(all)
    }

    /// Refuses a key whose time is over.
    pub(crate) fn check_time(self: &Arc<Self>, now: SystemTime) -> Result<()> {
        match self.chain().find(|holder| holder.expires.is_some_and(|expires| expires <= now)) {
            Some(over) => Err(Error::new(
                ErrorKind::PolicyUnauthenticated,
                format!("the {} {} has expired", over.what, over.name),
            )
            .with_hint("ask whoever gave it for a new one")),
            None => Ok(()),
        }
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was let in. Dropping it makes room for the next one; what passed stays counted.
#[derive(Debug)]
pub struct Permit {
    holder: Arc<Holder>,
    entered: [Ticks; MOST_ABOVE],
    thought: u64,
}

impl Permit {
    /// Whose it is.
    #[must_use]
    pub fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Counts the tokens that the request really took, in place of what was thought.
    pub fn took(&mut self, tokens: u64) {
        for (holder, ticks) in self.holder.chain().zip(self.entered) {
            holder.correct(ticks, None, self.thought, tokens);
        }
        self.thought = tokens;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.holder.chain().for_each(|holder| holder.leave());
    }
}

/// Money set aside for one attempt. Dropped without a word it is spent: nobody could say that it was not.
#[derive(Debug)]
pub struct Spending {
    holder: Arc<Holder>,
    micros: u64,
    /// What each purse holds, as far as they were asked, in the order of the holders.
    held: Vec<Reserved>,
}

impl Spending {
    /// Settles it: this is what it cost, in micro-dollars.
    pub fn settle(mut self, micros: u64) {
        self.micros = micros;
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let purses = self.holder.chain().flat_map(|holder| &holder.purses);
        purses.zip(&self.held).for_each(|(purse, reserved)| purse.settle(*reserved, self.micros));
    }
}

#[cfg(test)]
mod tests;
