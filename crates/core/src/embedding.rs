//! Embeddings: texts in, vectors out, whichever provider makes them.
//!
//! Only what the caller set is here. Numbers or base64 is a matter of the wire (`dialect/embeddings.rs`, `dialect/gemini/embed.rs`), the plan of the router. Not a delta stream: an
//! embedding has nothing to show before it is whole.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::ProviderId;
use crate::request::{Block, CacheControl, Message, RawJson, Request, Riders, Timeouts};
use crate::trace::Trace;
use crate::usage::Usage;

/// The most inputs of one request: the OpenAI API's own limit.
pub const MAX_INPUTS: usize = 2048;

/// The most bytes of all inputs together.
pub const MAX_BYTES: usize = 16 << 20;

/// The most numbers of one vector: sixteen times what the largest models in use give.
pub const MAX_DIMENSIONS: usize = 65_536;

/// The most numbers of all vectors together: 256 MiB of them.
const MAX_NUMBERS: usize = 64 << 20;

/// One thing to embed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EmbedInput {
    /// A text.
    Text(String),
    /// The tokens of a text, in the model's own numbers.
    Tokens(Vec<u32>),
}

impl EmbedInput {
    /// Its size in bytes, a token counting four.
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len().saturating_mul(4),
        }
    }
}

impl From<&str> for EmbedInput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A request for embeddings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The model as the caller named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider, where the caller named one in a field of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// What to embed, each on its own.
    pub inputs: Vec<EmbedInput>,
    /// Numbers wanted of each vector, where the model can shorten them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// What the vectors are for, in Google's words: `RETRIEVAL_QUERY`, `RETRIEVAL_DOCUMENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The title of the document that the texts are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The caller's own end user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Other fields of the OpenAI API's kind, as received, for targets that speak it: `input_type`, `truncate`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub extra: IndexMap<String, RawJson>,
    /// Who may see it, and whose it is.
    pub riders: Riders,
    /// Embeddings are not stored: of this only `only_if_cached` is heard, and refused.
    #[serde(skip)]
    pub cache: CacheControl,
    /// The caller's own deadline.
    #[serde(skip)]
    pub timeout: Option<Duration>,
    /// Single deadlines, over those of the configuration.
    #[serde(skip)]
    pub timeouts: Timeouts,
}

impl EmbedRequest {
    /// A request for these inputs.
    pub fn new(inputs: impl IntoIterator<Item = EmbedInput>) -> Self {
        Self { inputs: inputs.into_iter().collect(), ..Self::default() }
    }

    /// Checks counts and sizes.
    ///
    /// # Errors
    /// `caller_invalid_request` for none, an empty one or too many; `caller_too_large` for too much.
    pub fn check(&self) -> Result<()> {
        if self.inputs.is_empty() {
            return Err(Error::invalid("input: it is empty; send at least one text"));
        }
        if self.inputs.len() > MAX_INPUTS {
            return Err(Error::invalid(format!("input: {} inputs, and the limit is {MAX_INPUTS}", self.inputs.len()))
                .with_hint("send them in several requests"));
        }
        if let Some(at) = self.inputs.iter().position(|input| input.bytes() == 0) {
            return Err(Error::invalid(format!("input[{at}]: it is empty")));
        }
        let bytes: usize = self.inputs.iter().map(EmbedInput::bytes).sum();
        if bytes > MAX_BYTES {
            let message = format!("input: {bytes} bytes, and the limit is {MAX_BYTES}");
            return Err(Error::new(ErrorKind::CallerTooLarge, message).with_hint("send them in several requests"));
        }
        match self.dimensions {
            Some(0) => Err(Error::invalid("dimensions: it is 0; leave it out for the model's own")),
            Some(count) if count as usize > MAX_DIMENSIONS => {
                Err(Error::invalid(format!("dimensions: {count}, and the limit is {MAX_DIMENSIONS}")))
            }
            _ => Ok(()),
        }
    }

    /// What the router plans by and hooks see: each text as a user's message.
    pub(crate) fn outline(&self) -> Request {
        let texts = self.inputs.iter().filter_map(|input| match input {
            EmbedInput::Text(text) => Some(Message::user(text.clone())),
            EmbedInput::Tokens(_) => None,
        });
        Request {
            model: self.model.clone(),
            provider: self.provider.clone(),
            messages: texts.collect(),
            user: self.user.clone(),
            riders: self.riders.clone(),
            cache: self.cache.clone(),
            timeout: self.timeout,
            timeouts: self.timeouts,
            ..Request::default()
        }
    }

    /// Takes the texts that hooks left in the outline.
    pub(crate) fn take_texts(&mut self, outline: &Request) {
        let mut said = outline.messages.iter();
        for input in &mut self.inputs {
            if let EmbedInput::Text(text) = input {
                let words = |message: &Message| message.content.iter().filter_map(Block::as_text).collect();
                *text = said.next().map(words).unwrap_or_default();
            }
        }
    }
}

