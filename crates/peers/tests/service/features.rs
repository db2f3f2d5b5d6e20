//! Everything of a request and an answer crosses the wire; what would reach out of the peer's machine does not.

use llm_router::Error;
use llm_router::ErrorKind;
use llm_router::request::{Block, BlockBody, Message, Reasoning, Request, Source, Tool};
use llm_router::response::Response;
use llm_router::testing::scripted::Turn;
use llm_router_peers::node::Network;
use llm_router_peers::{Known, Share};
use serde_json::json;

use super::stage::{Client, Server, request, share};

fn rich() -> Response {
    serde_json::from_value(json!({
        "id": "a", "model": "m", "created": 7,
        "choices": [{"index": 0, "finish": "tool_calls", "raw_reason": "tool_use", "content": [
            {"type": "reasoning", "text": "hm", "signature": "c2lnbmVk"},
            {"type": "text", "text": "let me look", "annotations": [{"url": "https://example.org"}]},
            {"type": "tool_call", "id": "c1", "name": "look", "arguments": "{\"at\":1}"},
        ]}],
        "usage": {"input": 9, "output": 5, "cache_read": 4, "reasoning": 2},
    }))
    .unwrap()
}

async fn pair(turn: Turn, tools: bool) -> (Server, Client) {
    let server = Server::start([turn]).await;
    let known = if tools { server.known().with_tools() } else { server.known() };
    let client = Client::knowing(Network::Memory, [known]);
    server.book.allow(Known::new(client.peers.id())).unwrap();
    client.has_met(server.peers.id()).await;
    (server, client)
}

fn asking() -> Request {
    let mut asked = request("look at this");
    let picture = Source::Base64 { mime: "image/png".into(), data: "iVBORw0KGgo=".into() };
    asked.messages = vec![
        Message::system("be brief"),
        Message::user("look at this"),
        Message::assistant(vec![
            BlockBody::Reasoning { text: "so".into(), signature: None, redacted: false }.into(),
            Block::text("yes"),
        ]),
        Message { content: vec![BlockBody::Image { source: picture, detail: None }.into()], ..Message::user("") },
    ];
    asked.tools = vec![
        serde_json::from_value::<Tool>(json!({"name": "look", "parameters": {"type": "object", "b": 1, "a": 2}}))
            .unwrap(),
    ];
    asked.response_format =
        serde_json::from_value(json!({"json_schema": {"name": "x", "schema": {"type": "object"}}})).ok();
    asked.reasoning = Some(serde_json::from_value::<Reasoning>(json!({"effort": "high"})).unwrap());
    asked.sampling.max_tokens = Some(99);
    asked.sampling.seed = Some(7);
    asked
}

#[tokio::test]
async fn tools_pictures_schemas_reasoning_and_usage_cross_the_wire() {
    let (server, client) = pair(Turn::Events(vec![Ok(rich().to_deltas().into())]), true).await;
    let asked = asking();
    let answer = client.ask(asked.clone()).await.unwrap();
    assert_eq!((&answer.choices, answer.usage), (&rich().choices, rich().usage));
    let calls = server.provider.calls();
    let heard = &calls[0].request;
    assert_eq!((&heard.messages, &heard.tools, &heard.reasoning), (&asked.messages, &asked.tools, &asked.reasoning));
    assert_eq!((&heard.response_format, &heard.sampling), (&asked.response_format, &asked.sampling));
    assert_eq!(heard.tools[0].parameters.as_ref().unwrap().get(), asked.tools[0].parameters.as_ref().unwrap().get());
    // What the model sealed goes back to it, over both routers.
    let mut further = asked;
    further.messages.push(Message::assistant(answer.choices[0].content.clone()));
    further.messages.push(Message::user("and now?"));
    client.ask(further).await.unwrap();
    let heard = &server.provider.calls()[1].request;
    let sealed = serde_json::to_string(&heard.messages).unwrap();
    assert!(sealed.contains("c2lnbmVk"), "{sealed}");
}

#[tokio::test]
async fn a_peer_that_may_not_call_tools_does_not() {
    let (server, client) = pair(Turn::Events(vec![Ok(rich().to_deltas().into())]), false).await;
    // It was not even offered any.
    let error = client.ask(request("hello")).await.unwrap_err();
    assert!(error.message().contains("\"look\""), "{error}");
    let error = client.ask(asking()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
    assert_eq!(server.provider.calls().len(), 1);
}

#[tokio::test]
async fn errors_cross_with_their_kind_and_without_their_text() {
    for kind in [ErrorKind::CallerContextLength, ErrorKind::CallerContentFilter, ErrorKind::ProviderTimeout] {
        let failure = Turn::Fail(Error::new(kind, "upstream said: /secret/path sk-verysecretkey1234567890"));
        let (_server, client) = pair(failure, false).await;
        let error = client.ask(request("hello")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn nothing_has_a_peer_fetch_or_touch_what_is_its_own() {
    let (server, client) = pair(Turn::Text("no".into()), true).await;
    let mut asked = request("look");
    for source in [Source::Url("http://127.0.0.1:9/secret".into()), Source::FileId("file-of-the-owner".into())] {
        let image = BlockBody::Image { source, detail: None }.into();
        asked.messages = vec![Message { content: vec![image], ..Message::user("") }];
        assert!(client.ask(asked.clone()).await.is_err());
    }
    asked = request("look");
    asked.extra = serde_json::from_value(json!({"openai_responses": {"previous_response_id": "resp_1"}})).unwrap();
    client.ask(asked).await.unwrap();
    let calls = server.provider.calls();
    assert_eq!(calls.len(), 1, "only what is left of the last one is asked");
    assert!(calls[0].request.extra.is_empty());
}

#[tokio::test]
async fn what_is_not_shared_is_not_offered() {
    let mut hidden: Share = share();
    hidden.models = vec!["other".into()];
    let server = Server::with(Network::Memory, "/memory/0", [Turn::Text("no".into())], hidden).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let error = client.ask(request("hello")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown, "{error}");
    assert!(server.provider.calls().is_empty());
}
