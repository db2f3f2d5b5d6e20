//! Money set aside: from the leases of this process, or on a tab that is counted together with others.
//!
//! A [`Tab`] is one request's money at a shared counter: opened when the request is let in, in the same step, with what its first attempt may cost. A later attempt spends what is
//! left of it and asks only for what is missing. When nobody holds it any more, what was not spent goes back, and what was spent beyond it is told. Caps and leases are
//! `budget.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Holder;
use super::budget::Reserved;
use super::shared::{Account, Alone, Ask, Correction, Sharing, Told};
use crate::error::Result;

/// Whose money a request spends.
#[derive(Clone, Debug)]
pub struct Payer {
    holder: Arc<Holder>,
    tab: Option<Arc<Tab>>,
}

impl Payer {
    pub(super) fn new(holder: &Arc<Holder>, tab: Option<Arc<Tab>>) -> Self {
        Self { holder: Arc::clone(holder), tab }
    }

    /// Who holds the caps.
    #[must_use]
    pub fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Sets money aside for one attempt: as much as it may cost at most, from all who hold.
    ///
    /// # Errors
    /// `policy_budget_exceeded` naming the holder, with the wait until its next period; what the store fails with.
    pub async fn reserve(&self, micros: u64, now: SystemTime) -> Result<Spending> {
        match &self.tab {
            Some(tab) => Box::pin(tab.reserve(micros, now)).await,
            None => self.holder.reserve(micros, now).await,
        }
    }
}

impl Holder {
    /// Sets money aside for one attempt from the leases of this process.
    ///
    /// # Errors
    /// As [`Payer::reserve`].
    pub async fn reserve(self: &Arc<Self>, micros: u64, now: SystemTime) -> Result<Spending> {
        // Nothing is spent before all of it is set aside: whoever is gone by then has asked nobody.
        let mut spending = Spending { micros: 0, from: From::Leases(Arc::clone(self), Vec::new()) };
        for holder in self.chain() {
            for purse in &holder.purses {
                let who = || holder.title();
                match (purse.reserve(who, micros, now).await, &mut spending.from) {
                    (Ok(reserved), From::Leases(_, held)) => held.push(reserved),
                    (Ok(_), From::Tab(..)) => {}
                    (Err(error), _) => {
                        spending.settle(0);
                        return Err(error);
                    }
                }
            }
        }
        spending.micros = micros;
        Ok(spending)
    }
}

/// Money set aside for one attempt. Dropped without a word it is spent: nobody could say that it was not.
#[derive(Debug)]
pub struct Spending {
    micros: u64,
    from: From,
}

#[derive(Debug)]
enum From {
    /// What each purse holds, as far as they were asked, in the order of the holders.
    Leases(Arc<Holder>, Vec<Reserved>),
    /// What is held of a tab.
    Tab(Arc<Tab>, u64),
}

impl Spending {
    /// Settles it: this is what it cost, in micro-dollars.
    pub fn settle(mut self, micros: u64) {
        self.micros = micros;
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        match &self.from {
            From::Leases(holder, held) => {
                let purses = holder.chain().flat_map(|holder| &holder.purses);
                purses.zip(held).for_each(|(purse, reserved)| purse.settle(*reserved, self.micros));
            }
            From::Tab(tab, held) => tab.settle(*held, self.micros),
        }
    }
}

/// The money of one request at a counter that others share.
#[derive(Debug)]
pub(crate) struct Tab {
    holder: Arc<Holder>,
    sharing: Arc<Sharing>,
    /// The accounts whose books it stands in: those of the time when it was opened, also for what is asked for after the end of a day.
    accounts: Vec<Account>,
    money: Mutex<Money>,
}

/// Micro-dollars.
#[derive(Debug, Default)]
struct Money {
    /// Counted in the books.
    drawn: u64,
    /// Allowed by this process alone, and in no books yet.
    alone: u64,
    /// Set aside for attempts under way.
    held: u64,
    spent: u64,
}

impl Money {
    fn free(&self) -> u64 {
        (self.drawn + self.alone).saturating_sub(self.held.saturating_add(self.spent))
    }
}

