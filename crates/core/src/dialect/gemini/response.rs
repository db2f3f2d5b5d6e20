//! Answers written in this dialect: as chunks, or folded into one body. How a chunk looks is `chunk.rs`.
//!
//! A stream is a list of server-sent events where the client asked for `alt=sse`, and one JSON array otherwise. Where an event carries its bytes as this very dialect sent
//! them, and the framing is the same, those are written and not a retelling. Function calls and pictures are written when they are whole; reasons and token counts
//! come last, in one chunk.

use std::collections::{BTreeMap, HashMap};

use bytes::BytesMut;
use serde_json::{Map, Value, json, value::RawValue};

use crate::delta::{BlockKind, Delta, Event, FinishReason, Part};
use crate::dialect::gemini::chunk::Chunk;
use crate::dialect::gemini::{citations, contents, error, head, types};
use crate::dialect::left::{self, Left};
use crate::dialect::{Dialect, Encoder, FieldPath, Framing, sse};
use crate::error::{Error, Result};
use crate::request::Request;
use crate::response::Folder;
use crate::trace::Trace;
use crate::usage::Usage;

const OURS: Dialect = Dialect::Gemini;

pub(super) struct GeminiEncoder {
    framing: Framing,
    /// A stream as one JSON array, not as events.
    array: bool,
    /// Whether the array was opened.
    opened: bool,
    /// Whether the client wants thoughts. One of another dialect, and the library, gets what there is.
    thoughts: bool,
    id: String,
    model: String,
    choices: BTreeMap<u32, Choice>,
    usage: Option<Usage>,
    /// Fields of the outermost object that came before anything could be said.
    pending: Map<String, Value>,
    /// Chunks went out as received: they said the end as well.
    passed: bool,
    ended: bool,
    folder: Option<Folder>,
    left: Left,
}

/// What is known of one choice until its end.
#[derive(Default)]
struct Choice {
    blocks: HashMap<u32, Kind>,
    /// A seal that waits for the part it belongs to.
    seal: Option<String>,
    finish: Option<(FinishReason, Option<String>)>,
    /// What was said, for places in it, where something cites.
    said: String,
    notes: Vec<Value>,
    /// The upstream's own words on sources. They wait for the end, since they are about places in all that was said.
    sources: Map<String, Value>,
    /// A call that cannot be written: its arguments are no object.
    malformed: Option<String>,
}

/// How a block is written.
enum Kind {
    Text,
    Thought,
    /// Only a seal comes, for what follows.
    Sealed(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
    Picture {
        mime: String,
        data: String,
    },
    Sound {
        mime: String,
    },
    Kept(Value),
    /// Another dialect's own: nothing of it can be said.
    Foreign,
}

impl GeminiEncoder {
    pub(super) fn new(request: &Request, framing: Framing) -> Self {
        let origin = request.origin.as_ref().filter(|origin| origin.dialect == OURS);
        let asked = request.reasoning.as_ref().is_some_and(|reasoning| reasoning.summary.is_some());
        Self {
            framing,
            array: framing == Framing::Stream && origin.is_some_and(|origin| !head::wants_sse(&origin.head)),
            opened: false,
            thoughts: origin.is_none() || asked,
            id: String::new(),
            model: String::new(),
            choices: BTreeMap::new(),
            usage: None,
            pending: Map::new(),
            passed: false,
            ended: false,
            folder: (framing == Framing::Whole).then(Folder::default),
            left: Left::default(),
        }
    }

    /// One body at the end, and nothing before.
    fn fold(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        // A list of chunks, which some server made of a whole answer, is no body.
        let body = |data: &[u8]| data.trim_ascii_start().first() == Some(&b'{');
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS && is_whole(event) && body(&raw.data)) {
            self.folder = None;
            out.extend_from_slice(&raw.data);
            return Ok(());
        }
        let Some(folder) = &mut self.folder else { return Ok(()) };
        event.deltas.iter().for_each(|delta| folder.push(delta));
        if event.deltas.iter().any(|delta| matches!(delta, Delta::End))
            && let Some(folder) = self.folder.take()
        {
            let mut chunk = Chunk::default();
            folder.finish()?.to_deltas().iter().for_each(|delta| self.delta(delta, &mut chunk));
            self.last(&mut chunk);
            out.extend_from_slice(&chunk.write(&self.id, &self.model, self.usage.as_ref(), false));
        }
        Ok(())
    }

    /// Writes an element of the stream.
    fn element(&mut self, json: &[u8], out: &mut BytesMut) {
        if !self.array {
            return sse::write(None, json, out);
        }
        out.extend_from_slice(if self.opened { b",\r\n" } else { b"[" });
        self.opened = true;
        out.extend_from_slice(json);
    }

