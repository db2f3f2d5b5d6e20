//! Answers written in this dialect: as events, or folded into one message (`whole.rs`).
//!
//! Where an event carries its bytes as this very dialect sent them, and the framing is the same, those are written and not a retelling. In a retelling one
//! block is open at a time, as clients expect: what another dialect interleaves waits for its turn. The last counts and the stop reason go out with the
//! end, since other dialects give their counts after everything else.

use std::collections::VecDeque;

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use crate::delta::{BlockKind, Delta, Event, FinishReason, Part, Raw};
use crate::dialect::anthropic::whole::{self, Unknown};
use crate::dialect::anthropic::{error, types};
use crate::dialect::json::{Object, Writer, text};
use crate::dialect::left::{self, Left};
use crate::dialect::{Dialect, Encoder, FieldPath, Framing, sse};
use crate::error::{Error, Result};
use crate::response::Folder;
use crate::trace::Trace;
use crate::usage::Usage;

const OURS: Dialect = Dialect::Anthropic;

pub(super) struct MessageEncoder {
    framing: Framing,
    /// The number of the next block on the wire.
    next: u32,
    /// The block that is written now: the domain's number and how it is written.
    live: Option<(u32, Kind)>,
    /// Blocks that began while another one was written.
    waiting: VecDeque<Waiting>,
    unknown: Unknown,
    usage: Option<Usage>,
    finish: Option<(FinishReason, Option<String>)>,
    called: bool,
    ended: bool,
    folder: Option<Folder>,
    left: Left,
}

