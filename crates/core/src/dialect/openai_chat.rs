//! OpenAI's `/chat/completions`, and the many servers that speak it.
//!
//! One codec for all of them: what a server does differently is a named field of [`Quirks`], filled from its preset, never a condition on its name.
//! Requests: `request.rs` and `messages.rs` read, `body.rs` and `history.rs` write, `patch.rs` changes in place where both sides speak this dialect; `usual.rs` does both
//! faster for the bodies that most are, and `plain.rs` for such frames.
//! Answers: `stream.rs` reads, `response.rs` writes, whole or streamed. Errors: `error.rs`. What it is not: a client; bytes are moved by `provider/http.rs`.

mod again;
mod body;
mod calls;
mod choice;
pub(in crate::dialect) mod error;
mod history;
mod messages;
mod patch;
mod plain;
mod request;
mod response;
mod stream;
mod turns;
pub(in crate::dialect) mod types;
mod usual;
mod whole;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::dialect::{Codec, Decoder, Dialect, Encoder, Framing, HttpCall, RequestHead, foreign};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Request;

/// The path of a call below a base URL.
pub const PATH: &str = "/chat/completions";

/// The codec, with what the server on the other side does differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenaiChat {
    /// The server's peculiarities; none where the other side is a client.
    pub quirks: Quirks,
}

impl OpenaiChat {
    /// The codec for a server with these peculiarities.
    pub fn new(quirks: Quirks) -> Self {
        Self { quirks }
    }
}

/// What a compatible server does differently. The default is the server that takes everything and keeps to the definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Which of the two fields for the token limit it takes.
    pub max_tokens: MaxTokens,
    /// It knows no `developer` role: such messages become `system`.
    pub no_developer_role: bool,
    /// It refuses `stream_options`, and sends token counts, if at all, unasked.
    pub no_stream_options: bool,
    /// It wants user and assistant strictly in turn: neighbours of one role are joined.
    pub strict_alternation: bool,
    /// It wants `content` as a text wherever it is only text, never as a list of parts.
    pub text_as_string: bool,
    /// Its streams end without `[DONE]`: every choice finished and a clean end of the connection is then the end.
    pub no_done: bool,
    /// Its word for "some tool must be called" is `any` (Mistral).
    pub tool_choice_any: bool,
    /// How it is told how much to think.
    pub reasoning: ReasoningField,
    /// What becomes of earlier thoughts of the model that a request brings along.
    pub history: History,
    /// It goes on behind a last message of the assistant's only where it is told so (`continue_final_message` of vLLM).
    pub told_to_continue: bool,
    /// Fields of the body that it refuses, by their names on the wire. Tools, schemas, stops and `n` among them are refused to the caller, others dropped by name.
    pub unsupported: &'static [&'static str],
}

/// The field for the limit of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxTokens {
    /// Both: as the caller wrote it, else `max_tokens`.
    #[default]
    AsGiven,
    /// Only `max_tokens`: servers that froze at the first definition.
    Old,
    /// Only `max_completion_tokens`: OpenAI's reasoning models.
    New,
}

/// How a server is told how much to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// As the caller wrote it, else `reasoning_effort`, or `reasoning` where a number of tokens was given.
    #[default]
    AsGiven,
    /// `reasoning_effort`: OpenAI and most.
    Effort,
    /// `reasoning: {effort, max_tokens}`: OpenRouter.
    Object,
    /// Not at all: dropped by name.
    Unsupported,
}

/// How earlier thoughts go back to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// As `reasoning_content`: DeepSeek, vLLM, llama.cpp, SGLang.
    #[default]
    ReasoningContent,
    /// As `reasoning`: OpenRouter, Groq, Cerebras.
    Reasoning,
    /// Not at all: OpenAI refuses such fields.
    Omit,
}

impl Codec for OpenaiChat {
    fn dialect(&self) -> Dialect {
        Dialect::OpenaiChat
    }

    fn decode_request(&self, head: &RequestHead, body: &[u8]) -> Result<Request> {
        request::decode(head, body)
    }

    fn encode_request(&self, call: &Call) -> Result<HttpCall> {
        let mut dropped = Vec::new();
        let fitted = foreign::fit(call, Dialect::OpenaiChat, &mut dropped)?;
        let call = fitted.as_ref().unwrap_or(call);
        body::refuse(&call.request, &self.quirks)?;
        let body = match &call.request.origin {
            Some(origin) if origin.dialect == Dialect::OpenaiChat => match usual::patch(call, origin, &self.quirks) {
                Some(body) => body,
                None => patch::patch(call, origin, &self.quirks, &mut dropped)?,
            },
            _ => body::encode(call, &self.quirks, &mut dropped)?,
        };
        let framing = Framing::of(call.request.stream);
        Ok(HttpCall { path: PATH.to_owned(), query: None, headers: body::headers(framing), body, dropped, framing })
    }

    fn decoder(&self, call: &Call, framing: Framing) -> Box<dyn Decoder> {
        Box::new(stream::ChatDecoder::new(call, framing, self.quirks.no_done))
    }

    fn encoder(&self, request: &Request, framing: Framing) -> Box<dyn Encoder> {
        Box::new(response::ChatEncoder::new(request, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes) {
        (error.kind().http_status(), error::encode(error))
    }
}
