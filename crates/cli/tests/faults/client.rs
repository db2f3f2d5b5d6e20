//! What a client of each dialect sends, and what it hears.

use std::net::SocketAddr;

use http::HeaderMap;
use llm_router::dialect::Dialect;
use llm_router::testing::heard as wire;
use llm_router::testing::voice::Voice;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a client heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) text: String,
    /// Whether the answer says that it is whole.
    pub(crate) whole: bool,
    /// The error, in the body or in the stream.
    pub(crate) error: Option<Value>,
    body: String,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The end of what came, for a failure's message.
    pub(crate) fn tail(&self) -> &str {
        let from = self.body.len().saturating_sub(600);
        self.body.get((from..).start..).or_else(|| self.body.get(from + 1..)).unwrap_or_default()
    }
}

/// The path and the body that ask a route for its answer.
pub(crate) fn question(voice: Voice, streamed: bool, route: &str) -> (String, Value) {
    const PROMPT: &str = "Count to sixty.";
    match voice.0 {
        Dialect::Anthropic => (
            "/v1/messages".into(),
            json!({
                "model": route, "max_tokens": 200, "stream": streamed, "messages": [{"role": "user", "content": PROMPT}],
            }),
        ),
        Dialect::Gemini => {
            let method = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let contents = json!({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]});
            (format!("/v1beta/models/{route}:{method}"), contents)
        }
        Dialect::OpenaiResponses => {
            ("/v1/responses".into(), json!({"model": route, "stream": streamed, "store": false, "input": PROMPT}))
        }
        _ => (
            "/v1/chat/completions".into(),
            json!({"model": route, "stream": streamed, "messages": [{"role": "user", "content": PROMPT}]}),
        ),
    }
}

/// A connection on which a request went out.
pub(crate) async fn send(address: SocketAddr, path: &str, body: &Value) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let body = body.to_string();
    let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
    let request = format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Asks, and hears the answer to its end.
pub(crate) async fn ask(address: SocketAddr, voice: Voice, streamed: bool, route: &str) -> Heard {
    let (path, body) = question(voice, streamed, route);
    let mut socket = send(address, &path, &body).await;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.unwrap();
    hear(voice, streamed, &bytes)
}

fn hear(voice: Voice, streamed: bool, bytes: &[u8]) -> Heard {
    let wire::Heard { status, headers, body } = wire::Heard::read(bytes);
    let body = String::from_utf8(body).unwrap();
    let mut heard = Heard { status, headers, body: body.clone(), ..Heard::default() };
    if heard.header("content-type").starts_with("text/event-stream") {
        assert!(streamed, "a stream that nobody asked for");
        for line in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
            if line == "[DONE]" {
                heard.whole = heard.error.is_none();
            } else {
                piece(voice, &serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")), &mut heard);
            }
        }
    } else {
        let value: Value = serde_json::from_str(body.trim()).unwrap_or_else(|_| panic!("{body}"));
        at_once(voice, &value, &mut heard);
    }
    heard
}

/// One event of a stream.
fn piece(voice: Voice, event: &Value, heard: &mut Heard) {
    let said = match voice.0 {
        Dialect::Anthropic => {
            heard.whole |= event["type"] == "message_stop";
            &event["delta"]["text"]
        }
        Dialect::Gemini => {
            let candidate = &event["candidates"][0];
            heard.whole |= candidate["finishReason"].is_string();
            &candidate["content"]["parts"][0]["text"]
        }
        Dialect::OpenaiResponses => {
            heard.whole |= event["type"] == "response.completed";
            &event["delta"]
        }
        _ => &event["choices"][0]["delta"]["content"],
    };
    heard.text.push_str(said.as_str().unwrap_or_default());
    let error = [&event["error"], &event["response"]["error"]].into_iter().find(|error| error.is_object());
    let error = error.or_else(|| (event["type"] == "error").then_some(event));
    if let Some(error) = error {
        heard.error.get_or_insert_with(|| error.clone());
    }
}

fn at_once(voice: Voice, value: &Value, heard: &mut Heard) {
    let (text, reason) = match voice.0 {
        Dialect::Anthropic => (&value["content"][0]["text"], &value["stop_reason"]),
        Dialect::Gemini => {
            let candidate = &value["candidates"][0];
            (&candidate["content"]["parts"][0]["text"], &candidate["finishReason"])
        }
        Dialect::OpenaiResponses => (&value["output"][0]["content"][0]["text"], &value["status"]),
        _ => (&value["choices"][0]["message"]["content"], &value["choices"][0]["finish_reason"]),
    };
    text.as_str().unwrap_or_default().clone_into(&mut heard.text);
    heard.whole = reason.is_string();
    heard.error = value.get("error").filter(|error| error.is_object()).cloned();
}
