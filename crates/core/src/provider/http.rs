//! The HTTP client that providers and the model fetcher share: a connection pool, cheap to clone.
//!
//! This file and its folder are the only ones that know hyper and rustls. It knows nothing of dialects, keys or retries: it sends one request and
//! hands back a head and a bounded stream of bytes. It follows no redirect, asks for no compression, reads no environment, and dropping an answer
//! ends its transfer at once. Read next: `http/connect.rs` (TCP, proxies, TLS), `http/pool.rs` (reuse), `http/outgoing.rs`, `http/body.rs` and
//! `http/pace.rs` (the bytes of requests and answers, and how slowly they may come).

mod body;
mod connect;
mod outgoing;
mod pace;
mod pool;

use std::{
    borrow::{Borrow, Cow},
    fmt,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::poll;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

pub use self::body::HttpBody;
pub use self::connect::Certificates;
pub(crate) use self::connect::is_loopback_host;
use self::connect::{Connector, Origin};
pub use self::outgoing::Upload;
pub(crate) use self::pace::Pace;
use self::pool::{Pool, SendFailure};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What a client says it is.
const USER_AGENT: &str = concat!("ipfs-llm-router/", env!("CARGO_PKG_VERSION"));

/// Room for the headers that most requests have, so that none of them makes the map grow.
const USUAL_HEADERS: usize = 8;

/// Tries on other connections while the request provably never left: each one used up a pooled connection that had died unnoticed.
const UNSENT_TRIES: usize = 4;

/// The HTTP client: HTTP/1.1 and HTTP/2, one pool for all its clones.
#[derive(Clone)]
pub struct HttpClient(Arc<Pool>);

impl HttpClient {
    /// A client with the default options. Nothing is opened, read or installed.
    pub fn new() -> Self {
        Self(Arc::new(Pool::new(Connector::default(), &HttpOptions::default())))
    }

    /// A client with its own certificates or proxies. Reads the certificate file and nothing else.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the file or the proxy that cannot be used.
    pub fn with_options(options: &HttpOptions) -> Result<Self> {
        Ok(Self(Arc::new(Pool::new(Connector::new(options)?, options))))
    }

    /// A client like this one, with a pool of its own, that trusts these certificates too.
    #[must_use]
    pub fn trusting(&self, more: &Certificates) -> Self {
        Self(Arc::new(self.0.trusting(more)))
    }

    /// Sends a request and waits for the head of its answer, whatever its status.
    ///
    /// # Errors
    /// `provider_connection` when the host cannot be found or reached, or the connection breaks; `provider_timeout` when a deadline of
    /// [`Limits`] passes; `provider_protocol` when what answers does not speak HTTP.
    pub async fn send(&self, request: impl Borrow<HttpRequest>) -> Result<HttpResponse> {
        let request = request.borrow();
        let origin = Origin::of(&request.uri)?;
        let limits = request.limits;
        for _ in 0..UNSENT_TRIES {
            let mut lease = self.lease(&origin, limits.connect).await?;
            let answer = match limits.head {
                Some(head) => tokio::time::timeout(head, Box::pin(lease.send(request)))
                    .await
                    .map_err(|_| Error::timeout(format!("{origin} gave no answer in {}", Seconds(head))))?,
                None => lease.send(request).await,
            };
            match answer {
                Ok((head, incoming)) => {
                    return Ok(HttpResponse {
                        status: head.status,
                        headers: head.headers,
                        body: HttpBody::new(incoming, lease, origin, limits),
                    });
                }
                Err(SendFailure::Unsent) => {}
                Err(SendFailure::Broken(error)) => return Err(connect::broken(&origin, error)),
            }
        }
        Err(Error::connection(format!("{origin} closes every connection before a request gets through")))
    }

    /// Connects to the host of a URL and keeps the connection for the next request: tells whether something listens there.
    ///
    /// # Errors
    /// As [`HttpClient::send`].
    pub async fn connect(&self, uri: &Uri, limit: Duration) -> Result<()> {
        let origin = Origin::of(uri)?;
        self.lease(&origin, limit).await?.finish();
        Ok(())
    }

    async fn lease(&self, origin: &Origin, limit: Duration) -> Result<pool::Lease> {
        let mut checkout = pin!(self.0.checkout(origin));
        // Nearly always a kept connection is there, and no time is to be taken.
        if let Poll::Ready(lease) = poll!(checkout.as_mut()) {
            return lease;
        }
        tokio::time::timeout(limit, checkout).await.unwrap_or_else(|_| {
            Err(Error::timeout(format!("no connection to {origin} in {}", Seconds(limit)))
                .unsent()
                .with_hint("check the address and the network, or allow more with `timeouts.connect` in the config"))
        })
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// How a client connects.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// A PEM file of certificates to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy for `http://` URLs, in the form of `HTTP_PROXY`: `http://user:password@host:port`.
    pub http_proxy: Option<String>,
    /// The proxy for `https://` URLs, in the form of `HTTPS_PROXY`.
    pub https_proxy: Option<String>,
    /// Hosts reached directly, in the form of `NO_PROXY`: names, suffixes, addresses, networks, `*`. Loopback always is.
    pub no_proxy: Option<String>,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// The most unused HTTP/1.1 connections kept for a host.
    pub idle_per_host: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            idle: Duration::from_secs(90),
            idle_per_host: 32,
        }
    }
}

impl From<&Settings> for HttpOptions {
    fn from(settings: &Settings) -> Self {
        let proxy = &settings.proxy;
        let of = |own: &Option<Secret>| own.as_ref().or(proxy.all.as_ref()).map(|url| url.expose().to_owned());
        let no_proxy = (!proxy.no_proxy.is_empty()).then(|| proxy.no_proxy.join(","));
        let ca_file = settings.http.ca_file.clone();
        Self { ca_file, http_proxy: of(&proxy.http), https_proxy: of(&proxy.https), no_proxy, ..Self::default() }
    }
}

