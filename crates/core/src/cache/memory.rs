//! The memory tier: values of this process, bounded by bytes, the least useful given up first.

use std::{
    fmt,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quick_cache::{Weighter, sync::Cache};

use super::{Listed, OVERHEAD, Sha256Digest, Stat, StorageKey, Tier};
use crate::deps::Clock;
use crate::error::Result;
use crate::ids::Namespace;

/// A guess at the size of an answer, only used to size the index.
const TYPICAL: u64 = 4096;

/// The first tier: a hit costs about a microsecond.
pub struct MemoryTier {
    values: Cache<StorageKey, Value, Sizes>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Value {
    bytes: Bytes,
    expires: Option<SystemTime>,
}

#[derive(Clone)]
struct Sizes;

impl Weighter<StorageKey, Value> for Sizes {
    fn weight(&self, _: &StorageKey, value: &Value) -> u64 {
        value.bytes.len() as u64 + OVERHEAD
    }
}

impl MemoryTier {
    /// A tier that holds `limit` bytes at most, what keeping them costs included.
    #[must_use]
    pub fn new(limit: u64, clock: Arc<dyn Clock>) -> Self {
        let items = usize::try_from(limit / TYPICAL).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        Self { values: Cache::with_weighter(items, limit, Sizes), clock }
    }

    fn live(&self, key: &StorageKey) -> Option<Bytes> {
        let value = self.values.get(key)?;
        if value.expires.is_some_and(|expires| expires <= self.clock.now()) {
            self.values.remove(key);
            return None;
        }
        Some(value.bytes)
    }

    fn clear_now(&self, namespace: Option<&Namespace>) -> u64 {
        let cleared = AtomicU64::new(0);
        self.values.retain(|key, _| {
            let stays = namespace.is_some_and(|namespace| *namespace != key.namespace);
            cleared.fetch_add(u64::from(!stays), Ordering::Relaxed);
            stays
        });
        cleared.into_inner()
    }

    fn list_now(&self, namespace: &Namespace, after: Option<Sha256Digest>, limit: usize) -> Vec<Listed> {
        let mut listed: Vec<_> = self
            .values
            .iter()
            .filter(|(key, _)| key.namespace == *namespace && after.is_none_or(|after| key.digest > after))
            .map(|(key, value)| Listed { digest: key.digest, bytes: value.bytes.len() as u64, expires: value.expires })
            .collect();
        listed.sort_by_key(|entry| entry.digest);
        listed.truncate(limit);
        listed
    }
}

impl fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryTier({} of {} bytes)", self.values.weight(), self.values.capacity())
    }
}

impl Tier for MemoryTier {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn get<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(ready(Ok(self.live(key))))
    }

    fn put<'a>(&'a self, key: &'a StorageKey, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        let expires = ttl.and_then(|ttl| self.clock.now().checked_add(ttl));
        self.values.insert(key.clone(), Value { bytes: value, expires });
        Box::pin(ready(Ok(())))
    }

    fn remove<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<bool>> {
        let was_live = self.live(key).is_some();
        self.values.remove(key);
        Box::pin(ready(Ok(was_live)))
    }

    fn clear<'a>(&'a self, namespace: Option<&'a Namespace>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(ready(Ok(self.clear_now(namespace))))
    }

    fn stat(&self) -> BoxFuture<'_, Result<Stat>> {
        let (entries, weight) = (self.values.len() as u64, self.values.weight());
        let bytes = weight.saturating_sub(entries * OVERHEAD);
        Box::pin(ready(Ok(Stat { entries, bytes, limit: self.values.capacity() })))
    }

    fn list<'a>(
        &'a self,
        namespace: &'a Namespace,
        after: Option<Sha256Digest>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        Box::pin(ready(Ok(self.list_now(namespace, after, limit))))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }
}
