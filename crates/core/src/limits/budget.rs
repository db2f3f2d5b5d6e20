//! Money: a cap for a UTC day, a month, or for ever, reserved before it is spent and settled when the price is known.
//!
//! What several processes spend together is counted at a [`Bank`]. Asking it for every request would put a disk before each, so a [`Purse`] draws a lease, a hundredth of the cap
//! or what one request needs, and spends that in memory; the bank has written it down before the first of it is spent. So a cap holds whatever happens: a process that is killed
//! forfeits the rest of its leases and no more. Amounts are whole micro-dollars. What a request costs is `../pricing.rs` and the router's business.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::key::{at, seconds};
use crate::error::{Error, ErrorKind, Result};
use crate::pricing::dollars;
use crate::store::{Change, Store, StoreError, counter_value};

/// Where money is counted that several processes spend. Over Redis one script does what one method does here.
pub trait Bank: fmt::Debug + Send + Sync + 'static {
    /// Draws `wanted`, or what is left below the cap and at least `least`, and gives what was drawn: nothing where less than `least` is left. It is safe before this returns.
    fn draw<'a>(&'a self, account: &'a str, draft: Draft) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Counts `amount` more, or gives it back where it is negative, whatever the cap says: it was spent, or it was not.
    fn correct<'a>(
        &'a self,
        account: &'a str,
        amount: i64,
        expires: Option<SystemTime>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What was drawn.
    fn drawn<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;
}

/// What is asked of a [`Bank`], in micro-dollars.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    /// Less than this is of no use.
    pub least: u64,
    /// As much as shall be drawn.
    pub wanted: u64,
    /// The most that may ever be drawn.
    pub cap: u64,
    /// When the account may be forgotten.
    pub expires: Option<SystemTime>,
}

/// A bank whose books are the state store.
#[derive(Clone, Debug)]
pub(crate) struct StoreBank(pub(crate) Arc<dyn Store>);

const SPACE: &str = "money";
/// Attempts at a change that others make at the same time.
const TRIES: u32 = 64;

impl Bank for StoreBank {
    fn draw<'a>(&'a self, account: &'a str, draft: Draft) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            for _ in 0..TRIES {
                let found = self.0.get(SPACE, account).await?;
                let drawn = found.as_deref().map(counter_value).transpose()?.unwrap_or(0);
                let left = draft.cap.saturating_sub(u64::try_from(drawn).unwrap_or(0));
                if left < draft.least {
                    return Ok(0);
                }
                let amount = draft.wanted.max(draft.least).min(left);
                let now = drawn.saturating_add(i64::try_from(amount).unwrap_or(i64::MAX));
                let value = bytes::Bytes::copy_from_slice(&now.to_be_bytes());
                let change = Change { expected: found, value: Some(value), expires: draft.expires };
                if self.0.compare_and_set(SPACE, account, change).await? {
                    return Ok(amount);
                }
            }
            Err(StoreError::Busy)
        })
    }

    fn correct<'a>(
        &'a self,
        account: &'a str,
        amount: i64,
        expires: Option<SystemTime>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.0.increment(SPACE, account, amount, expires).await.map(drop) })
    }

    fn drawn<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let found = self.0.get(SPACE, account).await?;
            let drawn = found.as_deref().map(counter_value).transpose()?.unwrap_or(0);
            Ok(u64::try_from(drawn).unwrap_or(0))
        })
    }
}

/// For how long a cap holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Period {
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
    /// For ever.
    Ever,
}

const DAY: u64 = 86_400;

impl Period {
    /// The number of the period that a time is in, and when the next one begins.
    fn of(self, now: SystemTime) -> (u64, Option<SystemTime>) {
        let day = seconds(now) / DAY;
        match self {
            Self::Day => (day, Some(at((day + 1) * DAY))),
            Self::Month => {
                let month = month_of(day);
                // At most 31 days away: the first day of another month.
                let next = (day + 1..day + 32).find(|day| month_of(*day) != month);
                (month, next.map(|day| at(day * DAY)))
            }
            Self::Ever => (0, None),
        }
    }

    /// Its name: `day`, `month`, `ever`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Ever => "ever",
        }
    }

    /// As it stands behind an amount.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Day => "a day",
            Self::Month => "a month",
            Self::Ever => "in all",
        }
    }
}

/// Months since the year 0 of the calendar, for a day since 1970.
fn month_of(day: u64) -> u64 {
    // Years that begin in March, as in Howard Hinnant's civil-from-days.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    (era * 400 + year) * 12 + (5 * of_year + 2) / 153 + 2
}

