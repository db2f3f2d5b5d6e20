//! The conversation to the wire: domain messages as `messages`. The way here is `messages.rs`.
//!
//! What the dialect cannot say is *refused* when the answer would be another without it (images where none can stand, results with pictures) and
//! *dropped by name* otherwise (seals of another provider, cache marks of another dialect).

use std::borrow::Cow;

use serde_json::Value;

use crate::dialect::foreign::is_handle;
use crate::dialect::json::Writer;
use crate::dialect::openai_chat::messages::{KEPT_FIELDS, ODD_CALL, WHOLE_MESSAGE};
use crate::dialect::openai_chat::{History, Quirks, turns, types};
use crate::dialect::{Dialect, FieldPath};
use crate::error::{Error, Result};
use crate::request::{Block, BlockBody, Message, Role, Source};

const OURS: Dialect = Dialect::OpenaiChat;

/// Writes `messages`, and names in `dropped` what was left out.
pub(super) fn encode(
    messages: &[Message],
    quirks: &Quirks,
    to: &mut Writer,
    dropped: &mut Vec<FieldPath>,
) -> Result<()> {
    let messages = if quirks.strict_alternation { Cow::Owned(turns::join(messages)) } else { Cow::Borrowed(messages) };
    to.open(b'[');
    for (at, message) in messages.iter().enumerate() {
        Turn { message, at, quirks, to, dropped }.write()?;
    }
    to.close(b']');
    Ok(())
}

/// One message on its way out.
struct Turn<'a> {
    message: &'a Message,
    at: usize,
    quirks: &'a Quirks,
    to: &'a mut Writer,
    dropped: &'a mut Vec<FieldPath>,
}

