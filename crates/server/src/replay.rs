//! `Idempotency-Key`: a request sent again under the same key joins the call that is under way, or gets the answer that it gave.
//!
//! As in the router's flights there is no task: whichever listener is polled moves the call on and everybody is woken, so the call ends with its last listener. What is kept is
//! the answer's head and bytes, bounded in size, number and time, and belongs to the client's key, the path and the idempotency key together. Failures are not kept: a
//! retry deserves a try of its own.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body::Frame;
use llm_router::error::{Error, Result};
use tokio::time::Instant;

use crate::app::Inner;
use crate::door::Caller;
use crate::handle::pass;
use crate::relay::Broken;
use crate::{body, early, error};

/// The header of the key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says in an answer that it was given before, or is being given to somebody else too.
pub(crate) const REPLAYED: &str = "idempotent-replayed";

/// The longest key.
const LONGEST_KEY: usize = 255;
/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// The most calls and answers known at once.
const MOST: usize = 1024;
/// The most bytes of answers that are kept.
const MOST_BYTES: usize = 32 << 20;
/// The largest answer that can be joined late or kept.
const LARGEST: usize = 4 << 20;

/// The calls under way and the answers kept.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    known: Arc<Mutex<Known>>,
    prints: RandomState,
}

/// Whose call: the client, the path, the idempotency key.
type Name = (Option<Arc<str>>, String, String);

#[derive(Debug, Default)]
struct Known {
    calls: HashMap<Name, Slot>,
    /// Kept answers, the oldest first.
    kept: VecDeque<(Arc<Call>, Instant, usize)>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    print: u64,
    call: Held,
}

#[derive(Debug)]
enum Held {
    /// Under way; it lives as long as its listeners.
    Running(Weak<Call>),
    /// Over, with the answer.
    Kept(Arc<Call>),
}

impl Replays {
    /// Answers a request that has a key.
    pub(crate) async fn answer(&self, server: &Arc<Inner>, routes: axum::Router, request: Request<Body>) -> Response {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let id = head.extensions.get().cloned().unwrap_or_else(|| server.router.new_id());
        let key = head.headers.get(KEY).and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
        if key.is_empty() || key.len() > LONGEST_KEY {
            let error = Error::invalid(format!("the idempotency key is not a text of 1 to {LONGEST_KEY} characters"));
            return early::answer(error::at_path(&path, &error, Some(&id)), body);
        }
        let bytes = match body::read(body, &head.headers, &server.options).await {
            Ok(bytes) => bytes,
            Err((error, rest)) => return early::answer(error::at_path(&path, &error, Some(&id)), rest),
        };
        let print = self.prints.hash_one((&bytes, head.uri.query()));
        let caller = head.extensions.get::<Caller>().cloned().unwrap_or_default();
        let broken = Broken::default();
        head.extensions.insert(broken.clone());
        let answering = Box::pin(pass(routes, Request::from_parts(head, Body::from(bytes))));
        let joined = self.join((caller.name, path.clone(), key), print, broken, answering);
        let (mut listener, later) = match joined {
            Ok(joined) => joined,
            Err(error) => return error::at_path(&path, &error, Some(&id)),
        };
        let (status, headers) = std::future::poll_fn(|cx| listener.poll_head(cx)).await;
        let mut response = Response::new(Body::new(listener));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if later {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }

    /// Listens to the call of this name; where there is none it begins, with this answer. Says whether it was begun before.
    fn join(
        &self,
        name: Name,
        print: u64,
        broken: Broken,
        answering: BoxFuture<'static, Response>,
    ) -> Result<(Listener, bool)> {
        let state = State { source: Source::Head(answering), ..State::default() };
        let fresh = Arc::new(Call {
            name: name.clone(),
            known: Arc::downgrade(&self.known),
            broken,
            state: Mutex::new(state),
            wakers: Arc::default(),
        });
        // A call that cannot be listened to any more.
        let mut past: Option<Arc<Call>> = None;
        loop {
            // Looked up and put there in one: of those that come at once one begins.
            let call = {
                let mut known = lock(&self.known);
                match known.held(&name, print)?.filter(|call| past.as_ref().is_none_or(|past| !Arc::ptr_eq(past, call)))
                {
                    Some(call) => call,
                    None => {
                        known.begin(name.clone(), print, &fresh);
                        Arc::clone(&fresh)
                    }
                }
            };
            // The map is not held while a call's own lock is waited for.
            let later = !Arc::ptr_eq(&call, &fresh);
            match call.listen() {
                Some(listener) => return Ok((listener, later)),
                None if later => past = Some(call),
                None => return Err(Error::internal("a call that just began cannot be listened to")),
            }
        }
    }
}

impl Known {
    /// The call of this name, where one is known.
    ///
    /// # Errors
    /// `caller_invalid_request` where it is another request's.
    fn held(&self, name: &Name, print: u64) -> Result<Option<Arc<Call>>> {
        match self.calls.get(name) {
            Some(slot) if slot.print != print => {
                Err(Error::invalid("the idempotency key was used with another request")
                    .with_hint("use a new key for a new request"))
            }
            Some(Slot { call: Held::Running(call), .. }) => Ok(call.upgrade()),
            Some(Slot { call: Held::Kept(call), .. }) => Ok(Some(Arc::clone(call))),
            None => Ok(None),
        }
    }

