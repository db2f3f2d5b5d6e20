//! Answers written in this dialect: as chunks, or folded into one body (`whole.rs`).
//!
//! Where an event carries its bytes as this very dialect sent them, and the framing is the same, those are written and not a retelling. Token counts go to a
//! client only if it asked for them, though the router asked upstream in any case.

use std::collections::{BTreeSet, HashMap};

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::delta::{BlockKind, Delta, Event, Part, Raw};
use crate::dialect::json::{Object, Writer};
use crate::dialect::left::{self, Left};
use crate::dialect::openai_chat::{error, types, whole};
use crate::dialect::splice::Splice;
use crate::dialect::{Dialect, Encoder, FieldPath, Framing, sse};
use crate::error::{Error, Result};
use crate::request::{RawJson, Request, TokenLogprob};
use crate::response::Folder;
use crate::trace::Trace;
use crate::usage::Usage;

const OURS: Dialect = Dialect::OpenaiChat;

pub(super) struct ChatEncoder {
    framing: Framing,
    /// Whether the client asked for token counts in its stream.
    include_usage: bool,
    /// `"id":…,"object":…,"created":…,"model":…`, the same in every chunk.
    head: String,
    /// Choices that said something: the first chunk of each names the role.
    begun: BTreeSet<u32>,
    /// Open blocks, and how each is written.
    blocks: HashMap<(u32, u32), Kind>,
    /// How many tool calls each choice has so far.
    calls: HashMap<u32, u32>,
    usage: Option<Usage>,
    usage_written: bool,
    /// Unknown fields of the outermost object, for the next chunk.
    pending: Map<String, Value>,
    ended: bool,
    folder: Option<Folder>,
    left: Left,
}

#[derive(Clone, Debug)]
enum Kind {
    Content,
    Refusal,
    Reasoning,
    Call(u32),
    Sound,
    Picture {
        mime: String,
        data: String,
    },
    Kept(String),
    /// Another dialect's own: nothing of it can be said.
    Foreign,
}

impl ChatEncoder {
    pub(super) fn new(request: &Request, framing: Framing) -> Self {
        let options = request.extra.get(&OURS).and_then(|extra| extra.get("stream_options")).map(RawJson::value);
        let include_usage =
            options.as_ref().and_then(|options| options.get("include_usage")) == Some(&Value::Bool(true));
        Self {
            framing,
            include_usage,
            head: String::new(),
            begun: BTreeSet::new(),
            blocks: HashMap::new(),
            calls: HashMap::new(),
            usage: None,
            usage_written: false,
            pending: Map::new(),
            ended: false,
            folder: (framing == Framing::Whole).then(Folder::default),
            left: Left::default(),
        }
    }

