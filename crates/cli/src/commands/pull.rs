//! `pull`: fetches a model file for the embedded engine.

use llm_router_app::App;
use serde_json::json;

use crate::args::{Global, Pull};
use crate::output::{self, Outcome};

pub(crate) async fn run(app: &App, global: &Global, args: &Pull) -> Outcome {
    let model = app.pull(args.model.as_deref(), args.update).await?;
    if global.json {
        return output::print_json(&json!({
            "path": model.path, "sha256": model.sha256, "bytes": model.bytes, "fetched": model.fetched,
        }));
    }
    output::status(if model.fetched { "fetched" } else { "already here" });
    output::print(&format!("{}\n", model.path.display()))
}
