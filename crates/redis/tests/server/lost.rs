//! Answers that nobody hears, and a server that loses what it counted: no money is set aside for nobody, and none is given back twice.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, SystemTime};

use llm_router::deps::SystemClock;
use llm_router::limits::shared::{Account, Ask, Correction, Due, Shared, Told};
use llm_router::secret::Secret;
use llm_router::store::StoreError;
use llm_router_redis::{Options, Redis, RedisLimits};

use crate::limits::{asking, counter, drawn, due, paying};
use crate::process::RedisServer;
use crate::wire::{Loss, Wire};

/// Remembers that somebody was called.
#[derive(Default)]
struct Called(AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

fn over(wire: &Wire) -> RedisLimits {
    let mut options = Options::new(Secret::new(wire.url()));
    options.patience = Duration::from_secs(5);
    Redis::new(options).unwrap().limits(Arc::new(SystemClock))
}

/// Asks for a place, and for 70: of 1,000, there is room for neither of the two before it.
fn with_place() -> Ask {
    let account = |a: &mut Account| (a.concurrency, a.money) = (Some(1), vec![due(1_000)]);
    Ask { amounts: vec![5_000, 1_001, 70], ..asking("key/x", account) }
}

async fn until_told(counter: &RedisLimits) {
    let told = async { while counter.flush().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
}

/// How often the server ran a script.
fn runs(client: &mut redis::Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(client).unwrap();
    let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn an_answer_that_has_arrived_and_is_never_looked_at_is_taken_back() {
    let server = RedisServer::start();
    let counter = counter(&server);
    counter.enter(asking("key/y", |a| a.requests = Some(9))).await.unwrap();
    for _ in 0..20 {
        let called = Arc::new(Called::default());
        let waker = Arc::clone(&called).into();
        {
            let mut asked = pin!(counter.enter(with_place()));
            server.pause();
            assert!(matches!(asked.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
            server.go_on();
            // The only thing that can call within five seconds is the answer.
            while !called.0.load(Ordering::Acquire) {
                tokio::task::yield_now().await;
            }
            // And now whoever asked is gone.
        }
        until_told(&counter).await;
        assert_eq!(drawn(&server).await, 0);
    }
    assert!(matches!(counter.enter(with_place()).await.unwrap(), Told::In { slot: Some(_), .. }), "its place is free");
    assert_eq!(drawn(&server).await, 70);
}

#[tokio::test]
async fn what_was_counted_is_taken_back_where_the_answer_was_lost_on_the_way() {
    let server = RedisServer::start();
    let wire = Wire::to(server.socket());
    let counter = over(&wire);
    let ask = || paying(&[300], 1_000);
    counter.enter(ask()).await.unwrap();
    for _ in 0..5 {
        wire.lose(Loss::Answer);
        let error = counter.enter(ask()).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
        until_told(&counter).await;
        assert_eq!(drawn(&server).await, 300, "what it counted is not set aside for nobody");
    }
    // An answer to corrections may be lost as well: they are told again, and made once.
    wire.lose(Loss::Answer);
    counter.correct(Correction::Money { books: "key/x/ever/0".into(), more: -100, expires: None });
    until_told(&counter).await;
    assert_eq!(drawn(&server).await, 200);
    counter.enter(ask()).await.unwrap();
    assert_eq!(drawn(&server).await, 500);
}

/// Whoever hears no answer cannot know which it was: that stands in the server's note.
#[tokio::test]
async fn of_several_amounts_exactly_the_one_that_was_drawn_is_taken_back_where_the_answer_was_lost() {
    let server = RedisServer::start();
    let wire = Wire::to(server.socket());
    let counter = over(&wire);
    let day = || Due { books: "team/y/day/7".into(), ..due(900) };
    let ask = |amounts: &[u64]| {
        let mut ask = paying(amounts, 1_000);
        ask.accounts.extend(asking("team/y", |a| a.money.push(day())).accounts);
        ask
    };
    counter.enter(ask(&[150])).await.unwrap();
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut both = || -> (i64, i64) {
        let mut read = |books: &str| {
            let record: Vec<u8> =
                redis::cmd("GET").arg(format!("llm-router:r:money:{books}")).query(&mut client).unwrap();
            i64::from_be_bytes(record[8..].try_into().unwrap())
        };
        (read("key/x/ever/0"), read("team/y/day/7"))
    };
    // The first, one between, the last, none that costs anything, and none at all.
    for amounts in [&[750, 300, 20][..], &[800, 700, 20], &[900, 800, 20], &[900, 0], &[900, 800], &[]] {
        wire.lose(Loss::Answer);
        let error = counter.enter(ask(amounts)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
        until_told(&counter).await;
        assert_eq!(both(), (150, 150), "{amounts:?}");
        // Who asks next finds the room that there was, as soon as there is a connection again.
        let asked = async {
            loop {
                if let Ok(told) = counter.enter(ask(&[751, 750])).await {
                    break told;
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
        let Told::In { drew, .. } = told else { panic!("it is there: {told:?}") };
        assert_eq!((drew, both()), (750, (900, 900)));
        for books in ["key/x/ever/0", "team/y/day/7"] {
            counter.correct(Correction::Money { books: books.into(), more: -750, expires: None });
        }
        until_told(&counter).await;
    }
}

#[tokio::test]
async fn an_ask_that_arrives_after_it_was_given_up_is_not_counted() {
    let server = RedisServer::start();
    let wire = Wire::to(server.socket());
    let counter = over(&wire);
    counter.enter(paying(&[10], 1_000)).await.unwrap();
    wire.lose(Loss::Delay);
    assert!(counter.enter(paying(&[300], 1_000)).await.is_err());
    until_told(&counter).await;
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let before = runs(&mut client);
    wire.let_go();
    while runs(&mut client) == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(drawn(&server).await, 10);
    let kept: Vec<String> = redis::cmd("KEYS").arg("llm-router:asked:*").query(&mut client).unwrap();
    assert!(kept.is_empty(), "nothing is remembered of it: {kept:?}");
}

#[tokio::test]
async fn the_server_remembers_few_asks_also_where_nothing_is_ever_corrected() {
    let server = RedisServer::start();
    let counter = counter(&server);
    for _ in 0..1_300 {
        counter.enter(paying(&[1], 10_000)).await.unwrap();
    }
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let kept: Vec<String> = redis::cmd("KEYS").arg("llm-router:asked:*").query(&mut client).unwrap();
    let few = async {
        loop {
            let size: u64 = redis::cmd("ZCARD").arg(&kept[0]).query(&mut client).unwrap();
            if size <= 500 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), few).await.unwrap();
    assert_eq!(drawn(&server).await, 1_300);
}

#[tokio::test]
async fn what_the_server_has_lost_cannot_be_given_back() {
    let mut server = RedisServer::start();
    let counter = counter(&server);
    counter.enter(paying(&[600], 1_000)).await.unwrap();
    server.again();
    // It cost 100 of the 600, of which the server knows nothing any more.
    counter.correct(Correction::Money { books: "key/x/ever/0".into(), more: -500, expires: None });
    until_told(&counter).await;
    assert_eq!(drawn(&server).await, 0, "a debt would let more than the cap be spent");
}

#[tokio::test]
async fn a_correction_that_cannot_be_made_keeps_no_other_waiting_and_none_is_made_twice() {
    let server = RedisServer::start();
    let counter = counter(&server);
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let _: i64 = redis::cmd("RPUSH").arg("llm-router:r:money:key/x/day/7").arg("foreign").query(&mut client).unwrap();
    counter.enter(paying(&[500], 1_000)).await.unwrap();
    for (books, more) in [("key/a/ever/0", 3), ("key/x/day/7", 5), ("key/x/ever/0", -100), ("key/z/ever/0", 4)] {
        counter.correct(Correction::Money { books: books.into(), more, expires: None });
    }
    counter.flush().await.unwrap();
    assert_eq!(drawn(&server).await, 400);
    for books in ["key/a/ever/0", "key/z/ever/0"] {
        let size: u64 = redis::cmd("STRLEN").arg(format!("llm-router:r:money:{books}")).query(&mut client).unwrap();
        assert_eq!(size, 16, "{books}");
    }
    let listed: u64 = redis::cmd("EXISTS").arg("llm-router:i:money").query(&mut client).unwrap();
    assert_eq!(listed, 0, "nobody reads a list of them, and it would grow for ever");
}

/// Whoever derives a key says when it ends, in any number of seconds.
#[tokio::test]
async fn money_of_books_that_end_in_ages_is_drawn_everywhere_and_none_of_it_comes_back() {
    let server = RedisServer::start();
    let counter = counter(&server);
    counter.enter(paying(&[300], 1_000)).await.unwrap();
    let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(9_000_000_000_000_000_000));
    assert!(expires.is_some());
    let books = "grant/y/ever/0";
    let mut ask = asking("grant/y", |a| a.money = vec![Due { books: books.into(), expires, ..due(1_000) }]);
    ask.accounts.extend(paying(&[], 1_000).accounts);
    ask.amounts.push(200);
    assert!(matches!(counter.enter(ask).await.unwrap(), Told::In { .. }));
    until_told(&counter).await;
    assert_eq!(drawn(&server).await, 500);
    counter.correct(Correction::Money { books: "grant/z/ever/0".into(), more: 7, expires });
    until_told(&counter).await;
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    for books in [books, "grant/z/ever/0"] {
        let left: i64 = redis::cmd("PTTL").arg(format!("llm-router:r:money:{books}")).query(&mut client).unwrap();
        assert!(left > 1 << 51, "{books}: {left}");
    }
}

#[tokio::test]
async fn an_ask_that_fails_midway_gives_back_nothing_that_was_not_drawn() {
    let server = RedisServer::start();
    let counter = counter(&server);
    let ask = || paying(&[300], 1_000);
    counter.enter(ask()).await.unwrap();
    // Where the server notes which asks drew money is something else all at once.
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let notes: Vec<String> = redis::cmd("KEYS").arg("llm-router:asked:*").query(&mut client).unwrap();
    redis::cmd("SET").arg(&notes[0]).arg("foreign").exec(&mut client).unwrap();
    assert!(counter.enter(ask()).await.is_err());
    until_told(&counter).await;
    assert_eq!(drawn(&server).await, 600, "what nobody can say is as good as spent");
}

#[tokio::test]
async fn who_is_under_way_counts_again_where_the_server_has_forgotten_them() {
    let mut server = RedisServer::start();
    let counter = counter(&server);
    let place = || asking("key/x", |a| a.concurrency = Some(1));
    let Told::In { slot, .. } = counter.enter(place()).await.unwrap() else { panic!("there is room") };
    server.again();
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    // With its next sign of life, of which there is one every ten seconds.
    let counted = async {
        loop {
            let held: u64 = redis::cmd("ZCARD").arg("llm-router:w:key/x:running").query(&mut client).unwrap();
            if held == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
    assert!(matches!(counter.enter(place()).await.unwrap(), Told::Full { .. }));
    counter.correct(Correction::Left(slot.unwrap()));
    counter.flush().await.unwrap();
    assert!(matches!(counter.enter(place()).await.unwrap(), Told::In { .. }));
}
