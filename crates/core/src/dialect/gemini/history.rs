//! The conversation to the wire: domain messages as `systemInstruction` and `contents`. The way here is `contents.rs`.
//!
//! What the dialect cannot say is *refused* when the answer would be another without it (a picture in the instructions, a file of another provider) and *dropped
//! by name* otherwise (cache marks of another dialect). Seals are written as they come: whose they are the router knows (`router/sealed.rs`). Instructions stand in one place here, wherever the conversation had them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::dialect::gemini::contents::is_object;
use crate::dialect::gemini::generation::Generation;
use crate::dialect::gemini::types;
use crate::dialect::json::Writer;
use crate::dialect::{Dialect, FieldPath};
use crate::error::{Error, Result};
use crate::request::{Block, BlockBody, Message, Request, Role, Source};

const OURS: Dialect = Dialect::Gemini;

/// Google's documented stand-in for the seal of a call that was made elsewhere, `skip_thought_signature_validator` in base 64.
const NO_SEAL: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// Writes the members `systemInstruction` and `contents`, and names in `dropped` what was left out.
pub(super) fn encode(
    request: &Request,
    generation: Generation,
    to: &mut Writer,
    dropped: &mut Vec<FieldPath>,
) -> Result<()> {
    let instructs = |message: &Message| matches!(message.role, Role::System | Role::Developer);
    // The server wants something said: instructions alone are said by the user.
    let alone = request.messages.iter().all(instructs);
    let foreign = request.origin.as_ref().is_some_and(|origin| origin.dialect != OURS);
    let mut writing = Writing { at: 0, generation, foreign, names: HashMap::new(), to, dropped };
    let numbered = || request.messages.iter().enumerate();
    if !alone && request.messages.iter().any(instructs) {
        writing.to.key("systemInstruction");
        writing.to.open(b'{');
        writing.to.key("parts");
        writing.to.open(b'[');
        for (at, message) in numbered().filter(|(_, message)| instructs(message)) {
            writing.at = at;
            writing.instructions(message)?;
        }
        writing.to.close(b']');
        writing.to.close(b'}');
    }
    writing.to.key("contents");
    writing.to.open(b'[');
    let mut open = None;
    for (at, message) in numbered().filter(|(_, message)| alone || !instructs(message)) {
        writing.at = at;
        // Results of one turn's calls stand in one content, however many messages the other dialect makes of them.
        let joined = message.role == Role::Tool && open == Some(Role::Tool);
        if !joined {
            if open.is_some() {
                writing.end();
            }
            writing.begin(message);
        }
        open = Some(message.role);
        writing.message(message)?;
    }
    if open.is_some() {
        writing.end();
    }
    writing.to.close(b']');
    Ok(())
}

struct Writing<'a> {
    at: usize,
    generation: Generation,
    /// Whether the conversation came in another dialect.
    foreign: bool,
    /// The names of the functions called so far, by the id of the call.
    names: HashMap<String, String>,
    to: &'a mut Writer,
    dropped: &'a mut Vec<FieldPath>,
}

