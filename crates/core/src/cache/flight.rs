//! Single-flight: requests with the same key that overlap share one upstream call.
//!
//! There is no task behind a flight. Whichever listener is polled moves the shared stream on, and everybody is woken; so the call runs at the pace of the
//! fastest listener, it is cancelled when the last one leaves, and nothing spawned has to be owned. Listeners read a log that holds at most [`LOG_BYTES`]:
//! once it has grown past that nobody joins any more, its head is dropped as the slowest listener moves on, and the fastest waits for the slowest.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
};

use futures_core::Stream;

use crate::delta::{Delta, DeltaStream, Event, Part};
use crate::error::{Error, Result};

/// About how many bytes of events a flight keeps for listeners who come or read late: one event more, at most.
pub const LOG_BYTES: usize = 8 << 20;

/// The flights under way, by key.
#[derive(Debug)]
pub struct Flights<K> {
    open: Arc<Mutex<HashMap<K, Weak<Flight<K>>>>>,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self { open: Arc::default() }
    }
}

/// Which side of a flight a listener is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It began the call.
    First,
    /// It listens to a call that was under way.
    Later,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Flights<K> {
    /// Joins the flight of `key`, or begins one with the stream that `begin` makes.
    pub fn join(&self, key: &K, begin: impl FnOnce() -> DeltaStream) -> (DeltaStream, Joined) {
        loop {
            let under_way = lock(&self.open).get(key).and_then(Weak::upgrade);
            // The map is not held while a flight's own lock is waited for: one slow upstream must not stop the others.
            if let Some(listener) = under_way.as_ref().and_then(|flight| flight.listen()) {
                return (DeltaStream::new(listener), Joined::Later);
            }
            let mut open = lock(&self.open);
            let now = open.get(key).and_then(Weak::upgrade);
            if now.as_ref().map(Arc::as_ptr) != under_way.as_ref().map(Arc::as_ptr) {
                // Somebody else began a call meanwhile.
                continue;
            }
            let flight = Arc::new(Flight {
                key: key.clone(),
                open: Arc::downgrade(&self.open),
                state: Mutex::new(State::new(begin())),
                wakers: Arc::default(),
            });
            // Two who leave at the same moment may each take the other for the last one and leave the entry behind.
            open.retain(|_, flight| flight.strong_count() > 0);
            open.insert(key.clone(), Arc::downgrade(&flight));
            return (DeltaStream::new(Listener { id: 0, at: 0, done: false, flight }), Joined::First);
        }
    }

    /// How many calls are under way.
    pub fn len(&self) -> usize {
        lock(&self.open).values().filter(|flight| flight.strong_count() > 0).count()
    }

    /// Whether no call is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug)]
struct Flight<K> {
    key: K,
    open: Weak<Mutex<HashMap<K, Weak<Flight<K>>>>>,
    state: Mutex<State>,
    wakers: Arc<Wakers>,
}

#[derive(Debug)]
struct State {
    /// `None` once it ended.
    upstream: Option<DeltaStream>,
    log: VecDeque<(Event, usize)>,
    /// The place of the log's first event in the whole stream.
    base: u64,
    bytes: usize,
    /// Whether every event so far is in the log.
    whole: bool,
    failed: Option<Error>,
    /// listener → the place of the event it wants next.
    places: HashMap<u64, u64>,
    next_listener: u64,
}

impl State {
    fn new(upstream: DeltaStream) -> Self {
        Self {
            upstream: Some(upstream),
            log: VecDeque::new(),
            base: 0,
            bytes: 0,
            whole: true,
            failed: None,
            places: HashMap::from([(0, 0)]),
            next_listener: 1,
        }
    }

    fn end(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn get(&self, at: u64) -> Option<&Event> {
        self.log.get(usize::try_from(at.checked_sub(self.base)?).ok()?).map(|(event, _)| event)
    }

    /// Adds an event; past the bound the log may no longer be joined.
    fn push(&mut self, event: Event) {
        let weight = weight(&event);
        self.bytes += weight;
        self.whole &= self.bytes <= LOG_BYTES;
        self.log.push_back((event, weight));
    }

    /// Drops what every listener has read, once nobody can join.
    fn trim(&mut self) {
        let slowest = self.places.values().min().copied().unwrap_or(self.base);
        while !self.whole && self.base < slowest {
            let Some((_, weight)) = self.log.pop_front() else { break };
            self.bytes -= weight;
            self.base += 1;
        }
    }
}

impl<K: Eq + Hash> Flight<K> {
    /// A listener from the beginning, unless the beginning is gone, or the call failed and a newcomer deserves its own try.
    fn listen(self: &Arc<Self>) -> Option<Listener<K>> {
        let mut state = lock(&self.state);
        if !state.whole || state.failed.is_some() {
            return None;
        }
        let id = state.next_listener;
        state.next_listener += 1;
        state.places.insert(id, 0);
        drop(state);
        Some(Listener { id, at: 0, done: false, flight: Arc::clone(self) })
    }
}

struct Listener<K: Eq + Hash> {
    id: u64,
    at: u64,
    done: bool,
    flight: Arc<Flight<K>>,
}

impl<K: Eq + Hash> Stream for Listener<K> {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let flight = Arc::clone(&self.flight);
        let mut state = lock(&flight.state);
        loop {
            if let Some(event) = state.get(self.at).cloned() {
                self.at += 1;
                let (id, at) = (self.id, self.at);
                state.places.insert(id, at);
                let full = state.bytes > LOG_BYTES;
                state.trim();
                if full {
                    flight.wakers.wake_all();
                }
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(error) = &state.failed {
                let error = error.clone();
                self.done = true;
                return Poll::Ready(Some(Err(error)));
            }
            // Registered before the upstream is polled, so that a wake in between is not lost.
            flight.wakers.register(self.id, cx.waker());
            if state.bytes > LOG_BYTES && state.places.values().any(|at| *at < state.end()) {
                return Poll::Pending;
            }
            let Some(upstream) = &mut state.upstream else {
                self.done = true;
                return Poll::Ready(None);
            };
            let waker = Waker::from(Arc::clone(&flight.wakers));
            match Pin::new(upstream).poll_next(&mut Context::from_waker(&waker)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(event))) => state.push(event),
                Poll::Ready(Some(Err(error))) => {
                    state.upstream = None;
                    state.failed = Some(error);
                }
                Poll::Ready(None) => state.upstream = None,
            }
            flight.wakers.wake_others(self.id);
        }
    }
}

