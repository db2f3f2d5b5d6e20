//! Answers of this dialect as deltas. A whole body and the last event of a stream hold the same object and go through the same code.
//!
//! What the items of an answer say is `output.rs`. The terminal events are `response.completed` and `response.incomplete`; `response.failed` and `error`
//! are errors, and a stream that ends without any of them was cut.

use serde_json::{Map, Value, value::RawValue};

use crate::delta::{Delta, Event, FinishReason, Raw};
use crate::dialect::json::{Object, lenient, text};
use crate::dialect::openai_chat::error::{is_error, unreadable};
use crate::dialect::openai_chat::types::tokens;
use crate::dialect::openai_responses::error::in_answer;
use crate::dialect::openai_responses::output::{Added, Items};
use crate::dialect::openai_responses::thoughts::Form;
use crate::dialect::openai_responses::types::{self, OURS};
use crate::dialect::unnamed::with_model;
use crate::dialect::{Decoder, Frame, Framing};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Call;

/// Fields of an answer that are read, or repeat what was asked.
const KNOWN: &[&str] = &[
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "background",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "output",
    "output_text",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
    "metadata",
    "billing",
    "conversation",
    "presence_penalty",
    "frequency_penalty",
];

/// Why an answer is incomplete, and what that is here.
const INCOMPLETE: &[(&str, FinishReason)] = &[
    ("max_output_tokens", FinishReason::Length),
    ("max_tokens", FinishReason::Length),
    ("content_filter", FinishReason::ContentFilter),
];

pub(super) struct ResponsesDecoder {
    framing: Framing,
    /// Whether the caller speaks this dialect, so that frames are passed on as received.
    keep_raw: bool,
    model: String,
    /// Whether the answer names no model, so that frames that are passed on are given the target's.
    unnamed: bool,
    started: bool,
    done: bool,
    items: Items,
}

impl ResponsesDecoder {
    pub(super) fn new(call: &Call, framing: Framing) -> Self {
        Self {
            framing,
            keep_raw: call.request.origin.as_ref().is_some_and(|origin| origin.dialect == OURS),
            model: call.model().unwrap_or_default().to_owned(),
            unnamed: false,
            started: false,
            done: false,
            items: Items::default(),
        }
    }

    /// The answer begins; `response` is its object, where there is one.
    fn start(&mut self, response: Option<&Object<'_>>, deltas: &mut Vec<Delta>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let word =
            |name: &str| response.and_then(|fields| fields.get(name)).and_then(text).filter(|word| !word.is_empty());
        let model = word("model");
        self.unnamed = model.is_none() && !self.model.is_empty();
        let created: Option<f64> = lenient(response.and_then(|fields| fields.get("created_at")));
        deltas.push(Delta::Start {
            id: word("id").unwrap_or_default().into_owned(),
            model: model.map_or_else(|| self.model.clone(), |model| model.into_owned()),
            created: created.filter(|seconds| *seconds > 0.0).map(|seconds| seconds as u64),
        });
    }

