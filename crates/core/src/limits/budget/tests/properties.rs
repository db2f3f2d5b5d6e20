//! By property: whatever is reserved, settled, dropped, left behind or killed, in whichever order, no cap is passed, and in the end the books hold what was spent and what the killed had.
//!
//! Two processes hold the same keys of the same team over one bank, which answers late, so that whoever asks it may leave before that.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures_util::future::BoxFuture;
use proptest::prelude::*;

use super::super::*;
use crate::limits::bank::StoreBank;
use crate::limits::key::at;
use crate::limits::{Holder, Limits, Spending};
use crate::store::MemoryStore;
use crate::testing::ManualClock;

const NOW: u64 = 1_767_225_600;
const PROCESSES: usize = 2;
const KEYS: usize = 2;

/// A bank that lets others go first.
#[derive(Debug)]
struct Late(StoreBank);

impl Bank for Late {
    fn draw<'a>(&'a self, account: &'a str, draft: Draft) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let drawn = self.0.draw(account, draft).await;
            tokio::task::yield_now().await;
            drawn
        })
    }

    fn correct<'a>(
        &'a self,
        account: &'a str,
        amount: i64,
        expires: Option<SystemTime>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.0.correct(account, amount, expires).await
        })
    }

    fn drawn<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.0.drawn(account)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody wants money, and waits for it or not.
    Reserve {
        process: usize,
        key: usize,
        amount: u64,
    },
    /// One who waits looks again.
    Look(prop::sample::Index),
    /// One who waits leaves.
    Leave(prop::sample::Index),
    /// What was set aside is settled for a part of it in a hundred.
    Settle(prop::sample::Index, u64),
    /// Somebody who has money set aside is gone without a word.
    Drop(prop::sample::Index),
    Balance(usize),
    /// Others have their turn.
    Turn,
    /// A process is killed, and another one takes its place.
    Kill(usize),
    /// The clock is set to a day, forwards or backwards.
    Clock(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..PROCESSES, 0..KEYS, 1_u64..400).prop_map(|(process, key, amount)| Step::Reserve { process, key, amount }),
        4 => any().prop_map(Step::Look),
        1 => any().prop_map(Step::Leave),
        4 => (any(), 0_u64..=100).prop_map(|(at, part)| Step::Settle(at, part)),
        1 => any().prop_map(Step::Drop),
        2 => (0..PROCESSES).prop_map(Step::Balance),
        3 => Just(Step::Turn),
        1 => (0..PROCESSES).prop_map(Step::Kill),
        1 => (0_u64..DAYS).prop_map(Step::Clock),
    ]
}

/// One process: its keys, with the team above them.
struct Process {
    number: usize,
    team: Arc<Holder>,
    keys: Vec<Arc<Holder>>,
    draws: TaskTracker,
}

impl Process {
    fn new(bank: &Arc<dyn Bank>, number: usize) -> Self {
        let draws = TaskTracker::new();
        let counting = Counting { bank: Arc::clone(bank), sharing: None, draws: draws.clone() };
        let began = tokio::time::Instant::now();
        let of_team = Limits { budget_per_day: Some(TEAM_DAY), budget: Some(TEAM_EVER), ..Limits::default() };
        let team = Holder::team("lab", of_team, began, &counting);
        let key = |name| {
            let limits = Limits { budget_per_day: Some(KEY_DAY), ..Limits::default() };
            let bare = Holder::bare("key", &format!("k{name}"), limits, Some(Arc::clone(&team)), began);
            Arc::new(bare.counted(&format!("key/{name}"), &counting))
        };
        let keys = (0..KEYS).map(key).collect();
        Self { number, team, keys, draws }
    }

    fn holders(&self) -> impl Iterator<Item = &Arc<Holder>> {
        self.keys.iter().chain([&self.team])
    }
}

const DAYS: u64 = 3;
const KEY_DAY: u64 = 1_500;
const TEAM_DAY: u64 = 2_200;
const TEAM_EVER: u64 = 4_000;

type Waiting = Pin<Box<dyn Future<Output = crate::error::Result<Spending>>>>;

/// Money that is set aside: by which process, for which key, when, and how much.
struct Held {
    process: usize,
    key: usize,
    day: u64,
    amount: u64,
    spending: Spending,
}

#[derive(Default)]
struct World {
    waiting: Vec<(usize, usize, u64, u64, Waiting)>,
    held: Vec<Held>,
    /// What was spent by key and day.
    spent: HashMap<(usize, u64), u64>,
    /// What was under way where a process was killed: nobody can say that it was not spent.
    lost: HashMap<(usize, u64), u64>,
    day: u64,
}

impl World {
    fn now(&self) -> SystemTime {
        at(NOW + self.day * DAY)
    }

