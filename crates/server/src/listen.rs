//! Sockets: accepting, HTTP/1.1 and HTTP/2 with or without TLS, limits, and an end in steps.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use llm_router::error::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use crate::app::Server;
use crate::error;

/// How often key files are looked at again.
const REREAD: Duration = Duration::from_secs(2);
/// After an error of `accept`, which is mostly a lack of file descriptors: trying again at once would only spin.
const BREATH: Duration = Duration::from_millis(50);
/// The most requests under way on one HTTP/2 connection.
const STREAMS: u32 = 256;

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// How long `/readyz` says 503 while everything is still answered, so that balancers notice.
    pub drain: Duration,
    /// How long the requests under way may take once no new connection is taken.
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { drain: Duration::ZERO, grace: Duration::from_secs(30) }
    }
}

/// A server with a socket. [`Bound::again`] gives another one on the same socket, for another runtime: whichever is free takes the next connection.
#[derive(Debug)]
pub struct Bound {
    server: Server,
    listener: std::net::TcpListener,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Server {
    /// Opens the socket.
    ///
    /// # Errors
    /// `policy_forbidden` for an address that others reach while no key is configured, unless `server.public` allows it; `router_unavailable` when the address cannot be bound.
    pub fn bind(&self, address: SocketAddr) -> Result<Bound> {
        if !address.ip().is_loopback() && self.0.door.keys.is_open() && !self.0.router.settings().server.public {
            return Err(Error::new(
                ErrorKind::PolicyForbidden,
                format!("{address} is reached by others, and no client key is configured"),
            )
            .with_hint(
                "add [[server.api_keys]], or `public = true` under [server] if everybody may ask, or bind 127.0.0.1",
            ));
        }
        let bound = std::net::TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = bound.map_err(|error| {
            Error::new(ErrorKind::RouterUnavailable, format!("cannot listen on {address}: {error}"))
                .with_hint("choose another port with --port, or end what listens there")
        })?;
        Ok(Bound { server: self.clone(), listener, tls: None })
    }
}

impl Bound {
    /// The address, with the port that the system chose where 0 was asked for.
    ///
    /// # Errors
    /// `router_internal` when the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|error| Error::internal(format!("the socket has no address: {error}")))
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// `router_internal` when the system has no descriptor left.
    pub fn again(&self) -> Result<Self> {
        let listener = self
            .listener
            .try_clone()
            .map_err(|error| Error::internal(format!("the socket cannot be shared: {error}")))?;
        Ok(Self { server: self.server.clone(), listener, tls: self.tls.clone() })
    }

    /// The same socket behind TLS.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(Tls(TlsAcceptor::from(config)));
        self
    }

    /// Serves on the runtime it is called on until `ended` is ready, then ends in the steps of `stop`. What is still under way after the grace time is cut off.
    ///
    /// # Errors
    /// `router_internal` when the runtime cannot watch the socket.
    pub async fn serve(self, stop: Stop, ended: impl Future<Output = ()>) -> Result<()> {
        let Self { server, listener, tls } = self;
        let listener = TcpListener::from_std(listener)
            .map_err(|error| Error::internal(format!("the socket cannot be watched: {error}")))?;
        let options = &server.0.options;
        let mut http = Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(options.head_timeout).pipeline_flush(true);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(Some(Duration::from_secs(60)));
        let routes = server.routes();
        let slots = Arc::new(Semaphore::new(options.connections));
        let connections = GracefulShutdown::new();
        let tasks = tokio_util::task::TaskTracker::new();
        let cut = tokio_util::sync::CancellationToken::new();
        let reread = server.0.door.keys.in_files().then(|| {
            let server = server.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(REREAD).await;
                    server.0.door.keys.reread();
                }
            })
        });

        let accepting = async {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!("no connection could be taken: {error}");
                        tokio::time::sleep(BREATH).await;
                        continue;
                    }
                };
                // Frames are small and each is wanted at once.
                let _ = stream.set_nodelay(true);
                let (server, routes, http, watcher, cut) =
                    (server.clone(), routes.clone(), http.clone(), connections.watcher(), cut.clone());
                let tls = tls.as_ref().map(|Tls(acceptor)| acceptor.clone());
                let patience = server.0.options.head_timeout;
                tasks.spawn(async move {
                    let _slot = slot;
                    let talk = async {
                        match tls {
                            None => talk(server, routes, &http, watcher, stream).await,
                            Some(tls) => {
                                if let Ok(Ok(stream)) = tokio::time::timeout(patience, tls.accept(stream)).await {
                                    talk(server, routes, &http, watcher, stream).await;
                                }
                            }
                        }
                    };
                    tokio::select! {
                        () = talk => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        };
        let drained = async {
            ended.await;
            server.0.door.drain();
            tokio::time::sleep(stop.drain).await;
        };
        tokio::select! {
            () = accepting => {}
            () = drained => {}
        }
        drop(listener);
        let _ = tokio::time::timeout(stop.grace, connections.shutdown()).await;
        cut.cancel();
        tasks.close();
        tasks.wait().await;
        if let Some(reread) = reread {
            reread.abort();
        }
        Ok(())
    }
}

/// One connection, to its end.
async fn talk<S>(
    server: Server,
    routes: axum::Router,
    http: &Builder<TokioExecutor>,
    watcher: hyper_util::server::graceful::Watcher,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| handle(server.clone(), routes.clone(), request));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // A connection's end is nobody's error: clients come and go.
    let _ = watcher.watch(connection.into_owned()).await;
}

async fn handle(
    server: Server,
    mut routes: axum::Router,
    request: Request<Incoming>,
) -> std::result::Result<Response, Infallible> {
    let (mut head, body) = request.into_parts();
    match server.0.door.admit(&mut head) {
        Ok(caller) => {
            head.extensions.insert(caller);
            routes.call(Request::from_parts(head, Body::new(body))).await
        }
        Err(error) => Ok(error::at_path(head.uri.path(), &error, Some(&server.0.router.new_id()))),
    }
}
