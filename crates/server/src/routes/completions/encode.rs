//! Answers of `/v1/completions`: one body, or chunks that each add text to one choice.
//!
//! Only text is written: what a model thought, called or drew has no place here. Requests are read in `completions.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use indexmap::IndexMap;
use llm_router::delta::{BlockKind, Delta, Event, FinishReason, Part};
use llm_router::dialect::{Codec, Encoder, openai_chat::OpenaiChat, sse};
use llm_router::error::{Error, Result};
use llm_router::request::{BlockBody, TokenLogprob};
use llm_router::response::Folder;
use llm_router::usage::Usage;
use schemars::JsonSchema;
use serde::Serialize;

/// How an answer is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    /// The answer's id: what a provider calls its own has the form of another API.
    pub(super) id: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// What stands before each choice.
    pub(super) echo: Option<String>,
    /// Seconds since 1970, for providers that do not say when they answered.
    pub(super) created: u64,
}

/// An answer, or a chunk of one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Completed {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Counts>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Choice {
    text: String,
    index: u32,
    logprobs: Option<Logprobs>,
    /// `stop`, `length` or `content_filter`; null until the end.
    finish_reason: Option<&'static str>,
}

/// Four lists of one length, an entry a token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<IndexMap<String, f64>>,
    text_offset: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        Self { prompt_tokens: usage.input, completion_tokens: usage.output, total_tokens: usage.total() }
    }
}

impl Logprobs {
    /// `offset` is where the first of these tokens stands in the choice's text, in characters.
    fn of(list: &[TokenLogprob], mut offset: usize) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        let mut all = Self { tokens: vec![], token_logprobs: vec![], top_logprobs: vec![], text_offset: vec![] };
        for token in list {
            all.tokens.push(token.token.clone());
            all.token_logprobs.push(token.logprob);
            all.top_logprobs.push(token.top.iter().map(|top| (top.token.clone(), top.logprob)).collect());
            all.text_offset.push(offset);
            offset += token.token.chars().count();
        }
        Some(all)
    }
}

fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        _ => "stop",
    }
}

pub(super) struct CompletionEncoder {
    style: Style,
    head: Completed,
    folder: Folder,
    /// Open blocks that are text.
    texts: BTreeSet<(u32, u32)>,
    /// Choices that have begun, and the characters of each so far that have probabilities.
    begun: BTreeMap<u32, usize>,
    usage: Option<Usage>,
}

/// What one event adds to one choice.
#[derive(Default)]
struct Added {
    text: String,
    logprobs: Vec<TokenLogprob>,
}

impl CompletionEncoder {
    pub(super) fn new(style: Style) -> Self {
        let head = Completed {
            id: style.id.clone(),
            object: "text_completion",
            created: style.created,
            model: String::new(),
            choices: Vec::new(),
            usage: None,
        };
        let (folder, texts, begun) = (Folder::default(), BTreeSet::new(), BTreeMap::new());
        Self { style, head, folder, texts, begun, usage: None }
    }

    fn whole(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        event.deltas.iter().for_each(|delta| self.folder.push(delta));
        if !matches!(event.deltas.last(), Some(Delta::End)) {
            return Ok(());
        }
        let response = std::mem::take(&mut self.folder).finish()?;
        let mut body = self.head.clone();
        body.usage = response.usage.map(Counts::from);
        for choice in &response.choices {
            let mut text = self.style.echo.clone().unwrap_or_default();
            let mut tokens: Vec<TokenLogprob> = Vec::new();
            for block in &choice.content {
                match &block.body {
                    BlockBody::Text { text: more, logprobs, .. } => {
                        text.push_str(more);
                        tokens.extend_from_slice(logprobs);
                    }
                    BlockBody::Refusal { text: more } => text.push_str(more),
                    _ => {}
                }
            }
            let logprobs = Logprobs::of(&tokens, 0);
            let finish_reason = Some(finish_word(choice.finish));
            body.choices.push(Choice { text, index: choice.index, logprobs, finish_reason });
        }
        out.extend_from_slice(&json(&body)?);
        Ok(())
    }