impl Turn<'_> {
    fn write(mut self) -> Result<()> {
        let message = self.message;
        if let [Block { body: BlockBody::Provider { dialect: OURS, kind, raw }, .. }] = message.content.as_slice()
            && kind == WHOLE_MESSAGE
        {
            self.to.value(raw);
            return Ok(());
        }
        let mut rest = Vec::with_capacity(message.content.len());
        for (at, block) in message.content.iter().enumerate() {
            match &block.body {
                // Results stand before what else the same turn says: the dialect wants them right after the calls.
                BlockBody::ToolResult { call_id, content, is_error } => {
                    self.result(at, call_id, content, *is_error)?;
                }
                _ => rest.push((at, block)),
            }
        }
        if rest.is_empty() && !message.content.is_empty() {
            return Ok(());
        }
        self.to.open(b'{');
        self.to.field("role", self.role());
        match message.role {
            Role::Assistant => self.assistant(&rest)?,
            _ => self.content(&rest)?,
        }
        self.rest_of_message();
        self.to.close(b'}');
        Ok(())
    }

    fn role(&self) -> &'static str {
        match self.message.role {
            Role::Developer if self.quirks.no_developer_role => "system",
            // A tool message's own text, which no result holds, can only be said by the user.
            Role::Tool => "user",
            role => types::role_word(role),
        }
    }

    fn rest_of_message(&mut self) {
        if let Some(name) = &self.message.name {
            self.to.field("name", name);
        }
        for (dialect, fields) in &self.message.extra {
            for (name, value) in fields {
                match *dialect {
                    OURS => self.to.field(name, value),
                    _ => self.drop(format_args!("{dialect}.{name}")),
                }
            }
        }
    }

    fn drop(&mut self, what: std::fmt::Arguments<'_>) {
        self.dropped.push(FieldPath(format!("messages[{}].{what}", self.at)));
    }

    fn refuse<T>(&self, at: usize, why: &str) -> Result<T> {
        Err(Error::unsupported(format!("messages[{}].content[{at}]: {why}", self.at)))
    }

    fn result(&mut self, at: usize, call_id: &str, content: &[Block], is_error: bool) -> Result<()> {
        self.to.open(b'{');
        self.to.field("role", "tool");
        self.to.field("tool_call_id", call_id);
        if let Some(block) = content.iter().find(|block| block.as_text().is_none())
            && !matches!(block.body, BlockBody::Provider { dialect: OURS, .. })
        {
            return self.refuse(at, "this dialect takes only text as a tool's result");
        }
        self.content(&content.iter().map(|block| (at, block)).collect::<Vec<_>>())?;
        if is_error {
            self.drop(format_args!("content[{at}].is_error"));
        }
        if self.message.role == Role::Tool {
            self.rest_of_message();
        }
        self.to.close(b'}');
        Ok(())
    }

    fn assistant(&mut self, blocks: &[(usize, &Block)]) -> Result<()> {
        let mut content = Vec::new();
        let mut calls = Vec::new();
        let mut reasoning = String::new();
        for &(at, block) in blocks {
            match &block.body {
                BlockBody::Reasoning { text, signature, .. } => {
                    reasoning.push_str(text);
                    if signature.is_some() {
                        self.drop(format_args!("content[{at}].signature"));
                    }
                }
                BlockBody::ToolCall { .. } => calls.push((at, block)),
                BlockBody::Provider { dialect: OURS, kind, .. } if kind == ODD_CALL => calls.push((at, block)),
                BlockBody::Provider { dialect: OURS, kind, raw } if KEPT_FIELDS.contains(&kind.as_str()) => {
                    self.kept_field(at, kind, raw);
                }
                BlockBody::Media { .. } => self.drop(format_args!("content[{at}]")),
                _ => content.push((at, block)),
            }
        }
        match content.as_slice() {
            [] => self.to.field("content", &None::<()>),
            content => self.content(content)?,
        }
        match self.quirks.history {
            _ if reasoning.is_empty() => {}
            History::ReasoningContent => self.to.field("reasoning_content", &reasoning),
            History::Reasoning => self.to.field("reasoning", &reasoning),
            History::Omit => self.drop(format_args!("reasoning")),
        }
        if !calls.is_empty() {
            self.to.key("tool_calls");
            self.to.open(b'[');
            for (at, block) in calls {
                self.call(at, block);
            }
            self.to.close(b']');
        }
        Ok(())
    }

    fn kept_field(&mut self, at: usize, kind: &str, raw: &Value) {
        match (kind, raw) {
            ("reasoning_details", _) if self.quirks.history == History::Omit => {
                self.drop(format_args!("content[{at}].{kind}"));
            }
            ("reasoning_details", Value::Array(list)) => self.to.field(kind, &coalesce(list)),
            // An answer's sound is named by its id; the server has the rest.
            ("audio", Value::Object(fields)) if fields.contains_key("id") => {
                let mut fields = fields.clone();
                ["data", "transcript", "expires_at"].iter().for_each(|name| drop(fields.shift_remove(*name)));
                self.to.field(kind, &fields);
            }
            _ => self.to.field(kind, raw),
        }
    }

    fn call(&mut self, at: usize, block: &Block) {
        match &block.body {
            BlockBody::ToolCall { id, name, arguments } => {
                self.to.open(b'{');
                self.to.field("id", id);
                self.to.field("type", "function");
                self.to.key("function");
                self.to.open(b'{');
                self.to.field("name", name);
                // A model that wrote no arguments meant none; servers that parse them want an object.
                self.to.field("arguments", if arguments.is_empty() { "{}" } else { arguments });
                self.to.close(b'}');
                self.block_extra(at, block);
                self.to.close(b'}');
            }
            BlockBody::Provider { raw, .. } => self.to.value(raw),
            _ => {}
        }
    }

    fn block_extra(&mut self, at: usize, block: &Block) {
        for (dialect, fields) in &block.extra {
            for (name, value) in fields {
                match *dialect {
                    OURS => self.to.field(name, value),
                    dialect if is_handle(dialect, name, value) => {}
                    _ => self.drop(format_args!("content[{at}].{dialect}.{name}")),
                }
            }
        }
    }

    /// Writes `content`: a plain text as a text, anything else as parts.
    fn content(&mut self, blocks: &[(usize, &Block)]) -> Result<()> {
        self.to.key("content");
        let ours = |block: &Block| block.extra.contains_key(&OURS);
        let texts = || blocks.iter().map_while(|(_, block)| block.as_text().filter(|_| !ours(block)));
        if texts().count() == blocks.len() && (blocks.len() < 2 || self.quirks.text_as_string) {
            self.to.value(&texts().collect::<Vec<_>>().join("\n\n"));
            for &(at, block) in blocks {
                self.block_extra(at, block);
            }
            return Ok(());
        }
        self.to.open(b'[');
        for &(at, block) in blocks {
            self.part(at, block)?;
        }
        self.to.close(b']');
        Ok(())
    }

    fn part(&mut self, at: usize, block: &Block) -> Result<()> {
        if let BlockBody::Provider { dialect, kind, raw } = &block.body {
            match *dialect {
                OURS => self.to.value(raw),
                _ => self.drop(format_args!("content[{at}].{dialect}.{kind}")),
            }
            return Ok(());
        }
        let kind = match &block.body {
            BlockBody::Text { .. } => "text",
            BlockBody::Refusal { .. } => "refusal",
            BlockBody::Image { .. } => "image_url",
            BlockBody::Audio { .. } => "input_audio",
            BlockBody::File { .. } => "file",
            // Thoughts and the like in a turn that is not the model's.
            _ => {
                self.drop(format_args!("content[{at}]"));
                return Ok(());
            }
        };
        if kind.starts_with("image") && self.message.role == Role::Assistant {
            return self.refuse(at, "this dialect takes no picture in an assistant's turn");
        }
        self.to.open(b'{');
        self.to.field("type", kind);
        match &block.body {
            BlockBody::Text { text, .. } => self.to.field("text", text),
            BlockBody::Refusal { text } => self.to.field("refusal", text),
            BlockBody::Image { source, detail } => {
                let Some(url) = types::source_url(source) else {
                    return self.refuse(at, "this dialect takes no uploaded picture, only a URL or the bytes");
                };
                self.to.key(kind);
                self.to.open(b'{');
                self.to.field("url", &url);
                self.to.some("detail", detail.as_ref());
                self.to.close(b'}');
            }
            BlockBody::Audio { source: Source::Base64 { mime, data } } => {
                self.to.key(kind);
                self.to.open(b'{');
                self.to.field("data", data);
                self.to.field("format", types::audio_format(mime));
                self.to.close(b'}');
            }
            BlockBody::Audio { .. } => return self.refuse(at, "this dialect takes sound only as bytes in the request"),
            BlockBody::File { source, name } => {
                self.to.key(kind);
                self.to.open(b'{');
                match source {
                    Source::FileId(id) => self.to.field("file_id", id),
                    // OpenAI takes a data URL only; OpenRouter also a plain one. Which it is, the server says.
                    source => self.to.some("file_data", types::source_url(source).as_ref()),
                }
                self.to.some("filename", name.as_ref());
                self.to.close(b'}');
            }
            _ => {}
        }
        if matches!(&block.body, BlockBody::Text { annotations, .. } if !annotations.is_empty()) {
            self.drop(format_args!("content[{at}].annotations"));
        }
        self.block_extra(at, block);
        self.to.close(b'}');
        Ok(())
    }
}