impl fmt::Debug for HttpOptions {
    /// Proxy URLs hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions").field("ca_file", &self.ca_file).field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// What bounds one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Name look-up, TCP and TLS.
    pub connect: Duration,
    /// From the request's sending to the answer's head; `None` leaves it to the caller.
    pub head: Option<Duration>,
    /// The longest silence while the body is waited for; `None` leaves it to the caller. Time in which nobody reads does not count.
    pub idle: Option<Duration>,
    /// The most bytes of the body.
    pub body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Some(Duration::from_secs(60)),
            idle: Some(Duration::from_secs(60)),
            body: 64 << 20,
        }
    }
}

/// One request.
#[derive(Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The absolute URL: `http` or `https`, without user and password.
    pub uri: Uri,
    /// The headers; `host`, `content-length` and `user-agent` are added where missing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// A body that is read while it is sent, instead of [`HttpRequest::body`].
    pub upload: Option<Upload>,
    /// What bounds the exchange.
    pub limits: Limits,
}

impl HttpRequest {
    /// A GET.
    ///
    /// # Errors
    /// `caller_invalid_request` when `url` is no URL that can be sent to.
    pub fn get(url: &str) -> Result<Self> {
        Self::new(Method::GET, url, Bytes::new())
    }

    /// A POST of JSON.
    ///
    /// # Errors
    /// As [`HttpRequest::get`].
    pub fn post_json(url: &str, body: impl Into<Bytes>) -> Result<Self> {
        let mut request = Self::new(Method::POST, url, body.into())?;
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    /// A request of any method.
    ///
    /// # Errors
    /// As [`HttpRequest::get`].
    pub fn new(method: Method, url: &str, body: Bytes) -> Result<Self> {
        Ok(Self::to(method, parse_url(url)?, body))
    }

    /// A request to what [`parse_url`] gave.
    pub(crate) fn to(method: Method, uri: Uri, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(USUAL_HEADERS);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        Self { method, uri, headers, body, upload: None, limits: Limits::default() }
    }

    /// With a header whose value is not for a log.
    ///
    /// # Errors
    /// `caller_invalid_request` when the value holds a character that no header may hold; the value is not repeated.
    pub fn with_secret(mut self, name: header::HeaderName, value: &str) -> Result<Self> {
        self.set_secret(name, value)?;
        Ok(self)
    }

    /// As [`HttpRequest::with_secret`], in place: another value takes the place of the one before.
    ///
    /// # Errors
    /// As [`HttpRequest::with_secret`].
    pub(crate) fn set_secret(&mut self, name: header::HeaderName, value: &str) -> Result<()> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Error::invalid(format!("the value for the header {name} holds a line break or another control character"))
                .with_hint("check the key for stray characters")
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// With other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl fmt::Debug for HttpRequest {
    /// Headers, query and body can hold what is not for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}{}", self.method, self.uri.host().unwrap_or_default(), self.uri.path())
    }
}

/// Parses a URL that can be sent to: absolute, `http` or `https`, with a host and without user or password.
///
/// # Errors
/// `caller_invalid_request` saying what is wrong; a password in it is not repeated.
pub fn parse_url(url: &str) -> Result<Uri> {
    let bad = |why: &str| {
        let shown = url.split_once("://").filter(|_| url.contains('@')).map_or(url, |(scheme, _)| scheme);
        Err(Error::invalid(format!("{:?} is not a usable URL: {why}", crate::ids::shorten(shown)))
            .with_hint("a URL looks like https://host/path or http://127.0.0.1:8080/v1"))
    };
    let Ok(uri) = url.parse::<Uri>() else { return bad("it cannot be read") };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            bad("it holds a user name or password")
        }
        (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => Ok(uri),
        (Some("http" | "https"), _) => bad("it names no host"),
        _ => bad("it does not begin with http:// or https://"),
    }
}

/// An answer: its head, and its body still on the way.
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. Dropping it before its end closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
    pub body: HttpBody,
}

impl HttpResponse {
    /// The media type of the body, lower-cased and without parameters; empty where the answer names none.
    pub fn media_type(&self) -> Cow<'_, str> {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let value = value.split(';').next().unwrap_or_default().trim();
        match value.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(value.to_ascii_lowercase()),
            false => Cow::Borrowed(value),
        }
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A duration in words for a message: `5 s`, `0.25 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", (self.0.as_secs_f64() * 1000.0).round() / 1000.0)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod unit {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_plain_urls_are_taken() {
        assert!(parse_url("https://api.openai.com/v1").is_ok());
        assert!(parse_url("http://[::1]:8080/v1").is_ok());
        for bad in ["", "api.openai.com", "ftp://h/", "https://", "/v1", "http://h/ x"] {
            assert!(parse_url(bad).is_err(), "{bad:?}");
        }
        let error = parse_url("https://me:hunter2@host/v1").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let request = HttpRequest::get("https://h/v1?key=canary-1")
            .unwrap()
            .with_secret(header::AUTHORIZATION, "Bearer canary-2")
            .unwrap();
        let options = HttpOptions { https_proxy: Some("http://u:canary-3@p".into()), ..HttpOptions::default() };
        let shown = format!("{request:?} {:?} {options:?}", request.headers);
        assert!(!shown.contains("canary"), "{shown}");
        let error = HttpRequest::get("https://h/").unwrap().with_secret(header::AUTHORIZATION, "canary\n").unwrap_err();
        assert!(!format!("{error:?}").contains("canary"));
    }
}
