//! A whole answer: a folded delta stream, and the way back to deltas.
//!
//! It holds what the model said and what it cost. How it came about (attempts, cache, prices) is its [`Trace`].

use std::{collections::BTreeMap, sync::Arc};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delta::{BlockKind, Delta, DeltaStream, FinishReason, Part};
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::request::{Block, BlockBody};
use crate::trace::Trace;
use crate::usage::Usage;

/// A whole answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Response {
    /// The provider's id of the answer.
    pub id: String,
    /// The model that answered, in the provider's words.
    pub model: String,
    /// Seconds since 1970, where the provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// The answers: one, unless more were asked for.
    pub choices: Vec<Choice>,
    /// Token counts, where the provider reports them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What this router did not know: dialect and raw form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<(Dialect, Value)>,
    #[serde(skip)]
    trace: Option<Arc<Trace>>,
}

/// One answer of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its place.
    pub index: u32,
    /// What was said.
    pub content: Vec<Block>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The provider's own word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_reason: Option<String>,
}

impl PartialEq for Response {
    /// Two responses are equal when they say the same; how they came about is not compared.
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.model, self.created, &self.choices, self.usage, &self.unknown)
            == (&other.id, &other.model, other.created, &other.choices, other.usage, &other.unknown)
    }
}

impl Response {
    /// An answer that is one text.
    pub fn of_text(id: impl Into<String>, model: impl Into<String>, text: impl Into<String>) -> Self {
        let content = vec![Block::text(text)];
        let choice = Choice { index: 0, content, finish: FinishReason::Stop, raw_reason: None };
        Self { id: id.into(), model: model.into(), choices: vec![choice], ..Self::default() }
    }

    /// The text of the first choice; empty when it holds none.
    pub fn text(&self) -> String {
        let blocks = self.choices.first().map_or(&[][..], |choice| &choice.content);
        blocks.iter().filter_map(Block::as_text).collect()
    }

    /// How the answer came about, where the router recorded it.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    pub(crate) fn with_trace(mut self, trace: Arc<Trace>) -> Self {
        self.trace = Some(trace);
        self
    }

    /// The deltas that fold to this response.
    pub fn to_deltas(&self) -> Vec<Delta> {
        let mut deltas = vec![Delta::Start { id: self.id.clone(), model: self.model.clone(), created: self.created }];
        // Before the choices: what a dialect adds to one of them must not come after its finish.
        deltas.extend(self.unknown.iter().map(|(dialect, raw)| Delta::Unknown { dialect: *dialect, raw: raw.clone() }));
        for choice in &self.choices {
            for (block, content) in (0..).zip(&choice.content) {
                unfold(choice.index, block, content, &mut deltas);
            }
            deltas.push(Delta::Finish {
                choice: choice.index,
                reason: choice.finish,
                raw_reason: choice.raw_reason.clone(),
            });
        }
        deltas.extend(self.usage.map(Delta::Usage));
        deltas.push(Delta::End);
        deltas
    }
}

fn unfold(choice: u32, block: u32, content: &Block, deltas: &mut Vec<Delta>) {
    let mut parts = Vec::new();
    let kind = match &content.body {
        BlockBody::Text { text, annotations, logprobs } => {
            parts.push(Part::Text(text.clone()));
            parts.extend(annotations.iter().cloned().map(Part::Annotation));
            parts.push(Part::Logprobs(logprobs.clone()));
            BlockKind::Text
        }
        BlockBody::Refusal { text } => {
            parts.push(Part::Text(text.clone()));
            BlockKind::Refusal
        }
        BlockBody::Reasoning { text, signature, redacted } => {
            parts.push(Part::Text(text.clone()));
            parts.extend(signature.clone().map(Part::Signature));
            BlockKind::Reasoning { redacted: *redacted }
        }
        BlockBody::ToolCall { id, name, arguments } => {
            parts.push(Part::ToolArguments(arguments.clone()));
            BlockKind::ToolCall { id: id.clone(), name: name.clone() }
        }
        BlockBody::Media { mime, data } => {
            parts.push(Part::Bytes(data.clone()));
            BlockKind::Media { mime: mime.clone() }
        }
        BlockBody::Provider { dialect, kind, raw } => {
            parts.push(Part::Raw(raw.clone()));
            BlockKind::Provider { dialect: *dialect, kind: kind.clone() }
        }
        // Input kinds never stand in an answer: no delta makes them.
        BlockBody::ToolResult { .. } | BlockBody::Image { .. } | BlockBody::Audio { .. } | BlockBody::File { .. } => {
            return;
        }
    };
    deltas.push(Delta::BlockStart { choice, block, kind });
    deltas.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| Delta::BlockDelta {
        choice,
        block,
        part,
    }));
    deltas.push(Delta::BlockEnd { choice, block });
}

/// Folds deltas into a response.
#[derive(Debug, Default)]
pub struct Folder {
    response: Response,
    /// choice → block → content under construction, in the order of their indices.
    blocks: BTreeMap<u32, BTreeMap<u32, Block>>,
    finished: BTreeMap<u32, (FinishReason, Option<String>)>,
    ended: bool,
}