    /// One who waits looks whether it has its money.
    fn look(&mut self, at: usize) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let (process, key, day, amount, mut waiting) = self.waiting.remove(at);
        match waiting.as_mut().poll(&mut cx) {
            Poll::Pending => self.waiting.insert(at, (process, key, day, amount, waiting)),
            Poll::Ready(Ok(spending)) => self.held.push(Held { process, key, day, amount, spending }),
            Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::PolicyBudgetExceeded, "{error}"),
        }
    }

    fn settle(&mut self, at: usize, part: u64) {
        let Held { key, day, amount, spending, .. } = self.held.remove(at);
        let cost = amount * part / 100;
        *self.spent.entry((key, day)).or_default() += cost;
        spending.settle(cost);
    }

    fn kill(&mut self, number: usize) {
        self.waiting.retain(|(process, ..)| *process != number);
        for held in std::mem::take(&mut self.held) {
            if held.process != number {
                self.held.push(held);
                continue;
            }
            *self.lost.entry((held.key, held.day)).or_default() += held.amount;
            // It says nothing more to anybody.
            std::mem::forget(held.spending);
        }
    }

    /// What was spent, or may have been, of what `of` names.
    fn counted(&self, of: impl Fn(usize, u64) -> bool) -> u64 {
        let all = self.spent.iter().chain(&self.lost);
        all.filter(|((key, day), _)| of(*key, *day)).map(|(_, amount)| amount).sum()
    }
}

async fn drawn(bank: &Arc<dyn Bank>, account: &str) -> u64 {
    bank.drawn(account).await.unwrap()
}

async fn check(world: &World, bank: &Arc<dyn Bank>, exact: bool) {
    let holds = |what: &str, spent: u64, drawn: u64, cap: u64| {
        assert!(spent <= drawn && drawn <= cap, "{what}: {spent} spent of {drawn} drawn of {cap}");
        assert!(!exact || spent == drawn, "{what}: {spent} spent and {drawn} counted");
    };
    let first = NOW / DAY;
    for day in 0..DAYS {
        for key in 0..KEYS {
            let books = drawn(bank, &format!("key/{key}/day/{}", first + day)).await;
            holds("a key's day", world.counted(|k, d| (k, d) == (key, day)), books, KEY_DAY);
        }
        let books = drawn(bank, &format!("team/lab/day/{}", first + day)).await;
        holds("a team's day", world.counted(|_, d| d == day), books, TEAM_DAY);
    }
    holds("a team", world.counted(|_, _| true), drawn(bank, "team/lab/ever/0").await, TEAM_EVER);
}

async fn play(steps: Vec<Step>) {
    let store = MemoryStore::new(Arc::new(ManualClock::default()));
    let bank: Arc<dyn Bank> = Arc::new(Late(StoreBank(Arc::new(store))));
    let mut processes: Vec<_> = (0..PROCESSES).map(|number| Process::new(&bank, number)).collect();
    let (mut world, mut begun, mut killed) = (World::default(), PROCESSES, false);
    for step in steps {
        match step {
            Step::Reserve { process, key, amount } => {
                let Process { number, keys, .. } = &processes[process];
                let (holder, now) = (Arc::clone(&keys[key]), world.now());
                let waiting: Waiting = Box::pin(async move { holder.reserve(amount, now).await });
                world.waiting.push((*number, key, world.day, amount, waiting));
                world.look(world.waiting.len() - 1);
            }
            Step::Look(at) if !world.waiting.is_empty() => world.look(at.index(world.waiting.len())),
            Step::Leave(at) if !world.waiting.is_empty() => {
                drop(world.waiting.remove(at.index(world.waiting.len())));
            }
            Step::Settle(at, part) if !world.held.is_empty() => world.settle(at.index(world.held.len()), part),
            Step::Drop(at) if !world.held.is_empty() => {
                let Held { key, day, amount, spending, .. } = world.held.remove(at.index(world.held.len()));
                *world.spent.entry((key, day)).or_default() += amount;
                drop(spending);
            }
            Step::Balance(process) => {
                let now = world.now();
                for holder in processes[process].holders() {
                    // One whose turn another has, who does not look now, waits for it.
                    let balancing = tokio::time::timeout(Duration::from_millis(1), holder.balance(1, now));
                    let _ = balancing.await;
                }
            }
            Step::Turn => tokio::task::yield_now().await,
            Step::Kill(process) => {
                world.kill(processes[process].number);
                let next = Process::new(&bank, begun);
                std::mem::forget(std::mem::replace(&mut processes[process], next));
                (begun, killed) = (begun + 1, true);
            }
            Step::Clock(day) => world.day = day,
            _ => {}
        }
        check(&world, &bank, false).await;
    }
    world.waiting.clear();
    while !world.held.is_empty() {
        world.settle(0, 50);
    }
    for process in &processes {
        process.draws.close();
        process.draws.wait().await;
        for holder in process.holders() {
            holder.balance(0, world.now()).await.unwrap();
        }
    }
    check(&world, &bank, !killed).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_cap_is_passed_and_the_books_hold_what_was_spent(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}
