//! What every request must pass before a route sees it: a `Host` that is ours, no foreign `Origin`, JSON in a POST, and a key where keys are configured.
//!
//! The first three keep web pages out. A page may make a browser send requests to this machine; it cannot choose the `Host` it was loaded under, cannot leave out `Origin`, and
//! cannot send JSON to somebody else without asking first.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Uri, Version};
use llm_router::config::Settings;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::Namespace;
use llm_router::limits::{Holder, Keyring};

use crate::keys::ClientKeys;
use crate::query::unescaped;

/// Headers in which a key may stand besides `authorization`.
const KEY_HEADERS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), GOOGLE];
const GOOGLE: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Left in a request whose key stood where only Google's clients put it, for routes whose shape depends on who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoogleKey;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The name of the key that was shown, where keys are configured.
    pub(crate) name: Option<Arc<str>>,
    /// As settings name that key: one that was made by its id, one of the configuration by its name. None for a derived key.
    pub(crate) key: Option<Arc<str>>,
    /// The team of that key.
    pub(crate) team: Option<Arc<str>>,
    /// Where the caller's stored answers are: its own place, its team's, or everybody's.
    pub(crate) namespace: Namespace,
    /// Whether administration is open to it.
    pub(crate) admin: bool,
    /// Who holds the limits under which it asks.
    pub(crate) holder: Option<Arc<Holder>>,
}

/// What every request must pass.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) keys: ClientKeys,
    hosts: Vec<String>,
    draining: Arc<AtomicBool>,
}

impl Door {
    pub(crate) fn new(settings: &Settings, keyring: Option<&Keyring>) -> Result<Self> {
        let hosts = &settings.server.hosts;
        Ok(Self {
            keys: ClientKeys::new(settings, keyring)?,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            draining: Arc::default(),
        })
    }

    /// Drains when that one does, in whose place this one stands.
    pub(crate) fn follow(&mut self, before: &Self) {
        self.draining = Arc::clone(&before.draining);
    }

    /// Tells balancers to send traffic elsewhere; requests are still answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Lets a request in, and takes its key out of the head.
    ///
    /// # Errors
    /// `policy_forbidden` for a foreign host or origin, `caller_invalid_request` for a POST that is not JSON, `policy_unauthenticated` for a key that is missing or unknown.
    pub(crate) fn admit(&self, head: &mut Parts) -> Result<Caller> {
        self.check_host(head)?;
        self.check_origin(head)?;
        if head.headers.contains_key(TRANSFER_ENCODING) && head.headers.contains_key(CONTENT_LENGTH) {
            // A proxy may have gone by the other one, and then what follows is not what it takes it for.
            return Err(Error::invalid("the request has both a content-length and a transfer-encoding"));
        }
        // Files and sounds are no JSON; what is passed through is kept from web pages by the two checks above.
        let passes = head.uri.path().starts_with("/passthrough/");
        if head.method == Method::POST && !passes && !is_empty(head) {
            check_json(&head.headers)?;
        }
        let shown = take_key(head);
        // The page at `/` is where a key is entered.
        if self.keys.is_open() || is_probe(head.uri.path()) || head.uri.path() == "/" {
            return Ok(Caller::default());
        }
        let Some(shown) = shown else {
            return Err(Error::new(ErrorKind::PolicyUnauthenticated, "this server wants a key and none was shown")
                .with_hint("send it as `Authorization: Bearer …`, `x-api-key` or `x-goog-api-key`"));
        };
        self.keys.owner(&shown)
    }

    /// Lets a request to the administration's socket in: whoever is on this machine, and elsewhere who shows an admin key.
    ///
    /// # Errors
    /// As [`Door::admit`].
    pub(crate) fn admit_admin(&self, head: &mut Parts, from_here: bool) -> Result<Caller> {
        self.check_host(head)?;
        self.check_origin(head)?;
        if head.method == Method::POST {
            check_json(&head.headers)?;
        }
        let mut caller = take_key(head).and_then(|shown| self.keys.owner(&shown).ok()).unwrap_or_default();
        if !from_here && !is_probe(head.uri.path()) {
            self.check_admin(&caller)?;
        }
        // Whoever reaches this socket administers.
        caller.admin = true;
        Ok(caller)
    }

