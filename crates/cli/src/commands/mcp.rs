//! `mcp`: the router as tools for an MCP client, which started this program and speaks to it by pipes. Standard output carries the protocol and nothing else.

use llm_router_app::App;
use llm_router_server::serve_mcp;

use crate::output::Outcome;

/// Serves until the client leaves.
pub(crate) async fn run(app: &App) -> Outcome {
    Ok(serve_mcp(app.router.clone(), tokio::io::stdin(), tokio::io::stdout()).await?)
}