    /// One body at the end, and nothing before.
    fn fold(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS && is_whole(event)) {
            self.folder = None;
            out.extend_from_slice(&raw.data);
            return Ok(());
        }
        let Some(folder) = &mut self.folder else { return Ok(()) };
        for delta in &event.deltas {
            folder.push(delta);
            if let Delta::BlockStart { kind: kind @ BlockKind::Provider { dialect, .. }, .. } = delta
                && *dialect != OURS
            {
                self.left.note_block(kind);
            }
        }
        if event.deltas.iter().any(|delta| matches!(delta, Delta::End))
            && let Some(folder) = self.folder.take()
        {
            out.extend_from_slice(&whole::encode(&folder.finish()?));
        }
        Ok(())
    }

    /// Passes on a chunk as received.
    fn pass(&mut self, raw: &Raw, deltas: &[Delta], out: &mut BytesMut) -> Result<()> {
        let counted = deltas.iter().any(|delta| matches!(delta, Delta::Usage(_)));
        let ends = deltas.iter().any(|delta| matches!(delta, Delta::End));
        for delta in deltas {
            self.follow(delta);
        }
        if ends && self.include_usage && !self.usage_written {
            self.usage_chunk(out);
        }
        if counted && !self.include_usage {
            if let Some(data) = without_usage(&raw.data)? {
                sse::write(raw.name.as_deref(), &data, out);
            }
            return Ok(());
        }
        self.usage_written |= counted;
        sse::write(raw.name.as_deref(), &raw.data, out);
        Ok(())
    }

    /// Keeps the state that chunks of our own would need, should one follow.
    fn follow(&mut self, delta: &Delta) {
        match delta {
            Delta::Start { id, model, created } => self.start(id, model, *created),
            Delta::BlockStart { choice, block, kind } => {
                self.begun.insert(*choice);
                self.open(*choice, *block, kind);
            }
            Delta::BlockEnd { choice, block } => drop(self.blocks.remove(&(*choice, *block))),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::End => self.ended = true,
            _ => {}
        }
    }

    fn start(&mut self, id: &str, model: &str, created: Option<u64>) {
        let mut head = Writer::with_capacity(160);
        head.field("id", id);
        head.field("object", "chat.completion.chunk");
        head.field("created", &created.unwrap_or(0));
        head.field("model", model);
        self.head = String::from_utf8(head.finish()).unwrap_or_default();
    }

    fn open(&mut self, choice: u32, block: u32, kind: &BlockKind) -> Kind {
        let kind = match kind {
            BlockKind::Text => Kind::Content,
            BlockKind::Refusal => Kind::Refusal,
            BlockKind::Reasoning { .. } => Kind::Reasoning,
            BlockKind::ToolCall { .. } => {
                let calls = self.calls.entry(choice).or_default();
                *calls += 1;
                Kind::Call(*calls - 1)
            }
            BlockKind::Media { mime } if mime.starts_with("image/") => {
                Kind::Picture { mime: mime.clone(), data: String::new() }
            }
            BlockKind::Media { .. } => Kind::Sound,
            BlockKind::Provider { dialect: OURS, kind } => Kind::Kept(kind.clone()),
            kind => {
                self.left.note_block(kind);
                Kind::Foreign
            }
        };
        self.blocks.insert((choice, block), kind.clone());
        kind
    }

    /// A chunk of one choice; `delta` writes the members of its `delta`.
    fn chunk(&mut self, choice: u32, out: &mut BytesMut, delta: impl FnOnce(&mut Writer), rest: Rest<'_>) {
        let mut to = self.begin_chunk();
        to.key("choices");
        to.open(b'[');
        to.open(b'{');
        to.field("index", &choice);
        to.key("delta");
        to.open(b'{');
        if self.begun.insert(choice) {
            to.field("role", "assistant");
        }
        delta(&mut to);
        to.close(b'}');
        to.key("logprobs");
        match rest.logprobs {
            [] => to.value(&None::<()>),
            tokens => types::write_logprobs(tokens, &mut to),
        }
        to.field("finish_reason", &rest.finish);
        to.close(b'}');
        to.close(b']');
        to.close(b'}');
        sse::write(None, &to.finish(), out);
    }

    fn begin_chunk(&mut self) -> Writer {
        let mut to = Writer::with_capacity(320);
        to.open(b'{');
        to.raw(&self.head);
        for (name, value) in std::mem::take(&mut self.pending) {
            to.field(&name, &value);
        }
        to
    }

    fn usage_chunk(&mut self, out: &mut BytesMut) {
        let Some(usage) = self.usage.map(|usage| self.left.priced(usage)) else { return };
        self.usage_written = true;
        let left = self.left.told();
        let mut to = self.begin_chunk();
        to.field("choices", &[(); 0]);
        to.key("usage");
        types::write_usage(&usage, &mut to);
        to.some(left::FIELD, left.as_ref());
        to.close(b'}');
        sse::write(None, &to.finish(), out);
    }

    fn delta(&mut self, delta: &Delta, logprobs: &[TokenLogprob], out: &mut BytesMut) {
        match delta {
            Delta::BlockStart { choice, block, kind } => {
                let opened = self.open(*choice, *block, kind);
                if let (Kind::Call(index), BlockKind::ToolCall { id, name }) = (opened, kind) {
                    let call = json!([{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]);
                    self.chunk(*choice, out, |to| to.field("tool_calls", &call), Rest::NONE);
                }
            }
            Delta::BlockDelta { choice, block, part } => self.part(*choice, *block, part, logprobs, out),
            Delta::BlockEnd { choice, block } => {
                // A picture is one URL: it is written when it is whole.
                if let Some(Kind::Picture { mime, data }) = self.blocks.remove(&(*choice, *block)) {
                    let url = format!("data:{mime};base64,{data}");
                    let images = json!([{"type": "image_url", "image_url": {"url": url}}]);
                    self.chunk(*choice, out, |to| to.field("images", &images), Rest::NONE);
                }
            }
            Delta::Unknown { dialect: OURS, raw: Value::Object(fields) } => self.unknown(fields, out),
            Delta::Finish { choice, reason, raw_reason } => {
                let finish = Some(types::finish_word(*reason, raw_reason.as_deref()));
                self.chunk(*choice, out, |_| {}, Rest { finish, logprobs: &[] });
            }
            Delta::End => {
                if self.include_usage && !self.usage_written {
                    self.usage_chunk(out);
                }
                sse::write(None, b"[DONE]", out);
                self.ended = true;
            }
            _ => self.follow(delta),
        }
    }

    fn part(&mut self, choice: u32, block: u32, part: &Part, logprobs: &[TokenLogprob], out: &mut BytesMut) {
        let Some(kind) = self.blocks.get_mut(&(choice, block)) else { return };
        let rest = Rest { finish: None, logprobs };
        match (kind, part) {
            (Kind::Content, Part::Text(text)) => self.chunk(choice, out, |to| to.field("content", text), rest),
            (Kind::Content, Part::Logprobs(tokens)) => {
                self.chunk(choice, out, |_| {}, Rest { finish: None, logprobs: tokens });
            }
            (Kind::Content, Part::Annotation(note)) => {
                self.chunk(choice, out, |to| to.field("annotations", &[note]), rest);
            }
            (Kind::Refusal, Part::Text(text)) => self.chunk(choice, out, |to| to.field("refusal", text), rest),
            (Kind::Reasoning, Part::Text(text)) => {
                self.chunk(choice, out, |to| to.field("reasoning_content", text), rest);
            }
            (Kind::Call(index), Part::ToolArguments(more)) => {
                let index = *index;
                let write = |to: &mut Writer| {
                    to.key("tool_calls");
                    to.open(b'[');
                    to.open(b'{');
                    to.field("index", &index);
                    to.key("function");
                    to.open(b'{');
                    to.field("arguments", more);
                    to.close(b'}');
                    to.close(b'}');
                    to.close(b']');
                };
                self.chunk(choice, out, write, rest);
            }
            (Kind::Sound, Part::Bytes(data)) => {
                self.chunk(choice, out, |to| to.field("audio", &json!({"data": data})), rest);
            }
            (Kind::Picture { data, .. }, Part::Bytes(more)) => data.push_str(more),
            (Kind::Kept(field), Part::Raw(raw)) => {
                let field = field.clone();
                self.chunk(choice, out, |to| to.field(&field, raw), rest);
            }
            // A seal is for the provider that made it, which this client does not know.
            _ => {}
        }
    }

    fn unknown(&mut self, fields: &Map<String, Value>, out: &mut BytesMut) {
        let Some(choices) = fields.get("choices") else {
            return self.pending.extend(fields.clone());
        };
        let mut to = self.begin_chunk();
        let mut choices = choices.clone();
        for choice in choices.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            // Clients read `delta` without asking whether it is there.
            choice.entry("delta").or_insert_with(|| json!({}));
        }
        to.field("choices", &choices);
        to.close(b'}');
        sse::write(None, &to.finish(), out);
    }
}

