//! One file a command. Here only: which file runs which command, and what all of them share.

mod auth;
mod cache;
mod chat;
mod config;
mod doctor;
mod explain;
mod generate;
mod keys;
mod mcp;
mod models;
mod peers;
mod providers;
mod pull;
mod run;
mod serve;
mod test;
mod usage;

use clap::CommandFactory;
use llm_router::config::{Environment, Flags};
use llm_router_app::{App, Home, Role, serve_worker};

use crate::args::{Cli, Command, Global, Keys, Peers, RequestArgs};
use crate::log;
use crate::output::{self, Failure, Outcome};
use crate::signals::interruptible;

/// Runs the command of a line.
pub(crate) fn run(cli: Cli) -> Outcome {
    let Cli { command, global } = cli;
    let environment = Environment::from_process();
    log::install(global.debug, &environment)?;
    match &command {
        Command::Config(args) => return config::run(&environment, &global, args),
        Command::Completions { shell } => return completions(*shell),
        Command::Serve(args) => return serve::run(environment, &global, args),
        // It needs nothing but the key.
        Command::Keys(Keys::Derive(args)) => return keys::derived(&global, args),
        // Nor does it.
        Command::Peers(Peers::Verify { receipt }) => return peers::verified(&global, receipt),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the runtime", &error))?;
    let outcome = runtime.block_on(async {
        if let Command::Worker { task } = &command {
            return interruptible(None, async { serve_worker(task).await.map_err(Failure::from) }).await;
        }
        let app = open(environment, &global, &command)?;
        let outcome = match &command {
            // What it starts hears signals as well, and says what they mean.
            Command::Run(args) => Box::pin(run::run(&app, args)).await,
            _ => interruptible(Some(app.runner()), Box::pin(dispatch(&app, &global, &command))).await,
        };
        app.close().await;
        outcome
    });
    // Everything is closed; a thread that still reads standard input is not waited for.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(app: &App, global: &Global, command: &Command) -> Outcome {
    match command {
        Command::Generate(args) => generate::run(app, global, args).await,
        Command::Chat(args) => chat::run(app, global, args).await,
        Command::Providers(args) => providers::run(app, global, args),
        Command::Models(args) => models::run(app, global, args).await,
        Command::Test(args) => test::run(app, global, args).await,
        Command::ClearCache => cache::clear(app, global).await,
        Command::Cache(args) => cache::run(app, global, args).await,
        Command::Pull(args) => pull::run(app, global, args).await,
        Command::Auth(args) => auth::run(app, global, args),
        Command::Keys(args) => keys::run(app, global, args).await,
        Command::Peers(args) => peers::run(app, global, args).await,
        Command::Usage(args) => usage::run(app, global, args).await,
        Command::Explain(args) => explain::run(app, global, args).await,
        Command::Doctor(args) => doctor::run(app, global, args).await,
        Command::Mcp => mcp::run(app).await,
        Command::Config(_)
        | Command::Completions { .. }
        | Command::Run(_)
        | Command::Serve(_)
        | Command::Worker { .. } => Ok(()),
    }
}

fn open(environment: Environment, global: &Global, command: &Command) -> Outcome<App> {
    let mut flags = global.config.as_ref().map_or_else(Flags::new, |file| Flags::new().config(file));
    let request = match command {
        Command::Generate(args) => Some(&args.request),
        Command::Chat(args) => Some(&args.request),
        Command::Explain(args) => Some(&args.request),
        _ => None,
    };
    if request.is_some_and(|request| request.offline) {
        flags = flags.set("--offline", "local.offline", "true");
    }
    // A process that stays keeps the engine apart, so that a crash there ends one answer and not the client's session.
    let home = if matches!(command, Command::Mcp | Command::Run(_)) { Home::child()? } else { Home::Here };
    let app = App::open_as(environment, &flags, home, role(command)).map_err(Failure::Usage)?;
    if !matches!(command, Command::Doctor(_)) {
        output::show_downloads(&app);
        app.warnings().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    }
    Ok(app)
}

/// A command is a peer only where it names peers: nothing is joined by itself.
fn role(command: &Command) -> Role {
    let named = |request: &RequestArgs| {
        let model = request.model.as_deref().and_then(|model| model.split_once('/')).map(|(provider, _)| provider);
        is_peers(request.provider.as_deref()) || is_peers(model)
    };
    let asks = match command {
        Command::Generate(args) => named(&args.request),
        Command::Chat(args) => named(&args.request),
        Command::Test(args) => is_peers(args.provider.as_deref()),
        Command::Peers(args) => return peers::role(args),
        _ => false,
    };
    if asks { Role::Asking } else { Role::None }
}

fn is_peers(provider: Option<&str>) -> bool {
    provider.is_some_and(|id| ["ipfs_peer", "ipfs_peers"].iter().any(|name| id.eq_ignore_ascii_case(name)))
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "llm-router", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
