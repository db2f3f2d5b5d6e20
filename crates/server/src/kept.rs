//! Answers of `/v1/responses` that are kept for later requests: in memory, bounded in number, bytes and age, each belonging to the key that it was made for.
//!
//! An answer is kept with the whole conversation up to it, so that it needs no other: an earlier one may be deleted or forgotten meanwhile. What is counted is the
//! size of that conversation, although answers of one conversation share its items. What an answer is, and how a request goes on from one, is `routes/responses.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use llm_router::request::RawJson;
use tokio::time::Instant;

use crate::door::Caller;

/// What bounds the answers that are kept. Past it the oldest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The most answers.
    pub(crate) count: usize,
    /// The most bytes of all together. One that is larger than a quarter of it is not kept at all: it would drive out everybody else's.
    pub(crate) bytes: usize,
    /// How long one is kept.
    pub(crate) age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { count: 4096, bytes: 128 << 20, age: Duration::from_secs(24 * 3600) }
    }
}

/// An answer with what led to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The conversation: what was asked before, what was asked, what was answered.
    pub(crate) items: Arc<[RawJson]>,
    /// The answer as its client would see it again.
    pub(crate) object: Bytes,
}

/// Whose answer, and which.
type Name = (Option<Arc<str>>, String);

/// The answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bounds: Bounds,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Name, Entry>,
    /// The oldest first, by their numbers.
    order: BTreeMap<u64, Name>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    number: u64,
    bytes: usize,
    since: Instant,
}

impl Kept {
    #[cfg(test)]
    fn within(bounds: Bounds) -> Self {
        Self { bounds, inner: Mutex::default() }
    }

    /// Keeps an answer. One of the same caller and id is replaced: servers that number their answers anew with every start repeat ids.
    pub(crate) fn keep(&self, caller: &Caller, id: &str, answer: Answer) {
        let items: usize = answer.items.iter().map(|item| item.get().len()).sum();
        let bytes = items + answer.object.len() + id.len();
        if bytes > self.bounds.bytes / 4 {
            tracing::debug!(bytes, "an answer is too large to be kept");
            return;
        }
        let mut inner = self.inner();
        let name = (caller.0.clone(), id.to_owned());
        inner.remove(&name);
        let number = inner.next;
        inner.next += 1;
        inner.bytes += bytes;
        inner.order.insert(number, name.clone());
        inner.answers.insert(name, Entry { answer, number, bytes, since: Instant::now() });
        while inner.answers.len() > self.bounds.count || inner.bytes > self.bounds.bytes {
            let Some((_, oldest)) = inner.order.pop_first() else { return };
            inner.remove(&oldest);
        }
    }

    /// An answer of this caller.
    pub(crate) fn get(&self, caller: &Caller, id: &str) -> Option<Answer> {
        let mut inner = self.inner();
        inner.forget_old(self.bounds.age);
        inner.answers.get(&(caller.0.clone(), id.to_owned())).map(|entry| entry.answer.clone())
    }

    /// Forgets an answer of this caller, and says whether there was one.
    pub(crate) fn delete(&self, caller: &Caller, id: &str) -> bool {
        let mut inner = self.inner();
        inner.forget_old(self.bounds.age);
        inner.remove(&(caller.0.clone(), id.to_owned()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, name: &Name) -> bool {
        let Some(entry) = self.answers.remove(name) else { return false };
        self.order.remove(&entry.number);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        true
    }

    fn forget_old(&mut self, age: Duration) {
        while let Some((_, name)) = self.order.first_key_value() {
            let name = name.clone();
            if self.answers.get(&name).is_some_and(|entry| entry.since.elapsed() < age) {
                return;
            }
            self.order.pop_first();
            self.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(text: &str) -> Answer {
        let item = RawJson::parse(&format!("{text:?}")).unwrap();
        Answer { items: [item].into(), object: Bytes::new() }
    }

    fn caller(name: &str) -> Caller {
        Caller(Some(name.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_belongs_to_its_caller_for_its_time() {
        let kept = Kept::within(Bounds { age: Duration::from_secs(60), ..Bounds::default() });
        kept.keep(&caller("ann"), "r1", answer("a"));
        assert_eq!(kept.get(&caller("ann"), "r1"), Some(answer("a")));
        assert_eq!(kept.get(&caller("bob"), "r1"), None);
        assert_eq!(kept.get(&Caller(None), "r1"), None);
        assert!(!kept.delete(&caller("bob"), "r1"));
        kept.keep(&caller("bob"), "r1", answer("b"));
        assert!(kept.delete(&caller("bob"), "r1") && !kept.delete(&caller("bob"), "r1"));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(kept.get(&caller("ann"), "r1"), None);
        let inner = kept.inner();
        assert_eq!((inner.bytes, inner.order.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_go_first_by_number_and_by_bytes() {
        let kept = Kept::within(Bounds { count: 2, bytes: 100, ..Bounds::default() });
        for id in ["r1", "r2", "r3"] {
            kept.keep(&Caller(None), id, answer("x"));
        }
        let here = |id| kept.get(&Caller(None), id).is_some();
        assert_eq!([here("r1"), here("r2"), here("r3")], [false, true, true]);
        // Kept again under the same id it is the newest, and counted once.
        kept.keep(&Caller(None), "r2", answer("y"));
        kept.keep(&Caller(None), "r4", answer("x"));
        assert_eq!([here("r2"), here("r3"), here("r4")], [true, false, true]);
        kept.keep(&Caller(None), "r5", answer(&"x".repeat(30)));
        assert!(!here("r5"), "one alone may not fill the store");
        assert_eq!(kept.inner().bytes, 10);
        let kept = Kept::within(Bounds { bytes: 100, ..Bounds::default() });
        (0..20).for_each(|at| kept.keep(&Caller(None), &format!("r{at}"), answer(&"x".repeat(18))));
        assert!(kept.inner().bytes <= 100 && kept.inner().answers.len() == 4);
    }
}
