//! The disk tier and the state store, opened when first used: a command that needs neither pays for neither.
//!
//! A disk tier that cannot be opened is said once and then holds nothing, so that answers flow on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use llm_router::cache::{DiskTier, Listed, Sha256Digest, Stat, StorageKey, Tier};
use llm_router::deps::Clock;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::Namespace;
use llm_router::store::{Change, EmbeddedStore, Scan, Store, StoreError, StoreResult};

/// The disk tier of a folder.
#[derive(Debug)]
pub(crate) struct LazyDisk {
    folder: Option<PathBuf>,
    limit: u64,
    clock: Arc<dyn Clock>,
    tier: OnceLock<Result<DiskTier>>,
}

impl LazyDisk {
    pub(crate) fn new(folder: Option<PathBuf>, limit: u64, clock: Arc<dyn Clock>) -> Self {
        Self { folder, limit, clock, tier: OnceLock::new() }
    }

    /// The tier; the first call opens it.
    pub(crate) fn open(&self) -> Result<&DiskTier> {
        self.tier.get_or_init(|| self.make()).as_ref().map_err(Clone::clone)
    }

    fn make(&self) -> Result<DiskTier> {
        let folder = self.folder.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::RouterUnavailable, "there is no folder for stored answers")
                .with_hint("set HOME, XDG_CACHE_HOME or ROUTER_CACHE_DIR")
        })?;
        Ok(DiskTier::open(folder, self.limit, Arc::clone(&self.clock))?)
    }
}

impl Tier for LazyDisk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn get<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { self.open()?.get(key).await })
    }

    fn put<'a>(&'a self, key: &'a StorageKey, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.open()?.put(key, value, ttl).await })
    }

    fn remove<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.open()?.remove(key).await })
    }

    fn clear<'a>(&'a self, namespace: Option<&'a Namespace>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { self.open()?.clear(namespace).await })
    }

    fn stat(&self) -> BoxFuture<'_, Result<Stat>> {
        Box::pin(async move { self.open()?.stat().await })
    }

    fn list<'a>(
        &'a self,
        namespace: &'a Namespace,
        after: Option<Sha256Digest>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        Box::pin(async move { self.open()?.list(namespace, after, limit).await })
    }

    /// Nothing was put where nothing was opened.
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.tier.get() {
                Some(Ok(tier)) => tier.flush().await,
                _ => Ok(()),
            }
        })
    }
}

/// The state store of a folder.
#[derive(Debug)]
pub(crate) struct LazyStore {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    store: OnceLock<Result<EmbeddedStore, StoreError>>,
}

impl LazyStore {
    pub(crate) fn new(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        Self { folder: folder.to_owned(), clock, store: OnceLock::new() }
    }

    fn open(&self) -> Result<&EmbeddedStore, StoreError> {
        let store = self.store.get_or_init(|| EmbeddedStore::open(&self.folder, Arc::clone(&self.clock)));
        store.as_ref().map_err(Clone::clone)
    }
}

impl Store for LazyStore {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        Box::pin(async move { self.open()?.get(space, key).await })
    }

    fn put<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        value: Bytes,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, ()> {
        Box::pin(async move { self.open()?.put(space, key, value, expires).await })
    }

    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        Box::pin(async move { self.open()?.remove(space, key).await })
    }

    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        Box::pin(async move { self.open()?.compare_and_set(space, key, change).await })
    }

    fn increment<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        by: i64,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, i64> {
        Box::pin(async move { self.open()?.increment(space, key, by, expires).await })
    }

    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        Box::pin(async move { self.open()?.scan(space, range).await })
    }
}
