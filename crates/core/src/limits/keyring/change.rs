//! What is done to keys: made, changed, revoked, and written down.
//!
//! Every change is in the store before it is answered, then raises the counter that other processes watch. How keys are looked up is `../keyring.rs`.

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use super::{DEEDS, KEYS, Keyring, META, NAMES, VERSION, newer, parse};
use crate::error::{Error, Result};
use crate::limits::grant::{root, whole};
use crate::limits::key::{Deed, Kept, KeyChange, KeyRecord, KeySpec, at, hash, hex, seconds};
use crate::secret::Secret;
use crate::store::{Change, Scan};

impl Keyring {
    /// Makes a key for whoever `by` names, and gives it with its record: the only time that it can be seen.
    ///
    /// # Errors
    /// `caller_invalid_request` for a name that a key has already, a team that is not configured, or what else [`KeySpec::check`] refuses; `router_unavailable` when the
    /// store cannot be written.
    pub async fn create(&self, spec: KeySpec, by: &str) -> Result<(KeyRecord, Secret)> {
        spec.check(self.0.clock.now())?;
        self.check_team(&spec)?;
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

    fn check_team(&self, spec: &KeySpec) -> Result<()> {
        match spec.team.as_ref().filter(|team| !self.0.teams.contains_key(*team)) {
            None => Ok(()),
            Some(team) => Err(Error::invalid(format!("no team is called {team:?}"))
                .with_hint(format!("add [teams.{team}] to the configuration"))),
        }
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

    /// Changes what a key may do, and gives its record as it is then. What is not named stays as it was, and so does what it spent.
    ///
    /// # Errors
    /// `caller_invalid_request` where no key has this name or id, it is revoked, or the change makes it what [`KeySpec::check`] refuses; `router_unavailable` when the store
    /// cannot be written.
    pub async fn update(&self, name: &str, change: &KeyChange, by: &str) -> Result<KeyRecord> {
        let record = self.edit(name, |record| {
            change.apply(&mut record.spec.spec);
            record.spec.spec.check(self.0.clock.now())?;
            self.check_team(&record.spec.spec)
        });
        let record = record.await?;
        self.note("update", &record, by).await?;
        Ok(record)
    }

    /// Revokes a key, and everything derived from it, for good. When this returns, every process that watches refuses it within a second.
    ///
    /// # Errors
    /// `caller_invalid_request` where no key has this name or id, or it is revoked already; `router_unavailable` when the store cannot be written.
    pub async fn revoke(&self, name: &str, by: &str) -> Result<KeyRecord> {
        let now = seconds(self.0.clock.now());
        let revoke = |record: &mut KeyRecord| {
            record.spec.revoked = Some(now);
            Ok(())
        };
        let record = self.edit(name, revoke).await?;
        self.note("revoke", &record, by).await?;
        Ok(record)
    }

    /// Changes a record that is not revoked, by its key's name or id.
    async fn edit(&self, name: &str, edit: impl Fn(&mut KeyRecord) -> Result<()>) -> Result<KeyRecord> {
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
            edit(&mut record)?;
            let change = Change { expected: Some(value), value: Some(json(&record)?), expires: None };
            if self.0.store.compare_and_set(KEYS, &id, change).await? {
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
            spec: (did != "revoke").then(|| record.spec.spec.clone()),
        };
        // Watchers first: a revocation must not wait for its own record, which stands under the counter's value and so in order.
        let version = self.0.store.increment(META, VERSION, 1, None).await?;
        self.0.store.put(DEEDS, &format!("{version:016x}"), json(&deed)?, None).await?;
        self.refresh().await
    }
}

/// Chance that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(bytes)
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Error::internal(error.to_string()))
}
