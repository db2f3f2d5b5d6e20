//! The tools of the Model Context Protocol, through the SDK's own client over a pair of streams, and over HTTP by hand.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::config::Settings;
use llm_router::error::{Error, ErrorKind};
use llm_router::ids::ModelName;
use llm_router::router::Router;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router_server::serve_mcp;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, CancelledNotificationParam, ClientRequest, ProgressNotificationParam,
    Request, ServerResult,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RoleClient, RunningService};
use rmcp::{ClientHandler, ServiceExt};
use serde_json::{Value, json};
use support::{Running, kept, serve, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// A client that keeps what it is told of progress.
struct Listening(mpsc::UnboundedSender<ProgressNotificationParam>);

impl ClientHandler for Listening {
    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.0.send(params);
    }
}

struct Talk {
    client: RunningService<RoleClient, Listening>,
    progress: mpsc::UnboundedReceiver<ProgressNotificationParam>,
    _server: AbortOnDropHandle<()>,
}

async fn talk(provider: &Arc<Scripted>) -> Talk {
    let builder = Router::builder().instance(provider.clone()).deps(kept()).settings(Settings::default());
    let router = builder.build().unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split(theirs);
    let server = tokio::spawn(async move { serve_mcp(router, read, write).await.unwrap() });
    let (tell, progress) = mpsc::unbounded_channel();
    let client = Listening(tell).serve(ours).await.unwrap();
    Talk { client, progress, _server: AbortOnDropHandle::new(server) }
}

impl Talk {
    async fn call(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        self.client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap()
    }
}

fn said(result: &CallToolResult) -> &Value {
    result.structured_content.as_ref().unwrap()
}

fn echo(turns: impl IntoIterator<Item = Turn>) -> Arc<Scripted> {
    let model = ModelName::new("org/parrot").unwrap();
    Arc::new(
        Scripted::new("echo", turns).serving([model.clone()]).describing(|describe| describe.with_default_model(model)),
    )
}

#[tokio::test]
async fn every_tool_answers_in_the_shape_that_it_promises() {
    let talk = talk(&echo([Turn::Text("one two".into())])).await;
    let tools = talk.client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.to_string()).collect();
    assert_eq!(names, ["generate", "list_providers", "list_models", "cache_get", "cache_clear", "explain"]);
    for tool in &tools {
        assert_eq!(tool.input_schema["type"], "object", "{tool:?}");
        assert_eq!(tool.output_schema.as_ref().unwrap()["type"], "object", "{tool:?}");
    }
    let answer = talk.call("generate", json!({"prompt": "hi", "provider": "auto"})).await;
    assert_eq!(answer.content[0].as_text().unwrap().text, "one two");
    assert_eq!((&said(&answer)["provider"], &said(&answer)["model"]), (&json!("echo"), &json!("org/parrot")));
    let key = said(&answer)["key"].clone();
    let explained = talk.call("explain", json!({"prompt": "hi"})).await;
    let targets = said(&explained)["targets"].as_array().unwrap();
    let first = targets.iter().find(|target| target["planned"] == true).unwrap();
    assert_eq!((&first["provider"], &first["key"]), (&json!("echo"), &key));
    let found = talk.call("cache_get", json!({"key": key})).await;
    assert_eq!((&said(&found)["text"], &said(&found)["provider"]), (&json!("one two"), &json!("echo")));
    assert_eq!(said(&talk.call("cache_clear", json!({})).await), &json!({"cleared": 1}));
    let gone = talk.call("cache_get", json!({"key": key})).await;
    assert_eq!(gone.is_error, Some(true));
    let models = talk.call("list_models", json!({"provider": "echo"})).await;
    assert_eq!(said(&models), &json!({"models": [{"id": "echo/org/parrot", "owner": "echo"}]}));
    let providers = talk.call("list_providers", json!({})).await;
    assert!(said(&providers)["providers"].as_array().unwrap().contains(&json!("echo")), "{providers:?}");
}

#[tokio::test]
async fn a_failure_is_a_result_that_the_model_can_read() {
    let talk = talk(&echo([Turn::Fail(Error::new(ErrorKind::CallerContextLength, "too long"))])).await;
    for (arguments, kind) in [
        (json!({"prompt": "hi"}), "caller_context_length"),
        (json!({}), "caller_invalid_request"),
        (json!({"prompt": "hi", "max_tokens": "many"}), "caller_invalid_request"),
        (json!({"prompt": "hi", "provider": "nobody"}), "caller_invalid_request"),
    ] {
        let refused = talk.call("generate", arguments).await;
        let text = &refused.content[0].as_text().unwrap().text;
        assert!(refused.is_error == Some(true) && text.starts_with(kind), "{refused:?}");
        assert_eq!(refused.structured_content, None);
    }
    let unknown = talk.client.call_tool(CallToolRequestParams::new("nothing")).await.unwrap_err();
    assert!(unknown.to_string().contains("no tool is called"), "{unknown}");
}

