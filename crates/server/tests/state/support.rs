//! A server on a socket and a client that says exactly what it is told.

use std::net::SocketAddr;

use llm_router::config::{ClientKey, Credential, ProviderSettings, Settings};
use llm_router::dialect::Dialect;
use llm_router::ids::ProviderId;
use llm_router::router::Router;
use llm_router::secret::Secret;
use llm_router_server::{Server, ServerOptions, Stop};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const UPSTREAM_KEY: &str = "canary-upstream-key";

/// Settings with one provider of this name, at this base and in this dialect.
pub(crate) fn settings(id: &str, url: String, dialect: Dialect) -> Settings {
    let mut lab = ProviderSettings::default();
    lab.base_url = Some(url);
    lab.dialects = vec![dialect];
    lab.credentials = vec![Credential::Value(Secret::new(UPSTREAM_KEY))];
    lab.configured = true;
    lab.models = vec!["m".into()];
    let mut settings = Settings::default();
    settings.providers.insert(ProviderId::new(id).unwrap(), lab);
    settings
}

/// With two clients, whose keys are their names with `-key` behind.
pub(crate) fn two_clients(mut settings: Settings) -> Settings {
    for name in ["ann", "bob"] {
        settings.server.api_keys.push(ClientKey::new(name, Credential::Value(Secret::new(format!("{name}-key")))));
    }
    settings
}

/// A server at work. Dropping it ends it.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

pub(crate) fn serve(settings: Settings) -> Serving {
    let router = Router::builder().settings(settings).build().unwrap();
    let bound = Server::new(router, ServerOptions::default()).unwrap().bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.address().unwrap();
    let task = tokio::spawn(async move { bound.serve(std::future::pending::<Stop>()).await.unwrap() });
    Serving { address, _task: AbortOnDropHandle::new(task) }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name).map(|(_, value)| value))
    }
}

impl Serving {
    /// Sends a JSON request with a key.
    pub(crate) async fn ask(&self, method: &str, path: &str, key: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!("authorization: Bearer {key}\r\ncontent-type: application/json\r\n");
        self.send(method, path, &head, body.as_bytes()).await
    }

    /// Sends a request with these header lines.
    pub(crate) async fn send(&self, method: &str, path: &str, head: &str, body: &[u8]) -> Reply {
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {}\r\n{head}\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).await
    }

    /// Sends these bytes and reads until the connection ends.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        reply(&all)
    }
}

fn reply(all: &[u8]) -> Reply {
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut rest = &all[end + 4..];
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
        }
    } else {
        body.extend_from_slice(rest);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head, body }
}