    /// Lets others join this call, if there is room.
    fn begin(&mut self, name: Name, print: u64, call: &Arc<Call>) {
        self.purge();
        if self.calls.len() < MOST {
            self.calls.insert(name, Slot { print, call: Held::Running(Arc::downgrade(call)) });
        }
    }

    /// Forgets what nobody listens to any more, what is old, and what is too much.
    fn purge(&mut self) {
        self.calls.retain(|_, slot| !matches!(&slot.call, Held::Running(call) if call.strong_count() == 0));
        while let Some((_, since, _)) = self.kept.front() {
            if since.elapsed() < KEPT_FOR && self.bytes <= MOST_BYTES && self.kept.len() < MOST {
                break;
            }
            let Some((old, _, bytes)) = self.kept.pop_front() else { break };
            self.bytes -= bytes;
            let held = self.calls.get(&old.name).map(|slot| &slot.call);
            if matches!(held, Some(Held::Kept(call)) if Arc::ptr_eq(call, &old)) {
                self.calls.remove(&old.name);
            }
        }
    }
}

/// One call, shared by those who listen to it.
struct Call {
    name: Name,
    known: Weak<Mutex<Known>>,
    broken: Broken,
    state: Mutex<State>,
    wakers: Arc<Wakers>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Call")
    }
}

#[derive(Default)]
struct State {
    source: Source,
    head: Option<(StatusCode, HeaderMap)>,
    log: VecDeque<Bytes>,
    /// The place of the log's first piece in the whole answer.
    base: usize,
    bytes: usize,
    /// Whether the log has lost its beginning, or will.
    large: bool,
    /// listener → the place of the piece it wants next.
    places: HashMap<u64, usize>,
    next: u64,
    /// When it ended, if it is kept.
    ended: Option<Instant>,
}

#[derive(Default)]
enum Source {
    Head(BoxFuture<'static, Response>),
    Body(Body),
    #[default]
    Over,
}

impl Call {
    /// A listener from the beginning, unless the beginning is gone or the answer is too old.
    fn listen(self: &Arc<Self>) -> Option<Listener> {
        let mut state = lock(&self.state);
        let failed = matches!(state.source, Source::Over) && state.ended.is_none();
        if state.large || failed || state.ended.is_some_and(|ended| ended.elapsed() >= KEPT_FOR) {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.places.insert(id, 0);
        Some(Listener { id, call: Arc::clone(self) })
    }

    /// Moves the call on by one step, if it can.
    fn advance(self: &Arc<Self>, state: &mut State) -> Poll<()> {
        let waker = Waker::from(Arc::clone(&self.wakers));
        let cx = &mut Context::from_waker(&waker);
        match &mut state.source {
            Source::Over => return Poll::Ready(()),
            Source::Head(answering) => {
                let Poll::Ready(response) = answering.as_mut().poll(cx) else { return Poll::Pending };
                let (head, body) = response.into_parts();
                state.head = Some((head.status, head.headers));
                state.source = Source::Body(body);
            }
            Source::Body(body) => match http_body::Body::poll_frame(Pin::new(body), cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    // Whoever has been told the length reads no further than that.
                    let over = http_body::Body::is_end_stream(body);
                    if let Ok(data) = frame.into_data() {
                        state.bytes += data.len();
                        state.large |= state.bytes > LARGEST;
                        state.log.push_back(data);
                    }
                    if over {
                        state.source = Source::Over;
                        self.keep(state);
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    state.source = Source::Over;
                    self.keep(state);
                }
            },
        }
        self.wakers.wake_by_ref();
        Poll::Ready(())
    }

    /// The call is over: its answer is kept, or forgotten where it is no good one.
    fn keep(self: &Arc<Self>, state: &mut State) {
        let good = state.head.as_ref().is_some_and(|(status, _)| status.is_success())
            && !state.large
            && !self.broken.0.load(Ordering::Acquire);
        let Some(known) = self.known.upgrade() else { return };
        let mut known = lock(&known);
        // Somebody else may have begun the same call meanwhile.
        let own = known
            .calls
            .get_mut(&self.name)
            .filter(|slot| matches!(&slot.call, Held::Running(call) if std::ptr::eq(call.as_ptr(), Arc::as_ptr(self))));
        let Some(slot) = own else { return };
        if good {
            let now = Instant::now();
            slot.call = Held::Kept(Arc::clone(self));
            state.ended = Some(now);
            known.bytes += state.bytes;
            known.kept.push_back((Arc::clone(self), now, state.bytes));
            known.purge();
        } else {
            known.calls.remove(&self.name);
        }
    }
}

impl State {
    fn piece(&self, at: usize) -> Option<Bytes> {
        self.log.get(at.checked_sub(self.base)?).cloned()
    }

