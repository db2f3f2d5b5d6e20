//! Money while the server that counts it is slow, silent or gone: what passes then, that it is said, and that afterwards the books say what was spent.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::budgets::{PRICED, SET_ASIDE, each, settled};
use crate::process::RedisServer;
use crate::service::Service;
use crate::{Replicas, key_header, known, status, status_of};

/// Two replicas with the patience that is the default, over a server that loses nothing when it is killed.
fn replicas(unreachable: &str) -> Replicas {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = format!("[store]\nunreachable = {unreachable:?}\nreplicas = 2\npatience = \"50ms\"\n");
    Replicas::over(redis, 2, &format!("{PRICED}{store}"))
}

fn answer(service: &Service, key: &str) -> String {
    service.chat_with(&key_header(key)).to_ascii_lowercase()
}

/// What each of them has counted of requests that nobody else counted.
fn unshared(all: &Replicas, root: &str, policy: &str) -> Vec<u64> {
    let get = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{}connection: close\r\n\r\n", key_header(root));
    let name = format!("llm_router_limits_unshared_total{{policy=\"{policy}\"}} ");
    let one = |service: &Service| {
        let metrics = service.ask(&get);
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    };
    all.services.iter().map(one).collect()
}

/// Ends them, and gives what each has said.
fn said(all: Replicas) -> Vec<String> {
    let last = |mut service: Service| {
        let mut stderr = service.stderr.take().unwrap();
        drop(service);
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    };
    all.services.into_iter().map(last).collect()
}

/// Asks until each replica was answered by the server; gives how many of the answers were paid for.
fn heard(all: &Replicas, key: &str) -> u64 {
    let (began, mut paid) = (Instant::now(), 0);
    for service in &all.services {
        loop {
            let answer = answer(service, key);
            let passed = status_of(&answer) == 200;
            paid += u64::from(passed);
            if passed && !answer.contains("x-llm-router-limits: ") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "the server is not used again: {answer}");
        }
    }
    paid
}

/// Asks from many threads while the server is paused, goes on, is killed and comes again; gives how many were answered, and what else was said.
fn through_trouble(all: &mut Replicas, key: &str) -> (u64, Vec<u16>) {
    let (over, answered, others) = (AtomicBool::new(false), AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let (services, redis) = (&all.services, &mut all.redis);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (over, answered, others) = (&over, &answered, &others);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match status(&services[thread % 2], key) {
                        200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        other => others.lock().unwrap().push(other),
                    }
                }
            });
        }
        let after = |more: usize| {
            let heard = || answered.load(Ordering::Relaxed) as usize + others.lock().unwrap().len();
            let (from, began) = (heard(), Instant::now());
            while heard() < from + more {
                assert!(began.elapsed() < Duration::from_secs(60), "nobody is answered");
                std::thread::yield_now();
            }
        };
        for _ in 0..4 {
            after(12);
            redis.pause();
            after(12);
            redis.go_on();
            after(12);
            redis.kill();
            after(12);
            redis.again();
        }
        after(12);
        over.store(true, Ordering::Relaxed);
    });
    (answered.into_inner(), others.into_inner().unwrap())
}

