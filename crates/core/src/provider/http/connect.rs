//! Opening a connection: name look-up, TCP, a proxy where one is set, TLS and the choice of HTTP version; and what went wrong, in words.

use std::{
    error::Error as StdError,
    fmt, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::HttpOptions;
use crate::error::{Error, ErrorKind, Result};

/// Where a connection leads: what a pool is keyed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) https: bool,
    /// Lower-cased; an IPv6 address keeps its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Result<Self> {
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error::invalid("a URL must begin with http:// or https://")),
        };
        let host = uri.host().ok_or_else(|| Error::invalid("a URL must name a host"))?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host, port })
    }

    /// Whether it is this machine.
    fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    fn tcp_uri(&self) -> Result<Uri> {
        format!("http://{}:{}", self.host, self.port)
            .parse()
            .map_err(|_| Error::invalid(format!("{self} is not an address that can be connected to")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whether a URL's host is this machine: `localhost`, a name under it, or a loopback address.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A byte stream to a host.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open connection.
pub(super) struct Connected {
    pub(super) io: Box<dyn Io>,
    pub(super) http2: bool,
    /// Set where a proxy passes on plain HTTP: requests go out with the absolute URL, and with this header for the proxy.
    pub(super) forward: Option<Option<HeaderValue>>,
}

/// Opens connections.
#[derive(Default)]
pub(super) struct Connector {
    extra: Certificates,
    proxies: Option<Arc<Matcher>>,
    /// Made at the first `https` connection: a router that only speaks to loopback never needs it.
    tls: OnceLock<TlsConnectors>,
}

#[derive(Clone)]
struct TlsConnectors {
    any: TlsConnector,
    http1: TlsConnector,
}

impl Connector {
    pub(super) fn new(options: &HttpOptions) -> Result<Self> {
        let extra = options.ca_file.as_deref().map(Certificates::read).transpose()?.unwrap_or_default();
        Ok(Self { extra, proxies: proxies(options)?.map(Arc::new), tls: OnceLock::new() })
    }

    /// A connector like this one that trusts these certificates too.
    pub(super) fn trusting(&self, more: &Certificates) -> Self {
        let extra = Certificates(self.extra.0.iter().chain(&more.0).cloned().collect());
        Self { extra, proxies: self.proxies.clone(), tls: OnceLock::new() }
    }

    /// Opens a connection. The caller bounds the time.
    pub(super) async fn connect(&self, origin: &Origin) -> Result<Connected> {
        let proxy = if origin.is_loopback() { None } else { self.proxy(origin)? };
        let Some(proxy) = proxy else {
            let io = Box::new(tcp(origin).await?);
            return self.secure(origin, io, None).await;
        };
        let at = Origin::of(proxy.uri())?;
        let tunnel_end: Box<dyn Io> = match tcp(&at).await {
            Ok(io) if at.https => self.tls()?.http1.handshake(&at, Box::new(io)).await?.0,
            Ok(io) => Box::new(io),
            Err(error) => return Err(Error::new(error.kind(), format!("proxy {at}: {}", error.message())).unsent()),
        };
        if !origin.https {
            return self.secure(origin, tunnel_end, Some(proxy.basic_auth().cloned())).await;
        }
        let io = tunnel(tunnel_end, origin, &at, proxy.basic_auth()).await?;
        self.secure(origin, io, None).await
    }

    async fn secure(
        &self,
        origin: &Origin,
        io: Box<dyn Io>,
        forward: Option<Option<HeaderValue>>,
    ) -> Result<Connected> {
        if !origin.https {
            return Ok(Connected { io, http2: false, forward });
        }
        let (io, http2) = self.tls()?.any.handshake(origin, io).await?;
        Ok(Connected { io, http2, forward })
    }

    fn proxy(&self, origin: &Origin) -> Result<Option<Intercept>> {
        let Some(proxies) = &self.proxies else { return Ok(None) };
        let uri: Uri = format!("{}://{origin}/", if origin.https { "https" } else { "http" })
            .parse()
            .map_err(|_| Error::invalid(format!("{origin} is not an address that can be connected to")))?;
        Ok(proxies.intercept(&uri))
    }

    fn tls(&self) -> Result<TlsConnectors> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = tls_connectors(&self.extra.0)?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}

trait Handshake {
    async fn handshake(&self, origin: &Origin, io: Box<dyn Io>) -> Result<(Box<dyn Io>, bool)>;
}

impl Handshake for TlsConnector {
    async fn handshake(&self, origin: &Origin, io: Box<dyn Io>) -> Result<(Box<dyn Io>, bool)> {
        let name = ServerName::try_from(origin.host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Error::invalid(format!("{:?} is not a host name", origin.host)))?;
        let stream = self.connect(name, io).await.map_err(|error| tls_failed(origin, error))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), http2))
    }
}

fn tls_connectors(extra: &[CertificateDer<'static>]) -> Result<TlsConnectors> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(extra.iter().cloned());
    // Handed over by value: a process-wide default is the application's to install, not a library's.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let with = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    };
    Ok(TlsConnectors { any: with(&[b"h2", b"http/1.1"]), http1: with(&[b"http/1.1"]) })
}

/// Certificates to trust besides the public ones.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Vec<CertificateDer<'static>>);

impl Certificates {
    /// Those of a PEM file.
    ///
    /// # Errors
    /// `caller_invalid_request` naming a file that cannot be read, or holds none.
    pub fn read(path: &Path) -> Result<Self> {
        let unusable = |why: String| {
            Error::invalid(format!("the certificate file {} cannot be used: {why}", path.display()))
                .with_hint("ca_file must name a PEM file of CA certificates")
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("it holds no certificate".into()));
        }
        Ok(Self(certificates))
    }
}

