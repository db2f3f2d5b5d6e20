//! The conversation from the wire: `input`, a text or a list of items, as domain messages. The way back is `history.rs`.
//!
//! The dialect has an item for each message, call, result and thought; the domain has turns. What the model said in a row (thoughts, texts, calls) is one
//! turn here, because other dialects have it so. What has no place in the domain is kept whole, as [`BlockBody::Provider`] of this dialect.

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};

use crate::dialect::json::{Object, lenient, read};
use crate::dialect::openai_chat::types::{audio_mime, source, tokens};
use crate::dialect::openai_responses::types::{OURS, flat_name, role, seal};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{Block, BlockBody, Extra, Message, Role, Source};

/// Stands before the kind of a [`BlockBody::Provider`] that is a part of a message, not an item.
pub(super) const PART: &str = "content.";

/// The field of a block's extra that holds what was said of its item, where the block begins one.
pub(super) const ITEM: &str = "item";

/// Reads `input`.
pub(super) fn decode(raw: &RawValue, messages: &mut Vec<Message>) -> Result<()> {
    if raw.get().starts_with('"') {
        messages.push(Message::user(read::<String>(raw, &"input")?));
        return Ok(());
    }
    if !raw.get().starts_with('[') {
        return Err(Error::invalid("input: it must be a text or a list of items"));
    }
    let list: Vec<&RawValue> = read(raw, &"input")?;
    list.into_iter().enumerate().try_for_each(|(at, raw)| item(raw, &format!("input[{at}]"), messages))
}

fn item(raw: &RawValue, path: &str, messages: &mut Vec<Message>) -> Result<()> {
    let mut fields = Object::of(raw, &path)?;
    let kind: Option<String> = fields.read(path, "type")?;
    let kind = match kind {
        Some(kind) => kind,
        None if fields.get("role").is_some() => "message".to_owned(),
        None if fields.get("id").is_some() => "item_reference".to_owned(),
        None => return Err(missing(path, "type")),
    };
    match kind.as_str() {
        "message" => return message(fields, path, messages),
        "function_call" => {
            let block = call(fields, path)?;
            say(messages, vec![block]);
        }
        "reasoning" => {
            let block = thought(fields, path)?;
            say(messages, vec![block]);
        }
        "function_call_output" => {
            let call_id = fields.read(path, "call_id")?.ok_or_else(|| missing(path, "call_id"))?;
            let Some(raw) = fields.take("output") else { return Err(missing(path, "output")) };
            let mut content = Vec::new();
            parts(raw, &format!("{path}.output"), &mut content)?;
            fields.take("status");
            let result = with_extra(BlockBody::ToolResult { call_id, content, is_error: false }, fields)?;
            messages.push(turn(Role::Tool, vec![result]));
        }
        _ => {
            let answers = ["_output", "_response"].iter().any(|end| kind.ends_with(end));
            let raw = read(raw, &path)?;
            let block: Block = BlockBody::Provider { dialect: OURS, kind, raw }.into();
            match answers {
                true => messages.push(turn(Role::Tool, vec![block])),
                false => say(messages, vec![block]),
            }
        }
    }
    Ok(())
}

fn missing(path: &str, field: &str) -> Error {
    Error::invalid(format!("{path}.{field}: it is missing"))
}

fn turn(role: Role, content: Vec<Block>) -> Message {
    Message { role, content, name: None, extra: Extra::new() }
}

/// Adds to the model's turn that goes on, or begins one.
fn say(messages: &mut Vec<Message>, content: Vec<Block>) {
    match messages.last_mut() {
        Some(last) if last.role == Role::Assistant => last.content.extend(content),
        _ => messages.push(turn(Role::Assistant, content)),
    }
}

fn with_extra(body: BlockBody, fields: Object<'_>) -> Result<Block> {
    let mut values = fields.into_values()?;
    values.retain(|_, value| !value.is_null());
    let extra = if values.is_empty() { BTreeMap::new() } else { BTreeMap::from([(OURS, values)]) };
    Ok(Block { body, extra })
}

fn message(mut fields: Object<'_>, path: &str, messages: &mut Vec<Message>) -> Result<()> {
    let word: String = fields.read(path, "role")?.ok_or_else(|| missing(path, "role"))?;
    let role = role(&word)
        .ok_or_else(|| Error::invalid(format!("{path}.role: {:?} is not a role of this dialect", shorten(&word))))?;
    let Some(raw) = fields.take("content") else { return Err(missing(path, "content")) };
    let mut content = Vec::new();
    parts(raw, &format!("{path}.content"), &mut content)?;
    // How far the item got when it was answered: what is sent back is done.
    fields.take("status");
    if role != Role::Assistant {
        // Nothing refers to what was asked, only to what was answered.
        fields.take("id");
        let mut extra = fields.into_extra();
        extra.retain(|_, value| value.get() != "null");
        let extra = if extra.is_empty() { Extra::new() } else { Extra::from([(OURS, extra)]) };
        messages.push(Message { role, content, name: None, extra });
        return Ok(());
    }
    let mut about = fields.into_values()?;
    about.retain(|_, value| !value.is_null());
    if let (Some(first), false) = (content.first_mut(), about.is_empty()) {
        first.extra.entry(OURS).or_default().insert(ITEM.to_owned(), Value::Object(about));
    }
    say(messages, content);
    Ok(())
}

