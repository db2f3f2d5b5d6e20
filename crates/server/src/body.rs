//! Bodies: reading a bounded one, and making small ones.

use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::poll;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use llm_router::error::{Error, ErrorKind, Result};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::options::ServerOptions;

/// Reads a request's body.
///
/// # Errors
/// `caller_unsupported` for a compressed one, `caller_too_large` past the limit, `caller_cancelled` when the client stops sending; with what is left of the body, for `early.rs`.
pub(crate) async fn read(
    mut body: Body,
    headers: &HeaderMap,
    options: &ServerOptions,
) -> std::result::Result<Bytes, (Error, Body)> {
    match take(&mut body, headers, options).await {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err((error, body)),
    }
}

async fn take(body: &mut Body, headers: &HeaderMap, options: &ServerOptions) -> Result<Bytes> {
    if let Some(coding) = headers.get(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        return Err(Error::unsupported(format!("content-encoding: {coding:?} is not read here"))
            .with_hint("send the body as it is"));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > options.body) {
        return Err(too_large(options.body));
    }
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = next(body, options.body_idle).await? {
        let Ok(data) = frame.map_err(|_| stopped())?.into_data() else { continue };
        let so_far = all.len() + first.as_ref().map_or(0, Bytes::len);
        if so_far + data.len() > options.body {
            return Err(too_large(options.body));
        }
        // Most bodies come in one piece, which is not copied.
        match (&first, all.is_empty()) {
            (None, true) => first = Some(data),
            (Some(piece), _) => {
                all.reserve(length.unwrap_or(0).max(piece.len() + data.len()));
                all.extend_from_slice(piece);
                all.extend_from_slice(&data);
                first = None;
            }
            (None, false) => all.extend_from_slice(&data),
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// The next piece, waited for no longer than this.
async fn next(body: &mut Body, limit: Duration) -> Result<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
    // Nearly always it came with the head, and no time is to be taken.
    match poll!(body.frame()) {
        Poll::Ready(frame) => Ok(frame),
        Poll::Pending => tokio::time::timeout(limit, body.frame()).await.map_err(|_| stopped()),
    }
}

/// Reads a JSON body into a type.
///
/// # Errors
/// `caller_invalid_request` naming the field that cannot be read.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut from = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut from).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.inner().to_string();
        // The place is counted in bytes; the field's name says more.
        let reason = reason.split(" at line ").next().unwrap_or_default();
        Error::invalid(if path == "." { format!("the body: {reason}") } else { format!("{path}: {reason}") })
    })?;
    from.end().map_err(|_| Error::invalid("the body: something stands behind the JSON"))?;
    Ok(read)
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorKind::CallerTooLarge, format!("the body is over the limit of {} MiB", limit >> 20))
        .with_hint("send less, or pass large files by a URL or a file id")
}

fn stopped() -> Error {
    Error::new(ErrorKind::CallerCancelled, "the body stopped before its end")
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A value as a JSON answer.
pub(crate) fn json_of(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json(status, text),
        Err(_) => json(StatusCode::INTERNAL_SERVER_ERROR, "{}"),
    }
}
