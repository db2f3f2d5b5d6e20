//! What a caller asks for: one request type for every dialect.
//!
//! Only what the caller set is here; absent is absent and no default is filled in, because the cache key, the codecs and the fidelity rules all need to
//! know what was said. Serde's form of these types *is* the `native` dialect. Translation lives in `dialect/`, validation against a target in its codec.

mod message;
mod raw;
mod settings;
mod tool;

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, RequestHead};
use crate::ids::ProviderId;

pub use message::{Block, BlockBody, Message, Role, Source, TokenLogprob};
pub use raw::{Extra, RawJson};
pub use settings::{CacheControl, Hold, Privacy, Reasoning, Resume, Riders, Sampling, Substitute, Timeouts};
pub use tool::{JsonSchema, ResponseFormat, Tool, ToolChoice};

/// A request for text: the one type that every door of the router takes and every codec translates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Request {
    /// The model as the caller named it: resolved by `router/resolve.rs`, never before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider, where the caller named one in a field of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Whether the last message is the beginning of the answer, which the model is to go on with.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prefill: bool,
    /// Functions that the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether and which tool must be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called in one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The form that the text must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// How tokens are chosen, and how many.
    pub sampling: Sampling,
    /// How much the model may think first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Output kinds other than text that are wanted, in the words of the OpenAI API: `text`, `audio`, `image`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<String>,
    /// Whether the caller wants events as they come.
    pub stream: bool,
    /// The caller's own end user, as the dialects pass it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The caller's labels for this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RawJson>,
    /// Everything else, by dialect.
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
    /// Settings that ride along and are obeyed by plan, fallback, hedge, cache and peers alike.
    pub riders: Riders,
    /// What the cache may do for this request.
    #[serde(skip_serializing_if = "CacheControl::is_default")]
    pub cache: CacheControl,
    /// The caller's own deadline: for the first content, whichever targets are tried, and in place of the configuration's total for each of them. In seconds
    /// when serialised.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub timeout: Option<Duration>,
    /// Single deadlines, over those of the configuration.
    #[serde(skip_serializing_if = "Timeouts::is_default")]
    pub timeouts: Timeouts,
    /// The request as it came over the wire, for targets that speak the same dialect. Who changes anything above but the model, the provider and `stream`
    /// takes it away, or that change would not reach such a target.
    #[serde(skip)]
    pub origin: Option<Arc<Origin>>,
}

impl Request {
    /// A plain request: one user text.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { messages: vec![Message::user(prompt)], ..Self::default() }
    }

    /// The prompt, if this request is one user text and nothing else in its messages (the cache key's short form).
    pub fn plain_prompt(&self) -> Option<&str> {
        match self.messages.as_slice() {
            [Message { role: Role::User, content, name: None, extra }] if extra.is_empty() => {
                match content.as_slice() {
                    [Block { body: BlockBody::Text { text, annotations, logprobs }, extra }]
                        if extra.is_empty() && annotations.is_empty() && logprobs.is_empty() =>
                    {
                        Some(text)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// How many answers are wanted.
    pub fn choices(&self) -> u32 {
        self.sampling.n.unwrap_or(1)
    }
}

/// The wire form of a request, kept for fidelity: a target that speaks the same dialect gets these bytes with only what must change spliced in.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The dialect of the body.
    pub dialect: Dialect,
    /// Method, path, query and headers.
    pub head: RequestHead,
    /// The body as received.
    pub body: Bytes,
    /// What the reader of an ordinary body noted for whoever changes it.
    pub(crate) usual: Option<Usual>,
}

impl Origin {
    /// A request as it came.
    pub fn new(dialect: Dialect, head: RequestHead, body: Bytes) -> Self {
        Self { dialect, head, body, usual: None }
    }
}

/// Where the few things stand that a body of ordinary fields has changed on its way: found while it was read, so that it need not be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usual {
    /// The value of `model`, with its quotes.
    pub(crate) model: Range<usize>,
    /// The field that limits tokens, if there is one.
    pub(crate) limit: Option<&'static str>,
    /// Whether it asks for a stream.
    pub(crate) stream: bool,
}

/// Durations as seconds, fractions allowed.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|duration| duration.as_secs_f64()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(D::Error::custom))
            .transpose()
    }
}
