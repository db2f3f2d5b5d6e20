//! Limits that several processes count together: each `Redis` stands for a process.

use std::sync::Arc;
use std::time::Duration;

use llm_router::deps::SystemClock;
use llm_router::limits::bank::SPACE;
use llm_router::limits::shared::{Account, Ask, Correction, Due, Limit, Shared, Told};
use llm_router::store::{Store, StoreError, counter_value};
use llm_router_redis::{Redis, RedisLimits};

use crate::process::RedisServer;
use crate::{open, options};

pub(crate) fn counter(server: &RedisServer) -> RedisLimits {
    open(server).limits(Arc::new(SystemClock))
}

pub(crate) fn asking(name: &str, change: impl FnOnce(&mut Account)) -> Ask {
    let mut account = Account { name: name.into(), ..Account::default() };
    change(&mut account);
    Ask { accounts: vec![account], amounts: Vec::new() }
}

/// Of books that may come to so much.
pub(crate) fn due(cap: u64) -> Due {
    Due { books: "key/x/ever/0".into(), cap, expires: None }
}

/// Asks for the first of these amounts that the books have room for.
pub(crate) fn paying(amounts: &[u64], cap: u64) -> Ask {
    Ask { amounts: amounts.to_vec(), ..asking("key/x", |a| a.money.push(due(cap))) }
}

pub(crate) async fn drawn(server: &RedisServer) -> i64 {
    let found = open(server).store(Arc::new(SystemClock)).get(SPACE, "key/x/ever/0").await.unwrap();
    found.map_or(0, |record| counter_value(&record).unwrap())
}

#[tokio::test]
async fn exactly_as_many_pass_as_a_minute_allows_whoever_asks() {
    let server = RedisServer::start();
    let counters: Vec<Arc<RedisLimits>> = (0..3).map(|_| Arc::new(counter(&server))).collect();
    let tasks: Vec<_> = (0..300)
        .map(|at: usize| {
            let counter = Arc::clone(&counters[at % 3]);
            tokio::spawn(async move { counter.enter(asking("key/x", |a| a.requests = Some(100))).await.unwrap() })
        })
        .collect();
    let (mut passed, mut waits) = (0, Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Told::In { accounts, .. } => {
                passed += 1;
                assert_eq!(accounts[0].requests.unwrap().limit, 100);
            }
            Told::Full { at, limit, wait, accounts } => {
                assert_eq!((at, limit, accounts[0].requests.unwrap().remaining), (0, Limit::Requests, 0));
                waits.push(wait.unwrap());
            }
        }
    }
    assert_eq!(passed, 100);
    assert!(waits.iter().all(|wait| (50..=61).contains(&wait.as_secs())), "{waits:?}");
}

#[tokio::test]
async fn what_one_account_refuses_no_other_counts() {
    let server = RedisServer::start();
    let counter = counter(&server);
    let ask = |most: u64| {
        let mut ask = asking("key/x", |a| (a.requests, a.concurrency) = (Some(5), Some(5)));
        ask.accounts.extend(asking("team/y", |a| (a.requests, a.tokens) = (Some(most), Some((10, 15)))).accounts);
        ask.accounts[0].money.push(due(1_000));
        ask.amounts.push(100);
        ask
    };
    let Told::In { slot, accounts, .. } = counter.enter(ask(9)).await.unwrap() else { panic!("there is room") };
    assert_eq!((accounts[0].requests.unwrap().remaining, accounts[0].drawn[0]), (4, 100));
    let mark = accounts[1].mark;
    let Told::Full { at, limit, wait, accounts } = counter.enter(ask(9)).await.unwrap() else { panic!("15 tokens") };
    assert_eq!((at, limit), (1, Limit::Tokens));
    assert!(wait.is_some_and(|wait| wait > Duration::from_secs(50)));
    assert_eq!((accounts[0].requests.unwrap().remaining, accounts[0].drawn[0]), (4, 100), "nothing was counted");
    // Fewer tokens than were thought make room, and the place of the first is free again.
    counter.correct(Correction::Tokens { account: "team/y".into(), mark, more: -8 });
    counter.correct(Correction::Left(slot.unwrap()));
    counter.flush().await.unwrap();
    assert!(matches!(counter.enter(ask(9)).await.unwrap(), Told::In { .. }));
    let Told::Full { wait, .. } = counter.enter(asking("key/z", |a| a.tokens = Some((16, 15)))).await.unwrap() else {
        panic!("more than the limit alone")
    };
    assert_eq!(wait, None);
}