/// One cap of one holder.
#[derive(Debug)]
pub(crate) struct Purse {
    account: String,
    period: Period,
    cap: u64,
    bank: Arc<dyn Bank>,
    money: Mutex<Money>,
    /// Held while the bank is asked, so that many who find the purse empty draw once.
    drawing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Money {
    period: u64,
    /// Drawn, and neither spent nor reserved. Negative where something cost more than there was.
    leased: i64,
    /// What periods that are over still have to be told: their number, and how much more was spent than drawn.
    owed: Vec<(u64, i64)>,
}

/// Money set aside for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    period: u64,
    amount: u64,
}

impl Purse {
    pub(crate) fn new(account: &str, period: Period, cap: u64, bank: Arc<dyn Bank>) -> Self {
        let account = format!("{account}/{}", period.name());
        Self { account, period, cap, bank, money: Mutex::default(), drawing: tokio::sync::Mutex::default() }
    }

    fn books(&self, number: u64) -> String {
        format!("{}/{number}", self.account)
    }

    /// When the books of a period that ends then may be forgotten.
    fn kept(next: Option<SystemTime>) -> Option<SystemTime> {
        next.map(|next| next + Duration::from_secs(100 * DAY))
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
            if leased != 0 {
                money.owed.push((over, -leased));
            }
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
        let _turn = self.drawing.lock().await;
        for _ in 0..TRIES {
            let missing = match self.take(number, amount) {
                Ok(reserved) => return Ok(reserved),
                Err(missing) => missing,
            };
            let expires = Self::kept(next);
            let draft = Draft { least: missing, wanted: missing.max(self.block()), cap: self.cap, expires };
            let drawn = self.bank.draw(&self.books(number), draft).await?;
            if drawn == 0 {
                return Err(self.spent(&who(), amount, now, next));
            }
            // Somebody who found a little of it is served first; then there is more to draw.
            self.put(number, i64::try_from(drawn).unwrap_or(i64::MAX));
        }
        Err(StoreError::Busy.into())
    }

    /// Adds to what may be spent in a period; of one that is over, the bank is told later.
    fn put(&self, number: u64, amount: i64) {
        let mut money = self.money();
        if money.period == number {
            money.leased = money.leased.saturating_add(amount);
        } else if amount != 0 {
            money.owed.push((number, amount.saturating_neg()));
        }
    }

    /// Replaces what was set aside by what it cost.
    pub(crate) fn settle(&self, reserved: Reserved, cost: u64) {
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        self.put(reserved.period, signed(reserved.amount).saturating_sub(signed(cost)));
    }

