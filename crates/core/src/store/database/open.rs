//! Opening the file: who it belongs to, which format it has, and what happens to one that cannot be used.
//!
//! Several processes may do this at once: whatever makes or replaces the file holds a lock on a file beside it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::super::StoreError;

/// How long a process waits for another one's commit; an answer that cannot be stored soon is better not stored.
const fn patience(care: Care) -> Duration {
    match care {
        Care::Keep => Duration::from_secs(5),
        Care::ThrowAway => Duration::from_secs(2),
    }
}

/// What an unusable file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// It is somebody's data: an error.
    Keep,
    /// It is only a cache: it is renamed, and a new one made.
    ThrowAway,
}

/// The tables of a file, and how to tell the file from others.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The file's name in its folder.
    pub(crate) file: &'static str,
    /// SQLite's `application_id`: four letters.
    pub(crate) application: i32,
    /// SQLite's `user_version`: the newest format this program knows.
    pub(crate) version: i32,
    /// Makes the tables of that format.
    pub(crate) tables: &'static str,
}

/// A connection whose file has been checked.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Where an unusable file found in its place was moved to.
    pub(super) aside: Option<PathBuf>,
    identity: (u64, u64),
}

pub(super) fn open(folder: &Path, schema: &Schema, care: Care) -> Result<Opened, StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unwritable(folder, &error))?;
    let path = folder.join(schema.file);
    match attempt(&path, schema, care) {
        Err(StoreError::Corrupt(_) | StoreError::Newer { .. }) if care == Care::ThrowAway => {
            let _lock = lock(&path)?;
            match make(&path, schema, care) {
                Err(StoreError::Corrupt(_) | StoreError::Newer { .. }) => {
                    let aside = set_aside(&path)?;
                    make(&path, schema, care).map(|opened| Opened { aside: Some(aside), ..opened })
                }
                otherwise => otherwise,
            }
        }
        otherwise => otherwise,
    }
}

/// Moves the file of a connection that met damage out of the way, unless another process has done so already.
/// Where that fails the next opening meets the damage again and says so.
pub(super) fn replace_damaged(path: &Path, opened: Opened) {
    let identity = opened.identity;
    drop(opened);
    let Ok(_lock) = lock(path) else { return };
    if fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == identity) {
        let _ = set_aside(path);
    }
}

fn attempt(path: &Path, schema: &Schema, care: Care) -> Result<Opened, StoreError> {
    let opened = connect(path, care)?;
    match check(&opened.connection, path, schema)? {
        Format::Known => tune(opened, path),
        Format::Empty => {
            drop(opened);
            let _lock = lock(path)?;
            make(path, schema, care)
        }
    }
}

/// Opens under the lock, which the caller holds: whoever held it before may have made the tables.
fn make(path: &Path, schema: &Schema, care: Care) -> Result<Opened, StoreError> {
    let opened = connect(path, care)?;
    if let Format::Empty = check(&opened.connection, path, schema)? {
        opened.connection.execute_batch(&format!(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             BEGIN IMMEDIATE; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT;",
            schema.tables, schema.application, schema.version
        ))?;
    }
    tune(opened, path)
}

fn connect(path: &Path, care: Care) -> Result<Opened, StoreError> {
    if !path.exists() {
        create(path)?;
    }
    let found = fs::metadata(path).map_err(|error| unwritable(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience(care))?;
    Ok(Opened { connection, aside: None, identity: (found.dev(), found.ino()) })
}

/// Puts an empty file with mode 0600 in place, which SQLite would make with more rights.
///
/// It is made under another name and linked, so that no handle of ours on the real name is ever closed: closing one
/// would drop the locks that SQLite holds for this process (POSIX record locks belong to a process and a file).
fn create(path: &Path) -> Result<(), StoreError> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = beside(path, &format!(".new-{}-{number}", std::process::id()));
    // One that a killed process of the same number left behind; only its name is removed.
    let _ = fs::remove_file(&draft);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    made.map_err(|error| unwritable(path, &error))?;
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without links: nobody has opened the file in the instant between making and closing it.
        Err(_) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unwritable(path, &error)),
            _ => Ok(()),
        },
    }
}

enum Format {
    Empty,
    Known,
}

fn check(connection: &Connection, path: &Path, schema: &Schema) -> Result<Format, StoreError> {
    // One snapshot: another process may be making the tables between two of these questions.
    let snapshot = connection.unchecked_transaction()?;
    let number = |pragma: &str| snapshot.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    match (application, version) {
        (0, 0) if number("SELECT count(*) FROM sqlite_schema")? == 0 => Ok(Format::Empty),
        (application, version) if application == schema.application => {
            if version > schema.version {
                return Err(StoreError::Newer { path: path.to_owned(), found: version, known: schema.version });
            }
            Ok(Format::Known)
        }
        _ => Err(StoreError::Corrupt(format!("{} is another program's database", path.display()))),
    }
}

/// Commits reach the file at once and the disk at the next checkpoint, which `database.rs` brings about where it matters.
fn tune(opened: Opened, path: &Path) -> Result<Opened, StoreError> {
    let mode: String = opened.connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let why = "its file system has no memory that processes share, which several need to use one database";
        return Err(StoreError::Unwritable(format!("{}: {why}", path.display())));
    }
    opened.connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192; PRAGMA cell_size_check = ON; PRAGMA secure_delete = FAST;",
    )?;
    Ok(opened)
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = beside(path, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = file.map_err(|error| unwritable(&beside, &error))?;
    file.lock().map_err(|error| unwritable(&beside, &error))?;
    Ok(file)
}

/// Renames the file and its log; an older file set aside before is replaced, so at most one lies there.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = beside(path, ".aside");
    fs::rename(path, &aside).map_err(|error| unwritable(path, &error))?;
    for log in ["-wal", "-shm"] {
        // The log belongs to the file that went; beside a new file it would be damage.
        let _ = fs::rename(beside(path, log), beside(&aside, log));
    }
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unwritable(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Unwritable(format!("{}: {error}", path.display())),
    }
}