impl<K: Eq + Hash> Drop for Listener<K> {
    fn drop(&mut self) {
        let flight = &self.flight;
        {
            let mut state = lock(&flight.state);
            state.places.remove(&self.id);
            state.trim();
        }
        flight.wakers.forget(self.id);
        if let Some(open) = flight.open.upgrade() {
            let mut open = lock(&open);
            // Under the map's lock nobody can join, so a count of one means that this was the last listener.
            let ours = open.get(&flight.key).is_some_and(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(flight)));
            if ours && Arc::strong_count(flight) == 1 {
                open.remove(&flight.key);
            }
        }
        // The one who left may have been the one that was to be woken.
        flight.wakers.wake_all();
    }
}

/// Everybody who waits for the shared stream: the upstream's waker wakes them all, so that one slow listener never holds up the others.
#[derive(Debug, Default)]
struct Wakers(Mutex<HashMap<u64, Waker>>);

impl Wakers {
    fn register(&self, id: u64, waker: &Waker) {
        lock(&self.0).insert(id, waker.clone());
    }

    fn forget(&self, id: u64) {
        lock(&self.0).remove(&id);
    }

    fn wake_others(&self, id: u64) {
        let others: Vec<Waker> = {
            let mut wakers = lock(&self.0);
            let own = wakers.remove(&id);
            let others = wakers.drain().map(|(_, waker)| waker).collect();
            wakers.extend(own.map(|own| (id, own)));
            others
        };
        others.into_iter().for_each(Waker::wake);
    }

