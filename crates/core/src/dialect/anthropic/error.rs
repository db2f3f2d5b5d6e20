//! Errors of this dialect, both ways. Bodies are read by the table that all servers share (`openai_chat/error.rs`, which knows this vendor's words); our
//! errors take the vendor's shape and its types. Their statuses are those of every dialect: where the vendor has 529 of its own, clients hear 503 with the vendor's
//! type `overloaded_error`, by which they know it as well.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{json, value::RawValue};

use crate::dialect::json::Object;
use crate::dialect::openai_chat::error as shared;
use crate::error::{Error, ErrorKind};

/// An upstream's answer with an error status.
pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    shared::decode(status, headers, body)
}

/// An error where an answer should be: in the middle of a stream, or as a body with status 200.
pub(super) fn in_answer(data: &[u8]) -> Error {
    // The one type that says less than the status it comes with elsewhere.
    let kind = Object::parse(data).ok().and_then(|mut body| Object::of(body.take("error")?, &"error").ok());
    match kind.as_ref().and_then(|error| error.get("type")).map(RawValue::get) {
        Some("\"invalid_request_error\"") => shared::decode(StatusCode::BAD_REQUEST, &HeaderMap::new(), data),
        _ => shared::in_answer(data),
    }
}

/// Data that is no JSON object.
pub(super) fn unreadable(data: &[u8], error: &Error) -> Error {
    if data.is_empty() {
        return Error::protocol("the answer is empty");
    }
    if shared::is_page(data) {
        return Error::protocol("the upstream answered with a web page instead of JSON")
            .with_hint("check the base URL: it usually ends in /v1");
    }
    let head = String::from_utf8_lossy(data.get(..data.len().min(120)).unwrap_or(data)).into_owned();
    Error::protocol(format!("the answer cannot be read: {}; it begins {head:?}", error.message()))
}

/// Types for clients. Every kind without a row is `invalid_request_error` below 500, and `api_error` from there.
const TYPES: &[(ErrorKind, &str)] = &[
    (ErrorKind::CallerTooLarge, "request_too_large"),
    (ErrorKind::CallerModelUnknown, "not_found_error"),
    (ErrorKind::PolicyUnauthenticated, "authentication_error"),
    (ErrorKind::PolicyForbidden, "permission_error"),
    (ErrorKind::PolicyRateLimited, "rate_limit_error"),
    (ErrorKind::PolicyBudgetExceeded, "rate_limit_error"),
    (ErrorKind::ProviderRateLimited, "rate_limit_error"),
    (ErrorKind::ProviderQuotaExhausted, "rate_limit_error"),
    (ErrorKind::ProviderOverloaded, "overloaded_error"),
    (ErrorKind::RouterOverloaded, "overloaded_error"),
    (ErrorKind::ProviderTimeout, "timeout_error"),
];

/// Words by which clients of this dialect know that a prompt must become shorter.
const TOO_LONG: &str = "prompt is too long";

/// An error as this dialect writes it, in a body or in the middle of a stream. `code` is the router's own name of the kind.
pub(super) fn encode(error: &Error) -> Bytes {
    let kind = error.kind();
    let generic = match kind.http_status().is_client_error() {
        true => "invalid_request_error",
        false => "api_error",
    };
    let class = TYPES.iter().find(|(of, _)| *of == kind).map_or(generic, |(_, class)| class);
    let mut message = match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    if kind == ErrorKind::CallerContextLength && !message.contains(TOO_LONG) {
        message = format!("{TOO_LONG}: {message}");
    }
    let body = json!({"type": "error", "error": {"type": class, "message": message, "code": kind.name()}});
    Bytes::from(body.to_string())
}
