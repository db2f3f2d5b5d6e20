//! Answers of `/v1/responses` that are kept for later requests: in memory, or where replicas share their state there, bounded in number, bytes and age for each key and for all, each belonging to the key that it was made for.
//!
//! An answer is kept with the whole conversation up to it, so that it needs no other: an earlier one may be deleted or forgotten meanwhile. What is counted is the
//! size of that conversation, although answers of one conversation share its items. What is kept elsewhere is counted here by the replica that made it; how it lies there is
//! `kept/elsewhere.rs`. What an answer is, and how a request goes on from one, is `routes/responses.rs`.

mod elsewhere;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use llm_router::request::RawJson;
use llm_router::store::Store;
use tokio::time::Instant;

use self::elsewhere::{Elsewhere, Order};
use crate::door::Caller;

/// What bounds the answers that are kept. Past it the oldest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The most answers.
    pub(crate) count: usize,
    /// The most bytes of all together.
    pub(crate) bytes: usize,
    /// How long one is kept.
    pub(crate) age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { count: 4096, bytes: 128 << 20, age: Duration::from_secs(24 * 3600) }
    }
}

impl Bounds {
    /// What one key may have of the whole, and one answer of its bytes: nobody drives out everybody else's. Where there are no keys, all are one caller's.
    const SHARE: usize = 4;

