//! What is done to keys: made, changed, revoked, and written down.
//!
//! Every change is in the store before it is answered, then raises the counter that other processes watch. How keys are looked up is `../keyring.rs`.

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use super::{DEEDS, KEYS, Keyring, META, NAMES, VERSION, newer, parse};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::bank::TRIES;
use crate::limits::grant::{root, whole};
use crate::limits::key::{Deed, Kept, KeyChange, KeyRecord, KeySpec, hash, hex, seconds};
use crate::secret::Secret;
use crate::store::{Change, Scan, StoreError};

impl Keyring {
    /// Makes a key for whoever `by` names, and gives it with its record: the only time that it can be seen.
    ///
    /// # Errors
    /// `caller_invalid_request` for a name that a key has already, a team that is not configured, or what else [`KeySpec::check_new`] refuses; `router_overloaded` where there are as many
    /// keys as there may be; `router_unavailable` when the store cannot be written.
    pub async fn create(&self, spec: KeySpec, by: &str) -> Result<(KeyRecord, Secret)> {
        spec.check_new(self.0.clock.now())?;
        self.check_team(&spec)?;
        self.check_room().await?;
        let (id, secret) = (hex(&random::<8>()?), random::<32>()?);
        let root = self.0.seal.turn(&id, &root(&secret))?;
        let created = seconds(self.0.clock.now());
        let spec = Kept { spec, created, by: by.to_owned(), revoked: None };
        let record = KeyRecord { spec, hash: hash(&secret), root, id };
        // The record first, which nobody has a key to: whoever wants the same name meanwhile finds that it is taken.
        self.0.store.put(KEYS, &record.id, json(&record)?, record.spec.gone()).await?;
        if let Err(taken) = self.take_name(&record).await {
            self.0.store.remove(KEYS, &record.id).await?;
            return Err(taken);
        }
        self.note("create", &record, by).await?;
        let key = whole(&record.id, &secret);
        Ok((record, key))
    }

    /// Refuses a key beyond those that there may be.
    async fn check_room(&self) -> Result<()> {
        self.refresh().await?;
        let (count, most) = (self.with_table(|table| table.count), self.0.most_keys);
        if count < most {
            return Ok(());
        }
        let message = format!("there are {count} keys, those that hold no more included, and at most {most} are kept");
        Err(Error::new(ErrorKind::RouterOverloaded, message).with_hint(
            "`llm-router keys prune` forgets those that hold no more; for many short-lived keys derive them: `llm-router keys derive`",
        ))
    }

    fn check_team(&self, spec: &KeySpec) -> Result<()> {
        match spec.team.as_ref().filter(|team| !self.0.teams.contains_key(*team)) {
            None => Ok(()),
            Some(team) => Err(Error::invalid(format!("no team is called {team:?}"))
                .with_hint(format!("add [teams.{team}] to the configuration"))),
        }
    }

    /// Gives a name to a key that is in the store, unless another one that holds has it.
    async fn take_name(&self, record: &KeyRecord) -> Result<()> {
        let name = &record.spec.spec.name;
        let taken = || {
            Error::invalid(format!("a key is called {name:?} already"))
                .with_hint("choose another name, or revoke that one first: `llm-router keys revoke`")
        };
        let found = self.0.store.get(NAMES, name).await?;
        if let Some(id) = found.as_deref().and_then(|id| std::str::from_utf8(id).ok()).filter(|id| *id != record.id)
            && let Some(value) = self.0.store.get(KEYS, id).await?
            && parse(id, &value)?.over(self.0.clock.now()).is_none()
        {
            return Err(taken());
        }
        // It is gone with the record that it leads to.
        let change = Change { expected: found, value: Some(record.id.clone().into()), expires: record.spec.gone() };
        if self.0.store.compare_and_set(NAMES, name, change).await? { Ok(()) } else { Err(taken()) }
    }

