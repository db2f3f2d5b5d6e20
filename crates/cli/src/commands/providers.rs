//! `providers`: who could answer now. Nothing is asked, started or imported.

use llm_router::provider::Availability;
use llm_router_app::App;
use serde_json::json;

use crate::args::{Global, Providers};
use crate::output::{self, Outcome};

pub(crate) fn run(app: &App, global: &Global, args: &Providers) -> Outcome {
    let entries = app.router.entries();
    if global.json {
        let providers: Vec<_> = entries
            .iter()
            .map(|entry| {
                let describe = entry.provider.describe();
                let (available, missing, hint) = match entry.provider.availability() {
                    Availability::Ready => (true, None, None),
                    Availability::Missing { what, hint } => (false, Some(what), Some(hint)),
                };
                json!({
                    "id": entry.id,
                    "aliases": entry.aliases,
                    "available": available,
                    "missing": missing,
                    "hint": hint,
                    "default_model": describe.default_model,
                    "dialects": describe.dialects,
                    "capabilities": describe.capabilities,
                    "privacy": describe.privacy,
                })
            })
            .collect();
        let default = app.router.settings().router.provider.clone();
        return output::print_json(&json!({ "providers": providers, "default_provider": default }));
    }
    let rows: Vec<Vec<String>> = entries.iter().map(|entry| row(entry, args.verbose)).collect();
    output::print(&output::table(&rows))?;
    let ready = entries.iter().filter(|entry| entry.provider.availability().is_ready()).count();
    output::status(&format!("{ready} of {} can answer; `llm-router doctor` says what the others need", entries.len()));
    Ok(())
}

fn row(entry: &llm_router::router::resolve::Entry, verbose: bool) -> Vec<String> {
    let describe = entry.provider.describe();
    let (status, missing) = match entry.provider.availability() {
        Availability::Ready => ("ready", String::new()),
        Availability::Missing { what, .. } => ("missing", what),
    };
    let mut row = vec![entry.id.to_string(), status.to_owned()];
    if verbose {
        let model = describe.default_model.as_ref().map_or("-".to_owned(), ToString::to_string);
        let aliases: Vec<&str> = entry.aliases.iter().map(|alias| alias.as_str()).collect();
        row.extend([model, if aliases.is_empty() { "-".to_owned() } else { aliases.join(",") }, missing]);
    }
    row
}
