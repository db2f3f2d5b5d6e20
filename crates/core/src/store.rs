//! The state store: small records that outlive the process and are shared by all processes of one user.
//!
//! Keys of virtual users, budgets, counters, providers passed over for a while. Not the response cache, which may be
//! thrown away at any time (`cache/disk.rs`), though both stand on the same database code (`store/database.rs`).
//! Implementations: [`EmbeddedStore`], [`MemoryStore`], and Redis in a crate of its own; another one proves itself with `testing::store_conformance`.

pub(crate) mod database;
mod embedded;
mod memory;

use std::{fmt, path::PathBuf, time::SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::error::{Error, ErrorKind};

pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1024;

/// The largest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// What a store answers with.
pub type StoreResult<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Small records by space and key, each change whole or not at all.
///
/// A space is a kind of record (`keys`, `budget`), named by the program and never by a client. An expired record is
/// absent everywhere. An answered write is seen by every later read of every process and survives the end of this one
/// at any instruction; a power cut may take back the last 200 ms.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The value, if there is one.
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>>;

    /// Writes the value, whatever was there.
    fn put<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        value: Bytes,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, ()>;

    /// Removes the record and says whether there was one.
    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool>;

    /// Makes the change if the record is as expected, and says whether it did.
    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool>;

    /// Adds to a counter and gives its new value, kept within 64 bits. A counter that is absent begins at 0 and expires
    /// as given; one that is there keeps its expiry. [`counter_value`] reads what [`Store::get`] gives for it.
    fn increment<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        by: i64,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, i64>;

    /// The records whose key begins with `prefix`, by key, after the key `after`, `limit` at most.
    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>>;
}

/// A change that depends on what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// What must be there; none is no record.
    pub expected: Option<Bytes>,
    /// What shall be there; none removes the record.
    pub value: Option<Bytes>,
    /// When the new record is gone again.
    pub expires: Option<SystemTime>,
}

/// A part of a space, to be read page by page.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// What keys begin with.
    pub prefix: &'a str,
    /// The last key of the page before.
    pub after: Option<&'a str>,
    /// The most records to give.
    pub limit: usize,
}

/// The value of a counter's record.
///
/// # Errors
/// [`StoreError::NotACounter`].
pub fn counter_value(record: &[u8]) -> Result<i64, StoreError> {
    record.try_into().map(i64::from_be_bytes).map_err(|_| StoreError::NotACounter)
}

/// Why a store, or the cache's disk tier, could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The file has a format that only a newer version of this program knows.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest format known here.
        known: i32,
    },
    /// The file is damaged, or not ours.
    Corrupt(String),
    /// The folder or the file cannot be written.
    Unwritable(String),
    /// The disk, or the room set aside, is full.
    Full,
    /// Whoever keeps the records cannot be reached, or does not answer.
    Unreachable(String),
    /// Too much is queued, or another process holds the file.
    Busy,
    /// The store is shut down.
    Closed,
    /// The record is not a counter.
    NotACounter,
    /// A key or value over its limit.
    TooLarge(&'static str),
    /// What the database says.
    Other(String),
}

impl StoreError {
    pub(crate) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }

    /// A stable word for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "newer",
            Self::Corrupt(_) => "corrupt",
            Self::Unwritable(_) => "unwritable",
            Self::Full => "full",
            Self::Unreachable(_) => "unreachable",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::NotACounter => "not_a_counter",
            Self::TooLarge(_) => "too_large",
            Self::Other(_) => "other",
        }
    }

    /// The next step for the person who reads it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Newer { .. } => {
                "use the version of llm-router that wrote it, or name another data folder or `store.prefix`"
            }
            Self::Corrupt(_) => "restore the file from a copy, or move it away to begin anew",
            Self::Unwritable(_) => "make the folder writable for this user, or name another one",
            Self::Full => "free some room on the disk",
            Self::Unreachable(_) => "start the server that `store.url` names, or correct the address",
            Self::Busy => "try again in a moment",
            _ => return None,
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { path, found, known } => {
                write!(f, "{} has format {found}; this version knows formats up to {known}", path.display())
            }
            Self::Corrupt(what) => write!(f, "damaged database: {what}"),
            Self::Unwritable(what) => write!(f, "cannot write {what}"),
            Self::Full => f.write_str("no room left to write"),
            Self::Unreachable(why) => write!(f, "the shared state cannot be reached: {why}"),
            Self::Busy => f.write_str("the database is busy"),
            Self::Closed => f.write_str("the database is closed"),
            Self::NotACounter => f.write_str("the record is not a counter"),
            Self::TooLarge(what) => f.write_str(what),
            Self::Other(what) => write!(f, "database: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::Busy => ErrorKind::RouterOverloaded,
            StoreError::NotACounter | StoreError::TooLarge(_) => ErrorKind::RouterInternal,
            _ => ErrorKind::RouterUnavailable,
        };
        let hint = error.hint();
        let made = Error::new(kind, error.to_string()).with_source(error);
        match hint {
            Some(hint) => made.with_hint(hint),
            None => made,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::Unwritable(text),
            _ => Self::Other(text),
        }
    }
}

/// Bounds what a program may put in; a client's text in a key is the caller's to shorten.
fn checked(key: &str, value: Option<&Bytes>) -> Result<(), StoreError> {
    if key.len() > MAX_KEY {
        return Err(StoreError::TooLarge("a record's key is longer than 1,024 bytes"));
    }
    if value.is_some_and(|value| value.len() > MAX_VALUE) {
        return Err(StoreError::TooLarge("a record is larger than 1 MiB"));
    }
    Ok(())
}

/// Milliseconds since 1970, the form in which expiry is kept.
pub(crate) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}
