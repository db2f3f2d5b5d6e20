//! One connection: HTTP/1.1 or HTTP/2 as the client begins, watched so that a silent one does not keep its place for ever.
//!
//! The watch counts nothing per byte: reads and writes set a flag, and a timer looks at the flag now and then. A connection on which a request is being answered is
//! never silent, however long the provider thinks. Read `listen.rs` for where connections come from, `door.rs` for what a request must pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::current::Following;
use crate::handle::{Side, handle};
use crate::options::ServerOptions;
use crate::tick::Ticking;

/// The most requests under way on one HTTP/2 connection.
const STREAMS: u32 = 256;

/// How connections speak HTTP.
pub(crate) type Http = Builder<TokioExecutor>;

/// HTTP within the limits of these options.
pub(crate) fn http(options: &ServerOptions) -> Http {
    let mut http = Builder::new(TokioExecutor::new());
    // Not `pipeline_flush`: with it hyper's buffer has no bound, and a reader that stops would fill the memory.
    http.http1().timer(TokioTimer::new()).header_read_timeout(options.head_timeout);
    http.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    http
}

/// What answers the requests of a connection.
#[derive(Clone)]
pub(crate) struct Answerer {
    pub(crate) following: Arc<Following>,
    pub(crate) side: Side,
    pub(crate) ticking: Arc<Ticking>,
}

/// Serves a connection to its end.
pub(crate) async fn talk<S>(answerer: Answerer, http: &Http, watcher: Watcher, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Arc::new(Pulse::default());
    let Answerer { following, side, ticking } = answerer;
    let (head_timeout, idle) = {
        let options = &following.now().server.0.options;
        (options.head_timeout, options.idle)
    };
    let silent = silent(Arc::clone(&pulse), head_timeout, idle);
    let stream = Watched { stream, pulse: Arc::clone(&pulse) };
    let service = service_fn(move |request| {
        ticking.request();
        let answering = Answering::new(&pulse);
        let answer = handle(following.now(), side, request);
        async move {
            let _answering = answering;
            answer.await
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A connection's end is nobody's error: clients come and go.
        _ = watcher.watch(connection.into_owned()) => {}
        () = silent => {}
    }
}

/// Ready when nothing came in time after the connection was made, or when it has been silent for too long.
async fn silent(pulse: Arc<Pulse>, head: Duration, idle: Duration) {
    tokio::time::sleep(head).await;
    while pulse.moved.swap(false, Ordering::Relaxed) || pulse.answering.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(idle).await;
    }
}

/// Signs of life of a connection.
#[derive(Debug, Default)]
struct Pulse {
    moved: AtomicBool,
    answering: AtomicUsize,
}

/// A request that waits for its answer's head.
struct Answering(Arc<Pulse>);

impl Answering {
    fn new(pulse: &Arc<Pulse>) -> Self {
        pulse.answering.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pulse))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that notes when bytes move.
struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S> Watched<S> {
    fn note(&self, moved: bool) {
        if moved {
            self.pulse.moved.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(buf.filled().len() > before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
