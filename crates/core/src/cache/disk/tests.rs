//! What a file adds to the promises of a tier: other processes, later processes, damage, order of eviction.

#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::cache::MemoryTier;
use crate::testing::{ManualClock, tier_conformance};

const LIMIT: u64 = 1 << 20;

fn key(name: &str) -> StorageKey {
    StorageKey { namespace: Namespace::default(), digest: Sha256Digest::of(name.as_bytes()) }
}

#[tokio::test]
async fn the_tiers_keep_their_promises() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    tier_conformance(Arc::new(MemoryTier::new(LIMIT, clock.clone())), &clock).await;
    let disk = DiskTier::open(&folder.path().join("cache"), LIMIT, clock.clone()).unwrap();
    tier_conformance(Arc::new(disk), &clock).await;
}

#[tokio::test]
async fn a_later_process_finds_it_and_another_sees_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let open = || DiskTier::open(folder.path(), LIMIT, clock.clone()).unwrap();
    let (one, other) = (open(), open());
    one.put(&key("a"), Bytes::from_static(b"answer"), Some(Duration::from_secs(60))).await.unwrap();
    assert_eq!(other.get(&key("a")).await.unwrap().unwrap(), "answer");
    assert_eq!(one.stat_of(&Namespace::default()).await.unwrap().entries, 1);
    drop((one, other));
    assert_eq!(open().get(&key("a")).await.unwrap().unwrap(), "answer");
    clock.advance(Duration::from_secs(60));
    assert_eq!(open().get(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_used_longest_ago_goes_first_and_expired_ones_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let value = Bytes::from(vec![1; 8192 - 256]);
    let tier = DiskTier::open(folder.path(), 8 * 8192, clock.clone()).unwrap();
    for number in 0..8 {
        let ttl = (number == 3).then_some(Duration::from_secs(60));
        tier.put(&key(&format!("{number}")), value.clone(), ttl).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    clock.advance(NOTED_EVERY);
    assert!(tier.get(&key("0")).await.unwrap().is_some(), "used, so it is no longer the oldest");
    drop(tier);

    let tier = DiskTier::open(folder.path(), 8 * 8192, clock.clone()).unwrap();
    for number in 8..11 {
        tier.put(&key(&format!("{number}")), value.clone(), None).await.unwrap();
    }
    let mut left = Vec::new();
    for number in 0..11 {
        if tier.get(&key(&format!("{number}"))).await.unwrap().is_some() {
            left.push(number);
        }
    }
    assert_eq!(left, [0, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(tier.stat().await.unwrap().entries, 8);
}

#[tokio::test]
async fn clearing_gives_the_room_back_and_leaves_no_text_behind() {
    let folder = tempfile::tempdir().unwrap();
    let tier = DiskTier::open(folder.path(), 64 << 20, Arc::new(ManualClock::default())).unwrap();
    let secret = "the text of an answer ".repeat(100);
    for number in 0..1_500 {
        tier.put(&key(&format!("{number}")), Bytes::from(secret.clone()), None).await.unwrap();
    }
    let full = fs::metadata(tier.path()).unwrap().len();
    assert_eq!(tier.clear(None).await.unwrap(), 1_500);
    let empty = fs::metadata(tier.path()).unwrap().len();
    assert!(full > 20 * empty, "{full} then {empty}");
    drop(tier);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"the text"));
    }
}

#[tokio::test]
async fn a_damaged_or_newer_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    fs::write(folder.path().join("responses.sqlite"), "garbage ".repeat(100)).unwrap();
    let tier = DiskTier::open(folder.path(), LIMIT, clock).unwrap();
    assert_eq!(fs::read(tier.aside().unwrap()).unwrap(), "garbage ".repeat(100).as_bytes());
    tier.put(&key("a"), Bytes::from_static(b"answer"), None).await.unwrap();
    assert!(tier.get(&key("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_disk_is_a_typed_fault_and_hits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let tier = DiskTier::open(folder.path(), LIMIT, Arc::new(ManualClock::default())).unwrap();
    tier.put(&key("a"), Bytes::from_static(b"answer"), None).await.unwrap();
    let full = |connection: &rusqlite::Connection| connection.query_row("PRAGMA max_page_count = 10", [], |_| Ok(()));
    tier.database.upkeep(full).await.unwrap();
    let refused = tier.put(&key("b"), Bytes::from(vec![0; 200_000]), None).await.unwrap_err();
    assert_eq!(refused.kind(), crate::error::ErrorKind::RouterUnavailable);
    assert_eq!(tier.fault(), Some(StoreError::Full));
    assert_eq!(tier.get(&key("a")).await.unwrap().unwrap(), "answer");
    assert_eq!(tier.get(&key("b")).await.unwrap(), None, "nothing is half-written");
    assert_eq!(tier.fault(), None);
    assert_eq!(tier.stat().await.unwrap().entries, 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let place = folder.path().join("file/cache");
    let refused = DiskTier::open(&place, LIMIT, Arc::new(ManualClock::default())).unwrap_err();
    assert_eq!(refused.name(), "unwritable");
    assert!(refused.to_string().contains("file/cache"), "{refused}");
}