#[derive(Debug)]
enum Kind {
    Words(&'static str),
    Call,
    /// Written when it is whole: sealed thoughts, and blocks of the provider's own.
    Sealed(String),
    Own(Box<Folder>),
    /// Another dialect's own, sound or a picture: nothing of it can be said.
    Foreign,
}

#[derive(Debug)]
struct Waiting {
    block: u32,
    kind: BlockKind,
    parts: Vec<Part>,
    ended: bool,
}

impl MessageEncoder {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            next: 0,
            live: None,
            waiting: VecDeque::new(),
            unknown: Unknown::default(),
            usage: None,
            finish: None,
            called: false,
            ended: false,
            folder: (framing == Framing::Whole).then(Folder::default),
            left: Left::default(),
        }
    }

    /// One body at the end, and nothing before.
    fn fold(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS && is_whole(event)) {
            self.folder = None;
            out.extend_from_slice(&raw.data);
            return Ok(());
        }
        for delta in &event.deltas {
            folder.push(delta);
            if let Delta::BlockStart { kind, .. } = delta
                && !has_word(kind)
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

    /// Passes on an event as received. Clients go by its name, which some servers leave out.
    fn pass(&mut self, raw: &Raw, deltas: &[Delta], out: &mut BytesMut) {
        let named = raw.name.is_none().then(|| Object::parse(&raw.data).ok()).flatten();
        let kind = named.as_ref().and_then(|fields| text(fields.get("type")?));
        sse::write(raw.name.as_deref().or(kind.as_deref()), &raw.data, out);
        self.ended |= deltas.iter().any(|delta| matches!(delta, Delta::End));
    }

    fn delta(&mut self, delta: &Delta, out: &mut BytesMut) {
        match delta {
            Delta::Start { id, model, .. } => self.start(id, model, out),
            // The dialect has one answer to a request.
            Delta::BlockStart { choice: 1.., .. }
            | Delta::BlockDelta { choice: 1.., .. }
            | Delta::BlockEnd { choice: 1.., .. }
            | Delta::Finish { choice: 1.., .. } => {}
            Delta::BlockStart { block, kind, .. } => match self.live {
                None => self.open(*block, kind, out),
                Some(_) => {
                    self.waiting.push_back(Waiting {
                        block: *block,
                        kind: kind.clone(),
                        parts: Vec::new(),
                        ended: false,
                    });
                }
            },
            Delta::BlockDelta { block, part, .. } => match self.waiting.iter_mut().find(|one| one.block == *block) {
                Some(one) => one.parts.push(part.clone()),
                None => self.part(*block, part, out),
            },
            Delta::BlockEnd { block, .. } => match self.waiting.iter_mut().find(|one| one.block == *block) {
                Some(one) => one.ended = true,
                None => self.close(*block, out),
            },
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Unknown { dialect: OURS, raw } => match raw.get("type").and_then(Value::as_str) {
                Some(name) => sse::write(Some(name), raw.to_string().as_bytes(), out),
                None => self.unknown.take(raw),
            },
            Delta::Unknown { .. } => {}
            Delta::Finish { reason, raw_reason, .. } => self.finish = Some((*reason, raw_reason.clone())),
            Delta::End => self.end(out),
        }
    }

    fn start(&mut self, id: &str, model: &str, out: &mut BytesMut) {
        let usage = self.unknown.fields.shift_remove("usage");
        let mut to = event("message_start");
        to.key("message");
        to.open(b'{');
        to.field("id", id);
        to.field("type", "message");
        to.field("role", "assistant");
        to.field("model", model);
        to.field("content", &[(); 0]);
        to.field("stop_reason", &None::<()>);
        to.field("stop_sequence", &None::<()>);
        to.field("usage", &types::usage_json(self.usage.as_ref(), usage.as_ref()));
        to.close(b'}');
        write("message_start", to, out);
    }

    fn open(&mut self, block: u32, kind: &BlockKind, out: &mut BytesMut) {
        let opened = match kind {
            BlockKind::Text | BlockKind::Refusal => {
                self.begin(block, json!({"type": "text", "text": ""}), out);
                Kind::Words("text")
            }
            BlockKind::Reasoning { redacted: false } => {
                self.begin(block, json!({"type": "thinking", "thinking": "", "signature": ""}), out);
                Kind::Words("thinking")
            }
            BlockKind::Reasoning { redacted: true } => Kind::Sealed(String::new()),
            BlockKind::ToolCall { id, name } => {
                self.called = true;
                let call = json!({"type": "tool_use", "id": types::call_id(id), "name": name, "input": {}});
                self.begin(block, call, out);
                Kind::Call
            }
            BlockKind::Provider { dialect: OURS, .. } => {
                let mut folder = Folder::default();
                folder.push(&Delta::BlockStart { choice: 0, block: 0, kind: kind.clone() });
                Kind::Own(Box::new(folder))
            }
            kind => {
                self.left.note_block(kind);
                Kind::Foreign
            }
        };
        self.live = Some((block, opened));
    }

    /// Writes the beginning of a block, with what is not known of it.
    fn begin(&mut self, block: u32, mut content: Value, out: &mut BytesMut) {
        if let Some(fields) = content.as_object_mut() {
            fields.extend(self.unknown.of_block(block));
        }
        let mut to = event("content_block_start");
        to.field("index", &self.next);
        to.field("content_block", &content);
        write("content_block_start", to, out);
    }

    fn part(&mut self, block: u32, part: &Part, out: &mut BytesMut) {
        let index = self.next;
        let mut piece = |kind: &str, name: &str, value: &dyn Fn(&mut Writer)| {
            let mut to = event("content_block_delta");
            to.field("index", &index);
            to.key("delta");
            to.open(b'{');
            to.field("type", kind);
            to.key(name);
            value(&mut to);
            to.close(b'}');
            write("content_block_delta", to, out);
        };
        match (self.live.as_mut().filter(|(live, _)| *live == block).map(|(_, kind)| kind), part) {
            (Some(Kind::Words("thinking")), Part::Text(words)) => {
                piece("thinking_delta", "thinking", &|to| to.value(words));
            }
            (Some(Kind::Words(_)), Part::Text(words)) => piece("text_delta", "text", &|to| to.value(words)),
            (Some(Kind::Words("thinking")), Part::Signature(seal)) => {
                piece("signature_delta", "signature", &|to| to.value(seal));
            }
            (Some(Kind::Words("text")), Part::Annotation(note)) if types::is_citation(note) => {
                piece("citations_delta", "citation", &|to| to.value(note));
            }
            (Some(Kind::Call), Part::ToolArguments(more)) => {
                piece("input_json_delta", "partial_json", &|to| to.value(more));
            }
            (Some(Kind::Sealed(data)), Part::Signature(more)) => data.push_str(more),
            (Some(Kind::Own(folder)), part) => {
                folder.push(&Delta::BlockDelta { choice: 0, block: 0, part: part.clone() });
            }
            _ => {}
        }
    }

    /// Ends a block, and goes on with those that waited for it.
    fn close(&mut self, block: u32, out: &mut BytesMut) {
        let Some((_, kind)) = self.live.take_if(|(live, _)| *live == block) else { return };
        self.write_end(block, kind, out);
        while let Some(Waiting { block, kind, parts, ended }) = self.waiting.pop_front() {
            self.open(block, &kind, out);
            parts.iter().for_each(|part| self.part(block, part, out));
            match self.live.take_if(|_| ended) {
                Some((_, kind)) => self.write_end(block, kind, out),
                None => break,
            }
        }
    }

    fn write_end(&mut self, block: u32, kind: Kind, out: &mut BytesMut) {
        match kind {
            Kind::Foreign => return,
            Kind::Sealed(data) => self.begin(block, json!({"type": "redacted_thinking", "data": data}), out),
            Kind::Own(folder) => self.begin(block, own(*folder), out),
            Kind::Words(_) | Kind::Call => {}
        }
        let mut to = event("content_block_stop");
        to.field("index", &self.next);
        write("content_block_stop", to, out);
        self.next = self.next.saturating_add(1);
    }

    fn end(&mut self, out: &mut BytesMut) {
        let (reason, raw) = self.finish.take().unwrap_or((FinishReason::Other, None));
        let mut rest = std::mem::take(&mut self.unknown.fields);
        let usage = rest.shift_remove("usage");
        let mut delta = Map::new();
        delta.insert("stop_reason".to_owned(), types::finish_word(reason, raw.as_deref(), self.called).into());
        delta.insert("stop_sequence".to_owned(), rest.shift_remove("stop_sequence").unwrap_or_default());
        // The one field that stands beside the delta and not in it.
        let context = rest.shift_remove("context_management");
        delta.extend(rest);
        let mut to = event("message_delta");
        to.field("delta", &delta);
        to.field("usage", &types::usage_json(self.usage.as_ref(), usage.as_ref()));
        to.some("context_management", context.as_ref());
        to.some(left::FIELD, self.left.told().as_ref());
        write("message_delta", to, out);
        write("message_stop", event("message_stop"), out);
        self.ended = true;
    }
}