    fn stream(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        let mut added: BTreeMap<u32, Added> = BTreeMap::new();
        for delta in &event.deltas {
            match delta {
                Delta::BlockStart { choice, block, kind: BlockKind::Text | BlockKind::Refusal } => {
                    self.texts.insert((*choice, *block));
                }
                Delta::BlockDelta { choice, block, part } if self.texts.contains(&(*choice, *block)) => {
                    let added = added.entry(*choice).or_default();
                    match part {
                        Part::Text(text) => added.text.push_str(text),
                        Part::Logprobs(list) => added.logprobs.extend_from_slice(list),
                        _ => {}
                    }
                }
                Delta::BlockEnd { choice, block } => drop(self.texts.remove(&(*choice, *block))),
                Delta::Usage(usage) => self.usage = Some(*usage),
                Delta::Finish { choice, reason, .. } => {
                    let last = added.remove(choice).unwrap_or_default();
                    self.chunk(*choice, last, Some(finish_word(*reason)), out)?;
                }
                Delta::End => {
                    if let Some(usage) = self.usage.filter(|_| self.style.include_usage) {
                        let body = Completed { usage: Some(usage.into()), ..self.head.clone() };
                        sse::write(None, &json(&body)?, out);
                    }
                    sse::write(None, b"[DONE]", out);
                }
                _ => {}
            }
        }
        for (choice, added) in added {
            if !added.text.is_empty() || !added.logprobs.is_empty() {
                self.chunk(choice, added, None, out)?;
            }
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        index: u32,
        added: Added,
        finish_reason: Option<&'static str>,
        out: &mut BytesMut,
    ) -> Result<()> {
        let Added { mut text, logprobs } = added;
        if let (Some(echo), false) = (&self.style.echo, self.begun.contains_key(&index)) {
            text.insert_str(0, echo);
        }
        let offset = self.begun.entry(index).or_default();
        let tokens = Logprobs::of(&logprobs, *offset);
        *offset += logprobs.iter().map(|token| token.token.chars().count()).sum::<usize>();
        let choice = Choice { text, index, logprobs: tokens, finish_reason };
        sse::write(None, &json(&Completed { choices: vec![choice], ..self.head.clone() })?, out);
        Ok(())
    }
}

fn json(body: &Completed) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Error::internal(format!("not representable as JSON: {error}")))
}

impl Encoder for CompletionEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if let Some(Delta::Start { model, created, .. }) = event.deltas.first() {
            self.head.model.clone_from(model);
            self.head.created = created.unwrap_or(self.style.created);
        }
        if self.style.stream { self.stream(event, out) } else { self.whole(event, out) }
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        let (_, body) = OpenaiChat::default().encode_error(error);
        if self.style.stream {
            sse::write(None, &body, out);
        } else {
            out.extend_from_slice(&body);
        }
    }

    fn ping(&mut self, out: &mut BytesMut) {
        sse::write_ping(out);
    }

    fn content_type(&self) -> &'static str {
        if self.style.stream { "text/event-stream" } else { "application/json" }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn token(text: &str) -> TokenLogprob {
        let top = vec![TokenLogprob { token: "z".into(), logprob: -3.0, bytes: None, top: vec![] }];
        TokenLogprob { token: text.into(), logprob: -0.5, bytes: None, top }
    }

    fn deltas() -> Vec<Event> {
        let part = |part| Delta::BlockDelta { choice: 0, block: 0, part };
        vec![
            Delta::Start { id: "a".into(), model: "m".into(), created: None }.into(),
            vec![
                Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
                part(Part::Text("é ".into())),
                part(Part::Logprobs(vec![token("é ")])),
            ]
            .into(),
            vec![part(Part::Text("b".into())), part(Part::Logprobs(vec![token("b")]))].into(),
            vec![
                Delta::BlockEnd { choice: 0, block: 0 },
                Delta::Finish { choice: 0, reason: FinishReason::Length, raw_reason: None },
                Delta::Usage(Usage::new(2, 3)),
                Delta::End,
            ]
            .into(),
        ]
    }

    fn written(style: Style) -> String {
        let (mut encoder, mut out) = (CompletionEncoder::new(style), BytesMut::new());
        deltas().iter().for_each(|event| encoder.event(event, &mut out).unwrap());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn whole_and_streamed_say_the_same() {
        let whole: serde_json::Value =
            serde_json::from_str(&written(Style { id: "cmpl-a".into(), created: 9, ..Style::default() })).unwrap();
        assert_eq!(
            whole,
            serde_json::json!({
                "id": "cmpl-a", "object": "text_completion", "created": 9, "model": "m",
                "choices": [{"text": "é b", "index": 0, "finish_reason": "length", "logprobs": {
                    "tokens": ["é ", "b"], "token_logprobs": [-0.5, -0.5],
                    "top_logprobs": [{"z": -3.0}, {"z": -3.0}], "text_offset": [0, 2]}}],
                "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
            })
        );
        let stream = written(Style {
            stream: true,
            include_usage: true,
            echo: Some("p".into()),
            created: 9,
            ..Style::default()
        });
        let frames: Vec<_> = stream.split("\n\n").filter_map(|frame| frame.strip_prefix("data: ")).collect();
        assert_eq!(frames.last(), Some(&"[DONE]"));
        let chunks: Vec<serde_json::Value> =
            frames[..frames.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
        let texts: Vec<_> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!(texts, ["pé ", "b", ""]);
        assert_eq!(chunks[1]["choices"][0]["logprobs"]["text_offset"], serde_json::json!([2]));
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "length");
        assert_eq!(chunks[3]["usage"]["total_tokens"], 5);
    }
}