fn call(mut fields: Object<'_>, path: &str) -> Result<Block> {
    let id = fields.read(path, "call_id")?.ok_or_else(|| missing(path, "call_id"))?;
    let name: String = fields.read(path, "name")?.ok_or_else(|| missing(path, "name"))?;
    let arguments = match fields.take("arguments") {
        Some(raw) if raw.get().starts_with('"') => read(raw, &format_args!("{path}.arguments"))?,
        Some(raw) => raw.get().to_owned(),
        None => String::new(),
    };
    fields.take("status");
    let namespace: Option<String> = lenient(fields.get("namespace"));
    let flat = match &namespace {
        Some(namespace) => flat_name(namespace, &name),
        None => name.clone(),
    };
    let mut block = with_extra(BlockBody::ToolCall { id, name: flat, arguments }, fields)?;
    if namespace.is_some() {
        block.extra.entry(OURS).or_default().insert("name".to_owned(), name.into());
    }
    Ok(block)
}

/// A reasoning item. Its text is the summary, or the thoughts themselves where there is none; what one text cannot say of them stays in `extra`.
fn thought(mut fields: Object<'_>, path: &str) -> Result<Block> {
    let id: Option<String> = fields.read(path, "id")?;
    let encrypted: Option<String> = fields.read(path, "encrypted_content")?;
    fields.take("status");
    let list = |raw: Option<&RawValue>| -> Vec<Value> { lenient(raw).unwrap_or_default() };
    let (summary, content) = (list(fields.take("summary")), list(fields.take("content")));
    let text = match joined(&summary) {
        text if text.is_empty() => joined(&content),
        text => text,
    };
    let mut more = Map::new();
    if summary.len() > 1 || !content.is_empty() {
        more.insert("summary".to_owned(), summary.into());
    }
    if !content.is_empty() {
        more.insert("content".to_owned(), content.into());
    }
    let signature = match (&encrypted, &id) {
        (Some(encrypted), id) => Some(seal(id.as_deref().unwrap_or_default(), encrypted)),
        (None, Some(id)) => {
            more.insert("id".to_owned(), id.as_str().into());
            None
        }
        (None, None) => None,
    };
    let redacted = text.is_empty() && signature.is_some();
    let mut block = with_extra(BlockBody::Reasoning { text, signature, redacted }, fields)?;
    if !more.is_empty() {
        block.extra.entry(OURS).or_default().extend(more);
    }
    Ok(block)
}

/// The texts of a list of parts, a paragraph each.
pub(super) fn joined(parts: &[Value]) -> String {
    let texts = parts.iter().filter_map(|part| part.get("text")?.as_str()).filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join("\n\n")
}

/// Reads content: a text, or a list of parts.
fn parts(raw: &RawValue, path: &str, content: &mut Vec<Block>) -> Result<()> {
    match raw.get().as_bytes().first() {
        Some(b'"') => content.push(Block::text(read::<String>(raw, &path)?)),
        Some(b'[') => {
            for (at, raw) in read::<Vec<&RawValue>>(raw, &path)?.into_iter().enumerate() {
                content.push(part(raw, &format!("{path}[{at}]"))?);
            }
        }
        _ => return Err(Error::invalid(format!("{path}: it must be a text or a list of parts"))),
    }
    Ok(())
}

fn part(raw: &RawValue, path: &str) -> Result<Block> {
    let mut fields = Object::of(raw, &path)?;
    let kind: String = fields.read(path, "type")?.ok_or_else(|| missing(path, "type"))?;
    let body = match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            let text = fields.read(path, "text")?.ok_or_else(|| missing(path, "text"))?;
            let annotations = fields.read(path, "annotations")?.unwrap_or_default();
            let logprobs = fields.take("logprobs").map(tokens).unwrap_or_default();
            BlockBody::Text { text, annotations, logprobs }
        }
        "refusal" => {
            BlockBody::Refusal { text: fields.read(path, "refusal")?.ok_or_else(|| missing(path, "refusal"))? }
        }
        "input_image" => {
            let (id, url) = (fields.read(path, "file_id")?, fields.read::<String>(path, "image_url")?);
            let source = match (id, url) {
                (Some(id), None) => Source::FileId(id),
                (None, Some(url)) => source(url),
                _ => return kept(&kind, raw, path),
            };
            BlockBody::Image { source, detail: fields.read(path, "detail")? }
        }
        "input_file" => {
            let (id, data) = (fields.read(path, "file_id")?, fields.read::<String>(path, "file_data")?);
            let source = match (id, data, fields.read::<String>(path, "file_url")?) {
                (Some(id), None, None) => Source::FileId(id),
                (None, Some(data), None) => match source(data) {
                    source @ Source::Base64 { .. } => source,
                    _ => return kept(&kind, raw, path),
                },
                (None, None, Some(url)) => Source::Url(url),
                _ => return kept(&kind, raw, path),
            };
            BlockBody::File { source, name: fields.read(path, "filename")? }
        }
        "input_audio" => {
            let Some(mut audio) = fields.read::<Object<'_>>(path, "input_audio")? else {
                return Err(missing(path, "input_audio"));
            };
            let data: Option<String> = audio.read(path, "data")?;
            let format: Option<String> = audio.read(path, "format")?;
            let (Some(data), Some(format), true) = (data, format, audio.is_empty()) else {
                return kept(&kind, raw, path);
            };
            BlockBody::Audio { source: Source::Base64 { mime: audio_mime(&format).into_owned(), data } }
        }
        _ => return kept(&kind, raw, path),
    };
    with_extra(body, fields)
}

fn kept(kind: &str, raw: &RawValue, path: &str) -> Result<Block> {
    let raw = read(raw, &path)?;
    Ok(BlockBody::Provider { dialect: OURS, kind: format!("{PART}{kind}"), raw }.into())
}
