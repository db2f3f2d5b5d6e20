//! Limits: who may ask for how much, and how that is counted.
//!
//! A [`Holder`] is whoever holds limits: a team, a key of it, a narrower key derived from that one. Holders stand above each other, and what passes must pass all of them,
//! so a derived key is never stronger than what it came from. Asking is in memory alone and takes the locks of the asked holders only: two keys of no common team never
//! meet. Processes that share their limits ask a counter of theirs instead (`limits/shared.rs`). Read next: `limits/permit.rs` (how a request is let in), `limits/rate.rs` (requests and tokens per minute), `limits/budget.rs` (money), `limits/grant.rs` (keys as text, and how one is derived), `limits/keyring.rs` (the keys that are known,
//! shared by several processes through the `Store`). Providers, plans and HTTP are unknown here.

pub mod bank;
mod budget;
pub mod grant;
pub mod key;
pub mod keyring;
mod money;
mod period;
mod permit;
pub mod rate;
pub mod shared;
mod tab;
mod together;

use std::iter::successors;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::bank::Bank;
use self::budget::Purse;
use self::rate::{Standing, Window};
use self::shared::Sharing;
use self::together::Stood;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Namespace, matches_pattern};
use crate::telemetry;

pub use key::Role;
pub use keyring::Keyring;
pub use period::Period;
pub use permit::Permit;
pub use tab::{Payer, Spending};

/// How soon a request that runs may have ended.
const A_MOMENT: Duration = Duration::from_secs(1);

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
    /// Tokens of one answer: a request that asks for more, or names none, gets these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Models that may be asked: `provider/model`, a model's name, or a route; `*` stands for anything. None is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Money for each UTC day, in micro-dollars.
    #[serde(deserialize_with = "money::read", skip_serializing_if = "Option::is_none")]
    pub budget_per_day: Option<u64>,
    /// Money for each UTC month, in micro-dollars.
    #[serde(deserialize_with = "money::read", skip_serializing_if = "Option::is_none")]
    pub budget_per_month: Option<u64>,
    /// Money in all, in micro-dollars.
    #[serde(deserialize_with = "money::read", skip_serializing_if = "Option::is_none")]
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

    /// What one of so many allows who share them: its part of each, and what is no amount as it is.
    fn part(&self, parts: u32) -> Rated {
        let of = |limit: u64| if parts <= 1 { limit } else { limit / u64::from(parts) };
        Rated {
            requests_per_minute: self.requests_per_minute.map(of),
            tokens_per_minute: self.tokens_per_minute.map(of),
            // Few at once leave a part for nobody: one each is the least.
            concurrency: self.concurrency.map(|most| if parts <= 1 { most } else { (most / parts).max(most.min(1)) }),
        }
    }

    /// The caps on money.
    fn caps(&self) -> impl Iterator<Item = (Period, u64)> {
        let caps =
            [(Period::Day, self.budget_per_day), (Period::Month, self.budget_per_month), (Period::Ever, self.budget)];
        caps.into_iter().filter_map(|(period, cap)| Some((period, cap?)))
    }
}

/// Limits on how much passes.
struct Rated {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    concurrency: Option<u32>,
}

/// Where limits are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counting {
    /// Money, in leases.
    pub(crate) bank: Arc<dyn Bank>,
    /// Everything, together with other processes.
    pub(crate) sharing: Option<Arc<Sharing>>,
    /// Whoever is asking the bank, whether or not somebody still waits for it.
    pub(crate) draws: TaskTracker,
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
    passed: Arc<Passed>,
    /// One for each cap on its money.
    purses: Vec<Purse>,
    /// Where it is counted in the metrics, once it was.
    counters: OnceLock<Arc<telemetry::Client>>,
    /// Under which it is counted.
    account: Arc<str>,
    /// Who counts it together with other processes.
    sharing: Option<Arc<Sharing>>,
    /// Whether there is something of it, or above it, that is counted so.
    shares: bool,
    /// How it stood when it was asked.
    told: Mutex<Option<Stood>>,
}

/// What passed lately and what runs. A holder whose limits change goes on with what its key had.
#[derive(Debug, Default)]
struct Passed {
    rates: Mutex<Rates>,
    running: AtomicU32,
}

