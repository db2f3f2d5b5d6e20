//! The keys that are known: kept in the `Store`, which other processes share, and held in memory, where a request looks.
//!
//! Looking takes no lock that two keys share and touches no file: each thread has the table it saw last and a number that says whether there is a newer one. What another
//! process did is seen by [`Keyring::watch`] within half a second of its being stored. Every change raises one counter in the store; that counter is all that is read
//! until it changes. Read `key.rs` for what is kept, `grant.rs` for keys as text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::bank::StoreBank;
use super::grant::{Caveats, Link, Shown, links, root, same, whole};
use super::key::{Deed, Kept, KeyRecord, KeySpec, Seal, at, hash, hex, seconds, unhex};
use super::shared::Sharing;
use super::{Counting, Holder, Limits, Period};
use crate::deps::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Namespace;
use crate::secret::Secret;
use crate::store::{Change, Scan, Store, counter_value};

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
/// Records read at a time.
const PAGE: usize = 500;
/// The most keys that are known.
const MOST_KEYS: usize = 100_000;
/// The most derived keys of one key that are remembered.
const MOST_DERIVED: usize = 4096;

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
    began: Instant,
    table: Mutex<Arc<Table>>,
    /// Which table that is; unlike every number of any other keyring.
    current: AtomicU64,
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
    /// The store's counter when it was read.
    version: i64,
    read: Option<Instant>,
}

