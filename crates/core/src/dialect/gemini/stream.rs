//! Answers of this dialect as deltas. A stream's chunks and a whole body go through one machine; a whole body that is a list of chunks, too.
//!
//! What one candidate says is `candidate.rs`. The dialect has no terminal event: a stream is whole when every candidate gave its reason and the connection ended
//! cleanly. A blocked prompt has no candidates and is an error.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};

use crate::delta::{Delta, Event, Raw};
use crate::dialect::gemini::candidate::{Candidate, camel, protocol};
use crate::dialect::gemini::{contents, error, types};
use crate::dialect::json::{Object, check_depth, lenient, text};
use crate::dialect::unnamed::with_model;
use crate::dialect::{Decoder, Dialect, Frame, Framing, MAX_CHOICES};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Call;
use crate::usage::Usage;

/// The most fields of the outermost object whose last value is remembered.
const MAX_REMEMBERED: usize = 64;

pub(super) struct GeminiDecoder {
    framing: Framing,
    /// Whether the caller speaks this dialect, so that frames are passed on as received.
    keep_raw: bool,
    /// What the ids of calls are made from, where the server gives none.
    ids: String,
    model: String,
    /// Whether the answer names no model, so that frames that are passed on are given the target's.
    unnamed: bool,
    started: bool,
    done: bool,
    candidates: BTreeMap<u32, Candidate>,
    usage: Option<Usage>,
    /// Unknown fields of the outermost object: said once, though every chunk may repeat them.
    remembered: HashMap<String, String>,
}

impl GeminiDecoder {
    pub(super) fn new(call: &Call, framing: Framing) -> Self {
        Self {
            framing,
            keep_raw: call.request.origin.as_ref().is_some_and(|origin| origin.dialect == Dialect::Gemini),
            ids: call.cx.id.as_str().trim_start_matches("req_").to_owned(),
            model: call.model().unwrap_or_default().to_owned(),
            unnamed: false,
            started: false,
            done: false,
            candidates: BTreeMap::new(),
            usage: None,
            remembered: HashMap::new(),
        }
    }

    fn chunk(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        let fields = Object::parse(data).map_err(|error| unreadable(data, &error))?;
        let mut fields = camel(fields)?;
        if fields.get("error").is_some() {
            return Err(error::in_answer(data));
        }
        let candidates = match fields.take("candidates") {
            Some(raw) => contents::list(raw, &"candidates").map_err(protocol)?,
            None => Vec::new(),
        };
        let feedback = fields.take("promptFeedback");
        if let Some(raw) = feedback
            && candidates.is_empty()
            && let Some(error) = blocked(raw)
        {
            return Err(error);
        }
        let id = fields.take("responseId").and_then(text);
        let model = fields.take("modelVersion").and_then(text).filter(|model| !model.is_empty());
        let usage = fields.take("usageMetadata").and_then(types::usage);
        if !self.started && (!candidates.is_empty() || usage.is_some()) {
            self.started = true;
            match model {
                Some(model) => self.model = model.into_owned(),
                None => self.unnamed = !self.model.is_empty(),
            }
            let id = id.unwrap_or_default().into_owned();
            deltas.push(Delta::Start { id, model: self.model.clone(), created: None });
        }
        self.unknown(fields.rest().chain(feedback.map(|raw| ("promptFeedback", raw))), deltas);
        for (at, raw) in candidates.into_iter().enumerate() {
            self.candidate(at, raw, deltas)?;
        }
        if let Some(usage) = usage.filter(|usage| self.usage.as_ref() != Some(usage)) {
            self.usage = Some(usage);
            deltas.push(Delta::Usage(usage));
        }
        Ok(())
    }

