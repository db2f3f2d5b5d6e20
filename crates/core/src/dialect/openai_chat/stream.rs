//! Answers of this dialect as deltas. A stream's chunks and a whole body go through one machine: a whole body is one chunk whose `message` is its `delta`.
//!
//! What one choice says is `choice.rs`; tool calls are put together in `calls.rs`. The terminal event of a stream is `[DONE]`; for servers that are known
//! to leave it out ([`Quirks::no_done`](super::Quirks)), it is a clean end of the connection after every choice gave its `finish_reason`.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, value::RawValue};

use crate::delta::{Delta, Event, Raw};
use crate::dialect::json::{Object, lenient, read, text};
use crate::dialect::openai_chat::again::Again;
use crate::dialect::openai_chat::choice::{Answer, Choice};
use crate::dialect::openai_chat::plain::{Chunk, Piece};
use crate::dialect::openai_chat::{error, types};
use crate::dialect::unnamed::with_model;
use crate::dialect::{Decoder, Dialect, Frame, Framing, MAX_CHOICES};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Call;
use crate::request::RawJson;
use crate::usage::Usage;

/// The most fields of the outermost object whose last value is remembered.
const MAX_REMEMBERED: usize = 64;

pub(super) struct ChatDecoder {
    framing: Framing,
    no_done: bool,
    /// Whether the caller speaks this dialect, so that frames are passed on as received.
    keep_raw: bool,
    answer: Answer,
    /// Whether the answer names no model, so that frames that are passed on are given the target's.
    unnamed: bool,
    started: bool,
    done: bool,
    /// By index, the least first; nearly always there is one.
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// Unknown fields of the outermost object: most servers repeat them in every chunk, one delta says it.
    remembered: HashMap<String, String>,
    /// What the frame before was, if it was nothing but a piece of text.
    again: Option<Again>,
}

impl ChatDecoder {
    pub(super) fn new(call: &Call, framing: Framing, no_done: bool) -> Self {
        let ours = call.request.extra.get(&Dialect::OpenaiChat);
        let audio = ours.and_then(|extra| extra.get("audio")).map(RawJson::value);
        let format = audio.as_ref().and_then(|audio| audio.get("format")).and_then(Value::as_str).unwrap_or("wav");
        Self {
            framing,
            no_done,
            keep_raw: call.request.origin.as_ref().is_some_and(|origin| origin.dialect == Dialect::OpenaiChat),
            answer: Answer {
                id: String::new(),
                model: call.model().unwrap_or_default().to_owned(),
                audio_mime: types::audio_mime(format),
            },
            unnamed: false,
            started: false,
            done: false,
            choices: Vec::new(),
            usage: None,
            remembered: HashMap::new(),
            again: None,
        }
    }

    /// Reads a frame of a stream.
    fn piece(&mut self, data: &[u8]) -> Result<Vec<Delta>> {
        if let Some(text) = self.again.as_ref().and_then(|again| again.read(data)) {
            return Ok(vec![text]);
        }
        let mut deltas = Vec::with_capacity(4);
        self.chunk(data, &mut deltas)?;
        self.again = Again::learn(data, &deltas);
        Ok(deltas)
    }

    fn chunk(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        match Chunk::read(data) {
            Some(plain) => self.plain(plain, deltas),
            None => self.any(data, deltas),
        }
    }

    /// Reads a frame of the usual fields.
    fn plain(&mut self, chunk: Chunk<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let Chunk { id, created, model, service_tier, system_fingerprint, choices, usage, .. } = chunk;
        let usage = usage.filter(|raw| raw.get() != "null").and_then(types::usage);
        if !choices.is_empty() || usage.is_some() {
            self.start(id.map(|id| id.0), model.map(|model| model.0), created, deltas);
        }
        let named = [("service_tier", service_tier), ("system_fingerprint", system_fingerprint)];
        self.unknown(named.into_iter().filter_map(|(name, raw)| Some((name, raw?))), deltas);
        for Piece { index, delta, finish_reason, .. } in choices {
            let said = delta.unwrap_or_default();
            let choice = of(&mut self.choices, index)?;
            let (content, refusal) = (said.content.map(|text| text.0), said.refusal.map(|text| text.0));
            choice.plain(content, refusal, finish_reason.as_ref().map(|reason| &*reason.0), deltas)?;
        }
        self.count(usage, deltas);
        Ok(())
    }

