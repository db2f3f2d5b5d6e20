//! The tables of the disk tier and every statement on them.
//!
//! When each runs, and in which commit, is decided in `disk.rs`.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::super::{Listed, OVERHEAD, Sha256Digest, StorageKey};
use super::time;
use crate::ids::Namespace;
use crate::store::database::Schema;

/// The table of answers with all that hangs on it. Whatever is counted or chosen from is in an index or in `totals`:
/// only a hit reads a value.
macro_rules! answers {
    () => {
        "CREATE TABLE answers (
             id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,
             used INTEGER NOT NULL, expires INTEGER, bytes BLOB NOT NULL
         );
         CREATE UNIQUE INDEX answers_place ON answers (namespace, digest);
         CREATE INDEX answers_used ON answers (used, size);
         CREATE INDEX answers_expiry ON answers (expires) WHERE expires IS NOT NULL;
         CREATE TRIGGER answer_added AFTER INSERT ON answers BEGIN
             INSERT INTO totals VALUES (new.namespace, 1, new.size)
                 ON CONFLICT (namespace) DO UPDATE SET entries = entries + 1, size = size + new.size;
         END;
         CREATE TRIGGER answer_changed AFTER UPDATE OF size ON answers BEGIN
             UPDATE totals SET size = size + new.size - old.size WHERE namespace = new.namespace;
         END;
         CREATE TRIGGER answer_removed AFTER DELETE ON answers BEGIN
             UPDATE totals SET entries = entries - 1, size = size - old.size WHERE namespace = old.namespace;
         END;"
    };
}

pub(super) static SCHEMA: Schema = Schema {
    file: "responses.sqlite",
    application: i32::from_be_bytes(*b"LLRc"),
    version: 1,
    tables: concat!(
        "CREATE TABLE totals (
             namespace TEXT PRIMARY KEY, entries INTEGER NOT NULL, size INTEGER NOT NULL
         ) WITHOUT ROWID;",
        answers!()
    ),
};

/// The most values given up for one that is stored, so that a lowered limit is reached in steps.
const GIVEN_UP_AT_ONCE: i64 = 256;

/// Values cleared in one commit: some milliseconds, for which other processes wait.
const CLEARED_AT_ONCE: i64 = 1_000;

/// The most entries one page of a list holds.
const PAGE: usize = 10_000;

pub(super) struct Found {
    pub(super) id: i64,
    /// When it was last used, as far as noted.
    pub(super) used: i64,
    pub(super) bytes: Bytes,
}

pub(super) struct New {
    pub(super) bytes: Bytes,
    pub(super) size: u64,
    pub(super) now: i64,
    pub(super) expires: Option<i64>,
}

pub(super) fn find(connection: &Connection, key: &StorageKey, now: i64) -> Result<Option<Found>> {
    connection
        .prepare_cached(
            "SELECT id, used, bytes FROM answers
             WHERE namespace = ?1 AND digest = ?2 AND (expires IS NULL OR expires > ?3)",
        )?
        .query_row(params![key.namespace.as_str(), key.digest.multihash(), now], |row| {
            Ok(Found { id: row.get(0)?, used: row.get(1)?, bytes: row.get::<_, Vec<u8>>(2)?.into() })
        })
        .optional()
}

pub(super) fn store(connection: &Connection, key: &StorageKey, new: &New) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO answers (namespace, digest, size, used, expires, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (namespace, digest) DO UPDATE SET
                 size = excluded.size, used = excluded.used, expires = excluded.expires, bytes = excluded.bytes",
        )?
        .execute(params![
            key.namespace.as_str(),
            key.digest.multihash(),
            i64::try_from(new.size).unwrap_or(i64::MAX),
            new.now,
            new.expires,
            new.bytes.as_ref(),
        ])?;
    Ok(())
}

pub(super) fn remove(connection: &Connection, key: &StorageKey, now: i64) -> Result<bool> {
    let was_live = find(connection, key, now)?.is_some();
    connection
        .prepare_cached("DELETE FROM answers WHERE namespace = ?1 AND digest = ?2")?
        .execute(params![key.namespace.as_str(), key.digest.multihash()])?;
    Ok(was_live)
}

