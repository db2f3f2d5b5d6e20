//! Letting a request in where several processes count together: one question to whoever counts, and this process's own word where nobody answers.
//!
//! The question is `shared.rs`'s, money that is set aside with it `tab.rs`'s, the way without others `permit.rs`'s.

use std::cmp::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::permit::Permit;
use super::rate::{Full, Standing};
use super::shared::{Account, Alone, Ask, Correction, Counted, Limit, Sharing, Told};
use super::tab::{Granted, Tab};
use super::{Holder, MOST_ABOVE, Standings};
use crate::error::{Error, Result};
use crate::store::StoreError;

/// What others counted of a request that was let in.
#[derive(Debug)]
pub(super) struct Together {
    sharing: Arc<Sharing>,
    slot: Option<u64>,
    /// Under which each account counted it; empty where nobody did.
    marks: Vec<u64>,
    tab: Option<Arc<Tab>>,
    alone: bool,
}

impl Together {
    pub(super) fn tab(&self) -> Option<Arc<Tab>> {
        self.tab.clone()
    }

    pub(super) fn alone(&self) -> Option<&'static str> {
        self.alone.then(|| self.sharing.alone.name())
    }

    /// Tells the true tokens in place of those thought of.
    pub(super) fn took(&self, holder: &Arc<Holder>, thought: u64, tokens: u64) {
        let more = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_sub(i64::try_from(thought).unwrap_or(i64::MAX));
        for (holder, mark) in holder.chain().zip(&self.marks) {
            if more != 0 && holder.limits.tokens_per_minute.is_some() {
                let account = Arc::clone(&holder.account);
                self.sharing.counter.correct(Correction::Tokens { account, mark: *mark, more });
            }
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.sharing.counter.correct(Correction::Left(slot));
        }
    }
}

/// How an account stood when it was asked last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stood {
    at: Instant,
    /// The counter's time.
    told: Duration,
    standings: Standings,
}

/// Answers that were given in another order than they came are no further apart: a counter whose clock says more was set back.
const APART: Duration = Duration::from_secs(30);

impl Stood {
    /// Of two answers the one that was given later, also where they came the other way round; of two that were given in the same moment the one with less room.
    fn later(self, other: Self) -> Self {
        let room = |stood: &Self| {
            let of = |standing: Option<Standing>| standing.map(|standing| standing.remaining);
            (of(stood.standings.requests), of(stood.standings.tokens))
        };
        let is_older = match other.told.cmp(&self.told) {
            Ordering::Less => self.told.saturating_sub(other.told) < APART,
            Ordering::Equal => room(&self) < room(&other),
            Ordering::Greater => false,
        };
        if is_older { self } else { other }
    }
}

