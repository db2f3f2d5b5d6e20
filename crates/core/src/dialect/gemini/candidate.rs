//! One candidate of an answer: which block each part belongs to, and when blocks end.
//!
//! Parts come whole, but for texts and sounds, which go on in the next part. A seal on a part that is no thought becomes a sealed thought before it. A finish reason may
//! come before more parts (after code that ran at Google), so that the candidate is finished when the stream is.

use serde_json::{Map, Value, json, value::RawValue};

use crate::delta::{BlockKind, Delta, Part};
use crate::dialect::Dialect;
use crate::dialect::gemini::{citations, contents, types};
use crate::dialect::json::{Object, lenient, text};
use crate::dialect::sound::Sound;
use crate::error::{Error, Result};

const OURS: Dialect = Dialect::Gemini;

/// The most texts kept to count characters in.
const MAX_TEXT: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Candidate {
    index: u32,
    next_block: u32,
    open: Option<Open>,
    /// What was said, for places in it.
    said: String,
    calls: usize,
    reason: Option<String>,
}

/// The block that goes on.
#[derive(Debug)]
enum Open {
    Text(u32),
    Thought(u32),
    Sound { mime: String, sound: Sound },
}

impl Candidate {
    pub(super) fn new(index: u32) -> Self {
        Self { index, next_block: 0, open: None, said: String::new(), calls: 0, reason: None }
    }

    /// Whether the server gave a reason for its end.
    pub(super) fn is_finished(&self) -> bool {
        self.reason.is_some()
    }

