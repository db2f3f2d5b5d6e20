//! State that replicas of the server share, in Redis or Valkey: the state store, and limits that are counted together.
//!
//! [`Redis`] is one server's place for all of it, under one prefix. Nothing is connected before it is first used. Keys and values are written as `names.rs` says; the connection,
//! which is made anew whenever it breaks, is `link.rs`; records are `store.rs`, limits `shared.rs`, what is told later `settle.rs`, and answers that were lost `asked.rs`. What a record or a limit means is the
//! core's business (`llm_router::store`, `llm_router::limits::shared`).
#![forbid(unsafe_code)]

mod asked;
mod link;
mod names;
mod settle;
mod shared;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use llm_router::deps::Clock;
use llm_router::error::{Error, Result};
use llm_router::secret::Secret;
use llm_router::store::StoreError;

use self::link::Link;
use self::names::Names;

pub use self::shared::RedisLimits;
pub use self::store::RedisStore;

/// The format of what is written, as it is noted under `PREFIX:format`.
pub const FORMAT: i32 = 1;

/// Where the state is, and how long its answers are waited for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// `redis://`, `rediss://` or `unix://` with user, password and number of the database as far as they are needed.
    pub url: Secret,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How long a request waits until its limits are counted.
    pub patience: Duration,
    /// A file of certificates to trust in place of the public ones, PEM.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// Of a server at this address, with the prefix `llm-router` and 50 ms of patience.
    #[must_use]
    pub fn new(url: Secret) -> Self {
        Self { url, prefix: "llm-router".to_owned(), patience: Duration::from_millis(50), ca_file: None }
    }
}

/// The shared state of one Redis or Valkey server.
pub struct Redis(Arc<Inner>);

struct Inner {
    options: Options,
    client: redis::Client,
    names: Names,
    /// The server without its password, as messages show it.
    shown: String,
    link: OnceLock<std::result::Result<Link, StoreError>>,
}

impl Redis {
    /// Reads the address and the certificates. Nothing is connected.
    ///
    /// # Errors
    /// `caller_invalid_request` for an address that is none, or a file of certificates that cannot be read. The address is not repeated: it may hold a password.
    pub fn new(options: Options) -> Result<Self> {
        let url = address(options.url.expose());
        let wrong = |why: &str| {
            Error::invalid(format!("store.url: {why}"))
                .with_hint("write redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix:///PATH of a socket")
        };
        let described = |error: &redis::RedisError| error.detail().unwrap_or("it is no address").to_owned();
        let client = match &options.ca_file {
            None => redis::Client::open(url.as_str()),
            Some(file) => {
                let pem = std::fs::read(file)
                    .map_err(|error| Error::invalid(format!("store.ca_file: {}: {error}", file.display())))?;
                let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(pem) };
                redis::Client::build_with_tls(url.as_str(), certificates)
            }
        };
        let client = client.map_err(|error| wrong(&described(&error)))?;
        let shown = client.get_connection_info().addr().to_string();
        let names = Names::new(&options.prefix);
        Ok(Self(Arc::new(Inner { options, client, names, shown, link: OnceLock::new() })))
    }

    /// The state store, whose records expire by this clock.
    #[must_use]
    pub fn store(&self, clock: Arc<dyn Clock>) -> RedisStore {
        RedisStore::new(Arc::clone(&self.0), clock)
    }

    /// Limits that are counted together.
    #[must_use]
    pub fn limits(&self, clock: Arc<dyn Clock>) -> RedisLimits {
        RedisLimits::new(Arc::clone(&self.0), clock)
    }
}

impl Inner {
    /// The connection's keeper; it begins with the first call.
    fn link(&self) -> std::result::Result<&Link, StoreError> {
        let start = || Link::start(self.client.clone(), &self.names, &self.shown);
        self.link.get_or_init(start).as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.0.shown)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Valkey's own words for the same things.
fn address(url: &str) -> String {
    let url = url.trim();
    match url.split_once("://") {
        Some(("valkey", rest)) => format!("redis://{rest}"),
        Some(("valkeys", rest)) => format!("rediss://{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_and_not_repeated() {
        for url in [
            "",
            "127.0.0.1:6379",
            "http://user:hunter2@x",
            "redis://:hunter2@[::",
            "redis://:hunter2@host/not-a-number",
        ] {
            let error = Redis::new(Options::new(Secret::new(url))).unwrap_err();
            assert!(error.message().contains("store.url") && !error.message().contains("hunter2"), "{url}: {error}");
        }
        for url in ["valkey://u:hunter2@10.0.0.1:1/3", "valkeys://h", "unix:///run/redis.sock?db=2", "rediss://h:7"] {
            let redis = Redis::new(Options::new(Secret::new(url))).map(|redis| format!("{redis:?}"));
            assert!(redis.as_ref().is_ok_and(|shown| !shown.contains("hunter2")), "{url}: {redis:?}");
        }
    }
}
