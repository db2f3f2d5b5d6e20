//! A server on a real socket over scripted providers, and a client that speaks plain HTTP/1.1 to it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use http::HeaderMap;
use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::Settings;
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::provider::Provider;
use llm_router::router::{Router, RouterBuilder};
use llm_router::testing::heard::Heard;
use llm_router_server::{Server, ServerOptions};
use serde_json::Value;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// A running server, which ends with this.
pub struct Running {
    pub address: SocketAddr,
    pub router: Router,
    _task: AbortOnDropHandle<()>,
}

/// A server over one provider, with answers kept in memory.
pub async fn serve(provider: impl Provider) -> Running {
    start(Router::builder().provider(provider).deps(kept()).settings(Settings::default())).await
}

/// Dependencies with a cache in memory that is used for every request.
pub fn kept() -> RouterDeps {
    let clock = Arc::new(SystemClock);
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(1 << 20, clock.clone()));
    let strategy = KeyStrategy::parse("sha256", "base32").unwrap();
    let mut deps = RouterDeps::default();
    deps.cache = Some(ResponseCache::new(vec![memory], strategy, clock, true));
    deps
}

pub async fn start(builder: RouterBuilder) -> Running {
    let router = builder.build().unwrap();
    let server = Server::new(router.clone(), ServerOptions::default()).unwrap();
    let bound = server.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = bound.address().unwrap();
    let task = tokio::spawn(async move { bound.serve(std::future::pending()).await.unwrap() });
    Running { address, router, _task: AbortOnDropHandle::new(task) }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl From<Heard> for Answer {
    fn from(heard: Heard) -> Self {
        Self { status: heard.status, body: heard.text(), headers: heard.headers }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The data of each server-sent event, with its name where it has one.
    pub fn events(&self) -> Vec<(String, String)> {
        let mut events = Vec::new();
        for frame in self.body.split("\n\n") {
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            if frame.contains("data: ") {
                events.push((field("event: ").to_owned(), field("data: ").to_owned()));
            }
        }
        events
    }
}

impl Running {
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], Some(&body.to_string())).await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Heard::read(&answer).into()
    }
}
