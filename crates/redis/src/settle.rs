//! What is told later: corrections of what was counted, in batches, each once; and a sign of life for each request that is one of those at once.
//!
//! Nobody waits for it. While the server cannot be reached corrections of money add up, one number for each of the books, and what only a minute remembers is dropped after a
//! minute. A batch has a number, and the server remembers the last one of each process, so that one whose answer was lost is not counted twice. The script is
//! `scripts/settle.lua`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use llm_router::deps::Clock;
use llm_router::limits::bank::SPACE;
use llm_router::limits::shared::{Ask, Correction, Counted};
use llm_router::store::StoreError;
use redis::Script;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::link::{Line, Link};
use crate::names::{Names, header, keep};

/// For how long a request counts as one of those at once without a sign of life: as long as the places of a process that was killed stay taken.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How often signs of life are given.
const SIGN: Duration = Duration::from_secs(10);
/// For how long a correction of tokens says something.
const MINUTE: Duration = Duration::from_secs(61);
/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait after a batch that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// The most corrections of a batch.
const BATCH: usize = 500;
/// The most corrections of tokens, and of slots, that wait. More are dropped: both end by themselves.
const MOST: usize = 20_000;

pub(crate) static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/settle.lua")));

/// What waits to be told, and the task that tells it.
#[derive(Debug)]
pub(crate) struct Settling {
    queue: Arc<Queue>,
    _telling: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Queue {
    names: Names,
    clock: Arc<dyn Clock>,
    /// This process among those that share the server.
    process: String,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// How many corrections were put, and how many are told or dropped.
    put: AtomicU64,
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    money: BTreeMap<Arc<str>, (i64, Option<SystemTime>)>,
    tokens: Vec<(Instant, Arc<str>, u64, i64)>,
    left: Vec<(String, u64)>,
    /// The slots of requests under way, each with where it is counted.
    slots: HashMap<u64, Vec<String>>,
    /// What of all this was put, and nobody told yet.
    count: u64,
}

/// One correction, as the script reads it.
struct Op {
    key: String,
    what: [Vec<u8>; 5],
}

/// Corrections that are told together.
struct Batch {
    ops: Vec<Op>,
    /// How many that were put are over with it.
    count: u64,
}

impl Settling {
    pub(crate) fn start(link: &Link, names: Names, clock: Arc<dyn Clock>) -> Arc<Self> {
        let queue = Arc::new(Queue {
            names,
            clock,
            process: format!("{:032x}", fastrand::u128(..)),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            wake: Notify::new(),
            put: AtomicU64::new(0),
            told: watch::channel(0).0,
        });
        let telling = link.handle().spawn(tell(Arc::clone(&queue), link.line()));
        Arc::new(Self { queue, _telling: AbortOnDropHandle::new(telling) })
    }

    pub(crate) fn next_slot(&self) -> u64 {
        self.queue.next.fetch_add(1, Ordering::Relaxed)
    }

    /// As the server knows a slot.
    pub(crate) fn slot_name(&self, slot: u64) -> String {
        self.queue.slot_name(slot)
    }

    /// Gives signs of life for a slot from now on.
    pub(crate) fn took(&self, slot: u64, ask: &Ask) {
        let limited = ask.accounts.iter().filter(|account| account.concurrency.is_some());
        let keys = limited.map(|account| self.queue.names.window(&account.name, "running")).collect();
        self.queue.waiting().slots.insert(slot, keys);
    }

    /// Takes back what was counted for somebody who is gone. That it was a request stays counted.
    pub(crate) fn undo(&self, ask: &Ask, slot: Option<u64>, accounts: &[Counted]) {
        if let Some(slot) = slot {
            self.put(Correction::Left(slot));
        }
        let back = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX).saturating_neg();
        for (asked, counted) in ask.accounts.iter().zip(accounts) {
            if let Some((weight, _)) = asked.tokens {
                let (account, more) = (Arc::clone(&asked.name), back(weight));
                self.put(Correction::Tokens { account, mark: counted.mark, more });
            }
            for due in asked.money.iter().filter(|due| due.amount > 0) {
                let (books, more, expires) = (Arc::clone(&due.books), back(due.amount), due.expires);
                self.put(Correction::Money { books, more, expires });
            }
        }
    }