impl Writing<'_> {
    fn drop(&mut self, what: std::fmt::Arguments<'_>) {
        self.dropped.push(FieldPath(format!("messages[{}].{what}", self.at)));
    }

    fn refuse<T>(&self, at: usize, why: &str) -> Result<T> {
        Err(Error::unsupported(format!("messages[{}].content[{at}]: {why}", self.at)))
    }

    fn begin(&mut self, message: &Message) {
        self.to.open(b'{');
        self.to.field("role", if message.role == Role::Assistant { "model" } else { "user" });
        self.to.key("parts");
        self.to.open(b'[');
    }

    fn end(&mut self) {
        self.to.close(b']');
        self.to.close(b'}');
    }

    fn instructions(&mut self, message: &Message) -> Result<()> {
        for (at, block) in message.content.iter().enumerate() {
            match &block.body {
                BlockBody::Text { text, .. } => {
                    self.to.open(b'{');
                    self.to.field("text", text);
                    self.beside(at, block);
                    self.to.close(b'}');
                }
                BlockBody::Provider { dialect: OURS, raw, .. } => self.to.value(raw),
                BlockBody::Provider { dialect, kind, .. } => self.drop(format_args!("content[{at}].{dialect}.{kind}")),
                _ => return self.refuse(at, "this dialect takes only text in its instructions"),
            }
        }
        self.of_message(message);
        Ok(())
    }

    fn of_message(&mut self, message: &Message) {
        if message.name.is_some() {
            self.drop(format_args!("name"));
        }
        for (dialect, fields) in &message.extra {
            for name in fields.keys() {
                self.drop(format_args!("{dialect}.{name}"));
            }
        }
    }

    fn message(&mut self, message: &Message) -> Result<()> {
        // A seal waits for the part that it belongs to.
        let mut seal: Option<&str> = None;
        let mut sealed = false;
        let mut after: Vec<&Block> = Vec::new();
        for (at, block) in message.content.iter().enumerate() {
            match &block.body {
                BlockBody::Reasoning { text, signature, redacted } => {
                    let signature = signature.as_deref();
                    if *redacted || text.is_empty() {
                        if let Some(waiting) = seal.take() {
                            self.lone_seal(waiting);
                        }
                        seal = signature;
                        continue;
                    }
                    self.to.open(b'{');
                    self.to.field("text", text);
                    self.to.field("thought", &true);
                    self.to.some("thoughtSignature", signature);
                    self.beside(at, block);
                    self.to.close(b'}');
                }
                BlockBody::ToolCall { id, name, arguments } => {
                    self.names.insert(id.clone(), name.clone());
                    // Only the first call of a turn carries a seal.
                    let stand_in = (!sealed && self.generation.wants_seals()).then_some(NO_SEAL);
                    let seal = seal.take().or(stand_in);
                    sealed = true;
                    self.to.open(b'{');
                    self.to.key("functionCall");
                    self.to.open(b'{');
                    self.to.field("id", id);
                    self.to.field("name", name);
                    self.to.key("args");
                    match arguments.as_str() {
                        "" => self.to.raw("{}"),
                        text if is_object(text) => self.to.raw(text.trim()),
                        // What a model wrote amiss is an object here all the same.
                        text => self.to.value(&json!({ "arguments": text })),
                    }
                    self.to.close(b'}');
                    self.to.some("thoughtSignature", seal);
                    self.beside(at, block);
                    self.to.close(b'}');
                }
                BlockBody::ToolResult { .. } => self.result(at, block, &mut after)?,
                _ => self.part(at, block, seal.take())?,
            }
        }
        if let Some(seal) = seal {
            self.lone_seal(seal);
        }
        for block in after {
            self.part(0, block, None)?;
        }
        self.of_message(message);
        Ok(())
    }

    /// The seal of an answer's end, which the server gives with an empty text.
    fn lone_seal(&mut self, seal: &str) {
        self.to.value(&json!({"text": "", "thoughtSignature": seal}));
    }

    fn part(&mut self, at: usize, block: &Block, seal: Option<&str>) -> Result<()> {
        let written = match &block.body {
            BlockBody::Text { text, annotations, .. } => {
                if !annotations.is_empty() {
                    self.drop(format_args!("content[{at}].annotations"));
                }
                ("text", Value::from(text.as_str()))
            }
            BlockBody::Refusal { text } => ("text", Value::from(text.as_str())),
            BlockBody::Image { source, detail } => {
                if detail.as_deref().is_some_and(|word| word != "auto") {
                    self.drop(format_args!("content[{at}].detail"));
                }
                self.media(at, block, source)?
            }
            BlockBody::Audio { source } => self.media(at, block, source)?,
            BlockBody::File { source, name } => {
                let (kind, mut value) = self.media(at, block, source)?;
                match (name, value.as_object_mut()) {
                    // Google's own API refuses most names; one that came from a client of it is no surprise to it.
                    (Some(name), Some(fields)) if !self.foreign => {
                        drop(fields.insert("displayName".into(), name.as_str().into()))
                    }
                    (Some(_), _) => self.drop(format_args!("content[{at}].name")),
                    (None, _) => {}
                }
                (kind, value)
            }
            BlockBody::Media { mime, data } => ("inlineData", json!({"mimeType": mime, "data": data})),
            BlockBody::Provider { dialect: OURS, raw, .. } => {
                self.to.value(raw);
                return Ok(());
            }
            BlockBody::Provider { dialect, kind, .. } => {
                self.drop(format_args!("content[{at}].{dialect}.{kind}"));
                return Ok(());
            }
            _ => {
                self.drop(format_args!("content[{at}]"));
                return Ok(());
            }
        };
        self.to.open(b'{');
        self.to.field(written.0, &written.1);
        self.to.some("thoughtSignature", seal);
        self.beside(at, block);
        self.to.close(b'}');
        Ok(())
    }

    fn media(&self, at: usize, block: &Block, source: &Source) -> Result<(&'static str, Value)> {
        let kept = |name: &str| block.extra.get(&OURS)?.get(name)?.as_str();
        let mut fields = Map::new();
        fields.extend(kept("displayName").map(|name| ("displayName".to_owned(), name.into())));
        let uri = match source {
            Source::Base64 { mime, data } => {
                fields.insert("mimeType".into(), mime.as_str().into());
                fields.insert("data".into(), data.as_str().into());
                return Ok(("inlineData", fields.into()));
            }
            Source::Url(url) if url.starts_with("data:") => {
                return self.refuse(at, "a data URL has to be in base 64 and with its type");
            }
            Source::Url(url) => url.clone(),
            Source::FileId(id) => match types::uri_of_file(id) {
                Some(uri) => uri,
                None => return self.refuse(at, "a file uploaded to another provider cannot be given to this one"),
            },
        };
        if let Some(mime) = kept("mimeType").or_else(|| types::mime_of_url(&uri)) {
            fields.insert("mimeType".into(), mime.into());
        }
        fields.insert("fileUri".into(), uri.into());
        Ok(("fileData", fields.into()))
    }

    /// Media that stand beside the result and not in it are left in `after`.
    fn result<'b>(&mut self, at: usize, block: &'b Block, after: &mut Vec<&'b Block>) -> Result<()> {
        let BlockBody::ToolResult { call_id, content, is_error } = &block.body else { return Ok(()) };
        let ours = block.extra.get(&OURS);
        let kept = ours.and_then(|fields| fields.get("name")).and_then(Value::as_str).map(str::to_owned);
        let Some(name) = kept.or_else(|| self.names.get(call_id).cloned()) else {
            return self
                .refuse(at, "no call with this id comes before it, and this dialect names the function in its result");
        };
        let mut text = String::new();
        let mut media = Vec::new();
        for block in content {
            match &block.body {
                BlockBody::Text { text: more, .. } => {
                    if !text.is_empty() {
                        text.push_str("\n\n");
                    }
                    text.push_str(more);
                }
                BlockBody::Image { .. } | BlockBody::Audio { .. } | BlockBody::File { .. } => media.push(block),
                BlockBody::Provider { dialect: OURS, .. } => media.push(block),
                _ => {
                    return self
                        .refuse(at, "this dialect takes text, pictures, sounds and files as a function's result");
                }
            }
        }
        self.to.open(b'{');
        self.to.key("functionResponse");
        self.to.open(b'{');
        self.to.field("id", call_id);
        self.to.field("name", &name);
        self.to.key("response");
        match (*is_error, is_object(&text)) {
            (false, true) => self.to.raw(text.trim()),
            (false, false) => self.to.value(&json!({ "output": text })),
            (true, true) => {
                self.to.open(b'{');
                self.to.key("error");
                self.to.raw(text.trim());
                self.to.close(b'}');
            }
            (true, false) => self.to.value(&json!({ "error": text })),
        }
        if self.generation.takes_media_in_results() && !media.is_empty() {
            self.to.key("parts");
            self.to.open(b'[');
            for block in media {
                self.part(at, block, None)?;
            }
            self.to.close(b']');
        } else {
            // Older models see what a function returned beside the result.
            after.extend(media);
        }
        for (name, value) in ours.into_iter().flatten().filter(|(name, _)| *name != "name") {
            self.to.field(name, value);
        }
        self.to.close(b'}');
        self.to.close(b'}');
        for (dialect, fields) in block.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            for name in fields.keys() {
                self.drop(format_args!("content[{at}].{dialect}.{name}"));
            }
        }
        Ok(())
    }

    /// Fields beside what a part is: this dialect's are given back, others are named.
    fn beside(&mut self, at: usize, block: &Block) {
        for (dialect, fields) in &block.extra {
            for (name, value) in fields {
                match (*dialect, name.as_str()) {
                    (OURS, "mimeType" | "displayName") => {}
                    (OURS, name) => self.to.field(name, value),
                    _ => self.drop(format_args!("content[{at}].{dialect}.{name}")),
                }
            }
        }
    }
}
