//! The blocks of an answer on their way out: each as the events of its item or part, and as the item that stands in the answer. The machine around them is
//! `response.rs`, the items as text are `written.rs`.

use bytes::BytesMut;
use serde_json::Value;

use crate::delta::{BlockKind, Part};
use crate::dialect::json::Writer;
use crate::dialect::openai_chat::types::wire_tokens;
use crate::dialect::openai_responses::history::flat_annotation;
use crate::dialect::openai_responses::items::PART;
use crate::dialect::openai_responses::object::Status;
use crate::dialect::openai_responses::response::ResponsesEncoder;
use crate::dialect::openai_responses::types::{OURS, wrap};
use crate::dialect::openai_responses::written::{self, Call};
use crate::request::TokenLogprob;

/// The message that texts go to now.
pub(super) struct Message {
    index: usize,
    id: String,
    /// Its parts, in order; `None` until a part is whole.
    parts: Vec<Option<String>>,
}

/// A block that has begun.
pub(super) enum Open {
    Text {
        part: usize,
        text: String,
        annotations: Vec<Value>,
        logprobs: Vec<TokenLogprob>,
    },
    Refusal {
        part: usize,
        text: String,
    },
    Thought {
        at: Option<(usize, String)>,
        text: String,
        seal: String,
    },
    Call {
        index: usize,
        id: String,
        call: Call,
    },
    Picture {
        mime: String,
        data: String,
    },
    /// An item, or a part of a message, of this dialect's own.
    Own {
        kind: String,
        raw: Value,
    },
    /// Another dialect's own, or what this one has no place for.
    Foreign,
}

impl ResponsesEncoder {
    /// The place of a new part of the message that is open; one begins where none is.
    fn part(&mut self, out: &mut BytesMut, empty: &str) -> usize {
        if self.message.is_none() {
            let id = self.ids.next("msg");
            let index = self.begin_item(out, |to| written::message(&id, "in_progress", &[], to));
            self.message = Some(Message { index, id, parts: Vec::new() });
        }
        let part = self.message.as_mut().map_or(0, |message| {
            message.parts.push(None);
            message.parts.len() - 1
        });
        self.part_event("response.content_part.added", part, out, |to| to.member("part", empty));
        part
    }

    /// An event about a part of the open message; `fields` writes what else it says.
    fn part_event(&mut self, kind: &str, part: usize, out: &mut BytesMut, fields: impl FnOnce(&mut Writer)) {
        let place = self.message.as_ref().map(|message| (message.id.clone(), message.index));
        let Some((id, index)) = place else { return };
        self.emit(kind, out, |to| {
            to.field("item_id", &id);
            to.field("output_index", &index);
            to.field("content_index", &part);
            fields(to);
        });
    }

    fn end_part(&mut self, part: usize, text: String, out: &mut BytesMut) {
        self.part_event("response.content_part.done", part, out, |to| to.member("part", &text));
        if let Some(place) = self.message.as_mut().and_then(|message| message.parts.get_mut(part)) {
            *place = Some(text);
        }
    }

    /// Ends the open message with this status, unless one of its parts goes on.
    pub(super) fn end_message(&mut self, status: &str, out: &mut BytesMut) {
        let Some(message) = self.message.take_if(|message| message.parts.iter().all(Option::is_some)) else { return };
        let parts: Vec<String> = message.parts.into_iter().flatten().collect();
        let item = written::text_of(|to| written::message(&message.id, status, &parts, to));
        self.end_item(message.index, item, out);
    }

    pub(super) fn begin(&mut self, block: u32, kind: &BlockKind, out: &mut BytesMut) {
        if !matches!(kind, BlockKind::Text | BlockKind::Refusal) {
            self.end_message(Status::Completed.word(), out);
        }
        let open = match kind {
            BlockKind::Text => {
                let part = self.part(out, written::EMPTY_TEXT);
                Open::Text { part, text: String::new(), annotations: Vec::new(), logprobs: Vec::new() }
            }
            BlockKind::Refusal => {
                self.refused = true;
                Open::Refusal { part: self.part(out, written::EMPTY_REFUSAL), text: String::new() }
            }
            BlockKind::Reasoning { redacted } => {
                let at = (!redacted).then(|| self.begin_thought(out));
                Open::Thought { at, text: String::new(), seal: String::new() }
            }
            BlockKind::ToolCall { id: call_id, name } => {
                let call = Call::new(call_id, name, &self.namespaces);
                let id = self.ids.next("fc");
                let index = self.begin_item(out, |to| call.write(&id, "in_progress", to));
                Open::Call { index, id, call }
            }
            BlockKind::Media { mime } if mime.starts_with("image/") => {
                Open::Picture { mime: mime.clone(), data: String::new() }
            }
            BlockKind::Provider { dialect: OURS, kind } => Open::Own { kind: kind.clone(), raw: Value::Null },
            kind => {
                self.left.note_block(kind);
                Open::Foreign
            }
        };
        self.blocks.insert(block, open);
    }

    fn begin_thought(&mut self, out: &mut BytesMut) -> (usize, String) {
        let id = self.ids.next("rs");
        let index = self.begin_item(out, |to| written::thought(&id, "", None, to));
        (index, id)
    }

