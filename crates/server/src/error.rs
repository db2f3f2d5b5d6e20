//! Errors as answers, in the shape of the dialect that the path belongs to.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use llm_router::dialect::{Codec, Dialect, codec};
use llm_router::error::{Error, ErrorKind, Fault};
use llm_router::ids::RequestId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::body::json as json_body;
use crate::{early, headers};

/// An error as this dialect says it.
pub(crate) fn response(codec: &dyn Codec, error: &Error, id: Option<&RequestId>) -> Response {
    let (status, body) = codec.encode_error(error);
    finish(json_body(status, body), error, id)
}

/// An error as the native API says it.
pub(crate) fn native(error: &Error, id: Option<&RequestId>) -> Response {
    let body = serde_json::to_vec(&Refused::of(error)).unwrap_or_default();
    finish(json_body(error.kind().http_status(), body), error, id)
}

/// An error about something that the path names and that is not there.
pub(crate) fn native_absent(error: &Error) -> Response {
    let mut response = native(error, None);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// An error of the native API.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Refused {
    /// What happened, for a person.
    detail: String,
    /// What went wrong, as one of a closed list of words.
    kind: String,
    /// The next step, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Refused {
    pub(crate) fn of(error: &Error) -> Self {
        Self { detail: error.to_string(), kind: error.kind().name().to_owned(), hint: error.hint().map(str::to_owned) }
    }
}

/// Adds what clients do next to an answer that says an error.
fn finish(mut response: Response, error: &Error, id: Option<&RequestId>) -> Response {
    let status = response.status();
    let headers = response.headers_mut();
    if let Some(id) = id {
        headers::set(headers, headers::REQUEST_ID, id.as_str());
    }
    // Whom no wait helps is told none: money that is spent for good does not come back.
    let busy = matches!(status.as_u16(), 429 | 503) && !is_hopeless(error);
    // Clients that find no time wait for one of their own, some for ever: a second is said where nobody knows better.
    let after = error.retry_after().map(|after| after.as_secs_f64().ceil()).or(busy.then_some(1.0));
    if let Some(after) = after {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        headers.insert(RETRY_AFTER, HeaderValue::from(after.max(0.0) as u64));
    }
    if is_hopeless(error) {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// Whether the same request would fail again.
fn is_hopeless(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::PolicyRateLimited => false,
        ErrorKind::ProviderBilling => true,
        kind => matches!(kind.fault(), Fault::Caller | Fault::Policy),
    }
}

/// The dialect whose error shape a path's clients expect.
pub(crate) fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else if path.starts_with("/v1/responses") {
        Dialect::OpenaiResponses
    } else if path.starts_with("/v1beta") || path.starts_with("/v1/models/") {
        Dialect::Gemini
    } else {
        Dialect::OpenaiChat
    }
}

fn is_native(path: &str) -> bool {
    path.starts_with("/api/")
}

/// An error in the shape that the clients of `path` expect.
pub(crate) fn at_path(path: &str, error: &Error, id: Option<&RequestId>) -> Response {
    if is_native(path) {
        return native(error, id);
    }
    response(codec(dialect_of(path)).as_ref(), error, id)
}

/// What no route answers.
pub(crate) async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    let response = unrouted(path, StatusCode::NOT_FOUND, &format!("there is nothing at {} {path}", request.method()));
    early::answer(response, request.into_body())
}

/// A path that is there, asked with another method.
pub(crate) async fn wrong_method(request: Request) -> Response {
    let path = request.uri().path();
    let response =
        unrouted(path, StatusCode::METHOD_NOT_ALLOWED, &format!("{path} does not take {}", request.method()));
    early::answer(response, request.into_body())
}

/// An error of no kind of the router's, since no request for it came about: in the shape that the clients of `path` expect, and in their vendor's word for this
/// status.
fn unrouted(path: &str, status: StatusCode, message: &str) -> Response {
    let known = status != StatusCode::NOT_FOUND;
    let body = if is_native(path) {
        json!({"detail": message, "kind": ErrorKind::CallerInvalidRequest.name()})
    } else {
        match dialect_of(path) {
            Dialect::Anthropic => {
                let kind = if known { "invalid_request_error" } else { "not_found_error" };
                json!({"type": "error", "error": {"type": kind, "message": message}})
            }
            Dialect::Gemini => {
                let word = if known { "INVALID_ARGUMENT" } else { "NOT_FOUND" };
                json!({"error": {"code": status.as_u16(), "message": message, "status": word}})
            }
            _ => {
                let code = if known { "method_not_supported" } else { "unknown_url" };
                json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}})
            }
        }
    };
    let mut response = json_body(status, body.to_string());
    response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    response
}

/// The same where the list of routes cannot tell, with the methods that the path takes.
pub(crate) async fn only(request: Request, methods: &'static str) -> Response {
    let mut response = wrong_method(request).await;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Codex asks for a WebSocket first; only this status sends it to the POST at once.
pub(crate) async fn no_websocket(request: Request) -> Response {
    if !request.headers().contains_key(http::header::UPGRADE) {
        return only(request, "POST").await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_is_told_to_whom_it_helps() {
        let wait = |error: &Error| {
            let response = at_path("/v1/chat/completions", error, None);
            response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok().map(str::to_owned))
        };
        let spent = Error::new(ErrorKind::PolicyBudgetExceeded, "spent");
        assert_eq!(wait(&spent), None, "of a budget that never begins anew");
        assert_eq!(wait(&spent.with_retry_after(Duration::from_secs(3_600))).as_deref(), Some("3600"));
        for kind in [ErrorKind::PolicyRateLimited, ErrorKind::ProviderRateLimited, ErrorKind::RouterOverloaded] {
            assert_eq!(wait(&Error::new(kind, "busy")).as_deref(), Some("1"), "{kind:?}");
        }
    }
}
