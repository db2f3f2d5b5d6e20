//! Money set aside: from the leases of this process, or on a tab that is counted together with others.
//!
//! A [`Tab`] is one request's money at a shared counter: opened when the request is let in, in the same step, with what `router/allowance.rs` asked for. Until a call was made the request
//! keeps to that: what is dearer is refused here, so that whoever counts is asked once before the first call. A later attempt spends what is left and asks only for what is missing. When
//! nobody holds it any more, what was not spent goes back, and what was spent beyond it is told. Caps and leases are `budget.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Holder;
use super::budget::Reserved;
use super::shared::{Account, Alone, Ask, Correction, Counted, Limit, Sharing, Told};
use crate::error::{Error, ErrorKind, Result};
use crate::pricing::dollars;
use crate::store::StoreError;

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
        let mut spending = Spending { micros: 0, called: true, from: From::Leases(Arc::clone(self), Vec::new()) };
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
    /// Whether the call was made that it was for.
    called: bool,
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

    /// Gives it back: the call was never made.
    pub fn give_back(mut self) {
        (self.micros, self.called) = (0, false);
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        match &self.from {
            From::Leases(holder, held) => {
                let purses = holder.chain().flat_map(|holder| &holder.purses);
                purses.zip(held).for_each(|(purse, reserved)| purse.settle(*reserved, self.micros));
            }
            From::Tab(tab, held) => tab.settle(*held, self.micros, self.called),
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
    /// Whether a call was made. From then on the books are asked anew: somebody may have given something back.
    called: bool,
    /// What was refused when the tab was opened.
    refused: Option<Refused>,
}

/// What a request was granted of its alternatives when it was let in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Granted {
    amount: u64,
    refused: Option<Refused>,
}

/// The least amount that there was no room for.
#[derive(Clone, Copy, Debug)]
struct Refused {
    least: u64,
    by: By,
}

/// The place of a holder in its chain, and that of one of its purses.
type By = (usize, usize);

/// Why nothing is held.
enum Short {
    /// So much is missing.
    Of(u64),
    /// As much was refused a moment ago.
    Refused(By),
    /// Nobody was called yet, and so much is set aside.
    Keeps(u64),
}

impl Granted {
    /// What the books granted, as they stand with it.
    pub(super) fn told(ask: &Ask, drew: u64, accounts: &[Counted]) -> Self {
        let least = ask.amounts.iter().copied().filter(|amount| *amount > drew).min();
        let full = |least: u64| {
            ask.accounts.iter().zip(accounts).enumerate().find_map(|(at, (account, counted))| {
                let room = |cap: u64, drawn: u64| cap.saturating_sub(drawn).saturating_add(drew);
                let place =
                    account.money.iter().zip(&counted.drawn).position(|(due, drawn)| room(due.cap, *drawn) < least);
                place.map(|place| (at, place))
            })
        };
        let refused = least.and_then(|least| full(least).map(|by| Refused { least, by }));
        Self { amount: drew, refused }
    }
}

impl Money {
    fn free(&self) -> u64 {
        (self.drawn + self.alone).saturating_sub(self.held.saturating_add(self.spent))
    }
}

impl Tab {
    /// A tab with what is counted in these books already, or what this process allows `alone`.
    pub(super) fn open(
        holder: &Arc<Holder>,
        sharing: &Arc<Sharing>,
        accounts: &[Account],
        granted: Granted,
        alone: bool,
    ) -> Self {
        let of_money =
            |account: &Account| Account { requests: None, tokens: None, concurrency: None, ..account.clone() };
        let accounts = accounts.iter().map(of_money).collect();
        let Granted { amount, refused } = granted;
        let (drawn, alone) = if alone { (0, amount) } else { (amount, 0) };
        let money = Mutex::new(Money { drawn, alone, refused, ..Money::default() });
        Self { holder: Arc::clone(holder), sharing: Arc::clone(sharing), accounts, money }
    }

    fn money(&self) -> MutexGuard<'_, Money> {
        self.money.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds so much, where that is free.
    fn take(&self, micros: u64) -> std::result::Result<(), Short> {
        let mut money = self.money();
        let missing = micros.saturating_sub(money.free());
        if missing == 0 {
            money.held = money.held.saturating_add(micros);
            return Ok(());
        }
        let refused = money.refused.filter(|refused| micros >= refused.least);
        Err(match refused {
            _ if money.called => Short::Of(missing),
            Some(refused) => Short::Refused(refused.by),
            None => Short::Keeps(money.drawn + money.alone),
        })
    }

