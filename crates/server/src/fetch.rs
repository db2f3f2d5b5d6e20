//! `server.fetch_urls`: pictures, sounds and files that a request names by URL are fetched here and sent on as bytes.
//!
//! Somebody else's URL is fetched from inside this network, so: https alone; the name is resolved once and the connection goes to the very address that was judged, which a
//! name that changes its answer cannot get around; an address that is not of the public internet is refused, however it is written; a redirect is judged like the first URL;
//! size and time are bounded; nothing of the request goes along. Which addresses are public is in `fetch/public.rs`.

mod public;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, Request as HttpRequest, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::request::{Block, BlockBody, Request, Source};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// The most URLs of one request.
const MOST_URLS: usize = 16;
/// The most bytes of one request's URLs together.
const MOST_BYTES: usize = 20 << 20;
/// The longest time for all of them together.
const LONGEST: Duration = Duration::from_secs(20);
/// The most redirects of one URL.
const MOST_HOPS: usize = 4;

/// The way into the network, so that tests can bring one of their own.
pub trait Net: Send + Sync + 'static {
    /// The addresses of a host.
    ///
    /// # Errors
    /// When the name has none.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// A connection to an address.
    ///
    /// # Errors
    /// When there is none to be had.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;

    /// Whom to believe that a host is who it says.
    fn roots(&self) -> rustls::RootCertStore {
        rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
    }
}

/// The system's own.
pub(crate) struct System;

impl Net for System {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 443)).await?.map(|address| address.ip()).collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// Fetches what requests name by URL.
#[derive(Clone)]
pub(crate) struct Fetcher {
    net: Arc<dyn Net>,
    tls: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// # Errors
    /// `router_internal` when TLS cannot be set up.
    pub(crate) fn new(net: Arc<dyn Net>) -> Result<Self> {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(net.roots())
            .with_no_client_auth();
        Ok(Self { net, tls: Arc::new(tls) })
    }

    /// Puts the bytes behind every http and https URL of a request into it.
    ///
    /// # Errors
    /// `caller_invalid_request` for a URL that is not allowed or does not answer, `caller_too_large` past a limit.
    pub(crate) async fn inline(&self, request: &mut Request) -> Result<()> {
        let mut sources = Vec::new();
        request
            .messages
            .iter_mut()
            .flat_map(|message| &mut message.content)
            .for_each(|block| find(block, &mut sources));
        if sources.is_empty() {
            return Ok(());
        }
        if sources.len() > MOST_URLS {
            return Err(Error::new(ErrorKind::CallerTooLarge, format!("the request names more than {MOST_URLS} URLs")));
        }
        let fetching = async {
            let mut left = MOST_BYTES;
            for source in sources {
                let Source::Url(url) = &*source else { continue };
                let (mime, bytes) = self.fetch(url, left).await?;
                left -= bytes.len();
                *source = Source::Base64 { mime, data: STANDARD.encode(bytes) };
            }
            Ok(())
        };
        tokio::time::timeout(LONGEST, fetching).await.unwrap_or_else(|_| {
            Err(Error::invalid(format!("the request's URLs took longer than {} s", LONGEST.as_secs())))
        })?;
        // The body as received names the URLs, and would go out instead.
        request.origin = None;
        Ok(())
    }

    async fn fetch(&self, url: &str, most: usize) -> Result<(String, Bytes)> {
        let mut url: Uri = url.parse().map_err(|_| refused(url, "it is no URL"))?;
        for _ in 0..=MOST_HOPS {
            let shown = url.to_string();
            let (head, body) = self.get(&url, most).await?;
            if !head.status.is_redirection() {
                return match head.status {
                    StatusCode::OK => Ok((media_type(&head.headers, &shown)?, body)),
                    status => Err(refused(&shown, &format!("it answers {status}"))),
                };
            }
            let to = head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = follow(&url, to).ok_or_else(|| refused(&shown, "its redirect leads nowhere"))?;
        }
        Err(refused(&url.to_string(), "it redirects too often"))
    }

