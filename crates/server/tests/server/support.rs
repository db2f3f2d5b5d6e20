//! A server under test, and a client that says exactly what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use llm_router::config::{ClientKey, Credential, ProviderSettings, Settings};
use llm_router::dialect::Dialect;
use llm_router::ids::ProviderId;
use llm_router::provider::DynProvider;
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router::testing::upstream::Answer;
use llm_router_server::{Server, ServerOptions, Stop};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

/// What a server is made of.
pub(crate) struct Setting {
    pub(crate) settings: Settings,
    pub(crate) options: Box<dyn FnOnce(&mut ServerOptions)>,
    providers: Vec<Arc<dyn DynProvider>>,
}

impl Setting {
    /// One in which nothing of this machine could answer.
    pub(crate) fn new() -> Self {
        let mut settings = Settings::default();
        for id in ["codex_cli", "copilot_cli", "gemini_cli", "claude_code", "ollama", "llama_cpp", "lmstudio"] {
            let mut off = ProviderSettings::default();
            off.enabled = Some(false);
            settings.providers.insert(ProviderId::new(id).unwrap(), off);
        }
        Self { settings, options: Box::new(|_| {}), providers: Vec::new() }
    }

    pub(crate) fn provider(mut self, provider: impl llm_router::provider::Provider) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }

    pub(crate) fn shared(mut self, provider: Arc<dyn DynProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// With a provider `lab` that speaks `openai_chat` at this base.
    pub(crate) fn lab(self, url: String) -> Self {
        self.http("lab", url)
    }

    pub(crate) fn http(mut self, id: &str, url: String) -> Self {
        let mut lab = ProviderSettings::default();
        lab.base_url = Some(url);
        lab.dialects = vec![Dialect::OpenaiChat];
        lab.configured = true;
        lab.models = vec!["m".into()];
        self.settings.providers.insert(ProviderId::new(id).unwrap(), lab);
        self
    }

    pub(crate) fn key(mut self, name: &str, key: &str) -> Self {
        self.settings.server.api_keys.push(ClientKey::new(name, Credential::Value(Secret::new(key))));
        self
    }

    pub(crate) fn admin_key(mut self, name: &str, key: &str) -> Self {
        self.settings.server.api_keys.push(ClientKey::new(name, Credential::Value(Secret::new(key))).for_admin());
        self
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut ServerOptions) + 'static) -> Self {
        self.options = Box::new(change);
        self
    }

    pub(crate) fn router(&self) -> Router {
        let builder = Router::builder().settings(self.settings.clone());
        self.providers.iter().fold(builder, |builder, provider| builder.instance(provider.clone())).build().unwrap()
    }

    pub(crate) fn server(self) -> Server {
        let router = self.router();
        let mut options = ServerOptions::of(&self.settings);
        (self.options)(&mut options);
        Server::new(router, options).unwrap()
    }

    pub(crate) fn start(self) -> Serving {
        Serving::of(&self.server())
    }
}

/// A server at work. Dropping it ends it.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<Stop>>,
    task: Option<AbortOnDropHandle<()>>,
}

impl Serving {
    pub(crate) fn of(server: &Server) -> Self {
        let bound = server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, admin) = (bound.address().unwrap(), bound.admin_address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let ended = async { stopped.await.unwrap_or_default() };
            bound.serve(ended).await.unwrap();
        });
        Self { address, admin, stop: Some(stop), task: Some(AbortOnDropHandle::new(task)) }
    }

    /// Tells it to end.
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.stop.take().unwrap().send(stop).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) {
        soon(self.task.take().unwrap()).await.unwrap();
    }

    pub(crate) async fn send(&self, ask: Ask) -> Reply {
        ask.send(self.address).await
    }
}