#[tokio::test]
async fn text_is_told_as_progress_while_it_comes() {
    let mut talk = talk(&echo([Turn::Text("one two three".into())])).await;
    let Value::Object(arguments) = json!({"prompt": "hi"}) else { unreachable!() };
    let call = CallToolRequestParams::new("generate").with_arguments(arguments);
    // The SDK's client gives each request a token of its own.
    let handle = talk
        .client
        .send_cancellable_request(ClientRequest::CallToolRequest(Request::new(call)), PeerRequestOptions::no_options())
        .await
        .unwrap();
    let ServerResult::CallToolResult(result) = handle.await_response().await.unwrap() else { panic!("a result") };
    let (mut text, mut last) = (String::new(), 0.0);
    while text.len() < "one two three".len() {
        let told = talk.progress.recv().await.unwrap();
        assert!(told.progress > last);
        last = told.progress;
        text.push_str(&told.message.unwrap());
    }
    assert_eq!((text.as_str(), last), ("one two three", 13.0));
    assert_eq!(said(&result)["text"], "one two three");
}

#[tokio::test]
async fn a_cancelled_call_ends_the_providers_work() {
    let provider = echo([Turn::Hang(text_events("one two", None).into_iter().take(2).collect())]);
    let mut talk = talk(&provider).await;
    let Value::Object(arguments) = json!({"prompt": "hi"}) else { unreachable!() };
    let call = CallToolRequestParams::new("generate").with_arguments(arguments);
    let handle = talk
        .client
        .send_cancellable_request(ClientRequest::CallToolRequest(Request::new(call)), PeerRequestOptions::no_options())
        .await
        .unwrap();
    talk.progress.recv().await.unwrap();
    assert_eq!(provider.live(), 1);
    let params = CancelledNotificationParam::new(Some(handle.id.clone()), Some("enough".to_owned()));
    talk.client.notify_cancelled(params).await.unwrap();
    gone(&provider).await;
}

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