    fn of(&self, caller: &Whose) -> (usize, usize) {
        match caller {
            Some(_) => (self.count.div_ceil(Self::SHARE), self.bytes / Self::SHARE),
            None => (self.count, self.bytes),
        }
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

/// The name of a caller's key.
type Whose = Option<Arc<str>>;

/// Whose answer, and which.
type Name = (Whose, String);

/// The answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bounds: Bounds,
    inner: Mutex<Inner>,
    elsewhere: Option<Elsewhere>,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Name, Entry>,
    /// The oldest first, by their numbers.
    order: BTreeMap<u64, Name>,
    /// What each caller has.
    shares: HashMap<Whose, Share>,
    next: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Share {
    numbers: BTreeSet<u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// None where it is kept elsewhere by now.
    answer: Option<Answer>,
    number: u64,
    bytes: usize,
    since: Instant,
}

impl Kept {
    #[cfg(test)]
    fn within(bounds: Bounds) -> Self {
        Self { bounds, inner: Mutex::default(), elsewhere: None }
    }

    /// Answers that are kept in this store, which replicas share.
    pub(crate) fn shared(store: Arc<dyn Store>) -> Self {
        Self { elsewhere: Some(Elsewhere::new(store)), ..Self::default() }
    }

    /// Writes what is to be kept elsewhere, for as long as it is polled.
    pub(crate) async fn tell(&self) {
        let Some(elsewhere) = &self.elsewhere else { return std::future::pending().await };
        loop {
            match elsewhere.next().await {
                Order::Keep(name) => {
                    let answer = self.inner().answers.get(&name).and_then(|entry| entry.answer.clone());
                    let Some(answer) = answer else { continue };
                    let left = elsewhere.write(&name, &answer, self.bounds.age).await;
                    // Where that failed it stays here, for those who ask this replica.
                    if left && let Some(entry) = self.inner().answers.get_mut(&name) {
                        entry.answer = None;
                    }
                }
                Order::Forget(name) => {
                    elsewhere.remove(&name).await;
                }
            }
        }
    }

    /// Keeps an answer. One of the same caller and id is replaced: servers that number their answers anew with every start repeat ids.
    pub(crate) fn keep(&self, caller: &Caller, id: &str, answer: Answer) {
        let items: usize = answer.items.iter().map(|item| item.get().len()).sum();
        let bytes = items + answer.object.len() + id.len();
        if bytes > self.bounds.bytes / Bounds::SHARE {
            tracing::debug!(bytes, "an answer is too large to be kept");
            return;
        }
        let mut inner = self.inner();
        let name = (caller.name.clone(), id.to_owned());
        inner.add(name.clone(), answer, bytes);
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.order(Order::Keep(name));
        }
        let (most, most_bytes) = self.bounds.of(&caller.name);
        while let Some(oldest) = inner.shares.get(&caller.name).and_then(|share| share.over(most, most_bytes)) {
            self.forgotten(inner.remove_number(oldest));
        }
        while inner.answers.len() > self.bounds.count || inner.bytes > self.bounds.bytes {
            let Some((oldest, _)) = inner.order.first_key_value() else { return };
            let oldest = *oldest;
            self.forgotten(inner.remove_number(oldest));
        }
    }

    /// What goes here to make room goes elsewhere too.
    fn forgotten(&self, name: Option<Name>) {
        if let Some((elsewhere, name)) = self.elsewhere.as_ref().zip(name) {
            elsewhere.order(Order::Forget(name));
        }
    }

    /// An answer of this caller.
    pub(crate) async fn find(&self, caller: &Caller, id: &str) -> Option<Answer> {
        let here = self.get(caller, id);
        match &self.elsewhere {
            Some(elsewhere) if here.is_none() => elsewhere.find(&(caller.name.clone(), id.to_owned())).await,
            _ => here,
        }
    }

    /// Forgets an answer of this caller, and says whether there was one.
    pub(crate) async fn forget(&self, caller: &Caller, id: &str) -> bool {
        let here = self.delete(caller, id);
        match &self.elsewhere {
            Some(elsewhere) => elsewhere.remove(&(caller.name.clone(), id.to_owned())).await || here,
            None => here,
        }
    }

    fn get(&self, caller: &Caller, id: &str) -> Option<Answer> {
        let mut inner = self.inner();
        inner.forget_old(self.bounds.age);
        inner.answers.get(&(caller.name.clone(), id.to_owned())).and_then(|entry| entry.answer.clone())
    }

    fn delete(&self, caller: &Caller, id: &str) -> bool {
        let mut inner = self.inner();
        inner.forget_old(self.bounds.age);
        inner.remove(&(caller.name.clone(), id.to_owned()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// The oldest answer, where there are too many or they are too large.
    fn over(&self, most: usize, bytes: usize) -> Option<u64> {
        self.numbers.first().copied().filter(|_| self.numbers.len() > most || self.bytes > bytes)
    }
}

impl Inner {
    fn add(&mut self, name: Name, answer: Answer, bytes: usize) {
        self.remove(&name);
        let number = self.next;
        self.next += 1;
        self.bytes += bytes;
        let share = self.shares.entry(name.0.clone()).or_default();
        share.numbers.insert(number);
        share.bytes += bytes;
        self.order.insert(number, name.clone());
        self.answers.insert(name, Entry { answer: Some(answer), number, bytes, since: Instant::now() });
    }

    fn remove(&mut self, name: &Name) -> bool {
        let Some(entry) = self.answers.remove(name) else { return false };
        self.order.remove(&entry.number);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        if let Some(share) = self.shares.get_mut(&name.0) {
            share.numbers.remove(&entry.number);
            share.bytes = share.bytes.saturating_sub(entry.bytes);
            if share.numbers.is_empty() {
                self.shares.remove(&name.0);
            }
        }
        true
    }

    fn remove_number(&mut self, number: u64) -> Option<Name> {
        let name = self.order.remove(&number)?;
        self.remove(&name).then_some(name)
    }

    fn forget_old(&mut self, age: Duration) {
        while let Some((number, name)) = self.order.first_key_value() {
            if self.answers.get(name).is_some_and(|entry| entry.since.elapsed() < age) {
                return;
            }
            let number = *number;
            self.remove_number(number);
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
        Caller { name: Some(name.into()), ..Caller::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_belongs_to_its_caller_for_its_time() {
        let kept = Kept::within(Bounds { age: Duration::from_secs(60), ..Bounds::default() });
        kept.keep(&caller("ann"), "r1", answer("a"));
        assert_eq!(kept.get(&caller("ann"), "r1"), Some(answer("a")));
        assert_eq!(kept.get(&caller("bob"), "r1"), None);
        assert_eq!(kept.get(&Caller::default(), "r1"), None);
        assert!(!kept.delete(&caller("bob"), "r1"));
        kept.keep(&caller("bob"), "r1", answer("b"));
        assert!(kept.delete(&caller("bob"), "r1") && !kept.delete(&caller("bob"), "r1"));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(kept.get(&caller("ann"), "r1"), None);
        let inner = kept.inner();
        assert_eq!((inner.bytes, inner.order.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_drives_out_its_own_answers_and_nobody_elses() {
        let kept = Kept::within(Bounds { count: 8, bytes: 400, ..Bounds::default() });
        let (ann, bob) = (caller("ann"), caller("bob"));
        kept.keep(&bob, "b0", answer("x"));
        (0..10).for_each(|at| kept.keep(&ann, &format!("a{at}"), answer("x")));
        let here = |whose: &Caller, id: &str| kept.get(whose, id).is_some();
        assert_eq!([here(&bob, "b0"), here(&ann, "a7"), here(&ann, "a8"), here(&ann, "a9")], [true, false, true, true]);
        // By bytes as well: a quarter of them is a hundred.
        kept.keep(&ann, "large", answer(&"x".repeat(90)));
        assert_eq!([here(&bob, "b0"), here(&ann, "a9"), here(&ann, "large")], [true, false, true]);
        assert!(kept.delete(&ann, "large") && kept.delete(&bob, "b0"));
        let inner = kept.inner();
        assert_eq!((inner.bytes, inner.order.len(), inner.shares.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_go_first_by_number_and_by_bytes() {
        let kept = Kept::within(Bounds { count: 2, bytes: 100, ..Bounds::default() });
        for id in ["r1", "r2", "r3"] {
            kept.keep(&Caller::default(), id, answer("x"));
        }
        let here = |id| kept.get(&Caller::default(), id).is_some();
        assert_eq!([here("r1"), here("r2"), here("r3")], [false, true, true]);
        // Kept again under the same id it is the newest, and counted once.
        kept.keep(&Caller::default(), "r2", answer("y"));
        kept.keep(&Caller::default(), "r4", answer("x"));
        assert_eq!([here("r2"), here("r3"), here("r4")], [true, false, true]);
        kept.keep(&Caller::default(), "r5", answer(&"x".repeat(30)));
        assert!(!here("r5"), "one alone may not fill the store");
        assert_eq!(kept.inner().bytes, 10);
        let kept = Kept::within(Bounds { bytes: 100, ..Bounds::default() });
        (0..20).for_each(|at| kept.keep(&Caller::default(), &format!("r{at}"), answer(&"x".repeat(18))));
        assert!(kept.inner().bytes <= 100 && kept.inner().answers.len() == 4);
    }
}
