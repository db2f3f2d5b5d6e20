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

use crate::asked::Asked;
use crate::link::{Line, Link};
use crate::names::{Names, RUNNING, TOKENS, header, keep};

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
    /// Signs of life that are due.
    signs: Vec<(String, u64)>,
    asked: Asked,
    /// What of all this was put, and nobody told yet.
    count: u64,
}

/// One correction, as the script reads it.
struct Op {
    key: String,
    what: [Vec<u8>; 4],
}

/// Corrections that are told together.
struct Batch {
    ops: Vec<Op>,
    /// Up to which number the outcome of all asks is known.
    known: u64,
    /// How many that were put are over with it.
    count: u64,
}

impl Settling {
    pub(crate) fn start(link: &Link, names: Names, clock: Arc<dyn Clock>) -> Arc<Self> {
        let queue = Arc::new(Queue {
            names,
            clock,
            process: format!("{:032x}", fastrand::u128(..)),
            waiting: Mutex::default(),
            wake: Notify::new(),
            put: AtomicU64::new(0),
            told: watch::channel(0).0,
        });
        let telling = link.handle().spawn(tell(Arc::clone(&queue), link.line()));
        Arc::new(Self { queue, _telling: AbortOnDropHandle::new(telling) })
    }

    /// The number of a new ask, whose outcome is to be told here.
    pub(crate) fn begin(&self, ask: &Ask) -> u64 {
        self.queue.waiting().asked.begin(ask)
    }

    /// It was counted. Gives signs of life for its slot from now on.
    pub(crate) fn counted(&self, number: u64, slot: Option<u64>, ask: &Ask) {
        let mut waiting = self.queue.waiting();
        if let Some(slot) = slot {
            let limited = ask.accounts.iter().filter(|account| account.concurrency.is_some());
            let keys = limited.map(|account| self.queue.names.window(&account.name, RUNNING)).collect();
            waiting.slots.insert(slot, keys);
        }
        self.queue.known(waiting, number);
    }

    /// It was not counted.
    pub(crate) fn not_counted(&self, number: u64) {
        self.queue.known(self.queue.waiting(), number);
    }

    /// Nobody knows whether it was counted. Its money is taken back if it was; its place and its tokens are free by themselves.
    pub(crate) fn lost(&self, number: u64, ask: &Ask) {
        let mut waiting = self.queue.waiting();
        if waiting.asked.lose(number, ask) {
            self.queue.put.fetch_add(1, Ordering::AcqRel);
            waiting.count += 1;
        }
        self.queue.known(waiting, number);
    }

    /// As the server knows a slot.
    pub(crate) fn slot_name(&self, slot: u64) -> String {
        self.queue.slot_name(slot)
    }

    /// Where the server notes what this process told it last.
    pub(crate) fn told(&self) -> String {
        self.queue.names.told(&self.queue.process)
    }

    /// Where the server notes which asks of this process drew money.
    pub(crate) fn asked(&self) -> String {
        self.queue.names.asked(&self.queue.process)
    }