/// Whether the dialect can say a block of this kind.
fn has_word(kind: &BlockKind) -> bool {
    !matches!(kind, BlockKind::Media { .. }) && !matches!(kind, BlockKind::Provider { dialect, .. } if *dialect != OURS)
}

/// A block of the provider's own, put together.
fn own(mut folder: Folder) -> Value {
    folder.push(&Delta::Finish { choice: 0, reason: FinishReason::Other, raw_reason: None });
    folder.push(&Delta::End);
    let response = folder.finish().unwrap_or_default();
    let block = response.choices.into_iter().next().and_then(|choice| choice.content.into_iter().next());
    match block.map(|block| block.body) {
        Some(crate::request::BlockBody::Provider { raw, .. }) => raw,
        _ => Value::Null,
    }
}

/// An event that says its type; [`write`] ends it.
fn event(kind: &str) -> Writer {
    let mut to = Writer::with_capacity(192);
    to.open(b'{');
    to.field("type", kind);
    to
}

fn write(kind: &str, mut to: Writer, out: &mut BytesMut) {
    to.close(b'}');
    sse::write(Some(kind), &to.finish(), out);
}

impl Encoder for MessageEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if self.framing == Framing::Whole {
            return self.fold(event, out);
        }
        if self.ended {
            return Ok(());
        }
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS && !is_whole(event)) {
            self.pass(raw, &event.deltas, out);
            return Ok(());
        }
        let begins = event.deltas.iter().any(|delta| matches!(delta, Delta::Start { .. }));
        // What is known when the message begins is said there.
        let early = |delta: &&Delta| match delta {
            Delta::Usage(_) => true,
            Delta::Unknown { raw, .. } => raw.get("type").is_none(),
            _ => false,
        };
        if begins {
            event.deltas.iter().filter(early).for_each(|delta| self.delta(delta, out));
        }
        event.deltas.iter().filter(|delta| !(begins && early(delta))).for_each(|delta| self.delta(delta, out));
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
            Framing::Stream => sse::write(Some("error"), &body, out),
        }
        self.ended = true;
        self.folder = None;
    }

    fn ping(&mut self, out: &mut BytesMut) {
        match self.framing {
            // White space before a JSON body is no part of it.
            Framing::Whole => out.extend_from_slice(b"\n"),
            Framing::Stream => sse::write(Some("ping"), b"{\"type\": \"ping\"}", out),
        }
    }

    fn content_type(&self) -> &'static str {
        match self.framing {
            Framing::Whole => "application/json",
            Framing::Stream => "text/event-stream",
        }
    }
}

/// Whether an event is a whole answer: its bytes are then a body, not an event of a stream.
fn is_whole(event: &Event) -> bool {
    let has = |wanted: fn(&Delta) -> bool| event.deltas.iter().any(wanted);
    has(|delta| matches!(delta, Delta::Start { .. })) && has(|delta| matches!(delta, Delta::End))
}
