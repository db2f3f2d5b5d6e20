//! Our own dialect: the versioned, lossless JSON of [`Request`], [`Response`], [`Delta`] and [`Error`].
//!
//! It is the peer protocol's payload, the cache's value and the worker's lines. Every document is an object with `"v":1` first; a stream is one
//! such object a line, `{"v":1,"deltas":[…]}` or `{"v":1,"error":{…}}`, and its terminal line is the one whose last delta is `end`. Unknown fields are
//! ignored, an unknown version is refused. What does *not* travel is `Request.origin` and an event's raw bytes: they belong to one hop of another dialect.
//! Read next: `native/stream.rs`, the machines for answers.

mod stream;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::delta::Delta;
use crate::dialect::{Codec, Decoder, Dialect, Encoder, Framing, HttpCall, RequestHead, json};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Request;
use crate::response::Response;

/// The version written, and the only one read.
pub const VERSION: u32 = 1;

/// The path of a native call below a base URL.
pub const PATH: &str = "/native";

/// The codec of the native dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Codec for Native {
    fn dialect(&self) -> Dialect {
        Dialect::Native
    }

    fn decode_request(&self, _head: &RequestHead, body: &[u8]) -> Result<Request> {
        read_request(body)
    }

    fn encode_request(&self, call: &Call) -> Result<HttpCall> {
        let mut request = Request::clone(&call.request);
        if let Some(model) = call.model() {
            request.model = Some(model.to_owned());
        }
        // The name of a provider means something to this router only; the one that is asked resolves the model by itself.
        request.provider = None;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(HttpCall {
            path: PATH.to_owned(),
            query: None,
            headers,
            body: write_request(&request)?,
            dropped: Vec::new(),
            framing: Framing::of(request.stream),
        })
    }

    fn decoder(&self, _call: &Call, framing: Framing) -> Box<dyn Decoder> {
        Box::new(stream::NativeDecoder::new(framing))
    }

    fn encoder(&self, _request: &Request, framing: Framing) -> Box<dyn Encoder> {
        Box::new(stream::NativeEncoder::new(framing))
    }

    fn decode_error(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        read_error(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body.get(..body.len().min(500)).unwrap_or_default()).into_owned();
            Error::protocol(format!("HTTP {status} without an error of the native dialect: {}", text.trim()))
                .with_status(status)
        })
    }

    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes) {
        (error.kind().http_status(), write_error(error))
    }
}

/// A request as one JSON document.
///
/// # Errors
/// `router_internal` when it has no JSON form.
pub fn write_request(request: &Request) -> Result<Bytes> {
    write(request)
}

/// Reads [`write_request`]'s document.
///
/// # Errors
/// `caller_invalid_request` for anything else, another version included.
pub fn read_request(body: &[u8]) -> Result<Request> {
    let request: Request = read(body)?;
    match request.messages.is_empty() {
        true => Err(Error::invalid("messages: the request has none")),
        false => Ok(request),
    }
}

/// A response as one JSON document.
///
/// # Errors
/// `router_internal` when it has no JSON form.
pub fn write_response(response: &Response) -> Result<Bytes> {
    write(response)
}

/// Reads [`write_response`]'s document.
///
/// # Errors
/// `caller_invalid_request` for anything else, another version included.
pub fn read_response(body: &[u8]) -> Result<Response> {
    read(body)
}

/// An error as one JSON document.
pub fn write_error(error: &Error) -> Bytes {
    #[derive(Serialize)]
    struct Document<'a> {
        v: u32,
        error: &'a Error,
    }
    let text = serde_json::to_vec(&Document { v: VERSION, error });
    text.map_or_else(
        |_| Bytes::from_static(b"{\"v\":1,\"error\":{\"kind\":\"router_internal\",\"message\":\"\"}}"),
        Bytes::from,
    )
}

/// Reads [`write_error`]'s document.
///
/// # Errors
/// `caller_invalid_request` for anything else, another version included.
pub fn read_error(body: &[u8]) -> Result<Error> {
    #[derive(Deserialize)]
    struct Document {
        error: Error,
    }
    read::<Document>(body).map(|document| document.error)
}

/// Deltas as one line, its end included.
///
/// # Errors
/// `router_internal` when one has no JSON form.
pub fn write_line(deltas: &[Delta]) -> Result<Bytes> {
    let mut line = json::Writer::with_capacity(64 + deltas.len() * 96);
    line.open(b'{');
    line.field("v", &VERSION);
    line.field("deltas", deltas);
    line.close(b'}');
    let mut line = line.finish();
    line.push(b'\n');
    Ok(Bytes::from(line))
}

/// What a line of a stream says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The answer goes on, or ends with an `end`.
    Deltas(Vec<Delta>),
    /// The answer failed.
    Error(Error),
}

/// Reads a line of a stream.
///
/// # Errors
/// `caller_invalid_request` when it is not one of ours.
pub fn read_line(line: &[u8]) -> Result<Line> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        deltas: Vec<Delta>,
        error: Option<Error>,
    }
    let Document { deltas, error } = read(line)?;
    Ok(error.map_or(Line::Deltas(deltas), Line::Error))
}

/// `{"v":1,` and the value's own fields. Serde's `flatten` would do it, but loses the source text of [`RawJson`](crate::request::RawJson).
fn write(value: &impl Serialize) -> Result<Bytes> {
    let text =
        serde_json::to_vec(value).map_err(|error| Error::internal(format!("not representable as JSON: {error}")))?;
    let mut out = Vec::with_capacity(text.len() + 7);
    out.extend_from_slice(format!("{{\"v\":{VERSION}").as_bytes());
    match text.get(1..) {
        Some(rest) if rest != b"}" => {
            out.push(b',');
            out.extend_from_slice(rest);
        }
        _ => out.push(b'}'),
    }
    Ok(Bytes::from(out))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    json::check_depth(body)?;
    let not_ours = |error: serde_json::Error| {
        Error::invalid(format!("not a document of the native dialect: {error}"))
            .with_hint("it is a JSON object with \"v\":1; see the dialect's documentation")
    };
    match serde_json::from_slice::<Versioned>(body).map_err(not_ours)?.v {
        VERSION => serde_json::from_slice(body).map_err(not_ours),
        other => Err(Error::invalid(format!(
            "version {other} of the native dialect is not known; this router speaks {VERSION}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_carry_their_version() {
        let body = write_request(&Request::new("hi")).unwrap();
        assert!(body.starts_with(b"{\"v\":1,\"messages\":"), "{body:?}");
        assert_eq!(read_request(&body).unwrap(), Request::new("hi"));
        let newer = read_request(b"{\"v\":2,\"messages\":[]}").unwrap_err();
        assert!(newer.message().contains("version 2"), "{newer}");
        for bad in
            ["{}", "[]", "", "{\"v\":1}", "{\"v\":1,\"messages\":[]}", "{\"v\":1,\"messages\":[{\"role\":\"user\"}]}"]
        {
            assert!(read_request(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_keep_all_that_matters() {
        let error = Error::timeout("no first event in 15 s").with_hint("wait").with_status(StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(read_error(&write_error(&error)).unwrap(), error);
        assert_eq!(Native.decode_error(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &write_error(&error)), error);
        let foreign = Native.decode_error(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
        assert_eq!(foreign.kind().name(), "provider_protocol");
    }
}
