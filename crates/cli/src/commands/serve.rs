//! `serve`: the HTTP server, until a signal ends it.

use std::net::{IpAddr, SocketAddr};

use llm_router::config::{Environment, Flags};
use llm_router::error::Error;
use llm_router_app::{App, Home};
use llm_router_server::{Server, ServerOptions, Stop};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{Global, Serve};
use crate::output::{self, Failure, Outcome};

/// Serves: one runtime a core, each on its own thread, so that a request stays on one from its first byte to its last.
pub(crate) fn run(environment: Environment, global: &Global, args: &Serve) -> Outcome {
    let runtime = single_threaded()?;
    let app = runtime.block_on(async { open(environment, global, args) })?;
    app.warnings().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let settings = &app.router.settings().server;
    let address = address(&settings.host, settings.port).map_err(Failure::Usage)?;
    let bound = Server::new(app.router.clone(), ServerOptions::default()).map_err(Failure::Usage)?.bind(address)?;
    output::note(&format!("listening on http://{}", bound.address()?));

    let stopping = CancellationToken::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let others = (1..cores).map(|_| Ok((single_threaded()?, bound.again()?))).collect::<Outcome<Vec<_>>>()?;
    let outcome = std::thread::scope(|scope| {
        let others: Vec<_> = others
            .into_iter()
            .map(|(runtime, bound)| {
                let stopping = stopping.clone();
                scope.spawn(move || {
                    let outcome = runtime.block_on(bound.serve(Stop::default(), stopping.cancelled()));
                    runtime.shutdown_background();
                    outcome
                })
            })
            .collect();
        let ended = async {
            ended().await;
            stopping.cancel();
        };
        let mut outcome = runtime.block_on(bound.serve(Stop::default(), ended));
        stopping.cancel();
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
    App::open(environment, &flags, Home::child()?).map_err(Failure::Usage)
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().map_err(|_| {
        Error::invalid(format!("server.host: {host:?} is not an address"))
            .with_hint("give an IP address, 127.0.0.1 for this machine alone")
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// Ready when the process is told to end.
async fn ended() {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
