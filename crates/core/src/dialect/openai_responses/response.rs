//! Answers written in this dialect: as the events of a stream, or as one body. One machine does both; for a body it writes no events.
//!
//! Where an event carries its bytes as this very dialect sent them, and the framing is the same, those are written and not a retelling. What the outermost
//! object says is `object.rs`; what becomes of each block is `blocks.rs`; each item as text is `written.rs`.

use std::collections::HashMap;

use bytes::BytesMut;
use serde_json::{Map, Value};

use crate::delta::{Delta, Event, FinishReason, Part};
use crate::dialect::json::Writer;
use crate::dialect::left::{self, Left};
use crate::dialect::openai_responses::blocks::{Message, Open};
use crate::dialect::openai_responses::object::{self, Head, Status};
use crate::dialect::openai_responses::types::OURS;
use crate::dialect::openai_responses::written::{self, Ids};
use crate::dialect::openai_responses::{error, state};
use crate::dialect::{Encoder, FieldPath, Framing, sse};
use crate::error::{Error, Result};
use crate::request::{Request, TokenLogprob};
use crate::trace::Trace;
use crate::usage::Usage;

pub(super) struct ResponsesEncoder {
    pub(super) framing: Framing,
    pub(super) request: Request,
    /// Tools in namespaces: the one name → namespace and name.
    pub(super) namespaces: HashMap<String, (String, String)>,
    /// Whether sealed thoughts are given: a client asks for them.
    pub(super) seals: bool,
    /// The next event's number.
    pub(super) sequence: u64,
    pub(super) head: Head,
    pub(super) ids: Ids,
    /// Every item that began, in order; `None` until it is whole.
    pub(super) output: Vec<Option<String>>,
    pub(super) message: Option<Message>,
    pub(super) blocks: HashMap<u32, Open>,
    pub(super) usage: Option<Usage>,
    pub(super) finish: Option<(FinishReason, Option<String>)>,
    pub(super) refused: bool,
    /// What this router did not know of the answer.
    pub(super) more: Map<String, Value>,
    pub(super) started: bool,
    pub(super) ended: bool,
    pub(super) left: Left,
}

impl ResponsesEncoder {
    pub(super) fn new(request: &Request, framing: Framing) -> Self {
        Self {
            framing,
            namespaces: written::namespaces(&request.tools),
            seals: state::wants_seals(request),
            request: written::without_messages(request),
            sequence: 0,
            head: Head::default(),
            ids: Ids::default(),
            output: Vec::new(),
            message: None,
            blocks: HashMap::new(),
            usage: None,
            finish: None,
            refused: false,
            more: Map::new(),
            started: false,
            ended: false,
            left: Left::default(),
        }
    }

    /// Every item of the answer, with its seals, as a client would send it back.
    pub(super) fn items(deltas: &[Delta]) -> Vec<String> {
        let mut encoder = Self::new(&Request::default(), Framing::Whole);
        encoder.seals = true;
        let mut out = BytesMut::new();
        deltas
            .iter()
            .filter(|delta| !matches!(delta, Delta::End))
            .for_each(|delta| encoder.delta(delta, &[], &mut out));
        encoder.output.into_iter().flatten().collect()
    }

    /// Writes an event; `fields` writes its members.
    pub(super) fn emit(&mut self, kind: &str, out: &mut BytesMut, fields: impl FnOnce(&mut Writer)) {
        if self.framing == Framing::Whole {
            return;
        }
        let mut to = Writer::with_capacity(256);
        to.open(b'{');
        to.field("type", kind);
        to.field("sequence_number", &self.sequence);
        fields(&mut to);
        to.close(b'}');
        self.sequence += 1;
        sse::write(Some(kind), &to.finish(), out);
    }

    fn object(&self, status: Status<'_>) -> String {
        let mut to = Writer::with_capacity(1024);
        let output = self.output.iter().flatten().map(String::as_str);
        object::write(&self.head, status, output, self.usage.as_ref(), &self.more, &mut to);
        String::from_utf8(to.finish()).unwrap_or_default()
    }

    fn start(&mut self, id: &str, model: &str, created: Option<u64>) {
        self.head = Head::new(&self.request, id, model, created);
        self.ids = Ids::of(&self.head.id);
        self.started = true;
    }