    /// One request, to an address that was judged.
    async fn get(&self, url: &Uri, most: usize) -> Result<(http::response::Parts, Bytes)> {
        let shown = url.to_string();
        let failed = |why: &dyn std::fmt::Display| refused(&shown, &format!("it cannot be fetched: {why}"));
        if url.scheme_str() != Some("https") {
            return Err(refused(&shown, "only https is fetched"));
        }
        let authority = url.authority().ok_or_else(|| refused(&shown, "it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused(&shown, "it holds a user name"));
        }
        let host = authority.host();
        let stream = self.connect(&shown, host, authority.port_u16().unwrap_or(443)).await?;
        let name = ServerName::try_from(bare(host).to_owned()).map_err(|error| failed(&error))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        exchange(stream.map_err(|error| failed(&error))?, url, &shown, most).await
    }

    /// Resolves a host once, judges every address, and connects to one of them.
    async fn connect(&self, shown: &str, host: &str, port: u16) -> Result<TcpStream> {
        let addresses = match bare(host).parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.net.resolve(host).await.unwrap_or_default(),
        };
        // One bad address is enough: whoever answers with it has no good intentions.
        if addresses.iter().any(|address| !public::is_public(*address)) {
            return Err(refused(shown, "its address is not of the public internet"));
        }
        for address in addresses {
            if let Ok(stream) = self.net.connect(SocketAddr::new(address, port)).await {
                return Ok(stream);
            }
        }
        Err(refused(shown, "its host cannot be reached"))
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Uri,
    shown: &str,
    most: usize,
) -> Result<(http::response::Parts, Bytes)> {
    let failed = |why: &dyn std::fmt::Display| refused(shown, &format!("it cannot be fetched: {why}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = HttpRequest::get(path)
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, "*/*")
        .header(USER_AGENT, concat!("ipfs-llm-router/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let (head, mut body) = sender.send_request(request).await.map_err(|error| failed(&error))?.into_parts();
    let mut bytes = BytesMut::new();
    if head.status == StatusCode::OK {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| failed(&error))?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                let text = format!("{}: the request's URLs hold more than {} MiB", short(shown), MOST_BYTES >> 20);
                return Err(Error::new(ErrorKind::CallerTooLarge, text));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok((head, bytes.freeze()))
}

/// The sources of a block that name an http or https URL. Others, `gs://` for one, are the provider's own business.
fn find<'a>(block: &'a mut Block, sources: &mut Vec<&'a mut Source>) {
    match &mut block.body {
        BlockBody::Image { source, .. } | BlockBody::Audio { source } | BlockBody::File { source, .. } => {
            let scheme = if let Source::Url(url) = &*source { url.split(':').next().unwrap_or_default() } else { "" };
            if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") {
                sources.push(source);
            }
        }
        BlockBody::ToolResult { content, .. } => content.iter_mut().for_each(|block| find(block, sources)),
        _ => {}
    }
}

fn media_type(headers: &HeaderMap, shown: &str) -> Result<String> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = [
        "image/",
        "audio/",
        "video/",
        "text/plain",
        "text/csv",
        "text/markdown",
        "application/pdf",
        "application/json",
    ];
    if known.iter().any(|known| kind.starts_with(known)) {
        return Ok(kind);
    }
    Err(refused(shown, &format!("it is {kind:?}, neither a picture nor a sound nor a document")))
}

/// Where a redirect leads.
fn follow(from: &Uri, to: &str) -> Option<Uri> {
    let authority = from.authority()?;
    let text = if to.starts_with("//") {
        format!("https:{to}")
    } else if to.starts_with('/') {
        format!("https://{authority}{to}")
    } else if to.contains("://") {
        to.to_owned()
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("https://{authority}{folder}/{to}")
    };
    text.parse().ok()
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn short(url: &str) -> &str {
    // A query may hold a signature; nothing of it is repeated.
    let url = url.split(['?', '#']).next().unwrap_or_default();
    url.char_indices().nth(200).and_then(|(at, _)| url.get(..at)).unwrap_or(url)
}

fn refused(url: &str, why: &str) -> Error {
    Error::invalid(format!("the URL {:?} is refused: {why}", short(url)))
        .with_hint("send the content in the request, or an https URL of a public host")
}
