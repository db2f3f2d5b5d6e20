//! The conversation from the wire: `messages` and their content parts as domain types. The way back is `history.rs`.
//!
//! What has no place in the domain is kept whole: unknown fields in `extra`, unknown parts and calls as [`BlockBody::Provider`] of this dialect.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::Dialect;
use crate::dialect::json::{Object, read};
use crate::dialect::openai_chat::types;
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{Block, BlockBody, Extra, Message, Role, Source};

/// Fields of an assistant's message that are kept whole, as a [`BlockBody::Provider`] of that kind, and given back under the same name.
pub(super) const KEPT_FIELDS: &[&str] = &["reasoning_details", "audio", "images"];

/// The kind of a [`BlockBody::Provider`] that is a whole message.
pub(super) const WHOLE_MESSAGE: &str = "message";

/// The kind of a [`BlockBody::Provider`] that is a tool call of another type than `function`.
pub(super) const ODD_CALL: &str = "tool_calls";

/// The message that nearly all are: a role and a text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {
    pub(super) role: Role,
    pub(super) content: String,
}

/// Reads `messages`.
pub(super) fn decode(raw: &RawValue) -> Result<Vec<Message>> {
    // One pass over the text where that will do; what it refuses, the patient reader below takes or names.
    if let Ok(plain) = serde_json::from_str::<Vec<Plain>>(raw.get())
        && !plain.is_empty()
        && plain.iter().all(|message| message.role != Role::Tool)
    {
        return Ok(plain.into_iter().map(|Plain { role, content }| Message::text(role, content)).collect());
    }
    let raw: Vec<&RawValue> = read(raw, &"messages")?;
    if raw.is_empty() {
        return Err(Error::invalid("messages: the list is empty"));
    }
    raw.into_iter().enumerate().map(|(at, raw)| message(raw, &format!("messages[{at}]"))).collect()
}

fn message(raw: &RawValue, path: &str) -> Result<Message> {
    let mut fields = Object::of(raw, &path)?;
    let word: String = fields.read(path, "role")?.ok_or_else(|| missing(path, "role"))?;
    let role = types::role(&word)
        .ok_or_else(|| Error::invalid(format!("{path}.role: {:?} is not a role of this dialect", shorten(&word))))?;
    if word == "function" {
        // Calls of before tools had ids: only a server that knows them can make sense of the message.
        return Ok(Message { role, content: vec![kept(WHOLE_MESSAGE, raw)?], name: None, extra: Extra::new() });
    }
    let mut content = Vec::new();
    if role == Role::Assistant {
        let (content_field, field) = (fields.read(path, "reasoning_content")?, fields.read(path, "reasoning")?);
        let text: Option<String> = content_field.or(field);
        content.extend(text.map(|text| BlockBody::Reasoning { text, signature: None, redacted: false }.into()));
    }
    if let Some(raw) = fields.take("content") {
        parts(raw, &format!("{path}.content"), &mut content)?;
    }
    match role {
        Role::Assistant => {
            content.extend(fields.read::<String>(path, "refusal")?.map(|text| BlockBody::Refusal { text }.into()));
            for field in KEPT_FIELDS {
                content.extend(fields.take(field).map(|raw| kept(field, raw)).transpose()?);
            }
            if let Some(raw) = fields.take("tool_calls") {
                let path = format!("{path}.tool_calls");
                for (at, raw) in read::<Vec<&RawValue>>(raw, &path)?.into_iter().enumerate() {
                    content.push(tool_call(raw, &format!("{path}[{at}]"))?);
                }
            }
        }
        Role::Tool => {
            let call_id = fields.read(path, "tool_call_id")?.ok_or_else(|| missing(path, "tool_call_id"))?;
            content = vec![BlockBody::ToolResult { call_id, content, is_error: false }.into()];
        }
        _ => {}
    }
    let name = fields.read(path, "name")?;
    Ok(Message { role, content, name, extra: extra(fields) })
}

fn missing(path: &str, field: &str) -> Error {
    Error::invalid(format!("{path}.{field}: it is missing"))
}

/// Fields without a place, under this dialect.
pub(super) fn extra(fields: Object<'_>) -> Extra {
    let mut extra = Extra::new();
    if !fields.is_empty() {
        extra.insert(Dialect::OpenaiChat, fields.into_extra());
    }
    extra
}