/// Vectors, one for each input, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EmbedResponse {
    /// The model, in the provider's words.
    pub model: String,
    /// The vectors. In JSON each is base64 of its numbers, four bytes each, the least significant first.
    #[serde(with = "packed")]
    pub vectors: Vec<Vec<f32>>,
    /// Token counts, where the provider reports them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How it came about, where the router recorded it.
    #[serde(skip)]
    pub(crate) trace: Traced,
}

impl EmbedResponse {
    /// These vectors of this model.
    pub fn new(model: impl Into<String>, vectors: Vec<Vec<f32>>) -> Self {
        Self { model: model.into(), vectors, ..Self::default() }
    }

    /// With token counts.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// How it came about, where the router recorded it.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.0.as_deref()
    }

    /// Checks that there is one vector for each of `inputs`, all of one length and of numbers that are numbers.
    ///
    /// # Errors
    /// `provider_protocol` saying what is wrong.
    pub fn check(&self, inputs: usize) -> Result<()> {
        if self.vectors.len() != inputs {
            let count = self.vectors.len();
            return Err(Error::protocol(format!("{count} vectors for {inputs} inputs")));
        }
        let length = self.vectors.first().map_or(0, Vec::len);
        if length == 0 || length > MAX_DIMENSIONS || length.saturating_mul(inputs) > MAX_NUMBERS {
            return Err(Error::protocol(format!("a vector of {length} numbers")));
        }
        if self.vectors.iter().any(|vector| vector.len() != length || vector.iter().any(|number| !number.is_finite())) {
            return Err(Error::protocol("vectors of different lengths, or with numbers that are none"));
        }
        Ok(())
    }
}

/// The record of a request in its answer; it says nothing about whether two answers are equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced(pub(crate) Option<Arc<Trace>>);

impl PartialEq for Traced {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The bytes of a vector: four for each number, the least significant first.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The vector of such bytes; `None` for a length that is no multiple of four.
pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

/// Vectors as base64: a third of the size that their digits have, and exact.
mod packed {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::embedding::{of_bytes, to_bytes};

    pub(super) fn serialize<S: Serializer>(vectors: &[Vec<f32>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(vectors.iter().map(|vector| STANDARD.encode(to_bytes(vector))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f32>>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let unpack = |text: String| STANDARD.decode(text).ok().and_then(|bytes| of_bytes(&bytes));
        texts
            .into_iter()
            .map(|text| unpack(text).ok_or_else(|| D::Error::custom("a vector is not base64 of whole numbers")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_and_sizes_are_bounded() {
        let bad = |request: EmbedRequest| request.check().unwrap_err().kind();
        assert!(EmbedRequest::new(["a".into(), EmbedInput::Tokens(vec![1])]).check().is_ok());
        assert_eq!(bad(EmbedRequest::default()), ErrorKind::CallerInvalidRequest);
        assert_eq!(bad(EmbedRequest::new(["".into()])), ErrorKind::CallerInvalidRequest);
        assert_eq!(bad(EmbedRequest::new(vec!["a".into(); MAX_INPUTS + 1])), ErrorKind::CallerInvalidRequest);
        assert_eq!(bad(EmbedRequest::new([EmbedInput::Text("a".repeat(MAX_BYTES + 1))])), ErrorKind::CallerTooLarge);
        let none = EmbedRequest { dimensions: Some(0), ..EmbedRequest::new(["a".into()]) };
        assert_eq!(bad(none), ErrorKind::CallerInvalidRequest);
    }

    #[test]
    fn an_answer_is_as_long_as_its_question() {
        let answer = |vectors: &[&[f32]]| EmbedResponse::new("m", vectors.iter().map(|v| v.to_vec()).collect());
        assert!(answer(&[&[1.0, 2.0], &[3.0, 4.0]]).check(2).is_ok());
        for (wrong, inputs) in [
            (answer(&[&[1.0]]), 2),
            (answer(&[&[1.0], &[1.0, 2.0]]), 2),
            (answer(&[&[f32::NAN]]), 1),
            (answer(&[&[]]), 1),
        ] {
            assert_eq!(wrong.check(inputs).unwrap_err().kind(), ErrorKind::ProviderProtocol, "{wrong:?}");
        }
    }

    #[test]
    fn vectors_keep_every_bit_on_the_way() {
        let answer = EmbedResponse::new("m", vec![vec![0.1, -1.5e-30, f32::MAX]]).with_usage(Usage::new(3, 0));
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<EmbedResponse>(&text).unwrap(), answer);
        assert!(serde_json::from_str::<EmbedResponse>(r#"{"vectors":["AAA="]}"#).is_err());
    }

    #[test]
    fn hooks_see_the_texts_and_may_change_them() {
        let mut request = EmbedRequest::new(["a".into(), EmbedInput::Tokens(vec![7]), "b".into()]);
        let mut outline = request.outline();
        outline.messages[1] = Message::user("c");
        request.take_texts(&outline);
        assert_eq!(request.inputs, ["a".into(), EmbedInput::Tokens(vec![7]), "c".into()]);
    }
}
