//! Sockets: binding, accepting within a limit, and an end in steps.
//!
//! There are two: one for clients, and where the settings say so one for metrics and administration. Read `connection.rs` for what happens on a connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use llm_router::error::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::app::Server;
use crate::connection::{Answerer, Http, http, talk};
use crate::current::{Current, Following, Renewal};
use crate::handle::Side;
use crate::tick::Ticking;
use crate::tls::Certificate;

/// After an error of `accept`, which is mostly a lack of file descriptors: trying again at once would only spin.
const BREATH: Duration = Duration::from_millis(50);
/// Connections to the administration's socket, which have places of their own: it must answer while clients fill theirs.
const ADMIN_CONNECTIONS: usize = 64;

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

/// A server with its sockets. [`Bound::again`] gives another one on the same socket, for another runtime: whichever is free takes the next connection.
pub struct Bound {
    current: Arc<Current>,
    listener: std::net::TcpListener,
    admin: Option<std::net::TcpListener>,
    tls: Option<TlsAcceptor>,
    /// What is looked at again and again; by the first of those on one socket.
    files: Option<Files>,
}

/// What may change while the server runs: files, and the keys that are kept in the state store.
struct Files {
    certificate: Option<Arc<Certificate>>,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("listener", &self.listener)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the sockets and reads the certificate: the one for clients at `address`, the one for administration where the settings want it.
    ///
    /// # Errors
    /// `policy_forbidden` for an address that others reach while no key is configured, unless `server.public` allows it; `router_unavailable` when an address cannot be
    /// bound; `caller_invalid_request` for a certificate that cannot be used.
    pub fn bind(&self, address: SocketAddr) -> Result<Bound> {
        let settings = &self.0.router.settings().server;
        if !address.ip().is_loopback() && self.0.door.keys.is_open() && !settings.public {
            return Err(Error::new(
                ErrorKind::PolicyForbidden,
                format!("{address} is reached by others, and no client key is configured"),
            )
            .with_hint(
                "add [[server.api_keys]], or `public = true` under [server] if everybody may ask, or bind 127.0.0.1",
            ));
        }
        let certificate = match (&settings.tls_cert, &settings.tls_key) {
            (Some(cert), Some(key)) => Some(Certificate::read(cert, key)?),
            (None, None) => None,
            _ => return Err(Error::invalid("TLS needs both server.tls_cert and server.tls_key")),
        };
        let others = !address.ip().is_loopback();
        let server = if others { self.for_others()? } else { self.clone() };
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let listener = open(address, "server.port or --port")?;
        let admin =
            settings.admin.as_deref().map(|text| open(self.admin_address(text)?, "server.admin")).transpose()?;
        let files = Some(Files { certificate });
        Ok(Bound { current: Current::new(server, others), listener, admin, tls, files })
    }

    fn admin_address(&self, text: &str) -> Result<SocketAddr> {
        let address: SocketAddr = text.replacen("localhost:", "127.0.0.1:", 1).parse().map_err(|_| {
            Error::invalid(format!("server.admin: {text:?} is not an address"))
                .with_hint("give an IP address and a port, \"127.0.0.1:8001\"")
        })?;
        if !address.ip().is_loopback() && !self.0.door.keys.has_admin() {
            return Err(Error::new(
                ErrorKind::PolicyForbidden,
                format!("server.admin: {address} is reached by others, and no key is for administration"),
            )
            .with_hint("set `admin = true` on one of [[server.api_keys]], or use 127.0.0.1"));
        }
        Ok(address)
    }
}

fn open(address: SocketAddr, setting: &str) -> Result<std::net::TcpListener> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        Error::new(ErrorKind::RouterUnavailable, format!("cannot listen on {address}: {error}"))
            .with_hint(format!("choose another with {setting}, or end what listens there"))
    })
}

