//! The keys that are known: kept in the `Store`, which other processes share, and held in memory, where a request looks.
//!
//! Looking takes no lock that two keys share and touches no file: each thread has the table it saw last and a number that says whether there is a newer one. What another
//! process did is seen by [`Keyring::watch`] within half a second of its being stored. Every change raises one counter in the store; that counter is all that is read
//! until it changes. What is done to keys is `keyring/change.rs`, reading them `keyring/reading.rs`, what was derived from them `keyring/derived.rs`. Read `key.rs` for what is kept,
//! `grant.rs` for keys as text.

mod change;
mod derived;
mod reading;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use self::derived::Derived;
use self::reading::{MOST_KEYS, Told};
use super::bank::StoreBank;
use super::grant::{Caveats, Link, Shown, links, same};
use super::key::{KeyRecord, KeySpec, Seal, at, hash, hex};
use super::shared::Sharing;
use super::{Counting, Holder, Limits, Passed, Period};
use crate::deps::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Namespace;
use crate::store::{Store, StoreError, counter_value};

const KEYS: &str = "keys";
const NAMES: &str = "key-names";
const DEEDS: &str = "key-deeds";
const META: &str = "keys-meta";
const VERSION: &str = "version";

/// How often the store is asked whether something changed.
const LOOK: Duration = Duration::from_millis(500);
/// How often all is read again even so: a process that ended between a change and its announcement announced nothing.
const AGAIN: Duration = Duration::from_secs(30);
/// Leases that stay at hand while nobody spends.
const KEPT_LEASES: u64 = 1;
/// For how long the end of the process waits until money is given back.
const PARTING: Duration = Duration::from_secs(5);

/// The known keys. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    counting: Counting,
    seal: Seal,
    clock: Arc<dyn Clock>,
    scope: Scope,
    teams: HashMap<String, Arc<Holder>>,
    /// Those of keys that the configuration holds.
    fixed: Mutex<HashMap<String, Arc<Holder>>>,
    /// Holders whose keys have others now, until they gave back what they hold.
    retired: Mutex<Vec<Arc<Holder>>>,
    /// Held through a reading of the store: two at once would each put a table of its own in the place of the same one, and lose the holders that the other had made.
    refreshing: tokio::sync::Mutex<()>,
    /// Held while money is given back, so that the last look finds what another one was at.
    balancing: tokio::sync::Mutex<()>,
    began: Instant,
    table: Mutex<Arc<Table>>,
    /// Which table that is; unlike every number of any other keyring.
    current: AtomicU64,
    /// The most keys that are made.
    most_keys: usize,
    told: Told,
}

/// Which keys share stored answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// None.
    #[default]
    Key,
    /// Those of a team.
    Team,
    /// All.
    Global,
}

#[derive(Default)]
struct Table {
    keys: HashMap<String, Arc<Entry>>,
    /// How many records there were.
    count: usize,
    /// The store's counter when it was read.
    version: i64,
    read: Option<Instant>,
}

struct Entry {
    record: KeyRecord,
    root: Option<Link>,
    holder: Arc<Holder>,
    derived: Derived,
}

impl Entry {
    /// Its own holder, and those of the keys derived from it that were seen.
    fn holders(&self) -> Vec<Arc<Holder>> {
        std::iter::once(Arc::clone(&self.holder)).chain(self.derived.all()).collect()
    }
}

/// Retired holders while they are looked at. Those that are not done with are put back, also where whoever looks is gone meanwhile.
struct Retired<'a> {
    of: &'a Mutex<Vec<Arc<Holder>>>,
    left: Vec<Arc<Holder>>,
    stay: Vec<Arc<Holder>>,
}

impl<'a> Retired<'a> {
    fn take(of: &'a Mutex<Vec<Arc<Holder>>>) -> Self {
        let left = std::mem::take(&mut *of.lock().unwrap_or_else(PoisonError::into_inner));
        Self { of, left, stay: Vec::new() }
    }
}

impl Drop for Retired<'_> {
    fn drop(&mut self) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.append(&mut self.stay);
        of.append(&mut self.left);
    }
}