    fn event(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        let fields = Object::parse(data).map_err(|error| unreadable(data, &error))?;
        let Some(kind) = fields.get("type").and_then(text) else {
            if fields.get("error").is_some() || is_error(&fields) {
                return Err(in_answer(data));
            }
            return Err(Error::protocol("an event of the answer has no type"));
        };
        let number = |name: &str| lenient::<u64>(fields.get(name)).unwrap_or(0);
        let (index, part) = (number("output_index"), number("content_index"));
        let word = |name: &str| fields.get(name).and_then(text).unwrap_or_default();
        let logprobs = || fields.get("logprobs").map(tokens).unwrap_or_default();
        let required = |name: &str| {
            fields.get(name).ok_or_else(|| Error::protocol(format!("an event {kind} of the answer has no {name}")))
        };
        let kind = kind.as_ref();
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                let response = Object::of(required("response")?, &"response").map_err(protocol)?;
                self.start(Some(&response), deltas);
                return Ok(());
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                return self.whole(required("response")?, deltas);
            }
            "error" => return Err(in_answer(data)),
            "keepalive" | "ping" => return Ok(()),
            _ => {}
        }
        if kind.starts_with("response.") {
            self.start(None, deltas);
        }
        match kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                let added = Added { text: &word("delta"), logprobs: logprobs(), refusal: kind.contains("refusal") };
                self.items.text(index, part, added, deltas)
            }
            "response.output_text.done" => {
                let added = Added { text: &word("text"), logprobs: logprobs(), refusal: false };
                self.items.text_done(index, part, added, deltas)
            }
            "response.refusal.done" => {
                let added = Added { text: &word("refusal"), refusal: true, ..Added::default() };
                self.items.text_done(index, part, added, deltas)
            }
            "response.output_text.annotation.added" => {
                let note: Value = lenient(Some(required("annotation")?)).unwrap_or_default();
                self.items.annotation(index, part, note, deltas)
            }
            "response.function_call_arguments.delta" => self.items.arguments(index, &word("delta"), false, deltas),
            "response.function_call_arguments.done" => self.items.arguments(index, &word("arguments"), true, deltas),
            "response.reasoning_summary_text.delta" => {
                self.items.thought(index, number("summary_index"), Form::Summary, &word("delta"), deltas)
            }
            "response.reasoning_text.delta" => self.items.thought(index, part, Form::Content, &word("delta"), deltas),
            "response.output_item.added" => self.items.added(index, required("item")?, deltas),
            "response.output_item.done" => self.items.done(index, required("item")?, deltas),
            "response.content_part.added" => self.items.part_added(index, part, required("part")?, deltas),
            "response.content_part.done" => self.items.part_done(index, part, required("part")?, deltas),
            // Told again with the item.
            "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_text.done" => Ok(()),
            // How tools that run at the provider get on: their items say what came of it.
            _ if kind.contains("_call") || kind.starts_with("response.mcp_") => Ok(()),
            _ => {
                let raw = serde_json::from_slice(data).unwrap_or_default();
                deltas.push(Delta::Unknown { dialect: OURS, raw });
                Ok(())
            }
        }
    }

    /// A whole answer: a body, or what the terminal event repeats.
    fn whole(&mut self, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let response = Object::of(raw, &"response").map_err(protocol)?;
        let status = response.get("status").and_then(text);
        if response.get("error").is_some() {
            return Err(in_answer(raw.get().as_bytes()));
        }
        let finish = match status.as_deref() {
            Some("incomplete") => Some(incomplete(&response)),
            Some("failed" | "cancelled") => {
                return Err(Error::new(
                    ErrorKind::ProviderServerError,
                    "the upstream ended its answer without saying why",
                ));
            }
            Some(word @ ("queued" | "in_progress")) => {
                return Err(Error::protocol(format!("the answer is not there yet: its status is {word:?}")));
            }
            // Servers that copy this dialect also say `complete`, or nothing.
            _ => None,
        };
        let Some(output) = response.get("output") else {
            return Err(match response.get("id").is_none() && is_error(&response) {
                true => in_answer(raw.get().as_bytes()),
                false => Error::protocol("the answer has no output"),
            });
        };
        let Ok(output) = serde_json::from_str::<Vec<&RawValue>>(output.get()) else {
            return Err(Error::protocol("the output of the answer is not a list"));
        };
        self.start(Some(&response), deltas);
        let told = !self.items.is_empty();
        for (index, item) in (0..).zip(output) {
            // A stream's items were told by its events, all but what a cut item left open.
            if !told || self.items.is_open(index) {
                self.items.done(index, item, deltas)?;
            }
        }
        self.items.end(deltas);
        self.unknown(&response, deltas);
        deltas.extend(response.get("usage").and_then(types::usage).map(Delta::Usage));
        let (reason, word) = finish.unwrap_or_else(|| match self.items.called() {
            true => (FinishReason::ToolCalls, "completed".to_owned()),
            false => (FinishReason::Stop, "completed".to_owned()),
        });
        deltas.push(Delta::Finish { choice: 0, reason, raw_reason: Some(word) });
        deltas.push(Delta::End);
        self.done = true;
        Ok(())
    }

    fn unknown(&self, response: &Object<'_>, deltas: &mut Vec<Delta>) {
        let new =
            response.rest().filter(|(name, raw)| !KNOWN.contains(name) && !matches!(raw.get(), "null" | "[]" | "{}"));
        let raw: Map<String, Value> =
            new.filter_map(|(name, raw)| Some((name.to_owned(), lenient(Some(raw))?))).collect();
        if !raw.is_empty() {
            deltas.push(Delta::Unknown { dialect: OURS, raw: Value::Object(raw) });
        }
    }
}

/// What cannot be read of an answer is its server's fault.
fn protocol(error: Error) -> Error {
    error.with_kind(ErrorKind::ProviderProtocol)
}

fn incomplete(response: &Object<'_>) -> (FinishReason, String) {
    let details: Option<Map<String, Value>> = lenient(response.get("incomplete_details"));
    let word = details.as_ref().and_then(|details| details.get("reason")?.as_str()).unwrap_or("incomplete");
    let known = INCOMPLETE.iter().find(|(known, _)| *known == word).map(|(_, reason)| *reason);
    (known.unwrap_or(FinishReason::Other), word.to_owned())
}

impl Decoder for ResponsesDecoder {
    fn frame(&mut self, frame: Frame) -> Result<Event> {
        let data = frame.data.trim_ascii();
        if self.done || (data.is_empty() && self.framing == Framing::Stream) {
            return Ok(Event::default());
        }
        let mut deltas = Vec::with_capacity(4);
        match self.framing {
            Framing::Stream if data == b"[DONE]" => {
                return Err(Error::protocol("the answer was cut: [DONE] came before response.completed"));
            }
            Framing::Stream if frame.name.as_deref() == Some("error") => return Err(in_answer(data)),
            Framing::Stream => self.event(data, &mut deltas)?,
            Framing::Whole => {
                crate::dialect::json::check_depth(data).map_err(protocol)?;
                let raw = serde_json::from_slice::<&RawValue>(data)
                    .map_err(|error| unreadable(data, &Error::protocol(error.to_string())))?;
                self.whole(raw, &mut deltas)?;
            }
        }
        let Frame { name, mut data } = frame;
        if self.keep_raw && self.unnamed {
            let inside = (self.framing == Framing::Stream).then_some("response");
            data = with_model(data, inside, "model", &self.model);
        }
        let raw = self.keep_raw.then_some(Raw { dialect: OURS, name, data });
        Ok(Event { deltas, raw })
    }

    fn end(&mut self) -> Result<Event> {
        match self.done {
            true => Ok(Event::default()),
            false => Err(Error::protocol("the answer was cut: it ended without response.completed")),
        }
    }
}