fn message(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

#[tokio::test]
async fn over_http_each_post_stands_for_itself_behind_the_same_door() {
    let server = serve(Scripted::text("echo", "one two")).await;
    let json_headers = [("content-type", "application/json"), ACCEPT];
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let greeted = server.send("POST", "/mcp", &json_headers, Some(&message("initialize", &hello))).await;
    assert_eq!((greeted.status, greeted.header("mcp-session-id")), (200, ""), "{greeted:?}");
    assert_eq!(greeted.json()["result"]["serverInfo"]["name"], "llm-router");
    let listed = server.send("POST", "/mcp", &json_headers, Some(&message("tools/list", &json!({})))).await;
    assert_eq!(listed.json()["result"]["tools"].as_array().unwrap().len(), 6);
    let call = json!({"name": "generate", "arguments": {"prompt": "hi"}});
    let called = server.send("POST", "/mcp", &json_headers, Some(&message("tools/call", &call))).await;
    assert_eq!(called.json()["result"]["structuredContent"]["text"], "one two", "{called:?}");
    let call = json!({"name": "generate", "arguments": {"prompt": "hi"}, "_meta": {"progressToken": "p"}});
    let streamed = server.send("POST", "/mcp", &json_headers, Some(&message("tools/call", &call))).await;
    assert_eq!(streamed.header("content-type"), "text/event-stream");
    let events = streamed.events();
    assert!(events[0].1.contains("notifications/progress"), "{events:?}");
    assert!(events.last().unwrap().1.contains("structuredContent"), "{events:?}");
    let message = message("tools/list", &json!({}));
    for (headers, status) in [
        (vec![("content-type", "text/plain"), ACCEPT], 400),
        (vec![json_headers[0], ACCEPT, ("origin", "https://elsewhere.example")], 403),
        (vec![json_headers[0], ACCEPT, ("origin", "null")], 403),
    ] {
        assert_eq!(server.send("POST", "/mcp", &headers, Some(&message)).await.status, status, "{headers:?}");
    }
    assert_eq!(server.get("/mcp", &[("accept", "text/event-stream")]).await.status, 405);
}

/// Within which time the upstream's work ends after a client went away.
const GONE_WITHIN: Duration = Duration::from_millis(100);

/// A call of a tool in the words of a protocol version, over HTTP/1.1, of which nothing is read yet.
async fn calling(server: &Running, version: Option<&str>, progress: bool) -> TcpStream {
    let mut meta = json!({});
    if progress {
        meta["progressToken"] = json!("p");
    }
    let mut headers = format!("host: {}\r\ncontent-type: application/json\r\naccept: {}\r\n", server.address, ACCEPT.1);
    if let Some(version) = version {
        headers.push_str(&format!("mcp-protocol-version: {version}\r\n"));
    }
    if version.is_some_and(|version| version >= "2026") {
        headers.push_str("mcp-method: tools/call\r\nmcp-name: generate\r\n");
        meta["io.modelcontextprotocol/protocolVersion"] = json!(version);
        meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "t", "version": "1"});
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let call = json!({"name": "generate", "arguments": {"prompt": "hi"}, "_meta": meta});
    let body = message("tools/call", &call);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST /mcp HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

/// Whatever protocol a client speaks, and whether it was told anything yet: its call ends with its connection.
#[tokio::test]
async fn a_client_that_hangs_up_ends_the_providers_work() {
    let silent = Vec::new();
    let begun: Vec<_> = text_events("one two", None).into_iter().take(2).collect();
    for version in
        [None, Some("2024-11-05"), Some("2025-03-26"), Some("2025-06-18"), Some("2025-11-25"), Some("2026-07-28")]
    {
        for (progress, events) in [(false, &silent), (false, &begun), (true, &silent), (true, &begun)] {
            let provider = echo([Turn::Hang(events.clone())]);
            let server = start(Router::builder().instance(provider.clone()).settings(Settings::default())).await;
            let mut stream = calling(&server, version, progress).await;
            let told = progress && !events.is_empty();
            let mut said = Vec::new();
            while told && !String::from_utf8_lossy(&said).contains("notifications/progress") {
                assert!(stream.read_buf(&mut said).await.unwrap() > 0, "{}", String::from_utf8_lossy(&said));
            }
            until(&provider, 1).await;
            drop(stream);
            let left = Instant::now();
            gone(&provider).await;
            assert!(left.elapsed() < GONE_WITHIN, "{version:?} {progress} {}: {:?}", events.len(), left.elapsed());
        }
    }
}

/// Ready when so many of the provider's answers run.
async fn until(provider: &Scripted, live: usize) {
    let there = async {
        while provider.live() != live {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), there).await.unwrap();
}

/// Ready when nothing of the provider runs any more.
async fn gone(provider: &Scripted) {
    until(provider, 0).await;
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let mut settings = Settings::default();
    settings.mcp.enabled = false;
    let server = start(Router::builder().provider(Scripted::text("echo", "x")).settings(settings)).await;
    assert_eq!(server.get("/mcp", &[]).await.status, 404);
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Where the provider's last call stood in a trace, as `traceparent` has it.
fn told(provider: &Scripted) -> Option<(String, Option<String>)> {
    let calls = provider.calls();
    let context = calls.last().unwrap().cx.trace.clone()?;
    Some((context.to_string(), context.state.as_deref().map(str::to_owned)))
}

#[tokio::test]
async fn a_call_goes_on_in_the_trace_that_its_meta_names_over_pipes() {
    let provider = echo([Turn::Text("one".into())]);
    let talk = talk(&provider).await;
    for (meta, expected) in [
        (json!({}), None),
        (json!({"traceparent": PARENT, "tracestate": "a=b"}), Some((PARENT.to_owned(), Some("a=b".to_owned())))),
        (json!({"traceparent": "00-nonsense"}), None),
        (json!({"traceparent": 7}), None),
    ] {
        let params = json!({"name": "generate", "arguments": {"prompt": meta.to_string()}, "_meta": meta});
        let call: CallToolRequestParams = serde_json::from_value(params).unwrap();
        talk.client.call_tool(call).await.unwrap();
        assert_eq!(told(&provider), expected, "{meta}");
    }
}

#[tokio::test]
async fn over_http_a_calls_meta_goes_before_the_headers_that_brought_it() {
    let provider = echo([Turn::Text("one".into())]);
    let running = start(Router::builder().instance(provider.clone()).settings(Settings::default())).await;
    let other = PARENT.replace("0af7", "1af7");
    for (meta, header, expected) in [
        (json!({"traceparent": PARENT}), other.as_str(), PARENT),
        (json!({}), other.as_str(), other.as_str()),
        (json!({"traceparent": "nonsense"}), PARENT, PARENT),
    ] {
        let arguments = json!({"prompt": format!("{meta} {header}")});
        let params = json!({"name": "generate", "arguments": arguments, "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let accept = ("accept", "application/json, text/event-stream");
        let headers = [("content-type", "application/json"), accept, ("traceparent", header)];
        let answer = running.send("POST", "/mcp", &headers, Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(told(&provider), Some((expected.to_owned(), None)), "{meta} {header}");
    }
}