/// Joins the pieces that a streamed answer gave of each detail: the server wants the list as a whole answer would have had it.
fn coalesce(pieces: &[Value]) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let same = |last: &Value| ["type", "index", "id"].iter().all(|name| last.get(name) == piece.get(name));
        match (whole.last_mut().filter(|last| last.get("index").is_some() && same(last)), piece.as_object()) {
            (Some(Value::Object(last)), Some(fields)) => {
                for (name, value) in fields {
                    match (last.get_mut(name), value) {
                        (Some(Value::String(text)), Value::String(more))
                            if matches!(name.as_str(), "text" | "summary" | "data") =>
                        {
                            text.push_str(more);
                        }
                        (_, Value::Null) => {}
                        _ => drop(last.insert(name.clone(), value.clone())),
                    }
                }
            }
            _ => whole.push(piece.clone()),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_of_details_are_joined() {
        let pieces = [
            json!({"type":"reasoning.text","index":0,"text":"a","signature":null}),
            json!({"type":"reasoning.text","index":0,"text":"b","signature":"s"}),
            json!({"type":"reasoning.encrypted","index":1,"data":"x"}),
        ];
        assert_eq!(
            coalesce(&pieces),
            [
                json!({"type":"reasoning.text","index":0,"text":"ab","signature":"s"}),
                json!({"type":"reasoning.encrypted","index":1,"data":"x"})
            ]
        );
    }
}
