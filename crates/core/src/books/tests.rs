//! The books over a store that others write too, that fails, and that loses its answers.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use super::*;
use crate::store::{MemoryStore, Scan, StoreResult};
use crate::testing::ManualClock;

/// A store in memory that counts writes, and does with some of them what it is told.
#[derive(Debug)]
struct Odd {
    within: MemoryStore,
    writes: AtomicUsize,
    /// Fails, having written or not, while it says so.
    fails: AtomicBool,
    loses_answers: AtomicBool,
}

impl Odd {
    fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        let within = MemoryStore::new(clock.clone());
        Arc::new(Self { within, writes: 0.into(), fails: false.into(), loses_answers: false.into() })
    }
}

impl Store for Odd {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        self.within.get(space, key)
    }
    fn put<'a>(&'a self, _: &'a str, _: &'a str, _: Bytes, _: Option<SystemTime>) -> StoreResult<'a, ()> {
        unreachable!("the books change only what they read")
    }
    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        self.within.remove(space, key)
    }
    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        Box::pin(async move {
            if self.fails.load(Ordering::Relaxed) {
                return Err(StoreError::Full);
            }
            self.writes.fetch_add(1, Ordering::Relaxed);
            let answer = self.within.compare_and_set(space, key, change).await;
            if self.loses_answers.swap(false, Ordering::Relaxed) {
                Err(StoreError::Other("gone".into()))
            } else {
                answer
            }
        })
    }
    fn increment<'a>(&'a self, _: &'a str, _: &'a str, _: i64, _: Option<SystemTime>) -> StoreResult<'a, i64> {
        unreachable!("a tally is one record")
    }
    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        self.within.scan(space, range)
    }
}

fn entry<'a>(books: &Books, key: &'a str, model: &'a str) -> Entry<'a> {
    Entry { day: books.today(), key, team: "lab", provider: "p", model }
}

fn asked(cost_micros: u64) -> Tally {
    Tally { requests: 1, cost_micros, ..Tally::default() }
}

async fn total(books: &Books) -> Tally {
    books.report(&Query::parse(books.today(), None, None, None).unwrap()).await.unwrap().total
}

#[tokio::test(start_paused = true)]
async fn what_came_together_is_one_write_half_a_second_later() {
    let clock = Arc::new(ManualClock::default());
    let store = Odd::new(&clock);
    let books = Books::new(store.clone(), clock);
    for _ in 0..1000 {
        books.post(entry(&books, "a", "m"), &asked(3));
    }
    assert_eq!(store.writes.load(Ordering::Relaxed), 0);
    tokio::time::sleep(EVERY + Duration::from_millis(1)).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 1);
    // Nothing was posted: nothing is written, and nobody is awake.
    tokio::time::sleep(EVERY * 10).await;
    assert_eq!((store.writes.load(Ordering::Relaxed), books.0.tasks.len()), (1, 0));
    books.post(entry(&books, "a", "m"), &asked(3));
    tokio::time::sleep(EVERY + Duration::from_millis(1)).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 2);
    assert_eq!(total(&books).await, Tally { requests: 1001, cost_micros: 3003, ..Tally::default() });
}

#[tokio::test]
async fn processes_that_write_at_once_lose_nothing_of_each_other() {
    let clock = Arc::new(ManualClock::default());
    let store = Odd::new(&clock);
    let all: Vec<Books> = (0..4).map(|_| Books::new(store.clone(), clock.clone())).collect();
    for round in 0..20 {
        let writing = all.iter().map(|books| async {
            books.post(entry(books, "a", "m"), &asked(round));
            books.flush().await.unwrap();
        });
        futures_util::future::join_all(writing).await;
    }
    assert_eq!(total(&all[0]).await, Tally { requests: 80, cost_micros: 4 * 190, ..Tally::default() });
}

