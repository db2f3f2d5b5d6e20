//! The frame that nearly all are: text, an end and token counts, read in one pass over its bytes.
//!
//! [`Chunk::read`] takes a frame only if every field of it is one of these; anything else, and anything malformed, is for the patient reader in `stream.rs`, which knows
//! the other fields and names what is wrong. Both must say the same of a frame that both can read: `stream.rs` has the test.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::dialect::json::Text;
use crate::dialect::openai_chat::stream::says_nothing;

/// A frame.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<Text<'a>>,
    #[serde(rename = "object", default)]
    _object: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) created: Option<f64>,
    #[serde(borrow, default)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) system_fingerprint: Option<&'a RawValue>,
    /// Padding against eavesdroppers who count bytes.
    #[serde(rename = "obfuscation", default)]
    _obfuscation: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) choices: Vec<Piece<'a>>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
}

/// What a frame says of one choice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece<'a> {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(borrow, default, alias = "message")]
    pub(super) delta: Option<Said<'a>>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Text<'a>>,
}

/// A piece of the answer, or all of it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said<'a> {
    #[serde(rename = "role", default)]
    _role: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    /// Reads a frame, if it is one of these.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        let chunk: Self = serde_json::from_str(std::str::from_utf8(data).ok()?).ok()?;
        chunk.choices.iter().all(Piece::is_plain).then_some(chunk)
    }
}

impl Piece<'_> {
    fn is_plain(&self) -> bool {
        let silent = |raw: Option<&RawValue>| raw.is_none_or(|raw| says_nothing(raw.get()));
        silent(self.logprobs) && self.delta.as_ref().is_none_or(|said| silent(said.annotations))
    }
}
