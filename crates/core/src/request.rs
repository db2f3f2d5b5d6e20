//! What a caller asks for: one request type for every dialect.
//!
//! Only what the caller set is here; absent is absent and no default is filled in, because the cache key, the codecs and the fidelity rules all need to
//! know what was said. Serde's form of these types *is* the `native` dialect. Translation lives in `dialect/`, validation against a target in its codec.

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::dialect::{Dialect, RequestHead};
use crate::error::{Error, Result};
use crate::ids::{Namespace, ProviderId};

/// JSON kept as the text it came in: key order, number digits and spacing survive.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Arc<RawValue>);

impl RawJson {
    /// Checks that `text` is one JSON value and keeps it.
    ///
    /// # Errors
    /// `caller_invalid_request` when it is not JSON.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str::<Box<RawValue>>(text)
            .map(|raw| Self(raw.into()))
            .map_err(|error| Error::invalid(format!("not JSON: {error}")))
    }

    /// Any serialisable value as JSON text.
    ///
    /// # Errors
    /// `router_internal` when the value has no JSON form (a map with keys that are not text).
    pub fn of(value: &impl Serialize) -> Result<Self> {
        serde_json::value::to_raw_value(value)
            .map(|raw| Self(raw.into()))
            .map_err(|error| Error::internal(format!("not representable as JSON: {error}")))
    }

    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The parsed value. Numbers beyond 64 bits lose digits here; [`RawJson::get`] has them.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.get()).unwrap_or(Value::Null)
    }
}

impl From<&RawValue> for RawJson {
    fn from(raw: &RawValue) -> Self {
        Self(Arc::from(raw.to_owned()))
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl PartialEq for RawJson {
    /// Equal when they mean the same JSON; spacing does not count.
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.value() == other.value()
    }
}

/// Fields of a dialect that have no place of their own in these types: dialect → ordered map, as received.
pub type Extra = BTreeMap<Dialect, IndexMap<String, RawJson>>;

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

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Instructions of the operator.
    System,
    /// Instructions of the application's developer, where a model tells them from the operator's.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls.
    Tool,
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Block>,
    /// The participant's name, where several share a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields without a place of their own.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl Message {
    /// A turn of `role` that is one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Block::text(text)], name: None, extra: Extra::new() }
    }

    /// A user's text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::text(Role::User, text)
    }

    /// A system text.
    pub fn system(text: impl Into<String>) -> Self {
        Self::text(Role::System, text)
    }

    /// The model's earlier answer: a response's blocks can be put back as they are.
    pub fn assistant(content: Vec<Block>) -> Self {
        Self { role: Role::Assistant, content, name: None, extra: Extra::new() }
    }
}

/// One block of content, in a request or an answer: the same words both ways.
///
/// In JSON the body's fields and `extra` stand side by side, with `type` first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    #[serde(flatten)]
    pub body: BlockBody,
    /// Fields without a place of their own (`cache_control` of Anthropic, for one): dialect → ordered map.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<Dialect, serde_json::Map<String, Value>>,
}

