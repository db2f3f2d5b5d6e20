//! Money: a cap for a UTC day, a month, or for ever, reserved before it is spent and settled when the price is known.
//!
//! What several processes spend together is counted at a [`Bank`]. Asking it for every request would put a disk before each, so a [`Purse`] draws a lease, a hundredth of the cap
//! or what one request needs, and spends that in memory; the bank has written it down before the first of it is spent. So a cap holds whatever happens: a process that is killed
//! forfeits the rest of its leases and no more. Amounts are whole micro-dollars. What a request costs is `../pricing.rs` and the router's business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_util::task::TaskTracker;

use super::Counting;
use super::bank::{Bank, Draft, TRIES};
use super::period::{DAY, Period};
use super::shared::Due;
use crate::error::{Error, ErrorKind, Result};
use crate::pricing::dollars;
use crate::store::StoreError;

/// One cap of one holder.
#[derive(Debug)]
pub(crate) struct Purse {
    account: String,
    period: Period,
    cap: u64,
    /// When whoever holds it ends for good.
    ends: Option<SystemTime>,
    bank: Arc<dyn Bank>,
    /// Owns the tasks that ask the bank.
    draws: TaskTracker,
    money: Arc<Mutex<Money>>,
    /// What is known of books that are counted elsewhere.
    known: Mutex<Known>,
    /// Held while the bank is asked, so that many who find the purse empty draw once.
    drawing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Money {
    period: u64,
    /// Drawn, and neither spent nor reserved. Negative where something cost more than there was.
    leased: i64,
    /// What periods that are over still have to be told: their number, and how much more was spent than drawn.
    owed: Vec<(u64, i64)>,
}

/// How the books of a shared counter stood when it was asked last, and what this process allowed since without asking.
#[derive(Debug, Default)]
struct Known {
    books: Arc<str>,
    /// None before the first word of them.
    left: Option<u64>,
    /// Allowed here to requests that are under way, however long: they are in no books before they end.
    held: u64,
    /// Spent of what was allowed here, since the counter was heard.
    spent: u64,
}

/// Money set aside for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    period: u64,
    amount: u64,
}

/// Adds to what may be spent in a period; of one that is over, the bank is told later.
fn put(money: &Mutex<Money>, number: u64, amount: i64) {
    let mut money = money.lock().unwrap_or_else(PoisonError::into_inner);
    if money.period == number {
        money.leased = money.leased.saturating_add(amount);
    } else {
        money.owe(number, amount.saturating_neg());
    }
}

impl Money {
    /// Remembers what the bank is to be told of a period that is over.
    fn owe(&mut self, number: u64, amount: i64) {
        match self.owed.iter_mut().find(|(known, _)| *known == number) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None if amount != 0 => self.owed.push((number, amount)),
            None => {}
        }
    }
}

impl Purse {
    pub(crate) fn new(account: &str, period: Period, cap: u64, counting: &Counting) -> Self {
        Self {
            account: format!("{account}/{}", period.name()),
            period,
            cap,
            ends: None,
            bank: Arc::clone(&counting.bank),
            draws: counting.draws.clone(),
            money: Arc::default(),
            known: Mutex::default(),
            drawing: Arc::default(),
        }
    }

    /// Of a holder that ends then, for good: its books may be forgotten later.
    pub(crate) fn until(self, ends: Option<SystemTime>) -> Self {
        Self { ends, ..self }
    }