impl Bound {
    /// The address, with the port that the system chose where 0 was asked for.
    ///
    /// # Errors
    /// `router_internal` when the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        address_of(&self.listener)
    }

    /// The address of the administration's socket, where there is one.
    ///
    /// # Errors
    /// `router_internal` when the system does not say.
    pub fn admin_address(&self) -> Result<Option<SocketAddr>> {
        self.admin.as_ref().map(address_of).transpose()
    }

    /// Whether clients speak TLS.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The clients' socket once more.
    ///
    /// # Errors
    /// `router_internal` when the system has no descriptor left.
    pub fn again(&self) -> Result<Self> {
        let listener = self
            .listener
            .try_clone()
            .map_err(|error| Error::internal(format!("the socket cannot be shared: {error}")))?;
        Ok(Self { current: Arc::clone(&self.current), listener, admin: None, tls: self.tls.clone(), files: None })
    }

    /// What puts another router behind this socket, while it serves too.
    pub fn renewal(&self) -> Renewal {
        Renewal(Arc::clone(&self.current))
    }

    /// Serves on the runtime it is called on until `ended` is ready, then ends in the steps of what it says. What is still under way after the grace time is cut off.
    ///
    /// # Errors
    /// `router_internal` when the runtime cannot watch the sockets; `router_unavailable` when the keys of clients cannot be read.
    pub async fn serve(self, ended: impl Future<Output = Stop>) -> Result<()> {
        let Self { current, listener, admin, tls, files } = self;
        let server = current.now().server.clone();
        if let Some(keys) = server.0.door.keys.made() {
            // Nobody is told that a key is unknown before the keys were read.
            keys.refresh().await?;
        }
        let (listener, admin) = (watch(listener)?, admin.map(watch).transpose()?);
        let connections = GracefulShutdown::new();
        let accepting = Accepting {
            http: http(&server.0.options),
            watch: &connections,
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        let _rereading = files.map(|files| AbortOnDropHandle::new(tokio::spawn(reread(Arc::clone(&current), files))));
        let ticking = Arc::new(Ticking::default());
        let _ticking = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&ticking).run()));
        let following = Arc::new(Following::new(current));
        let answerer = |side| Answerer { following: Arc::clone(&following), side, ticking: Arc::clone(&ticking) };
        let clients =
            Socket { listener: &listener, answerer: answerer(Side::Clients), tls, slots: Arc::clone(&server.0.slots) };
        let admins = admin.as_ref().map(|listener| Socket {
            listener,
            answerer: answerer(Side::Admin {
                from_here: listener.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            }),
            tls: None,
            slots: Arc::new(Semaphore::new(ADMIN_CONNECTIONS)),
        });
        let administration = async {
            match admins {
                Some(socket) => accepting.accept(socket).await,
                None => std::future::pending().await,
            }
        };
        let drained = async {
            let stop = ended.await;
            server.0.door.drain();
            tokio::time::sleep(stop.drain).await;
            stop
        };
        let stop = tokio::select! {
            () = accepting.accept(clients) => Stop::default(),
            () = administration => Stop::default(),
            stop = drained => stop,
        };
        let Accepting { tasks, cut, .. } = accepting;
        drop((listener, admin));
        let _ = tokio::time::timeout(stop.grace, connections.shutdown()).await;
        cut.cancel();
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

fn watch(listener: std::net::TcpListener) -> Result<TcpListener> {
    TcpListener::from_std(listener).map_err(|error| Error::internal(format!("the socket cannot be watched: {error}")))
}

fn address_of(listener: &std::net::TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::internal(format!("the socket has no address: {error}")))
}

/// Looks at the files of keys and certificates again and again. They are small, and read off the request's path.
async fn reread(current: Arc<Current>, files: Files) {
    let server = current.now().server.clone();
    let following = async {
        loop {
            // What is to be followed may first come with a configuration that is read later.
            match current.now().server.0.door.keys.followed().cloned() {
                Some(keys) => keys.watch().await,
                None => tokio::time::sleep(server.0.options.reread).await,
            }
        }
    };
    tokio::join!(following, server.0.kept.tell(), reread_files(&current, &files));
}

async fn reread_files(current: &Current, files: &Files) {
    loop {
        let server = current.now().server.clone();
        tokio::time::sleep(server.0.options.reread).await;
        server.0.door.keys.reread();
        if let Some(certificate) = &files.certificate {
            certificate.reread();
        }
    }
}

/// A socket, and what its connections are given.
struct Socket<'a> {
    listener: &'a TcpListener,
    answerer: Answerer,
    tls: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
}

/// What all connections share.
struct Accepting<'a> {
    http: Http,
    watch: &'a GracefulShutdown,
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Accepting<'_> {
    /// Takes connections for ever, each into a task of its own.
    async fn accept(&self, socket: Socket<'_>) {
        let Socket { listener, answerer, tls, slots } = socket;
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
            let (answerer, http, watcher) = (answerer.clone(), self.http.clone(), self.watch.watcher());
            let (tls, cut) = (tls.clone(), self.cut.clone());
            self.tasks.spawn(async move {
                let _slot = slot;
                let talk = async {
                    match tls {
                        None => talk(answerer, &http, watcher, stream).await,
                        Some(tls) => {
                            let patience = answerer.following.now().server.0.options.head_timeout;
                            let Some(stream) = shake_hands(&tls, stream, patience).await else { return };
                            talk(answerer, &http, watcher, stream).await;
                        }
                    }
                };
                tokio::select! {
                    () = talk => {}
                    () = cut.cancelled() => {}
                }
            });
        }
    }
}

async fn shake_hands(
    tls: &TlsAcceptor,
    stream: TcpStream,
    patience: Duration,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    tokio::time::timeout(patience, tls.accept(stream)).await.ok()?.ok()
}
