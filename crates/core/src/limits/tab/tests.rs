//! Tabs at a counter that is played in memory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::super::key::{Seal, at};
use super::super::keyring::Scope;
use super::super::period::DAY;
use super::super::shared::{Counted, Due, Limit, Shared};
use super::super::{Keyring, Limits};
use super::*;
use crate::error::ErrorKind;
use crate::store::{MemoryStore, StoreError};
use crate::telemetry::Ledger;
use crate::testing::ManualClock;

const NOW: u64 = 1_767_225_600;

/// The books, as others would see them.
#[derive(Debug, Default)]
struct Books {
    drawn: Mutex<BTreeMap<Arc<str>, i64>>,
    /// What was asked for, each time.
    asked: Mutex<Vec<Vec<u64>>>,
    silent: AtomicBool,
}

impl Books {
    /// What is counted, in the order of the books' names.
    fn sums(&self) -> Vec<i64> {
        self.drawn.lock().unwrap().values().copied().collect()
    }
}

impl Shared for Books {
    fn enter(&self, ask: Ask) -> BoxFuture<'_, std::result::Result<Told, StoreError>> {
        async move {
            self.asked.lock().unwrap().push(ask.amounts.clone());
            if self.silent.load(Ordering::Relaxed) {
                return Err(StoreError::Unreachable("gone".into()));
            }
            let mut drawn = self.drawn.lock().unwrap();
            let counted = |drawn: &BTreeMap<Arc<str>, i64>| {
                let sum = |due: &Due| drawn.get(&due.books).map_or(0, |sum| u64::try_from(*sum).unwrap_or(0));
                let of = |account: &Account| Counted {
                    drawn: account.money.iter().map(sum).collect(),
                    ..Counted::default()
                };
                ask.accounts.iter().map(of).collect::<Vec<_>>()
            };
            let stand = counted(&drawn);
            let full = |amount: u64| {
                ask.accounts.iter().zip(&stand).enumerate().find_map(|(at, (account, counted))| {
                    let mut money = account.money.iter().zip(&counted.drawn);
                    money.position(|(due, drawn)| drawn + amount > due.cap).map(|place| (at, place))
                })
            };
            let fits = ask.amounts.iter().copied().find(|amount| full(*amount).is_none());
            if let (None, Some(least)) = (fits, ask.amounts.last()) {
                let (at, place) = full(*least).unwrap();
                return Ok(Told::Full { at, limit: Limit::Money(place), wait: None, accounts: Vec::new() });
            }
            let drew = fits.unwrap_or(0);
            for due in ask.accounts.iter().flat_map(|account| &account.money) {
                *drawn.entry(Arc::clone(&due.books)).or_default() += i64::try_from(drew).unwrap();
            }
            Ok(Told::In { slot: None, drew, accounts: counted(&drawn) })
        }
        .boxed()
    }

    fn correct(&self, correction: Correction) {
        if let Correction::Money { books, more, .. } = correction {
            *self.drawn.lock().unwrap().entry(books).or_default() += more;
        }
    }

    fn flush(&self) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

fn holder(alone: Alone) -> (Arc<Holder>, Arc<Books>) {
    let books = Arc::new(Books::default());
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let sharing = Sharing::new(Arc::clone(&books) as Arc<dyn Shared>, alone, Ledger::default());
    let limits = Limits { budget_per_day: Some(1_000), ..Limits::default() };
    let (seal, teams) = (Seal::new(|| Ok([5; 32])), [("lab".to_owned(), limits)]);
    let keyring = Keyring::shared(store, seal, clock, Scope::Key, teams, Arc::new(sharing));
    (Arc::clone(keyring.team("lab").unwrap()), books)
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_after_midnight_stands_in_the_books_in_which_the_request_began() {
    let (holder, books) = holder(Alone::Closed);
    let permit = holder.enter_all(Instant::now(), at(NOW + DAY - 1), 0, &[100]).await.unwrap();
    let payer = permit.payer();
    let first = payer.reserve(100, at(NOW + DAY - 1)).await.unwrap();
    first.settle(40);
    // The second attempt is dearer, and the day has ended meanwhile.
    let second = payer.reserve(500, at(NOW + DAY + 1)).await.unwrap();
    assert_eq!(books.sums(), [540]);
    second.settle(460);
    drop((payer, permit));
    assert_eq!(books.sums(), [500], "one day's books, and what was spent of them");
}

#[tokio::test(start_paused = true)]
async fn whatever_holds_while_nobody_counts_the_books_say_what_was_spent() {
    for alone in [Alone::Closed, Alone::Open, Alone::Local(2)] {
        let (holder, books) = holder(alone);
        let now = || (Instant::now(), at(NOW));
        let ask = async |micros: u64| holder.enter_all(now().0, now().1, 0, &[micros]).await;
        // Half a request before the counter falls silent, half of it after that.
        let permit = ask(200).await.unwrap();
        books.silent.store(true, Ordering::Relaxed);
        let payer = permit.payer();
        payer.reserve(200, now().1).await.unwrap().settle(150);
        let more = payer.reserve(300, now().1).await;
        let spent = match alone {
            Alone::Closed => {
                let error = more.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::RouterUnavailable);
                assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
                assert_eq!(ask(100).await.unwrap_err().kind(), ErrorKind::RouterUnavailable);
                150
            }
            _ => {
                more.unwrap().settle(280);
                430
            }
        };
        drop((payer, permit));
        assert_eq!(books.sums(), [spent], "{alone:?}");
        books.silent.store(false, Ordering::Relaxed);
        let left = 1_000 - u64::try_from(spent).unwrap();
        assert_eq!(ask(left + 1).await.unwrap_err().kind(), ErrorKind::PolicyBudgetExceeded);
        drop(ask(left).await.unwrap());
        assert_eq!(books.sums(), [spent], "{alone:?}: what was only set aside is back");
    }
}