impl Holder {
    /// Whether some limit of it is counted together with other processes.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shares
    }

    /// Lets a request in that is thought to take as many tokens and to cost at most the first of these amounts that there is room for, if all who hold allow it. Where limits are
    /// counted together with other processes, that is one question to whoever counts, and the money is set aside with it; else each attempt sets aside its own, and the amounts,
    /// micro-dollars, each less than the one before it, say nothing. None are needed where no money is limited.
    ///
    /// # Errors
    /// `policy_rate_limited` or `policy_budget_exceeded` with the wait, naming the holder and its limit; `router_unavailable` where nobody counts and nothing passes then.
    pub async fn enter_all(
        self: &Arc<Self>,
        now: Instant,
        date: SystemTime,
        tokens: u64,
        amounts: &[u64],
    ) -> Result<Permit> {
        match self.sharing.as_ref().filter(|_| self.shares) {
            None => self.admit(now, tokens),
            Some(sharing) => Box::pin(self.enter_together(sharing, now, date, tokens, amounts)).await,
        }
    }

    async fn enter_together(
        self: &Arc<Self>,
        sharing: &Arc<Sharing>,
        now: Instant,
        date: SystemTime,
        tokens: u64,
        amounts: &[u64],
    ) -> Result<Permit> {
        let ask = self.ask(tokens, amounts, date);
        match sharing.ask(ask.clone()).await {
            Ok(Told::In { slot, drew, accounts }) => {
                self.stand(now, &ask, &accounts);
                let tab = self.tab(sharing, &ask.accounts, Granted::told(&ask, drew, &accounts), false);
                let marks = accounts.iter().map(|account| account.mark).collect();
                let together = Together { sharing: Arc::clone(sharing), slot, marks, tab, alone: false };
                let here = sharing.alone.counts_here();
                let entered = if here { self.note(now, tokens) } else { [(0, 0); MOST_ABOVE] };
                Ok(Permit { holder: Arc::clone(self), entered, thought: tokens, here, together: Some(together) })
            }
            Ok(Told::Full { at, limit, wait, accounts }) => {
                self.stand(now, &ask, &accounts);
                Err(self.refused(&ask, at, limit, wait, date))
            }
            Err(silent) => self.enter_alone(sharing, &ask, (now, date), tokens, silent),
        }
    }

    /// Nobody counts: this process says what passes.
    fn enter_alone(
        self: &Arc<Self>,
        sharing: &Arc<Sharing>,
        ask: &Ask,
        (now, date): (Instant, SystemTime),
        tokens: u64,
        silent: StoreError,
    ) -> Result<Permit> {
        let mut permit = match sharing.alone {
            Alone::Closed => return Err(sharing.refusal(silent)),
            Alone::Open => {
                let (holder, entered) = (Arc::clone(self), [(0, 0); MOST_ABOVE]);
                Permit { holder, entered, thought: tokens, here: false, together: None }
            }
            Alone::Local(parts) => self.admit_part(now, tokens, parts)?,
        };
        let granted = if self.counts_money() {
            self.alone_money(sharing, &ask.amounts, date, silent)?
        } else {
            Granted::default()
        };
        let tab = self.tab(sharing, &ask.accounts, granted, true);
        let together = Together { sharing: Arc::clone(sharing), slot: None, marks: Vec::new(), tab, alone: true };
        permit.together = Some(together);
        Ok(permit)
    }

    fn tab(
        self: &Arc<Self>,
        sharing: &Arc<Sharing>,
        accounts: &[Account],
        granted: Granted,
        alone: bool,
    ) -> Option<Arc<Tab>> {
        self.counts_money().then(|| Arc::new(Tab::open(self, sharing, accounts, granted, alone)))
    }

    fn ask(self: &Arc<Self>, tokens: u64, amounts: &[u64], date: SystemTime) -> Ask {
        let account = |holder: &Arc<Self>| Account {
            name: Arc::clone(&holder.account),
            requests: holder.limits.requests_per_minute,
            tokens: holder.limits.tokens_per_minute.map(|most| (tokens, most)),
            concurrency: holder.limits.concurrency,
            money: holder.purses.iter().map(|purse| purse.due(date)).collect(),
        };
        Ask { accounts: self.chain().map(account).collect(), amounts: amounts.to_vec() }
    }

    /// Remembers how the accounts stand.
    fn stand(self: &Arc<Self>, now: Instant, ask: &Ask, accounts: &[Counted]) {
        for ((holder, asked), counted) in self.chain().zip(&ask.accounts).zip(accounts) {
            let standings = Standings { requests: counted.requests, tokens: counted.tokens };
            let stood = Stood { at: now, told: counted.at, standings };
            let mut told = holder.told.lock().unwrap_or_else(PoisonError::into_inner);
            *told = Some(told.map_or(stood, |before| before.later(stood)));
            drop(told);
            for ((purse, due), drawn) in holder.purses.iter().zip(&asked.money).zip(&counted.drawn) {
                purse.know(&due.books, *drawn);
            }
        }
    }

    /// How it stood when it was asked last, as far as that says something now.
    pub(super) fn stood(&self, now: Instant) -> Standings {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Stood { at, standings, .. }) = told else { return Standings::default() };
        let passed = now.saturating_duration_since(at);
        let later = |standing: Standing| {
            let reset = standing.reset.saturating_sub(passed);
            let remaining = if reset.is_zero() { standing.limit } else { standing.remaining };
            Standing { reset, remaining, ..standing }
        };
        Standings { requests: standings.requests.map(later), tokens: standings.tokens.map(later) }
    }

    /// The error of an account that is full.
    pub(super) fn refused(
        self: &Arc<Self>,
        ask: &Ask,
        at: usize,
        limit: Limit,
        wait: Option<Duration>,
        date: SystemTime,
    ) -> Error {
        let unclear = || Error::internal("whoever counts limits refused what was not asked");
        let Some((holder, asked)) = self.chain().zip(&ask.accounts).nth(at) else { return unclear() };
        let full = wait.map_or(Full::ForEver, Full::For);
        let what = match limit {
            Limit::Requests => asked.requests.map(|most| format!("{most} requests a minute")),
            Limit::Tokens => {
                asked.tokens.map(|(tokens, most)| format!("{most} tokens a minute, and this request may take {tokens}"))
            }
            Limit::Concurrency => asked.concurrency.map(|most| format!("{most} requests at once")),
            Limit::Money(place) => {
                let asked = holder.purses.get(place).zip(ask.amounts.last());
                return asked.map_or_else(unclear, |(purse, least)| purse.refusal(&holder.title(), *least, date));
            }
        };
        what.map_or_else(unclear, |what| holder.full(&what, full))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_told_later_holds_in_whatever_order_it_comes() {
        let at = Instant::now();
        let stood = |told: u64, remaining: u64| {
            let standing = Standing { limit: 100, remaining, reset: Duration::from_secs(60) };
            let standings = Standings { requests: Some(standing), tokens: None };
            Stood { at, told: Duration::from_millis(told), standings }
        };
        let left = |one: Stood, other: Stood| one.later(other).standings.requests.unwrap().remaining;
        for (earlier, later) in [(stood(5, 1), stood(6, 0)), (stood(5, 1), stood(5, 0)), (stood(5, 3), stood(6, 9))] {
            let holds = later.standings.requests.unwrap().remaining;
            assert_eq!((left(earlier, later), left(later, earlier)), (holds, holds));
        }
        assert_eq!(left(stood(90_000, 0), stood(5, 7)), 7, "a clock that was set back");
    }
}
