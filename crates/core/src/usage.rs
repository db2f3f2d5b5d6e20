//! What an answer cost in tokens. Prices and money live in `pricing.rs`.

use serde::{Deserialize, Serialize};

/// Token counts of one answer. In a stream they are cumulative and the last one wins.
///
/// `input` counts the whole prompt, cached parts included; `output` counts everything generated, thoughts included. The parts are subsets, never added on top,
/// so that providers which count otherwise (Anthropic leaves cached tokens out of its input) are converted in their codec and nowhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens generated.
    pub output: u64,
    /// Of `input`: read from the provider's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Of `input`: written to the provider's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Of `output`: thoughts.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Of `input`: sound.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    /// Of `output`: sound.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    /// What the provider says it charged, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Whether these are an estimate of ours, because the provider reported nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Counts of a prompt and its answer.
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// All tokens.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}