    /// Which of its books a shared counter is asked for.
    pub(super) fn due(&self, now: SystemTime) -> Due {
        let (number, next) = self.period.of(now);
        Due { books: self.books(number).into(), cap: self.cap, expires: self.kept(next) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers how much of these books is drawn.
    pub(super) fn know(&self, books: &Arc<str>, drawn: u64) {
        let mut known = self.known();
        (known.books, known.left, known.spent) = (Arc::clone(books), Some(self.cap.saturating_sub(drawn)), 0);
    }

    /// What is left in this period, as far as it was heard.
    pub(super) fn left(&self, now: SystemTime) -> u64 {
        let books = self.books(self.period.of(now).0);
        let known = self.known();
        known.left.filter(|_| *known.books == *books).unwrap_or(self.cap)
    }

    /// Allows so much without asking: as one of so many who may each spend their part of what was left. Where nobody ever said what is left, that is nothing.
    pub(super) fn take_part(&self, amount: u64, parts: u32, now: SystemTime) -> bool {
        let books = self.books(self.period.of(now).0);
        let mut known = self.known();
        if known.left.is_some() && *known.books != *books {
            // A new period began, and at its beginning all is left.
            (known.books, known.left, known.spent) = (books.into(), Some(self.cap), 0);
        }
        let part = known.left.unwrap_or(0) / u64::from(parts.max(1));
        let fits = known.held.saturating_add(known.spent).saturating_add(amount) <= part;
        if fits {
            known.held += amount;
        }
        fits
    }

    /// What was allowed is over, and so much of it was spent.
    pub(super) fn end_part(&self, allowed: u64, spent: u64) {
        let mut known = self.known();
        known.held = known.held.saturating_sub(allowed);
        known.spent = known.spent.saturating_add(spent);
    }

    /// The error of a cap that does not allow so much.
    pub(super) fn refusal(&self, who: &str, amount: u64, now: SystemTime) -> Error {
        self.spent(who, amount, now, self.period.of(now).1)
    }

    fn books(&self, number: u64) -> String {
        format!("{}/{number}", self.account)
    }

    /// When the books of a period that ends then may be forgotten: never those of one without an end, unless whoever holds them ends.
    fn kept(&self, next: Option<SystemTime>) -> Option<SystemTime> {
        let end = next.into_iter().chain(self.ends).min()?;
        end.checked_add(Duration::from_secs(100 * DAY))
    }

    /// A lease: small enough that losing one hurts nobody.
    fn block(&self) -> u64 {
        self.cap / 100
    }

    fn money(&self) -> MutexGuard<'_, Money> {
        self.money.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets aside what there is of this period; else what is missing.
    fn take(&self, number: u64, amount: u64) -> Result<Reserved, u64> {
        let mut money = self.money();
        if money.period != number {
            let (over, leased) = (money.period, money.leased);
            money.owe(over, -leased);
            (money.period, money.leased) = (number, 0);
        }
        let wanted = i64::try_from(amount).unwrap_or(i64::MAX);
        if money.leased >= wanted {
            money.leased -= wanted;
            return Ok(Reserved { period: number, amount });
        }
        Err(u64::try_from(wanted.saturating_sub(money.leased)).unwrap_or(u64::MAX))
    }

    /// Sets money aside; the bank is asked only where the lease at hand is not enough.
    ///
    /// # Errors
    /// `policy_budget_exceeded` where the cap does not allow it, until the period's end; what the store fails with.
    pub(crate) async fn reserve(&self, who: impl Fn() -> String, amount: u64, now: SystemTime) -> Result<Reserved> {
        let (number, next) = self.period.of(now);
        if let Ok(reserved) = self.take(number, amount) {
            return Ok(reserved);
        }
        let mut turn = Arc::clone(&self.drawing).lock_owned().await;
        for _ in 0..TRIES {
            let missing = match self.take(number, amount) {
                Ok(reserved) => return Ok(reserved),
                Err(missing) => missing,
            };
            let expires = self.kept(next);
            let draft = Draft { least: missing, wanted: missing.max(self.block()), cap: self.cap, expires };
            let (bank, books, money) = (Arc::clone(&self.bank), self.books(number), Arc::clone(&self.money));
            // What the bank has written down is there whoever has left meanwhile: the tracker owns the task, and the end of the process waits for it.
            let drawing = self.draws.spawn(async move {
                let drawn = bank.draw(&books, draft).await;
                if let Ok(drawn) = drawn {
                    put(&money, number, i64::try_from(drawn).unwrap_or(i64::MAX));
                }
                (turn, drawn)
            });
            let (back, drawn) =
                drawing.await.map_err(|error| Error::internal(format!("a draw ended early: {error}")))?;
            turn = back;
            let drawn = drawn?;
            if drawn == 0 {
                return Err(self.spent(&who(), amount, now, next));
            }
            // Somebody who found a little of it is served first; then there is more to draw.
        }
        Err(StoreError::Busy.into())
    }

    fn put(&self, number: u64, amount: i64) {
        put(&self.money, number, amount);
    }

    /// Replaces what was set aside by what it cost.
    pub(crate) fn settle(&self, reserved: Reserved, cost: u64) {
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        self.put(reserved.period, signed(reserved.amount).saturating_sub(signed(cost)));
    }

    /// Tells the bank what it should know: what is owed to it, and what is held for nothing, of which `keep` leases may stay.
    pub(crate) async fn balance(&self, keep: u64, now: SystemTime) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.drawing).lock_owned().await;
        let (current, next) = self.period.of(now);
        let owed = {
            let mut money = self.money();
            let most = i64::try_from(self.block().saturating_mul(keep)).unwrap_or(i64::MAX);
            let over = money.period != current;
            if money.leased < 0 || money.leased > most || (over && money.leased != 0) {
                let stays = if over { 0 } else { money.leased.clamp(0, most) };
                let (period, more) = (money.period, stays - money.leased);
                money.owe(period, more);
                money.leased = stays;
            }
            money.owed.retain(|(_, amount)| *amount != 0);
            std::mem::take(&mut money.owed)
        };
        if owed.is_empty() {
            return Ok(());
        }
        // The books of a period that is over were given their time when they were opened.
        let (bank, money, expires) = (Arc::clone(&self.bank), Arc::clone(&self.money), self.kept(next));
        let owed: Vec<_> = owed.into_iter().map(|(number, amount)| (number, self.books(number), amount)).collect();
        // As with a draw: nothing of it is forgotten where whoever balances is gone meanwhile.
        let telling = self.draws.spawn(async move {
            let _turn = turn;
            let mut left = owed.into_iter();
            while let Some((number, books, amount)) = left.next() {
                if let Err(error) = bank.correct(&books, amount, expires).await {
                    let mut money = money.lock().unwrap_or_else(PoisonError::into_inner);
                    let untold = left.map(|(number, _, amount)| (number, amount));
                    std::iter::once((number, amount)).chain(untold).for_each(|(at, amount)| money.owe(at, amount));
                    return Err(error);
                }
            }
            Ok(())
        });
        telling.await.unwrap_or(Err(StoreError::Closed))
    }

    /// What was drawn of it in this period, and the cap.
    pub(crate) async fn drawn(&self, now: SystemTime) -> Result<u64, StoreError> {
        self.bank.drawn(&self.books(self.period.of(now).0)).await
    }

    fn spent(&self, who: &str, amount: u64, now: SystemTime, next: Option<SystemTime>) -> Error {
        let (cap, may) = (dollars(self.cap), dollars(amount));
        let message = format!(
            "{who} may spend {cap} {}, and for this request, which may cost {may}, not enough is left",
            self.period.words()
        );
        let error = Error::new(ErrorKind::PolicyBudgetExceeded, message)
            .with_hint("set a smaller `max_tokens`, ask a cheaper model, or have the budget raised");
        match next.and_then(|next| next.duration_since(now).ok()) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests;
