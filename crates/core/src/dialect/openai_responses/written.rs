//! Items and parts of an answer as JSON text, for the encoder in `response.rs`.

use std::collections::HashMap;

use serde_json::Value;

use crate::dialect::json::Writer;
use crate::dialect::openai_chat::types::wire_tokens;
use crate::dialect::openai_responses::types::OURS;
use crate::request::{RawJson, Request, TokenLogprob, Tool};

pub(super) const EMPTY_TEXT: &str = r#"{"type":"output_text","annotations":[],"logprobs":[],"text":""}"#;
pub(super) const EMPTY_REFUSAL: &str = r#"{"type":"refusal","refusal":""}"#;
pub(super) const EMPTY_SUMMARY: &str = r#"{"type":"summary_text","text":""}"#;

/// Ids for the items of one answer.
#[derive(Debug, Default)]
pub(super) struct Ids {
    answer: String,
    given: usize,
}

impl Ids {
    /// Ids for the items of the answer with this id.
    pub(super) fn of(answer: &str) -> Self {
        Self { answer: answer.strip_prefix("resp_").unwrap_or(answer).to_owned(), given: 0 }
    }

    /// The next one, with the prefix of its kind.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        self.given += 1;
        format!("{prefix}_{}_{}", self.answer, self.given - 1)
    }
}

/// A call on its way out.
#[derive(Debug)]
pub(super) struct Call {
    call_id: String,
    name: String,
    namespace: Option<String>,
    pub(super) arguments: String,
}

impl Call {
    pub(super) fn new(call_id: &str, name: &str, namespaces: &HashMap<String, (String, String)>) -> Self {
        let (namespace, name) = match namespaces.get(name) {
            Some((namespace, bare)) => (Some(namespace.clone()), bare.clone()),
            None => (None, name.to_owned()),
        };
        Self { call_id: call_id.to_owned(), name, namespace, arguments: String::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A model that wrote no arguments meant none; clients parse them as an object.
    pub(super) fn arguments(&self) -> &str {
        if self.arguments.is_empty() { "{}" } else { &self.arguments }
    }

    pub(super) fn write(&self, id: &str, status: &str, to: &mut Writer) {
        to.open(b'{');
        to.field("id", id);
        to.field("type", "function_call");
        to.field("status", status);
        to.field("arguments", if status == "completed" { self.arguments() } else { &self.arguments });
        to.field("call_id", &self.call_id);
        to.field("name", &self.name);
        to.some("namespace", self.namespace.as_ref());
        to.close(b'}');
    }
}

/// The tools that stand in a namespace on the wire: their one name here → namespace and name there.
pub(super) fn namespaces(tools: &[Tool]) -> HashMap<String, (String, String)> {
    let word = |raw: &RawJson, path: &str| Some(raw.value().pointer(path)?.as_str()?.to_owned());
    let split = tools.iter().filter_map(|tool| {
        let ours = tool.extra.get(&OURS)?;
        Some((tool.name.clone(), (word(ours.get("namespace")?, "/name")?, word(ours.get("name")?, "")?)))
    });
    split.collect()
}

/// What an answer repeats of its request, without what would be copied for nothing.
pub(super) fn without_messages(request: &Request) -> Request {
    let mut bare = Request::default();
    bare.origin.clone_from(&request.origin);
    bare
}

/// What `write` writes, as text.
pub(super) fn text_of(write: impl FnOnce(&mut Writer)) -> String {
    let mut to = Writer::with_capacity(256);
    write(&mut to);
    String::from_utf8(to.finish()).unwrap_or_default()
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    text_of(|to| to.value(text))
}

/// A message of these parts.
pub(super) fn message(id: &str, status: &str, parts: &[String], to: &mut Writer) {
    to.open(b'{');
    to.field("id", id);
    to.field("type", "message");
    to.field("status", status);
    to.key("content");
    to.open(b'[');
    parts.iter().for_each(|part| to.raw(part));
    to.close(b']');
    to.field("role", "assistant");
    to.close(b'}');
}

/// A part that is a text.
pub(super) fn text(text: &str, annotations: &[Value], logprobs: &[TokenLogprob], to: &mut Writer) {
    to.open(b'{');
    to.field("type", "output_text");
    to.field("annotations", annotations);
    to.field("logprobs", &wire_tokens(logprobs));
    to.field("text", text);
    to.close(b'}');
}

/// A part that is a refusal.
pub(super) fn refusal(text: &str, to: &mut Writer) {
    to.open(b'{');
    to.field("type", "refusal");
    to.field("refusal", text);
    to.close(b'}');
}

/// A part of a summary.
pub(super) fn summary(text: &str, to: &mut Writer) {
    to.open(b'{');
    to.field("type", "summary_text");
    to.field("text", text);
    to.close(b'}');
}

/// Thoughts, with their seal where there is one.
pub(super) fn thought(id: &str, text: &str, sealed: Option<&str>, to: &mut Writer) {
    to.open(b'{');
    to.field("id", id);
    to.field("type", "reasoning");
    to.key("summary");
    to.open(b'[');
    if !text.is_empty() {
        summary(text, to);
    }
    to.close(b']');
    to.some("encrypted_content", sealed);
    to.close(b'}');
}

/// A picture that the model made.
pub(super) fn picture(id: &str, mime: &str, data: &str, to: &mut Writer) {
    to.open(b'{');
    to.field("id", id);
    to.field("type", "image_generation_call");
    to.field("status", "completed");
    to.field("output_format", mime.strip_prefix("image/").unwrap_or(mime));
    to.field("result", data);
    to.close(b'}');
}

/// Joins pieces of an item of this dialect's own.
pub(super) fn merge(whole: &mut Value, more: &Value) {
    match (whole, more) {
        (Value::Object(fields), Value::Object(new)) => {
            new.iter().for_each(|(name, value)| drop(fields.insert(name.clone(), value.clone())));
        }
        (whole, more) => whole.clone_from(more),
    }
}