    fn delta(&mut self, delta: &Delta, chunk: &mut Chunk) {
        match delta {
            Delta::Start { id, model, .. } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            Delta::BlockStart { choice, block, kind } => {
                let opened = opened(kind);
                if matches!(opened, Kind::Foreign) {
                    self.left.note_block(kind);
                }
                self.choices.entry(*choice).or_default().blocks.insert(*block, opened);
            }
            Delta::BlockDelta { choice, block, part } => self.part(*choice, *block, part, chunk),
            Delta::BlockEnd { choice, block } => self.end(*choice, *block, chunk),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Unknown { dialect: OURS, raw: Value::Object(fields) } => self.unknown(fields, chunk),
            Delta::Finish { choice, reason, raw_reason } => {
                self.choices.entry(*choice).or_default().finish = Some((*reason, raw_reason.clone()));
            }
            _ => {}
        }
    }

    fn part(&mut self, choice: u32, block: u32, part: &Part, chunk: &mut Chunk) {
        let thoughts = self.thoughts;
        let state = self.choices.entry(choice).or_default();
        let Some(kind) = state.blocks.get_mut(&block) else { return };
        match (kind, part) {
            (Kind::Text, Part::Text(words)) => {
                state.said.push_str(words);
                chunk.of(choice).words(words, false, state.seal.take());
            }
            (Kind::Text, Part::Logprobs(tokens)) => chunk.of(choice).logprobs.extend_from_slice(tokens),
            (Kind::Text, Part::Annotation(note)) => state.notes.push(note.clone()),
            (Kind::Thought, Part::Text(words)) if thoughts => chunk.of(choice).words(words, true, None),
            (Kind::Thought, Part::Signature(seal)) => {
                let seal = types::wire_seal(seal).into_owned();
                match thoughts {
                    true => chunk.of(choice).seal_thought(seal),
                    // The thoughts are not told, but their seal has to come back.
                    false => state.seal = Some(seal),
                }
            }
            (Kind::Sealed(seal), Part::Signature(more)) => seal.push_str(more),
            (Kind::Call { arguments, .. }, Part::ToolArguments(more)) => arguments.push_str(more),
            (Kind::Picture { data, .. }, Part::Bytes(more)) => data.push_str(more),
            (Kind::Sound { mime }, Part::Bytes(data)) => {
                chunk.of(choice).part(
                    "inlineData",
                    &json!({"mimeType": mime, "data": data}),
                    state.seal.take().as_deref(),
                );
            }
            (Kind::Kept(raw), Part::Raw(more)) => match (&mut *raw, more) {
                (Value::Object(fields), Value::Object(more)) => {
                    fields.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
                }
                (raw, more) => raw.clone_from(more),
            },
            _ => {}
        }
    }

    fn end(&mut self, choice: u32, block: u32, chunk: &mut Chunk) {
        let state = self.choices.entry(choice).or_default();
        match state.blocks.remove(&block) {
            Some(Kind::Sealed(seal)) if !seal.is_empty() => {
                if let Some(waiting) = state.seal.replace(types::wire_seal(&seal).into_owned()) {
                    chunk.of(choice).words("", false, Some(waiting));
                }
            }
            Some(Kind::Call { id, name, arguments }) => match object(&arguments) {
                Some(args) => {
                    let call = json!({"id": id, "name": name, "args": args});
                    chunk.of(choice).part("functionCall", &call, state.seal.take().as_deref());
                }
                None => state.malformed = Some(format!("Malformed function call: {name}({arguments})")),
            },
            Some(Kind::Picture { mime, data }) => {
                let data = json!({"mimeType": mime, "data": data});
                chunk.of(choice).part("inlineData", &data, state.seal.take().as_deref());
            }
            Some(Kind::Kept(raw)) if !raw.is_null() => chunk.of(choice).raw(&raw),
            _ => {}
        }
    }

