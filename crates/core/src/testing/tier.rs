//! The conformance suite of [`Tier`]: what every cache tier promises, tried out.

#![allow(clippy::unwrap_used, reason = "a suite fails by panicking, as tests do")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::ManualClock;
use crate::cache::{Sha256Digest, StorageKey, Tier};
use crate::ids::Namespace;

/// Tries a tier that is empty, reads the given clock and has room for 1 MiB.
///
/// # Panics
/// Where the tier breaks a promise of [`Tier`].
pub async fn tier_conformance(tier: Arc<dyn Tier>, clock: &ManualClock) {
    values(&*tier).await;
    namespaces(&*tier).await;
    expiry(&*tier, clock).await;
    lists(&*tier).await;
    the_limit(&*tier, clock).await;
    concurrency(tier).await;
}

fn at(namespace: &str, name: &str) -> StorageKey {
    StorageKey { namespace: Namespace::new(namespace).unwrap(), digest: Sha256Digest::of(name.as_bytes()) }
}

async fn get(tier: &dyn Tier, key: &StorageKey) -> Option<Bytes> {
    tier.get(key).await.unwrap()
}

async fn put(tier: &dyn Tier, key: &StorageKey, value: &'static str) {
    tier.put(key, Bytes::from_static(value.as_bytes()), None).await.unwrap();
}

async fn values(tier: &dyn Tier) {
    let key = at("default", "a");
    assert_eq!(get(tier, &key).await, None);
    put(tier, &key, "one\0").await;
    assert_eq!(get(tier, &key).await.unwrap(), "one\0");
    put(tier, &key, "two").await;
    assert_eq!(get(tier, &key).await.unwrap(), "two", "the last value stored");
    let stat = tier.stat().await.unwrap();
    assert_eq!((stat.entries, stat.bytes), (1, 3));
    assert!(stat.limit >= 1 << 20);
    assert!(tier.remove(&key).await.unwrap());
    assert!(!tier.remove(&key).await.unwrap());
    assert_eq!(get(tier, &key).await, None);
    assert_eq!(tier.stat().await.unwrap().entries, 0);
}

async fn namespaces(tier: &dyn Tier) {
    for (namespace, value) in [("default", "d"), ("team", "t")] {
        put(tier, &at(namespace, "a"), value).await;
        put(tier, &at(namespace, "b"), value).await;
    }
    assert_eq!(get(tier, &at("default", "a")).await.unwrap(), "d");
    assert_eq!(get(tier, &at("team", "a")).await.unwrap(), "t");
    assert_eq!(get(tier, &at("other", "a")).await, None);
    assert_eq!(tier.clear(Some(&Namespace::new("team").unwrap())).await.unwrap(), 2);
    assert_eq!(get(tier, &at("team", "a")).await, None);
    assert!(get(tier, &at("default", "b")).await.is_some(), "another namespace stays");
    put(tier, &at("team", "a"), "t").await;
    assert_eq!(tier.clear(None).await.unwrap(), 3);
    assert_eq!(tier.clear(None).await.unwrap(), 0);
    assert_eq!(tier.stat().await.unwrap().entries, 0);
}

async fn expiry(tier: &dyn Tier, clock: &ManualClock) {
    let key = at("default", "short-lived");
    let value = Bytes::from_static(b"v");
    tier.put(&key, value.clone(), Some(Duration::from_secs(10))).await.unwrap();
    clock.advance(Duration::from_secs(9));
    assert!(get(tier, &key).await.is_some());
    clock.advance(Duration::from_secs(1));
    assert_eq!(get(tier, &key).await, None, "gone at the moment its time is over");
    tier.put(&key, value.clone(), Some(Duration::from_secs(1))).await.unwrap();
    tier.put(&key, value.clone(), None).await.unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(get(tier, &key).await.is_some(), "stored again without an end");
    tier.put(&key, value, Some(Duration::MAX)).await.unwrap();
    assert!(get(tier, &key).await.is_some());
    tier.clear(None).await.unwrap();
}

async fn lists(tier: &dyn Tier) {
    let mut keys: Vec<_> = ["a", "b", "c", "d"].map(|name| at("default", name)).into();
    keys.sort_by_key(|key| key.digest);
    for key in &keys {
        put(tier, key, "12345").await;
    }
    put(tier, &at("team", "z"), "z").await;
    let namespace = Namespace::default();
    let first = tier.list(&namespace, None, 3).await.unwrap();
    let digests: Vec<_> = first.iter().map(|entry| entry.digest).collect();
    assert_eq!(digests, keys[..3].iter().map(|key| key.digest).collect::<Vec<_>>());
    assert!(first.iter().all(|entry| entry.bytes == 5 && entry.expires.is_none()));
    let rest = tier.list(&namespace, Some(keys[2].digest), 3).await.unwrap();
    assert_eq!(rest.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [keys[3].digest]);
    tier.clear(None).await.unwrap();
}

async fn the_limit(tier: &dyn Tier, clock: &ManualClock) {
    let limit = tier.stat().await.unwrap().limit;
    let value = Bytes::from(vec![7; 8192]);
    let count = 2 * limit / 8192;
    for number in 0..count {
        clock.advance(Duration::from_secs(1));
        tier.put(&at("default", &format!("n{number}")), value.clone(), None).await.unwrap();
    }
    let stat = tier.stat().await.unwrap();
    assert!(stat.bytes <= limit, "{stat:?}");
    assert!(stat.entries > count / 8, "room is used: {stat:?}");
    let huge = at("default", "huge");
    tier.put(&huge, Bytes::from(vec![0; limit as usize + 1]), None).await.unwrap();
    assert_eq!(get(tier, &huge).await, None, "what is larger than the tier is left out");
    assert_eq!(tier.clear(None).await.unwrap(), stat.entries, "and pushes nothing else out");
}

async fn concurrency(tier: Arc<dyn Tier>) {
    let tasks: Vec<_> = (0..32)
        .map(|number: u32| {
            let tier = Arc::clone(&tier);
            tokio::spawn(async move {
                for round in 0..8 {
                    let key = at("default", &format!("k{}", (number + round) % 8));
                    tier.put(&key, Bytes::from(format!("{number}")), None).await.unwrap();
                    get(&*tier, &key).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    tier.flush().await.unwrap();
    assert_eq!(tier.stat().await.unwrap().entries, 8);
}
