//! A whole answer as one message of this dialect, and the blocks of it. Events are in `response.rs`; reading is `stream.rs`.

use serde_json::{Map, Value, json, value::RawValue};

use crate::delta::FinishReason;
use crate::dialect::Dialect;
use crate::dialect::anthropic::types;
use crate::dialect::json::Writer;
use crate::request::BlockBody;
use crate::response::Response;

const OURS: Dialect = Dialect::Anthropic;

/// What this router did not know of a message, gathered from [`Delta::Unknown`](crate::delta::Delta::Unknown).
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Fields of the message; `usage` among them is what is not known of the counts.
    pub(super) fields: Map<String, Value>,
    /// Fields of blocks: the block's number and the rest.
    blocks: Vec<(u64, Map<String, Value>)>,
}

impl Unknown {
    /// Takes a part of a message. What says its own type is an event and no part.
    pub(super) fn take(&mut self, raw: &Value) {
        let Some(fields) = raw.as_object().filter(|fields| !fields.contains_key("type")) else { return };
        for (name, value) in fields {
            match (name.as_str(), value, self.fields.get_mut(name)) {
                ("content", Value::Array(blocks), _) => blocks.iter().for_each(|block| self.block(block)),
                ("usage", Value::Object(more), Some(Value::Object(known))) => known.extend(more.clone()),
                _ => drop(self.fields.insert(name.clone(), value.clone())),
            }
        }
    }

    fn block(&mut self, raw: &Value) {
        let Some(mut fields) = raw.as_object().cloned() else { return };
        if let Some(index) = fields.shift_remove("index").as_ref().and_then(Value::as_u64) {
            self.blocks.push((index, fields));
        }
    }

    /// What is not known of a block.
    pub(super) fn of_block(&mut self, index: u32) -> Map<String, Value> {
        let at = self.blocks.iter().position(|(of, _)| *of == u64::from(index));
        at.map(|at| self.blocks.swap_remove(at).1).unwrap_or_default()
    }
}

/// Writes a body.
pub(super) fn encode(response: &Response) -> Vec<u8> {
    let mut unknown = Unknown::default();
    (response.unknown.iter()).filter(|(dialect, _)| *dialect == OURS).for_each(|(_, raw)| unknown.take(raw));
    let choice = response.choices.first();
    let mut to = Writer::with_capacity(1024);
    to.open(b'{');
    to.field("id", &response.id);
    to.field("type", "message");
    to.field("role", "assistant");
    to.field("model", &response.model);
    to.key("content");
    to.open(b'[');
    let mut called = false;
    for (index, block) in (0..).zip(choice.map(|choice| choice.content.as_slice()).unwrap_or_default()) {
        called |= matches!(block.body, BlockBody::ToolCall { .. });
        write_block(&block.body, unknown.of_block(index), &mut to);
    }
    to.close(b']');
    let (reason, raw) =
        choice.map_or((FinishReason::Other, None), |choice| (choice.finish, choice.raw_reason.as_deref()));
    to.field("stop_reason", types::finish_word(reason, raw, called));
    to.field("stop_sequence", &unknown.fields.shift_remove("stop_sequence"));
    to.field("usage", &types::usage_json(response.usage.as_ref(), unknown.fields.shift_remove("usage").as_ref()));
    for (name, value) in &unknown.fields {
        to.field(name, value);
    }
    to.close(b'}');
    to.finish()
}

/// Writes a block, if the dialect has a word for it.
fn write_block(body: &BlockBody, rest: Map<String, Value>, to: &mut Writer) {
    match body {
        BlockBody::Provider { dialect: OURS, raw, .. } => return to.value(raw),
        BlockBody::Text { .. }
        | BlockBody::Refusal { .. }
        | BlockBody::Reasoning { .. }
        | BlockBody::ToolCall { .. } => {}
        _ => return,
    }
    to.open(b'{');
    match body {
        BlockBody::Text { text, annotations, .. } => {
            to.field("type", "text");
            to.field("text", text);
            let citations: Vec<&Value> = annotations.iter().filter(|note| types::is_citation(note)).collect();
            to.some("citations", Some(&citations).filter(|list| !list.is_empty()));
        }
        BlockBody::Refusal { text } => {
            to.field("type", "text");
            to.field("text", text);
        }
        BlockBody::Reasoning { signature, redacted: true, .. } => {
            to.field("type", "redacted_thinking");
            to.field("data", signature.as_deref().unwrap_or_default());
        }
        BlockBody::Reasoning { text, signature, .. } => {
            to.field("type", "thinking");
            to.field("thinking", text);
            to.field("signature", signature.as_deref().unwrap_or_default());
        }
        BlockBody::ToolCall { id, name, arguments } => {
            to.field("type", "tool_use");
            to.field("id", &types::call_id(id));
            to.field("name", name);
            to.key("input");
            write_input(arguments, to);
        }
        _ => {}
    }
    for (name, value) in &rest {
        to.field(name, value);
    }
    to.close(b'}');
}

/// Arguments as the object that this dialect has in their place. What is none stands under one name.
pub(super) fn write_input(arguments: &str, to: &mut Writer) {
    match arguments.trim() {
        "" => to.raw("{}"),
        text if text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() => to.raw(text),
        text => to.value(&json!({"arguments": text})),
    }
}