    /// Drops what everybody has read of an answer that is too large to be joined late.
    fn trim(&mut self) {
        let slowest = self.places.values().min().copied().unwrap_or(usize::MAX);
        while self.large && self.base < slowest {
            let Some(piece) = self.log.pop_front() else { break };
            self.bytes -= piece.len();
            self.base += 1;
        }
    }
}

/// One of those who get a call's answer; it is the answer's body.
struct Listener {
    id: u64,
    call: Arc<Call>,
}

impl Listener {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<(StatusCode, HeaderMap)> {
        let mut state = lock(&self.call.state);
        loop {
            if let Some(head) = &state.head {
                return Poll::Ready(head.clone());
            }
            self.call.wakers.add(self.id, cx.waker());
            if self.call.advance(&mut state).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl http_body::Body for Listener {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, std::convert::Infallible>>> {
        let mut state = lock(&self.call.state);
        loop {
            let at = state.places.get(&self.id).copied().unwrap_or_default();
            if let Some(piece) = state.piece(at) {
                state.places.insert(self.id, at + 1);
                let full = state.large;
                state.trim();
                if full {
                    self.call.wakers.wake_by_ref();
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if matches!(state.source, Source::Over) {
                return Poll::Ready(None);
            }
            self.call.wakers.add(self.id, cx.waker());
            // The fastest waits for the slowest once the log is full.
            if state.large && state.bytes > LARGEST {
                return Poll::Pending;
            }
            if self.call.advance(&mut state).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_all()
    }
}

impl Listener {
    fn has_all(&self) -> bool {
        let state = lock(&self.call.state);
        let at = state.places.get(&self.id).copied().unwrap_or_default();
        matches!(state.source, Source::Over) && at >= state.base + state.log.len()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = lock(&self.call.state);
        state.places.remove(&self.id);
        state.trim();
        drop(state);
        self.call.wakers.remove(self.id);
        // Whoever waited for this one, or relied on it to be woken, goes on.
        self.call.wakers.wake_by_ref();
    }
}

/// Wakes everybody who listens.
#[derive(Debug, Default)]
struct Wakers(Mutex<HashMap<u64, Waker>>);

impl Wakers {
    fn add(&self, id: u64, waker: &Waker) {
        lock(&self.0).insert(id, waker.clone());
    }

    fn remove(&self, id: u64) {
        lock(&self.0).remove(&id);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let all = std::mem::take(&mut *lock(&self.0));
        all.into_values().for_each(Waker::wake);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn of_those_who_bring_a_key_at_once_one_begins() {
        const AT_ONCE: usize = 4;
        for _ in 0..100 {
            let (replays, together) = (Replays::default(), Barrier::new(AT_ONCE));
            let join = || {
                together.wait();
                let name = (None, "/v1/chat/completions".to_owned(), "key".to_owned());
                let joined = replays.join(name, 7, Broken::default(), Box::pin(std::future::pending()));
                let (_listener, later) = joined.unwrap();
                // A call ends with its last listener.
                together.wait();
                usize::from(!later)
            };
            let begun: usize = std::thread::scope(|scope| {
                let joining: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(join)).collect();
                joining.into_iter().map(|one| one.join().unwrap()).sum()
            });
            assert_eq!(begun, 1);
        }
    }
}
