//! Purses over one bank stand for processes.
#![allow(clippy::unwrap_used)]

use super::super::bank::StoreBank;
use super::super::key::{self, at};
use super::*;
use crate::store::MemoryStore;
use crate::testing::ManualClock;
use futures_util::future::BoxFuture;

fn bank() -> Arc<dyn Bank> {
    Arc::new(StoreBank(Arc::new(MemoryStore::new(Arc::new(ManualClock::default())))))
}

fn counting(bank: Arc<dyn Bank>) -> Counting {
    Counting { bank, sharing: None, draws: TaskTracker::new() }
}

fn purse(bank: &Arc<dyn Bank>, period: Period, cap: u64) -> Purse {
    Purse::new("key/x", period, cap, &counting(Arc::clone(bank)))
}

mod properties;

const NOW: u64 = 1_767_225_600;

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
                    let Ok(reserved) = purse.reserve(|| "k".into(), amount, key::at(NOW)).await else { continue };
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

/// A bank that answers when it is told to.
#[derive(Debug)]
struct Slow(Arc<dyn Bank>, tokio::sync::Semaphore);

impl Bank for Slow {
    fn draw<'a>(&'a self, account: &'a str, draft: Draft) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            self.1.acquire().await.unwrap().forget();
            self.0.draw(account, draft).await
        })
    }

    fn correct<'a>(
        &'a self,
        account: &'a str,
        amount: i64,
        expires: Option<SystemTime>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.correct(account, amount, expires)
    }

    fn drawn<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.0.drawn(account)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_drawn_for_one_who_leaves_is_there_for_the_next() {
    let slow = Arc::new(Slow(bank(), tokio::sync::Semaphore::new(0)));
    let purse = Purse::new("key/x", Period::Day, 1_000_000, &counting(slow.clone()));
    {
        let mut left = std::pin::pin!(purse.reserve(|| "k".into(), 500_000, at(NOW)));
        assert!(futures_util::poll!(&mut left).is_pending());
    }
    slow.1.add_permits(1);
    let reserved = purse.reserve(|| "k".into(), 500_000, at(NOW)).await.unwrap();
    assert_eq!(purse.drawn(at(NOW)).await.unwrap(), 500_000, "nothing was drawn twice");
    purse.settle(reserved, 0);
    purse.balance(0, at(NOW)).await.unwrap();
    assert_eq!(purse.drawn(at(NOW)).await.unwrap(), 0);
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
