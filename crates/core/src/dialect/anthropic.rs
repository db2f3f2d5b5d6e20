//! Anthropic's Messages API, `/messages`: both the vendor and the servers that speak it.
//!
//! Requests: `request.rs` and `messages.rs` read, `body.rs` and `history.rs` write, `patch.rs` changes in place where both sides speak this dialect; what
//! the vendor's models take is a table in `models.rs`. Answers: `stream.rs` reads, `response.rs` writes, whole or streamed. Errors: `error.rs`; counting
//! tokens: `count.rs`. What it is not: a client; bytes are moved by `provider/http.rs`.

mod blocks;
mod body;
pub mod count;
mod error;
mod history;
mod messages;
mod models;
mod patch;
mod reasoning;
mod request;
mod response;
mod schema;
mod stream;
mod types;
mod whole;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::dialect::{Codec, Decoder, Dialect, Encoder, Framing, HttpCall, RequestHead, foreign};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Request;

/// The path of a call below a base URL.
pub const PATH: &str = "/messages";

/// The header that names the API's version; every request needs it, that for the list of models included.
pub const VERSION_HEADER: &str = "anthropic-version";

/// The version sent where the caller named none: the one that every server of this dialect knows.
pub const VERSION: &str = "2023-06-01";

/// The header that names betas.
const BETA_HEADER: &str = "anthropic-beta";

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anthropic;

impl Codec for Anthropic {
    fn dialect(&self) -> Dialect {
        Dialect::Anthropic
    }

    fn decode_request(&self, head: &RequestHead, body: &[u8]) -> Result<Request> {
        request::decode(head, body)
    }

    fn encode_request(&self, call: &Call) -> Result<HttpCall> {
        let mut dropped = Vec::new();
        let fitted = foreign::fit(call, Dialect::Anthropic, &mut dropped)?;
        let call = fitted.as_ref().unwrap_or(call);
        let (body, query) = match &call.request.origin {
            Some(origin) if origin.dialect == Dialect::Anthropic => {
                (patch::patch(call, origin, &mut dropped)?, patch::query(&origin.head))
            }
            _ => (body::encode(call, &mut dropped)?, None),
        };
        let framing = Framing::of(call.request.stream);
        let headers = body::headers(call.request.origin.as_deref(), framing);
        Ok(HttpCall { path: PATH.to_owned(), query, headers, body, dropped, framing })
    }

    fn decoder(&self, call: &Call, framing: Framing) -> Box<dyn Decoder> {
        Box::new(stream::MessageDecoder::new(call, framing))
    }

    fn encoder(&self, _request: &Request, framing: Framing) -> Box<dyn Encoder> {
        Box::new(response::MessageEncoder::new(framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes) {
        (error.kind().http_status(), error::encode(error))
    }
}