#[tokio::test(start_paused = true)]
async fn each_of_two_spends_half_of_what_was_left_and_nobody_what_was_never_told() {
    let (holder, books) = holder(Alone::Local(2));
    books.silent.store(true, Ordering::Relaxed);
    let ask = async |micros: u64| holder.enter_all(Instant::now(), at(NOW), 0, &[micros]).await;
    let error = ask(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded, "nobody ever said what is left");
    books.silent.store(false, Ordering::Relaxed);
    ask(400).await.unwrap().payer().reserve(400, at(NOW)).await.unwrap().settle(200);
    // It heard that 400 are set aside: of the 600 others it may spend 300.
    books.silent.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let permit = ask(100).await.unwrap();
        assert_eq!(permit.alone(), Some("local"));
        permit.payer().reserve(100, at(NOW)).await.unwrap().settle(100);
    }
    assert_eq!(ask(1).await.unwrap_err().kind(), ErrorKind::PolicyBudgetExceeded);
    assert_eq!(books.sums(), [500], "and all of it is told");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_alone_still_counts_when_the_counter_falls_silent_again() {
    let (holder, books) = holder(Alone::Local(2));
    let ask = async |micros: u64| holder.enter_all(Instant::now(), at(NOW), 0, &[micros]).await;
    drop(ask(0).await.unwrap());
    books.silent.store(true, Ordering::Relaxed);
    let long = ask(500).await.unwrap();
    assert!(ask(1).await.is_err(), "half of the cap is under way");
    // The counter is heard for a moment, and knows nothing of it yet.
    books.silent.store(false, Ordering::Relaxed);
    drop(ask(0).await.unwrap());
    books.silent.store(true, Ordering::Relaxed);
    assert!(ask(1).await.is_err(), "it is under way, still");
    long.payer().reserve(500, at(NOW)).await.unwrap().settle(100);
    drop(long);
    assert!(ask(401).await.is_err(), "a hundred is spent");
    assert!(ask(400).await.is_ok());
    assert_eq!(books.sums(), [100]);
}

#[tokio::test(start_paused = true)]
async fn the_first_amount_that_fits_is_drawn_and_dearer_ones_are_refused_without_another_question() {
    let (holder, books) = holder(Alone::Closed);
    let permit = holder.enter_all(Instant::now(), at(NOW), 0, &[5_000, 2_000, 800, 10]).await.unwrap();
    let (payer, now) = (permit.payer(), at(NOW));
    assert_eq!(books.sums(), [800]);
    for dear in [5_000, 2_000, 3_000] {
        let error = payer.reserve(dear, now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded);
        // As the books would refuse it.
        let asked = holder.enter_all(Instant::now(), now, 0, &[dear]).await.unwrap_err();
        assert_eq!((error.message(), error.retry_after()), (asked.message(), asked.retry_after()));
    }
    books.asked.lock().unwrap().clear();
    let first = payer.reserve(800, now).await.unwrap();
    assert!(books.asked.lock().unwrap().is_empty(), "it is set aside already");
    // Whoever waited for a place called nobody: still nothing is asked for.
    first.give_back();
    let error = payer.reserve(801, now).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::PolicyBudgetExceeded, Some(Duration::from_secs(1))));
    assert!(error.message().contains("only $0.0008 was set aside"), "{error}");
    assert!(payer.reserve(2_000, now).await.is_err() && books.asked.lock().unwrap().is_empty());
    // An upstream was called: for the next call the books are asked anew, and somebody may have given something back.
    payer.reserve(800, now).await.unwrap().settle(0);
    assert!(payer.reserve(2_000, now).await.is_err());
    let second = payer.reserve(1_000, now).await.unwrap();
    assert_eq!(*books.asked.lock().unwrap(), [[1_200], [200]], "what is missing");
    second.settle(30);
    drop((payer, permit));
    assert_eq!(books.sums(), [30]);
}

#[tokio::test(start_paused = true)]
async fn where_not_even_the_least_fits_nothing_is_drawn_and_the_refusal_is_of_the_least() {
    let (holder, books) = holder(Alone::Closed);
    let error = holder.enter_all(Instant::now(), at(NOW), 0, &[5_000, 1_001]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded);
    assert!(error.message().contains("which may cost $0.001001"), "{error}");
    assert!(books.sums().iter().all(|sum| *sum == 0));
}

#[tokio::test(start_paused = true)]
async fn alone_the_first_amount_of_its_part_is_allowed_and_nobody_is_asked_for_a_dearer_one() {
    let (holder, books) = holder(Alone::Local(2));
    let now = at(NOW);
    let ask = async |amounts: &[u64]| holder.enter_all(Instant::now(), now, 0, amounts).await;
    drop(ask(&[]).await.unwrap());
    books.silent.store(true, Ordering::Relaxed);
    let permit = ask(&[5_000, 501, 300, 10]).await.unwrap();
    books.asked.lock().unwrap().clear();
    let payer = permit.payer();
    for dear in [5_000, 501] {
        let error = payer.reserve(dear, now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded);
    }
    payer.reserve(300, now).await.unwrap().settle(120);
    assert!(books.asked.lock().unwrap().is_empty());
    drop((payer, permit));
    assert_eq!(books.sums(), [120]);
    assert!(ask(&[381]).await.is_err());
    drop(ask(&[380]).await.unwrap());
}