    /// Reads a frame field by field.
    fn any(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        let mut fields = Object::parse(data).map_err(|error| error::unreadable(data, &error))?;
        let choices = fields.take("choices");
        if fields.get("error").is_some() || (choices.is_none() && error::is_error(&fields)) {
            return Err(error::in_answer(data));
        }
        let choices: Vec<&RawValue> = match choices {
            Some(raw) => read(raw, &"choices").map_err(|error| error.with_kind(ErrorKind::ProviderProtocol))?,
            None => Vec::new(),
        };
        let id = fields.take("id").and_then(text);
        let model = fields.take("model").and_then(text);
        let created: Option<f64> = lenient(fields.take("created"));
        let usage = fields.take("usage").and_then(types::usage).or_else(|| groq_usage(&fields));
        // `obfuscation` is padding against eavesdroppers who count bytes.
        for name in ["object", "obfuscation"] {
            fields.take(name);
        }
        if !choices.is_empty() || usage.is_some() {
            self.start(id, model, created, deltas);
        }
        self.unknown(fields.rest(), deltas);
        for raw in choices {
            self.choice(raw, deltas)?;
        }
        self.count(usage, deltas);
        Ok(())
    }

    /// The answer begins, unless it did before.
    fn start(
        &mut self,
        id: Option<Cow<'_, str>>,
        model: Option<Cow<'_, str>>,
        created: Option<f64>,
        deltas: &mut Vec<Delta>,
    ) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.answer.id = id.unwrap_or_default().into_owned();
        match model.filter(|model| !model.is_empty()) {
            Some(model) => self.answer.model = model.into_owned(),
            None => self.unnamed = !self.answer.model.is_empty(),
        }
        let created = created.filter(|seconds| *seconds > 0.0).map(|seconds| seconds as u64);
        let (id, model) = (self.answer.id.clone(), self.answer.model.clone());
        deltas.push(Delta::Start { id, model, created });
    }

    /// Token counts, where they are others than before.
    fn count(&mut self, usage: Option<Usage>, deltas: &mut Vec<Delta>) {
        if let Some(usage) = usage.filter(|usage| self.usage.as_ref() != Some(usage)) {
            self.usage = Some(usage);
            deltas.push(Delta::Usage(usage));
        }
    }

    fn choice(&mut self, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let Ok(mut fields) = serde_json::from_str::<Object<'_>>(raw.get()) else {
            return Err(Error::protocol("a choice of the answer is not an object"));
        };
        let index: u32 = lenient(fields.take("index")).unwrap_or(0);
        of(&mut self.choices, index)?.read(&mut fields, &self.answer, deltas)
    }

    /// What this router does not know of the outermost object, unless it was said before.
    fn unknown<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a RawValue)>, deltas: &mut Vec<Delta>) {
        let mut raw = Map::new();
        for (name, value) in fields {
            let text = value.get();
            if says_nothing(text) || self.remembered.get(name).is_some_and(|last| last == text) {
                continue;
            }
            let repeats = self.framing == Framing::Stream;
            if repeats && self.remembered.len() < MAX_REMEMBERED && text.len() <= 256 {
                self.remembered.insert(name.to_owned(), text.to_owned());
            }
            raw.insert(name.to_owned(), serde_json::from_str(text).unwrap_or_default());
        }
        if !raw.is_empty() {
            deltas.push(Delta::Unknown { dialect: Dialect::OpenaiChat, raw: Value::Object(raw) });
        }
    }

    /// Every choice ends, and the answer with them.
    fn close(&mut self, deltas: &mut Vec<Delta>) -> Result<()> {
        if self.choices.is_empty() {
            return Err(Error::protocol("the answer has no choices"));
        }
        self.choices.iter_mut().try_for_each(|choice| choice.finish(None, deltas))?;
        deltas.push(Delta::End);
        self.done = true;
        Ok(())
    }
}

impl Decoder for ChatDecoder {
    fn frame(&mut self, frame: Frame) -> Result<Event> {
        let data = frame.data.trim_ascii();
        if self.done || (data.is_empty() && self.framing == Framing::Stream) {
            // After the end nothing counts any more: some servers send comments or a second `[DONE]`.
            return Ok(Event::default());
        }
        if frame.name.as_deref() == Some("error") {
            return Err(error::in_answer(data));
        }
        let mut deltas = Vec::new();
        match self.framing {
            Framing::Stream if data == b"[DONE]" => self.close(&mut deltas)?,
            Framing::Stream => deltas = self.piece(data)?,
            Framing::Whole => {
                deltas.reserve(8);
                self.chunk(data, &mut deltas)?;
                self.close(&mut deltas)?;
            }
        }
        let Frame { name, mut data } = frame;
        if self.keep_raw && self.unnamed {
            data = with_model(data, None, "model", &self.answer.model);
        }
        let raw = self.keep_raw.then_some(Raw { dialect: Dialect::OpenaiChat, name, data });
        Ok(Event { deltas, raw })
    }