impl Folder {
    /// Takes the next delta.
    pub fn push(&mut self, delta: &Delta) {
        match delta {
            Delta::Start { id, model, created } => {
                self.response.id.clone_from(id);
                self.response.model.clone_from(model);
                self.response.created = *created;
            }
            Delta::BlockStart { choice, block, kind } => {
                self.blocks.entry(*choice).or_default().insert(*block, empty_block(kind).into());
            }
            Delta::BlockDelta { choice, block, part } => {
                if let Some(content) = self.blocks.get_mut(choice).and_then(|blocks| blocks.get_mut(block)) {
                    append(&mut content.body, part);
                }
            }
            Delta::Usage(usage) => self.response.usage = Some(*usage),
            Delta::Unknown { dialect, raw } => self.response.unknown.push((*dialect, raw.clone())),
            Delta::Finish { choice, reason, raw_reason } => {
                self.finished.insert(*choice, (*reason, raw_reason.clone()));
            }
            Delta::BlockEnd { .. } => {}
            Delta::End => self.ended = true,
        }
    }

    /// Whether a block is text, as opposed to thoughts or arguments.
    pub fn is_text(&self, choice: u32, block: u32) -> bool {
        let content = self.blocks.get(&choice).and_then(|blocks| blocks.get(&block));
        matches!(content, Some(Block { body: BlockBody::Text { .. }, .. }))
    }

    /// The response.
    ///
    /// # Errors
    /// `provider_protocol` when no end was seen: the answer was cut.
    pub fn finish(self) -> Result<Response> {
        let Self { mut response, mut blocks, finished, ended } = self;
        if !ended {
            return Err(Error::protocol("the answer was cut: it ended without its last event"));
        }
        for (index, (finish, raw_reason)) in finished {
            let content = blocks.remove(&index).unwrap_or_default().into_values().collect();
            response.choices.push(Choice { index, content, finish, raw_reason });
        }
        Ok(response)
    }
}

fn empty_block(kind: &BlockKind) -> BlockBody {
    match kind {
        BlockKind::Text => BlockBody::Text { text: String::new(), annotations: Vec::new(), logprobs: Vec::new() },
        BlockKind::Refusal => BlockBody::Refusal { text: String::new() },
        BlockKind::Reasoning { redacted } => {
            BlockBody::Reasoning { text: String::new(), signature: None, redacted: *redacted }
        }
        BlockKind::ToolCall { id, name } => {
            BlockBody::ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() }
        }
        BlockKind::Media { mime } => BlockBody::Media { mime: mime.clone(), data: String::new() },
        BlockKind::Provider { dialect, kind } => {
            BlockBody::Provider { dialect: *dialect, kind: kind.clone(), raw: Value::Null }
        }
    }
}

fn append(body: &mut BlockBody, part: &Part) {
    match (body, part) {
        (
            BlockBody::Text { text, .. } | BlockBody::Refusal { text } | BlockBody::Reasoning { text, .. },
            Part::Text(more),
        ) => {
            text.push_str(more);
        }
        (BlockBody::Text { annotations, .. }, Part::Annotation(annotation)) => annotations.push(annotation.clone()),
        (BlockBody::Text { logprobs, .. }, Part::Logprobs(more)) => logprobs.extend_from_slice(more),
        (BlockBody::Reasoning { signature, .. }, Part::Signature(more)) => {
            signature.get_or_insert_default().push_str(more);
        }
        (BlockBody::ToolCall { arguments, .. }, Part::ToolArguments(more)) => arguments.push_str(more),
        (BlockBody::Media { data, .. }, Part::Bytes(more)) => data.push_str(more),
        (BlockBody::Provider { raw, .. }, Part::Raw(more)) => merge(raw, more),
        // A part that its block cannot hold (a signature on text) is a provider's slip; the content itself stays whole.
        _ => {}
    }
}

/// Joins pieces of a provider's own block: text grows, lists grow, objects merge, anything else is replaced.
fn merge(whole: &mut Value, more: &Value) {
    match (whole, more) {
        (Value::Object(fields), Value::Object(new)) => {
            for (name, value) in new {
                match fields.get_mut(name) {
                    Some(old) => merge(old, value),
                    None => {
                        fields.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::String(text), Value::String(new)) => text.push_str(new),
        (Value::Array(list), Value::Array(new)) => list.extend(new.iter().cloned()),
        (old, new) => *old = new.clone(),
    }
}

/// Reads a stream to its end.
///
/// # Errors
/// The stream's own error, or `provider_protocol` when it was cut.
pub async fn collect(mut stream: DeltaStream) -> Result<Response> {
    let mut folder = Folder::default();
    while let Some(event) = stream.next().await {
        event?.deltas.iter().for_each(|delta| folder.push(delta));
    }
    folder.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::delta::Laws;

    fn sample() -> Response {
        Response {
            id: "a".into(),
            model: "m".into(),
            created: Some(7),
            choices: vec![Choice {
                index: 0,
                content: vec![
                    BlockBody::Reasoning { text: "hm".into(), signature: Some("s".into()), redacted: false }.into(),
                    Block::text("hello"),
                    BlockBody::ToolCall { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() }.into(),
                ],
                finish: FinishReason::ToolCalls,
                raw_reason: Some("tool_calls".into()),
            }],
            usage: Some(Usage::new(3, 4)),
            ..Response::default()
        }
    }

    #[test]
    fn folds_back_to_itself_by_lawful_deltas() {
        let (mut laws, mut folder) = (Laws::default(), Folder::default());
        for delta in sample().to_deltas() {
            laws.check(&delta).unwrap();
            folder.push(&delta);
        }
        assert_eq!(folder.finish().unwrap(), sample());
    }

    #[test]
    fn a_cut_stream_is_never_a_response() {
        let mut folder = Folder::default();
        let deltas = sample().to_deltas();
        deltas[..deltas.len() - 1].iter().for_each(|delta| folder.push(delta));
        assert_eq!(folder.finish().unwrap_err().kind().name(), "provider_protocol");
    }

    #[test]
    fn native_json_is_lossless() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), sample());
    }
}
