//! One choice of an answer: which block each piece belongs to, and when blocks end.
//!
//! The wire has one `delta` with a field for each kind of content; the domain has blocks. Text, refusals and thoughts are open one at a time; tool calls and
//! what the provider keeps for itself stay open until the choice is finished, since their pieces may come in any order.

use std::borrow::Cow;

use serde_json::{Map, Value, json, value::RawValue};

use crate::delta::{BlockKind, Delta, FinishReason, Part};
use crate::dialect::Dialect;
use crate::dialect::json::{Object, lenient, text};
use crate::dialect::openai_chat::calls::{Calls, Place};
use crate::dialect::openai_chat::stream::says_nothing;
use crate::dialect::openai_chat::types;
use crate::dialect::sound::Sound;
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Source, TokenLogprob};

const OURS: Dialect = Dialect::OpenaiChat;

/// What is said once for all choices.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) audio_mime: Cow<'static, str>,
}

#[derive(Debug)]
pub(super) struct Choice {
    index: u32,
    next_block: u32,
    /// The block that text, refusal or thoughts go to now.
    open: Option<(u32, Kind)>,
    calls: Calls,
    /// Blocks of the provider's own: field → block.
    kept: Vec<(&'static str, u32)>,
    sound: Option<Sound>,
    thoughts: Thoughts,
    finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Reasoning,
}

impl Choice {
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            next_block: 0,
            open: None,
            calls: Calls::default(),
            kept: Vec::new(),
            sound: None,
            thoughts: Thoughts::default(),
            finished: false,
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Reads one element of `choices`, its `index` taken out.
    pub(super) fn read(&mut self, fields: &mut Object<'_>, answer: &Answer, deltas: &mut Vec<Delta>) -> Result<()> {
        let (delta, message) = (fields.take("delta"), fields.take("message"));
        let (content_tokens, refusal_tokens) = fields.take("logprobs").map(types::logprobs).unwrap_or_default();
        let reason = fields.take("finish_reason").and_then(text).filter(|reason| !reason.is_empty());
        let mut said: Object<'_> = match delta.or(message) {
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|error| Error::protocol(format!("a message of the answer cannot be read: {error}")))?,
            None => Object::default(),
        };
        if self.finished {
            return self.late(said);
        }
        self.thoughts(&mut said, deltas);
        if let Some(raw) = said.take("content") {
            self.content(raw, deltas);
        }
        self.tokens(Kind::Text, content_tokens, deltas);
        if let Some(words) = said.take("refusal").and_then(text) {
            self.text(Kind::Refusal, words.into_owned(), deltas);
        }
        self.tokens(Kind::Refusal, refusal_tokens, deltas);
        let annotations: Vec<Value> = lenient(said.take("annotations")).unwrap_or_default();
        for annotation in annotations {
            let block = self.opened(Kind::Text, deltas);
            deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Annotation(annotation) });
        }
        if let Some(raw) = said.take("audio") {
            self.audio(raw, answer, deltas)?;
        }
        let images: Vec<Value> = lenient(said.take("images")).unwrap_or_default();
        images.into_iter().for_each(|image| self.image(image, deltas));
        if let Some(raw) = said.take("tool_calls") {
            self.tool_calls(raw, answer, deltas)?;
        }
        said.take("role");
        self.unknown(fields, &said, deltas);
        match reason.as_deref() {
            Some("error") => Err(failed_inside()),
            Some(reason) => self.finish(Some(reason), deltas),
            None => Ok(()),
        }
    }

    /// Takes what nearly every piece is: a text, a refusal, the end.
    pub(super) fn plain(
        &mut self,
        content: Option<Cow<'_, str>>,
        refusal: Option<Cow<'_, str>>,
        reason: Option<&str>,
        deltas: &mut Vec<Delta>,
    ) -> Result<()> {
        let said = [("content", Kind::Text, content), ("refusal", Kind::Refusal, refusal)];
        for (field, kind, words) in said {
            let Some(words) = words.filter(|words| !words.is_empty()) else { continue };
            if self.finished {
                return Err(self.goes_on(field));
            }
            self.text(kind, words.into_owned(), deltas);
        }
        match reason.filter(|reason| !reason.is_empty() && !self.finished) {
            Some("error") => Err(failed_inside()),
            Some(reason) => self.finish(Some(reason), deltas),
            None => Ok(()),
        }
    }

    fn goes_on(&self, field: &str) -> Error {
        Error::protocol(format!("choice {} goes on with {field} after it was finished", self.index))
    }

    /// After the finish only repetitions and empty pieces may come.
    fn late(&self, mut said: Object<'_>) -> Result<()> {
        let more = ["content", "refusal", "tool_calls", "reasoning_content", "reasoning"]
            .into_iter()
            .find(|field| said.take(field).is_some_and(|raw| !says_nothing(raw.get())));
        match more {
            Some(field) => Err(self.goes_on(field)),
            None => Ok(()),
        }
    }

    /// Ends the choice and every block of it. Without a reason, none was given.
    pub(super) fn finish(&mut self, reason: Option<&str>, deltas: &mut Vec<Delta>) -> Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let choice = self.index;
        self.close(deltas);
        if let Some(sound) = self.sound.take() {
            sound.end(choice, deltas);
        }
        deltas.extend(self.kept.drain(..).map(|(_, block)| Delta::BlockEnd { choice, block }));
        self.calls.end(choice, deltas)?;
        let known = reason.map_or(FinishReason::Other, types::finish_reason);
        deltas.push(Delta::Finish { choice, reason: known, raw_reason: reason.map(str::to_owned) });
        Ok(())
    }

    fn close(&mut self, deltas: &mut Vec<Delta>) {
        if let Some((block, _)) = self.open.take() {
            deltas.push(Delta::BlockEnd { choice: self.index, block });
        }
    }

    fn begin(&mut self, kind: BlockKind, deltas: &mut Vec<Delta>) -> u32 {
        let block = self.next_block;
        self.next_block += 1;
        deltas.push(Delta::BlockStart { choice: self.index, block, kind });
        block
    }

    /// The open block of this kind; another kind's is ended first.
    fn opened(&mut self, kind: Kind, deltas: &mut Vec<Delta>) -> u32 {
        if let Some((block, open)) = self.open
            && open == kind
        {
            return block;
        }
        self.close(deltas);
        let block_kind = match kind {
            Kind::Text => BlockKind::Text,
            Kind::Refusal => BlockKind::Refusal,
            Kind::Reasoning => BlockKind::Reasoning { redacted: false },
        };
        let block = self.begin(block_kind, deltas);
        self.open = Some((block, kind));
        block
    }

    fn text(&mut self, kind: Kind, words: String, deltas: &mut Vec<Delta>) {
        if !words.is_empty() {
            let block = self.opened(kind, deltas);
            deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Text(words) });
        }
    }

    /// Log probabilities belong to a block that is there: those of a tool call's tokens have no place.
    fn tokens(&mut self, kind: Kind, tokens: Vec<TokenLogprob>, deltas: &mut Vec<Delta>) {
        if let Some((block, open)) = self.open
            && open == kind
            && !tokens.is_empty()
        {
            deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Logprobs(tokens) });
        }
    }

    /// `content`: a text, or (Mistral) a list of parts, thoughts among them.
    fn content(&mut self, raw: &RawValue, deltas: &mut Vec<Delta>) {
        if let Some(words) = text(raw) {
            return self.text(Kind::Text, words.into_owned(), deltas);
        }
        let parts: Vec<Value> = lenient(Some(raw)).unwrap_or_default();
        for part in parts {
            let words = |name: &str| part.get(name).and_then(Value::as_str).map(str::to_owned);
            match part.get("type").and_then(Value::as_str) {
                Some("text") => self.text(Kind::Text, words("text").unwrap_or_default(), deltas),
                Some("thinking") => {
                    let inner = part.get("thinking").and_then(Value::as_array).into_iter().flatten();
                    let thoughts = inner.filter_map(|part| part.get("text")?.as_str()).collect();
                    self.text(Kind::Reasoning, thoughts, deltas);
                }
                _ => self.keep("content", Value::Array(vec![part]), deltas),
            }
        }
    }

    fn thoughts(&mut self, said: &mut Object<'_>, deltas: &mut Vec<Delta>) {
        // Servers that give both give the same text twice.
        let fields = [said.take("reasoning_content"), said.take("reasoning")];
        let words = fields.into_iter().flatten().filter_map(text).find(|words| !words.is_empty());
        let details: Vec<Value> = lenient(said.take("reasoning_details")).unwrap_or_default();
        let words = match words {
            Some(words) => self.thoughts.said(&words).to_owned(),
            None => self.thoughts.retold(&details),
        };
        self.text(Kind::Reasoning, words, deltas);
        if !details.is_empty() {
            self.keep("reasoning_details", Value::Array(details), deltas);
        }
    }

    /// What only this dialect understands, as one block for each field.
    fn keep(&mut self, field: &'static str, raw: Value, deltas: &mut Vec<Delta>) {
        let known = self.kept.iter().find(|(name, _)| *name == field).map(|(_, block)| *block);
        let block = known.unwrap_or_else(|| {
            let block = self.begin(BlockKind::Provider { dialect: OURS, kind: field.to_owned() }, deltas);
            self.kept.push((field, block));
            block
        });
        deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Raw(raw) });
    }

    fn audio(&mut self, raw: &RawValue, answer: &Answer, deltas: &mut Vec<Delta>) -> Result<()> {
        let mut fields: Map<String, Value> = lenient(Some(raw)).unwrap_or_default();
        if let Some(Value::String(data)) = fields.shift_remove("data")
            && !data.is_empty()
        {
            if self.sound.is_none() {
                let block = self.begin(BlockKind::Media { mime: answer.audio_mime.clone().into_owned() }, deltas);
                self.sound = Some(Sound::new(block));
            }
            if let Some(sound) = &mut self.sound {
                sound.push(self.index, &data, deltas)?;
            }
        }
        // Texts of a kept block grow; the id would be doubled.
        if self.kept.iter().any(|(name, _)| *name == "audio") {
            fields.shift_remove("id");
        }
        if !fields.is_empty() {
            self.keep("audio", Value::Object(fields), deltas);
        }
        Ok(())
    }

    fn image(&mut self, image: Value, deltas: &mut Vec<Delta>) {
        let url = image.pointer("/image_url/url").and_then(Value::as_str).unwrap_or_default();
        let Source::Base64 { mime, data } = types::source(url.to_owned()) else {
            return self.keep("images", Value::Array(vec![image]), deltas);
        };
        let block = self.begin(BlockKind::Media { mime }, deltas);
        deltas.push(Delta::BlockDelta { choice: self.index, block, part: Part::Bytes(data) });
        deltas.push(Delta::BlockEnd { choice: self.index, block });
    }

    fn tool_calls(&mut self, raw: &RawValue, answer: &Answer, deltas: &mut Vec<Delta>) -> Result<()> {
        let Ok(pieces) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            return Err(Error::protocol("the tool calls of the answer are not a list"));
        };
        for raw in pieces {
            if self.calls.is_empty() {
                self.close(deltas);
            }
            let mut place = Place { choice: self.index, next_block: &mut self.next_block, answer: &answer.id };
            if let Some((at, rest)) = self.calls.piece(raw, &mut place, deltas)? {
                let mut rest = rest.into_values().unwrap_or_default();
                rest.entry("index").or_insert_with(|| at.into());
                let raw = json!({"choices": [{"index": self.index, "delta": {"tool_calls": [rest]}}]});
                deltas.push(Delta::Unknown { dialect: OURS, raw });
            }
        }
        Ok(())
    }

    fn unknown(&self, fields: &Object<'_>, said: &Object<'_>, deltas: &mut Vec<Delta>) {
        let values = |object: &Object<'_>| -> Map<String, Value> {
            let named = object.rest().filter(|(_, raw)| !says_nothing(raw.get()));
            named.filter_map(|(name, raw)| Some((name.to_owned(), lenient(Some(raw))?))).collect()
        };
        let (mut choice, said) = (values(fields), values(said));
        if choice.is_empty() && said.is_empty() {
            return;
        }
        choice.insert("index".into(), self.index.into());
        if !said.is_empty() {
            choice.insert("delta".into(), said.into());
        }
        deltas.push(Delta::Unknown { dialect: OURS, raw: json!({"choices": [choice]}) });
    }
}

/// The same thoughts told twice, as text and as details: whichever comes first is read, in whatever frames the other comes.
#[derive(Debug, Default)]
struct Thoughts {
    /// They came as text, which the details repeat.
    plain: bool,
    /// What details told before any text, and how much of it a text repeated since.
    told: String,
    repeated: usize,
}

impl Thoughts {
    /// What of this text the details have not told yet.
    fn said<'a>(&mut self, words: &'a str) -> &'a str {
        self.plain = true;
        let told = self.told.get(self.repeated..).unwrap_or_default();
        if told.starts_with(words) {
            self.repeated += words.len();
            return "";
        }
        let more = words.strip_prefix(told).unwrap_or(words);
        (self.told, self.repeated) = (String::new(), 0);
        more
    }

    /// What these details tell that no text told.
    fn retold(&mut self, details: &[Value]) -> String {
        if self.plain {
            return String::new();
        }
        let words = |one: &'_ Value| one.get("text").or_else(|| one.get("summary"))?.as_str().map(str::to_owned);
        let words: String = details.iter().filter_map(words).collect();
        self.told.push_str(&words);
        words
    }
}

fn failed_inside() -> Error {
    Error::new(ErrorKind::ProviderServerError, "the upstream failed in the middle of its answer")
}
