//! Records in Redis: each a string of its own, with an index of each space that is read by key.
//!
//! What depends on what is there is a script, which the server runs as a whole. A record expires by the caller's clock; Redis drops it later by its own. How it is written is
//! `names.rs`.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use llm_router::deps::Clock;
use llm_router::store::{Change, MAX_KEY, MAX_VALUE, Scan, Store, StoreError, StoreResult, counter_value};
use redis::{Script, cmd, pipe};

use crate::Inner;
use crate::link::Line;
use crate::names::{header, keep, millis, record, value};

/// How long a command may take that no request waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most records that one script looks at.
const PAGE: usize = 500;

pub(crate) static CHANGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/change.lua")));
pub(crate) static ADD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/add.lua")));
pub(crate) static SCAN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/scan.lua")));

/// The state store.
#[derive(Debug)]
pub struct RedisStore {
    inner: Arc<Inner>,
    clock: Arc<dyn Clock>,
}

impl RedisStore {
    pub(crate) fn new(inner: Arc<Inner>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock }
    }

    fn line(&self) -> Result<Line, StoreError> {
        Ok(self.inner.link()?.line())
    }

    async fn write(&self, space: &str, key: &str, value: Bytes, expires: Option<SystemTime>) -> Result<(), StoreError> {
        check(key, Some(&value))?;
        let names = &self.inner.names;
        let mut set = cmd("SET");
        set.arg(names.record(space, key)).arg(record(&value, expires));
        if expires.is_some() {
            set.arg("PX").arg(keep(expires, self.clock.now()));
        }
        let mut both = pipe();
        both.atomic().add_command(set).ignore().cmd("ZADD").arg(names.index(space)).arg(0).arg(key).ignore();
        self.line()?.say(PATIENCE, |mut to| async move { both.query_async::<()>(&mut to).await }).await
    }

    async fn change(&self, space: &str, key: &str, change: Change) -> Result<bool, StoreError> {
        check(key, change.value.as_ref())?;
        let (names, now) = (&self.inner.names, self.clock.now());
        let mut call = CHANGE.prepare_invoke();
        call.key(names.record(space, key)).key(names.index(space)).arg(millis(now));
        call.arg(i32::from(change.expected.is_some())).arg(change.expected.unwrap_or_default().as_ref());
        let new = change.value.as_ref().map(|value| record(value, change.expires));
        call.arg(i32::from(new.is_some())).arg(new.unwrap_or_default());
        call.arg(keep(change.expires, now)).arg(key);
        let changed: i64 = self.line()?.say(PATIENCE, |mut to| async move { call.invoke_async(&mut to).await }).await?;
        Ok(changed == 1)
    }

    async fn add(&self, space: &str, key: &str, by: i64, expires: Option<SystemTime>) -> Result<i64, StoreError> {
        check(key, None)?;
        let (names, now) = (&self.inner.names, self.clock.now());
        let mut call = ADD.prepare_invoke();
        call.key(names.record(space, key)).key(names.index(space)).arg(millis(now));
        call.arg(&by.to_be_bytes()[..]).arg(&header(expires)[..]).arg(keep(expires, now)).arg(key);
        let sum: Option<Vec<u8>> =
            self.line()?.say(PATIENCE, |mut to| async move { call.invoke_async(&mut to).await }).await?;
        counter_value(&sum.ok_or(StoreError::NotACounter)?)
    }

    async fn page(&self, space: &str, range: Scan<'_>) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (names, line) = (&self.inner.names, self.line()?);
        // No UTF-8 holds this byte, so it stands behind everything that begins with the prefix.
        let most = [b"(", range.prefix.as_bytes(), b"\xff"].concat();
        let mut after = range.after.filter(|after| *after >= range.prefix).map(|after| format!("({after}"));
        let mut found = Vec::new();
        while found.len() < range.limit {
            let least = after.take().unwrap_or_else(|| format!("[{}", range.prefix));
            let mut call = SCAN.prepare_invoke();
            call.key(names.index(space)).arg(names.space(space)).arg(least).arg(&most[..]);
            call.arg((range.limit - found.len()).min(PAGE)).arg(millis(self.clock.now()));
            let page: Vec<Bytes> = line.say(PATIENCE, |mut to| async move { call.invoke_async(&mut to).await }).await?;
            let [more, last, records @ ..] = page.as_slice() else { return Err(unclear()) };
            for pair in records.chunks_exact(2) {
                let [key, value] = pair else { return Err(unclear()) };
                found.push((text(key)?, value.clone()));
            }
            if more.as_ref() != b"1" {
                break;
            }
            after = Some(format!("({}", text(last)?));
        }
        Ok(found)
    }
}

fn text(bytes: &Bytes) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| StoreError::Corrupt("a key that is no text".to_owned()))
}

fn unclear() -> StoreError {
    StoreError::Other("the server answers what was not asked".to_owned())
}

fn check(key: &str, value: Option<&Bytes>) -> Result<(), StoreError> {
    if key.len() > MAX_KEY {
        return Err(StoreError::TooLarge("a record's key is longer than 1,024 bytes"));
    }
    if value.is_some_and(|value| value.len() > MAX_VALUE) {
        return Err(StoreError::TooLarge("a record is larger than 1 MiB"));
    }
    Ok(())
}

impl Store for RedisStore {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        async move {
            let mut get = cmd("GET");
            get.arg(self.inner.names.record(space, key));
            let found = self.line()?.say(PATIENCE, |mut to| async move { get.query_async(&mut to).await }).await?;
            Ok(value(found, self.clock.now()))
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        value: Bytes,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, ()> {
        self.write(space, key, value, expires).boxed()
    }

    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        async move {
            let names = &self.inner.names;
            let mut both = pipe();
            both.atomic().cmd("GETDEL").arg(names.record(space, key));
            both.cmd("ZREM").arg(names.index(space)).arg(key).ignore();
            let said = self.line()?.say(PATIENCE, |mut to| async move { both.query_async(&mut to).await }).await;
            let (found,): (Option<Bytes>,) = said?;
            Ok(value(found, self.clock.now()).is_some())
        }
        .boxed()
    }

    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        self.change(space, key, change).boxed()
    }

    fn increment<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        by: i64,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, i64> {
        self.add(space, key, by, expires).boxed()
    }

    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        self.page(space, range).boxed()
    }
}
