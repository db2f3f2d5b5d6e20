//! The conversation to the wire: domain messages as items of `input`. The way here is `items.rs`.
//!
//! What the dialect cannot say is *refused* when the answer would be another without it (pictures in the model's own turn) and *dropped by name* otherwise
//! (thoughts of another provider, cache marks of another dialect).

use std::fmt::Arguments;

use serde_json::{Map, Value, json};

use crate::dialect::FieldPath;
use crate::dialect::json::Writer;
use crate::dialect::openai_chat::types::{audio_format, source_url};
use crate::dialect::openai_responses::items::{ITEM, PART};
use crate::dialect::openai_responses::types::{OURS, flat_name, role_word, unseal};
use crate::error::{Error, Result};
use crate::request::{Block, BlockBody, Message, Role, Source};

/// Annotations that may go back to a server; their fields are known to be the dialect's own.
const ANNOTATIONS: &[&str] = &["url_citation", "file_citation", "container_file_citation", "file_path"];

/// Writes the items of `messages`, and names in `dropped` what was left out. `first` is the number of the first message, for these names.
/// Says whether there was anything to write.
pub(super) fn encode(
    messages: &[Message],
    first: usize,
    to: &mut Writer,
    dropped: &mut Vec<FieldPath>,
) -> Result<bool> {
    to.open(b'[');
    for (at, message) in (first..).zip(messages) {
        Turn { message, at, to, dropped }.write()?;
    }
    let said = to.holds_some();
    to.close(b']');
    Ok(said)
}

/// One turn on its way out.
struct Turn<'a> {
    message: &'a Message,
    at: usize,
    to: &'a mut Writer,
    dropped: &'a mut Vec<FieldPath>,
}

