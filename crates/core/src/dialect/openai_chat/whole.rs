//! A whole answer as one body of this dialect. Chunks are in `response.rs`; reading is `stream.rs`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::dialect::Dialect;
use crate::dialect::json::Writer;
use crate::dialect::openai_chat::types;
use crate::request::{BlockBody, TokenLogprob};
use crate::response::{Choice, Response};

const OURS: Dialect = Dialect::OpenaiChat;

/// What this router did not know, put back where it stood.
#[derive(Default)]
struct Unknown {
    top: Map<String, Value>,
    choices: BTreeMap<u32, OfChoice>,
}

/// What was not known of one choice.
#[derive(Clone, Default)]
struct OfChoice {
    beside: Map<String, Value>,
    message: Map<String, Value>,
}

impl Unknown {
    fn of(response: &Response) -> Self {
        let mut unknown = Self::default();
        let ours = response.unknown.iter().filter(|(dialect, _)| *dialect == OURS);
        for (name, value) in ours.filter_map(|(_, raw)| raw.as_object()).flatten() {
            match (name.as_str(), value) {
                ("choices", Value::Array(choices)) => choices.iter().for_each(|choice| unknown.choice(choice)),
                _ => drop(unknown.top.insert(name.clone(), value.clone())),
            }
        }
        unknown
    }

    fn choice(&mut self, raw: &Value) {
        let Some(fields) = raw.as_object() else { return };
        let index =
            fields.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        let OfChoice { beside, message } = self.choices.entry(index).or_default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("delta" | "message", Value::Object(said)) => {
                    said.iter().for_each(|(name, value)| join(message, name, value))
                }
                ("index", _) => {}
                _ => join(beside, name, value),
            }
        }
    }
}

/// Lists grow, anything else is replaced: pieces of a stream become the whole.
fn join(into: &mut Map<String, Value>, name: &str, value: &Value) {
    match (into.get_mut(name), value) {
        (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
        _ => drop(into.insert(name.to_owned(), value.clone())),
    }
}

/// Writes a body.
pub(super) fn encode(response: &Response) -> Vec<u8> {
    let unknown = Unknown::of(response);
    let mut to = Writer::with_capacity(1024);
    to.open(b'{');
    to.field("id", &response.id);
    to.field("object", "chat.completion");
    to.field("created", &response.created.unwrap_or(0));
    to.field("model", &response.model);
    to.key("choices");
    to.open(b'[');
    for choice in &response.choices {
        write_choice(choice, unknown.choices.get(&choice.index).cloned().unwrap_or_default(), &mut to);
    }
    to.close(b']');
    if let Some(usage) = &response.usage {
        to.key("usage");
        types::write_usage(usage, &mut to);
    }
    for (name, value) in &unknown.top {
        to.field(name, value);
    }
    to.close(b'}');
    to.finish()
}

/// What one message says, gathered from its blocks.
#[derive(Default)]
struct Said<'a> {
    content: Option<String>,
    refusal: Option<String>,
    reasoning: String,
    annotations: Vec<&'a Value>,
    logprobs: Vec<TokenLogprob>,
    calls: Vec<(&'a str, &'a str, &'a str)>,
    images: Vec<Value>,
    audio: Map<String, Value>,
    kept: Vec<(&'a str, &'a Value)>,
}

impl<'a> Said<'a> {
    fn of(choice: &'a Choice) -> Self {
        let mut said = Self::default();
        for block in &choice.content {
            said.block(&block.body);
        }
        said
    }

    fn block(&mut self, body: &'a BlockBody) {
        match body {
            BlockBody::Text { text, annotations, logprobs } => {
                self.content.get_or_insert_default().push_str(text);
                self.annotations.extend(annotations);
                self.logprobs.extend_from_slice(logprobs);
            }
            BlockBody::Refusal { text } => self.refusal.get_or_insert_default().push_str(text),
            BlockBody::Reasoning { text, .. } => self.reasoning.push_str(text),
            BlockBody::ToolCall { id, name, arguments } => self.calls.push((id, name, arguments)),
            BlockBody::Media { mime, data } if mime.starts_with("image/") => {
                let url = format!("data:{mime};base64,{data}");
                self.images.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            BlockBody::Media { data, .. } => drop(self.audio.insert("data".into(), data.as_str().into())),
            BlockBody::Provider { dialect: OURS, kind, raw } => match (kind.as_str(), raw) {
                ("audio", Value::Object(fields)) => self.audio.extend(fields.clone()),
                ("images", Value::Array(list)) => self.images.extend(list.iter().cloned()),
                _ => self.kept.push((kind, raw)),
            },
            _ => {}
        }
    }
}

fn write_choice(choice: &Choice, OfChoice { beside, message: unknown }: OfChoice, to: &mut Writer) {
    let said = Said::of(choice);
    to.open(b'{');
    to.field("index", &choice.index);
    to.key("message");
    to.open(b'{');
    to.field("role", "assistant");
    // A list of parts that nobody knows stands where the text would.
    if !said.kept.iter().any(|(name, _)| *name == "content") {
        to.field("content", &said.content);
    }
    to.field("refusal", &said.refusal);
    to.some("reasoning_content", Some(&said.reasoning).filter(|text| !text.is_empty()));
    if !said.calls.is_empty() || unknown.contains_key("tool_calls") {
        write_calls(&said, unknown.get("tool_calls"), to);
    }
    to.some("annotations", Some(&said.annotations).filter(|list| !list.is_empty()));
    to.some("images", Some(&said.images).filter(|list| !list.is_empty()));
    to.some("audio", Some(&said.audio).filter(|fields| !fields.is_empty()));
    for (name, raw) in &said.kept {
        to.field(name, raw);
    }
    for (name, value) in unknown.iter().filter(|(name, _)| *name != "tool_calls") {
        to.field(name, value);
    }
    to.close(b'}');
    to.key("logprobs");
    match said.logprobs.as_slice() {
        [] => to.value(&None::<()>),
        tokens => types::write_logprobs(tokens, to),
    }
    to.field("finish_reason", types::finish_word(choice.finish, choice.raw_reason.as_deref()));
    for (name, value) in &beside {
        to.field(name, value);
    }
    to.close(b'}');
}

fn write_calls(said: &Said<'_>, unknown: Option<&Value>, to: &mut Writer) {
    let unknown = unknown.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    to.key("tool_calls");
    to.open(b'[');
    for (at, (id, name, arguments)) in said.calls.iter().enumerate() {
        to.open(b'{');
        to.field("id", id);
        to.field("type", "function");
        to.key("function");
        to.open(b'{');
        to.field("name", name);
        to.field("arguments", arguments);
        to.close(b'}');
        // Fields of a call that this router does not know come with the call's place.
        let more = unknown.iter().filter(|extra| extra.get("type").is_none() && extra.get("index") == Some(&at.into()));
        for (name, value) in more.filter_map(Value::as_object).flatten().filter(|(name, _)| *name != "index") {
            to.field(name, value);
        }
        to.close(b'}');
    }
    for call in unknown.iter().filter(|extra| extra.get("type").is_some()) {
        to.value(call);
    }
    to.close(b']');
}