    /// Changes what a key may do, and gives its record as it is then. What is not named stays as it was, and so does what it spent.
    ///
    /// # Errors
    /// `caller_invalid_request` where no key has this name or id, it is revoked, or the change makes it what [`KeySpec::check`] refuses; `router_unavailable` when the store
    /// cannot be written.
    pub async fn update(&self, name: &str, change: &KeyChange, by: &str) -> Result<KeyRecord> {
        let edit = |record: &mut KeyRecord| {
            change.apply(&mut record.spec.spec);
            record.spec.spec.check(self.0.clock.now())?;
            self.check_team(&record.spec.spec)
        };
        let (before, record) = self.edit(name, edit).await?;
        // One that had ended may have lost its name to another by now.
        if let Err(taken) = self.take_name(&record).await {
            let back =
                Change { expected: Some(json(&record)?), value: Some(json(&before)?), expires: before.spec.gone() };
            self.0.store.compare_and_set(KEYS, &record.id, back).await?;
            return Err(taken);
        }
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
        let (_, record) = self.edit(name, revoke).await?;
        self.note("revoke", &record, by).await?;
        self.leave_name(&record, Some(record.id.clone().into())).await?;
        Ok(record)
    }

    /// Has the name of a key that holds no more lead to `value` until its record is gone; unless it leads elsewhere already.
    async fn leave_name(&self, record: &KeyRecord, value: Option<Bytes>) -> Result<()> {
        let change = Change { expected: Some(record.id.clone().into()), value, expires: record.spec.gone() };
        self.0.store.compare_and_set(NAMES, &record.spec.spec.name, change).await?;
        Ok(())
    }

    /// Forgets the keys that hold no more, which are forgotten [`KEPT`](crate::limits::key::KEPT) after their end otherwise, and gives them. What was derived from them ended with them.
    ///
    /// # Errors
    /// `router_unavailable` when the store cannot be read or written; what was forgotten before that stays so.
    pub async fn prune(&self, by: &str) -> Result<Vec<KeyRecord>> {
        let mut gone = Vec::new();
        for record in self.read().await?.records {
            let Some(value) = self.0.store.get(KEYS, &record.id).await? else { continue };
            // One that changed meanwhile may hold again.
            if parse(&record.id, &value)?.over(self.0.clock.now()).is_none() {
                continue;
            }
            let change = Change { expected: Some(value), value: None, expires: None };
            if self.0.store.compare_and_set(KEYS, &record.id, change).await? {
                self.leave_name(&record, None).await?;
                self.write_down("forget", &record, by).await?;
                gone.push(record);
            }
        }
        self.refresh().await?;
        Ok(gone)
    }

    /// Changes a record that is not revoked, by its key's name or id; gives it as it was and as it is.
    async fn edit(&self, name: &str, edit: impl Fn(&mut KeyRecord) -> Result<()>) -> Result<(KeyRecord, KeyRecord)> {
        let unknown = || {
            Error::invalid(format!("no key is called {name:?}"))
                .with_hint("`llm-router keys ls` lists the names and ids")
        };
        let id = match self.0.store.get(NAMES, name).await? {
            Some(id) => String::from_utf8(id.to_vec()).map_err(|_| unknown())?,
            None => name.rsplit_once('#').map_or(name, |(_, id)| id).to_owned(),
        };
        for _ in 0..TRIES {
            let value = self.0.store.get(KEYS, &id).await?.ok_or_else(unknown)?;
            let before = parse(&id, &value)?;
            if before.spec.revoked.is_some() {
                return Err(Error::invalid(format!("the key {name:?} is revoked already")));
            }
            let mut record = before.clone();
            edit(&mut record)?;
            let expires = record.spec.gone();
            let change = Change { expected: Some(value), value: Some(json(&record)?), expires };
            if self.0.store.compare_and_set(KEYS, &id, change).await? {
                return Ok((before, record));
            }
        }
        Err(StoreError::Busy.into())
    }

    /// All keys, those that hold no more included, by id.
    ///
    /// # Errors
    /// As [`Keyring::refresh`].
    pub async fn list(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.read().await?.records)
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
        self.write_down(did, record, by).await?;
        self.refresh().await
    }

    async fn write_down(&self, did: &str, record: &KeyRecord, by: &str) -> Result<()> {
        let now = self.0.clock.now();
        let deed = Deed {
            at: seconds(now),
            by: by.to_owned(),
            did: did.to_owned(),
            id: record.id.clone(),
            name: record.spec.spec.name.clone(),
            spec: matches!(did, "create" | "update").then(|| record.spec.spec.clone()),
        };
        // Watchers first: a revocation must not wait for its own record, which stands under the counter's value and so in order.
        let version = self.0.store.increment(META, VERSION, 1, None).await?;
        self.0.store.put(DEEDS, &format!("{version:016x}"), json(&deed)?, None).await?;
        Ok(())
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
