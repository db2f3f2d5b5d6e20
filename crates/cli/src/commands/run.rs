//! `run`: a coding agent of this machine, pointed at this router, at the terminal of whoever started it.
//!
//! Nothing is written into the agent's own settings, and its history and its project's files are as always: what must differ is said by variables and arguments, a line each in
//! `run/agents.rs`. Whom it asks is `run/place.rs`, with which key of its own `run/key.rs`, how many of its tools have room in the model's window `run/fit.rs`, and how it is started and ended `run/child.rs`.

mod agents;
mod back;
mod child;
mod claude;
mod codex;
mod copilot;
mod fit;
mod folder;
mod home;
mod key;
mod left;
mod owner;
mod place;
mod tree;

use std::path::PathBuf;

use llm_router_app::App;

use self::agents::{AGENTS, Agent, Ask, Start};
use self::fit::Target;
use self::folder::Folder;
use self::key::Lease;
use self::place::Place;
use crate::args::Run;
use crate::log;
use crate::output::{self, Failure, Outcome};
use crate::signals::interruptible;

/// Runs the agent to its end, whose status is ours.
pub(crate) async fn run(app: &App, args: &Run) -> Outcome {
    // Here, where an interruption leaves it: what was made is taken back whatever happens.
    let mut lease = None;
    let ready = interruptible(Some(app.runner()), Box::pin(prepare(app, args, &mut lease))).await;
    let outcome = match ready {
        Ok(ready) => played(ready).await,
        Err(failure) => Err(failure),
    };
    if let Some(lease) = lease {
        lease.take_back().await;
    }
    outcome
}

/// What is at hand before the agent starts.
struct Ready {
    program: PathBuf,
    start: Start,
    place: Place,
    /// Its files, which go when it has ended.
    folder: Folder,
}

async fn played(ready: Ready) -> Outcome {
    let Ready { program, start, mut place, folder } = ready;
    let outcome = {
        let _held = log::hold();
        let working = child::run(&program, &start, &folder, place.watch());
        place.serving(working).await
    };
    if let Some(lent) = &start.lent
        && !back::give_back(lent)
    {
        output::note(&format!("warning: what could not be given back is in {}", folder.keep().display()));
    }
    outcome
}

async fn prepare(app: &App, args: &Run, lease: &mut Option<Lease>) -> Outcome<Ready> {
    let agent = named(&args.agent)?;
    let program = agent.program(&app.environment)?;
    let state = app.loaded.places.data().ok();
    if let Some(state) = state {
        left::clear(state, app.router.deps().keyring.as_ref()).await;
    }
    let folder = Folder::new(state)?;
    let place = Place::find(app, agent, args, &folder, lease).await?;
    let start = told(app, agent, &place, args, &folder).await?;
    Ok(Ready { program, start, place, folder })
}

/// How the agent is started.
async fn told(app: &App, agent: &Agent, place: &Place, args: &Run, folder: &Folder) -> Outcome<Start> {
    let (target, small) = targets(place, args).await?;
    let (tools, said) = fit::choose(agent, args.tools.as_deref(), &target)?;
    said.iter().for_each(|line| output::note(line));
    let ask = Ask {
        base: &place.base,
        key: &place.key,
        model: &target.name,
        small: small.as_deref().unwrap_or(&target.name),
        window: target.window,
        most: args.max_tokens,
        tools,
        folder,
        environment: &app.environment,
        args: &args.args,
    };
    let start = agent.start(&ask)?;
    output::status(&format!("{} asks {} through {}", agent.name, target.name, place.said));
    Ok(start)
}

async fn targets(place: &Place, args: &Run) -> Outcome<(Target, Option<String>)> {
    let target = place.target(args.model.as_deref()).await?;
    let small = match &args.small_model {
        Some(name) => Some(place.target(Some(name)).await?.name),
        None => None,
    };
    Ok((target, small))
}

fn named(name: &str) -> Outcome<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name || agent.provider == name).ok_or_else(|| {
        let names: Vec<&str> = AGENTS.iter().map(|agent| agent.name).collect();
        Failure::usage(format!("no agent is called {name:?}"), &format!("name one of {}", names.join(", ")))
    })
}
