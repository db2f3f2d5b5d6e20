//! How the answer is made: sampling and thought, who may answer and see the request, and what the cache may do.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::ids::Namespace;

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
    /// When the answer is given out; unset leaves it to the route and the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Whether somebody else may go on with an answer that broke off; unset leaves it to the route and the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// The highest price of a target: what a million of its tokens may cost, in micro-dollars, of prompt or answer, whichever is dearer. A target of unknown price is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<u64>,
    /// The key that a client of a server showed, as settings name it: one that was made by its id, one of the configuration by its name. The door that saw the key says it; no body can.
    #[serde(skip)]
    pub key: Option<Arc<str>>,
    /// The peers that it came through, by their ids, the first one first: whoever passes it on to a peer says them, so that it does not go in circles. The door that knows who sent it says it; no body
    /// can.
    #[serde(skip)]
    pub hops: Vec<String>,
}

/// When an answer is given out. Until then another target may take over unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// From its first content on.
    #[default]
    Content,
    /// When it is complete, as far as it fits in the memory set aside for that.
    Whole,
}

/// What becomes of an answer that breaks off after its first content. Only for one choice of which nothing but text was given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resume {
    /// The caller hears of the failure.
    #[default]
    Off,
    /// A target that is known to take the beginning of an answer goes on behind what was given out.
    Continue,
    /// A target answers anew, and is heard once it has said all that was given out, byte for byte.
    Restart,
}

/// Deadlines as far as they are set; see [`Deadlines`](crate::provider::Deadlines) for what each means. In seconds when serialised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Timeouts {
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub connect: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub first_event: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub idle: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub whole: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub total: Option<Duration>,
    /// No time, but the pace below which an answer counts as none: 0 for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_bytes_per_s: Option<u32>,
}

impl Timeouts {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
