//! The books: what was used and what it cost, by day, key, team, provider and model, kept in the state store.
//!
//! A request adds to sums in memory, in its own thread's shard, and touches no store. Half a second later a task of its runtime writes what came together, one record
//! for each account that changed; a process that is killed loses no more than that. Records are shared by all processes: each is changed only as it was read, so that nobody's sums are
//! lost, and a write whose answer was lost is not made twice. Who posts is `router/charge.rs` for tokens and money, from the one place where money is settled, and
//! `router/record.rs` for requests. Read next: `books/tally.rs` (what is counted), `books/account.rs` (under what), `books/report.rs` (how it is read).

mod account;
mod day;
mod report;
mod tally;

use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use indexmap::IndexMap;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use account::Account;
pub use account::Entry;
pub use day::Day;
pub use report::{By, Query, Report, Row, means};
use tally::Kept;
pub use tally::Tally;

use crate::deps::Clock;
use crate::store::{Change, Store, StoreError};
use crate::telemetry::{SHARDS, own_shard};

const SPACE: &str = "usage";
/// How long sums stay in memory alone.
const EVERY: Duration = Duration::from_millis(500);
/// Accounts of a day with a record of their own; further ones are counted together.
const MOST: usize = 4096;
/// Accounts that wait in one shard.
const WAITING: usize = 4096;
/// Records that are written at a time, so that the store may group them.
const AT_ONCE: usize = 16;
/// Tries at a record that other processes change at the same time.
const TRIES: u32 = 64;
/// For how many days a record is kept: a year, and a month to look back from.
const KEPT_DAYS: u32 = 400;

type Sums = IndexMap<Account, Tally, RandomState>;

/// The books of a store. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Books(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    shards: [Mutex<Sums>; SHARDS],
    /// Whether a task will write what is posted now.
    awake: AtomicBool,
    writing: tokio::sync::Mutex<Writing>,
    tasks: TaskTracker,
    /// Ends the tasks, which then have nothing left to write.
    ended: CancellationToken,
}

#[derive(Default)]
struct Writing {
    pages: HashMap<Account, Page>,
    /// Whether the last write failed.
    trouble: bool,
}

/// One account as this process knows it.
#[derive(Default)]
struct Page {
    unsaved: Tally,
    /// What was last sent without an answer: the record, and what of `unsaved` is in it.
    sent: Option<(Bytes, Tally)>,
    /// The record as it stood after our last write.
    known: Option<Bytes>,
}