#[test]
fn closed_lets_no_money_be_spent_that_nobody_counts() {
    let mut all = replicas("closed");
    let each = each(&all);
    let (key, root) = spender_and_root(&all, "100");
    let before = heard(&all, &key) * each;
    settled(&all, "spender", before);
    all.redis.pause();
    let heard_before = unshared(&all, &root, "closed");
    for service in &all.services {
        for _ in 0..3 {
            let began = Instant::now();
            let refused = answer(service, &key);
            assert!(refused.starts_with("http/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
            assert!(refused.contains("limits of this key cannot be counted"), "{refused}");
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    }
    for (before, now) in heard_before.iter().zip(unshared(&all, &root, "closed")) {
        assert_eq!(now - before, 3, "each refusal is counted");
    }
    all.redis.go_on();
    // What was counted late is taken back, and what was not answered was not paid for.
    settled(&all, "spender", before);
    let (answered, others) = through_trouble(&mut all, &key);
    assert!(others.iter().all(|other| *other == 503), "{others:?}");
    settled(&all, "spender", before + answered * each);
    println!("closed: {answered} answered and {} refused through four pauses and four kills", others.len());
    for said in said(all) {
        let warned = "shared limits are not counted together";
        assert!(said.contains(warned) && said.contains("requests of keys with limits are refused"), "{said}");
    }
}

#[test]
fn open_lets_everything_pass_and_the_books_are_told_later() {
    let mut all = replicas("open");
    let each = each(&all);
    let (key, root) = spender_and_root(&all, "100");
    let mut spent = heard(&all, &key) * each;
    let (answered, others) = through_trouble(&mut all, &key);
    assert!(others.is_empty(), "{others:?}");
    spent += answered * each;
    settled(&all, "spender", spent);
    println!("open: {answered} answered through four pauses and four kills");
    assert!(unshared(&all, &root, "open").iter().all(|count| *count > 0));
    // A cap that is reached holds again as soon as somebody counts, and says by how much it was passed.
    let small = all.says(&["keys", "create", "small", "--budget", "0.02"]);
    known(&all.services, &small);
    let mut ledger = 0;
    while ledger + SET_ASIDE <= 20_000 {
        // A busy machine may make the server late: then it passes uncounted, and is told all the same.
        ledger += if status(&all.services[0], &small) == 200 { each } else { 0 };
    }
    settled(&all, "small", ledger);
    all.redis.pause();
    for service in &all.services {
        for _ in 0..5 {
            let passed = answer(service, &small);
            assert!(passed.starts_with("http/1.1 200") && passed.contains("x-llm-router-limits: open"), "{passed}");
            ledger += each;
        }
    }
    all.redis.go_on();
    settled(&all, "small", ledger);
    assert!(ledger > 20_000, "{ledger}");
    for service in &all.services {
        let began = Instant::now();
        loop {
            let refused = answer(service, &small);
            if refused.starts_with("http/1.1 429") {
                break;
            }
            assert!(refused.contains("x-llm-router-limits: open") && began.elapsed() < Duration::from_secs(10));
            ledger += each;
        }
    }
    settled(&all, "small", ledger);
    assert!(said(all).iter().all(|said| said.contains("not counted together") && said.contains("all requests pass")));
}

#[test]
fn local_allows_each_its_part_of_the_money_and_the_cap_holds() {
    let mut all = replicas("local");
    let each = each(&all);
    let (key, root) = spender_and_root(&all, "0.2");
    // Both must have heard what is left before they may spend any of it alone.
    let before = heard(&all, &key) * each;
    let mut ledger = before;
    settled(&all, "spender", before);
    all.redis.pause();
    let mut passed = Vec::new();
    for service in &all.services {
        let mut count = 0;
        loop {
            let answer = answer(service, &key);
            assert!(answer.starts_with("http/1.1 429") || answer.contains("x-llm-router-limits: local"), "{answer}");
            if status_of(&answer) != 200 {
                assert!(answer.contains("may spend $0.20"), "{answer}");
                break;
            }
            count += 1;
        }
        passed.push(count);
        ledger += count * each;
    }
    // Half of what was left when each heard last: of the cap, less what was spent or set aside then. The last one may still hold what it has set aside.
    for count in &passed {
        let part = (200_000 - before - SET_ASIDE) / 2;
        assert!(count * each + 2 * SET_ASIDE > part && count * each <= 100_000, "{passed:?}");
    }
    assert!(unshared(&all, &root, "local").iter().zip(&passed).all(|(counted, passed)| counted > passed));
    all.redis.go_on();
    settled(&all, "spender", ledger);
    assert!(ledger <= 200_000, "the cap holds: {ledger}");
    println!("local: {passed:?} answers of {each} passed at two replicas, of {} micro-dollars left", 200_000 - before);
    // Through pauses and kills the ledger stays the counter, whoever counts.
    let rich = all.says(&["keys", "create", "rich", "--budget", "100"]);
    known(&all.services, &rich);
    let before = heard(&all, &rich) * each;
    let (answered, others) = through_trouble(&mut all, &rich);
    assert!(others.is_empty(), "half of a hundred dollars is enough: {others:?}");
    settled(&all, "rich", before + answered * each);
    println!("local: {answered} answered through four pauses and four kills");
    assert!(said(all).iter().all(|said| said.contains("this process allows its part of 2")));
}

/// A key with this budget, and one that may see the metrics; both are known everywhere.
fn spender_and_root(all: &Replicas, budget: &str) -> (String, String) {
    let key = all.says(&["keys", "create", "spender", "--budget", budget]);
    let root = all.says(&["keys", "create", "root", "--role", "admin"]);
    known(&all.services, &key);
    known(&all.services, &root);
    (key, root)
}
