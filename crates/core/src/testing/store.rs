//! The conformance suite of [`Store`]: what every implementation promises, tried out.

#![allow(clippy::unwrap_used, reason = "a suite fails by panicking, as tests do")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::ManualClock;
use crate::deps::Clock;
use crate::store::{Change, MAX_KEY, MAX_VALUE, Scan, Store, StoreError, counter_value};

/// Tries a store that is empty and reads the given clock.
///
/// # Panics
/// Where the store breaks a promise of [`Store`].
pub async fn store_conformance(store: Arc<dyn Store>, clock: &ManualClock) {
    values(&*store).await;
    changes(&*store).await;
    counters(&*store).await;
    scans(&*store).await;
    expiry(&*store, clock).await;
    limits(&*store).await;
    concurrency(store).await;
}

async fn values(store: &dyn Store) {
    assert_eq!(store.get("a", "k").await, Ok(None));
    store.put("a", "k", Bytes::from_static(b"\0\xffvalue"), None).await.unwrap();
    store.put("b", "k", Bytes::new(), None).await.unwrap();
    assert_eq!(store.get("a", "k").await.unwrap().unwrap(), &b"\0\xffvalue"[..]);
    assert_eq!(store.get("b", "k").await.unwrap().unwrap(), &b""[..], "an empty value is not an absent one");
    store.put("a", "k", Bytes::from_static(b"2"), None).await.unwrap();
    assert_eq!(store.get("a", "k").await.unwrap().unwrap(), &b"2"[..]);
    assert_eq!(store.remove("a", "k").await, Ok(true));
    assert_eq!(store.remove("a", "k").await, Ok(false));
    assert_eq!(store.get("a", "k").await, Ok(None));
    assert!(store.get("b", "k").await.unwrap().is_some(), "spaces are apart");
    store.remove("b", "k").await.unwrap();
}

async fn changes(store: &dyn Store) {
    let change = |expected: Option<&'static str>, value: Option<&'static str>| Change {
        expected: expected.map(Bytes::from),
        value: value.map(Bytes::from),
        expires: None,
    };
    assert_eq!(store.compare_and_set("a", "cas", change(Some("x"), Some("1"))).await, Ok(false));
    assert_eq!(store.compare_and_set("a", "cas", change(None, Some("1"))).await, Ok(true));
    assert_eq!(store.compare_and_set("a", "cas", change(None, Some("2"))).await, Ok(false));
    assert_eq!(store.compare_and_set("a", "cas", change(Some("1"), Some("2"))).await, Ok(true));
    assert_eq!(store.compare_and_set("a", "cas", change(Some("1"), None)).await, Ok(false));
    assert_eq!(store.compare_and_set("a", "cas", change(Some("2"), None)).await, Ok(true));
    assert_eq!(store.get("a", "cas").await, Ok(None));
}

async fn counters(store: &dyn Store) {
    assert_eq!(store.increment("a", "n", 5, None).await, Ok(5));
    assert_eq!(store.increment("a", "n", -7, None).await, Ok(-2));
    assert_eq!(counter_value(&store.get("a", "n").await.unwrap().unwrap()), Ok(-2));
    assert_eq!(store.increment("a", "n", i64::MIN, None).await, Ok(i64::MIN), "kept within 64 bits");
    store.put("a", "text", Bytes::from_static(b"no counter"), None).await.unwrap();
    assert_eq!(store.increment("a", "text", 1, None).await, Err(StoreError::NotACounter));
    assert_eq!(store.get("a", "text").await.unwrap().unwrap(), &b"no counter"[..]);
    store.remove("a", "n").await.unwrap();
    store.remove("a", "text").await.unwrap();
}

async fn scans(store: &dyn Store) {
    for key in ["p", "p/1", "p/2", "p/3", "p0", "q", "é", "p/%_"] {
        store.put("scan", key, Bytes::copy_from_slice(key.as_bytes()), None).await.unwrap();
    }
    store.put("scan2", "p/9", Bytes::new(), None).await.unwrap();
    let keys = async |prefix, after, limit| {
        let page = store.scan("scan", Scan { prefix, after, limit }).await.unwrap();
        page.into_iter()
            .map(|(key, value)| {
                assert_eq!(key.as_bytes(), value);
                key
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(keys("p/", None, 10).await, ["p/%_", "p/1", "p/2", "p/3"]);
    assert_eq!(keys("p/", None, 2).await, ["p/%_", "p/1"]);
    assert_eq!(keys("p/", Some("p/1"), 10).await, ["p/2", "p/3"]);
    assert_eq!(keys("p/", Some("a"), 1).await, ["p/%_"]);
    assert_eq!(keys("", None, 10).await, ["p", "p/%_", "p/1", "p/2", "p/3", "p0", "q", "é"]);
    assert!(keys("none", None, 10).await.is_empty());
}

async fn expiry(store: &dyn Store, clock: &ManualClock) {
    let soon = Some(clock.now() + Duration::from_secs(10));
    store.put("e", "k", Bytes::from_static(b"v"), soon).await.unwrap();
    assert_eq!(store.increment("e", "n", 1, soon).await, Ok(1));
    clock.advance(Duration::from_secs(9));
    assert!(store.get("e", "k").await.unwrap().is_some());
    assert_eq!(store.increment("e", "n", 1, Some(clock.now() + Duration::from_secs(99))).await, Ok(2));
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.get("e", "k").await, Ok(None), "gone at the moment it expires");
    assert_eq!(store.scan("e", Scan { prefix: "", after: None, limit: 9 }).await, Ok(vec![]));
    assert_eq!(store.remove("e", "k").await, Ok(false));
    assert_eq!(store.increment("e", "n", 1, None).await, Ok(1), "a counter keeps its first expiry");
    let change = Change { expected: None, value: Some(Bytes::from_static(b"new")), expires: None };
    store.put("e", "k", Bytes::from_static(b"v"), Some(clock.now())).await.unwrap();
    assert_eq!(store.compare_and_set("e", "k", change).await, Ok(true), "an expired record is no record");
}

async fn limits(store: &dyn Store) {
    let long = "k".repeat(MAX_KEY + 1);
    let large = Bytes::from(vec![0; MAX_VALUE + 1]);
    assert!(matches!(store.put("a", &long, Bytes::new(), None).await, Err(StoreError::TooLarge(_))));
    assert!(matches!(store.put("a", "k", large, None).await, Err(StoreError::TooLarge(_))));
    assert!(matches!(store.increment("a", &long, 1, None).await, Err(StoreError::TooLarge(_))));
}

async fn concurrency(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..4 {
                    store.increment("c", "n", 1, None).await.unwrap();
                }
                let change = Change { expected: None, value: Some(Bytes::from_static(b"mine")), expires: None };
                store.compare_and_set("c", "lock", change).await.unwrap()
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap());
    }
    assert_eq!(winners, 1, "one of many wins");
    assert_eq!(store.increment("c", "n", 0, None).await, Ok(200), "no increment is lost");
}