impl Tab {
    /// A tab with what is counted in these books already, or what this process allows alone.
    pub(super) fn open(
        holder: &Arc<Holder>,
        sharing: &Arc<Sharing>,
        accounts: &[Account],
        drawn: u64,
        alone: u64,
    ) -> Self {
        let of_money =
            |account: &Account| Account { requests: None, tokens: None, concurrency: None, ..account.clone() };
        let accounts = accounts.iter().map(of_money).collect();
        let money = Mutex::new(Money { drawn, alone, ..Money::default() });
        Self { holder: Arc::clone(holder), sharing: Arc::clone(sharing), accounts, money }
    }

    fn money(&self) -> MutexGuard<'_, Money> {
        self.money.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds so much, where that is free; else what is missing.
    fn take(&self, micros: u64) -> std::result::Result<(), u64> {
        let mut money = self.money();
        let missing = micros.saturating_sub(money.free());
        if missing == 0 {
            money.held = money.held.saturating_add(micros);
            return Ok(());
        }
        Err(missing)
    }

    async fn reserve(self: &Arc<Self>, micros: u64, now: SystemTime) -> Result<Spending> {
        while let Err(missing) = self.take(micros) {
            let ask = self.ask(missing);
            match self.sharing.ask(ask.clone()).await {
                Ok(Told::In { .. }) => self.money().drawn += missing,
                Ok(Told::Full { at, limit, wait, .. }) => {
                    return Err(self.holder.refused(&ask, at, limit, wait, now));
                }
                Err(silent) => {
                    self.holder.alone_money(&self.sharing, missing, now, silent)?;
                    self.money().alone += missing;
                }
            }
        }
        Ok(Spending { micros, from: From::Tab(Arc::clone(self), micros) })
    }

    /// What is asked of the accounts for so much more.
    fn ask(&self, micros: u64) -> Ask {
        let mut accounts = self.accounts.clone();
        accounts.iter_mut().flat_map(|account| &mut account.money).for_each(|due| due.amount = micros);
        Ask { accounts }
    }

    fn settle(&self, held: u64, cost: u64) {
        let mut money = self.money();
        money.held = money.held.saturating_sub(held);
        money.spent = money.spent.saturating_add(cost);
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let money = self.money.get_mut().unwrap_or_else(PoisonError::into_inner);
        let more = signed(money.spent).saturating_sub(signed(money.drawn));
        if money.alone > 0 && matches!(self.sharing.alone, Alone::Local(_)) {
            // What the books have was spent first.
            self.holder.end_alone(money.alone, money.spent.saturating_sub(money.drawn).min(money.alone));
        }
        if more == 0 {
            return;
        }
        for due in self.accounts.iter().flat_map(|account| &account.money) {
            let (books, expires) = (Arc::clone(&due.books), due.expires);
            self.sharing.counter.correct(Correction::Money { books, more, expires });
        }
    }
}

impl Holder {
    /// Whether this process alone allows so much.
    ///
    /// # Errors
    /// `router_unavailable` where nothing passes alone, `policy_budget_exceeded` where its part is spent.
    pub(super) fn alone_money(
        self: &Arc<Self>,
        sharing: &Sharing,
        micros: u64,
        now: SystemTime,
        silent: crate::store::StoreError,
    ) -> Result<()> {
        let parts = match sharing.alone {
            Alone::Closed => return Err(sharing.refusal(silent)),
            Alone::Open => return Ok(()),
            Alone::Local(parts) => parts,
        };
        let mut taken = Vec::new();
        for holder in self.chain() {
            for purse in &holder.purses {
                if purse.take_part(micros, parts, now) {
                    taken.push(purse);
                    continue;
                }
                taken.iter().for_each(|purse| purse.end_part(micros, 0));
                return Err(purse.refusal(&holder.title(), micros, now));
            }
        }
        Ok(())
    }

    fn end_alone(self: &Arc<Self>, allowed: u64, spent: u64) {
        self.chain().flat_map(|holder| &holder.purses).for_each(|purse| purse.end_part(allowed, spent));
    }
}

#[cfg(test)]
mod tests;
