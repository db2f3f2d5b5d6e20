//! Errors of this dialect, both ways: Google's status words and details become an [`ErrorKind`], and our errors take Google's shape.
//!
//! Google answers 400 to a refused key and 429 to a minute's and a day's quota alike: its details say which. What is not of Google's shape (a proxy, a page) is read
//! as any other server's error, by `openai_chat/error.rs`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::dialect::openai_chat;
use crate::error::{Error, ErrorKind};

use ErrorKind::{
    CallerContextLength, CallerInvalidRequest, CallerModelUnknown, CallerTooLarge, ProviderAuth, ProviderBilling,
    ProviderOverloaded, ProviderQuotaExhausted, ProviderRateLimited, ProviderServerError, ProviderTimeout,
    ProviderUnavailable,
};

/// What an error says in its details: reasons of `ErrorInfo`.
const REASONS: &[(&str, ErrorKind)] = &[
    ("API_KEY_INVALID", ProviderAuth),
    ("API_KEY_EXPIRED", ProviderAuth),
    ("API_KEY_SERVICE_BLOCKED", ProviderAuth),
    ("API_KEY_HTTP_REFERRER_BLOCKED", ProviderAuth),
    ("API_KEY_IP_ADDRESS_BLOCKED", ProviderAuth),
    ("ACCESS_TOKEN_EXPIRED", ProviderAuth),
    ("ACCESS_TOKEN_SCOPE_INSUFFICIENT", ProviderAuth),
    ("CREDENTIALS_MISSING", ProviderAuth),
    ("SERVICE_DISABLED", ProviderAuth),
    ("CONSUMER_SUSPENDED", ProviderAuth),
    ("BILLING_DISABLED", ProviderBilling),
    ("RATE_LIMIT_EXCEEDED", ProviderRateLimited),
];

/// Phrases of messages, all of a row's in the text, compared without case.
const PHRASES: &[(&[&str], ErrorKind)] = &[
    (&["api key not valid"], ProviderAuth),
    (&["api key expired"], ProviderAuth),
    (&["api key not found"], ProviderAuth),
    (&["token count", "exceeds the maximum"], CallerContextLength),
    (&["input token", "exceeds"], CallerContextLength),
    (&["payload size exceeds"], CallerTooLarge),
    (&["request entity too large"], CallerTooLarge),
    (&["is not found for api version"], CallerModelUnknown),
    (&["model", "not found"], CallerModelUnknown),
    (&["unexpected model name format"], CallerModelUnknown),
    (&["model", "no longer available"], CallerModelUnknown),
    (&["billing"], ProviderBilling),
    (&["prepayment credits are depleted"], ProviderBilling),
    (&["user location is not supported"], ProviderUnavailable),
    (&["overloaded"], ProviderOverloaded),
];

/// Google's status words: what each means, and the HTTP status it goes with.
const STATUSES: &[(&str, u16, ErrorKind)] = &[
    ("INVALID_ARGUMENT", 400, CallerInvalidRequest),
    ("FAILED_PRECONDITION", 400, CallerInvalidRequest),
    ("OUT_OF_RANGE", 400, CallerInvalidRequest),
    ("UNAUTHENTICATED", 401, ProviderAuth),
    ("PERMISSION_DENIED", 403, ProviderAuth),
    ("NOT_FOUND", 404, ProviderUnavailable),
    ("ABORTED", 409, ProviderServerError),
    ("ALREADY_EXISTS", 409, CallerInvalidRequest),
    ("RESOURCE_EXHAUSTED", 429, ProviderRateLimited),
    ("CANCELLED", 499, ProviderServerError),
    ("INTERNAL", 500, ProviderServerError),
    ("UNKNOWN", 500, ProviderServerError),
    ("DATA_LOSS", 500, ProviderServerError),
    ("UNIMPLEMENTED", 501, ProviderUnavailable),
    ("UNAVAILABLE", 503, ProviderOverloaded),
    ("DEADLINE_EXCEEDED", 504, ProviderTimeout),
];

/// The next step, where the kind suggests one.
const HINTS: &[(ErrorKind, &str)] = &[
    (ProviderAuth, "check the key of this provider"),
    (ProviderBilling, "check the billing of this provider's account"),
    (ProviderQuotaExhausted, "wait for the quota's reset, or raise it at the provider"),
    (ProviderUnavailable, "check the base URL: it usually ends in /v1beta"),
];

