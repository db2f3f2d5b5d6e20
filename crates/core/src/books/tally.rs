//! What is counted of requests and of the calls that they made: plain sums, and the record in which the store keeps them.
//!
//! A record is a JSON object of whole numbers by name. Numbers that only a newer version knows are kept and added like the others, so that two versions may share a store.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::usage::Usage;

/// Sums of what happened. Money is in whole micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Tally {
    /// Requests that ended, however.
    pub requests: u64,
    /// Of `requests`: those that ended with an error, or whose caller left.
    pub failed: u64,
    /// Of `requests`: those answered from the response cache.
    pub cached: u64,
    /// Of `requests`: those that shared somebody else's call.
    pub coalesced: u64,
    /// Calls to providers whose tokens, or whose cost, are an estimate because the provider told nothing.
    pub estimated: u64,
    /// Calls to providers whose cost is not known.
    pub unpriced: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Of `input_tokens`: read from the provider's own cache.
    pub cache_read_tokens: u64,
    /// Of `input_tokens`: written to the provider's own cache.
    pub cache_write_tokens: u64,
    /// Of `output_tokens`: thoughts.
    pub reasoning_tokens: u64,
    /// Of `input_tokens`: sound.
    pub input_audio_tokens: u64,
    /// Of `output_tokens`: sound.
    pub output_audio_tokens: u64,
    /// What it cost, as far as that is known.
    pub cost_micros: u64,
}

/// A number of a tally.
type Count = fn(&mut Tally) -> &mut u64;

const COUNTS: [(&str, Count); 14] = [
    ("requests", |tally| &mut tally.requests),
    ("failed", |tally| &mut tally.failed),
    ("cached", |tally| &mut tally.cached),
    ("coalesced", |tally| &mut tally.coalesced),
    ("estimated", |tally| &mut tally.estimated),
    ("unpriced", |tally| &mut tally.unpriced),
    ("input_tokens", |tally| &mut tally.input_tokens),
    ("output_tokens", |tally| &mut tally.output_tokens),
    ("cache_read_tokens", |tally| &mut tally.cache_read_tokens),
    ("cache_write_tokens", |tally| &mut tally.cache_write_tokens),
    ("reasoning_tokens", |tally| &mut tally.reasoning_tokens),
    ("input_audio_tokens", |tally| &mut tally.input_audio_tokens),
    ("output_audio_tokens", |tally| &mut tally.output_audio_tokens),
    ("cost_micros", |tally| &mut tally.cost_micros),
];

impl Tally {
    /// The tokens of one call, and what it cost where that is known.
    #[must_use]
    pub fn of_call(usage: &Usage, cost: Option<u64>) -> Self {
        Self {
            estimated: u64::from(usage.estimated),
            unpriced: u64::from(cost.is_none()),
            input_tokens: usage.input,
            output_tokens: usage.output,
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write,
            reasoning_tokens: usage.reasoning,
            input_audio_tokens: usage.input_audio,
            output_audio_tokens: usage.output_audio,
            cost_micros: cost.unwrap_or(0),
            ..Self::default()
        }
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (_, count) in COUNTS {
            let sum = count(self).saturating_add(*count(&mut other));
            *count(self) = sum;
        }
    }

    /// Takes away what another one counted.
    pub(super) fn subtract(&mut self, other: &Self) {
        let mut other = *other;
        for (_, count) in COUNTS {
            let rest = count(self).saturating_sub(*count(&mut other));
            *count(self) = rest;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A record of the store: the sums of all processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept(BTreeMap<String, u64>);

impl Kept {
    /// Reads a record.
    ///
    /// # Errors
    /// `StoreError::Corrupt` for what is no object of whole numbers.
    pub(super) fn read(record: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(record)
            .map(Self)
            .map_err(|error| StoreError::Corrupt(format!("a record of usage: {error}")))
    }

    pub(super) fn add(&mut self, tally: &Tally) {
        let mut tally = *tally;
        for (name, count) in COUNTS {
            let more = *count(&mut tally);
            if more > 0 {
                let sum = self.0.entry(name.to_owned()).or_default();
                *sum = sum.saturating_add(more);
            }
        }
    }

    pub(super) fn bytes(&self) -> Bytes {
        // Texts and numbers alone: it cannot fail, and an empty record would be read as one of nothing.
        Bytes::from(serde_json::to_vec(&self.0).unwrap_or_default())
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (name, count) in COUNTS {
            *count(&mut tally) = self.0.get(name).copied().unwrap_or(0);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_keeps_every_count_and_what_only_a_newer_version_knows() {
        let mut tally = Tally::default();
        for (at, (_, count)) in COUNTS.into_iter().enumerate() {
            *count(&mut tally) = at as u64 + 1;
        }
        let names: Vec<String> = serde_json::to_value(tally).unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, COUNTS.map(|(name, _)| name), "each field has its row, under its name");
        let mut kept = Kept::read(br#"{"requests":1,"of_tomorrow":7}"#).unwrap();
        kept.add(&tally);
        let kept = Kept::read(&kept.bytes()).unwrap();
        assert_eq!(kept.0["of_tomorrow"], 7);
        let mut twice = kept.tally();
        assert_eq!(twice.requests, 2);
        twice.subtract(&tally);
        assert_eq!(twice, Tally { requests: 1, ..Tally::default() });
        assert!(matches!(Kept::read(b"[]"), Err(StoreError::Corrupt(_))));
    }
}
