//! `models`: the names that `--model` takes.

use llm_router::ids::ProviderId;
use llm_router_app::App;
use serde_json::json;

use crate::args::{Global, Models};
use crate::output::{self, Failure, Outcome};

pub(crate) async fn run(app: &App, global: &Global, args: &Models) -> Outcome {
    let wanted = args.provider.as_deref().map(ProviderId::new).transpose().map_err(Failure::Usage)?;
    let mut names = Vec::new();
    if wanted.is_none() {
        names.extend(app.router.settings().routes.keys().map(|route| ("route".to_owned(), route.clone())));
    }
    for entry in app.router.entries() {
        if wanted.as_ref().is_some_and(|wanted| entry.id != *wanted && !entry.aliases.contains(wanted)) {
            continue;
        }
        let listed = entry.provider.models();
        // Only the one that was asked for is asked over the network.
        let listed = if wanted.is_some() && listed.is_empty() { app.list_models(&entry.id).await? } else { listed };
        let default = entry.provider.describe().default_model.clone().filter(|model| !listed.contains(model));
        names.extend(listed.into_iter().chain(default).map(|model| (entry.id.to_string(), model.to_string())));
    }
    if global.json {
        let models: Vec<_> =
            names.iter().map(|(provider, model)| json!({ "provider": provider, "model": model })).collect();
        return output::print_json(&json!({ "models": models }));
    }
    let rows: Vec<Vec<String>> = names.into_iter().map(|(provider, model)| vec![provider, model]).collect();
    output::print(&output::table(&rows))
}
