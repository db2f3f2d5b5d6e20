//! The one answer shape: a stream of deltas, its grammar and the laws of that grammar.
//!
//! A codec turns frames into deltas and back; a provider yields them; the router passes them on; a response is a fold of them (`response.rs`).
//! [`Laws`] is the grammar as a small machine: debug builds run every provider's stream through it, and so does every fixture test.

mod laws;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dialect::Dialect;
use crate::error::Result;
use crate::request::TokenLogprob;
use crate::usage::Usage;

pub use laws::Laws;

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delta {
    /// The answer begins. First, and once.
    Start {
        /// The provider's id of the answer.
        id: String,
        /// The model that answers, in the provider's words.
        model: String,
        /// Seconds since 1970, where the provider says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created: Option<u64>,
    },
    /// A block begins. A choice never reuses a block's index.
    BlockStart {
        /// Which answer of several.
        choice: u32,
        /// Which block of it.
        block: u32,
        /// What it is.
        kind: BlockKind,
    },
    /// A block goes on.
    BlockDelta {
        /// Which answer of several.
        choice: u32,
        /// Which block of it.
        block: u32,
        /// What is added.
        part: Part,
    },
    /// A block is whole: nothing comes after.
    BlockEnd {
        /// Which answer of several.
        choice: u32,
        /// Which block of it.
        block: u32,
    },
    /// Token counts so far: cumulative, the last one wins.
    Usage(Usage),
    /// Something that this router does not know, kept for callers who speak its dialect.
    Unknown {
        /// The dialect it came in.
        dialect: Dialect,
        /// As received.
        raw: Value,
    },
    /// One answer of several is done. Once a choice.
    Finish {
        /// Which answer.
        choice: u32,
        /// Why it ended.
        reason: FinishReason,
        /// The provider's own word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        raw_reason: Option<String>,
    },
    /// The whole answer is done. Last, and once: a stream without it was cut.
    End,
}

/// What a block of an answer is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockKind {
    /// Text.
    Text,
    /// A refusal in the model's words.
    Refusal,
    /// Thoughts.
    Reasoning {
        /// Sealed thoughts: only a signature will come.
        redacted: bool,
    },
    /// A function call.
    ToolCall {
        /// The call's id.
        id: String,
        /// The function's name.
        name: String,
    },
    /// Sound or a picture.
    Media {
        /// The media type.
        mime: String,
    },
    /// Content that only its dialect understands.
    Provider {
        /// The dialect.
        dialect: Dialect,
        /// The provider's word for it.
        kind: String,
    },
}

/// What is added to a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text of a text, refusal or reasoning block.
    Text(String),
    /// A piece of a tool call's JSON arguments.
    ToolArguments(String),
    /// Bytes of a media block, in base 64; pieces are whole groups of four characters, so that they can be joined.
    Bytes(String),
    /// The provider's seal on a reasoning block.
    Signature(String),
    /// A citation or the like, as the provider wrote it.
    Annotation(Value),
    /// Log probabilities of tokens just given.
    Logprobs(Vec<TokenLogprob>),
    /// A provider's own block, or a piece of one.
    Raw(Value),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done, or a stop text came.
    Stop,
    /// The token limit.
    Length,
    /// The model waits for tool results.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// The provider paused a long turn, to be sent back as it is.
    Pause,
    /// Anything else; the raw reason says what.
    Other,
}

impl Part {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Part::Text(text) | Part::ToolArguments(text) | Part::Bytes(text) | Part::Signature(text) => text.is_empty(),
            Part::Logprobs(list) => list.is_empty(),
            Part::Annotation(value) | Part::Raw(value) => value.is_null(),
        }
    }
}

impl Delta {
    /// Whether this is a *content event*: the first one given to the caller is the commit, after which no other target may take over.
    pub fn is_content(&self) -> bool {
        match self {
            Delta::BlockStart { kind, .. } => matches!(kind, BlockKind::ToolCall { .. } | BlockKind::Media { .. }),
            Delta::BlockDelta { part, .. } => !part.is_empty(),
            _ => false,
        }
    }
}

/// What one frame from upstream became: its deltas, and its own bytes for a caller of the same dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// The deltas, in order; none for a frame that says nothing (a ping).
    pub deltas: Vec<Delta>,
    /// The frame as received, where the decoder was asked to keep it.
    pub raw: Option<Raw>,
}

/// A frame's payload as received.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// Its dialect.
    pub dialect: Dialect,
    /// The name of the SSE event, where it had one.
    pub name: Option<String>,
    /// The payload.
    pub data: Bytes,
}

impl Event {
    /// Whether one of the deltas is a content event.
    pub fn is_content(&self) -> bool {
        self.deltas.iter().any(Delta::is_content)
    }
}

impl From<Delta> for Event {
    fn from(delta: Delta) -> Self {
        Self { deltas: vec![delta], raw: None }
    }
}

impl From<Vec<Delta>> for Event {
    fn from(deltas: Vec<Delta>) -> Self {
        Self { deltas, raw: None }
    }
}

/// A boxed stream of events. Dropping it cancels the work behind it.
pub struct DeltaStream(Pin<Box<dyn Stream<Item = Result<Event>> + Send>>);

impl DeltaStream {
    /// Boxes a stream. In debug builds the laws are checked on the way.
    pub fn new(events: impl Stream<Item = Result<Event>> + Send + 'static) -> Self {
        if cfg!(debug_assertions) {
            Self(Box::pin(Checked { events: Box::pin(events), laws: Laws::default() }))
        } else {
            Self(Box::pin(events))
        }
    }

    /// Boxes a stream whose events were checked before.
    pub(crate) fn unchecked(events: impl Stream<Item = Result<Event>> + Send + 'static) -> Self {
        Self(Box::pin(events))
    }

    /// A stream of events that are there already.
    pub fn of(events: impl IntoIterator<Item = Result<Event>, IntoIter: Send + 'static>) -> Self {
        Self::new(futures_util::stream::iter(events))
    }
}

impl Stream for DeltaStream {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for DeltaStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeltaStream")
    }
}

struct Checked<S> {
    events: Pin<Box<S>>,
    laws: Laws,
}

impl<S: Stream<Item = Result<Event>>> Stream for Checked<S> {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.events.as_mut().poll_next(cx));
        Poll::Ready(next.map(|event| {
            let event = event?;
            event.deltas.iter().try_for_each(|delta| self.laws.check(delta))?;
            Ok(event)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_commits() {
        let start = Delta::Start { id: "1".into(), model: "m".into(), created: None };
        let block = Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text };
        let text = |text: &str| Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(text.into()) };
        assert!(!start.is_content() && !block.is_content() && !text("").is_content());
        assert!(text("a").is_content());
        let call =
            Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::ToolCall { id: "c".into(), name: "f".into() } };
        assert!(call.is_content());
    }
}