#[tokio::test]
async fn places_are_given_back_and_those_of_the_dead_expire() {
    let server = RedisServer::start();
    let (here, there) = (counter(&server), counter(&server));
    let ask = || asking("key/x", |a| a.concurrency = Some(2));
    let slot = |told: Told| match told {
        Told::In { slot, .. } => slot,
        Told::Full { limit, .. } => {
            assert_eq!(limit, Limit::Concurrency);
            None
        }
    };
    let first = slot(here.enter(ask()).await.unwrap()).unwrap();
    assert!(slot(there.enter(ask()).await.unwrap()).is_some());
    assert!(slot(here.enter(ask()).await.unwrap()).is_none());
    here.correct(Correction::Left(first));
    here.flush().await.unwrap();
    assert!(slot(here.enter(ask()).await.unwrap()).is_some());
    // As if half a minute had passed without a sign of life.
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let held: Vec<String> =
        redis::cmd("ZRANGE").arg("llm-router:w:key/x:running").arg(0).arg(-1).query(&mut client).unwrap();
    for slot in held {
        let _: i64 = redis::cmd("ZADD").arg("llm-router:w:key/x:running").arg(1).arg(slot).query(&mut client).unwrap();
    }
    assert!(slot(there.enter(ask()).await.unwrap()).is_some());
}

#[tokio::test]
async fn money_is_set_aside_and_given_back_and_never_passes_its_cap() {
    let server = RedisServer::start();
    let counters: Vec<Arc<RedisLimits>> = (0..3).map(|_| Arc::new(counter(&server))).collect();
    let tasks: Vec<_> = (0..200_u64)
        .map(|at| {
            let counter = Arc::clone(&counters[at as usize % 3]);
            tokio::spawn(async move {
                let mut spent = 0;
                for round in 0..10 {
                    let amount = 900 + (at * 7 + round * 13) % 400;
                    let told = counter.enter(paying(&[amount], 1_000_000)).await.unwrap();
                    if let Told::In { accounts, .. } = told {
                        assert!(accounts[0].drawn[0] <= 1_000_000);
                        let cost = amount - (at + round) % 500;
                        let more = cost as i64 - amount as i64;
                        let books = "key/x/ever/0".into();
                        counter.correct(Correction::Money { books, more, expires: None });
                        spent += cost as i64;
                    }
                }
                spent
            })
        })
        .collect();
    let mut ledger = 0;
    for task in tasks {
        ledger += task.await.unwrap();
    }
    for counter in &counters {
        counter.flush().await.unwrap();
    }
    assert!(ledger <= 1_000_000 && ledger > 960_000, "{ledger}");
    assert_eq!(drawn(&server).await, ledger, "the ledger's sum is the counter");
}