#[tokio::test]
async fn a_store_that_fails_delays_and_one_that_loses_its_answer_does_not_count_twice() {
    let clock = Arc::new(ManualClock::default());
    let store = Odd::new(&clock);
    let books = Books::new(store.clone(), clock);
    store.fails.store(true, Ordering::Relaxed);
    books.post(entry(&books, "a", "m"), &asked(1));
    assert_eq!(books.flush().await, Err(StoreError::Full));
    store.fails.store(false, Ordering::Relaxed);
    books.post(entry(&books, "a", "m"), &asked(1));
    store.loses_answers.store(true, Ordering::Relaxed);
    assert!(books.flush().await.is_err());
    books.post(entry(&books, "a", "m"), &asked(5));
    assert_eq!(total(&books).await, Tally { requests: 3, cost_micros: 7, ..Tally::default() });
    store.loses_answers.store(true, Ordering::Relaxed);
    books.post(entry(&books, "a", "m"), &asked(1));
    assert!(books.flush().await.is_err());
    let writes = store.writes.load(Ordering::Relaxed);
    books.close().await.unwrap();
    assert_eq!(store.writes.load(Ordering::Relaxed), writes, "what was written is seen, and not written again");
    assert_eq!(total(&books).await.requests, 4);
}

#[tokio::test]
async fn memory_and_records_are_bounded_whatever_models_clients_invent() {
    let clock = Arc::new(ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let books = Books::new(store, clock);
    for round in 0..3 {
        for at in 0..3000 {
            books.post(entry(&books, "a", &format!("m{round}-{at}")), &asked(1));
        }
        books.flush().await.unwrap();
    }
    let pages = books.0.writing.lock().await.pages.len();
    assert!(pages <= MOST + 1, "{pages}");
    let by = Query::parse(books.today(), Some("model"), None, None).unwrap();
    let report = books.report(&by).await.unwrap();
    assert_eq!(report.total.requests, 9000);
    assert!(report.rows.iter().any(|row| row.model.as_deref() == Some("other")));
}

#[tokio::test]
async fn a_report_is_of_its_days_and_its_key_by_what_was_asked() {
    let clock = Arc::new(ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let books = Books::new(store, clock);
    let today = books.today();
    for (days, key, model) in [(0, "a", "m"), (0, "b", "m"), (1, "a", "n"), (40, "a", "m")] {
        books.post(Entry { day: today.before(days), ..entry(&books, key, model) }, &asked(1));
    }
    let rows = async |by: &str, since: &str, key: Option<&str>| {
        let query = Query::parse(today, Some(by), Some(since), None).unwrap().of_key(key);
        let report = books.report(&query).await.unwrap();
        let row = |row: Row| {
            let names: Vec<String> = report.by.iter().map(|by| row.name(*by).unwrap().to_owned()).collect();
            format!("{}={}", names.join("/"), row.tally.requests)
        };
        report.rows.into_iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows("key", "2d", None).await, ["a=2", "b=1"]);
    assert_eq!(rows("key,model", "2d", None).await, ["a/m=1", "a/n=1", "b/m=1"]);
    assert_eq!(rows("model", "1d", Some("b")).await, ["m=1"]);
    assert_eq!(rows("key", &today.before(40).to_string(), None).await, ["a=3", "b=1"]);
    assert_eq!(rows("team", "400d", None).await, ["lab=4"]);
    for (by, since, until) in
        [("colour", None, None), ("", None, None), ("key", Some("yesterday"), None), ("key", None, Some("0d"))]
    {
        assert!(Query::parse(today, Some(by), since, until).is_err(), "{by} {since:?} {until:?}");
    }
    books.post(entry(&books, "ann#0011223344556677", "m"), &asked(1));
    books.post(entry(&books, "ann#8899aabbccddeeff", "m"), &asked(1));
    let of = async |said: &str| {
        let query = Query::parse(today, Some("key"), Some("1d"), None).unwrap().of_keys(Some(said));
        books.report(&query).await.map(|report| report.total.requests)
    };
    for (said, requests) in [("ann", 2), ("0011223344556677", 1), ("ann#8899aabbccddeeff", 1), ("b", 1)] {
        assert_eq!(of(said).await.unwrap(), requests, "{said}");
    }
    for said in ["nobody", "ann#", "an", ""] {
        assert!(of(said).await.unwrap_err().message().contains("in the books"), "{said}");
    }
    let before = Query::parse(today, None, Some("30d"), Some("20d")).unwrap().of_keys(Some("ann"));
    assert_eq!(books.report(&before).await.unwrap().total.requests, 0, "it is known, of another day");
    let upside_down = Query::parse(today, None, Some("1d"), Some("2d")).unwrap_err();
    assert!(upside_down.message().contains("before"), "{upside_down}");
}
