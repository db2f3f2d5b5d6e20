//! `serve`: the HTTP server, until a signal ends it. How it follows its configuration meanwhile is `serve/reloading.rs`.

mod reloading;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use llm_router::config::{Environment, Flags};
use llm_router::error::Error;
use llm_router_app::{App, Home, Peering, Role};
use llm_router_server::{Bound, Server, ServerOptions, Stop};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{Global, Serve};
use crate::output::{self, Failure, Outcome};

/// Whether what is allocated from now on may get pages of two megabytes. They make a request cheaper by a twentieth; every thread that only helps to open things would have one of its own
/// for a few kilobytes. A system that knows no such wish does as it likes.
fn huge_pages(wanted: bool) {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(!wanted);
    #[cfg(not(target_os = "linux"))]
    let _ = wanted;
}

/// Serves: one runtime a core, each on its own thread, so that a request stays on one from its first byte to its last.
pub(crate) fn run(environment: Environment, global: &Global, args: &Serve) -> Outcome {
    huge_pages(false);
    let runtime = single_threaded()?;
    let app = runtime.block_on(async { open(environment, global, args) })?;
    app.warnings().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let settings = &app.router.settings().server;
    let address = address(&settings.host, settings.port).map_err(Failure::Usage)?;
    let server = Server::new(app.router.clone(), ServerOptions::of(app.router.settings())).map_err(Failure::Usage)?;
    let bound = server.bind(address)?;
    if let Some(store) = app.router.deps().store.as_ref().filter(|_| app.router.settings().store.url.is_none()) {
        // Its threads begin here, while they get little pages. What is wrong with it is told to whoever needs it.
        let _ = runtime.block_on(store.get("serve", "begins"));
    }
    // Before anybody learns that it listens, and may tell it to end.
    let signals = runtime.block_on(async { Signals::new() });
    // And may change the file.
    let watch = reloading::Watch::of_file(&app.loaded);
    let scheme = if bound.is_encrypted() { "https" } else { "http" };
    output::note(&format!("listening on {scheme}://{}", bound.address()?));
    if let Some(admin) = bound.admin_address()? {
        output::note(&format!("metrics at http://{admin}/metrics"));
    }
    if let Some(peering) = app.peering() {
        runtime.block_on(says_where(peering))?;
    }

    huge_pages(true);
    let renewal = bound.renewal();
    let stopping = Stopping::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let others = (1..cores).map(|_| Ok((single_threaded()?, bound.again()?))).collect::<Outcome<Vec<_>>>()?;
    // A thread that ends lets go of its end; when all have, nothing is received any more.
    let (alive, mut others_alive) = tokio::sync::mpsc::channel::<Infallible>(1);
    let outcome = std::thread::scope(|scope| {
        let others: Vec<_> = others
            .into_iter()
            .map(|(runtime, bound)| {
                let (stopping, alive) = (stopping.clone(), alive.clone());
                scope.spawn(move || {
                    let _alive = alive;
                    let outcome = runtime.block_on(stopping.serve(bound));
                    runtime.shutdown_background();
                    outcome
                })
            })
            .collect();
        let telling = stopping.tell(signals, settings.drain, settings.grace);
        let serving = async {
            let outcome = stopping.serve(bound).await;
            stopping.now.cancel();
            drop(alive);
            others_alive.recv().await;
            outcome
        };
        let mut outcome = runtime.block_on(async {
            let hangup = reloading::hears_hangup().then(|| signal(SignalKind::hangup()).ok()).flatten();
            tokio::select! {
                outcome = serving => outcome,
                never = telling => match never {},
                never = reloading::reload(&app, renewal, watch, hangup) => match never {},
            }
        });
        for other in others {
            outcome = outcome
                .and(other.join().unwrap_or_else(|_| Err(Error::internal("a thread of the server ended early"))));
        }
        outcome
    });
    runtime.block_on(app.close());
    runtime.shutdown_background();
    Ok(outcome?)
}

/// How the threads learn that the server ends.
#[derive(Clone, Default)]
struct Stopping {
    how: Arc<OnceLock<Stop>>,
    now: CancellationToken,
    /// Whoever asks twice does not want to wait.
    at_once: CancellationToken,
}

impl Stopping {
    async fn serve(&self, bound: Bound) -> Result<(), Error> {
        let ended = async {
            self.now.cancelled().await;
            self.how.get().copied().unwrap_or_default()
        };
        tokio::select! {
            outcome = bound.serve(ended) => outcome,
            () = self.at_once.cancelled() => Ok(()),
        }
    }

    /// Tells them when a signal comes.
    async fn tell(&self, mut signals: Signals, drain: Duration, grace: Duration) -> Infallible {
        let mut stop = Stop { grace, ..Stop::default() };
        // Whoever presses Ctrl-C waits for it; a service manager's balancers are to notice first.
        if signals.next().await == SignalKind::terminate() {
            stop.drain = drain;
        }
        let _ = self.how.set(stop);
        self.now.cancel();
        signals.next().await;
        self.at_once.cancel();
        std::future::pending().await
    }
}

fn single_threaded() -> Outcome<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the runtime", &error))
}

fn open(environment: Environment, global: &Global, args: &Serve) -> Outcome<App> {
    let mut flags = global.config.as_ref().map_or_else(Flags::new, |file| Flags::new().config(file));
    if let Some(host) = &args.host {
        flags = flags.set("--host", "server.host", host);
    }
    if let Some(port) = args.port {
        flags = flags.set("--port", "server.port", port.to_string());
    }
    if args.peers {
        flags = flags.set("--peers", "peers.serve", "true");
    }
    App::open_as(environment, &flags, Home::child()?, Role::Serving).map_err(Failure::Usage)
}

/// Tells as whom it is a peer, and where.
async fn says_where(peering: &Peering) -> Outcome {
    for address in peering.listening().await? {
        output::note(&format!("peers at {address}/p2p/{}", peering.id()));
    }
    if peering.is_public() {
        output::note(
            "warning: anybody may ask this peer, and a peer that is asked reads the prompt; so do those that this one asks",
        );
    }
    Ok(())
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().map_err(|_| {
        Error::invalid(format!("server.host: {host:?} is not an address"))
            .with_hint("give an IP address, 127.0.0.1 for this machine alone")
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// The signals that end a process.
struct Signals(Option<[Signal; 3]>);

const ENDING: [fn() -> SignalKind; 3] = [SignalKind::terminate, SignalKind::interrupt, SignalKind::hangup];

impl Signals {
    fn new() -> Self {
        match ENDING.map(|kind| signal(kind())) {
            [Ok(terminate), Ok(interrupt), Ok(hangup)] => Self(Some([terminate, interrupt, hangup])),
            _ => Self(None),
        }
    }

    /// The next one; never, where the system does not tell.
    async fn next(&mut self) -> SignalKind {
        let Some([terminate, interrupt, hangup]) = &mut self.0 else { return std::future::pending().await };
        let gone = async {
            match reloading::hears_hangup() {
                true => std::future::pending().await,
                false => hangup.recv().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = gone => SignalKind::hangup(),
        }
    }
}
