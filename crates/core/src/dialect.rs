//! Wire formats. A [`Codec`] translates one dialect to and from the domain types, both ways: N codecs, never N×M translations.
//!
//! Codecs are pure: bytes in, values out. No socket, no clock, no environment; what moves the bytes is `provider/http.rs`.
//! To add a dialect: one folder here, one row of [`Dialect`]'s table, one line in [`codec`], and what the compiler then asks for; then fixtures and a fuzz
//! target, as `CONTRIBUTING.md` says.

pub mod anthropic;
pub mod embeddings;
mod foreign;
pub mod gemini;
pub mod hosted;
pub mod images;
mod json;
mod left;
pub mod lines;
pub mod native;
pub mod openai_chat;
pub mod openai_responses;
pub(crate) mod retry_after;
pub(crate) mod seal;
mod sound;
mod splice;
pub mod sse;
mod unnamed;

use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::delta::{Delta, Event};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Request;
use crate::trace::Trace;

macro_rules! dialects {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A wire format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Dialect { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Dialect {
            /// Every dialect.
            pub const ALL: &'static [Dialect] = &[$(Self::$variant,)*];

            /// The names of all, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The name used in configuration, JSON and headers.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

dialects! {
    /// Our own: the versioned, lossless JSON of the domain types.
    Native = "native";
    /// OpenAI's `/chat/completions`.
    OpenaiChat = "openai_chat";
    /// OpenAI's `/responses`.
    OpenaiResponses = "openai_responses";
    /// Anthropic's `/messages`.
    Anthropic = "anthropic";
    /// Google's `:generateContent`.
    Gemini = "gemini";
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The codec of a dialect.
pub fn codec(dialect: Dialect) -> Arc<dyn Codec> {
    static CODECS: LazyLock<[Arc<dyn Codec>; 5]> = LazyLock::new(|| -> [Arc<dyn Codec>; 5] {
        [
            Arc::new(native::Native),
            Arc::new(openai_chat::OpenaiChat::default()),
            Arc::new(openai_responses::OpenaiResponses),
            Arc::new(anthropic::Anthropic),
            Arc::new(gemini::Gemini),
        ]
    });
    let [native, chat, responses, anthropic, gemini] = &*CODECS;
    let codec = match dialect {
        Dialect::Native => native,
        Dialect::OpenaiChat => chat,
        Dialect::OpenaiResponses => responses,
        Dialect::Anthropic => anthropic,
        Dialect::Gemini => gemini,
    };
    Arc::clone(codec)
}

/// One dialect, both ways.
pub trait Codec: Send + Sync {
    /// The dialect.
    fn dialect(&self) -> Dialect;

    /// A client's request.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the field, `caller_too_large` past a limit.
    fn decode_request(&self, head: &RequestHead, body: &[u8]) -> Result<Request>;

    /// A call as this dialect's HTTP request, with the names of the fields it had to leave out.
    ///
    /// # Errors
    /// `caller_unsupported` for what the dialect cannot express and must not lose.
    fn encode_request(&self, call: &Call) -> Result<HttpCall>;

    /// Reads the answer to `call`.
    fn decoder(&self, call: &Call, framing: Framing) -> Box<dyn Decoder>;

    /// Writes the answer to `request`.
    fn encoder(&self, request: &Request, framing: Framing) -> Box<dyn Encoder>;

    /// An upstream's error answer.
    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;

    /// An error in this dialect's own shape.
    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes);
}

/// Whether an answer travels as one body or as a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One JSON body: one frame.
    Whole,
    /// SSE events (JSON lines in `native`).
    Stream,
}

impl Framing {
    /// What the caller's `stream` asks for.
    pub fn of(stream: bool) -> Self {
        if stream { Self::Stream } else { Self::Whole }
    }
}

/// One frame of an answer: an SSE event, a JSON line, or a whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The SSE event's name, where it has one.
    pub name: Option<String>,
    /// The payload.
    pub data: Bytes,
}

/// Frames in, deltas out.
pub trait Decoder: Send {
    /// Reads one frame.
    ///
    /// # Errors
    /// `provider_protocol` for one that cannot be read; the upstream's own error where the frame is one.
    fn frame(&mut self, frame: Frame) -> Result<Event>;

    /// The stream is over. Closes what may be closed and says whether the answer is whole.
    ///
    /// # Errors
    /// `provider_protocol` when the terminal event never came.
    fn end(&mut self) -> Result<Event>;
}

/// Deltas in, bytes out: complete frames of the dialect's framing.
pub trait Encoder: Send {
    /// Writes what an event says. With [`Framing::Whole`] nothing is written before the end.
    ///
    /// # Errors
    /// `router_internal` for a delta that cannot be written.
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()>;

    /// Learns how the answer came about, right before its last event: for dialects that say it there.
    fn about(&mut self, trace: &Trace) {
        let _ = trace;
    }

    /// What of the answer this dialect has no word for, by name: of what was written so far.
    fn lost(&self) -> &[FieldPath] {
        &[]
    }

    /// Writes an error in the middle of an answer.
    fn error(&mut self, error: &Error, out: &mut BytesMut);

    /// Writes a sign of life that clients ignore; nothing where the dialect has none.
    fn ping(&mut self, out: &mut BytesMut);

    /// The media type of the answer's body.
    fn content_type(&self) -> &'static str;
}

/// The head of a request: what a codec reads besides the body.
#[derive(Clone, PartialEq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path, as received.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// The headers. Credentials are taken out at the door: no codec needs them.
    pub headers: Arc<HeaderMap>,
}

impl RequestHead {
    /// A POST to a path.
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, path: path.into(), query: None, headers: Arc::default() }
    }
}

impl fmt::Debug for RequestHead {
    /// Headers and queries can hold what is not for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// A request to an upstream, before base URL and credential are added.
#[derive(Clone, PartialEq)]
pub struct HttpCall {
    /// The path below the base URL, with a leading `/`.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// Headers of the dialect.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What the dialect could not express and was left out.
    pub dropped: Vec<FieldPath>,
    /// How the answer will come.
    pub framing: Framing,
}

impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").field("path", &self.path).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

/// The place of a field in a request, `sampling.top_k` for example.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldPath(pub String);

impl From<&str> for FieldPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The deepest nesting of JSON taken from anybody.
pub const MAX_JSON_DEPTH: usize = 128;

/// The most answers to one request.
pub const MAX_CHOICES: u32 = 16;

/// A whole body through a decoder: the same machine as a stream, fed one frame.
///
/// # Errors
/// As [`Decoder::frame`] and [`Decoder::end`].
pub fn decode_whole(decoder: &mut dyn Decoder, body: Bytes) -> Result<Event> {
    let mut event = decoder.frame(Frame { name: None, data: body })?;
    let Event { deltas, .. } = decoder.end()?;
    event.deltas.extend(deltas);
    if !event.deltas.iter().any(|delta| matches!(delta, Delta::End)) {
        return Err(Error::protocol("the answer has no end"));
    }
    Ok(event)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;

    use crate::deps::SystemClock;
    use crate::ids::RequestId;
    use crate::provider::{Call, Context, Target, http::HttpClient};
    use crate::request::Request;

    /// A call as a provider would get it.
    pub(crate) fn call(request: Request, target: Target) -> Call {
        let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
        Call::new(Arc::new(request), target, cx)
    }
}
