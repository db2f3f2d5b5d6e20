//! The Model Context Protocol: the router as tools for other programs, over a pair of streams or on `/mcp`.
//!
//! The protocol is the official SDK's business; here are only who asks and which tool it is. What each tool does is `mcp/tools.rs`, how text is generated for one
//! `mcp/generate.rs`. `/mcp` is stateless: every POST stands for itself, and the rules of `door.rs` hold for it like for any other path.

mod generate;
mod tools;

use std::sync::Arc;

use llm_router::error::{Error, ErrorKind, Result};
use llm_router::router::Router;
use llm_router::trace::TraceContext;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::app::Server;
use crate::catalog::Catalog;
use crate::door::Caller;
use crate::riders;

/// The tools over a router.
#[derive(Clone)]
pub(crate) struct Mcp {
    router: Router,
    catalog: Arc<Catalog>,
}

const INSTRUCTIONS: &str = "Generates text through whichever model provider can answer: cloud APIs, servers of one's own, an embedded model or peers. \
    Call `generate` with a prompt; `explain` says beforehand who would answer and why.";

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("llm-router", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::find(name).map(tools::describe)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::TOOLS.iter().map(tools::describe).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = tools::find(&request.name) else {
            let known: Vec<&str> = tools::TOOLS.iter().map(|tool| tool.name).collect();
            let shown: String = request.name.chars().take(80).collect();
            let text = format!("no tool is called {shown:?}; there are {}", known.join(", "));
            return Err(ErrorData::invalid_params(text, None));
        };
        // Over HTTP the door has seen who asks; whoever holds the other end of a pair of streams is the one who started this.
        let parts = context.extensions.get::<http::request::Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Caller>()).cloned().unwrap_or_default();
        let arguments = request.arguments.unwrap_or_default();
        let cancelled = context.ct.clone();
        tokio::select! {
            result = tools::call(self, tool, arguments, &caller, &context) => Ok(result.into()),
            // Nobody waits for what this says: the work is dropped, which ends the upstream's.
            () = cancelled.cancelled() => Err(ErrorData::internal_error("the request was cancelled", None)),
        }
    }
}

/// Where a call stands in somebody's trace: as its own `_meta` says, which is MCP's place for it over any transport, else as the headers of the HTTP request do that brought it.
fn context_of(context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let own = context.meta.get_traceparent();
    let own = own.and_then(|parent| TraceContext::read(parent, context.meta.get_tracestate()));
    own.or_else(|| riders::context(&context.extensions.get::<http::request::Parts>()?.headers))
}

/// Answers an MCP client over a pair of streams until it leaves. Nothing but the protocol is written to `output`.
///
/// The SDK tells in its own events, of the target `rmcp`, what is said through it: a subscriber that must not write prompts takes only its errors.
///
/// # Errors
/// `router_unavailable` when the streams break before the two sides know each other.
pub async fn serve_mcp<R, W>(router: Router, input: R, output: W) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: String| Error::new(ErrorKind::RouterUnavailable, format!("the MCP client: {error}"));
    let mcp = Mcp { router, catalog: Arc::default() };
    let running = mcp.serve((input, output)).await.map_err(|error| {
        failed(error.to_string()).with_hint("`mcp` is started by an MCP client, which writes to its standard input")
    })?;
    running.waiting().await.map_err(|error| failed(error.to_string()))?;
    Ok(())
}

/// The service behind `/mcp`.
pub(crate) fn over_http(server: &Server) -> StreamableHttpService<Mcp, NeverSessionManager> {
    let inner = &server.0;
    let mcp = Mcp { router: inner.router.clone(), catalog: Arc::clone(&inner.catalog) };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(Some(inner.options.ping_after))
        .with_sse_retry(None)
        .with_cancellation_token(inner.router.deps().shutdown.child_token())
        .with_max_request_body_bytes(inner.options.body)
        // Hosts and origins were checked at the door, which knows the names of this server.
        .disable_allowed_hosts()
        .disable_allowed_origins();
    StreamableHttpService::new(move || Ok(mcp.clone()), Arc::default(), config)
}
