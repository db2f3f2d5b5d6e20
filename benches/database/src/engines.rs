//! The two candidates behind one small face, each with the settings it would ship with.
//!
//! Not the store of the router: only what the measurements in `main.rs` need.

use std::{error::Error, path::Path, time::Duration};

use redb::{Builder, ConcurrencyMode, Database, ReadableDatabase, TableDefinition};
use rusqlite::{Connection, OptionalExtension, params};

/// Whatever goes wrong ends the measurement with its text.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");

/// An open database of either kind.
pub enum Engine {
    /// redb with `ConcurrencyMode::MultiWriter`; the flag saves the allocator state in every commit, so that
    /// an open after a crash need not walk the file.
    Redb(Box<Database>, bool),
    /// SQLite, write-ahead log.
    Sqlite(Connection),
}

impl Engine {
    /// Opens or makes the database; `kind` is `redb`, `redb-quick` or `sqlite`.
    pub fn open(kind: &str, folder: &Path) -> Result<Self> {
        if kind == "sqlite" {
            let connection = Connection::open(folder.join("entries.sqlite"))?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.execute_batch(
                "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8192;
                 CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, k BLOB NOT NULL UNIQUE, v BLOB NOT NULL);",
            )?;
            return Ok(Self::Sqlite(connection));
        }
        let mut builder = Builder::new();
        builder.set_concurrency_mode(ConcurrencyMode::MultiWriter);
        let database = builder.create(folder.join("entries.redb"))?;
        let engine = Self::Redb(Box::new(database), kind == "redb-quick");
        engine.write(&[])?;
        Ok(engine)
    }

    /// Writes a batch in one commit that survives the end of the process.
    pub fn write(&self, batch: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        match self {
            Self::Redb(database, quick) => {
                let mut transaction = database.begin_write()?;
                transaction.set_quick_repair(*quick);
                {
                    let mut table = transaction.open_table(TABLE)?;
                    for (key, value) in batch {
                        table.insert(key.as_slice(), value.as_slice())?;
                    }
                }
                transaction.commit()?;
            }
            Self::Sqlite(connection) => {
                connection.execute_batch("BEGIN IMMEDIATE")?;
                {
                    let mut statement =
                        connection.prepare_cached("INSERT OR REPLACE INTO entries (k, v) VALUES (?1, ?2)")?;
                    for (key, value) in batch {
                        statement.execute(params![key, value])?;
                    }
                }
                connection.execute_batch("COMMIT")?;
            }
        }
        Ok(())
    }

    /// Reads one entry.
    pub fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Redb(database, _) => {
                let table = database.begin_read()?.open_table(TABLE)?;
                Ok(table.get(key)?.map(|found| found.value().to_vec()))
            }
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached("SELECT v FROM entries WHERE k = ?1")?;
                Ok(statement.query_row(params![key], |row| row.get(0)).optional()?)
            }
        }
    }

    /// Removes the first `count` entries in key order, in one commit.
    pub fn evict(&self, count: usize) -> Result<()> {
        match self {
            Self::Redb(database, quick) => {
                let mut transaction = database.begin_write()?;
                transaction.set_quick_repair(*quick);
                {
                    let mut table = transaction.open_table(TABLE)?;
                    for _ in 0..count {
                        table.pop_first()?;
                    }
                }
                transaction.commit()?;
            }
            Self::Sqlite(connection) => {
                connection.execute(
                    "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY k LIMIT ?1)",
                    params![count as i64],
                )?;
            }
        }
        Ok(())
    }

    /// Counts the entries whose key starts with `prefix`.
    pub fn count(&self, prefix: &[u8]) -> Result<u64> {
        match self {
            Self::Redb(database, _) => {
                let table = database.begin_read()?.open_table(TABLE)?;
                let mut count = 0;
                for entry in table.range(prefix..)? {
                    if !entry?.0.value().starts_with(prefix) {
                        break;
                    }
                    count += 1;
                }
                Ok(count)
            }
            Self::Sqlite(connection) => {
                let mut end = prefix.to_vec();
                end.push(0xff);
                let count: i64 = connection.query_row(
                    "SELECT count(*) FROM entries WHERE k >= ?1 AND k < ?2",
                    params![prefix, end],
                    |row| row.get(0),
                )?;
                Ok(count as u64)
            }
        }
    }

    /// The engine's own check of its file.
    pub fn intact(&mut self) -> Result<bool> {
        match self {
            Self::Redb(database, _) => Ok(database.check_integrity()?),
            Self::Sqlite(connection) => {
                let answer: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
                Ok(answer == "ok")
            }
        }
    }
}