    /// Tells the bank what it should know: what is owed to it, and what is held for nothing, of which `keep` leases may stay.
    pub(crate) async fn balance(&self, keep: u64, now: SystemTime) -> Result<(), StoreError> {
        let _turn = self.drawing.lock().await;
        let (current, next) = self.period.of(now);
        let owed = {
            let mut money = self.money();
            let mut owed = std::mem::take(&mut money.owed);
            let most = i64::try_from(self.block().saturating_mul(keep)).unwrap_or(i64::MAX);
            let over = money.period != current;
            if money.leased < 0 || money.leased > most || (over && money.leased != 0) {
                let stays = if over { 0 } else { money.leased.clamp(0, most) };
                owed.push((money.period, stays - money.leased));
                money.leased = stays;
            }
            owed
        };
        let mut left = owed.into_iter();
        while let Some((number, amount)) = left.next() {
            // The books of a period that is over were given their time when they were opened.
            let told = self.bank.correct(&self.books(number), amount, Self::kept(next)).await;
            if let Err(error) = told {
                self.money().owed.extend(std::iter::once((number, amount)).chain(left));
                return Err(error);
            }
        }
        Ok(())
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::MemoryStore;
    use crate::testing::ManualClock;

    fn bank() -> Arc<dyn Bank> {
        Arc::new(StoreBank(Arc::new(MemoryStore::new(Arc::new(ManualClock::default())))))
    }

    fn purse(bank: &Arc<dyn Bank>, period: Period, cap: u64) -> Purse {
        Purse::new("key/x", period, cap, Arc::clone(bank))
    }

    const NOW: u64 = 1_767_225_600;

    #[test]
    fn days_and_months_are_those_of_the_calendar() {
        // 2026-01-31 23:59:59, and a second later.
        let last = at(NOW + 31 * DAY - 1);
        let (month, next) = Period::Month.of(last);
        assert_eq!(next, Some(at(NOW + 31 * DAY)));
        assert_eq!(Period::Month.of(next.unwrap()).0, month + 1);
        assert_eq!(Period::Month.of(next.unwrap()).1, Some(at(NOW + 59 * DAY)), "28 days of February");
        assert_eq!(Period::Day.of(last).1, Some(at(NOW + 31 * DAY)));
        let months: std::collections::BTreeSet<_> = (0..366 * 30).map(month_of).collect();
        assert_eq!(months.len(), 361, "thirty years from 1970 and a little more");
        assert_eq!(month_of(0), 1970 * 12);
    }

    #[tokio::test(start_paused = true)]
    async fn two_hundred_at_once_in_three_processes_never_pass_the_cap_and_the_books_are_right() {
        let bank = bank();
        let purses: Vec<_> = (0..3).map(|_| Arc::new(purse(&bank, Period::Day, 1_000_000))).collect();
        let tasks: Vec<_> = (0..200_u64)
            .map(|at| {
                let purse = Arc::clone(&purses[at as usize % 3]);
                tokio::spawn(async move {
                    let mut spent = 0;
                    for round in 0..20 {
                        let amount = 900 + (at * 7 + round * 13) % 400;
                        let Ok(reserved) = purse.reserve(|| "k".into(), amount, super::at(NOW)).await else { continue };
                        tokio::task::yield_now().await;
                        let cost = amount - (at + round) % 500;
                        purse.settle(reserved, cost);
                        spent += cost;
                    }
                    spent
                })
            })
            .collect();
        let mut ledger = 0;
        for task in tasks {
            ledger += task.await.unwrap();
        }
        assert!(ledger <= 1_000_000 && ledger > 960_000, "{ledger}");
        for purse in &purses {
            purse.balance(0, at(NOW)).await.unwrap();
        }
        assert_eq!(purses[0].drawn(at(NOW)).await.unwrap(), ledger, "the ledger's sum is the counter");
    }

    #[tokio::test(start_paused = true)]
    async fn money_is_drawn_before_it_is_spent_and_a_lease_is_a_hundredth() {
        let bank = bank();
        let purse = purse(&bank, Period::Month, 1_000_000);
        let reserved = purse.reserve(|| "k".into(), 10, at(NOW)).await.unwrap();
        assert_eq!(purse.drawn(at(NOW)).await.unwrap(), 10_000);
        purse.settle(reserved, 10);
        for _ in 0..999 {
            let reserved = purse.reserve(|| "k".into(), 10, at(NOW)).await.unwrap();
            purse.settle(reserved, 10);
        }
        assert_eq!(purse.drawn(at(NOW)).await.unwrap(), 10_000, "the bank was asked once for a thousand requests");
        // A process that is killed says nothing more; another one goes on behind its lease.
        let other = self::purse(&bank, Period::Month, 1_000_000);
        let error = other.reserve(|| "the key k".into(), 990_001, at(NOW)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(31 * DAY)));
        assert!(other.reserve(|| "k".into(), 990_000, at(NOW)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_more_than_was_thought_is_owed_and_what_is_held_for_nothing_goes_back() {
        let bank = bank();
        let purse = purse(&bank, Period::Day, 1_000);
        let reserved = purse.reserve(|| "k".into(), 600, at(NOW)).await.unwrap();
        purse.settle(reserved, 100);
        purse.balance(1, at(NOW)).await.unwrap();
        assert_eq!(purse.drawn(at(NOW)).await.unwrap(), 110, "a lease stays");
        let reserved = purse.reserve(|| "k".into(), 10, at(NOW)).await.unwrap();
        purse.settle(reserved, 400);
        assert!(purse.reserve(|| "k".into(), 501, at(NOW)).await.is_err(), "what is owed counts at once");
        purse.balance(1, at(NOW)).await.unwrap();
        assert_eq!(purse.drawn(at(NOW)).await.unwrap(), 500);
        // The day ends while a request is under way: it is settled in its own day.
        let reserved = purse.reserve(|| "k".into(), 500, at(NOW)).await.unwrap();
        let tomorrow = at(NOW + DAY);
        let next = purse.reserve(|| "k".into(), 1_000, tomorrow).await.unwrap();
        purse.settle(reserved, 200);
        purse.settle(next, 1_000);
        purse.balance(0, tomorrow).await.unwrap();
        assert_eq!((purse.drawn(at(NOW)).await.unwrap(), purse.drawn(tomorrow).await.unwrap()), (700, 1_000));
    }
}
