//! `run`: a coding agent of this machine, pointed at this router, at the terminal of whoever started it.
//!
//! Nothing is written into the agent's own settings, and its history and its project's files are as always: what must differ is said by variables and arguments, a line each in
//! `run/agents.rs`. Whom it asks is `run/place.rs`, how many of its tools have room in the model's window `run/fit.rs`, and how it is started and ended `run/child.rs`.

mod agents;
mod child;
mod fit;
mod folder;
mod home;
mod owner;
mod place;

use llm_router_app::App;

use self::agents::{AGENTS, Agent, Ask, Start};
use self::fit::Target;
use self::folder::Folder;
use self::home::Lent;
use self::place::Place;
use crate::args::Run;
use crate::log;
use crate::output::{self, Failure, Outcome};
use crate::signals::interruptible;

/// Runs the agent to its end, whose status is ours.
pub(crate) async fn run(app: &App, args: &Run) -> Outcome {
    let mut ready = interruptible(Some(app.runner()), Box::pin(prepare(app, args))).await?;
    let outcome = {
        let _held = log::hold();
        let working = child::run(&ready.program, &ready.start);
        ready.place.serving(working).await
    };
    ready.start.lent.iter().for_each(Lent::give_back);
    ready.place.leave().await;
    drop(ready.folder);
    outcome
}

/// What is at hand before the agent starts.
struct Ready {
    program: std::path::PathBuf,
    start: Start,
    place: Place,
    /// Its files, which go when it has ended.
    folder: Folder,
}

async fn prepare(app: &App, args: &Run) -> Outcome<Ready> {
    let agent = named(&args.agent)?;
    let program = agent.program(&app.environment)?;
    let place = Place::find(app, agent, args).await?;
    match told(app, agent, &place, args).await {
        Ok((start, folder)) => Ok(Ready { program, start, place, folder }),
        Err(failure) => {
            place.leave().await;
            Err(failure)
        }
    }
}

/// How the agent is started, with the folder of its files.
async fn told(app: &App, agent: &Agent, place: &Place, args: &Run) -> Outcome<(Start, Folder)> {
    let (target, small) = targets(place, args).await?;
    let (tools, said) = fit::choose(agent, args.tools.as_deref(), &target)?;
    said.iter().for_each(|line| output::note(line));
    let folder = Folder::new(app.loaded.places.data().ok())?;
    let ask = Ask {
        base: &place.base,
        key: &place.key,
        model: &target.name,
        small: small.as_deref().unwrap_or(&target.name),
        window: target.window,
        tools,
        folder: &folder,
        environment: &app.environment,
        args: &args.args,
    };
    let mut start = agent.start(&ask)?;
    start.args.extend(args.args.iter().cloned());
    output::status(&format!("{} asks {} through {}", agent.name, target.name, place.said));
    Ok((start, folder))
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