/// What a chunk says besides its `delta`.
struct Rest<'a> {
    finish: Option<&'a str>,
    logprobs: &'a [TokenLogprob],
}

impl Rest<'_> {
    const NONE: Rest<'static> = Rest { finish: None, logprobs: &[] };
}

impl Encoder for ChatEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if self.framing == Framing::Whole {
            return self.fold(event, out);
        }
        if self.ended {
            return Ok(());
        }
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS && !is_whole(event)) {
            return self.pass(raw, &event.deltas, out);
        }
        let mut deltas = event.deltas.iter().peekable();
        while let Some(delta) = deltas.next() {
            // A text and the log probabilities of its tokens are one chunk on the wire.
            let mut logprobs: &[TokenLogprob] = &[];
            if let (
                Delta::BlockDelta { choice, block, part: Part::Text(_) },
                Some(Delta::BlockDelta { choice: same_choice, block: same_block, part: Part::Logprobs(tokens) }),
            ) = (delta, deltas.peek())
                && (choice, block) == (same_choice, same_block)
            {
                logprobs = tokens;
                deltas.next();
            }
            self.delta(delta, logprobs, out);
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
            Framing::Stream => sse::write(None, &body, out),
        }
        self.ended = true;
        self.folder = None;
    }

    fn ping(&mut self, out: &mut BytesMut) {
        match self.framing {
            // White space before a JSON body is no part of it.
            Framing::Whole => out.extend_from_slice(b"\n"),
            Framing::Stream => sse::write_ping(out),
        }
    }

    fn content_type(&self) -> &'static str {
        match self.framing {
            Framing::Whole => "application/json",
            Framing::Stream => "text/event-stream",
        }
    }
}

/// Whether an event is a whole answer: its bytes are then a body, not a chunk.
fn is_whole(event: &Event) -> bool {
    let has = |wanted: fn(&Delta) -> bool| event.deltas.iter().any(wanted);
    has(|delta| matches!(delta, Delta::Start { .. })) && has(|delta| matches!(delta, Delta::End))
}

/// A chunk without its token counts; `None` where it held nothing else.
fn without_usage(chunk: &[u8]) -> Result<Option<Bytes>> {
    let fields = Object::parse(chunk)?;
    if fields.get("choices").is_none_or(|choices| choices.get() == "[]") {
        return Ok(None);
    }
    let mut splice = Splice::new(chunk)?;
    if let Some(usage) = fields.get("usage") {
        splice.remove(usage);
    }
    Ok(Some(splice.finish()))
}
