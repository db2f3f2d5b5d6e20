//! The disk tier: answers that outlive the process, shared by all processes that use the folder.
//!
//! The file may be thrown away at any time: a damaged one, or one of a newer version, is set aside and a new one made.
//! It is kept within its limit by giving up what was used longest ago; when a value was last used is written down
//! lazily and to ten minutes. The statements are in `disk/sql.rs`, commits and formats in `store/database.rs`.

mod sql;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Listed, OVERHEAD, Sha256Digest, Stat, StorageKey, Tier};
use crate::deps::Clock;
use crate::error::Result;
use crate::ids::Namespace;
use crate::store::database::{Care, Database};
use crate::store::{StoreError, millis};

/// A use is noted only where the last noted one is older than this.
const NOTED_EVERY: Duration = Duration::from_secs(600);

/// Uses that wait to be written down; they go with the next value stored, or when so many wait.
const MAX_NOTES: usize = 256;

/// The largest share of the limit that one value may take: a quarter.
const LARGEST_SHARE: u64 = 4;

/// The second tier: a file `responses.sqlite` in the cache folder.
#[derive(Debug)]
pub struct DiskTier {
    database: Database,
    limit: u64,
    clock: Arc<dyn Clock>,
    notes: Mutex<HashMap<i64, i64>>,
    fault: Mutex<Option<StoreError>>,
}

impl DiskTier {
    /// Opens the tier of a folder, which is made with mode 0700 if need be, and keeps it within `limit` bytes, what
    /// keeping them costs included. Takes milliseconds of blocking work.
    ///
    /// # Errors
    /// A folder that cannot be written, or a full disk: the router then runs without this tier.
    pub fn open(folder: &Path, limit: u64, clock: Arc<dyn Clock>) -> std::result::Result<Self, StoreError> {
        let database = Database::open(folder, &sql::SCHEMA, Care::ThrowAway)?;
        Ok(Self { database, limit, clock, notes: Mutex::default(), fault: Mutex::default() })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    /// Where an unusable file found at opening was moved to.
    #[must_use]
    pub fn aside(&self) -> Option<&Path> {
        self.database.aside()
    }

    /// Why the last thing asked of it failed, if it did: what a status page shows.
    #[must_use]
    pub fn fault(&self) -> Option<StoreError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much of one namespace it holds.
    ///
    /// # Errors
    /// `router_unavailable` when the file cannot be read.
    pub async fn stat_of(&self, namespace: &Namespace) -> Result<Stat> {
        self.totals(Some(namespace)).await
    }

    async fn totals(&self, namespace: Option<&Namespace>) -> Result<Stat> {
        let namespace = namespace.cloned();
        let read = self.database.read(move |connection| sql::totals(connection, namespace.as_ref())).await;
        let (entries, size) = self.remember(read)?;
        Ok(Stat { entries, bytes: size.saturating_sub(entries * OVERHEAD), limit: self.limit })
    }

    /// In steps, so that other processes can write in between. What is stored meanwhile stays.
    async fn clear_namespace(&self, namespace: &Namespace) -> Result<u64> {
        let newest = self.remember(self.database.read(sql::newest).await)?;
        let mut cleared = 0;
        loop {
            let namespace = namespace.clone();
            let step = self.database.write(move |connection| sql::clear_some(connection, &namespace, newest)).await;
            match self.remember(step)? {
                0 => return Ok(cleared),
                count => cleared += count,
            }
        }
    }

    /// Notes that a value was used, unless that was noted lately.
    fn note(&self, found: &sql::Found, now: i64) {
        if now.saturating_sub(found.used) < NOTED_EVERY.as_millis() as i64 {
            return;
        }
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(found.id, now);
        if notes.len() >= MAX_NOTES {
            let notes = std::mem::take(&mut *notes);
            // Lost notes only make the order of eviction a little worse.
            let _ = self.database.write_later(move |connection| sql::write_notes(connection, &notes));
        }
    }

    fn take_notes(&self) -> HashMap<i64, i64> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn remember<T>(&self, outcome: std::result::Result<T, StoreError>) -> Result<T> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *fault = outcome.as_ref().err().cloned();
        Ok(outcome?)
    }
}

impl Drop for DiskTier {
    fn drop(&mut self) {
        let notes = self.take_notes();
        if !notes.is_empty() {
            let _ = self.database.write_later(move |connection| sql::write_notes(connection, &notes));
        }
    }
}

impl Tier for DiskTier {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn get<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let (key, now) = (key.clone(), millis(self.clock.now()));
            let read = self.database.read(move |connection| sql::find(connection, &key, now)).await;
            Ok(self.remember(read)?.map(|found| {
                self.note(&found, now);
                found.bytes
            }))
        })
    }

    fn put<'a>(&'a self, key: &'a StorageKey, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let size = value.len() as u64 + OVERHEAD;
            if size > self.limit / LARGEST_SHARE {
                return Ok(());
            }
            let now = millis(self.clock.now());
            let expires = ttl.map(|ttl| now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)));
            let (key, limit, notes) = (key.clone(), self.limit, self.take_notes());
            let written = self.database.write(move |connection| {
                sql::write_notes(connection, &notes)?;
                sql::store(connection, &key, &sql::New { bytes: value, size, now, expires })?;
                sql::make_room(connection, limit, now)
            });
            let written = written.await;
            self.remember(written)
        })
    }

    fn remove<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let (key, now) = (key.clone(), millis(self.clock.now()));
            let written = self.database.write(move |connection| sql::remove(connection, &key, now)).await;
            self.remember(written)
        })
    }

    fn clear<'a>(&'a self, namespace: Option<&'a Namespace>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let cleared = match namespace {
                None => self.remember(self.database.write(sql::clear_all).await)?,
                Some(namespace) => self.clear_namespace(namespace).await?,
            };
            // Gives the room back to the disk, and leaves nothing of the answers in the file or its log.
            self.remember(self.database.upkeep(sql::give_back).await)?;
            Ok(cleared)
        })
    }

    fn stat(&self) -> BoxFuture<'_, Result<Stat>> {
        Box::pin(self.totals(None))
    }

    fn list<'a>(
        &'a self,
        namespace: &'a Namespace,
        after: Option<Sha256Digest>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        Box::pin(async move {
            let namespace = namespace.clone();
            let read = self.database.read(move |connection| sql::list(connection, &namespace, after, limit)).await;
            self.remember(read)
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let notes = self.take_notes();
            let written = self.database.write(move |connection| sql::write_notes(connection, &notes)).await;
            self.remember(written)
        })
    }
}

fn time(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs())
}

#[cfg(test)]
mod tests;