    fn unknown(&mut self, fields: &Map<String, Value>, chunk: &mut Chunk) {
        for (name, value) in fields {
            let Some(candidates) = value.as_array().filter(|_| name == "candidates") else {
                self.pending.insert(name.clone(), value.clone());
                continue;
            };
            for candidate in candidates.iter().filter_map(Value::as_object) {
                let index = candidate.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
                let index = index.unwrap_or(0);
                let beside = candidate.iter().filter(|(name, _)| !matches!(name.as_str(), "content" | "index"));
                let state = self.choices.entry(index).or_default();
                for (name, value) in beside {
                    let cites = citations::FIELDS.contains(&name.as_str());
                    let to = if cites { &mut state.sources } else { &mut chunk.of(index).beside };
                    to.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// What the end says: what waited for it, and why each choice ended.
    fn last(&mut self, chunk: &mut Chunk) {
        for (index, state) in &mut self.choices {
            let said = chunk.of(*index);
            if let Some(seal) = state.seal.take() {
                said.words("", false, Some(seal));
            }
            let grounding = citations::write(&state.notes, &state.said).filter(|_| state.sources.is_empty());
            said.beside.append(&mut state.sources);
            said.beside.extend(grounding.map(|grounding| ("groundingMetadata".to_owned(), grounding)));
            let (reason, raw) = state.finish.take().unwrap_or((FinishReason::Other, None));
            said.finish = Some(types::finish_word(reason, raw.as_deref()));
            if let Some(message) = state.malformed.take() {
                (said.finish, said.finish_message) = (Some("MALFORMED_FUNCTION_CALL"), Some(message));
            }
        }
        chunk.top.append(&mut self.pending);
        if let Some(left) = self.left.told().filter(|_| self.framing == Framing::Stream) {
            chunk.top.insert(left::FIELD.to_owned(), left);
        }
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.array {
            out.extend_from_slice(if self.opened { b"]" } else { b"[]" });
        }
        self.ended = true;
    }
}

fn opened(kind: &BlockKind) -> Kind {
    match kind {
        // The dialect has no word for a refusal but the words.
        BlockKind::Text | BlockKind::Refusal => Kind::Text,
        BlockKind::Reasoning { redacted: true } => Kind::Sealed(String::new()),
        BlockKind::Reasoning { redacted: false } => Kind::Thought,
        BlockKind::ToolCall { id, name } => Kind::Call { id: id.clone(), name: name.clone(), arguments: String::new() },
        BlockKind::Media { mime } if mime.starts_with("audio/") => Kind::Sound { mime: mime.clone() },
        BlockKind::Media { mime } => Kind::Picture { mime: mime.clone(), data: String::new() },
        BlockKind::Provider { dialect: OURS, .. } => Kind::Kept(Value::Null),
        BlockKind::Provider { .. } => Kind::Foreign,
    }
}

/// Arguments as the object that the dialect wants; a model that wrote none meant none.
fn object(arguments: &str) -> Option<Box<RawValue>> {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    contents::is_object(text).then(|| serde_json::from_str(text).ok()).flatten()
}

impl Encoder for GeminiEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if self.framing == Framing::Whole {
            return self.fold(event, out);
        }
        if self.ended {
            return Ok(());
        }
        let ends = event.deltas.iter().any(|delta| matches!(delta, Delta::End));
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS && !is_whole(event)) {
            self.passed = true;
            // What chunks of our own would need, should one follow.
            let starts = event.deltas.iter().filter(|delta| matches!(delta, Delta::Start { .. } | Delta::Usage(_)));
            starts.for_each(|delta| self.delta(delta, &mut Chunk::default()));
            self.element(&raw.data, out);
            if ends {
                self.close(out);
            }
            return Ok(());
        }
        let mut chunk = Chunk::default();
        event.deltas.iter().for_each(|delta| self.delta(delta, &mut chunk));
        if ends && !self.passed {
            self.last(&mut chunk);
        }
        if !chunk.is_empty() {
            let usage = self.usage.filter(|_| ends);
            let json = chunk.write(&self.id, &self.model, usage.as_ref(), true);
            self.element(&json, out);
        }
        if ends {
            self.close(out);
        }
        Ok(())
    }

    fn about(&mut self, trace: &Trace) {
        self.left.note_request(trace);
    }

    fn lost(&self) -> &[FieldPath] {
        self.left.of_answer()
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        let body = error::encode(error);
        match self.framing {
            Framing::Whole => out.extend_from_slice(&body),
            Framing::Stream => {
                self.element(&body, out);
                self.close(out);
            }
        }
        self.ended = true;
        self.folder = None;
    }

    fn ping(&mut self, out: &mut BytesMut) {
        // Google's SDK for Python takes a comment for the beginning of an error; an empty line it skips, as the grammar of events and that of JSON do.
        out.extend_from_slice(b"\n");
    }

    fn content_type(&self) -> &'static str {
        match self.framing {
            Framing::Stream if !self.array => "text/event-stream",
            _ => "application/json",
        }
    }
}

/// Whether an event is a whole answer: its bytes are then a body, not a chunk.
fn is_whole(event: &Event) -> bool {
    let has = |wanted: fn(&Delta) -> bool| event.deltas.iter().any(wanted);
    has(|delta| matches!(delta, Delta::Start { .. })) && has(|delta| matches!(delta, Delta::End))
}
