//! The response cache: keys, tiers, single-flight and what is stored.
//!
//! What makes two requests the same is `cache/key.rs`; where answers lie is a [`Tier`], one file each under `cache/`; what the router calls is
//! `cache/response.rs`; overlapping equal requests share one call in `cache/flight.rs`. To add a tier: one file here, and its place in the list that `App::open` in `crates/app` makes;
//! `testing::tier_conformance` proves it.

pub mod canonical;
pub mod cid;
mod disk;
pub mod flight;
pub mod key;
mod memory;
pub mod response;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::cid::Sha256Digest;
pub use self::disk::DiskTier;
pub use self::flight::Joined;
pub use self::memory::MemoryTier;
pub use self::response::{CacheKey, ResponseCache, Terms};
use crate::error::{Error, Result};
use crate::ids::Namespace;

/// Where a value lies: the same request of two namespaces has two places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StorageKey {
    /// Whose it is.
    pub namespace: Namespace,
    /// The key's digest.
    pub digest: Sha256Digest,
}

/// One level of the cache: bytes under keys, with an end of life. It may forget anything at any time. Any method may fail with an error of its own; the cache
/// says so once and goes on without the tier.
pub trait Tier: Send + Sync + 'static {
    /// A short name for logs and `cache stat`: `memory`, `disk`.
    fn name(&self) -> &'static str;

    /// The value of a key, unless it is not there or its time is over.
    fn get<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Stores a value, for `ttl` or until there is no room.
    fn put<'a>(&'a self, key: &'a StorageKey, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>>;

    /// Forgets one value; says whether it was there.
    fn remove<'a>(&'a self, key: &'a StorageKey) -> BoxFuture<'a, Result<bool>>;

    /// Forgets everything of a namespace, or of all; says how many values.
    fn clear<'a>(&'a self, namespace: Option<&'a Namespace>) -> BoxFuture<'a, Result<u64>>;

    /// How much it holds. Values whose time is over but which are not yet swept count.
    fn stat(&self) -> BoxFuture<'_, Result<Stat>>;

    /// A page of a namespace's values by digest, those after `after`, `limit` at most.
    ///
    /// # Errors
    /// `caller_unsupported` where the tier cannot list.
    fn list<'a>(
        &'a self,
        _namespace: &'a Namespace,
        _after: Option<Sha256Digest>,
        _limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        let refused = Error::unsupported(format!("the {} cache cannot list what it holds", self.name()));
        Box::pin(std::future::ready(Err(refused)))
    }

    /// Waits until what was put is safe.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;
}

/// How much a tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// Values.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most bytes it may hold.
    pub limit: u64,
}

/// One value of a list, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The digest of its key.
    pub digest: Sha256Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// When its time is over.
    pub expires: Option<SystemTime>,
}

/// What keeping a value costs beside its bytes, about: counted toward a tier's limit, so that many small ones cannot fill the disk.
const OVERHEAD: u64 = 256;