fn kept(kind: &str, raw: &RawValue) -> Result<Block> {
    let raw = read(raw, &kind)?;
    Ok(BlockBody::Provider { dialect: Dialect::OpenaiChat, kind: kind.to_owned(), raw }.into())
}

fn with_extra(body: BlockBody, fields: Object<'_>) -> Result<Block> {
    let mut extra = BTreeMap::new();
    if !fields.is_empty() {
        extra.insert(Dialect::OpenaiChat, fields.into_values()?);
    }
    Ok(Block { body, extra })
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
        "text" => {
            let text = fields.read(path, "text")?.ok_or_else(|| missing(path, "text"))?;
            BlockBody::Text { text, annotations: Vec::new(), logprobs: Vec::new() }
        }
        "refusal" => {
            BlockBody::Refusal { text: fields.read(path, "refusal")?.ok_or_else(|| missing(path, "refusal"))? }
        }
        "image_url" => match image(&mut fields, path)? {
            Some(body) => body,
            None => return kept(&kind, raw),
        },
        "input_audio" => {
            let Some(mut audio) = fields.read::<Object<'_>>(path, "input_audio")? else {
                return Err(missing(path, "input_audio"));
            };
            let data: Option<String> = audio.read(path, "data")?;
            let format: Option<String> = audio.read(path, "format")?;
            let (Some(data), Some(format), true) = (data, format, audio.is_empty()) else { return kept(&kind, raw) };
            BlockBody::Audio { source: Source::Base64 { mime: types::audio_mime(&format).into_owned(), data } }
        }
        "file" => match file(&mut fields, path)? {
            Some(body) => body,
            None => return kept(&kind, raw),
        },
        _ => return kept(&kind, raw),
    };
    with_extra(body, fields)
}

/// `None` where the part holds more than the domain can say: it is then kept whole.
fn image(fields: &mut Object<'_>, path: &str) -> Result<Option<BlockBody>> {
    let Some(raw) = fields.take("image_url") else { return Err(missing(path, "image_url")) };
    if raw.get().starts_with('"') {
        // Not in the definition, but Mistral and others take a bare URL.
        let url = read(raw, &format_args!("{path}.image_url"))?;
        return Ok(Some(BlockBody::Image { source: types::source(url), detail: None }));
    }
    let mut image = Object::of(raw, &format_args!("{path}.image_url"))?;
    let path = format!("{path}.image_url");
    let url = image.read(&path, "url")?.ok_or_else(|| missing(&path, "url"))?;
    let detail = image.read(&path, "detail")?;
    Ok(image.is_empty().then(|| BlockBody::Image { source: types::source(url), detail }))
}

fn file(fields: &mut Object<'_>, path: &str) -> Result<Option<BlockBody>> {
    let Some(mut file) = fields.read::<Object<'_>>(path, "file")? else { return Err(missing(path, "file")) };
    let (id, data): (Option<String>, Option<String>) = (file.read(path, "file_id")?, file.read(path, "file_data")?);
    let name = file.read(path, "filename")?;
    let source = match (id, data) {
        (Some(id), None) => Source::FileId(id),
        (None, Some(data)) => types::source(data),
        _ => return Ok(None),
    };
    Ok(file.is_empty().then_some(BlockBody::File { source, name }))
}

fn tool_call(raw: &RawValue, path: &str) -> Result<Block> {
    let mut fields = Object::of(raw, &path)?;
    let kind: Option<String> = fields.read(path, "type")?;
    if kind.is_some_and(|kind| kind != "function") {
        return kept(ODD_CALL, raw);
    }
    let id = fields.read(path, "id")?.ok_or_else(|| missing(path, "id"))?;
    // Where it stands in a list that was streamed; a client that sends it back means nothing by it.
    fields.take("index");
    let Some(mut function) = fields.read::<Object<'_>>(path, "function")? else {
        return Err(missing(path, "function"));
    };
    let name = function.read(path, "name")?.ok_or_else(|| missing(path, "function.name"))?;
    let arguments = match function.take("arguments") {
        Some(raw) if raw.get().starts_with('"') => read(raw, &format_args!("{path}.function.arguments"))?,
        Some(raw) => raw.get().to_owned(),
        None => String::new(),
    };
    with_extra(BlockBody::ToolCall { id, name, arguments }, fields)
}
