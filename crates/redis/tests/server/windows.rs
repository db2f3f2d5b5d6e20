//! Windows of a minute as the server keeps them: what a look at a full one costs, and what becomes of it when time passes or goes back.
//!
//! Time is moved by rewriting when things passed.

use std::time::Duration;

use llm_router::limits::shared::{Correction, Limit, Shared, Told};
use llm_router_redis::RedisLimits;

use crate::limits::{asking, counter};
use crate::process::RedisServer;

const WINDOW: &str = "llm-router:w:key/x:tokens2";

/// As many entries as a minute can have, one a tick, of so many tokens each; the last one is of now.
const FILL: &str = "
local time = redis.call('TIME')
local now = math.floor((time[1] * 1000 + math.floor(time[2] / 1000)) / 10)
local count, weight = tonumber(ARGV[1]), tonumber(ARGV[2])
local first = now - count + 1
for number = first, now do
    redis.call('HSET', KEYS[1], string.format('%.0f', number), string.format('%.0f:%d', number, weight))
    redis.call('HINCRBY', KEYS[1], 'g' .. math.floor(number / 64), weight)
end
redis.call('HSET', KEYS[1], 'h', first, 't', now + 1, 's', count * weight, 'o', first, 'l', now)";

/// Everything passed so many ticks earlier.
const AGE: &str = "
local window = redis.call('HGETALL', KEYS[1])
for at = 1, #window, 2 do
    local tick, weight = string.match(window[at + 1], '^(%d+):(%d+)$')
    if tick then
        redis.call('HSET', KEYS[1], window[at], string.format('%.0f:%s', tick - ARGV[1], weight))
    end
end
redis.call('HINCRBY', KEYS[1], 'o', -ARGV[1])
redis.call('HINCRBY', KEYS[1], 'l', -ARGV[1])";

struct World {
    _server: RedisServer,
    client: redis::Connection,
    counter: RedisLimits,
}

impl World {
    fn new() -> Self {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        let counter = counter(&server);
        Self { _server: server, client, counter }
    }

    fn run(&mut self, script: &str, args: &[i64]) {
        let mut call = redis::cmd("EVAL");
        call.arg(script).arg(1).arg(WINDOW).arg(args);
        let _: redis::Value = call.query(&mut self.client).unwrap();
    }

    async fn ask(&self, tokens: u64, most: u64) -> Told {
        self.counter.enter(asking("key/x", |a| a.tokens = Some((tokens, most)))).await.unwrap()
    }

    async fn remaining(&self, most: u64) -> u64 {
        let (Told::In { accounts, .. } | Told::Full { accounts, .. }) = self.ask(0, most).await;
        accounts[0].tokens.unwrap().remaining
    }

    /// What the server did since it was asked last: how many commands, scripts included, and how long the scripts took, in microseconds for each.
    fn cost(&mut self) -> (u64, f64) {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.client).unwrap();
        let field = |line: &str, name: &str| -> f64 {
            let found = line.split([':', ',']).find_map(|field| field.strip_prefix(name));
            found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let calls = info.lines().filter(|line| line.starts_with("cmdstat_")).map(|line| field(line, "calls="));
        let calls = calls.sum::<f64>() as u64;
        let script = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
        let each = script.map_or(0.0, |line| field(line, "usec_per_call="));
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut self.client).unwrap();
        (calls, each)
    }
}

fn waits(told: Told) -> Duration {
    let Told::Full { limit: Limit::Tokens, wait: Some(wait), .. } = told else { panic!("{told:?}") };
    wait
}

#[tokio::test]
async fn a_full_minute_of_many_requests_is_refused_at_the_cost_of_a_few_commands() {
    let mut world = World::new();
    world.ask(0, 100_000).await;
    // 5,900 entries of 17 tokens: 100,300 of 100,000.
    world.run(FILL, &[5_900, 17]);
    for (wanted, least) in [(1, 0), (50_000, 29), (100_000, 57)] {
        world.cost();
        for _ in 0..100 {
            let wait = waits(world.ask(wanted, 100_000).await);
            assert!((least..=60).contains(&wait.as_secs()), "{wanted} tokens after {wait:?}");
        }
        let (commands, each) = world.cost();
        println!("{wanted} tokens refused: {} commands and {each} µs each", commands / 100);
        // The script, the time, the window, its first entries, its groups, one group; and what is forgotten meanwhile.
        assert!(commands <= 100 * 16, "{commands}");
    }
}

