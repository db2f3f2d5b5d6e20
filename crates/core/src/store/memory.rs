//! The state store in memory: for tests, and for a library user who wants nothing written.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::FutureExt;

use super::{Change, Scan, Store, StoreError, StoreResult, checked, counter_value};
use crate::deps::Clock;

/// The most records held; one more is refused as [`StoreError::Full`].
const MAX_RECORDS: usize = 100_000;

/// A store that ends with the process.
#[derive(Debug)]
pub struct MemoryStore {
    records: Mutex<Records>,
    clock: Arc<dyn Clock>,
}

type Records = BTreeMap<(String, String), Record>;

#[derive(Debug, Clone)]
struct Record {
    value: Bytes,
    expires: Option<SystemTime>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { records: Mutex::default(), clock }
    }

    /// The records, those that have expired left out where the key is looked at.
    fn live(&self, at: &(String, String)) -> (MutexGuard<'_, Records>, Option<Record>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let found = records.get(at).filter(|record| record.expires.is_none_or(|expires| expires > now)).cloned();
        (records, found)
    }

    fn insert(&self, records: &mut Records, at: (String, String), record: Record) -> Result<(), StoreError> {
        if records.len() >= MAX_RECORDS && !records.contains_key(&at) {
            let now = self.clock.now();
            records.retain(|_, record| record.expires.is_none_or(|expires| expires > now));
            if records.len() >= MAX_RECORDS {
                return Err(StoreError::Full);
            }
        }
        records.insert(at, record);
        Ok(())
    }

    fn change(&self, space: &str, key: &str, change: Change) -> Result<bool, StoreError> {
        checked(key, change.value.as_ref())?;
        let at = (space.to_owned(), key.to_owned());
        let (mut records, found) = self.live(&at);
        if found.map(|record| record.value) != change.expected {
            return Ok(false);
        }
        match change.value {
            Some(value) => self.insert(&mut records, at, Record { value, expires: change.expires })?,
            None => {
                records.remove(&at);
            }
        }
        Ok(true)
    }

    fn add(&self, space: &str, key: &str, by: i64, expires: Option<SystemTime>) -> Result<i64, StoreError> {
        checked(key, None)?;
        let at = (space.to_owned(), key.to_owned());
        let (mut records, found) = self.live(&at);
        let (count, expires) = match found {
            Some(record) => (counter_value(&record.value)?.saturating_add(by), record.expires),
            None => (by, expires),
        };
        let value = Bytes::copy_from_slice(&count.to_be_bytes());
        self.insert(&mut records, at, Record { value, expires })?;
        Ok(count)
    }

    fn page(&self, space: &str, range: Scan<'_>) -> Vec<(String, Bytes)> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let first = match range.after {
            Some(after) if after >= range.prefix => Bound::Excluded((space.to_owned(), after.to_owned())),
            _ => Bound::Included((space.to_owned(), range.prefix.to_owned())),
        };
        records
            .range((first, Bound::Unbounded))
            .take_while(|((found, key), _)| found == space && key.starts_with(range.prefix))
            .filter(|(_, record)| record.expires.is_none_or(|expires| expires > now))
            .take(range.limit)
            .map(|((_, key), record)| (key.clone(), record.value.clone()))
            .collect()
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, Option<Bytes>> {
        let found = self.live(&(space.to_owned(), key.to_owned())).1;
        std::future::ready(Ok(found.map(|record| record.value))).boxed()
    }

    fn put<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        value: Bytes,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, ()> {
        let outcome = checked(key, Some(&value)).and_then(|()| {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            self.insert(&mut records, (space.to_owned(), key.to_owned()), Record { value, expires })
        });
        std::future::ready(outcome).boxed()
    }

    fn remove<'a>(&'a self, space: &'a str, key: &'a str) -> StoreResult<'a, bool> {
        let at = (space.to_owned(), key.to_owned());
        let (mut records, found) = self.live(&at);
        records.remove(&at);
        std::future::ready(Ok(found.is_some())).boxed()
    }

    fn compare_and_set<'a>(&'a self, space: &'a str, key: &'a str, change: Change) -> StoreResult<'a, bool> {
        std::future::ready(self.change(space, key, change)).boxed()
    }

    fn increment<'a>(
        &'a self,
        space: &'a str,
        key: &'a str,
        by: i64,
        expires: Option<SystemTime>,
    ) -> StoreResult<'a, i64> {
        std::future::ready(self.add(space, key, by, expires)).boxed()
    }

    fn scan<'a>(&'a self, space: &'a str, range: Scan<'a>) -> StoreResult<'a, Vec<(String, Bytes)>> {
        std::future::ready(Ok(self.page(space, range))).boxed()
    }
}
