//! The state store in a file of its own, shared by all processes of one user.
//!
//! Every change is one statement or one savepoint of a grouped commit, so processes see it whole or not at all.
//! Threads, commits and formats are in `database.rs`.

use std::{path::Path, sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use rusqlite::{Connection, OptionalExtension, params};

use super::database::{Care, Database, Schema};
use super::{Change, Scan, Store, StoreError, StoreResult, checked, counter_value, millis};
use crate::deps::Clock;

static SCHEMA: Schema = Schema {
    file: "state.sqlite",
    application: i32::from_be_bytes(*b"LLRs"),
    version: 1,
    tables: "CREATE TABLE records (
                 space TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires INTEGER,
                 PRIMARY KEY (space, key)
             ) WITHOUT ROWID;
             CREATE INDEX records_expiry ON records (expires) WHERE expires IS NOT NULL;",
};

/// The most records one page of a scan holds.
const PAGE: usize = 10_000;

/// The state store of a folder (`state.sqlite`). Dropping it finishes what was queued.
#[derive(Debug)]
pub struct EmbeddedStore {
    database: Database,
    clock: Arc<dyn Clock>,
}

impl EmbeddedStore {
    /// Opens the store of a folder, which is made with mode 0700 if need be. Takes milliseconds of blocking work.
    ///
    /// # Errors
    /// [`StoreError::Newer`] by name; a damaged file; a folder that cannot be written.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(folder, &SCHEMA, Care::Keep)?, clock })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    fn now(&self) -> i64 {
        millis(self.clock.now())
    }
}

impl Store for EmbeddedStore {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        let (space, key, now) = (space.to_owned(), key.to_owned(), self.now());
        self.database.read(move |connection| live(connection, &space, &key, now)).boxed()
    }

    fn put<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        value: Bytes,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, ()> {
        async move {
            checked(key, Some(&value))?;
            let (space, key, now) = (space.to_owned(), key.to_owned(), self.now());
            self.database.write(move |connection| write(connection, (&space, &key), &value, expires, now)).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        let (space, key, now) = (space.to_owned(), key.to_owned(), self.now());
        self.database
            .write(move |connection| {
                let was_live = live(connection, &space, &key, now)?.is_some();
                erase(connection, &space, &key)?;
                Ok(was_live)
            })
            .boxed()
    }

    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        async move {
            checked(key, change.value.as_ref())?;
            let (space, key, now) = (space.to_owned(), key.to_owned(), self.now());
            self.database
                .write(move |connection| {
                    if live(connection, &space, &key, now)? != change.expected {
                        return Ok(false);
                    }
                    match &change.value {
                        Some(value) => write(connection, (&space, &key), value, change.expires, now)?,
                        None => erase(connection, &space, &key)?,
                    }
                    Ok(true)
                })
                .await
        }
        .boxed()
    }

    fn increment<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        by: i64,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, i64> {
        async move {
            checked(key, None)?;
            let (space, key, now) = (space.to_owned(), key.to_owned(), self.now());
            let outcome =
                self.database.write(move |connection| add(connection, (&space, &key), by, expires, now)).await?;
            outcome.ok_or(StoreError::NotACounter)
        }
        .boxed()
    }

    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        let (space, prefix, now) = (space.to_owned(), range.prefix.to_owned(), self.now());
        let after = range.after.map(str::to_owned);
        let limit = range.limit.min(PAGE);
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT key, value FROM records
                     WHERE space = ?1 AND key >= ?2 AND (?3 IS NULL OR key > ?3) AND (expires IS NULL OR expires > ?4)
                     ORDER BY key",
                )?;
                let mut rows = statement.query(params![space, prefix, after, now])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let key: String = row.get(0)?;
                    if found.len() >= limit || !key.starts_with(&prefix) {
                        break;
                    }
                    found.push((key, row.get::<_, Vec<u8>>(1)?.into()));
                }
                Ok(found)
            })
            .boxed()
    }
}

type At<'a> = (&'a str, &'a str);

fn live(connection: &Connection, space: &str, key: &str, now: i64) -> rusqlite::Result<Option<Bytes>> {
    connection
        .prepare_cached(
            "SELECT value FROM records WHERE space = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)",
        )?
        .query_row(params![space, key, now], |row| row.get::<_, Vec<u8>>(0))
        .optional()
        .map(|found| found.map(Bytes::from))
}

fn write(
    connection: &Connection,
    (space, key): At<'_>,
    value: &[u8],
    expires: Option<SystemTime>,
    now: i64,
) -> rusqlite::Result<()> {
    if expires.is_some() {
        // Whoever writes records that expire also sweeps them, so that no timer is needed.
        connection.prepare_cached("DELETE FROM records WHERE expires <= ?1")?.execute(params![now])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO records (space, key, value, expires) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
        )?
        .execute(params![space, key, value, expires.map(millis)])?;
    Ok(())
}

fn erase(connection: &Connection, space: &str, key: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM records WHERE space = ?1 AND key = ?2")?.execute(params![space, key])?;
    Ok(())
}

/// The counter's new value; none where the record is not a counter.
fn add(
    connection: &Connection,
    at: At<'_>,
    by: i64,
    expires: Option<SystemTime>,
    now: i64,
) -> rusqlite::Result<Option<i64>> {
    let Some(record) = live(connection, at.0, at.1, now)? else {
        write(connection, at, &by.to_be_bytes(), expires, now)?;
        return Ok(Some(by));
    };
    let Ok(count) = counter_value(&record) else { return Ok(None) };
    let count = count.saturating_add(by);
    connection.prepare_cached("UPDATE records SET value = ?3 WHERE space = ?1 AND key = ?2")?.execute(params![
        at.0,
        at.1,
        count.to_be_bytes()
    ])?;
    Ok(Some(count))
}