thread_local! {
    /// The table that this thread saw last, with its number.
    static SEEN: RefCell<(u64, Arc<Table>)> = RefCell::default();
}

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Keyring {
    /// A keyring over a store, with the teams that the configuration names. It knows no key until [`Keyring::refresh`].
    pub fn new(
        store: Arc<dyn Store>,
        seal: Seal,
        clock: Arc<dyn Clock>,
        scope: Scope,
        teams: impl IntoIterator<Item = (String, Limits)>,
    ) -> Self {
        Self::with(store, seal, clock, scope, teams, None)
    }

    /// A keyring whose limits are counted together with other processes.
    pub fn shared(
        store: Arc<dyn Store>,
        seal: Seal,
        clock: Arc<dyn Clock>,
        scope: Scope,
        teams: impl IntoIterator<Item = (String, Limits)>,
        sharing: Arc<Sharing>,
    ) -> Self {
        Self::with(store, seal, clock, scope, teams, Some(sharing))
    }

    fn with(
        store: Arc<dyn Store>,
        seal: Seal,
        clock: Arc<dyn Clock>,
        scope: Scope,
        teams: impl IntoIterator<Item = (String, Limits)>,
        sharing: Option<Arc<Sharing>>,
    ) -> Self {
        let began = clock.instant();
        let bank = Arc::new(StoreBank(Arc::clone(&store)));
        let draws = TaskTracker::new();
        // Whoever waits for it waits for the tasks there are, and not until no more can come.
        draws.close();
        let counting = Counting { bank, sharing, draws };
        let team = |(name, limits): (String, Limits)| {
            let holder = Holder::team(&name, limits, began, &counting);
            (name, holder)
        };
        let teams = teams.into_iter().map(team).collect();
        let (table, current) = (Mutex::default(), AtomicU64::new(next_number()));
        let (fixed, retired, refreshing, balancing, told) = Default::default();
        Self(Arc::new(Inner {
            store,
            counting,
            seal,
            clock,
            scope,
            teams,
            fixed,
            retired,
            refreshing,
            balancing,
            began,
            table,
            current,
            most_keys: MOST_KEYS,
            told,
        }))
    }

    /// A team that the configuration names.
    #[must_use]
    pub fn team(&self, name: &str) -> Option<&Arc<Holder>> {
        self.0.teams.get(name)
    }

    /// Who holds the limits of a key that the configuration holds, counted under its name. One that is read again goes on with what passed.
    #[must_use]
    pub fn fixed(&self, name: &str, limits: Limits, team: Option<&str>) -> Arc<Holder> {
        let above = team.and_then(|team| self.team(team)).cloned();
        let mut fixed = self.0.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = fixed.get(name);
        let same_team = |holder: &Holder| holder.above.as_ref().map(Arc::as_ptr) == above.as_ref().map(Arc::as_ptr);
        if let Some(same) = known.filter(|holder| holder.limits == limits && same_team(holder)) {
            return Arc::clone(same);
        }
        let passed = known.map(|holder| Arc::clone(&holder.passed)).unwrap_or_default();
        let mut holder = Holder::bare("key", name, limits, above, self.0.began);
        holder.passed = passed;
        let holder = Arc::new(holder.counted(&format!("fixed/{name}"), &self.0.counting));
        let before = fixed.insert(name.to_owned(), Arc::clone(&holder));
        drop(fixed);
        self.0.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(before);
        holder
    }

    /// Whose key this is; none for a key of another kind.
    ///
    /// # Errors
    /// `policy_unauthenticated` for a key of ours that is unknown, forged, revoked or expired.
    pub fn find(&self, shown: &str) -> Option<Result<Arc<Holder>>> {
        let shown = Shown::read(shown.trim())?;
        let now = self.0.clock.now();
        Some(self.with_table(|table| {
            let unknown = || Error::new(ErrorKind::PolicyUnauthenticated, "the key shown is none of this server's");
            let id = match &shown {
                Shown::Whole { id, .. } | Shown::Derived { id, .. } => *id,
            };
            let entry = table.keys.get(id).ok_or_else(unknown)?;
            let holder = match &shown {
                Shown::Whole { secret, .. } if same(&hash(secret), &entry.record.hash) => Arc::clone(&entry.holder),
                Shown::Whole { .. } => return Err(unknown()),
                Shown::Derived { id, blocks, mac } => self.derived(entry, id, blocks, mac)?,
            };
            if entry.record.spec.revoked.is_some() {
                return Err(Error::new(ErrorKind::PolicyUnauthenticated, "the key shown was revoked")
                    .with_hint("ask whoever gave it for a new one"));
            }
            if let Some(team) = entry.record.spec.spec.team.as_ref().filter(|team| !self.0.teams.contains_key(*team)) {
                // Its limits are not known here, and a limit must never be overlooked.
                return Err(Error::new(
                    ErrorKind::PolicyForbidden,
                    format!("the key shown is of the team {team:?}, of which this server knows nothing"),
                )
                .with_hint(format!("add [teams.{team}] to the server's configuration, and start it anew")));
            }
            holder.check_time(now)?;
            Ok(holder)
        }))
    }

    /// The holder of a derived key. A known one is found by its MAC: who can show that was given the key.
    fn derived(&self, entry: &Arc<Entry>, id: &str, blocks: &[&str], shown: &Link) -> Result<Arc<Holder>> {
        if let Some(known) = entry.derived.get(shown) {
            return Ok(known);
        }
        let root = entry.root.ok_or_else(|| {
            Error::new(
                ErrorKind::RouterUnavailable,
                "the seal of this server's keys cannot be read, so derived keys cannot be checked",
            )
            .with_hint("put the seal's file back that the key was made with, or make a new key")
        })?;
        let links = links(&root, id, blocks, shown)?;
        let make = |above: &Arc<Holder>, link: &Link, caveats, passed| self.narrower(above, link, caveats, passed);
        let mut gone = Vec::new();
        let found = entry.derived.add(&entry.holder, links, self.0.clock.instant(), &mut gone, make);
        if !gone.is_empty() {
            self.retire(gone);
        }
        found
    }

    /// Has holders give back what they hold, once nobody pays from them any more.
    fn retire(&self, holders: impl IntoIterator<Item = Arc<Holder>>) {
        self.0.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(holders);
    }

    fn narrower(&self, above: &Arc<Holder>, link: &Link, caveats: Caveats, passed: Option<Arc<Passed>>) -> Arc<Holder> {
        let short = hex(link).get(..16).unwrap_or_default().to_owned();
        // By its own mark and the key's name and id, so that the name does not grow with each derivation.
        let (key, id) = above.name.rsplit_once('#').unwrap_or_default();
        let name = format!("{key}#{}/{short}", id.split('/').next().unwrap_or_default());
        let mut holder = Holder::bare("derived key", &name, caveats.limits, Some(Arc::clone(above)), self.0.began);
        holder.expires = caveats.expires.map(at);
        holder.passed = passed.unwrap_or_default();
        let mut holder = holder.counted(&format!("grant/{}", hex(link)), &self.0.counting);
        holder.namespace = match self.0.scope {
            Scope::Key => Namespace::new(&name).unwrap_or_default(),
            Scope::Team | Scope::Global => above.namespace.clone(),
        };
        Arc::new(holder)
    }

    fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        let current = self.0.current.load(Ordering::Acquire);
        SEEN.with_borrow_mut(|(number, table)| {
            if *number != current {
                *table = Arc::clone(&self.0.table.lock().unwrap_or_else(PoisonError::into_inner));
                *number = current;
            }
            look(table)
        })
    }

    /// Reads what changed in the store; quick where nothing did.
    ///
    /// # Errors
    /// `router_unavailable` when the store cannot be read. The keys known before stay known. A record that only a newer version understands is no key here, and is told of in the log.
    pub async fn refresh(&self) -> Result<()> {
        let _turn = self.0.refreshing.lock().await;
        let version = self.version().await?;
        let known = Arc::clone(&self.0.table.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.0.clock.instant();
        let fresh = known.read.is_some_and(|read| now.saturating_duration_since(read) < AGAIN);
        if fresh && known.version == version {
            return Ok(());
        }
        let read = self.read().await?;
        let (mut keys, mut gone) = (HashMap::with_capacity(read.records.len()), Vec::new());
        for record in read.records {
            let entry = match known.keys.get(&record.id) {
                // What passed lately stays counted.
                Some(entry) if entry.record == record => Arc::clone(entry),
                Some(entry) => {
                    gone.push(Arc::clone(entry));
                    Arc::new(self.entry(record, Some(entry)))
                }
                None => Arc::new(self.entry(record, None)),
            };
            keys.insert(entry.record.id.clone(), entry);
        }
        gone.extend(known.keys.values().filter(|entry| !keys.contains_key(&entry.record.id)).cloned());
        let (count, read) = (read.count, Some(now));
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        *table = Arc::new(Table { keys, count, version, read });
        self.0.current.store(next_number(), Ordering::Release);
        drop(table);
        self.retire(gone.iter().flat_map(|entry| entry.holders()));
        Ok(())
    }

    /// Follows the store for as long as it is polled.
    pub async fn watch(&self) {
        let mut trouble = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let outcome = match self.refresh().await {
                Ok(()) => self.balance(KEPT_LEASES).await,
                failed => failed,
            };
            if let Err(error) = &outcome
                && !trouble
            {
                tracing::warn!("keys stay as they were known: {error}");
            }
            trouble = outcome.is_err();
        }
    }

    /// Gives back all money that nobody has spent: before the process ends.
    ///
    /// # Errors
    /// `router_unavailable` when the store cannot be written; what is left is forfeited.
    pub async fn settle_up(&self) -> Result<()> {
        let settling = async {
            // Who asked for money and left: it comes all the same, and is given back with the rest.
            self.0.counting.draws.wait().await;
            self.balance(0).await?;
            match &self.0.counting.sharing {
                Some(sharing) => Ok(sharing.counter.flush().await?),
                None => Ok(()),
            }
        };
        timeout(PARTING, settling).await.unwrap_or_else(|_| Err(StoreError::Busy.into()))
    }

    async fn balance(&self, keep: u64) -> Result<()> {
        let _turn = self.0.balancing.lock().await;
        let table = Arc::clone(&self.0.table.lock().unwrap_or_else(PoisonError::into_inner));
        let keys = table.keys.values().flat_map(|entry| entry.holders());
        let fixed: Vec<_> = self.0.fixed.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let holders: Vec<Arc<Holder>> = keys.chain(self.0.teams.values().cloned()).chain(fixed).collect();
        let now = self.0.clock.now();
        // What one fails with keeps no other from being put right.
        let mut outcome = Ok(());
        for holder in holders {
            outcome = outcome.and(holder.balance(keep, now).await);
        }
        let mut retired = Retired::take(&self.0.retired);
        while let Some(holder) = retired.left.last() {
            // Whoever is under way still pays from it; who left before this look has paid.
            let last = Arc::strong_count(holder) == 1;
            let balanced = holder.balance(0, now).await;
            let looked_at = retired.left.pop();
            if !last || balanced.is_err() {
                retired.stay.extend(looked_at);
            }
            outcome = outcome.and(balanced);
        }
        outcome
    }

    /// What was drawn of a key's money in this period: the period, the amount and the cap, in micro-dollars.
    ///
    /// # Errors
    /// `router_unavailable` when the store cannot be read.
    pub async fn drawn(&self, record: &KeyRecord) -> Result<Vec<(Period, u64, u64)>> {
        self.holder(&record.id, &record.spec.spec).drawn(self.0.clock.now()).await
    }

    async fn version(&self) -> Result<i64> {
        let counter = self.0.store.get(META, VERSION).await?;
        Ok(counter.map(|record| counter_value(&record)).transpose()?.unwrap_or(0))
    }

    /// A key as it is looked up; what passed for the one that it takes the place of stays counted.
    fn entry(&self, record: KeyRecord, before: Option<&Entry>) -> Entry {
        // Without its seal a key still holds; what was derived from it does not.
        let root = self.0.seal.turn(&record.id, &record.root).ok();
        let mut holder = self.holder(&record.id, &record.spec.spec);
        let mut derived = Derived::default();
        if let Some(before) = before {
            holder.passed = Arc::clone(&before.holder.passed);
            derived = Derived::after(&before.derived, self.0.began, self.0.clock.instant());
        }
        Entry { root, holder: Arc::new(holder), derived, record }
    }

    fn holder(&self, id: &str, spec: &KeySpec) -> Holder {
        let team = spec.team.as_ref().and_then(|team| self.0.teams.get(team)).cloned();
        let name = format!("{}#{id}", spec.name);
        let namespace = match self.0.scope {
            Scope::Global => Some(Namespace::default()),
            Scope::Team => spec.team.as_ref().and_then(|team| Namespace::new(team).ok()),
            Scope::Key => None,
        };
        let holder = Holder::bare("key", &name, spec.limits.clone(), team, self.0.began);
        let mut holder = holder.counted(&format!("key/{id}"), &self.0.counting);
        holder.role = spec.role;
        holder.namespace = namespace.or_else(|| Namespace::new(&name).ok()).unwrap_or_default();
        holder.expires = spec.expires.map(at);
        holder
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}

fn parse(id: &str, value: &[u8]) -> Result<KeyRecord> {
    let record: KeyRecord = serde_json::from_slice(value).map_err(|error| newer("the key", id, &error))?;
    if record.id == id {
        return Ok(record);
    }
    Err(Error::new(ErrorKind::RouterUnavailable, format!("the key {id} cannot be read: its record is of another key")))
}

fn newer(what: &str, id: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::RouterUnavailable, format!("{what} {id} cannot be read by this version: {error}"))
        .with_hint("use the version of llm-router that made it")
}

#[cfg(test)]
mod tests;