/// A request, line by line.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn get(target: &str) -> Self {
        Self { method: "GET".into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
            .header("host", "localhost")
    }

    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let ask = Self { method: "POST".into(), target: target.into(), headers: Vec::new(), body: body.into() };
        ask.header("host", "localhost").header("content-type", "application/json")
    }

    /// A chat with the model.
    pub(crate) fn chat(model: &str) -> Self {
        Self::post("/v1/chat/completions", chat(model, false).to_string())
    }

    /// A chat, streamed.
    pub(crate) fn stream(model: &str) -> Self {
        Self::post("/v1/chat/completions", chat(model, true).to_string())
    }

    /// With a header, in place of one of the same name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if ["POST", "PATCH"].contains(&self.method.as_str())
            && !self.headers.iter().any(|(name, _)| name == "transfer-encoding" || name == "content-length")
        {
            out.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        out.push_str("\r\n");
        [out.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own and reads the whole answer.
    pub(crate) async fn send(&self, address: SocketAddr) -> Reply {
        let mut talk = Talk::to(address).await;
        talk.write(&self.clone().header("connection", "close").bytes()).await;
        soon(talk.reply()).await
    }
}

pub(crate) fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
}

/// A request of each dialect, whole or streamed.
pub(crate) fn each(model: &str, stream: bool) -> [(Dialect, Ask); 4] {
    let said = json!([{"role": "user", "content": "hi"}]);
    let responses = json!({"model": model, "stream": stream, "input": "hi"});
    let anthropic = json!({"model": model, "stream": stream, "max_tokens": 99, "messages": said});
    let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    [
        (Dialect::OpenaiChat, Ask::post("/v1/chat/completions", chat(model, stream).to_string())),
        (Dialect::OpenaiResponses, Ask::post("/v1/responses", responses.to_string())),
        (Dialect::Anthropic, Ask::post("/v1/messages", anthropic.to_string())),
        (Dialect::Gemini, Ask::post(&format!("/v1beta/models/{model}:{verb}"), gemini.to_string())),
    ]
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end, as far as HTTP says.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One connection.
pub(crate) struct Talk {
    pub(crate) socket: TcpStream,
    buffer: Vec<u8>,
}

impl Talk {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        Self { socket, buffer: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        self.socket.read_buf(&mut self.buffer).await.is_ok_and(|read| read > 0)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// The head of an answer; its body is still to come.
    pub(crate) async fn head(&mut self) -> Reply {
        let first = self.line().await.expect("an answer's first line");
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, ..Reply::default() };
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
        reply
    }

    /// The next piece of a chunked body; `None` at its end, or where the connection ends.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
        let piece = self.take(size).await?;
        self.line().await?;
        Some(piece).filter(|piece| !piece.is_empty())
    }

    /// Reads until a stream has said this.
    pub(crate) async fn until(&mut self, said: &str) -> String {
        let mut all = String::new();
        while !all.contains(said) {
            let piece = soon(self.chunk()).await;
            all.push_str(&String::from_utf8(piece.unwrap_or_else(|| panic!("the stream ended: {all}"))).unwrap());
        }
        all
    }

    /// A whole answer.
    pub(crate) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if reply.header("transfer-encoding") == "chunked" {
            loop {
                let Some(line) = self.line().await else { return reply };
                let size = usize::from_str_radix(&line, 16).unwrap();
                let Some(piece) = self.take(size).await else { return reply };
                reply.body.extend(piece);
                self.line().await;
                if size == 0 {
                    reply.whole = true;
                    return reply;
                }
            }
        }
        let length = reply.header("content-length").parse().unwrap_or(0);
        if let Some(body) = self.take(length).await {
            reply.body = body;
            reply.whole = true;
        }
        reply
    }

    /// Whether the server closes the connection without another word.
    pub(crate) async fn closes(&mut self) -> bool {
        let mut rest = [0; 1024];
        loop {
            match soon(self.socket.read(&mut rest)).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
    }
}

/// A whole answer of an upstream.
pub(crate) fn answer(text: &str) -> Answer {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}});
    Answer::json(200, body.to_string())
}

/// One chunk of an upstream's stream.
pub(crate) fn piece(text: &str) -> String {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": null}]})
    .to_string()
}

/// The last chunks of an upstream's stream.
pub(crate) fn finished(answer: Answer) -> Answer {
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}});
    answer.event(&last.to_string()).event(&usage.to_string()).event("[DONE]").end()
}