    fn candidate(&mut self, at: usize, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let fields: Object<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Error::protocol("a candidate of the answer is not an object"))?;
        let mut fields = camel(fields)?;
        let place = u32::try_from(at).unwrap_or(u32::MAX);
        let index: u32 = lenient(fields.take("index")).unwrap_or(place);
        if index >= MAX_CHOICES {
            return Err(Error::protocol(format!("the answer has a candidate {index}; {MAX_CHOICES} are the most")));
        }
        self.candidates.entry(index).or_insert_with(|| Candidate::new(index)).read(fields, &self.ids, deltas)
    }

    /// What this router does not know of the outermost object, unless it was said before.
    fn unknown<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a RawValue)>, deltas: &mut Vec<Delta>) {
        let mut raw = Map::new();
        for (name, value) in fields {
            let text = value.get();
            if matches!(text, "null" | "[]" | "{}" | "\"\"")
                || self.remembered.get(name).is_some_and(|last| last == text)
            {
                continue;
            }
            if self.remembered.len() < MAX_REMEMBERED && text.len() <= 256 {
                self.remembered.insert(name.to_owned(), text.to_owned());
            }
            raw.insert(name.to_owned(), serde_json::from_str(text).unwrap_or_default());
        }
        if !raw.is_empty() {
            deltas.push(Delta::Unknown { dialect: Dialect::Gemini, raw: Value::Object(raw) });
        }
    }

    /// Every candidate ends, and the answer with them.
    fn close(&mut self, deltas: &mut Vec<Delta>) -> Result<()> {
        if self.candidates.is_empty() {
            return Err(Error::protocol("the answer has no candidates"));
        }
        self.candidates.values_mut().for_each(|candidate| candidate.finish(deltas));
        deltas.push(Delta::End);
        self.done = true;
        Ok(())
    }

    fn whole(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        if data.first() != Some(&b'[') {
            self.chunk(data, deltas)?;
        } else {
            // A server that streams but not as events: a list of chunks.
            check_depth(data).map_err(|error| unreadable(data, &error))?;
            let chunks: Vec<&RawValue> =
                serde_json::from_slice(data).map_err(|error| unreadable(data, &Error::protocol(error.to_string())))?;
            chunks.into_iter().try_for_each(|raw| self.chunk(raw.get().as_bytes(), deltas))?;
        }
        self.close(deltas)
    }
}

impl Decoder for GeminiDecoder {
    fn frame(&mut self, frame: Frame) -> Result<Event> {
        let Frame { name, data } = frame;
        let trimmed = data.trim_ascii();
        if self.done || (trimmed.is_empty() && self.framing == Framing::Stream) {
            return Ok(Event::default());
        }
        if name.as_deref() == Some("error") {
            return Err(error::in_answer(trimmed));
        }
        let mut deltas = Vec::with_capacity(4);
        match self.framing {
            // Some gateways end every stream as OpenAI does.
            Framing::Stream if trimmed == b"[DONE]" => return Ok(Event::default()),
            Framing::Stream => self.chunk(trimmed, &mut deltas)?,
            Framing::Whole => self.whole(trimmed, &mut deltas)?,
        }
        let data = match self.keep_raw && self.unnamed {
            true => with_model(Bytes::clone(&data), None, "modelVersion", &self.model),
            false => Bytes::clone(&data),
        };
        let raw = self.keep_raw.then_some(Raw { dialect: Dialect::Gemini, name, data });
        Ok(Event { deltas, raw })
    }

    fn end(&mut self) -> Result<Event> {
        if self.done {
            return Ok(Event::default());
        }
        if self.candidates.is_empty() {
            return Err(Error::protocol("the answer was cut: the connection ended without a candidate"));
        }
        if !self.candidates.values().all(Candidate::is_finished) {
            return Err(Error::protocol("the answer was cut: the connection ended before a finish reason"));
        }
        let mut deltas = Vec::new();
        self.close(&mut deltas)?;
        Ok(deltas.into())
    }
}

/// A prompt that the provider's filter refused.
fn blocked(feedback: &RawValue) -> Option<Error> {
    let mut fields: Object<'_> = serde_json::from_str(feedback.get()).ok()?;
    fields = fields.camel().ok()?;
    let reason = fields.take("blockReason").and_then(text)?;
    if reason == "BLOCK_REASON_UNSPECIFIED" {
        return None;
    }
    let words = fields.take("blockReasonMessage").and_then(text).map(|words| format!(": {words}")).unwrap_or_default();
    let message = format!("the provider's filter blocked the prompt ({reason}){words}");
    Some(Error::new(ErrorKind::CallerContentFilter, message))
}

fn unreadable(data: &[u8], error: &Error) -> Error {
    if data.is_empty() {
        return Error::protocol("the answer is empty");
    }
    if data.first() == Some(&b'<') {
        return Error::protocol("the upstream answered with a web page instead of JSON")
            .with_hint("check the base URL: it usually ends in /v1beta");
    }
    let head = String::from_utf8_lossy(data.get(..data.len().min(120)).unwrap_or(data)).into_owned();
    Error::protocol(format!("the answer cannot be read: {}; it begins {head:?}", error.message()))
}
