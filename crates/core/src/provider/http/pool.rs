//! Connections kept and shared, per host.
//!
//! HTTP/1.1 connections are used by one request at a time and kept for the next. HTTP/2 connections are shared up to the number of streams that the
//! server allows; the request after that opens another connection, where hyper-util's own client would queue it behind the others.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Uri, header, response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::connect::{Certificates, Connected, Connector, Io, Origin, broken};
use super::outgoing::{Payload, Upload};
use super::{HttpOptions, HttpRequest};
use crate::error::{Error, Result};

type Http2Connection = http2::Connection<TokioIo<Box<dyn Io>>, Payload, Owned>;

/// The most hosts remembered while none of their connections is open.
const HOSTS: usize = 256;
/// How long a connection just given back may need until it takes the next request.
const SETTLE: Duration = Duration::from_millis(100);

/// What a limit beyond the clock's reach becomes.
const A_LONG_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Every connection of a client.
pub(super) struct Pool {
    connector: Connector,
    hosts: Mutex<HashMap<Origin, Arc<Host>>>,
    idle: Duration,
    idle_per_host: usize,
}

impl Pool {
    pub(super) fn new(connector: Connector, options: &HttpOptions) -> Self {
        Self { connector, hosts: Mutex::default(), idle: options.idle, idle_per_host: options.idle_per_host }
    }

    /// An empty pool like this one, whose connections trust these certificates too.
    pub(super) fn trusting(&self, more: &Certificates) -> Self {
        let connector = self.connector.trusting(more);
        Self { connector, hosts: Mutex::default(), idle: self.idle, idle_per_host: self.idle_per_host }
    }

    /// A connection for one request: a kept one, a share of one, or a new one. The caller bounds the time.
    pub(super) async fn checkout(&self, origin: &Origin) -> Result<Lease> {
        let host = self.host(origin);
        if let Some(lease) = host.reuse().await {
            return Ok(lease);
        }
        // In a box, like all that few requests come to: the future of every request would have room for it, and be moved with it.
        Box::pin(self.connect(origin, &host)).await
    }

    async fn connect(&self, origin: &Origin, host: &Arc<Host>) -> Result<Lease> {
        // While it is unknown whether one connection will do for all, only one is opened at a time.
        let turn = if origin.https && !host.state().one_at_a_time { Some(host.connecting.lock().await) } else { None };
        if let Some(lease) = host.reuse().await {
            return Ok(lease);
        }
        if host.state().one_at_a_time {
            drop(turn);
        }
        self.open(origin, host).await
    }

    fn host(&self, origin: &Origin) -> Arc<Host> {
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(origin) {
            return Arc::clone(host);
        }
        if hosts.len() >= HOSTS {
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || !host.state().is_unused());
        }
        let host = Arc::new(Host { idle_limit: self.idle_per_host, ..Host::default() });
        hosts.insert(origin.clone(), Arc::clone(&host));
        host
    }

    async fn open(&self, origin: &Origin, host: &Arc<Host>) -> Result<Lease> {
        let Connected { io, http2, forward } = self.connector.connect(origin).await?;
        tracing::debug!(%origin, http2, proxy = forward.is_some(), "connected");
        let io = TokioIo::new(io);
        let activity = Arc::new(Activity::default());
        if !http2 {
            let mut builder = http1::Builder::new();
            builder.max_header_size(64 << 10);
            let (sender, connection) = builder.handshake(io).await.map_err(|error| broken(origin, error))?;
            let driver = drive(async move { drop(connection.await) }, activity.clone(), self.idle);
            host.state().one_at_a_time = true;
            let connection = Http1 {
                sender,
                home: here(),
                forward,
                activity,
                _driver: AbortOnDropHandle::new(tokio::spawn(driver)),
            };
            return Ok(connection.lease(host, false));
        }
        let tasks = Owned::default();
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(16 << 20)
            // Until the server says how many streams it allows, one is what it surely takes.
            .initial_max_send_streams(1)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        let (sender, connection) = builder.handshake(io).await.map_err(|error| broken(origin, error))?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let driver = drive_shared(connection.clone(), activity.clone(), self.idle);
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let shared = Arc::new(Http2 { sender, connection, activity, tasks, _driver: driver });
        let lease = shared.lease().ok_or_else(|| Error::connection(format!("{origin} takes no requests")))?;
        let mut state = host.state();
        state.one_at_a_time = false;
        state.shared.push(shared);
        Ok(lease)
    }
}

