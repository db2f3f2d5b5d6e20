//! A request that is passed through to an upstream as it is, for what this router does not translate: audio, files, batches, moderations, reranking.
//!
//! What is decided here is what of a client's request may pass: a path below the provider's own address and nothing else, and no header that belongs to the
//! client's connection, holds its key or tells of its network. The host and the key are the provider's: `upstream/pass.rs`.

use http::{HeaderMap, HeaderName, Method, header};

use super::http::{HttpBody, Limits, Upload};
use crate::error::{Error, Result};

/// The longest path.
const LONGEST_PATH: usize = 2048;

const METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Headers of a connection (RFC 9110, section 7.6.1), which end where it does.
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of a request that hold the client's own keys, or tell who and where it is.
const OF_THE_CLIENT: &[&str] = &[
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "cookie",
    "host",
    "content-length",
    "expect",
    "origin",
    "referer",
    "forwarded",
    "via",
    "x-real-ip",
    "user-agent",
];

/// The beginnings of more of them.
const OF_THE_CLIENT_TOO: &[&str] = &["x-forwarded-", "x-llm-router-", "cf-", "sec-"];

/// Headers of an answer that speak of the upstream's host and not of the answer.
const OF_THE_UPSTREAM: &[&str] = &["set-cookie", "alt-svc", "strict-transport-security", "server", "clear-site-data"];

/// A request that is passed through.
#[derive(Debug)]
#[non_exhaustive]
pub struct Passthrough {
    /// The method.
    pub method: Method,
    /// The path below the provider's address, with a leading `/`.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// The headers that may pass.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Upload>,
    /// What bounds the exchange.
    pub limits: Limits,
}

impl Passthrough {
    /// What of a client's request may pass.
    ///
    /// # Errors
    /// `caller_invalid_request` for a path that could lead out of the provider's address, or a method that asks for something else than an answer.
    pub fn new(method: Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Self> {
        if !METHODS.contains(&method) {
            return Err(Error::invalid(format!("{method} is not passed through"))
                .with_hint("use GET, HEAD, POST, PUT, PATCH or DELETE"));
        }
        check_path(path)?;
        let query = query.filter(|query| !query.is_empty()).map(str::to_owned);
        Ok(Self {
            method,
            path: path.to_owned(),
            query,
            headers: passing(headers, true),
            body: None,
            limits: Limits::default(),
        })
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: Upload) -> Self {
        self.body = Some(body);
        self
    }

    /// With other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// The answer to a request that was passed through, its body still on the way.
#[derive(Debug)]
#[non_exhaustive]
pub struct Passed {
    /// The status.
    pub status: http::StatusCode,
    /// The headers that may pass.
    pub headers: HeaderMap,
    /// The body.
    pub body: HttpBody,
    /// The place among the provider's calls, free again when this is dropped.
    pub place: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// Refuses a path that an upstream might read as another than the one that is seen here.
fn check_path(path: &str) -> Result<()> {
    let refuse = |why: &str| {
        let shown: String = path.chars().take(80).collect();
        Err(Error::invalid(format!("the path {shown:?} is not passed through: {why}")))
    };
    if path.len() > LONGEST_PATH {
        return refuse("it is too long");
    }
    let Some(below) = path.strip_prefix('/') else { return refuse("it does not begin with `/`") };
    let lower = below.to_ascii_lowercase();
    if ["%2f", "%5c", "%25", "%00", "\\"].iter().any(|hidden| lower.contains(hidden)) {
        return refuse("it hides a separator");
    }
    for segment in lower.split('/') {
        if segment.is_empty() {
            return refuse("a part of it is empty");
        }
        if matches!(segment.replace("%2e", ".").split(';').next(), Some("." | "..")) {
            return refuse("it leads out of the provider's address");
        }
    }
    Ok(())
}

/// The headers that go on to the other side.
pub(super) fn passing(headers: &HeaderMap, request: bool) -> HeaderMap {
    // A connection may name more headers that end with it.
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let stays = |name: &HeaderName| {
        let text = name.as_str();
        OF_THE_CONNECTION.contains(&text)
            || named.contains(name)
            || if request {
                OF_THE_CLIENT.contains(&text) || OF_THE_CLIENT_TOO.iter().any(|beginning| text.starts_with(beginning))
            } else {
                OF_THE_UPSTREAM.contains(&text)
            }
    };
    headers.iter().filter(|(name, _)| !stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(path: &str) -> Result<Passthrough> {
        Passthrough::new(Method::GET, path, None, &HeaderMap::new())
    }

    #[test]
    fn only_paths_below_the_address_pass() {
        for good in ["/audio/speech", "/files/file-1.x/content", "/batches", "/files/a..b", "/a%20b"] {
            assert!(of(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "audio",
            "/..",
            "/../v2",
            "/files/../../admin",
            "/files/%2e%2E/x",
            "/files/.%2e",
            "/.",
            "/a/..;x/b",
            "/a%2f..%2fb",
            "/a%252e",
            "/a\\..\\b",
            "/a%5C..",
            "//evil.example/x",
            "/a//b",
            "/a%00",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(of(&format!("/{}", "a".repeat(4000))).is_err());
        assert!(Passthrough::new(Method::CONNECT, "/a", None, &HeaderMap::new()).is_err());
    }

    #[test]
    fn neither_the_connections_nor_the_clients_own_headers_pass() {
        let given = [
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer canary"),
            ("x-api-key", "canary"),
            ("cookie", "canary"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-llm-router-strict", "1"),
            ("host", "router.example.org"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("openai-beta", "assistants=v2"),
            ("anthropic-version", "2023-06-01"),
        ];
        let headers = given
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>();
        let passing = Passthrough::new(Method::POST, "/files", None, &headers).unwrap().headers;
        let mut names: Vec<&str> = passing.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["anthropic-version", "content-type", "openai-beta"]);
    }
}