    pub(super) fn grow(&mut self, block: u32, part: &Part, tokens: &[TokenLogprob], out: &mut BytesMut) {
        let Some(mut open) = self.blocks.remove(&block) else { return };
        match (&mut open, part) {
            (Open::Text { part, text, logprobs, .. }, Part::Text(more)) => {
                text.push_str(more);
                logprobs.extend_from_slice(tokens);
                self.text_delta(*part, more, tokens, out);
            }
            (Open::Text { part, logprobs, .. }, Part::Logprobs(tokens)) => {
                logprobs.extend_from_slice(tokens);
                self.text_delta(*part, "", tokens, out);
            }
            (Open::Text { part, annotations, .. }, Part::Annotation(note)) => {
                let note = flat_annotation(note);
                self.part_event("response.output_text.annotation.added", *part, out, |to| {
                    to.field("annotation_index", &annotations.len());
                    to.field("annotation", &note);
                });
                annotations.push(note);
            }
            (Open::Refusal { part, text }, Part::Text(more)) => {
                text.push_str(more);
                self.part_event("response.refusal.delta", *part, out, |to| to.field("delta", more));
            }
            (Open::Thought { at, text, .. }, Part::Text(more)) => {
                let (index, id) = at.get_or_insert_with(|| self.begin_thought(out));
                if text.is_empty() && !more.is_empty() {
                    self.summary_event(
                        "response.reasoning_summary_part.added",
                        (*index, id),
                        "part",
                        written::EMPTY_SUMMARY,
                        out,
                    );
                }
                text.push_str(more);
                self.summary_event(
                    "response.reasoning_summary_text.delta",
                    (*index, id),
                    "delta",
                    &written::quoted(more),
                    out,
                );
            }
            (Open::Thought { seal, .. }, Part::Signature(more)) => seal.push_str(more),
            (Open::Call { index, id, call }, Part::ToolArguments(more)) => {
                call.arguments.push_str(more);
                self.emit("response.function_call_arguments.delta", out, |to| {
                    to.field("item_id", id);
                    to.field("output_index", index);
                    to.field("delta", more);
                });
            }
            (Open::Picture { data, .. }, Part::Bytes(more)) => data.push_str(more),
            (Open::Own { raw, .. }, Part::Raw(more)) => written::merge(raw, more),
            _ => {}
        }
        self.blocks.insert(block, open);
    }

    fn text_delta(&mut self, part: usize, more: &str, tokens: &[TokenLogprob], out: &mut BytesMut) {
        self.part_event("response.output_text.delta", part, out, |to| {
            to.field("delta", more);
            to.field("logprobs", &wire_tokens(tokens));
        });
    }

    fn summary_event(&mut self, kind: &str, at: (usize, &str), name: &str, raw: &str, out: &mut BytesMut) {
        self.emit(kind, out, |to| {
            to.field("item_id", at.1);
            to.field("output_index", &at.0);
            to.field("summary_index", &0);
            to.member(name, raw);
        });
    }

    pub(super) fn end(&mut self, block: u32, out: &mut BytesMut) {
        match self.blocks.remove(&block) {
            Some(Open::Text { part, text, annotations, logprobs }) => {
                self.part_event("response.output_text.done", part, out, |to| {
                    to.field("text", &text);
                    to.field("logprobs", &wire_tokens(&logprobs));
                });
                self.end_part(part, written::text_of(|to| written::text(&text, &annotations, &logprobs, to)), out);
            }
            Some(Open::Refusal { part, text }) => {
                self.part_event("response.refusal.done", part, out, |to| to.field("refusal", &text));
                self.end_part(part, written::text_of(|to| written::refusal(&text, to)), out);
            }
            Some(Open::Thought { at, text, seal }) => self.end_thought(at, &text, &seal, out),
            Some(Open::Call { index, id, call }) => {
                self.emit("response.function_call_arguments.done", out, |to| {
                    to.field("item_id", &id);
                    to.field("output_index", &index);
                    to.field("name", call.name());
                    to.field("arguments", call.arguments());
                });
                let item = written::text_of(|to| call.write(&id, "completed", to));
                self.end_item(index, item, out);
            }
            Some(Open::Picture { mime, data }) => {
                let id = self.ids.next("ig");
                let item = written::text_of(|to| written::picture(&id, &mime, &data, to));
                self.own_item(&item, out);
            }
            Some(Open::Own { kind, raw }) => match kind.starts_with(PART) {
                true => {
                    let text = written::text_of(|to| to.value(&raw));
                    let part = self.part(out, &text);
                    self.end_part(part, text, out);
                }
                false => self.own_item(&written::text_of(|to| to.value(&raw)), out),
            },
            Some(Open::Foreign) | None => {}
        }
    }

    /// An item that is told once, whole.
    fn own_item(&mut self, item: &str, out: &mut BytesMut) {
        let index = self.begin_item(out, |to| to.raw(item));
        self.end_item(index, item.to_owned(), out);
    }

    fn end_thought(&mut self, at: Option<(usize, String)>, text: &str, seal: &str, out: &mut BytesMut) {
        let sealed = (self.seals && !seal.is_empty()).then(|| wrap(seal));
        // Sealed thoughts are nothing to a client that did not ask for the seal.
        let at = at.or_else(|| sealed.as_ref().map(|_| self.begin_thought(out)));
        let Some((index, id)) = at else { return };
        if !text.is_empty() {
            self.summary_event(
                "response.reasoning_summary_text.done",
                (index, &id),
                "text",
                &written::quoted(text),
                out,
            );
            let part = written::text_of(|to| written::summary(text, to));
            self.summary_event("response.reasoning_summary_part.done", (index, &id), "part", &part, out);
        }
        let item = written::text_of(|to| written::thought(&id, text, sealed.as_deref(), to));
        self.end_item(index, item, out);
    }
}