#[tokio::test]
async fn what_is_over_is_forgotten_in_groups_and_the_rest_still_counts() {
    let mut world = World::new();
    world.ask(0, 1_000_000).await;
    world.run(FILL, &[5_900, 17]);
    world.run(AGE, &[5_000]);
    world.cost();
    let left = 1_000_000 - world.remaining(1_000_000).await;
    let (commands, each) = world.cost();
    // Those of the last 6,000 ticks: 1,001 of them are older than a minute now, give or take those that passed while this ran.
    let forgotten = (5_900 - left / 17) as i64;
    assert!(left % 17 == 0 && (4_899..=5_900).contains(&forgotten), "{forgotten} forgotten");
    println!("{forgotten} entries forgotten: {commands} commands, {each} µs");
    assert!(commands < 500, "{commands}");
    // What is left is exactly what the entries say.
    let entries: Vec<String> = redis::cmd("HVALS").arg(WINDOW).query(&mut world.client).unwrap();
    let weights = entries.iter().filter_map(|entry| entry.split_once(':')?.1.parse::<u64>().ok());
    assert_eq!(weights.sum::<u64>(), left);
    world.run(AGE, &[6_001]);
    assert_eq!(world.remaining(1_000_000).await, 1_000_000);
    let size: u64 = redis::cmd("HLEN").arg(WINDOW).query(&mut world.client).unwrap();
    assert!(size < 10, "a window of a minute ago leaves nothing: {size} fields");
}

#[tokio::test]
async fn a_correction_that_comes_after_an_idle_minute_finds_nobody_elses_entry() {
    let mut world = World::new();
    for forgotten_by_time in [false, true] {
        let Told::In { accounts, .. } = world.ask(90, 100).await else { panic!("there is room") };
        let late = accounts[0].mark;
        // A minute in which nobody asks: the server has dropped the window, or is about to. Then it is another tick.
        if forgotten_by_time {
            let _: i64 = redis::cmd("DEL").arg(WINDOW).query(&mut world.client).unwrap();
        } else {
            world.run(AGE, &[6_001]);
        }
        let tick = |client: &mut redis::Connection| -> u64 {
            let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(client).unwrap();
            seconds * 100 + micros / 10_000
        };
        let then = tick(&mut world.client);
        while tick(&mut world.client) == then {}
        let Told::In { accounts, .. } = world.ask(40, 100).await else { panic!("a minute later") };
        assert_ne!(accounts[0].mark, late);
        world.counter.correct(Correction::Tokens { account: "key/x".into(), mark: late, more: -80 });
        world.counter.flush().await.unwrap();
        assert_eq!(world.remaining(100).await, 60, "the late correction is of what counts no more");
        world.counter.correct(Correction::Tokens { account: "key/x".into(), mark: accounts[0].mark, more: -30 });
        world.counter.flush().await.unwrap();
        assert_eq!(world.remaining(100).await, 90);
        world.run(AGE, &[6_001]);
    }
}

#[tokio::test]
async fn what_was_corrected_is_what_is_waited_for() {
    let mut world = World::new();
    let mut marks = Vec::new();
    for _ in 0..3 {
        let Told::In { accounts, .. } = world.ask(30, 100).await else { panic!("there is room") };
        marks.push(accounts[0].mark);
        // Each in a group of its own.
        world.run(AGE, &[1_000]);
    }
    world.counter.correct(Correction::Tokens { account: "key/x".into(), mark: marks[0], more: -30 });
    world.counter.correct(Correction::Tokens { account: "key/x".into(), mark: marks[1], more: 40 });
    world.counter.flush().await.unwrap();
    assert_eq!(world.remaining(200).await, 100);
    // The first weighs nothing any more: room is made by the second, twenty seconds old.
    let wait = waits(world.ask(1, 100).await);
    assert!((39..=41).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_nobody_for_longer_than_a_minute() {
    let mut world = World::new();
    world.ask(100, 100).await;
    // As if an hour had been taken back since.
    world.run(AGE, &[-360_000]);
    let wait = waits(world.ask(1, 100).await);
    assert!((58..=61).contains(&wait.as_secs()), "{wait:?}");
    world.run(AGE, &[6_001]);
    assert_eq!(world.remaining(100).await, 100);
}
