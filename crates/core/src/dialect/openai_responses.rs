//! OpenAI's `/responses`.
//!
//! Requests: `request.rs` and `items.rs` read, `body.rs` and `history.rs` write, `patch.rs` changes in place where both sides speak this dialect. Answers:
//! `stream.rs`, `output.rs` and `thoughts.rs` read, `response.rs`, `blocks.rs`, `object.rs` and `written.rs` write, whole or streamed. Errors: `error.rs`. What a server needs to keep
//! answers and go on from them is `state.rs`. What it is not: a client; bytes are moved by `provider/http.rs`. What both OpenAI dialects share is in `openai_chat`.

mod blocks;
mod body;
mod error;
mod history;
mod items;
mod object;
mod output;
mod patch;
mod request;
mod response;
mod state;
mod stream;
mod thoughts;
mod types;
mod written;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

pub use object::response_id;
pub use state::{State, input_items, output_items, resume, state};

use crate::dialect::openai_chat;
use crate::dialect::{Codec, Decoder, Dialect, Encoder, Framing, HttpCall, RequestHead, foreign};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Request;

/// The path of a call below a base URL.
pub const PATH: &str = "/responses";

/// The codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenaiResponses;

impl Codec for OpenaiResponses {
    fn dialect(&self) -> Dialect {
        Dialect::OpenaiResponses
    }

    fn decode_request(&self, head: &RequestHead, body: &[u8]) -> Result<Request> {
        request::decode(head, body)
    }

    fn encode_request(&self, call: &Call) -> Result<HttpCall> {
        let mut dropped = Vec::new();
        let fitted = foreign::fit(call, Dialect::OpenaiResponses, &mut dropped)?;
        let call = fitted.as_ref().unwrap_or(call);
        body::refuse(&call.request)?;
        let body = match &call.request.origin {
            Some(origin) if origin.dialect == Dialect::OpenaiResponses => patch::patch(call, origin, &mut dropped)?,
            _ => body::encode(call, &mut dropped)?,
        };
        let framing = Framing::of(call.request.stream);
        Ok(HttpCall { path: PATH.to_owned(), query: None, headers: headers(framing), body, dropped, framing })
    }

    fn decoder(&self, call: &Call, framing: Framing) -> Box<dyn Decoder> {
        Box::new(stream::ResponsesDecoder::new(call, framing))
    }

    fn encoder(&self, request: &Request, framing: Framing) -> Box<dyn Encoder> {
        Box::new(response::ResponsesEncoder::new(request, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        openai_chat::error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes) {
        (error.kind().http_status(), openai_chat::error::encode(error))
    }
}

fn headers(framing: Framing) -> HeaderMap {
    let accept = match framing {
        Framing::Whole => "application/json",
        Framing::Stream => "text/event-stream",
    };
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::ACCEPT, HeaderValue::from_static(accept)),
    ])
}