    pub(super) fn begin_item(&mut self, out: &mut BytesMut, item: impl FnOnce(&mut Writer)) -> usize {
        let index = self.output.len();
        self.output.push(None);
        self.emit("response.output_item.added", out, |to| {
            to.field("output_index", &index);
            to.key("item");
            item(to);
        });
        index
    }

    pub(super) fn end_item(&mut self, index: usize, item: String, out: &mut BytesMut) {
        self.emit("response.output_item.done", out, |to| {
            to.field("output_index", &index);
            to.key("item");
            to.raw(&item);
        });
        if let Some(place) = self.output.get_mut(index) {
            *place = Some(item);
        }
    }

    fn delta(&mut self, delta: &Delta, tokens: &[TokenLogprob], out: &mut BytesMut) {
        match delta {
            Delta::Start { id, model, created } => {
                self.start(id, model, *created);
                if self.framing == Framing::Stream {
                    let object = self.object(Status::InProgress);
                    for kind in ["response.created", "response.in_progress"] {
                        self.emit(kind, out, |to| {
                            to.key("response");
                            to.raw(&object);
                        });
                    }
                }
            }
            // The dialect has one answer to a request.
            Delta::BlockStart { choice: 0, block, kind } => self.begin(*block, kind, out),
            Delta::BlockDelta { choice: 0, block, part } => self.grow(*block, part, tokens, out),
            Delta::BlockEnd { choice: 0, block } => self.end(*block, out),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Unknown { dialect: OURS, raw: Value::Object(fields) } => self.unknown(fields, out),
            Delta::Finish { choice: 0, reason, raw_reason } => {
                // The message that the answer broke off in is no more whole than the answer.
                self.end_message(Status::of(*reason, raw_reason.as_deref(), self.refused).word(), out);
                self.finish = Some((*reason, raw_reason.clone()));
            }
            Delta::End => self.finish(out),
            _ => {}
        }
    }

    fn unknown(&mut self, fields: &Map<String, Value>, out: &mut BytesMut) {
        match fields.get("type").and_then(Value::as_str) {
            Some(kind) => {
                let rest = fields.iter().filter(|(name, _)| !["type", "sequence_number"].contains(&name.as_str()));
                self.emit(kind, out, |to| rest.for_each(|(name, value)| to.field(name, value)));
            }
            None => self.more.extend(fields.clone()),
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let (reason, raw) = self.finish.take().unwrap_or((FinishReason::Stop, None));
        let status = Status::of(reason, raw.as_deref(), self.refused);
        if self.framing == Framing::Stream {
            self.usage = self.usage.map(|usage| self.left.priced(usage));
        }
        if let Some(left) = self.left.told().filter(|_| self.framing == Framing::Stream) {
            self.more.insert(left::FIELD.to_owned(), left);
        }
        let object = self.object(status);
        match self.framing {
            Framing::Whole => out.extend_from_slice(object.as_bytes()),
            Framing::Stream => self.emit(&format!("response.{}", status.word()), out, |to| {
                to.key("response");
                to.raw(&object);
            }),
        }
        self.ended = true;
    }
}

impl Encoder for ResponsesEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        if let Some(raw) = event.raw.as_ref().filter(|raw| raw.dialect == OURS) {
            match self.framing {
                Framing::Whole => out.extend_from_slice(&raw.data),
                Framing::Stream => sse::write(raw.name.as_deref(), &raw.data, out),
            }
            self.sequence += 1;
            for delta in &event.deltas {
                match delta {
                    Delta::Start { id, model, created } => self.start(id, model, *created),
                    Delta::End => self.ended = true,
                    _ => {}
                }
            }
            return Ok(());
        }
        let mut deltas = event.deltas.iter().peekable();
        while let Some(delta) = deltas.next() {
            // A text and the log probabilities of its tokens are one event on the wire.
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
        match self.framing {
            Framing::Whole => out.extend_from_slice(&crate::dialect::openai_chat::error::encode(error)),
            Framing::Stream => {
                if !self.started {
                    // The head went out before anybody answered.
                    self.start("", "", None);
                }
                let so_far = serde_json::from_str(&self.object(Status::InProgress)).unwrap_or_default();
                self.sequence = error::write(error, self.sequence, so_far, out);
            }
        }
        self.ended = true;
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
