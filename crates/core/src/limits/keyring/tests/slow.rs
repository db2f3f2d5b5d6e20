//! A store that answers when it likes: readings at once, and money that somebody left behind or stopped giving back.

use std::time::SystemTime;

use super::*;
use crate::store::{Change, StoreResult};
use bytes::Bytes;
use tokio::sync::Semaphore;

/// A store that does some things only as often as it is told to; what has no gate it does at once.
#[derive(Debug)]
struct Slow {
    store: Arc<MemoryStore>,
    /// Draws of money.
    draws: Option<Semaphore>,
    /// What gives money back.
    backs: Option<Semaphore>,
    /// Answers with records of keys, which are read before.
    keys: Option<Semaphore>,
}

impl Slow {
    fn over(world: &World) -> Self {
        Self { store: world.store.clone(), draws: None, backs: None, keys: None }
    }

    fn ring(self: &Arc<Self>, world: &World) -> Keyring {
        let none: [(String, Limits); 0] = [];
        Keyring::new(self.clone(), Seal::new(|| Ok([5; 32])), world.clock.clone(), Scope::Key, none)
    }
}

async fn pass(gate: &Option<Semaphore>) {
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
}

fn go_on(gate: &Option<Semaphore>, times: usize) {
    gate.as_ref().unwrap().add_permits(times);
}

impl Store for Slow {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        self.store.get(space, key)
    }

    fn put<'a>(&'a self, space: &'a str, key: &'a str, value: Bytes, end: Option<SystemTime>) -> StoreResult<'a, ()> {
        self.store.put(space, key, value, end)
    }

    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        self.store.remove(space, key)
    }

    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        Box::pin(async move {
            if space == crate::limits::bank::SPACE {
                pass(&self.draws).await;
            }
            self.store.compare_and_set(space, key, change).await
        })
    }

    fn increment<'a>(&'a self, space: &'a str, key: &'a str, by: i64, end: Option<SystemTime>) -> StoreResult<'a, i64> {
        Box::pin(async move {
            if space == crate::limits::bank::SPACE {
                pass(&self.backs).await;
            }
            self.store.increment(space, key, by, end).await
        })
    }

    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        Box::pin(async move {
            let page = self.store.scan(space, range).await;
            pass(&self.keys).await;
            page
        })
    }
}

#[tokio::test(start_paused = true)]
async fn money_that_comes_for_one_who_left_is_given_back_at_the_end() {
    let world = World::new();
    let slow = Arc::new(Slow { draws: Some(Semaphore::new(0)), ..Slow::over(&world) });
    let ring = slow.ring(&world);
    let mut spec = KeySpec::new("alice");
    spec.limits.budget = Some(1_000_000);
    let (record, key) = ring.create(spec, "tests").await.unwrap();
    {
        let holder = ring.find(key.expose()).unwrap().unwrap();
        let mut left = std::pin::pin!(holder.reserve(500_000, world.clock.now()));
        assert!(futures_util::poll!(&mut left).is_pending());
    }
    tokio::task::yield_now().await;
    let mut settling = std::pin::pin!(ring.settle_up());
    assert!(futures_util::poll!(&mut settling).is_pending(), "the end waits for whoever is asking the store");
    go_on(&slow.draws, 1);
    settling.await.unwrap();
    assert!(ring.0.counting.draws.is_empty());
    assert_eq!(ring.drawn(&record).await.unwrap(), [(Period::Ever, 0, 1_000_000)]);
    // And not for ever: a store that says nothing more keeps nobody from ending.
    {
        let holder = ring.find(key.expose()).unwrap().unwrap();
        let mut left = std::pin::pin!(holder.reserve(500_000, world.clock.now()));
        assert!(futures_util::poll!(&mut left).is_pending());
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert!(ring.settle_up().await.is_err());
    assert_eq!(began.elapsed(), PARTING);
}

#[tokio::test(start_paused = true)]
async fn two_readings_at_once_lose_nobody_who_holds_money() {
    let world = World::new();
    let other = world.ring();
    let (_, key) = other.create(KeySpec::new("alice"), "tests").await.unwrap();
    let slow = Arc::new(Slow { keys: Some(Semaphore::new(1)), ..Slow::over(&world) });
    let ring = slow.ring(&world);
    let find = || ring.find(key.expose()).unwrap().unwrap();
    ring.refresh().await.unwrap();
    let mut held = vec![find()];
    // Each has read another record of the key before any of them has told.
    other.update("alice", &role("admin"), "tests").await.unwrap();
    let mut first = std::pin::pin!(ring.refresh());
    assert!(futures_util::poll!(&mut first).is_pending());
    other.update("alice", &role("user"), "tests").await.unwrap();
    let mut second = std::pin::pin!(ring.refresh());
    assert!(futures_util::poll!(&mut second).is_pending());
    go_on(&slow.keys, 2);
    first.await.unwrap();
    held.push(find());
    second.await.unwrap();
    assert_eq!(find().role(), Role::User);
    let pointers = |holders: &[Arc<Holder>]| holders.iter().map(Arc::as_ptr).collect::<Vec<_>>();
    assert_eq!(pointers(&ring.0.retired.lock().unwrap()), pointers(&held), "each of those before, and each once");
}

#[tokio::test(start_paused = true)]
async fn money_is_given_back_also_where_somebody_stopped_giving_it_back() {
    let world = World::new();
    let slow = Arc::new(Slow { backs: Some(Semaphore::new(0)), ..Slow::over(&world) });
    let ring = slow.ring(&world);
    let mut spec = KeySpec::new("alice");
    spec.limits.budget = Some(1_000_000);
    let (record, key) = ring.create(spec, "tests").await.unwrap();
    for name in ["admin", "user"] {
        let holder = ring.find(key.expose()).unwrap().unwrap();
        holder.reserve(10, world.clock.now()).await.unwrap().settle(10);
        ring.update("alice", &role(name), "tests").await.unwrap();
    }
    {
        let mut stopped = std::pin::pin!(ring.settle_up());
        assert!(futures_util::poll!(&mut stopped).is_pending());
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(&mut stopped).is_pending());
    }
    go_on(&slow.backs, 9);
    ring.settle_up().await.unwrap();
    assert_eq!(ring.drawn(&record).await.unwrap(), [(Period::Ever, 20, 1_000_000)]);
}
