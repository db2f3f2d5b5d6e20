//! Formats, damage and failures of the file; what the stores make of it is tried by the conformance suites.

#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use bytes::Bytes;

use super::*;
use crate::store::{EmbeddedStore, MemoryStore, Store};
use crate::testing::{ManualClock, store_conformance};

static NOTES: Schema = Schema {
    file: "notes.sqlite",
    application: 0x4e4f_5445,
    version: 1,
    tables: "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);",
};

fn add(text: &'static str) -> impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static {
    move |connection| connection.execute("INSERT INTO notes (text) VALUES (?1)", [text]).map(drop)
}

fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0))
}

#[tokio::test]
async fn the_stores_keep_their_promises() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    store_conformance(Arc::new(MemoryStore::new(clock.clone())), &clock).await;
    let store = EmbeddedStore::open(&folder.path().join("state"), clock.clone()).unwrap();
    store_conformance(Arc::new(store), &clock).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new/state");
    let clock = Arc::new(ManualClock::default());
    let store = EmbeddedStore::open(&place, clock.clone()).unwrap();
    store.put("a", "k", Bytes::from_static(b"v"), None).await.unwrap();
    let other = EmbeddedStore::open(&place, clock.clone()).unwrap();
    assert_eq!(other.get("a", "k").await.unwrap().unwrap(), &b"v"[..], "another handle sees it at once");
    drop((store, other));
    let again = EmbeddedStore::open(&place, clock).unwrap();
    assert_eq!(again.get("a", "k").await.unwrap().unwrap(), &b"v"[..]);
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(again.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_or_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), &NOTES, Care::Keep).unwrap();
    database.write(add("precious")).await.unwrap();
    database.upkeep(|connection| connection.execute_batch("PRAGMA user_version = 7")).await.unwrap();
    drop(database);
    let refused = Database::open(folder.path(), &NOTES, Care::Keep).unwrap_err();
    assert!(
        refused.to_string().ends_with("notes.sqlite has format 7; this version knows formats up to 1"),
        "{refused}"
    );
    assert!(refused.hint().unwrap().contains("version of llm-router that wrote it"));

    let fresh = Database::open(folder.path(), &NOTES, Care::ThrowAway).unwrap();
    assert_eq!(fresh.read(count).await, Ok(0));
    let aside = fresh.aside().unwrap().to_owned();
    let kept = Connection::open(aside).unwrap();
    assert_eq!(count(&kept).unwrap(), 1, "what was set aside is whole");
}

#[tokio::test]
async fn a_foreign_or_damaged_file_is_refused_or_set_aside() {
    for content in [
        &b"not a database, but long enough to look like one ................................................"[..],
        &[0; 300],
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NOTES.file), content).unwrap();
        let refused = Database::open(folder.path(), &NOTES, Care::Keep).unwrap_err();
        assert!(refused.is_corrupt(), "{refused}");
        assert_eq!(fs::read(folder.path().join(NOTES.file)).unwrap(), content, "somebody's data is left alone");
        let fresh = Database::open(folder.path(), &NOTES, Care::ThrowAway).unwrap();
        fresh.write(add("new")).await.unwrap();
        assert_eq!(fs::read(fresh.aside().unwrap()).unwrap(), content);
    }
    let folder = tempfile::tempdir().unwrap();
    let foreign = Connection::open(folder.path().join(NOTES.file)).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
    let refused = Database::open(folder.path(), &NOTES, Care::Keep).unwrap_err();
    assert!(refused.to_string().contains("another program's database"), "{refused}");
}

#[tokio::test]
async fn damage_met_while_open_makes_way_for_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), &NOTES, Care::ThrowAway).unwrap();
    for _ in 0..200 {
        database
            .write(add("a text long enough to fill some pages with it, so that there is something to damage"))
            .await
            .unwrap();
    }
    drop(database);
    let path = folder.path().join(NOTES.file);
    let mut bytes = fs::read(&path).unwrap();
    let (_, later_pages) = bytes.split_at_mut(8192);
    later_pages.fill(0x5a);
    fs::write(&path, bytes).unwrap();

    let database = Database::open(folder.path(), &NOTES, Care::ThrowAway).unwrap();
    let sum =
        |connection: &Connection| connection.query_row("SELECT count(text) FROM notes", [], |row| row.get::<_, i64>(0));
    assert!(database.read(sum).await.unwrap_err().is_corrupt());
    database.write(add("new")).await.unwrap();
    assert_eq!(database.read(sum).await, Ok(1));
    assert!(folder.path().join("notes.sqlite.aside").exists());
}

#[tokio::test]
async fn a_failing_job_undoes_itself_alone_and_a_full_disk_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), &NOTES, Care::Keep).unwrap();
    let half = |connection: &Connection| {
        add("half")(connection)?;
        connection.execute_batch("INSERT INTO nowhere VALUES (1)")
    };
    let (good, bad, also_good) = tokio::join!(database.write(add("a")), database.write(half), database.write(add("b")));
    assert_eq!((good, also_good), (Ok(()), Ok(())));
    assert!(bad.unwrap_err().to_string().contains("nowhere"));
    assert_eq!(database.read(count).await, Ok(2));

    database.upkeep(|connection| connection.query_row("PRAGMA max_page_count = 10", [], |_| Ok(()))).await.unwrap();
    let large = |connection: &Connection| {
        add("first of two")(connection)?;
        connection.execute("INSERT INTO notes (text) VALUES (?1)", ["x".repeat(1_000_000)]).map(drop)
    };
    assert_eq!(database.write(large).await, Err(StoreError::Full));
    assert_eq!(database.read(count).await, Ok(2));
    database.write(add("c")).await.unwrap();
    assert_eq!(database.read(count).await, Ok(3), "a small one still fits");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Database::open(&file.join("state"), &NOTES, Care::ThrowAway).unwrap_err();
    assert!(matches!(&refused, StoreError::Unwritable(what) if what.contains("file/state")), "{refused}");
}

#[tokio::test]
async fn dropping_finishes_what_was_queued() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), &NOTES, Care::Keep).unwrap();
    for _ in 0..100 {
        database.write_later(add("later")).unwrap();
    }
    drop(database);
    let again = Database::open(folder.path(), &NOTES, Care::Keep).unwrap();
    assert_eq!(again.read(count).await, Ok(100));
}