    /// Takes back what was counted for somebody who is gone. That it was a request stays counted.
    pub(crate) fn undo(&self, ask: &Ask, slot: Option<u64>, drew: u64, accounts: &[Counted]) {
        if let Some(slot) = slot {
            self.put(Correction::Left(slot));
        }
        for (asked, counted) in ask.accounts.iter().zip(accounts) {
            if let Some((weight, _)) = asked.tokens {
                let (account, more) = (Arc::clone(&asked.name), back(weight));
                self.put(Correction::Tokens { account, mark: counted.mark, more });
            }
            for due in asked.money.iter().filter(|_| drew > 0) {
                let (books, more, expires) = (Arc::clone(&due.books), back(drew), due.expires);
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

    /// The outcome of an ask is known, and what waits for it may be told.
    fn known(&self, mut waiting: MutexGuard<'_, Waiting>, number: u64) {
        waiting.asked.known(number);
        let due = waiting.count > 0 && waiting.asked.may_settle() || waiting.asked.ahead() >= BATCH as u64;
        drop(waiting);
        if due {
            self.wake.notify_one();
        }
    }

    fn slot_name(&self, slot: u64) -> String {
        format!("{}:{slot}", self.process)
    }

    /// Has signs of life given for all that is under way.
    fn sign(&self) {
        let mut waiting = self.waiting();
        let all = waiting.slots.iter().flat_map(|(slot, keys)| keys.iter().map(|key| (key.clone(), *slot)));
        waiting.signs = all.collect();
    }

    /// The next batch; none where there is nothing to tell.
    fn batch(&self) -> Option<Batch> {
        let mut ops = Vec::new();
        let mut guard = self.waiting();
        let waiting = &mut *guard;
        waiting.tokens.retain(|(since, ..)| since.elapsed() < MINUTE);
        while ops.len() < BATCH
            && let Some((books, (more, expires))) = waiting.money.pop_first()
        {
            let kept = keep(expires, self.clock.now());
            let what = [b"M".to_vec(), more.to_string().into(), header(expires).to_vec(), kept.to_string().into()];
            ops.push(Op { key: self.names.record(SPACE, &books), what });
        }
        let (known, lost) = waiting.asked.settle(BATCH.saturating_sub(ops.len()));
        for (number, books) in lost {
            ops.extend(books.into_iter().map(|books| {
                let what = short("U", &number.to_string(), "");
                Op { key: self.names.record(SPACE, &books), what }
            }));
        }
        // Those alive before those who left meanwhile: who left must not come to life again.
        waiting.signs.retain(|(_, slot)| waiting.slots.contains_key(slot));
        let some = BATCH.saturating_sub(ops.len()).min(waiting.signs.len());
        for (key, slot) in waiting.signs.drain(..some) {
            ops.push(Op { key, what: short("K", &self.slot_name(slot), "") });
        }
        let some = BATCH.saturating_sub(ops.len()).min(waiting.left.len());
        for (key, slot) in waiting.left.drain(..some) {
            ops.push(Op { key, what: short("L", &self.slot_name(slot), "") });
        }
        let some = BATCH.saturating_sub(ops.len()).min(waiting.tokens.len());
        for (_, account, mark, more) in waiting.tokens.drain(..some) {
            let key = self.names.window(&account, TOKENS);
            ops.push(Op { key, what: short("T", &mark.to_string(), &more.to_string()) });
        }
        // All that was put is over once nothing is left to be told, and no answer can come that somebody would have to be told of.
        let told = waiting.money.is_empty() && waiting.left.is_empty() && waiting.tokens.is_empty();
        let count = if told && waiting.asked.is_clear() { std::mem::take(&mut waiting.count) } else { 0 };
        // Where everything costs what was set aside, nothing else is ever told.
        let nothing = ops.is_empty() && waiting.asked.ahead() < BATCH as u64;
        if !nothing {
            waiting.asked.tell(known);
        }
        drop(guard);
        if nothing {
            // What was dropped, or cancelled itself out, is over too.
            self.over(count);
            return None;
        }
        Some(Batch { ops, known, count })
    }

    fn over(&self, count: u64) {
        if count > 0 {
            self.told.send_modify(|told| *told += count);
        }
    }
}

fn back(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX).saturating_neg()
}

fn short(what: &str, first: &str, second: &str) -> [Vec<u8>; 4] {
    [what.into(), first.into(), second.into(), Vec::new()]
}

/// Tells for ever. A batch that fails is told again until it is known to be counted.
async fn tell(queue: Arc<Queue>, line: Line) {
    let (mut number, mut sign) = (0_u64, Instant::now() + SIGN);
    loop {
        tokio::select! {
            () = queue.wake.notified() => {}
            () = sleep_until(sign) => {}
        }
        if Instant::now() >= sign {
            sign = Instant::now() + SIGN;
            queue.sign();
        }
        while let Some(batch) = queue.batch() {
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
    call.key(queue.names.told(&queue.process)).key(queue.names.asked(&queue.process));
    call.arg(number).arg(LEASE.as_millis() as u64).arg(batch.known);
    for op in &batch.ops {
        call.key(&op.key);
        op.what.iter().for_each(|word| {
            call.arg(&word[..]);
        });
    }
    let said = line.say(PATIENCE, |mut to| async move { call.invoke_async::<(u64, String)>(&mut to).await });
    let (failed, why) = said.await?;
    if failed > 0 {
        tracing::warn!("{failed} of {} corrections of shared limits cannot be made: {why}", batch.ops.len());
    }
    Ok(())
}
