//! Kept answers in the store that replicas share: written behind the answer, read by whichever replica is asked next.
//!
//! A record holds at most a mebibyte and a conversation may be larger, so an answer is cut into pieces; the first begins with their number. All expire by themselves. What is to be
//! written waits in a bounded queue: whoever answers waits for nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use llm_router::request::RawJson;
use llm_router::store::{MAX_VALUE, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use super::{Answer, Name};

/// The kind of record.
const SPACE: &str = "responses";
/// Orders that wait. One that finds no room is dropped: the answer is then kept by this replica alone, or a little longer.
const WAITING: usize = 1024;
/// The most pieces of an answer.
const PIECES: u32 = 64;
/// The longest id that is looked for.
const LONGEST_ID: usize = 256;
/// When an answer is looked for again that is not there: another replica may be about to write it.
const AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// What is to be done.
#[derive(Debug)]
pub(super) enum Order {
    Keep(Name),
    Forget(Name),
}

/// The store, and what is to be written to it.
#[derive(Debug)]
pub(super) struct Elsewhere {
    store: Arc<dyn Store>,
    orders: mpsc::Sender<Order>,
    waiting: Mutex<mpsc::Receiver<Order>>,
}

/// An answer as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    items: Vec<RawJson>,
    object: RawJson,
}

impl Elsewhere {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (orders, waiting) = mpsc::channel(WAITING);
        Self { store, orders, waiting: Mutex::new(waiting) }
    }

    pub(super) fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::debug!("too much is to be written: an answer is kept by this replica alone");
        }
    }

    /// The next order. Of several who wait for one, each order is one's.
    pub(super) async fn next(&self) -> Order {
        match self.waiting.lock().await.recv().await {
            Some(order) => order,
            // The sender lives as long as this does.
            None => std::future::pending().await,
        }
    }

    /// Writes an answer, and says whether it is there now.
    pub(super) async fn write(&self, name: &Name, answer: &Answer, age: Duration) -> bool {
        let written = async {
            let object = RawJson::parse(std::str::from_utf8(&answer.object).ok()?).ok()?;
            let text = serde_json::to_vec(&Written { items: answer.items.to_vec(), object }).ok()?;
            let expires = Some(SystemTime::now() + age);
            let pieces: Vec<&[u8]> = text.chunks(MAX_VALUE - 4).collect();
            let count = u32::try_from(pieces.len()).ok().filter(|count| *count <= PIECES)?;
            // The first comes last: with it all are there.
            for (at, piece) in pieces.iter().enumerate().rev() {
                let mut value = BytesMut::with_capacity(piece.len() + 4);
                value.put_u32(count);
                value.put_slice(piece);
                self.store.put(SPACE, &key(name, at)?, value.freeze(), expires).await.ok()?;
            }
            Some(())
        };
        written.await.is_some()
    }

    /// Reads an answer.
    pub(super) async fn find(&self, name: &Name) -> Option<Answer> {
        let mut found = self.read(name).await;
        for pause in AGAIN {
            if found.is_some() {
                break;
            }
            tokio::time::sleep(pause).await;
            found = self.read(name).await;
        }
        found
    }

    async fn read(&self, name: &Name) -> Option<Answer> {
        let mut text = Vec::new();
        let mut count = 1;
        let mut at = 0;
        while at < count {
            let value = self.store.get(SPACE, &key(name, at)?).await.ok()??;
            let (head, piece) = value.split_first_chunk::<4>()?;
            count = usize::try_from(u32::from_be_bytes(*head).min(PIECES)).ok()?;
            text.extend_from_slice(piece);
            at += 1;
        }
        let Written { items, object } = serde_json::from_slice(&text).ok()?;
        Some(Answer { items: items.into(), object: Bytes::copy_from_slice(object.get().as_bytes()) })
    }

    /// Removes an answer, and says whether there was one. Its further pieces say nothing without the first, and expire.
    pub(super) async fn remove(&self, name: &Name) -> bool {
        match key(name, 0) {
            Some(key) => self.store.remove(SPACE, &key).await.unwrap_or(false),
            None => false,
        }
    }
}

/// The key of a piece; none for an id that nobody was given.
fn key((whose, id): &Name, piece: usize) -> Option<String> {
    // Names of derived keys have a `/`: with one in an id, a key could name what is another's.
    let fits = (1..=LONGEST_ID).contains(&id.len()) && !id.contains('/');
    fits.then(|| format!("{}/{id}/{piece}", whose.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use llm_router::deps::SystemClock;
    use llm_router::store::MemoryStore;

    use super::super::Kept;
    use super::*;
    use crate::door::Caller;

    fn answer(text: &str) -> Answer {
        let item = RawJson::parse(&format!("{text:?}")).unwrap();
        Answer { items: [item].into(), object: Bytes::from_static(b"{}") }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_found_by_the_other_replica_and_belongs_to_its_caller() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let (here, there) = (Arc::new(Kept::shared(Arc::clone(&store))), Kept::shared(store));
        let telling = tokio::spawn({
            let here = Arc::clone(&here);
            async move { here.tell().await }
        });
        let ann = Caller { name: Some("ann#1".into()), ..Caller::default() };
        let derived = Caller { name: Some("ann#1/short".into()), ..Caller::default() };
        // Of a size that takes several pieces.
        let large = answer(&"x".repeat(3 << 20));
        here.keep(&ann, "r1", large.clone());
        here.keep(&derived, "r2", answer("b"));
        assert_eq!(there.find(&ann, "r1").await, Some(large.clone()), "written while it was looked for");
        assert_eq!(here.find(&ann, "r1").await, Some(large));
        assert_eq!(there.find(&derived, "r1").await, None);
        assert_eq!(there.find(&ann, "short/r2").await, None, "an id is no way to another's answers");
        assert_eq!(there.find(&derived, "r2").await, Some(answer("b")));
        assert!(there.forget(&ann, "r1").await && !there.forget(&ann, "r1").await);
        assert_eq!(here.find(&ann, "r1").await, None, "gone for all");
        telling.abort();
    }
}