/// What is known of one host.
#[derive(Default)]
struct Host {
    /// Held by the request that opens a connection which others may share.
    connecting: tokio::sync::Mutex<()>,
    state: Mutex<HostState>,
    idle_limit: usize,
}

#[derive(Default)]
struct HostState {
    /// Whether its last connection spoke HTTP/1.1: then requests need not wait for each other to connect.
    one_at_a_time: bool,
    idle: Vec<Http1>,
    shared: Vec<Arc<Http2>>,
}

impl HostState {
    fn is_unused(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty()
    }
}

impl Host {
    fn state(&self) -> MutexGuard<'_, HostState> {
        lock(&self.state)
    }

    async fn reuse(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let mut kept = {
                let mut state = self.state();
                state.shared.retain(|connection| connection.is_open());
                if let Some(lease) = state.shared.iter().find_map(Http2::lease) {
                    return Some(lease);
                }
                state.idle.retain(|connection| !connection.sender.is_closed());
                let here = here();
                match state.idle.iter().rposition(|connection| connection.home == here) {
                    Some(at) => state.idle.swap_remove(at),
                    None => state.idle.pop()?,
                }
            };
            // The body's end is seen by its reader a moment before the connection itself is ready again.
            let settled = kept.sender.is_ready()
                || Box::pin(tokio::time::timeout(SETTLE, kept.sender.ready())).await.is_ok_and(|ready| ready.is_ok());
            if settled {
                return Some(kept.lease(self, true));
            }
        }
    }
}

struct Http1 {
    sender: http1::SendRequest<Payload>,
    /// The thread that opened it, see [`here`].
    home: usize,
    forward: Option<Option<HeaderValue>>,
    activity: Arc<Activity>,
    _driver: AbortOnDropHandle<()>,
}

impl Http1 {
    fn lease(self, host: &Arc<Host>, reused: bool) -> Lease {
        self.activity.begin();
        Lease::Single { connection: self, host: host.clone(), reused }
    }
}

struct Http2 {
    sender: http2::SendRequest<Payload>,
    /// Gone once the connection is over.
    connection: Arc<Mutex<Option<Http2Connection>>>,
    activity: Arc<Activity>,
    tasks: Owned,
    _driver: AbortOnDropHandle<()>,
}

impl Http2 {
    fn is_open(&self) -> bool {
        !self.sender.is_closed() && lock(&self.connection).is_some()
    }

    /// A share of the connection, unless the server allows no further stream.
    fn lease(self: &Arc<Self>) -> Option<Lease> {
        let allowed = lock(&self.connection).as_ref().map_or(0, http2::Connection::current_max_send_streams);
        self.activity.begin_below(allowed).then(|| Lease::Shared(self.clone().into()))
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        lock(&self.tasks.0).abort_all();
    }
}

/// A share of an HTTP/2 connection; dropping it frees the stream's place.
pub(super) struct Share(Arc<Http2>);

impl From<Arc<Http2>> for Share {
    fn from(connection: Arc<Http2>) -> Self {
        Self(connection)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.activity.end();
    }
}

/// A connection, or a share of one, for one request.
#[allow(private_interfaces)]
pub(super) enum Lease {
    /// HTTP/1.1. Dropping it closes the connection; [`Lease::finish`] keeps it.
    Single { connection: Http1, host: Arc<Host>, reused: bool },
    /// HTTP/2.
    Shared(Share),
}

/// Why a request got no answer.
pub(super) enum SendFailure {
    /// It never left, or went into a kept connection that its server was just closing: another connection may be tried.
    Unsent,
    /// It may have left.
    Broken(hyper::Error),
}

