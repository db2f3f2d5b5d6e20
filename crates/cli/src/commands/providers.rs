//! `providers`: who could answer now. Nothing is asked, started or imported.

use llm_router::provider::Availability;
use llm_router::router::resolve::Entry;
use llm_router_app::App;
use serde_json::json;

use crate::args::{Global, Providers};
use crate::output::{self, Outcome};

pub(crate) fn run(app: &App, global: &Global, args: &Providers) -> Outcome {
    let entries = app.router.entries();
    let breakers = app.router.breakers();
    let open = |entry: &Entry| -> Vec<String> {
        breakers.iter().filter(|state| state.provider == entry.id).map(ToString::to_string).collect()
    };
    if global.json {
        let providers: Vec<_> = entries
            .iter()
            .map(|entry| {
                let describe = entry.provider.describe();
                let (available, missing, hint) = match entry.provider.availability() {
                    // Only connecting would tell.
                    Availability::Ready if describe.guess => (None, None, None),
                    Availability::Ready => (Some(true), None, None),
                    Availability::Missing { what, hint } => (Some(false), Some(what), Some(hint)),
                };
                json!({
                    "id": entry.id,
                    "aliases": entry.aliases,
                    "available": available,
                    "guess": describe.guess,
                    "missing": missing,
                    "hint": hint,
                    "default_model": describe.default_model,
                    "dialects": describe.dialects,
                    "capabilities": describe.capabilities,
                    "privacy": describe.privacy,
                    "breakers": open(entry),
                })
            })
            .collect();
        let default = app.router.settings().router.provider.clone();
        return output::print_json(&json!({ "providers": providers, "default_provider": default }));
    }
    let rows: Vec<Vec<String>> = entries.iter().map(|entry| row(entry, args.verbose, &open(entry))).collect();
    output::print(&output::table(&rows))?;
    let sure = |entry: &&Entry| entry.provider.availability().is_ready() && !entry.provider.describe().guess;
    let ready = entries.iter().filter(sure).count();
    output::status(&format!("{ready} of {} can answer; `llm-router doctor` says what the others need", entries.len()));
    Ok(())
}

fn row(entry: &Entry, verbose: bool, open: &[String]) -> Vec<String> {
    let describe = entry.provider.describe();
    let (status, missing) = match entry.provider.availability() {
        Availability::Ready if describe.guess => {
            ("untried", "its default address is tried when its turn comes".to_owned())
        }
        Availability::Ready => ("ready", String::new()),
        Availability::Missing { what, .. } => ("missing", what),
    };
    let mut row = vec![entry.id.to_string(), status.to_owned()];
    if verbose {
        let model = describe.default_model.as_ref().map_or("-".to_owned(), ToString::to_string);
        let aliases: Vec<&str> = entry.aliases.iter().map(|alias| alias.as_str()).collect();
        let missing = if missing.is_empty() { open.join("; ") } else { missing };
        row.extend([model, if aliases.is_empty() { "-".to_owned() } else { aliases.join(",") }, missing]);
    }
    row
}
