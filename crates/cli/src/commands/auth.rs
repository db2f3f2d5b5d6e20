//! `auth`: provider keys kept in the state folder, readable by their owner only. A key is never taken from the command line, where others could see it.

use std::io::{self, IsTerminal, Write};

use llm_router::ids::ProviderId;
use llm_router::secret::Secret;
use llm_router_app::App;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;

use crate::args::{Auth, Global};
use crate::output::{self, Failure, Outcome};

pub(crate) fn run(app: &App, global: &Global, args: &Auth) -> Outcome {
    let keys = app.keys();
    match args {
        Auth::Set { provider } => {
            let id = known(app, provider)?;
            let secret = read_key(&id)?;
            keys.set(&id, &secret)?;
            done(global, json!({ "provider": id, "set": true }), &format!("kept the key of {id}"))
        }
        Auth::Rm { provider } => {
            let id = known(app, provider)?;
            let was = keys.remove(&id)?;
            let text = if was { format!("forgot the key of {id}") } else { format!("no key of {id} was kept") };
            done(global, json!({ "provider": id, "removed": was }), &text)
        }
        Auth::Ls => {
            let ids = keys.list()?;
            if global.json {
                return output::print_json(&json!({ "providers": ids }));
            }
            output::print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())
        }
    }
}

fn done(global: &Global, value: serde_json::Value, text: &str) -> Outcome {
    if global.json {
        return output::print_json(&value);
    }
    output::status(text);
    Ok(())
}

fn known(app: &App, name: &str) -> Outcome<ProviderId> {
    let id = ProviderId::new(name).map_err(Failure::Usage)?;
    let entry = app.router.entries().iter().find(|entry| entry.id == id || entry.aliases.contains(&id));
    entry
        .map(|entry| entry.id.clone())
        .ok_or_else(|| Failure::usage(format!("no provider is called {name:?}"), "`llm-router providers` lists them"))
}

fn read_key(id: &ProviderId) -> Outcome<Secret> {
    let what = "standard input";
    let terminal = io::stdin().is_terminal();
    if terminal {
        output::status(&format!("key of {id} (it is not shown):"));
    }
    let mut line = String::new();
    let read =
        if terminal { without_echo(|| io::stdin().read_line(&mut line)) } else { io::stdin().read_line(&mut line) };
    read.map_err(|error| Failure::io(what, &error))?;
    let _ = io::stderr().flush();
    let secret = Secret::new(line);
    if secret.is_empty() {
        return Err(Failure::usage("no key on standard input", "pipe it in: llm-router auth set PROVIDER < key.txt"));
    }
    Ok(secret)
}

/// Runs `read` with the terminal's echo off, and puts it back whatever happens.
fn without_echo<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &silent)?;
    let outcome = read();
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    outcome
}