    fn end(&mut self) -> Result<Event> {
        if self.done {
            return Ok(Event::default());
        }
        let finished = !self.choices.is_empty() && self.choices.iter().all(Choice::is_finished);
        if !(finished && self.no_done && self.framing == Framing::Stream) {
            let said = if finished { "every choice was finished, but " } else { "" };
            return Err(Error::protocol(format!("the answer was cut: {said}the connection ended without [DONE]")));
        }
        let mut deltas = Vec::new();
        self.close(&mut deltas)?;
        Ok(deltas.into())
    }
}

/// The choice of this index, a new one where there was none.
fn of(choices: &mut Vec<Choice>, index: u32) -> Result<&mut Choice> {
    if index >= MAX_CHOICES {
        return Err(Error::protocol(format!("the answer has a choice {index}; {MAX_CHOICES} are the most")));
    }
    let at = choices.partition_point(|choice| choice.index() < index);
    if choices.get(at).is_none_or(|choice| choice.index() != index) {
        choices.insert(at, Choice::new(index));
    }
    choices.get_mut(at).ok_or_else(|| Error::internal("a choice that was just put there"))
}

/// Null, and lists and objects without anything in them.
pub(super) fn says_nothing(text: &str) -> bool {
    matches!(text, "null" | "[]" | "{}" | "\"\"")
}

/// Groq's token counts in a stream: `x_groq.usage`.
fn groq_usage(fields: &Object<'_>) -> Option<Usage> {
    let mut inner: Object<'_> = serde_json::from_str(fields.get("x_groq")?.get()).ok()?;
    inner.take("usage").and_then(types::usage)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::testing::call;
    use crate::ids::ProviderId;
    use crate::provider::Target;
    use crate::request::Request;

    fn decoder() -> ChatDecoder {
        ChatDecoder::new(
            &call(Request::new("x"), Target::new(ProviderId::new("p").unwrap(), None)),
            Framing::Stream,
            false,
        )
    }

    #[test]
    fn the_quick_reader_says_what_the_patient_one_says() {
        let frames = [
            r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"f","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}"#,
            r#"{"id":"c","created":7,"model":"m","system_fingerprint":"f","choices":[{"index":0,"delta":{"content":"a\u00e9\n"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"refusal":"no"}},{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
        ];
        let (mut quick, mut patient) = (decoder(), decoder());
        for frame in frames {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            quick.plain(Chunk::read(frame.as_bytes()).unwrap(), &mut ours).unwrap();
            patient.any(frame.as_bytes(), &mut theirs).unwrap();
            assert_eq!(ours, theirs, "{frame}");
        }
        let late = r#"{"choices":[{"index":0,"delta":{"content":"more"}}]}"#.as_bytes();
        let ours = quick.plain(Chunk::read(late).unwrap(), &mut Vec::new()).unwrap_err();
        assert_eq!(ours, patient.any(late, &mut Vec::new()).unwrap_err());
    }

    #[test]
    fn a_frame_like_the_one_before_says_what_it_would_say_alone() {
        let said = |delta: &str| format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#);
        let frames = [
            said(r#""role":"assistant","content":"""#),
            said(r#""content":"a""#),
            said(r#""content":"b""#),
            said(r#""content":"b again""#),
            said(r#""content":"c\n""#),
            said(r#""content":"d""#),
            said(r#""reasoning_content":"e""#),
            said(r#""content":"f""#),
            said(r#""content":"g""#),
            said(r#""content":"g again""#),
            said(r#""tool_calls":[{"index":0,"id":"t","function":{"name":"n","arguments":"{}"}}]"#),
            said(r#""content":"h""#),
            said(r#""content":"i""#),
            said(r#""content":"i again""#),
            said("\"content\":\"j\"},\"finish_reason\":\"stop\",\"x\":{"),
            said(r#""content":"k""#),
        ];
        let (mut quick, mut patient) = (decoder(), decoder());
        let mut again = 0;
        for frame in &frames {
            let frame = Frame { name: None, data: frame.clone().into() };
            again += usize::from(quick.again.as_ref().is_some_and(|again| again.read(&frame.data).is_some()));
            patient.again = None;
            assert_eq!(quick.frame(frame.clone()), patient.frame(frame.clone()), "{frame:?}");
        }
        assert_eq!(again, 3, "the three that say so");
    }

    #[test]
    fn the_quick_reader_leaves_what_it_does_not_know() {
        for frame in [
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"x"}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":[]}}]}"#,
            r#"{"choices":[],"choices":[]}"#,
            r#"{"error":{"message":"x"},"choices":[]}"#,
            r#"{"id":"c"}"#,
        ] {
            assert!(Chunk::read(frame.as_bytes()).is_none(), "{frame}");
        }
    }
}
