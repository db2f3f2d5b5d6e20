//! The decision record of one request: what was considered, tried, dropped and paid. Plain data, bounded; `router/record.rs` fills it.

mod context;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use context::{Span, TraceContext};

use crate::dialect::FieldPath;
use crate::error::Error;
use crate::ids::{ModelName, ProviderId, RequestId};
use crate::request::{Resume, seconds};
use crate::usage::Usage;

/// How an answer came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trace {
    /// The request's id.
    pub id: RequestId,
    /// When the router took it, seconds since 1970.
    pub at: f64,
    /// The name of the client's key, where one was shown.
    #[serde(default, rename = "key_name", skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<str>>,
    /// Its span, where somebody collects them.
    #[serde(skip)]
    pub span: Option<Span>,
    /// What was asked for.
    #[serde(default)]
    pub operation: Operation,
    /// The targets considered, in plan order, and those that were left out.
    pub candidates: Vec<Candidate>,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
    /// What was given up before its first content, without an error of its own: the loser of a hedge, or whatever was under way when its caller left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<Attempt>,
    /// Whom a breaker held back: for how long the request waited, and with an error where it did not ask then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Attempt>,
    /// Who was asked beside a target that was late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hedges: Vec<Hedged>,
    /// Who answered.
    pub served: Option<Served>,
    /// Who went on with the answer where it broke off, in order. Few: each of them is an attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumed>,
    /// Whether the answer was to be held back until it was complete, and was given out before that because it is too large to be held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spilled: bool,
    /// What the provider calls the model that answered; noted where somebody collects spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_as: Option<String>,
    /// How the request failed, also after its first content: `caller_cancelled` where the caller left before the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// What the cache did.
    pub cache: CacheStatus,
    /// The cache key, as printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What could not be said to the target that answered, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<FieldPath>,
    /// What held instead of limits that several processes share, where nobody counted them: `open`, `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<String>,
    /// What it cost in tokens, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost in micro-dollars, as far as that is known: of all its calls to providers together. 0 where the answer was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// How many of its calls have a cost that is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unpriced: u32,
    /// Until the first content event.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub first_content: Option<Duration>,
    /// Until the end, or until the caller left.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub total: Option<Duration>,
}

impl Trace {
    /// The most candidates and attempts kept.
    pub const LIMIT: usize = 64;

    /// An empty record.
    pub fn new(id: RequestId, now: SystemTime) -> Self {
        Self {
            id,
            at: now.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            client: None,
            span: None,
            operation: Operation::default(),
            candidates: Vec::new(),
            attempts: Vec::new(),
            given_up: Vec::new(),
            held: Vec::new(),
            hedges: Vec::new(),
            served: None,
            resumed: Vec::new(),
            spilled: false,
            answered_as: None,
            error: None,
            cache: CacheStatus::Bypass,
            key: None,
            dropped: Vec::new(),
            limits: None,
            usage: None,
            cost_micros: None,
            unpriced: 0,
            first_content: None,
            total: None,
        }
    }
}

impl Trace {
    /// The targets that went on with the answer, in words; none where it did not break off.
    pub fn resumed_by(&self) -> Option<String> {
        let names: Vec<String> = self.resumed.iter().map(Resumed::target).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// What it cost in micro-dollars, where that is known of all its calls.
    #[must_use]
    pub fn cost(&self) -> Option<u64> {
        self.cost_micros.filter(|_| self.unpriced == 0)
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What is asked of a provider: OpenTelemetry's word for it where it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// Text, and whatever else a conversation brings.
    #[default]
    Chat,
    /// Vectors.
    Embeddings,
    /// Pictures.
    Images,
    /// A count of tokens.
    CountTokens,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Embeddings, Self::Images, Self::CountTokens];

    /// Its name: `chat`, `embeddings`, `images`, `count_tokens`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Images => "images",
            Self::CountTokens => "count_tokens",
        }
    }
}

/// A target that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// Its provider.
    pub provider: ProviderId,
    /// Its model, where one is known before the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Which of the provider's keys it is asked with, from 1, where there are several.
    #[serde(default, rename = "credential", skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// Whether it is in the plan.
    pub planned: bool,
    /// Why it is, or is not.
    pub reason: String,
    /// What would bring it into the plan, where something would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What its place in a balanced group goes by, where somebody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
}

