//! Google's Generative Language API, `v1beta`: `:generateContent`, `:streamGenerateContent` and `:countTokens`.
//!
//! The model and whether it streams stand in the path (`head.rs`), not in the body; names are read in camelCase and in snake_case, as Google's servers do.
//! Requests: `request.rs`, `tools.rs` and `contents.rs` read, `body.rs` and `history.rs` write, `schema.rs` turns schemas one way and the other.
//! Answers: `stream.rs` reads, `response.rs` writes. Errors: `error.rs`. Token counts without an answer: [`count`]; embeddings: [`embed`].
//! What it is not: Vertex AI, whose paths and credentials differ; files.

mod body;
mod candidate;
mod chunk;
mod citations;
mod contents;
pub mod count;
pub mod embed;
mod error;
mod generation;
mod head;
mod history;
mod request;
mod response;
mod schema;
mod stream;
mod tools;
mod types;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::dialect::{Codec, Decoder, Dialect, Encoder, Framing, HttpCall, RequestHead, foreign};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Request;

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gemini;

impl Codec for Gemini {
    fn dialect(&self) -> Dialect {
        Dialect::Gemini
    }

    fn decode_request(&self, head: &RequestHead, body: &[u8]) -> Result<Request> {
        request::decode(head, body)
    }

    fn encode_request(&self, call: &Call) -> Result<HttpCall> {
        let framing = Framing::of(call.request.stream);
        let (verb, query) = match framing {
            Framing::Whole => ("generateContent", None),
            Framing::Stream => ("streamGenerateContent", Some("alt=sse".to_owned())),
        };
        let path = head::path(head::model_of(call)?, verb)?;
        let mut dropped = Vec::new();
        let fitted = foreign::fit(call, Dialect::Gemini, &mut dropped)?;
        let call = fitted.as_ref().unwrap_or(call);
        let body = match &call.request.origin {
            // Model and framing stand in the path: nothing of the body has to change.
            Some(origin) if origin.dialect == Dialect::Gemini && !count::is_count(origin) => origin.body.clone(),
            _ => body::encode(call, &mut dropped)?,
        };
        Ok(HttpCall { path, query, headers: head::headers(framing), body, dropped, framing })
    }

    fn decoder(&self, call: &Call, framing: Framing) -> Box<dyn Decoder> {
        Box::new(stream::GeminiDecoder::new(call, framing))
    }

    fn encoder(&self, request: &Request, framing: Framing) -> Box<dyn Encoder> {
        Box::new(response::GeminiEncoder::new(request, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes) {
        (error.kind().http_status(), error::encode(error))
    }
}