/// An upstream's answer with an error status.
pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    // Streams that are no events give a list of one.
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let error = value.get("error").filter(|error| error.get("status").is_some_and(Value::is_string));
    let generic = openai_chat::error::decode(status, headers, body);
    let Some(error) = error else { return generic };
    let word = error.get("status").and_then(Value::as_str).unwrap_or_default();
    let details = Details::of(error);
    let message = match error.get("message").and_then(Value::as_str).map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => word.to_owned(),
    };
    let kind = kind(word, &message, &details).unwrap_or(generic.kind());
    let mut decoded = Error::new(kind, message);
    if let Some((_, hint)) = HINTS.iter().find(|(of, _)| *of == kind) {
        decoded = decoded.with_hint(*hint);
    }
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let said = code.and_then(|code| StatusCode::from_u16(code).ok()).filter(|code| !code.is_success());
    let known =
        STATUSES.iter().find(|(known, ..)| *known == word).and_then(|(_, code, _)| StatusCode::from_u16(*code).ok());
    if let Some(status) = Some(status).filter(|status| !status.is_success()).or(said).or(known) {
        decoded = decoded.with_status(status);
    }
    match details.retry.or(generic.retry_after()) {
        Some(wait) => decoded.with_retry_after(wait),
        None => decoded,
    }
}

/// An error where an answer should be: in the middle of a stream, or as a body with status 200.
pub(super) fn in_answer(data: &[u8]) -> Error {
    decode(StatusCode::OK, &HeaderMap::new(), data)
}

/// What `details` say.
#[derive(Debug, Default)]
struct Details {
    reason: Option<String>,
    retry: Option<Duration>,
    /// Whether a quota of a day is used up, or one of nothing.
    lasting: bool,
}

/// The longest wait believed.
const LONGEST: f64 = 60.0 * 60.0 * 24.0 * 31.0;

impl Details {
    fn of(error: &Value) -> Self {
        let mut details = Self::default();
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| detail.get(name).and_then(Value::as_str);
            details.reason = details.reason.or_else(|| text("reason").map(str::to_owned));
            if let Some(seconds) = text("retryDelay").and_then(|delay| delay.strip_suffix('s')?.parse::<f64>().ok())
                && seconds >= 0.0
            {
                details.retry = Some(Duration::from_secs_f64(seconds.min(LONGEST)));
            }
            for violation in detail.get("violations").and_then(Value::as_array).into_iter().flatten() {
                let names =
                    ["quotaId", "subject", "description"].into_iter().filter_map(|name| violation.get(name)?.as_str());
                details.lasting |= names.into_iter().any(|name| name.contains("PerDay") || name.contains("per day"));
                details.lasting |= violation.get("quotaValue").and_then(Value::as_str) == Some("0");
            }
        }
        details
    }
}

fn kind(word: &str, message: &str, details: &Details) -> Option<ErrorKind> {
    // Another router says its own kind.
    let ours = || ErrorKind::ALL.iter().find(|kind| details.reason.as_deref() == Some(kind.name())).copied();
    if let Some(kind) = ours().filter(|kind| !kind.name().starts_with("policy_") && !kind.name().starts_with("router_"))
    {
        return Some(kind);
    }
    let by_reason = REASONS.iter().find(|(reason, _)| details.reason.as_deref() == Some(reason)).map(|(_, kind)| *kind);
    let text = message.to_lowercase();
    let by_phrase = || PHRASES.iter().find(|(all, _)| all.iter().all(|one| text.contains(one))).map(|(_, kind)| *kind);
    let by_word = STATUSES.iter().find(|(known, ..)| *known == word).map(|(.., kind)| *kind);
    // A quota's message speaks of plans and billing whichever quota it is.
    if word == "RESOURCE_EXHAUSTED" {
        let depleted = text.contains("credits are depleted");
        return Some(match () {
            () if depleted => ProviderBilling,
            () if details.lasting || text.contains("limit: 0") => ProviderQuotaExhausted,
            () => ProviderRateLimited,
        });
    }
    by_reason.or_else(by_phrase).or(by_word)
}

/// Google's status words for our kinds, where the HTTP status does not choose one.
const WORDS: &[(u16, &str)] = &[
    (400, "INVALID_ARGUMENT"),
    (401, "UNAUTHENTICATED"),
    (403, "PERMISSION_DENIED"),
    (404, "NOT_FOUND"),
    (413, "INVALID_ARGUMENT"),
    (429, "RESOURCE_EXHAUSTED"),
    (499, "CANCELLED"),
    (500, "INTERNAL"),
    (502, "UNAVAILABLE"),
    (503, "UNAVAILABLE"),
    (504, "DEADLINE_EXCEEDED"),
];

/// An error as this dialect writes it, in a body or in the middle of a stream.
pub(super) fn encode(error: &Error) -> Bytes {
    let kind = error.kind();
    let status = kind.http_status().as_u16();
    let word = WORDS.iter().find(|(code, _)| *code == status).map_or("UNKNOWN", |(_, word)| word);
    let message = match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": kind.name(), "domain": "llm-router",
    })];
    if let Some(wait) = error.retry_after() {
        let seconds = (wait.as_secs_f64() * 1000.0).round() / 1000.0;
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}));
    }
    let body = json!({"error": {"code": status, "message": message, "status": word, "details": details}});
    Bytes::from(body.to_string())
}