    pub(crate) fn put(&self, correction: Correction) {
        let queue = &self.queue;
        queue.put.fetch_add(1, Ordering::AcqRel);
        let mut waiting = queue.waiting();
        waiting.count += 1;
        match correction {
            Correction::Left(slot) => {
                let keys = waiting.slots.remove(&slot).unwrap_or_default();
                if waiting.left.len() < MOST {
                    waiting.left.extend(keys.into_iter().map(|key| (key, slot)));
                }
            }
            Correction::Tokens { account, mark, more } => {
                if waiting.tokens.len() < MOST {
                    waiting.tokens.push((Instant::now(), account, mark, more));
                }
            }
            Correction::Money { books, more, expires } => {
                let entry = waiting.money.entry(books).or_insert((0, expires));
                entry.0 = entry.0.saturating_add(more);
            }
        }
        drop(waiting);
        queue.wake.notify_one();
    }

    /// Waits until all that was put is told.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] where it is not, within five seconds.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let put = self.queue.put.load(Ordering::Acquire);
        let mut told = self.queue.told.subscribe();
        match timeout(PATIENCE, told.wait_for(|told| *told >= put)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreError::Unreachable("what was spent is not told".to_owned())),
        }
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot_name(&self, slot: u64) -> String {
        format!("{}:{slot}", self.process)
    }

    /// The next batch; none where there is nothing to tell. `signs` adds those of life.
    fn batch(&self, signs: bool) -> Option<Batch> {
        let mut ops = Vec::new();
        let mut waiting = self.waiting();
        waiting.tokens.retain(|(since, ..)| since.elapsed() < MINUTE);
        while ops.len() < BATCH
            && let Some((books, (more, expires))) = waiting.money.pop_first()
        {
            let kept = keep(expires, self.clock.now());
            let what = [
                b"M".to_vec(),
                more.to_string().into(),
                header(expires).to_vec(),
                kept.to_string().into(),
                books.as_bytes().to_vec(),
            ];
            ops.push(Op { key: self.names.record(SPACE, &books), what });
        }
        let some = BATCH.saturating_sub(ops.len()).min(waiting.left.len());
        for (key, slot) in waiting.left.drain(..some) {
            ops.push(Op { key, what: short("L", &self.slot_name(slot), "") });
        }
        let some = BATCH.saturating_sub(ops.len()).min(waiting.tokens.len());
        for (_, account, mark, more) in waiting.tokens.drain(..some) {
            let key = self.names.window(&account, "tokens");
            ops.push(Op { key, what: short("T", &mark.to_string(), &more.to_string()) });
        }
        // All that was put is over once nothing is left to be told.
        let all = waiting.money.is_empty() && waiting.left.is_empty() && waiting.tokens.is_empty();
        let count = if all { std::mem::take(&mut waiting.count) } else { 0 };
        if signs {
            for (slot, keys) in &waiting.slots {
                let what = short("K", &self.slot_name(*slot), "");
                ops.extend(keys.iter().map(|key| Op { key: key.clone(), what: what.clone() }));
            }
        }
        drop(waiting);
        if ops.is_empty() {
            // What was dropped, or cancelled itself out, is over too.
            self.over(count);
            return None;
        }
        Some(Batch { ops, count })
    }

    fn over(&self, count: u64) {
        if count > 0 {
            self.told.send_modify(|told| *told += count);
        }
    }
}

fn short(what: &str, first: &str, second: &str) -> [Vec<u8>; 5] {
    [what.into(), first.into(), second.into(), Vec::new(), Vec::new()]
}

/// Tells for ever. A batch that fails is told again until it is known to be counted.
async fn tell(queue: Arc<Queue>, line: Line) {
    let (mut number, mut sign) = (0_u64, Instant::now() + SIGN);
    loop {
        tokio::select! {
            () = queue.wake.notified() => {}
            () = sleep_until(sign) => {}
        }
        let mut signs = Instant::now() >= sign;
        if signs {
            sign = Instant::now() + SIGN;
        }
        while let Some(batch) = queue.batch(std::mem::take(&mut signs)) {
            number += 1;
            while let Err(error) = send(&queue, &line, number, &batch).await {
                tracing::debug!("what was spent is told later: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            queue.over(batch.count);
        }
    }
}

async fn send(queue: &Queue, line: &Line, number: u64, batch: &Batch) -> Result<(), StoreError> {
    let mut call = SETTLE.prepare_invoke();
    call.key(queue.names.told(&queue.process)).key(queue.names.index(SPACE));
    call.arg(number).arg(LEASE.as_millis() as u64);
    for op in &batch.ops {
        call.key(&op.key);
        op.what.iter().for_each(|word| {
            call.arg(&word[..]);
        });
    }
    line.say(PATIENCE, |mut to| async move { call.invoke_async::<i64>(&mut to).await }).await.map(drop)
}
