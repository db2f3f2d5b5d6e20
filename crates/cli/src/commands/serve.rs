//! `serve`: the HTTP server, until a signal ends it.

use std::net::{IpAddr, SocketAddr};

use llm_router::config::{Environment, Flags};
use llm_router::error::Error;
use llm_router_app::{App, Home};
use llm_router_server::{Server, ServerOptions, Stop};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Global, Serve};
use crate::output::{self, Failure, Outcome};

/// Serves.
pub(crate) fn run(global: &Global, args: &Serve) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the runtime", &error))?;
    let outcome = runtime.block_on(serve(global, args));
    runtime.shutdown_background();
    outcome
}

async fn serve(global: &Global, args: &Serve) -> Outcome {
    let mut flags = global.config.as_ref().map_or_else(Flags::new, |file| Flags::new().config(file));
    if let Some(host) = &args.host {
        flags = flags.set("--host", "server.host", host);
    }
    if let Some(port) = args.port {
        flags = flags.set("--port", "server.port", port.to_string());
    }
    let app = App::open(Environment::from_process(), &flags, Home::child()?).map_err(Failure::Usage)?;
    let settings = &app.router.settings().server;
    let address = address(&settings.host, settings.port).map_err(Failure::Usage)?;
    let server = Server::new(app.router.clone(), ServerOptions::default()).map_err(Failure::Usage)?;
    let bound = server.bind(address).await?;
    output::note(&format!("listening on http://{}", bound.address()?));
    bound.serve(Stop::default(), ended()).await;
    app.close().await;
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