impl Candidate {
    /// A target with the reason for its place.
    pub fn new(provider: ProviderId, model: Option<ModelName>, planned: bool, reason: impl Into<String>) -> Self {
        Self { provider, model, key: None, planned, reason: reason.into(), hint: None, score: None }
    }

    /// With what would bring it into the plan.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }
}

/// One try at one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The target's provider.
    pub provider: ProviderId,
    /// The target's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Which of the provider's keys it was asked with, from 1, where there are several.
    #[serde(default, rename = "credential", skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// Its span, where somebody collects them.
    #[serde(skip)]
    pub span: Option<Span>,
    /// How long after the request's arrival it began.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub began: Option<Duration>,
    /// How it failed; absent for the one that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// How long it took until its first content or its failure.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub took: Option<Duration>,
    /// The id of the peer that was asked, where the provider is a network of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// That peer's signed receipt as a word, once its answer has ended: `llm-router peers verify` checks it.
    #[serde(default, skip_serializing_if = "Late::is_missing")]
    pub receipt: Late,
}

impl Attempt {
    /// A try that began.
    pub fn new(provider: ProviderId, model: Option<ModelName>) -> Self {
        let receipt = Late::default();
        Self { provider, model, key: None, span: None, began: None, error: None, took: None, peer: None, receipt }
    }
}

/// A text that comes after what it stands in was written down. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<OnceLock<String>>);

impl Late {
    /// It has come. What comes after the first is left out.
    pub fn set(&self, text: String) {
        let _ = self.0.set(text);
    }

    /// The text, once it is there.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn is_missing(&self) -> bool {
        self.0.get().is_none()
    }
}

impl Serialize for Late {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        self.get().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Late {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(Self(Arc::new(text.map_or_else(OnceLock::new, OnceLock::from))))
    }
}

/// A target that was asked beside one that was late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hedged {
    /// Its provider.
    pub provider: ProviderId,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Which of the provider's keys it was asked with, from 1, where there are several.
    #[serde(default, rename = "credential", skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// The target that was late.
    pub beside: String,
    /// So long had that one been waited for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub after: Option<Duration>,
    /// `won` where it had the first content, `lost` where the late one had, `failed` where it had an error.
    pub outcome: String,
}

impl Hedged {
    /// One that begins.
    pub fn new(provider: ProviderId, model: Option<ModelName>, beside: String, after: Duration) -> Self {
        Self { provider, model, key: None, beside, after: Some(after), outcome: String::new() }
    }
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Served {
    /// The provider.
    pub provider: ProviderId,
    /// The model asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The plan's first target, where another one answered. Who was left out before is only in [`Trace::candidates`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substituted: Option<String>,
}

impl Served {
    /// The target that answered.
    pub fn new(provider: ProviderId, model: Option<ModelName>) -> Self {
        Self { provider, model, substituted: None }
    }
}

/// Who went on with an answer that broke off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resumed {
    /// The provider.
    pub provider: ProviderId,
    /// The model asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// How.
    pub how: Resume,
    /// Bytes of text that were given out before.
    pub after: usize,
}

impl Resumed {
    /// By this target, in this way, after so many bytes of text.
    pub fn new(provider: ProviderId, model: Option<ModelName>, how: Resume, after: usize) -> Self {
        Self { provider, model, how, after }
    }

    /// The target in words.
    pub fn target(&self) -> String {
        match &self.model {
            Some(model) => format!("{}/{model}", self.provider),
            None => self.provider.to_string(),
        }
    }
}

/// What the cache did for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheStatus {
    /// The answer came from the cache.
    Hit,
    /// It was looked for and not found.
    Miss,
    /// The cache was not used.
    #[default]
    Bypass,
    /// The answer is shared with a call that was under way.
    Coalesced,
}

impl CacheStatus {
    /// As it stands in headers: `hit`, `miss`, `bypass`, `coalesced`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Coalesced => "coalesced",
        }
    }
}