    /// Reads one element of `candidates`, its `index` taken out. Ids for calls without one begin with `ids`.
    pub(super) fn read(&mut self, fields: Object<'_>, ids: &str, deltas: &mut Vec<Delta>) -> Result<()> {
        let mut fields = fields;
        if let Some(raw) = fields.take("content") {
            let content: Object<'_> = serde_json::from_str(raw.get())
                .map_err(|error| Error::protocol(format!("a candidate's content cannot be read: {error}")))?;
            let mut content = camel(content)?;
            if let Some(raw) = content.take("parts") {
                let parts = contents::list(raw, &"parts").map_err(protocol)?;
                parts.into_iter().try_for_each(|raw| self.part(raw, ids, deltas))?;
            }
        }
        if let Some(tokens) = fields.take("logprobsResult").map(types::logprobs)
            && let Some(Open::Text(block)) = self.open
            && !tokens.is_empty()
        {
            deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Logprobs(tokens) });
        }
        let reason = fields.take("finishReason").and_then(text);
        if let Some(reason) = reason.filter(|reason| !reason.is_empty() && reason != "FINISH_REASON_UNSPECIFIED") {
            self.reason = Some(reason.into_owned());
        }
        let beside: Map<String, Value> =
            fields.rest().filter_map(|(name, raw)| Some((name.to_owned(), said(raw)?))).collect();
        if !beside.is_empty() {
            let mut raw = beside.clone();
            raw.insert("index".into(), self.index.into());
            deltas.push(Delta::Unknown { dialect: OURS, raw: json!({"candidates": [raw]}) });
        }
        if let Some(Open::Text(block)) = self.open {
            let sources = citations::FIELDS.iter().filter_map(|field| Some((*field, beside.get(*field)?)));
            let notes = sources.flat_map(|(field, metadata)| citations::read(field, metadata, &self.said));
            let annotated =
                notes.map(|note| Delta::BlockDelta { choice: self.index, block, part: Part::Annotation(note) });
            deltas.extend(annotated);
        }
        Ok(())
    }

    /// Ends the candidate and the block that is open. Without a reason, none was given.
    pub(super) fn finish(&mut self, deltas: &mut Vec<Delta>) {
        self.close(deltas);
        let raw_reason = self.reason.take();
        let reason = types::finish_reason(raw_reason.as_deref().unwrap_or_default(), self.calls > 0);
        deltas.push(Delta::Finish { choice: self.index, reason, raw_reason });
    }

    fn close(&mut self, deltas: &mut Vec<Delta>) {
        let choice = self.index;
        match self.open.take() {
            Some(Open::Text(block) | Open::Thought(block)) => deltas.push(Delta::BlockEnd { choice, block }),
            Some(Open::Sound { sound, .. }) => sound.end(choice, deltas),
            None => {}
        }
    }

    fn begin(&mut self, kind: BlockKind, deltas: &mut Vec<Delta>) -> u32 {
        self.close(deltas);
        let block = self.next_block;
        self.next_block += 1;
        deltas.push(Delta::BlockStart { choice: self.index, block, kind });
        block
    }

    /// A block that is one part.
    fn whole(&mut self, kind: BlockKind, part: Part, deltas: &mut Vec<Delta>) {
        let choice = self.index;
        let block = self.begin(kind, deltas);
        if !part.is_empty() {
            deltas.push(Delta::BlockDelta { choice, block, part });
        }
        deltas.push(Delta::BlockEnd { choice, block });
    }

    fn part(&mut self, raw: &RawValue, ids: &str, deltas: &mut Vec<Delta>) -> Result<()> {
        let fields: Object<'_> = serde_json::from_str(raw.get())
            .map_err(|error| Error::protocol(format!("a part of the answer cannot be read: {error}")))?;
        let mut fields = camel(fields)?;
        let thought: bool = lenient(fields.take("thought")).unwrap_or(false);
        let seal = fields.take("thoughtSignature").and_then(text).filter(|seal| !seal.is_empty());
        if let Some(words) = fields.take("text").and_then(text) {
            match (thought, seal) {
                (true, seal) => self.thought(words.into_owned(), seal.map(String::from), deltas),
                (false, seal) => {
                    self.seal(seal.map(String::from), deltas);
                    self.text(words.into_owned(), deltas);
                }
            }
            self.unknown(fields, deltas)?;
            return Ok(());
        }
        if let Some(call) = fields.get("functionCall").filter(|_| !thought) {
            let mut call =
                camel(serde_json::from_str::<Object<'_>>(call.get()).map_err(|error| {
                    Error::protocol(format!("a function call of the answer cannot be read: {error}"))
                })?)?;
            let name = call.take("name").and_then(text).filter(|name| !name.is_empty());
            let in_pieces = call.get("partialArgs").is_some() || call.get("willContinue").is_some();
            if let (Some(name), false) = (name, in_pieces) {
                fields.take("functionCall");
                self.seal(seal.map(String::from), deltas);
                let id = call.take("id").and_then(text).filter(|id| !id.is_empty());
                let id = id.map_or_else(|| format!("call_{ids}_{}_{}", self.index, self.calls), String::from);
                self.calls += 1;
                let arguments = call.take("args").map_or_else(|| "{}".to_owned(), contents::compact);
                let kind = BlockKind::ToolCall { id, name: name.into_owned() };
                self.whole(kind, Part::ToolArguments(arguments), deltas);
                return self.unknown(fields, deltas);
            }
        }
        if let Some(inline) = fields.get("inlineData").filter(|_| !thought)
            && let Ok(mut inline) = serde_json::from_str::<Object<'_>>(inline.get())
        {
            inline = camel(inline)?;
            let mime = inline.take("mimeType").and_then(text).unwrap_or_default().into_owned();
            if let Some(data) = inline.take("data").and_then(text) {
                fields.take("inlineData");
                self.seal(seal.map(String::from), deltas);
                self.media(mime, types::standard_base64(data), deltas)?;
                return self.unknown(fields, deltas);
            }
        }
        let raw: Value = serde_json::from_str(raw.get())
            .map_err(|error| Error::protocol(format!("a part of the answer cannot be read: {error}")))?;
        let kind = BlockKind::Provider { dialect: OURS, kind: contents::kind_of(&raw) };
        self.whole(kind, Part::Raw(raw), deltas);
        Ok(())
    }

    /// The seal of the part that follows.
    fn seal(&mut self, seal: Option<String>, deltas: &mut Vec<Delta>) {
        if let Some(seal) = seal {
            self.whole(BlockKind::Reasoning { redacted: true }, Part::Signature(seal), deltas);
        }
    }

    fn text(&mut self, words: String, deltas: &mut Vec<Delta>) {
        if words.is_empty() {
            return;
        }
        let block = match self.open {
            Some(Open::Text(block)) => block,
            _ => {
                let block = self.begin(BlockKind::Text, deltas);
                self.open = Some(Open::Text(block));
                block
            }
        };
        if self.said.len() + words.len() <= MAX_TEXT {
            self.said.push_str(&words);
        }
        deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Text(words) });
    }

    fn thought(&mut self, words: String, seal: Option<String>, deltas: &mut Vec<Delta>) {
        if words.is_empty() && seal.is_none() {
            return;
        }
        let block = match self.open {
            Some(Open::Thought(block)) => block,
            _ => {
                let block = self.begin(BlockKind::Reasoning { redacted: false }, deltas);
                self.open = Some(Open::Thought(block));
                block
            }
        };
        let choice = self.index;
        if !words.is_empty() {
            deltas.push(Delta::BlockDelta { choice, block, part: Part::Text(words) });
        }
        if let Some(seal) = seal {
            deltas.push(Delta::BlockDelta { choice, block, part: Part::Signature(seal) });
            // What follows has a seal of its own.
            self.close(deltas);
        }
    }

    fn media(&mut self, mime: String, data: String, deltas: &mut Vec<Delta>) -> Result<()> {
        if !mime.starts_with("audio/") {
            self.whole(BlockKind::Media { mime }, Part::Bytes(data), deltas);
            return Ok(());
        }
        let goes_on = matches!(&self.open, Some(Open::Sound { mime: open, .. }) if *open == mime);
        if !goes_on {
            let block = self.begin(BlockKind::Media { mime: mime.clone() }, deltas);
            self.open = Some(Open::Sound { mime, sound: Sound::new(block) });
        }
        match &mut self.open {
            Some(Open::Sound { sound, .. }) => sound.push(self.index, &data, deltas),
            _ => Ok(()),
        }
    }

    /// What this router does not know of a part.
    fn unknown(&self, fields: Object<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let rest: Map<String, Value> =
            fields.rest().filter_map(|(name, raw)| Some((name.to_owned(), said(raw)?))).collect();
        if !rest.is_empty() {
            let raw = json!({"candidates": [{"index": self.index, "content": {"parts": [rest]}}]});
            deltas.push(Delta::Unknown { dialect: OURS, raw });
        }
        Ok(())
    }
}

/// A value that says something.
fn said(raw: &RawValue) -> Option<Value> {
    if matches!(raw.get(), "null" | "[]" | "{}" | "\"\"") { None } else { serde_json::from_str(raw.get()).ok() }
}

pub(super) fn camel(fields: Object<'_>) -> Result<Object<'_>> {
    fields.camel().map_err(protocol)
}

/// A caller's error about an upstream's words is the upstream's.
pub(super) fn protocol(error: Error) -> Error {
    Error::protocol(format!("the answer cannot be read: {}", error.message()))
}