struct Entry {
    record: KeyRecord,
    hash: Link,
    root: Option<Link>,
    holder: Arc<Holder>,
    derived: RwLock<HashMap<Link, Arc<Holder>>>,
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
        let counting = Counting { bank: Arc::new(StoreBank(Arc::clone(&store))), sharing };
        let team = |(name, limits): (String, Limits)| {
            let holder = Holder::team(&name, limits, began, &counting);
            (name, holder)
        };
        let teams = teams.into_iter().map(team).collect();
        let (table, current) = (Mutex::default(), AtomicU64::new(next_number()));
        Self(Arc::new(Inner { store, counting, seal, clock, scope, teams, began, table, current }))
    }

    /// A team that the configuration names.
    #[must_use]
    pub fn team(&self, name: &str) -> Option<&Arc<Holder>> {
        self.0.teams.get(name)
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
                Shown::Whole { secret, .. } if same(&hash(secret), &entry.hash) => Arc::clone(&entry.holder),
                Shown::Whole { .. } => return Err(unknown()),
                Shown::Derived { id, blocks, mac } => self.derived(entry, id, blocks, mac)?,
            };
            if entry.record.spec.revoked.is_some() {
                return Err(Error::new(ErrorKind::PolicyUnauthenticated, "the key shown was revoked")
                    .with_hint("ask whoever gave it for a new one"));
            }
            holder.check_time(now)?;
            Ok(holder)
        }))
    }

    /// The holder of a derived key. A known one is found by its MAC: who can show that was given the key.
    fn derived(&self, entry: &Arc<Entry>, id: &str, blocks: &[&str], shown: &Link) -> Result<Arc<Holder>> {
        if let Some(known) = entry.derived.read().unwrap_or_else(PoisonError::into_inner).get(shown) {
            return Ok(Arc::clone(known));
        }
        let root = entry.root.ok_or_else(|| {
            Error::new(
                ErrorKind::RouterUnavailable,
                "the seal of this server's keys cannot be read, so derived keys cannot be checked",
            )
            .with_hint("put the seal's file back that the key was made with, or make a new key")
        })?;
        let links = links(&root, id, blocks, shown)?;
        let mut derived = entry.derived.write().unwrap_or_else(PoisonError::into_inner);
        if derived.len() + links.len() > MOST_DERIVED {
            // Who is under way keeps its holder; what the others counted was counted above them too.
            derived.retain(|_, holder| Arc::strong_count(holder) > 1);
        }
        if derived.len() + links.len() > MOST_DERIVED {
            return Err(Error::new(
                ErrorKind::RouterOverloaded,
                format!("more than {MOST_DERIVED} keys derived from one are in use"),
            ));
        }
        let mut above = Arc::clone(&entry.holder);
        for (link, caveats) in links {
            let make = || self.narrower(&above, &link, caveats);
            above = Arc::clone(derived.entry(link).or_insert_with(make));
        }
        Ok(above)
    }

    fn narrower(&self, above: &Arc<Holder>, link: &Link, caveats: Caveats) -> Arc<Holder> {
        let short = hex(link).get(..16).unwrap_or_default().to_owned();
        // By its own mark and the key's id alone, so that the name does not grow with each derivation.
        let name = above.name.split('/').next().map_or_else(String::new, |key| format!("{key}/{short}"));
        let holder = Holder::bare("derived key", &name, caveats.limits, Some(Arc::clone(above)), self.0.began);
        let mut holder = holder.counted(&format!("grant/{}", hex(link)), &self.0.counting);
        holder.expires = caveats.expires.map(at);
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
    /// `router_unavailable` when the store cannot be read, or holds a key that only a newer version understands. The keys known before stay known.
    pub async fn refresh(&self) -> Result<()> {
        let version = self.version().await?;
        let known = Arc::clone(&self.0.table.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.0.clock.instant();
        let fresh = known.read.is_some_and(|read| now.saturating_duration_since(read) < AGAIN);
        if fresh && known.version == version {
            return Ok(());
        }
        let mut keys = HashMap::new();
        for record in self.records().await? {
            let entry = match known.keys.get(&record.id) {
                // What passed lately stays counted.
                Some(entry) if entry.record == record => Arc::clone(entry),
                Some(entry) => Arc::new(self.entry(record, Some(Arc::clone(&entry.holder)))?),
                None => Arc::new(self.entry(record, None)?),
            };
            keys.insert(entry.record.id.clone(), entry);
        }
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        // One that began later may have read more.
        if table.version <= version {
            *table = Arc::new(Table { keys, version, read: Some(now) });
            self.0.current.store(next_number(), Ordering::Release);
        }
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
        self.balance(0).await?;
        match &self.0.counting.sharing {
            Some(sharing) => Ok(sharing.counter.flush().await?),
            None => Ok(()),
        }
    }

    async fn balance(&self, keep: u64) -> Result<()> {
        let table = Arc::clone(&self.0.table.lock().unwrap_or_else(PoisonError::into_inner));
        let derived = |entry: &Arc<Entry>| -> Vec<_> {
            entry.derived.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
        };
        let keys = table.keys.values().flat_map(|entry| [vec![Arc::clone(&entry.holder)], derived(entry)].concat());
        let holders: Vec<Arc<Holder>> = keys.chain(self.0.teams.values().cloned()).collect();
        let now = self.0.clock.now();
        for holder in holders {
            holder.balance(keep, now).await?;
        }
        Ok(())
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

    async fn records(&self) -> Result<Vec<KeyRecord>> {
        let mut records: Vec<KeyRecord> = Vec::new();
        loop {
            let after = records.last().map(|record| record.id.clone());
            let range = Scan { prefix: "", after: after.as_deref(), limit: PAGE };
            let page = self.0.store.scan(KEYS, range).await?;
            let last = page.len() < PAGE;
            for (id, value) in page {
                records.push(parse(&id, &value)?);
            }
            if last || records.len() >= MOST_KEYS {
                return Ok(records);
            }
        }
    }

    fn entry(&self, record: KeyRecord, known: Option<Arc<Holder>>) -> Result<Entry> {
        let damaged =
            || Error::new(ErrorKind::RouterUnavailable, format!("the record of the key {} is damaged", record.id));
        let hash = unhex(&record.hash).ok_or_else(damaged)?;
        let sealed = unhex(&record.root).ok_or_else(damaged)?;
        // Without its seal a key still holds; what was derived from it does not.
        let root = self.0.seal.turn(&record.id, &sealed).ok();
        let spec = &record.spec.spec;
        let holder =
            known.filter(|holder| holder.limits == spec.limits).unwrap_or_else(|| self.holder(&record.id, spec));
        Ok(Entry { hash, root, holder, derived: RwLock::default(), record })
    }

    fn holder(&self, id: &str, spec: &KeySpec) -> Arc<Holder> {
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
        Arc::new(holder)
    }

    /// Makes a key for whoever `by` names, and gives it with its record: the only time that it can be seen.
    ///
    /// # Errors
    /// `caller_invalid_request` for a name that a key has already, a team that is not configured, or what else [`KeySpec::check`] refuses; `router_unavailable` when the
    /// store cannot be written.
    pub async fn create(&self, spec: KeySpec, by: &str) -> Result<(KeyRecord, Secret)> {
        spec.check(self.0.clock.now())?;
        if let Some(team) = spec.team.as_ref().filter(|team| !self.0.teams.contains_key(*team)) {
            return Err(Error::invalid(format!("no team is called {team:?}"))
                .with_hint(format!("add [teams.{team}] to the configuration")));
        }
        let (id, secret) = (hex(&random::<8>()?), random::<32>()?);
        let root = self.0.seal.turn(&id, &root(&secret))?;
        let created = seconds(self.0.clock.now());
        let record = KeyRecord {
            spec: Kept { spec, created, by: by.to_owned(), revoked: None },
            hash: hex(&hash(&secret)),
            root: hex(&root),
            id,
        };
        self.take_name(&record).await?;
        self.0.store.put(KEYS, &record.id, json(&record)?, None).await?;
        self.note("create", &record, by).await?;
        let key = whole(&record.id, &secret);
        Ok((record, key))
    }

    /// Gives a name to a key, unless one that holds has it.
    async fn take_name(&self, record: &KeyRecord) -> Result<()> {
        let name = &record.spec.spec.name;
        let taken = || {
            Error::invalid(format!("a key is called {name:?} already"))
                .with_hint("choose another name, or revoke that one first: `llm-router keys revoke`")
        };
        let found = self.0.store.get(NAMES, name).await?;
        if let Some(id) = found.as_deref().and_then(|id| std::str::from_utf8(id).ok())
            && let Some(value) = self.0.store.get(KEYS, id).await?
        {
            let other = parse(id, &value)?.spec;
            let over = other.revoked.is_some() || other.spec.expires.is_some_and(|end| at(end) <= self.0.clock.now());
            if !over {
                return Err(taken());
            }
        }
        let change = Change { expected: found, value: Some(record.id.clone().into()), expires: None };
        if self.0.store.compare_and_set(NAMES, name, change).await? { Ok(()) } else { Err(taken()) }
    }

    /// Revokes a key, and everything derived from it, for good. When this returns, every process that watches refuses it within a second.
    ///
    /// # Errors
    /// `caller_invalid_request` where no key has this name or id, or it is revoked already; `router_unavailable` when the store cannot be written.
    pub async fn revoke(&self, name: &str, by: &str) -> Result<KeyRecord> {
        let unknown = || {
            Error::invalid(format!("no key is called {name:?}"))
                .with_hint("`llm-router keys ls` lists the names and ids")
        };
        let id = match self.0.store.get(NAMES, name).await? {
            Some(id) => String::from_utf8(id.to_vec()).map_err(|_| unknown())?,
            None => name.rsplit_once('#').map_or(name, |(_, id)| id).to_owned(),
        };
        loop {
            let value = self.0.store.get(KEYS, &id).await?.ok_or_else(unknown)?;
            let mut record = parse(&id, &value)?;
            if record.spec.revoked.is_some() {
                return Err(Error::invalid(format!("the key {name:?} is revoked already")));
            }
            record.spec.revoked = Some(seconds(self.0.clock.now()));
            let change = Change { expected: Some(value), value: Some(json(&record)?), expires: None };
            if self.0.store.compare_and_set(KEYS, &id, change).await? {
                self.note("revoke", &record, by).await?;
                return Ok(record);
            }
        }
    }

    /// All keys, those that hold no more included, by id.
    ///
    /// # Errors
    /// As [`Keyring::refresh`].
    pub async fn list(&self) -> Result<Vec<KeyRecord>> {
        self.records().await
    }

    /// What was done to keys, the oldest first: `limit` deeds after the one of this place, each with its own.
    ///
    /// # Errors
    /// `router_unavailable` when the store cannot be read.
    pub async fn deeds(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Deed)>> {
        let page = self.0.store.scan(DEEDS, Scan { prefix: "", after, limit }).await?;
        let read = |(place, value): (String, Bytes)| {
            let deed = serde_json::from_slice(&value).map_err(|error| newer("a deed", &place, &error))?;
            Ok((place, deed))
        };
        page.into_iter().map(read).collect()
    }

    /// Writes down what was done, and tells those who watch.
    async fn note(&self, did: &str, record: &KeyRecord, by: &str) -> Result<()> {
        let now = self.0.clock.now();
        let deed = Deed {
            at: seconds(now),
            by: by.to_owned(),
            did: did.to_owned(),
            id: record.id.clone(),
            name: record.spec.spec.name.clone(),
            spec: (did == "create").then(|| record.spec.spec.clone()),
        };
        // Watchers first: a revocation must not wait for its own record, which stands under the counter's value and so in order.
        let version = self.0.store.increment(META, VERSION, 1, None).await?;
        self.0.store.put(DEEDS, &format!("{version:016x}"), json(&deed)?, None).await?;
        self.refresh().await
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}

/// Chance that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(bytes)
}

fn json(value: &impl serde::Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Error::internal(error.to_string()))
}

fn parse(id: &str, value: &[u8]) -> Result<KeyRecord> {
    serde_json::from_slice(value).map_err(|error| newer("the key", id, &error))
}

fn newer(what: &str, id: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::RouterUnavailable, format!("{what} {id} cannot be read by this version: {error}"))
        .with_hint("use the version of llm-router that made it")
}

#[cfg(test)]
mod tests;