    async fn reserve(self: &Arc<Self>, micros: u64, now: SystemTime) -> Result<Spending> {
        while let Err(short) = self.take(micros) {
            let missing = match short {
                Short::Of(missing) => missing,
                Short::Refused((at, place)) => {
                    return Err(self.holder.refused(&self.ask(micros), at, Limit::Money(place), None, now));
                }
                Short::Keeps(aside) => return Err(keeps(aside, micros)),
            };
            match self.sharing.ask(self.ask(missing)).await {
                Ok(Told::In { drew, .. }) => self.money().drawn += drew,
                Ok(Told::Full { at, limit, wait, .. }) => {
                    return Err(self.holder.refused(&self.ask(micros), at, limit, wait, now));
                }
                Err(silent) => {
                    let granted = self.holder.alone_money(&self.sharing, &[missing], now, silent)?;
                    self.money().alone += granted.amount;
                }
            }
        }
        Ok(Spending { micros, called: true, from: From::Tab(Arc::clone(self), micros) })
    }

    /// What is asked of the accounts for so much.
    fn ask(&self, micros: u64) -> Ask {
        Ask { accounts: self.accounts.clone(), amounts: vec![micros] }
    }

    fn settle(&self, held: u64, cost: u64, called: bool) {
        let mut money = self.money();
        money.called |= called;
        money.held = money.held.saturating_sub(held);
        money.spent = money.spent.saturating_add(cost);
    }
}

/// The error of an attempt that is dearer than what was set aside for the request, before anybody was called.
fn keeps(aside: u64, micros: u64) -> Error {
    let (aside, may) = (dollars(aside), dollars(micros));
    let message = format!(
        "this call may cost {may}, and with little left of the budget only {aside} was set aside for the request"
    );
    Error::new(ErrorKind::PolicyBudgetExceeded, message)
        .with_hint("ask again: by then it is known that the cheaper target is busy or left alone")
        .with_retry_after(Duration::from_secs(1))
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

/// So many times an amount must be left for it to be plenty: who sets aside more than it needs then leaves enough to the others.
const PLENTY: u64 = 20;

impl Holder {
    /// Whether so much is little of what is left, as far as that is known here.
    pub(crate) fn has_plenty(self: &Arc<Self>, micros: u64, now: SystemTime) -> bool {
        let mut purses = self.chain().flat_map(|holder| &holder.purses);
        purses.all(|purse| purse.left(now) / PLENTY >= micros)
    }

    /// The first of these amounts that this process alone allows.
    ///
    /// # Errors
    /// `router_unavailable` where nothing passes alone, `policy_budget_exceeded` where its part has no room for the last of them.
    pub(super) fn alone_money(
        self: &Arc<Self>,
        sharing: &Sharing,
        amounts: &[u64],
        now: SystemTime,
        silent: StoreError,
    ) -> Result<Granted> {
        let parts = match sharing.alone {
            Alone::Closed => return Err(sharing.refusal(silent)),
            Alone::Open => return Ok(Granted { amount: amounts.first().copied().unwrap_or(0), refused: None }),
            Alone::Local(parts) => parts,
        };
        let mut refused: Option<(Refused, Error)> = None;
        for &least in amounts {
            match self.take_parts(least, parts, now) {
                Ok(()) => return Ok(Granted { amount: least, refused: refused.map(|(refused, _)| refused) }),
                Err((by, error)) => refused = Some((Refused { least, by }, error)),
            }
        }
        refused.map_or(Ok(Granted::default()), |(_, error)| Err(error))
    }

    /// Allows so much of the part of every purse, or of none.
    fn take_parts(self: &Arc<Self>, micros: u64, parts: u32, now: SystemTime) -> std::result::Result<(), (By, Error)> {
        let mut taken = Vec::new();
        for (at, holder) in self.chain().enumerate().filter(|_| micros > 0) {
            for (place, purse) in holder.purses.iter().enumerate() {
                if purse.take_part(micros, parts, now) {
                    taken.push(purse);
                    continue;
                }
                taken.iter().for_each(|purse| purse.end_part(micros, 0));
                return Err(((at, place), purse.refusal(&holder.title(), micros, now)));
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