impl Block {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        BlockBody::Text { text: text.into(), annotations: Vec::new(), logprobs: Vec::new() }.into()
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.body {
            BlockBody::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

impl From<BlockBody> for Block {
    fn from(body: BlockBody) -> Self {
        Self { body, extra: BTreeMap::new() }
    }
}

/// The kinds of content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockBody {
    /// Text, with what a model says about it.
    Text {
        /// The text.
        text: String,
        /// Citations and the like, as the provider wrote them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        annotations: Vec<Value>,
        /// One entry a token, where asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        logprobs: Vec<TokenLogprob>,
    },
    /// A refusal in the model's words.
    Refusal {
        /// The words.
        text: String,
    },
    /// What the model thought, in the clear or sealed.
    Reasoning {
        /// The thoughts, or a summary; empty where the provider hides them.
        #[serde(default)]
        text: String,
        /// The provider's seal, to be returned unchanged to the same provider and model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Whether the text is only an opaque blob (`signature` holds it).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        redacted: bool,
    },
    /// A function that the model wants called.
    ToolCall {
        /// The call's id, which its result repeats.
        id: String,
        /// The function's name.
        name: String,
        /// The arguments as the model wrote them: JSON, unless the model erred.
        arguments: String,
    },
    /// What a function returned.
    ToolResult {
        /// The call's id.
        call_id: String,
        /// The result.
        content: Vec<Block>,
        /// Whether the function failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// How closely to look, in the words of the OpenAI API: `low`, `high`, `auto`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A sound.
    Audio {
        /// Where it is.
        source: Source,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Sound or pictures that a model made.
    Media {
        /// The media type, `audio/wav` for example.
        mime: String,
        /// The bytes, in base 64.
        data: String,
    },
    /// Content that only its own dialect understands, returned to that dialect alone.
    Provider {
        /// The dialect it belongs to.
        dialect: Dialect,
        /// The provider's word for it.
        kind: String,
        /// The block as received.
        raw: Value,
    },
}

/// Where the bytes of an image, a sound or a file are. The router itself never fetches a URL of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// In the request, in base 64.
    Base64 {
        /// The media type.
        mime: String,
        /// The bytes.
        data: String,
    },
    /// Behind a URL that the upstream will fetch.
    Url(String),
    /// A file that the caller uploaded to the provider before.
    FileId(String),
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The function's name; empty for a provider's own tool, which is all in `extra`.
    pub name: String,
    /// What it does, for the model to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<RawJson>,
    /// Whether arguments must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Fields without a place of their own; a tool that runs at the provider (web search, code) is only this.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// Whether and which tool must be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Tool(String),
}

/// The form that the answer's text must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema(JsonSchema),
}

/// A JSON Schema with the name that some providers want.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JsonSchema {
    /// The schema's name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema.
    pub schema: RawJson,
    /// Whether the answer must fit exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// How tokens are chosen, and how many. Names are the OpenAI API's where it has one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Sampling {
    /// Tokens of the answer at most, thoughts included where the model counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Randomness: 0 picks the likeliest token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling: the likeliest tokens that together have this probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Only the likeliest so many tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only tokens at least so likely as this share of the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Penalty that grows with a token's count so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Penalty for any token that occurred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Divisor for the score of tokens that occurred (llama.cpp's and Hugging Face's); 1 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// Makes sampling repeatable where the provider can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Texts that end the answer; they are not part of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Token id → what is added to its score, −100 to 100.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub logit_bias: IndexMap<String, f64>,
    /// Whether each token's log probability is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// How many likely alternatives to list for each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u32>,
    /// How many answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
}

/// How much the model may think before it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Reasoning {
    /// In the words of the OpenAI API: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Tokens for thinking, where the provider counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u32>,
    /// Whether and how thoughts are summarised: `auto`, `concise`, `detailed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// One token with its log probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token as text.
    pub token: String,
    /// Its natural log probability.
    pub logprob: f64,
    /// Its bytes, where a token is not whole UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
    /// The likeliest alternatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TokenLogprob>,
}

/// Settings that ride on every request and are obeyed everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Riders {
    /// Whether another model may answer.
    pub substitute: Substitute,
    /// Who may see the request.
    pub privacy: Privacy,
    /// Whose data it is.
    pub namespace: Namespace,
    /// Whether a target that cannot be told all of the request is passed over, in place of being told the rest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// What may stand in for what a request names: each level includes those before it. A provider or model that is named is a plan of its own; the plan's order is
/// `docs/routing.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Substitute {
    /// Only the first target that can answer as far as is known beforehand.
    Never,
    /// Any target of the plan: a named model is the same at each, and a route is the name of its targets.
    #[default]
    SameModel,
    /// Also the default model of a provider that does not know the named one.
    Any,
}

/// Who may see a request: each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Privacy {
    /// This machine only.
    Local,
    /// Also providers and peers that the config calls trusted.
    Trusted,
    /// Anyone the plan names.
    #[default]
    Any,
}

/// What the cache may do, in the words of HTTP's `Cache-Control`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheControl {
    /// Whether the cache is used; unset leaves it to the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Do not answer from the cache (a fresh answer is still stored).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    /// Do not store the answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_store: bool,
    /// Answer from the cache or fail.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_if_cached: bool,
    /// Oldest answer that will do; in seconds when serialised.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub max_age: Option<Duration>,
}

impl CacheControl {
    /// Whether the caller said nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
