//! The conversation from the wire: `system`, `messages` and their content blocks as domain types. The way back is `history.rs`.
//!
//! What has no place in the domain is kept whole: unknown fields in `extra`, unknown blocks (the provider's own tools among them) as
//! [`BlockBody::Provider`] of this dialect.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use crate::dialect::Dialect;
use crate::dialect::anthropic::types;
use crate::dialect::json::{Object, lenient, read};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{Block, BlockBody, Extra, Message, Role};

const OURS: Dialect = Dialect::Anthropic;

/// The field of a document whose own blocks are kept beside the text that they hold.
pub(super) const SOURCE: &str = "source";

/// Reads `system`.
pub(super) fn system(raw: &RawValue) -> Result<Message> {
    Ok(Message { role: Role::System, content: content(raw, "system")?, name: None, extra: Extra::new() })
}

/// Reads `messages`.
pub(super) fn decode(raw: &RawValue) -> Result<Vec<Message>> {
    let raw: Vec<&RawValue> = read(raw, &"messages")?;
    if raw.is_empty() {
        return Err(Error::invalid("messages: the list is empty"));
    }
    raw.into_iter().enumerate().map(|(at, raw)| message(raw, &format!("messages[{at}]"))).collect()
}

fn message(raw: &RawValue, path: &str) -> Result<Message> {
    let mut fields = Object::of(raw, &path)?;
    let word: String = fields.read(path, "role")?.ok_or_else(|| missing(path, "role"))?;
    let role = match word.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            return Err(Error::invalid(format!("{path}.role: {:?} is not a role of this dialect", shorten(other))));
        }
    };
    let raw = fields.take("content").ok_or_else(|| missing(path, "content"))?;
    let content = content(raw, &format!("{path}.content"))?;
    let mut extra = Extra::new();
    if !fields.is_empty() {
        extra.insert(OURS, fields.into_extra());
    }
    Ok(Message { role, content, name: None, extra })
}

fn missing(path: &str, field: &str) -> Error {
    Error::invalid(format!("{path}.{field}: it is missing"))
}

/// Reads content: a text, or a list of blocks.
fn content(raw: &RawValue, path: &str) -> Result<Vec<Block>> {
    match raw.get().as_bytes().first() {
        Some(b'"') => Ok(vec![Block::text(read::<String>(raw, &path)?)]),
        Some(b'[') => {
            let list: Vec<&RawValue> = read(raw, &path)?;
            list.into_iter().enumerate().map(|(at, raw)| block(raw, &format!("{path}[{at}]"))).collect()
        }
        _ => Err(Error::invalid(format!("{path}: it must be a text or a list of blocks"))),
    }
}

fn block(raw: &RawValue, path: &str) -> Result<Block> {
    let mut fields = Object::of(raw, &path)?;
    let kind: String = fields.read(path, "type")?.ok_or_else(|| missing(path, "type"))?;
    let body = match kind.as_str() {
        "text" => BlockBody::Text {
            text: fields.read(path, "text")?.ok_or_else(|| missing(path, "text"))?,
            annotations: fields.read(path, "citations")?.unwrap_or_default(),
            logprobs: Vec::new(),
        },
        "image" => {
            let source = fields.take(SOURCE).ok_or_else(|| missing(path, SOURCE))?;
            let Some(source) = types::source(source, path)? else { return kept(&kind, raw) };
            BlockBody::Image { source, detail: None }
        }
        "document" => return document(fields, raw, path),
        "thinking" => BlockBody::Reasoning {
            text: fields.read(path, "thinking")?.unwrap_or_default(),
            // A router that had none to give wrote an empty one.
            signature: fields.read(path, "signature")?.filter(|seal: &String| !seal.is_empty()),
            redacted: false,
        },
        "redacted_thinking" => BlockBody::Reasoning {
            text: String::new(),
            signature: Some(fields.read(path, "data")?.ok_or_else(|| missing(path, "data"))?),
            redacted: true,
        },
        "tool_use" => BlockBody::ToolCall {
            id: fields.read(path, "id")?.ok_or_else(|| missing(path, "id"))?,
            name: fields.read(path, "name")?.ok_or_else(|| missing(path, "name"))?,
            arguments: fields.take("input").map_or_else(|| "{}".to_owned(), |input| input.get().to_owned()),
        },
        "tool_result" => BlockBody::ToolResult {
            call_id: fields.read(path, "tool_use_id")?.ok_or_else(|| missing(path, "tool_use_id"))?,
            content: match fields.take("content") {
                Some(raw) => content(raw, &format!("{path}.content"))?,
                None => Vec::new(),
            },
            is_error: fields.read(path, "is_error")?.unwrap_or_default(),
        },
        _ => return kept(&kind, raw),
    };
    with_extra(body, fields)
}

/// A document. One that is made of blocks becomes its text, with the blocks beside it for servers of this dialect; one with pictures among them stays whole.
fn document(mut fields: Object<'_>, raw: &RawValue, path: &str) -> Result<Block> {
    let source = fields.take(SOURCE).ok_or_else(|| missing(path, SOURCE))?;
    let name = fields.read(path, "title")?;
    if let Some(source) = types::source(source, path)? {
        return with_extra(BlockBody::File { source, name }, fields);
    }
    let value: Value = read(source, &format_args!("{path}.{SOURCE}"))?;
    let Some(text) = text_of_blocks(&value) else { return kept("document", raw) };
    let mut block = with_extra(BlockBody::File { source: types::plain_text(&text), name }, fields)?;
    block.extra.entry(OURS).or_default().insert(SOURCE.to_owned(), value);
    Ok(block)
}

fn text_of_blocks(source: &Value) -> Option<String> {
    match source.get("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => {
            let texts: Option<Vec<&str>> = blocks.iter().map(|block| block.get("text")?.as_str()).collect();
            Some(texts?.join("\n\n"))
        }
        _ => None,
    }
}

fn kept(kind: &str, raw: &RawValue) -> Result<Block> {
    let raw = read(raw, &kind)?;
    Ok(BlockBody::Provider { dialect: OURS, kind: kind.to_owned(), raw }.into())
}

fn with_extra(body: BlockBody, fields: Object<'_>) -> Result<Block> {
    let mut extra = BTreeMap::new();
    // A null says no more than an absent field.
    let given: serde_json::Map<String, Value> = (fields.rest())
        .filter_map(|(name, raw)| Some((name.to_owned(), lenient(Some(raw))?)))
        .filter(|(_, value): &(String, Value)| !value.is_null())
        .collect();
    if !given.is_empty() {
        extra.insert(OURS, given);
    }
    Ok(Block { body, extra })
}
