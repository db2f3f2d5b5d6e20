//! The one error type of the router and the closed table of its kinds.
//!
//! What may be retried, what may fall back to another target and which HTTP status a kind becomes are columns of one table, [`ErrorKind::row`]
//! in `error/kind.rs`; no other file decides these by itself. How an error is *written* is the business of each dialect (`dialect/*`), of the command line's exit
//! status and of the bindings. Read next: `router/retry.rs`, which obeys the columns.

mod kind;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::ids::{ModelName, ProviderId};
use crate::secret::{hide, mask};

pub use kind::{ErrorKind, Fault, NextTarget, Row, SameTarget};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the router: what happened, whose fault it is, when to try again and what caused it.
///
/// The message names the input and never holds a secret: key-shaped text is masked when the error is made. Cloning is cheap enough for
/// every listener of a shared call to get its own.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: ErrorKind,
    /// Cleaned also when it comes over a wire: a peer or a worker may be hostile, or older.
    #[serde(deserialize_with = "clean_text")]
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<ProviderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<ModelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Seconds, fractions allowed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::request::seconds")]
    retry_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unsent: bool,
    #[serde(skip)]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. The message says what was wrong with which input; key-shaped text in it is masked.
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: clean(message.as_ref()),
            hint: None,
            provider: None,
            model: None,
            status: None,
            retry_after: None,
            unsent: false,
            source: None,
        }))
    }

    /// Adds the next step for the person who reads this. Unlike the message it is not masked: put no text of an upstream in it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(clean(&hint.into()));
        self
    }

    /// Adds where it happened, unless an inner layer already said so.
    #[must_use]
    pub fn at(mut self, provider: &ProviderId, model: Option<&ModelName>) -> Self {
        self.0.provider.get_or_insert_with(|| provider.clone());
        if self.0.model.is_none() {
            self.0.model = model.cloned();
        }
        self
    }

    /// Adds the upstream's HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status.as_u16());
        self
    }

    /// Adds when the upstream, or the router, wants to be asked again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Takes a secret out of what it says: upstreams repeat the key that they refuse, and not every key has a shape that the mask knows.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        let inner = &mut self.0;
        for text in std::iter::once(&mut inner.message).chain(&mut inner.hint) {
            if let Cow::Owned(clean) = hide(text, [secret]) {
                *text = clean;
            }
        }
        self
    }

    /// Says that nothing of the request left this machine: no connection could be opened.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.0.unsent = true;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The same error under another kind, for the layer that knows better (a 400 on a body we translated is not the caller's fault).
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whose error.
    pub fn fault(&self) -> Fault {
        self.0.kind.fault()
    }

    /// What happened, for a person, without the hint: at most 2000 bytes and an ellipsis. It may hold line breaks, and no other control character but tabs.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The provider that failed.
    pub fn provider(&self) -> Option<&ProviderId> {
        self.0.provider.as_ref()
    }

    /// The model that was asked for.
    pub fn model(&self) -> Option<&ModelName> {
        self.0.model.as_ref()
    }

    /// The upstream's HTTP status.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status.and_then(|code| StatusCode::from_u16(code).ok())
    }

    /// How long to wait before the same target may be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether it is certain that nothing of the request left this machine.
    pub fn is_unsent(&self) -> bool {
        self.0.unsent
    }
}

/// Upstream texts can be pages long, hold a key, or steer a terminal; an error message is text of a bounded length that does none of this.
fn clean(text: &str) -> String {
    const LIMIT: usize = 2000;
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    // Masked after the control characters are gone, so that none of them can cut a key in two.
    let plain: Cow<'_, str> = if text.contains(steers) { text.replace(steers, "").into() } else { Cow::Borrowed(text) };
    let mut text = mask(&plain).into_owned();
    if text.len() > LIMIT {
        let cut = (0..=LIMIT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

fn clean_text<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    String::deserialize(from).map(|text| clean(&text))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provider) = &self.0.provider {
            write!(f, "{provider}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        let mut out = f.debug_struct("Error");
        out.field("kind", &inner.kind).field("message", &inner.message);
        if let Some(provider) = &inner.provider {
            out.field("provider", provider);
        }
        if let Some(status) = inner.status {
            out.field("status", &status);
        }
        if let Some(after) = inner.retry_after {
            out.field("retry_after", &after);
        }
        if let Some(source) = &inner.source {
            out.field("source", &mask(&source.to_string()));
        }
        out.finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl PartialEq for Error {
    /// Two errors are equal when they say the same; their causes are not compared.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        (a.kind, &a.message, &a.hint, &a.provider, &a.model, a.status, a.retry_after)
            == (b.kind, &b.message, &b.hint, &b.provider, &b.model, b.status, b.retry_after)
    }
}

/// Short constructors, so that a call site reads as a sentence: `Error::unsupported("…")`.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $kind:ident;)*) => {
        impl Error { $($(#[$doc])* pub fn $name(message: impl AsRef<str>) -> Self { Self::new(ErrorKind::$kind, message) })* }
    };
}

constructors! {
    /// `caller_invalid_request`
    invalid = CallerInvalidRequest;
    /// `caller_unsupported`
    unsupported = CallerUnsupported;
    /// `provider_protocol`
    protocol = ProviderProtocol;
    /// `provider_connection`
    connection = ProviderConnection;
    /// `provider_unavailable`
    unavailable = ProviderUnavailable;
    /// `provider_timeout`
    timeout = ProviderTimeout;
    /// `router_internal`
    internal = RouterInternal;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_masked_and_bounded() {
        let error = Error::invalid("rejected key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789");
        assert!(!error.to_string().contains("abcdefghijkl"), "{error}");
        let long = Error::internal("é".repeat(5000));
        assert!(long.message().len() < 2100);
    }

    #[test]
    fn messages_steer_no_terminal_wherever_they_come_from() {
        let hostile = "bad\u{1b}[2J \u{9b}31m sk-proj-abcdefghij\u{7}klmnopqrstuvwxyz0123456789\nmore";
        let wire = serde_json::json!({ "kind": "provider_rejected", "message": hostile });
        for error in [Error::invalid(hostile), serde_json::from_value(wire).unwrap()] {
            assert_eq!(error.message(), "bad[2J 31m sk-…\nmore");
        }
    }

    #[test]
    fn survives_the_wire() {
        let error = Error::timeout("no first event in 15 s")
            .with_hint("try a larger first_event")
            .with_retry_after(Duration::from_millis(1500))
            .with_status(StatusCode::GATEWAY_TIMEOUT);
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<Error>(&text).unwrap(), error);
    }
}
