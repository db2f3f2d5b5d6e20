//! Reading the records of all keys, page by page, and telling once what is wrong with some of them.
//!
//! A record that this version cannot read is no key here, and keeps no other from being read: what was revoked must be known. It is told of once, and again when it has changed. How many
//! keys there may be is checked where one is made (`change.rs`); more than that are read all the same, up to a bound far above it that keeps a store full of anything from filling
//! the memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::{KEYS, Keyring, parse};
use crate::error::Result;
use crate::limits::key::KeyRecord;
use crate::store::Scan;

/// Records read at a time.
const PAGE: usize = 500;
/// The most keys that are made.
pub(super) const MOST_KEYS: usize = 100_000;
/// For each key that may be made, so many are read: several processes that make keys at once may pass the bound.
const READ: usize = 2;
/// The most unreadable records that are told of one by one.
const MOST_TOLD: usize = 256;

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) records: Vec<KeyRecord>,
    /// How many records there are, those that cannot be read and those beyond the bound included.
    pub(super) count: usize,
}

/// What was told already.
#[derive(Default)]
pub(super) struct Told(Mutex<Said>);

#[derive(Default)]
struct Said {
    /// Unreadable records, by their ids, with a digest of what they were.
    unreadable: HashMap<String, u64>,
    state: RandomState,
    /// How the number of keys was found.
    crowd: Crowd,
}

/// How many keys there are, beside what there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Crowd {
    #[default]
    Fits,
    /// No further one is made.
    Full,
    /// Some are not read.
    Beyond,
}

impl Told {
    /// Whether this record was not told of as it is.
    fn is_news(&self, id: &str, value: &[u8]) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = said.state.build_hasher();
        hasher.write(value);
        let digest = hasher.finish();
        if said.unreadable.len() >= MOST_TOLD && !said.unreadable.contains_key(id) {
            return false;
        }
        said.unreadable.insert(id.to_owned(), digest) != Some(digest)
    }

    /// Forgets records that are gone or can be read again; `still` are those that cannot.
    fn keep(&self, still: &[String]) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.unreadable.retain(|id, _| still.contains(id));
    }

    fn crowd(&self, crowd: Crowd) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut said.crowd, crowd) != crowd && crowd != Crowd::Fits
    }
}

impl Keyring {
    /// Reads all records.
    pub(super) async fn read(&self) -> Result<Read> {
        let (mut read, mut unreadable) = (Read::default(), Vec::new());
        let (most, told) = (self.0.most_keys, &self.0.told);
        let mut after: Option<String> = None;
        loop {
            let range = Scan { prefix: "", after: after.as_deref(), limit: PAGE };
            let page = self.0.store.scan(KEYS, range).await?;
            let last = page.len() < PAGE;
            read.count += page.len();
            for (id, value) in page {
                match parse(&id, &value) {
                    Ok(record) if read.records.len() < most.saturating_mul(READ) => read.records.push(record),
                    Ok(_) => {}
                    Err(error) => {
                        if told.is_news(&id, &value) {
                            tracing::warn!("{error}; it is no key here until then");
                        }
                        if unreadable.len() < MOST_TOLD {
                            unreadable.push(id.clone());
                        }
                    }
                }
                after = Some(id);
            }
            if last {
                break;
            }
        }
        told.keep(&unreadable);
        let crowd = match read.count {
            count if count > most.saturating_mul(READ) => Crowd::Beyond,
            count if count >= most => Crowd::Full,
            _ => Crowd::Fits,
        };
        if told.crowd(crowd) {
            let held = if crowd == Crowd::Beyond { "; those beyond twice as many are refused" } else { "" };
            tracing::warn!(
                "there are {} keys, and no further one is made from {most} on{held}: `llm-router keys prune` forgets those that hold no more",
                read.count
            );
        }
        Ok(read)
    }
}