impl Books {
    /// The books of a store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            shards: Default::default(),
            awake: AtomicBool::new(false),
            writing: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
        }))
    }

    /// The day that it is.
    #[must_use]
    pub fn today(&self) -> Day {
        Day::of(self.0.clock.now())
    }

    /// Adds to an account, in memory.
    pub fn post(&self, entry: Entry<'_>, tally: &Tally) {
        let [first, ..] = &self.0.shards;
        let mut sums = lock(self.0.shards.get(own_shard()).unwrap_or(first));
        let full = sums.len() >= WAITING;
        match sums.get_mut(&entry) {
            Some(sum) => sum.add(tally),
            None if !full => drop(sums.insert(entry.into(), *tally)),
            // Somebody asks for very many models within half a second.
            None => sums.entry(entry.of_other_model().into()).or_default().add(tally),
        }
        drop(sums);
        if !self.0.awake.load(Ordering::Acquire) && !self.0.awake.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Has the sums written in a while. Outside of a runtime the next post within one does it, or the end.
    fn wake(&self) {
        let awake = Awake(Arc::downgrade(&self.0));
        let Ok(runtime) = Handle::try_current() else { return };
        let ended = self.0.ended.clone();
        self.0.tasks.spawn_on(
            async move {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = ended.cancelled() => return,
                }
                if let Some(inner) = awake.0.upgrade() {
                    // Said there.
                    let _ = Self(inner).flush().await;
                }
            },
            &runtime,
        );
    }

    /// Writes what was posted. What cannot be written stays, and is tried again with the next post.
    ///
    /// # Errors
    /// What the store fails with; it is also said once in the log.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let inner = &*self.0;
        let mut writing = inner.writing.lock().await;
        // Before the shards are emptied: what is posted after that wakes the next task.
        inner.awake.store(false, Ordering::Release);
        let today = self.today();
        writing.pages.retain(|account, page| account.day >= today || !page.unsaved.is_empty());
        for shard in &inner.shards {
            let sums = std::mem::take(&mut *lock(shard));
            for (account, tally) in sums {
                writing.page(account).unsaved.add(&tally);
            }
        }
        let mut saving: Vec<BoxFuture<'_, Result<(), StoreError>>> = Vec::new();
        for (account, page) in writing.pages.iter_mut().filter(|(_, page)| !page.unsaved.is_empty()) {
            saving.push(Box::pin(save(&*inner.store, account, page)));
        }
        let failed = stream::iter(saving)
            .buffer_unordered(AT_ONCE)
            .fold(None, |failed: Option<StoreError>, outcome| async { failed.or(outcome.err()) })
            .await;
        let Some(error) = failed else {
            writing.trouble = false;
            return Ok(());
        };
        if !std::mem::replace(&mut writing.trouble, true) {
            match error {
                // A machine without a writable folder was set up so.
                StoreError::Unwritable(_) => tracing::info!("usage is not kept: {error}"),
                _ => tracing::warn!("usage stays in memory for now: {error}"),
            }
        }
        Err(error)
    }

    /// Writes what was posted, and ends the tasks that would.
    ///
    /// # Errors
    /// As [`Books::flush`]; what could not be written is lost with the process.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.ended.cancel();
        self.flush().await
    }
}

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Books(…)")
    }
}

/// Says at its end that nobody is awake, also where its runtime ended before it could write.
struct Awake(Weak<Inner>);

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.awake.store(false, Ordering::Release);
        }
    }
}

impl Writing {
    /// The page of an account, or of one that it is counted with where there are too many.
    fn page(&mut self, account: Account) -> &mut Page {
        let mut account = account;
        if self.pages.len() >= MOST && !self.pages.contains_key(&account) {
            account = account.entry().of_other_model().into();
            if self.pages.len() >= 2 * MOST && !self.pages.contains_key(&account) {
                account = account.entry().of_other_provider().into();
            }
            if self.pages.len() >= 4 * MOST && !self.pages.contains_key(&account) {
                account = Entry { key: "other", team: "other", ..account.entry().of_other_provider() }.into();
            }
        }
        self.pages.entry(account).or_default()
    }
}

/// Adds what is unsaved of an account to its record. Dropped half-way it leaves the page as it must be tried again.
async fn save(store: &dyn Store, account: &Account, page: &mut Page) -> Result<(), StoreError> {
    let place = account.place();
    for _ in 0..TRIES {
        let found = match page.known.take() {
            Some(known) => Some(known),
            None => store.get(SPACE, &place).await?,
        };
        if let Some((record, tally)) = page.sent.take()
            && found.as_ref() == Some(&record)
        {
            // It was written; only the answer was lost.
            page.unsaved.subtract(&tally);
            if page.unsaved.is_empty() {
                page.known = found;
                return Ok(());
            }
        }
        let mut kept = found.as_deref().map(Kept::read).transpose()?.unwrap_or_default();
        let tally = page.unsaved;
        kept.add(&tally);
        let record = kept.bytes();
        page.sent = Some((record.clone(), tally));
        let expires = Some(account.day.end_of(KEPT_DAYS));
        let change = Change { expected: found, value: Some(record.clone()), expires };
        let changed = store.compare_and_set(SPACE, &place, change).await?;
        page.sent = None;
        if changed {
            page.unsaved.subtract(&tally);
            page.known = Some(record);
            return Ok(());
        }
    }
    Err(StoreError::Busy)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