#[derive(Debug, Default)]
struct Rates {
    requests: Window,
    tokens: Window,
}

impl Passed {
    /// How long something of it counts, at the soonest; zero where it can be forgotten and nobody would notice.
    fn forgotten_in(&self, now: Duration) -> Duration {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = rates.requests.empty_in(now).max(rates.tokens.empty_in(now));
        let runs = self.running.load(Ordering::Acquire) > 0;
        counts.max(if runs { A_MOMENT } else { Duration::ZERO })
    }
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
    /// A team. Its members count together.
    pub(crate) fn team(name: &str, limits: Limits, began: Instant, counting: &Counting) -> Arc<Self> {
        Arc::new(Self::bare("team", name, limits, None, began).counted(&format!("team/{name}"), counting))
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
            passed: Arc::default(),
            purses: Vec::new(),
            counters: OnceLock::new(),
            account: Arc::default(),
            sharing: None,
            shares: false,
            told: Mutex::default(),
        }
    }

    /// Counted under an account of this name.
    fn counted(mut self, account: &str, counting: &Counting) -> Self {
        let purse = |(period, cap)| Purse::new(account, period, cap, counting).until(self.ends());
        self.purses = self.limits.caps().map(purse).collect();
        let Limits { requests_per_minute, tokens_per_minute, concurrency, .. } = self.limits;
        let rated = requests_per_minute.or(tokens_per_minute).is_some() || concurrency.is_some();
        self.account = account.into();
        self.sharing.clone_from(&counting.sharing);
        let above = self.above.as_ref().is_some_and(|above| above.shares);
        self.shares = above || self.sharing.is_some() && (rated || !self.purses.is_empty());
        self
    }

    /// When its money may be forgotten because it ends for good. A key that is kept may be given more time; what was derived says its end in itself.
    fn ends(&self) -> Option<SystemTime> {
        self.expires.filter(|_| self.is_derived())
    }

    /// What it is and its name, as errors say it.
    fn title(&self) -> String {
        format!("the {} {}", self.what, self.name)
    }

    /// Its name: of a key with its id, so that no two keys ever have the same.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The id of the key that it is; none for a derived one, which is narrower and not the same, and for what has no id.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        let (_, id) = self.name.rsplit_once('#').filter(|_| self.what == "key")?;
        Some(id)
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

    /// Whether a target may be asked; `route` is the name of the route that led there, which may be allowed as a whole.
    #[must_use]
    pub fn allows(self: &Arc<Self>, provider: &str, model: Option<&str>, route: Option<&str>) -> bool {
        self.allows_as(provider, model, model, route)
    }

    /// As [`Holder::allows`], where the model's `bare` name may mean something else, and then counts for nothing.
    #[must_use]
    pub fn allows_as(
        self: &Arc<Self>,
        provider: &str,
        model: Option<&str>,
        bare: Option<&str>,
        route: Option<&str>,
    ) -> bool {
        self.chain().filter(|holder| !holder.limits.models.is_empty()).all(|holder| {
            let whole = model.map_or_else(|| provider.to_owned(), |model| format!("{provider}/{model}"));
            let names = [Some(whole.as_str()), bare, route];
            holder.limits.models.iter().any(|pattern| names.iter().flatten().any(|name| matches_pattern(pattern, name)))
        })
    }

    /// Whether some holder counts tokens.
    #[must_use]
    pub fn counts_tokens(self: &Arc<Self>) -> bool {
        self.chain().any(|holder| holder.limits.tokens_per_minute.is_some())
    }

    /// The most tokens of one answer, where some holder says so.
    #[must_use]
    pub fn max_tokens(self: &Arc<Self>) -> Option<u32> {
        self.chain().filter_map(|holder| holder.limits.max_tokens).min()
    }

    /// Whether some holder names the models that may be asked.
    #[must_use]
    pub fn limits_models(self: &Arc<Self>) -> bool {
        self.chain().any(|holder| !holder.limits.models.is_empty())
    }

    /// Whether some holder limits models or anything that only a request's content shows. Such a key may not use what passes through unread.
    #[must_use]
    pub fn looks_inside(self: &Arc<Self>) -> bool {
        self.limits_models() || self.counts_tokens() || self.counts_money() || self.max_tokens().is_some()
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
}

#[cfg(test)]
mod tests;