    fn wake_all(&self) {
        let all: Vec<Waker> = lock(&self.0).drain().map(|(_, waker)| waker).collect();
        all.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// About how many bytes an event holds.
pub(crate) fn weight(event: &Event) -> usize {
    let raw = event.raw.as_ref().map_or(0, |raw| raw.data.len());
    let parts: usize = event.deltas.iter().map(delta_weight).sum();
    std::mem::size_of::<Event>() + raw + parts
}

fn delta_weight(delta: &Delta) -> usize {
    let text = match delta {
        Delta::BlockDelta {
            part: Part::Text(text) | Part::ToolArguments(text) | Part::Bytes(text) | Part::Signature(text),
            ..
        } => text.len(),
        Delta::BlockDelta { part: Part::Logprobs(list), .. } => list.len() * 256,
        Delta::BlockDelta { part: Part::Annotation(value) | Part::Raw(value), .. }
        | Delta::Unknown { raw: value, .. } => value.to_string().len(),
        _ => 0,
    };
    std::mem::size_of::<Delta>() + text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::StreamExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::delta::BlockKind;
    use crate::response::Response;
    use crate::response::collect;

    fn start() -> Delta {
        Delta::Start { id: "1".into(), model: "m".into(), created: None }
    }

    fn answer(text: &str) -> Vec<Delta> {
        Response::of_text("1", "m", text).to_deltas()
    }

    /// An upstream that the test feeds by hand, and a sign of whether it still lives.
    fn by_hand() -> (mpsc::UnboundedSender<Result<Event>>, DeltaStream) {
        let (feed, mut fed) = mpsc::unbounded_channel();
        (feed, DeltaStream::new(futures_util::stream::poll_fn(move |cx| fed.poll_recv(cx))))
    }

    #[tokio::test]
    async fn all_listeners_get_the_one_answer() {
        let flights = Flights::<u8>::default();
        let (feed, upstream) = by_hand();
        let (first, side) = flights.join(&1, || upstream);
        assert_eq!(side, Joined::First);
        feed.send(Ok(Event::from(answer("hello")[..2].to_vec()))).unwrap();
        let listeners = (0..3).map(|_| flights.join(&1, || unreachable!()).0);
        let all = futures_util::future::join_all(listeners.chain([first]).map(collect));
        let rest = answer("hello")[2..].to_vec();
        let feeding = async {
            feed.send(Ok(rest.into())).unwrap();
            drop(feed);
        };
        let (answers, ()) = futures_util::future::join(all, feeding).await;
        assert_eq!(answers.len(), 4);
        assert!(answers.into_iter().all(|answer| answer.unwrap().text() == "hello"));
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn one_who_leaves_does_not_stop_the_others_and_the_last_one_cancels() {
        let flights = Flights::<u8>::default();
        let (feed, upstream) = by_hand();
        let (mut first, _) = flights.join(&1, || upstream);
        let (mut second, _) = flights.join(&1, || unreachable!());
        // The first one is the last to have polled the upstream when it leaves.
        assert!(futures_util::poll!(second.next()).is_pending());
        assert!(futures_util::poll!(first.next()).is_pending());
        let waiting = tokio::spawn(async move {
            let event = second.next().await;
            (event, second)
        });
        tokio::task::yield_now().await;
        drop(first);
        feed.send(Ok(start().into())).unwrap();
        let (event, second) = waiting.await.unwrap();
        assert_eq!(event, Some(Ok(start().into())));
        assert!(!feed.is_closed());
        drop(second);
        assert!(feed.is_closed());
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_failure_reaches_everyone_and_is_not_joined() {
        let flights = Flights::<u8>::default();
        let (feed, upstream) = by_hand();
        let (first, _) = flights.join(&1, || upstream);
        let (second, _) = flights.join(&1, || unreachable!());
        feed.send(Err(Error::protocol("cut"))).unwrap();
        let (a, b) = futures_util::future::join(collect(first), collect(second)).await;
        assert_eq!((a.unwrap_err(), b.unwrap_err()), (Error::protocol("cut"), Error::protocol("cut")));
        let (_, side) = flights.join(&1, || by_hand().1);
        assert_eq!(side, Joined::First);
    }

    #[tokio::test]
    async fn a_long_answer_is_not_joined_and_the_fast_wait_for_the_slow() {
        let flights = Flights::<u8>::default();
        let (feed, upstream) = by_hand();
        let (mut fast, _) = flights.join(&1, || upstream);
        let (mut slow, _) = flights.join(&1, || unreachable!());
        feed.send(Ok(vec![start(), Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text }].into())).unwrap();
        let piece =
            || Ok(Delta::BlockDelta { choice: 0, block: 0, part: Part::Text("x".repeat(LOG_BYTES / 4)) }.into());
        for _ in 0..8 {
            feed.send(piece()).unwrap();
        }
        let mut read = 0;
        while let Poll::Ready(Some(event)) = futures_util::poll!(fast.next()) {
            event.unwrap();
            read += 1;
        }
        assert!((4..9).contains(&read), "the fast one stopped after {read} events");
        assert_eq!(flights.join(&1, || by_hand().1).1, Joined::First);
        slow.next().await.unwrap().unwrap();
        slow.next().await.unwrap().unwrap();
        assert!(futures_util::poll!(fast.next()).is_ready());
    }
}