fn proxies(options: &HttpOptions) -> Result<Option<Matcher>> {
    let (http, https) = (options.http_proxy.as_deref(), options.https_proxy.as_deref());
    if http.or(https).is_none() {
        return Ok(None);
    }
    for (name, url) in [("http (HTTP_PROXY, ALL_PROXY)", http), ("https (HTTPS_PROXY, ALL_PROXY)", https)] {
        let Some(url) = url.filter(|url| !url.is_empty()) else { continue };
        let read = Matcher::builder().all(url.to_owned()).build().intercept(&Uri::from_static("http://host/"));
        if !read.is_some_and(|read| matches!(read.uri().scheme_str(), Some("http" | "https"))) {
            return Err(Error::invalid(format!("the proxy for {name} addresses cannot be used")).with_hint(
                "a proxy is written http://host:port or https://host:port; `llm-router config show --origin` says where this one is set",
            ));
        }
    }
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let no = text(options.no_proxy.as_deref());
    Ok(Some(Matcher::builder().http(text(http)).https(text(https)).no(no).build()))
}

async fn tcp(origin: &Origin) -> Result<tokio::net::TcpStream> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_keepalive(Some(std::time::Duration::from_secs(60)));
    let connected = connector.call(origin.tcp_uri()?).await;
    connected.map(hyper_util::rt::TokioIo::into_inner).map_err(|error| tcp_failed(origin, &error).unsent())
}

/// The most bytes of a proxy's answer to `CONNECT`.
const TUNNEL_HEAD: usize = 8 << 10;

/// Asks a proxy for a tunnel.
async fn tunnel(
    mut io: Box<dyn Io>,
    to: &Origin,
    proxy: &Origin,
    authorization: Option<&HeaderValue>,
) -> Result<Box<dyn Io>> {
    let failed = |why: String| Error::connection(format!("proxy {proxy} opened no tunnel to {to}: {why}"));
    let mut ask = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n").into_bytes();
    if let Some(value) = authorization {
        ask.extend_from_slice(b"proxy-authorization: ");
        ask.extend_from_slice(value.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    io.write_all(&ask).await.map_err(|error| failed(error.to_string()))?;
    let mut head = Vec::new();
    // In a tunnel of TLS the client speaks first, so nothing can follow the proxy's head until we write.
    while !head.ends_with(b"\r\n\r\n") {
        let read = io.read_buf(&mut head).await.map_err(|error| failed(error.to_string()))?;
        if read == 0 || head.len() > TUNNEL_HEAD {
            return Err(failed("its answer cannot be read".into()));
        }
    }
    let line = String::from_utf8_lossy(head.split(|&b| b == b'\r').next().unwrap_or_default()).into_owned();
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(io),
        Some("407") => Err(failed("it wants a user name and password".into())
            .with_hint("write the proxy as http://user:password@host:port")),
        _ => Err(failed(format!("it said {:?}", crate::ids::shorten(&line)))),
    }
}

fn tcp_failed(origin: &Origin, error: &(dyn StdError + 'static)) -> Error {
    let kind = io_kind(error);
    let cause = deepest(error);
    if error.to_string().contains("dns") {
        return Error::connection(format!("the host {:?} was not found ({cause})", origin.host))
            .with_hint("check the spelling of the URL and the network");
    }
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            Error::connection(format!("connection to {origin} refused: is the server running?"))
        }
        Some(io::ErrorKind::TimedOut) => Error::timeout(format!("no connection to {origin}: {cause}")),
        _ => Error::connection(format!("no connection to {origin}: {cause}")),
    }
}

fn tls_failed(origin: &Origin, error: io::Error) -> Error {
    let text = format!("TLS with {origin} failed: {}", deepest(&error));
    let certificate = matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::InvalidCertificate(_))
    );
    let failed = Error::connection(text).with_source(error);
    if certificate {
        return failed.with_hint("if the server's certificate is your own, name its CA file with ca_file under [http], or under the provider");
    }
    failed
}

/// A connection that broke while a request or its answer was on the way.
pub(super) fn broken(origin: &Origin, error: hyper::Error) -> Error {
    let (kind, text) = if error.is_parse() {
        (ErrorKind::ProviderProtocol, format!("{origin} did not answer in HTTP: {}", deepest(&error)))
    } else if error.is_timeout() {
        (ErrorKind::ProviderTimeout, format!("{origin} stopped answering"))
    } else {
        (ErrorKind::ProviderConnection, format!("the connection to {origin} broke: {}", deepest(&error)))
    };
    Error::new(kind, text).with_source(error)
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    chain(error).find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// The last cause says what happened; those before it say in which layer.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn loopback_is_told_from_the_network() {
        for host in ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "a.localhost"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "example.com", "127.0.0.1.example.com"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn an_unusable_proxy_is_refused_without_its_password() {
        let options = HttpOptions { https_proxy: Some("socks5://u:canary@h:1".into()), ..HttpOptions::default() };
        let error = Connector::new(&options).err().unwrap();
        assert!(error.message().contains("HTTPS_PROXY") && !format!("{error:?}").contains("canary"));
    }

    #[test]
    fn a_certificate_file_that_is_none_is_named() {
        let options = HttpOptions { ca_file: Some("/nonexistent/ca.pem".into()), ..HttpOptions::default() };
        let error = Connector::new(&options).err().unwrap();
        assert!(error.message().contains("/nonexistent/ca.pem"), "{error}");
    }
}
