//! The response cache: keys, tiers, single-flight and what is stored.
//!
//! What makes two requests the same is `cache/key.rs`; where answers lie is a [`Tier`], one file each under `cache/`; what the router calls is
//! `cache/response.rs`; overlapping equal requests share one call in `cache/flight.rs`. To add a tier: one file here, and one arm where tiers are built.

pub mod canonical;
pub mod cid;
pub mod flight;
pub mod key;
pub mod response;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::cid::Sha256Digest;
pub use self::flight::Joined;
pub use self::response::{CacheKey, ResponseCache};
use crate::error::Result;
use crate::ids::Namespace;

/// Where a value lies: the same request of two namespaces has two places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StorageKey {
    /// Whose it is.
    pub namespace: Namespace,
    /// The key's digest.
    pub digest: Sha256Digest,
}

/// One level of the cache: bytes under keys, with an end of life. It may forget anything at any time.
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

    /// How much it holds.
    fn stat(&self) -> BoxFuture<'_, Result<Stat>>;

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