impl Lease {
    /// Sends a request and waits for the head.
    pub(super) async fn send(
        &mut self,
        request: &HttpRequest,
    ) -> std::result::Result<(response::Parts, Incoming), SendFailure> {
        let reused = matches!(self, Lease::Single { reused: true, .. });
        let answer = match self {
            Lease::Single { connection, .. } => {
                let message = http1_request(request, connection.forward.as_ref());
                connection.sender.try_send_request(message).await
            }
            Lease::Shared(share) => {
                let mut sender = share.0.sender.clone();
                sender.try_send_request(http_request(request, request.uri.clone())).await
            }
        };
        match answer {
            Ok(answer) => Ok(answer.into_parts()),
            Err(mut error) => match error.take_message() {
                Some(_) => Err(SendFailure::Unsent),
                None if request.upload.as_ref().is_some_and(Upload::is_touched) => {
                    Err(SendFailure::Broken(error.into_error()))
                }
                None if reused && error.error().is_incomplete_message() => Err(SendFailure::Unsent),
                None => Err(SendFailure::Broken(error.into_error())),
            },
        }
    }

    /// The exchange is over: the connection may serve the next.
    pub(super) fn finish(self) {
        if let Lease::Single { connection, host, .. } = self {
            let mut state = host.state();
            if state.idle.len() < host.idle_limit && !connection.sender.is_closed() {
                connection.activity.end();
                state.idle.push(connection);
            }
        }
    }
}

/// A number of the running thread. Where each thread has a runtime of its own, a connection is best used on the one that moves its bytes: elsewhere every piece
/// wakes another thread.
fn here() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static HERE: usize = THREADS.fetch_add(1, Ordering::Relaxed));
    HERE.with(|here| *here)
}

/// HTTP/1.1 names the host in a header and only the path in its first line, unless a proxy passes it on.
fn http1_request(request: &HttpRequest, forward: Option<&Option<HeaderValue>>) -> Request<Payload> {
    let target = match (forward, request.uri.path_and_query()) {
        (None, Some(path)) => Uri::from(path.clone()),
        _ => request.uri.clone(),
    };
    let mut message = http_request(request, target);
    let authority = request.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = authority {
        message.headers_mut().entry(header::HOST).or_insert(host);
    }
    if let Some(Some(authorization)) = forward {
        message.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    message
}

fn http_request(request: &HttpRequest, uri: Uri) -> Request<Payload> {
    let mut message = Request::new(match &request.upload {
        Some(upload) => Payload::Upload(upload.clone()),
        None => Payload::Whole(Full::new(request.body.clone())),
    });
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.headers_mut() = request.headers.clone();
    message
}

/// How much a connection is used, and since when it is not.
struct Activity {
    busy: AtomicUsize,
    since: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { busy: AtomicUsize::new(0), since: Mutex::new(Instant::now()) }
    }
}

impl Activity {
    fn begin(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    fn begin_below(&self, limit: usize) -> bool {
        self.busy.fetch_update(Ordering::AcqRel, Ordering::Acquire, |busy| (busy < limit).then_some(busy + 1)).is_ok()
    }

    fn end(&self) {
        *lock(&self.since) = Instant::now();
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }

    /// When it will have been unused for `limit`, if nothing happens before.
    fn expires(&self, limit: Duration) -> Instant {
        let since = if self.busy.load(Ordering::Acquire) > 0 { Instant::now() } else { *lock(&self.since) };
        since.checked_add(limit).unwrap_or_else(|| since + A_LONG_TIME)
    }
}

/// Moves a connection's bytes until it ends or was unused for `idle`.
async fn drive(connection: impl Future<Output = ()>, activity: Arc<Activity>, idle: Duration) {
    let mut connection = pin!(connection);
    loop {
        let until = activity.expires(idle);
        tokio::select! {
            () = &mut connection => return,
            () = tokio::time::sleep_until(until) => {
                if activity.expires(idle) <= Instant::now() {
                    return;
                }
            }
        }
    }
}

/// As [`drive`], for a connection that the pool looks at meanwhile. Answers under way still come: hyper's own tasks bring them and then end.
async fn drive_shared(connection: Arc<Mutex<Option<Http2Connection>>>, activity: Arc<Activity>, idle: Duration) {
    let running = poll_fn(|cx| match lock(&connection).as_mut() {
        Some(connection) => Pin::new(connection).poll(cx).map(drop),
        None => std::task::Poll::Ready(()),
    });
    drive(running, activity, idle).await;
    *lock(&connection) = None;
}

/// Runs hyper's own tasks of one HTTP/2 connection; they end with it.
#[derive(Clone, Default)]
struct Owned(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owned {
    fn execute(&self, task: F) {
        let mut tasks = lock(&self.0);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// A poisoned lock only says that another request panicked; the lists behind these locks are whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