    /// Whether a caller may see metrics and administration on the clients' socket: one with an admin key, nobody else.
    ///
    /// # Errors
    /// `policy_forbidden` with the next step.
    pub(crate) fn check_admin(&self, caller: &Caller) -> Result<()> {
        if caller.admin {
            return Ok(());
        }
        Err(Error::new(ErrorKind::PolicyForbidden, "this is for administration").with_hint(
            "show a key with `admin = true` or of the role admin, or ask at the address of `admin` under [server]",
        ))
    }

    fn check_host(&self, head: &Parts) -> Result<()> {
        let mut hosts = head.headers.get_all(HOST).iter();
        if hosts.next().is_some() && hosts.next().is_some() {
            return Err(Error::invalid("the request has several Host headers"));
        }
        // HTTP/2 has it in the URI.
        let host = match head.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
        };
        let host = host.ok_or_else(|| Error::invalid("the request has no Host header"))?;
        if self.is_ours(host_name(host)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::PolicyForbidden, format!("the host {host:?} is not one of this server's"))
            .with_hint("add the name to `hosts` under [server], or use the address"))
    }

    fn check_origin(&self, head: &Parts) -> Result<()> {
        let mut origins = head.headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let host = head.uri.authority().map(Authority::as_str);
        let host = host.or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()));
        let alone = origins.next().is_none();
        let ours = origin.to_str().ok().filter(|_| alone).and_then(|origin| origin.parse::<Uri>().ok()).is_some_and(
            |origin| {
                // The page that this server gave itself: its host was checked before.
                let own = origin.authority().map(Authority::as_str);
                own.is_some() && own == host
                    || origin.host().is_some_and(|host| {
                        // A page on any port of this machine is this person's; one at another address is not.
                        self.hosts.iter().any(|own| own == &host.to_ascii_lowercase()) || is_loopback(host)
                    })
            },
        );
        if ours {
            return Ok(());
        }
        Err(Error::new(ErrorKind::PolicyForbidden, "requests from web pages of other origins are refused")
            .with_hint("add the page's host to `hosts` under [server] if it is yours"))
    }

    /// An address cannot be rebound to another machine; a name can, so it must be a known one.
    fn is_ours(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok()
            || is_loopback(host)
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// `/healthz` and `/readyz` tell nothing that a stranger could use, and who probes them has no key.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A host without its port. What holds a user's name is no host of anybody's: the part before the `@` could be any.
fn host_name(host: &str) -> &str {
    if host.contains('@') {
        return "";
    }
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether a request surely has neither a body nor a word about one. Pages of other origins can send such a POST, but not without saying so in `Origin`.
fn is_empty(head: &Parts) -> bool {
    let length = head.headers.get(CONTENT_LENGTH).map(|length| length.as_bytes() == b"0");
    !head.headers.contains_key(CONTENT_TYPE)
        && !head.headers.contains_key(TRANSFER_ENCODING)
        && length.unwrap_or(head.version <= Version::HTTP_11)
}

fn check_json(headers: &HeaderMap) -> Result<()> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kinds.next().is_some() {
        return Err(Error::invalid("the request has several content types").with_hint("send one, application/json"));
    }
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Error::invalid(format!("the content type {kind:?} is not application/json"))
        .with_hint("send the body as JSON, with `content-type: application/json`"))
}

/// The key of a request, which stands in no head any more when this returns: nothing behind the door needs it.
fn take_key(head: &mut Parts) -> Option<String> {
    let mut shown = None;
    if let Some(value) = head.headers.remove(AUTHORIZATION) {
        shown = value.to_str().ok().and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
        });
    }
    for name in KEY_HEADERS {
        if let Some(value) = head.headers.remove(&name) {
            if name == GOOGLE {
                head.extensions.insert(GoogleKey);
            }
            shown = shown.or_else(|| value.to_str().ok().map(str::to_owned));
        }
    }
    if let Some(query) = head.uri.query().filter(|query| query.contains("key=")) {
        let (mut kept, mut key) = (String::new(), None);
        for pair in query.split('&') {
            match pair.strip_prefix("key=") {
                // Most keys end in signs that clients escape here.
                Some(value) => key = Some(unescaped(value)),
                None if kept.is_empty() => kept.push_str(pair),
                None => kept.extend(["&", pair]),
            }
        }
        if key.is_some() {
            let path = head.uri.path();
            let bare = if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") };
            if let Ok(uri) = bare.parse() {
                head.uri = uri;
            }
            head.extensions.insert(GoogleKey);
            shown = shown.or(key);
        }
    }
    shown
}