#[tokio::test]
async fn the_first_amount_that_all_books_have_room_for_is_drawn_from_all_of_them() {
    let server = RedisServer::start();
    let counter = counter(&server);
    let day = |cap: u64| Due { books: "team/y/day/7".into(), ..due(cap) };
    // The key has 1,000 in all, its team 600 a day.
    let ask = |amounts: &[u64]| {
        let mut ask = paying(amounts, 1_000);
        ask.accounts.extend(asking("team/y", |a| (a.requests, a.money) = (Some(3), vec![day(600)])).accounts);
        ask
    };
    let Told::In { drew, accounts, .. } = counter.enter(ask(&[5_000, 900, 400, 300])).await.unwrap() else {
        panic!("there is room for the third")
    };
    assert_eq!((drew, accounts[0].drawn[0], accounts[1].drawn[0]), (400, 400, 400));
    // Where there is room for none, whoever has none for the last says so, and nothing is counted.
    let Told::Full { at, limit, accounts, .. } = counter.enter(ask(&[700, 201])).await.unwrap() else {
        panic!("the team has 200 left")
    };
    assert_eq!((at, limit, accounts[1].requests.unwrap().remaining), (1, Limit::Money(0), 2));
    let Told::Full { at, .. } = counter.enter(ask(&[700, 601])).await.unwrap() else { panic!("the key has 600 left") };
    assert_eq!(at, 0);
    let Told::In { drew, accounts, .. } = counter.enter(ask(&[201, 0])).await.unwrap() else { panic!("it is free") };
    assert_eq!((drew, accounts[0].drawn[0], accounts[1].drawn[0]), (0, 400, 400));
    let Told::In { drew, .. } = counter.enter(ask(&[200, 100])).await.unwrap() else { panic!("to the micro-dollar") };
    assert_eq!(drew, 200);
    // The money is there, and the minute is full.
    let Told::Full { at, limit, .. } = counter.enter(ask(&[100, 0])).await.unwrap() else { panic!("the fourth") };
    assert_eq!((at, limit), (1, Limit::Requests));
    assert_eq!(drawn(&server).await, 600);
}

#[tokio::test]
async fn one_request_is_one_script_call() {
    let server = RedisServer::start();
    let counter = counter(&server);
    let ask = || {
        let account = |a: &mut Account| (a.requests, a.money) = (Some(1_000), vec![due(1_000_000)]);
        Ask { amounts: vec![2_000_000, 1_500_000, 1], ..asking("key/x", account) }
    };
    counter.enter(ask()).await.unwrap();
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut calls = || -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut client).unwrap();
        let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        line.split(['=', ',']).nth(1).unwrap().parse().unwrap()
    };
    let before = calls();
    for _ in 0..50 {
        counter.enter(ask()).await.unwrap();
    }
    assert_eq!(calls() - before, 50);
}

#[tokio::test]
async fn whoever_does_not_answer_in_time_is_not_waited_for_and_what_was_counted_late_is_taken_back() {
    let server = RedisServer::start();
    let mut options = options(&server);
    options.patience = Duration::from_millis(50);
    let counter = Redis::new(options).unwrap().limits(Arc::new(SystemClock));
    let ask = || {
        let account = |a: &mut Account| (a.concurrency, a.money) = (Some(1), vec![due(1_000)]);
        Ask { amounts: vec![1_100, 70], ..asking("key/x", account) }
    };
    // The connection is up.
    let warm = async { while counter.enter(asking("key/other", |a| a.requests = Some(1_000_000))).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), warm).await.unwrap();
    server.pause();
    let began = std::time::Instant::now();
    let error = counter.enter(ask()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)) && began.elapsed() < Duration::from_secs(1), "{error:?}");
    server.go_on();
    // It may have counted the request, which nobody wanted any more.
    let free = async {
        loop {
            if let Ok(Told::In { .. }) = counter.enter(ask()).await {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.unwrap();
    counter.flush().await.unwrap();
    assert_eq!(drawn(&server).await, 70, "counted once, and taken back once");
}

#[tokio::test]
async fn what_was_spent_while_nobody_listened_is_told_later() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let counter = counter(&server);
    counter.enter(paying(&[500], 1_000)).await.unwrap();
    server.kill();
    for more in [-100, 30, -30] {
        counter.correct(Correction::Money { books: "key/x/ever/0".into(), more, expires: None });
    }
    server.again();
    let told = async { while counter.flush().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    assert_eq!(drawn(&server).await, 400);
}
