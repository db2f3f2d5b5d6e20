//! Records: the conformance suite, formats, TLS, and a server that comes and goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llm_router::deps::SystemClock;
use llm_router::limits::shared::Shared;
use llm_router::secret::Secret;
use llm_router::store::{Scan, Store, StoreError};
use llm_router::testing::{ManualClock, store_conformance};
use llm_router_redis::{FORMAT, Options, Redis};

use crate::limits::asking;
use crate::process::RedisServer;
use crate::{open, options};

#[tokio::test]
async fn it_keeps_every_promise_of_a_store() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(open(&server).store(clock.clone()));
    store_conformance(store, &clock).await;
}

#[tokio::test]
async fn a_long_space_is_read_page_by_page_and_what_redis_dropped_is_gone() {
    let server = RedisServer::start();
    let store = open(&server).store(Arc::new(SystemClock));
    for number in 0..1_203 {
        store.put("long", &format!("k{number:05}"), Bytes::from_static(b"v"), None).await.unwrap();
    }
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let dropped: i64 = redis::cmd("DEL").arg("llm-router:r:long:k00007").query(&mut client).unwrap();
    assert_eq!(dropped, 1);
    let all = store.scan("long", Scan { prefix: "k", after: None, limit: 5_000 }).await.unwrap();
    assert_eq!(all.len(), 1_202);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let indexed: i64 = redis::cmd("ZCARD").arg("llm-router:i:long").query(&mut client).unwrap();
    assert_eq!(indexed, 1_202, "and it has left the index");
    let some = store.scan("long", Scan { prefix: "k01", after: Some("k01100"), limit: 3 }).await.unwrap();
    assert_eq!(some.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["k01101", "k01102", "k01103"]);
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_and_the_same_one_opens_whoever_wrote_it() {
    let server = RedisServer::start();
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let newer: () = redis::cmd("SET").arg("llm-router:format").arg(FORMAT + 1).query(&mut client).unwrap();
    let error = open(&server).store(Arc::new(SystemClock)).get("a", "k").await.unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found, known, .. } if (found, known) == (FORMAT + 1, FORMAT)),
        "{error:?}"
    );
    assert!(error.to_string().contains("redis.sock") && error.to_string().contains("format 2"), "{error}");
    assert_eq!(newer, ());
    // Another prefix is another state.
    let mut other = options(&server);
    other.prefix = "second".to_owned();
    let other = Redis::new(other).unwrap().store(Arc::new(SystemClock));
    other.put("a", "k", Bytes::from_static(b"v"), None).await.unwrap();
    // A version whose formats are the same leaves the same mark, and reads what this one wrote.
    let mark: i32 = redis::cmd("GET").arg("second:format").query(&mut client).unwrap();
    assert_eq!(mark, FORMAT);
    let foreign: () = redis::cmd("SET").arg("llm-router:format").arg("somebody else's").query(&mut client).unwrap();
    let error = open(&server).store(Arc::new(SystemClock)).get("a", "k").await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(foreign, ());
}

#[tokio::test]
async fn a_server_that_was_gone_is_used_again() {
    let mut server = RedisServer::start();
    let store = open(&server).store(Arc::new(SystemClock));
    store.put("a", "k", Bytes::from_static(b"v"), None).await.unwrap();
    server.kill();
    let error = store.get("a", "k").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    server.again();
    tokio::time::timeout(Duration::from_secs(10), async {
        while store.put("a", "k", Bytes::from_static(b"w"), None).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(store.get("a", "k").await.unwrap().unwrap(), "w");
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_left_for_the_new_one_under_its_name() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let here = open(&old);
    let (store, limits) = (here.store(Arc::new(SystemClock)), here.limits(Arc::new(SystemClock)));
    let ask = || asking("key/x", |a| a.requests = Some(9));
    store.put("a", "k", Bytes::from_static(b"v"), None).await.unwrap();
    limits.enter(ask()).await.unwrap();
    // It answers on, and takes nothing. Nobody is its primary: that it is a replica is enough.
    let mut client = redis::Client::open(old.url()).unwrap().get_connection().unwrap();
    let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query(&mut client).unwrap();
    let error = limits.enter(ask()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unwritable(_)) && error.to_string().contains("replica"), "{error:?}");
    assert!(store.put("a", "k", Bytes::from_static(b"w"), None).await.is_err());
    // Now the name leads to another server.
    std::fs::rename(new.socket(), old.socket()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while limits.enter(ask()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    store.put("a", "k", Bytes::from_static(b"x"), None).await.unwrap();
    assert_eq!(store.get("a", "k").await.unwrap().unwrap(), "x");
    let stale: Vec<u8> = redis::cmd("GET").arg("llm-router:r:a:k").query(&mut client).unwrap();
    assert!(stale.ends_with(b"v"), "the replica heard nothing of it");
}

#[tokio::test]
async fn nobody_waits_long_for_a_server_that_is_not_there() {
    let mut options = Options::new(Secret::new("redis://127.0.0.1:1/"));
    options.patience = Duration::from_millis(50);
    let store = Redis::new(options).unwrap().store(Arc::new(SystemClock));
    let error = store.get("a", "k").await.unwrap_err();
    assert!(error.to_string().contains("shared state"), "{error}");
}

#[tokio::test]
async fn it_speaks_tls_to_a_server_with_a_certificate_that_it_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert_word, key_word) = (cert.display().to_string(), key.display().to_string());
    let _server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--bind",
        "127.0.0.1",
        "--tls-cert-file",
        &cert_word,
        "--tls-key-file",
        &key_word,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "hunter2",
    ]);
    let url = format!("rediss://:hunter2@localhost:{port}/0");
    let mut options = Options::new(Secret::new(url));
    let untrusting = Redis::new(options.clone()).unwrap().store(Arc::new(SystemClock));
    assert!(untrusting.get("a", "k").await.is_err(), "nobody vouches for the certificate");
    options.ca_file = Some(cert);
    let store = Redis::new(options).unwrap().store(Arc::new(SystemClock));
    store.put("a", "k", Bytes::from_static(b"v"), None).await.unwrap();
    assert_eq!(store.get("a", "k").await.unwrap().unwrap(), "v");
}