impl Turn<'_> {
    fn write(mut self) -> Result<()> {
        let content = &self.message.content;
        if self.message.name.is_some() {
            self.drop(format_args!("name"));
        }
        for (dialect, fields) in self.message.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            fields.keys().for_each(|name| self.drop(format_args!("{dialect}.{name}")));
        }
        let mut at = 0;
        while let Some(block) = content.get(at) {
            let end = match is_part(block) {
                // Parts in a row are one message, unless one of them is known to begin another.
                true => {
                    let more =
                        content.iter().skip(at + 1).take_while(|block| is_part(block) && item_of(block).is_none());
                    at + 1 + more.count()
                }
                false => at + 1,
            };
            match is_part(block) {
                true => self.parts(at, content.get(at..end).unwrap_or_default())?,
                false => self.item(at, block)?,
            }
            at = end;
        }
        Ok(())
    }

    fn drop(&mut self, what: Arguments<'_>) {
        self.dropped.push(FieldPath(format!("messages[{}].{what}", self.at)));
    }

    fn refuse<T>(&self, at: usize, why: &str) -> Result<T> {
        Err(Error::unsupported(format!("messages[{}].content[{at}]: {why}", self.at)))
    }

    /// What a block holds of this dialect; what it holds of others is named.
    fn ours<'b>(&mut self, at: usize, block: &'b Block) -> Option<&'b Map<String, Value>> {
        for (dialect, fields) in block.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            fields.keys().for_each(|name| self.drop(format_args!("content[{at}].{dialect}.{name}")));
        }
        block.extra.get(&OURS)
    }

    fn fields<'b>(&mut self, fields: impl IntoIterator<Item = (&'b String, &'b Value)>) {
        fields.into_iter().for_each(|(name, value)| self.to.field(name, value));
    }

    /// An item that is no message.
    fn item(&mut self, at: usize, block: &Block) -> Result<()> {
        let ours = self.ours(at, block);
        match &block.body {
            BlockBody::Provider { dialect: OURS, raw, .. } => self.to.value(raw),
            BlockBody::Provider { dialect, kind, .. } => self.drop(format_args!("content[{at}].{dialect}.{kind}")),
            BlockBody::ToolCall { id, name, arguments } => {
                let namespace = ours.and_then(|ours| ours.get("namespace")?.as_str());
                let bare = ours.and_then(|ours| ours.get("name")?.as_str());
                let bare = bare.filter(|bare| namespace.is_some_and(|of| flat_name(of, bare) == *name));
                self.to.open(b'{');
                self.to.field("type", "function_call");
                self.to.field("call_id", id);
                self.to.field("name", bare.unwrap_or(name));
                // A model that wrote no arguments meant none; the server wants an object.
                self.to.field("arguments", if arguments.is_empty() { "{}" } else { arguments });
                self.fields(ours.into_iter().flatten().filter(|(name, _)| *name != "name"));
                self.to.close(b'}');
            }
            BlockBody::ToolResult { call_id, content, is_error } => {
                self.to.open(b'{');
                self.to.field("type", "function_call_output");
                self.to.field("call_id", call_id);
                self.to.key("output");
                self.content(at, content, Role::User)?;
                self.fields(ours.into_iter().flatten());
                self.to.close(b'}');
                if *is_error {
                    self.drop(format_args!("content[{at}].is_error"));
                }
            }
            BlockBody::Reasoning { text, signature, .. } => self.thought(at, text, signature.as_deref(), ours),
            // Pictures and sounds that a model made: the dialect names them by ids that only their maker knows.
            _ => self.drop(format_args!("content[{at}]")),
        }
        Ok(())
    }

    /// Thoughts go back to the dialect that they came from, and to no other.
    fn thought(&mut self, at: usize, text: &str, signature: Option<&str>, ours: Option<&Map<String, Value>>) {
        let sealed = signature.and_then(unseal);
        let Some((id, encrypted)) =
            sealed.or(ours.map(|_| ("", ""))).filter(|(_, sealed)| ours.is_some() || !sealed.is_empty())
        else {
            return self.drop(format_args!("content[{at}]"));
        };
        let of = |name: &str| ours.and_then(|ours| ours.get(name));
        self.to.open(b'{');
        self.to.field("type", "reasoning");
        match of("id") {
            Some(id) => self.to.field("id", id),
            None if !id.is_empty() => self.to.field("id", id),
            None => {}
        }
        match of("summary") {
            Some(summary) => self.to.field("summary", summary),
            None if text.is_empty() => self.to.field("summary", &[(); 0]),
            None => self.to.field("summary", &json!([{"type": "summary_text", "text": text}])),
        }
        if !encrypted.is_empty() {
            self.to.field("encrypted_content", encrypted);
        }
        self.fields(ours.into_iter().flatten().filter(|(name, _)| !["id", "summary"].contains(&name.as_str())));
        self.to.close(b'}');
    }

    /// A message of these parts, the first of which is the turn's block number `at`.
    fn parts(&mut self, at: usize, blocks: &[Block]) -> Result<()> {
        let role = match self.message.role {
            // A tool message's own text, which no result holds, can only be said by the user.
            Role::Tool => Role::User,
            role => role,
        };
        self.to.open(b'{');
        self.to.field("type", "message");
        self.to.field("role", role_word(role));
        self.to.key("content");
        self.content(at, blocks, role)?;
        let about = blocks.first().and_then(item_of);
        self.fields(about.into_iter().flatten());
        if let Some(fields) = self.message.extra.get(&OURS) {
            fields.iter().for_each(|(name, value)| self.to.field(name, value));
        }
        self.to.close(b'}');
        Ok(())
    }

    /// Content: a plain text as a text, anything else as parts.
    fn content(&mut self, at: usize, blocks: &[Block], role: Role) -> Result<()> {
        if let [Block { body: BlockBody::Text { text, annotations, .. }, extra }] = blocks
            && annotations.is_empty()
            && extra.get(&OURS).is_none_or(|ours| ours.keys().all(|name| name == ITEM))
        {
            if let Some(block) = blocks.first() {
                self.ours(at, block);
            }
            self.to.value(text);
            return Ok(());
        }
        self.to.open(b'[');
        for (at, block) in (at..).zip(blocks) {
            self.part(at, block, role)?;
        }
        self.to.close(b']');
        Ok(())
    }

    fn part(&mut self, at: usize, block: &Block, role: Role) -> Result<()> {
        let ours = self.ours(at, block);
        let kind = match &block.body {
            BlockBody::Text { .. } if role == Role::Assistant => "output_text",
            BlockBody::Text { .. } => "input_text",
            BlockBody::Refusal { .. } => "refusal",
            BlockBody::Image { .. } => "input_image",
            BlockBody::Audio { .. } => "input_audio",
            BlockBody::File { .. } => "input_file",
            BlockBody::Provider { dialect: OURS, raw, .. } => {
                self.to.value(raw);
                return Ok(());
            }
            // What no result can hold: thoughts, calls, another dialect's own.
            _ => {
                self.drop(format_args!("content[{at}]"));
                return Ok(());
            }
        };
        if role == Role::Assistant && kind.starts_with("input_") {
            return self.refuse(at, "this dialect takes only text in an assistant's turn");
        }
        self.to.open(b'{');
        self.to.field("type", kind);
        match &block.body {
            BlockBody::Text { text, annotations, .. } => {
                self.to.field("text", text);
                if role == Role::Assistant {
                    self.annotations(at, annotations);
                }
            }
            BlockBody::Refusal { text } => self.to.field("refusal", text),
            BlockBody::Image { source, detail } => {
                match source {
                    Source::FileId(id) => self.to.field("file_id", id),
                    source => self.to.some("image_url", source_url(source).as_ref()),
                }
                self.to.some("detail", detail.as_ref());
            }
            BlockBody::File { source, name } => self.file(source, name.as_deref()),
            BlockBody::Audio { source: Source::Base64 { mime, data } } => {
                self.to.field("input_audio", &json!({"data": data, "format": audio_format(mime)}));
            }
            BlockBody::Audio { .. } => return self.refuse(at, "this dialect takes sound only as bytes in the request"),
            _ => {}
        }
        self.fields(ours.into_iter().flatten().filter(|(name, _)| *name != ITEM));
        self.to.close(b'}');
        Ok(())
    }

    fn file(&mut self, source: &Source, name: Option<&str>) {
        match source {
            Source::FileId(id) => self.to.field("file_id", id),
            Source::Url(url) => self.to.field("file_url", url),
            source => {
                // Beside the bytes the server wants a name.
                let unnamed = if matches!(source, Source::Base64 { mime, .. } if mime.ends_with("/pdf")) {
                    "file.pdf"
                } else {
                    "file"
                };
                self.to.field("filename", name.unwrap_or(unnamed));
                self.to.some("file_data", source_url(source).as_ref());
                return;
            }
        }
        self.to.some("filename", name);
    }

    fn annotations(&mut self, at: usize, annotations: &[Value]) {
        let known =
            |note: &&Value| note.get("type").and_then(Value::as_str).is_some_and(|kind| ANNOTATIONS.contains(&kind));
        let flat: Vec<Value> = annotations.iter().filter(known).map(flat_annotation).collect();
        if flat.len() < annotations.len() {
            self.drop(format_args!("content[{at}].annotations"));
        }
        self.to.field("annotations", &flat);
    }
}

/// A citation of OpenAI's other dialect has its fields one level deeper.
pub(super) fn flat_annotation(note: &Value) -> Value {
    let inner = note.get("type").and_then(Value::as_str).and_then(|kind| Some((kind, note.get(kind)?.as_object()?)));
    match inner {
        Some((kind, fields)) => {
            let mut flat = Map::from_iter([("type".to_owned(), Value::from(kind))]);
            flat.extend(fields.clone());
            Value::Object(flat)
        }
        None => note.clone(),
    }
}

/// Whether a block is a part of a message, as opposed to an item of its own.
fn is_part(block: &Block) -> bool {
    match &block.body {
        BlockBody::Provider { dialect, kind, .. } => *dialect == OURS && kind.starts_with(PART),
        BlockBody::Text { .. } | BlockBody::Refusal { .. } => true,
        BlockBody::Image { .. } | BlockBody::Audio { .. } | BlockBody::File { .. } => true,
        _ => false,
    }
}

/// What was said of the item that a block begins.
fn item_of(block: &Block) -> Option<&Map<String, Value>> {
    block.extra.get(&OURS)?.get(ITEM)?.as_object()
}