/// Sweeps what has expired and, where that is not enough, what was used longest ago.
pub(super) fn make_room(connection: &Connection, limit: u64, now: i64) -> Result<()> {
    connection.prepare_cached("DELETE FROM answers WHERE expires <= ?1")?.execute(params![now])?;
    let (_, size) = totals(connection, None)?;
    let mut over = size.saturating_sub(limit);
    if over == 0 {
        return Ok(());
    }
    let mut oldest = connection.prepare_cached("SELECT id, size FROM answers ORDER BY used LIMIT ?1")?;
    let oldest = oldest.query_map(params![GIVEN_UP_AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let oldest: Vec<(i64, i64)> = oldest.collect::<Result<_>>()?;
    let mut remove = connection.prepare_cached("DELETE FROM answers WHERE id = ?1")?;
    for (id, size) in oldest {
        if over == 0 {
            break;
        }
        remove.execute(params![id])?;
        over = over.saturating_sub(size.unsigned_abs());
    }
    Ok(())
}

/// Entries and their sizes, overhead included.
pub(super) fn totals(connection: &Connection, namespace: Option<&Namespace>) -> Result<(u64, u64)> {
    connection
        .prepare_cached("SELECT sum(entries), sum(size) FROM totals WHERE ?1 IS NULL OR namespace = ?1")?
        .query_row(params![namespace.map(Namespace::as_str)], |row| {
            let count = |column| row.get(column).map(|sum: Option<i64>| sum.unwrap_or(0).unsigned_abs());
            Ok((count(0)?, count(1)?))
        })
}

/// Makes the table anew, which takes a fraction of removing the answers one by one, and says how many there were.
pub(super) fn clear_all(connection: &Connection) -> Result<u64> {
    let (entries, _) = totals(connection, None)?;
    connection.execute_batch(concat!("DROP TABLE answers; DELETE FROM totals;", answers!()))?;
    Ok(entries)
}

pub(super) fn newest(connection: &Connection) -> Result<i64> {
    connection.query_row("SELECT ifnull(max(id), 0) FROM answers", [], |row| row.get(0))
}

pub(super) fn clear_some(connection: &Connection, namespace: &Namespace, newest: i64) -> Result<u64> {
    let cleared = connection
        .prepare_cached(
            "DELETE FROM answers
             WHERE id IN (SELECT id FROM answers WHERE namespace = ?1 AND id <= ?2 LIMIT ?3)",
        )?
        .execute(params![namespace.as_str(), newest, CLEARED_AT_ONCE])?;
    connection.prepare_cached("DELETE FROM totals WHERE entries = 0")?.execute([])?;
    Ok(cleared as u64)
}

pub(super) fn give_back(connection: &Connection) -> Result<()> {
    let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

pub(super) fn write_notes(connection: &Connection, notes: &HashMap<i64, i64>) -> Result<()> {
    let mut statement = connection.prepare_cached("UPDATE answers SET used = ?2 WHERE id = ?1 AND used < ?2")?;
    for (id, used) in notes {
        statement.execute(params![id, used])?;
    }
    Ok(())
}

pub(super) fn list(
    connection: &Connection,
    namespace: &Namespace,
    after: Option<Sha256Digest>,
    limit: usize,
) -> Result<Vec<Listed>> {
    let after = after.map_or_else(Vec::new, |after| after.multihash().to_vec());
    let limit = i64::try_from(limit.min(PAGE)).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT digest, size, expires FROM answers WHERE namespace = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3",
    )?;
    let rows = statement.query_map(params![namespace.as_str(), after, limit], |row| {
        let multihash: Vec<u8> = row.get(0)?;
        Ok(Listed {
            digest: Sha256Digest::from_bytes(multihash.last_chunk().copied().unwrap_or_default()),
            bytes: row.get::<_, i64>(1)?.unsigned_abs().saturating_sub(OVERHEAD),
            expires: row.get::<_, Option<i64>>(2)?.map(time),
        })
    })?;
    rows.collect()
}
