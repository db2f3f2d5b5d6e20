//! The conversation from the wire: `contents` and their parts as domain types. The way back is `history.rs`.
//!
//! A seal (`thoughtSignature`) on a part that is no thought becomes a sealed thought before it. Calls without ids get one, and results without ids find their
//! call by its name, first asked first answered. What has no place in the domain is kept as [`BlockBody::Provider`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};

use crate::dialect::Dialect;
use crate::dialect::gemini::types;
use crate::dialect::json::{Object, read, text};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{Block, BlockBody, Extra, Message, Role, Source};

/// Reads a list; one element alone counts as a list of it, as Google's servers have it.
pub(super) fn list<'a>(raw: &'a RawValue, path: &dyn std::fmt::Display) -> Result<Vec<&'a RawValue>> {
    if raw.get().starts_with('{') { Ok(vec![raw]) } else { read(raw, path) }
}

/// Reads `contents`.
pub(super) fn decode(raw: &RawValue) -> Result<Vec<Message>> {
    let mut calls = Calls::default();
    let mut messages = Vec::new();
    for (at, raw) in list(raw, &"contents")?.into_iter().enumerate() {
        messages.push(content(raw, &format!("contents[{at}]"), &mut calls)?);
    }
    if messages.is_empty() {
        return Err(Error::invalid("contents: the list is empty"));
    }
    Ok(messages)
}

/// Reads `systemInstruction`, whose role says nothing.
pub(super) fn system(raw: &RawValue) -> Result<Vec<Block>> {
    let path = "systemInstruction";
    let mut fields = Object::of(raw, &path)?.camel()?;
    parts(&mut fields, path, Role::System, &mut Calls::default())
}

fn content(raw: &RawValue, path: &str, calls: &mut Calls) -> Result<Message> {
    let mut fields = Object::of(raw, &path)?.camel()?;
    let word: Option<String> = fields.read(path, "role")?;
    let role = match word.as_deref() {
        None | Some("" | "user" | "function" | "tool") => Role::User,
        Some("model") => Role::Assistant,
        Some(other) => {
            return Err(Error::invalid(format!("{path}.role: {:?} is neither user nor model", shorten(other))));
        }
    };
    let content = parts(&mut fields, path, role, calls)?;
    let mut extra = Extra::new();
    if !fields.is_empty() {
        extra.insert(Dialect::Gemini, fields.into_extra());
    }
    Ok(Message { role, content, name: None, extra })
}

fn parts(fields: &mut Object<'_>, path: &str, role: Role, calls: &mut Calls) -> Result<Vec<Block>> {
    let Some(raw) = fields.take("parts") else { return Ok(Vec::new()) };
    let path = format!("{path}.parts");
    let mut blocks = Vec::new();
    for (at, raw) in list(raw, &path)?.into_iter().enumerate() {
        part(raw, &format!("{path}[{at}]"), role, calls, &mut blocks)?;
    }
    Ok(blocks)
}

fn part(raw: &RawValue, path: &str, role: Role, calls: &mut Calls, blocks: &mut Vec<Block>) -> Result<()> {
    let mut fields = Object::of(raw, &path)?.camel()?;
    // In one alphabet, so that a seal is known again: the SDK for Python gives it back in another than Google wrote it in.
    let seal: Option<String> = fields.read(path, "thoughtSignature")?;
    let seal = seal.map(|seal| types::standard_base64(seal.into()));
    let thought: bool = fields.read(path, "thought")?.unwrap_or(false);
    let kinds = ["text", "functionCall", "functionResponse", "inlineData", "fileData"];
    let kind = kinds.into_iter().find(|kind| fields.get(kind).is_some());
    let value = kind.and_then(|kind| fields.take(kind));
    if let (Some("text"), true, Some(value)) = (kind, thought, value) {
        let text = read(value, &format_args!("{path}.text"))?;
        blocks.push(with_extra(BlockBody::Reasoning { text, signature: seal, redacted: false }, fields)?);
        return Ok(());
    }
    let known = kind.zip(value).filter(|_| !thought);
    if known.is_some()
        && let Some(signature) = seal
    {
        // The seal belongs to the part that follows it here.
        let sealed = BlockBody::Reasoning { text: String::new(), signature: Some(signature), redacted: true };
        blocks.push(sealed.into());
    }
    let body = match known {
        Some(("text", value)) => {
            let text = read(value, &format_args!("{path}.text"))?;
            BlockBody::Text { text, annotations: Vec::new(), logprobs: Vec::new() }
        }
        Some(("functionCall", value)) => match call(value, &format!("{path}.functionCall"), calls)? {
            Some(body) => body,
            None => return kept(raw, blocks),
        },
        Some(("functionResponse", value)) => {
            let block = result(value, &format!("{path}.functionResponse"), calls)?;
            blocks.push(joined(block, fields)?);
            return Ok(());
        }
        Some(("inlineData", value)) => {
            let path = format!("{path}.inlineData");
            let mut inline = Object::of(value, &path)?.camel()?;
            let mime: String = inline.read(&path, "mimeType")?.ok_or_else(|| missing(&path, "mimeType"))?;
            let data: Cow<'_, str> = inline.take("data").and_then(text).ok_or_else(|| missing(&path, "data"))?;
            let data = types::standard_base64(data);
            match role {
                Role::Assistant => BlockBody::Media { mime, data },
                _ => {
                    let name = inline.read(&path, "displayName")?;
                    let mut block =
                        with_extra(types::media(&mime, Source::Base64 { mime: mime.clone(), data }), fields)?;
                    named(&mut block, name);
                    blocks.push(block);
                    return Ok(());
                }
            }
        }
        Some((_, value)) => {
            let path = format!("{path}.fileData");
            let mut file = Object::of(value, &path)?.camel()?;
            let uri: String = file.read(&path, "fileUri")?.ok_or_else(|| missing(&path, "fileUri"))?;
            let mime: Option<String> = file.read(&path, "mimeType")?;
            let name = file.read(&path, "displayName")?;
            let guessed = types::mime_of_url(&uri);
            let kind = mime.as_deref().or(guessed).unwrap_or_default().to_owned();
            let mut block = with_extra(types::media(&kind, types::source_of_uri(uri)), fields)?;
            named(&mut block, name);
            if let Some(mime) = mime.filter(|mime| Some(mime.as_str()) != guessed) {
                // A URL has no type of its own in the domain.
                block.extra.entry(Dialect::Gemini).or_default().insert("mimeType".into(), mime.into());
            }
            blocks.push(block);
            return Ok(());
        }
        None => return kept(raw, blocks),
    };
    blocks.push(with_extra(body, fields)?);
    Ok(())
}

/// A document has a name; of pictures and sounds only this dialect knows one.
fn named(block: &mut Block, given: Option<String>) {
    match (&mut block.body, given) {
        (BlockBody::File { name, .. }, given) => *name = given,
        (_, Some(given)) => {
            block.extra.entry(Dialect::Gemini).or_default().insert("displayName".into(), given.into());
        }
        (_, None) => {}
    }
}

fn missing(path: &str, field: &str) -> Error {
    Error::invalid(format!("{path}.{field}: it is missing"))
}

/// A part that only this dialect understands, as it came.
fn kept(raw: &RawValue, blocks: &mut Vec<Block>) -> Result<()> {
    let raw: Value = read(raw, &"parts")?;
    blocks.push(BlockBody::Provider { dialect: Dialect::Gemini, kind: kind_of(&raw), raw }.into());
    Ok(())
}

/// Fields of a part that stand beside what it is.
const BESIDE: &[&str] = &["thought", "thoughtSignature", "thought_signature", "partMetadata", "mediaResolution"];

/// The provider's word for a part: the name of its one field.
pub(super) fn kind_of(part: &Value) -> String {
    let names = part.as_object().into_iter().flat_map(Map::keys);
    let mut names = names.filter(|name| !BESIDE.contains(&name.as_str()));
    names.next().map_or_else(|| "part".to_owned(), Clone::clone)
}

fn with_extra(body: BlockBody, fields: Object<'_>) -> Result<Block> {
    joined(body.into(), fields)
}

fn joined(mut block: Block, fields: Object<'_>) -> Result<Block> {
    let mut rest = fields.into_values()?;
    rest.retain(|_, value| !value.is_null());
    if !rest.is_empty() {
        block.extra.entry(Dialect::Gemini).or_default().extend(rest);
    }
    Ok(block)
}

/// `None` for a call whose arguments come in pieces: only who asked for that understands it.
fn call(raw: &RawValue, path: &str, calls: &mut Calls) -> Result<Option<BlockBody>> {
    let mut fields = Object::of(raw, &path)?.camel()?;
    if fields.get("partialArgs").is_some() || fields.get("willContinue").is_some() {
        return Ok(None);
    }
    let name: String = fields.read(path, "name")?.ok_or_else(|| missing(path, "name"))?;
    let id = fields.read(path, "id")?;
    let arguments = fields.take("args").map_or_else(|| "{}".to_owned(), compact);
    let id = calls.ask(id, &name);
    Ok(Some(BlockBody::ToolCall { id, name, arguments }))
}

fn result(raw: &RawValue, path: &str, calls: &mut Calls) -> Result<Block> {
    let mut fields = Object::of(raw, &path)?.camel()?;
    let name: String = fields.read(path, "name")?.ok_or_else(|| missing(path, "name"))?;
    let id: Option<String> = fields.read(path, "id")?;
    let (call_id, known) = calls.answer(id, &name);
    let (text, is_error) = match fields.take("response") {
        Some(raw) => said(raw),
        None => (String::new(), false),
    };
    let mut content = vec![Block::text(text)];
    if let Some(raw) = fields.take("parts") {
        let path = format!("{path}.parts");
        for (at, raw) in list(raw, &path)?.into_iter().enumerate() {
            part(raw, &format!("{path}[{at}]"), Role::User, calls, &mut content)?;
        }
    }
    let mut extra = BTreeMap::new();
    let mut rest = fields.into_values()?;
    rest.retain(|_, value| !value.is_null());
    if !known {
        rest.insert("name".into(), name.into());
    }
    if !rest.is_empty() {
        extra.insert(Dialect::Gemini, rest);
    }
    Ok(Block { body: BlockBody::ToolResult { call_id, content, is_error }, extra })
}

/// A function's result is an object here and a text everywhere else: `{"output": "text"}` and `{"error": "text"}` are that text, all else is itself as JSON.
fn said(raw: &RawValue) -> (String, bool) {
    let alone = |name: &str| {
        let fields: Object<'_> = serde_json::from_str(raw.get()).ok()?;
        let mut fields = fields.into_fields();
        let (only, value) = fields.next()?;
        (only == name && fields.next().is_none()).then_some(value)
    };
    if let Some(value) = alone("error") {
        return (text(value).map_or_else(|| compact(value), Cow::into_owned), true);
    }
    match alone("output").and_then(text) {
        // A text that would be read as an object on the way back stays inside its own.
        Some(words) if !is_object(&words) => (words.into_owned(), false),
        _ => (compact(raw), false),
    }
}

/// Whether a text is a JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<Object<'_>>(text).is_ok()
}

/// JSON without the line breaks and blanks between its parts, which servers write for people.
pub(super) fn compact(raw: &RawValue) -> String {
    let mut out = String::with_capacity(raw.get().len());
    let (mut inside, mut escaped) = (false, false);
    for c in raw.get().chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            ' ' | '\n' | '\r' | '\t' if !inside => continue,
            _ => {}
        }
        out.push(c);
    }
    out
}

/// The calls of a conversation, so that results without ids find theirs.
#[derive(Debug, Default)]
struct Calls {
    count: usize,
    /// Calls without an answer yet: id and name.
    open: Vec<(String, String)>,
}

impl Calls {
    fn ask(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{}", self.count));
        self.count += 1;
        self.open.push((id.clone(), name.to_owned()));
        id
    }

    /// The id of the call that a result answers, and whether that call is known under this name.
    fn answer(&mut self, id: Option<String>, name: &str) -> (String, bool) {
        let id = id.filter(|id| !id.is_empty());
        let found = match &id {
            Some(id) => self.open.iter().position(|(open, _)| open == id),
            None => self.open.iter().position(|(_, open)| open == name),
        };
        match found.map(|at| self.open.remove(at)) {
            Some((open, asked)) => (open, asked == name),
            None => (id.unwrap_or_else(|| format!("call_{name}")), false),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn results_are_texts_where_they_say_no_more() {
        for (response, words, failed) in [
            (r#"{"output":"15"}"#, "15", false),
            (r#"{"error":"no"}"#, "no", true),
            (r#"{"error":{"a": 1}}"#, r#"{"a":1}"#, true),
            (r#"{"result": "a b"}"#, r#"{"result":"a b"}"#, false),
            (r#"{"output":"{}"}"#, r#"{"output":"{}"}"#, false),
            (r#"{"output": 15}"#, r#"{"output":15}"#, false),
            ("{}", "{}", false),
        ] {
            assert_eq!(said(&raw(response)), (words.to_owned(), failed), "{response}");
        }
    }

    #[test]
    fn calls_and_results_without_ids_find_each_other() {
        let body = r#"[{"role":"model","parts":[{"functionCall":{"name":"f"}},{"function_call":{"name":"f","args":{"x": "a b"}}}]},
            {"parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}},{"functionResponse":{"name":"f","response":{"output":"2"}}}]}]"#;
        let messages = decode(&raw(body)).unwrap();
        let ids = |message: &Message| -> Vec<String> {
            let id = |block: &Block| match &block.body {
                BlockBody::ToolCall { id, .. } => id.clone(),
                BlockBody::ToolResult { call_id, .. } => call_id.clone(),
                other => panic!("{other:?}"),
            };
            message.content.iter().map(id).collect()
        };
        assert_eq!(ids(&messages[0]), ["call_0", "call_1"]);
        assert_eq!(ids(&messages[1]), ["call_0", "call_1"]);
        assert!(
            matches!(&messages[0].content[1].body, BlockBody::ToolCall { arguments, .. } if arguments == "{\"x\":\"a b\"}")
        );
    }
}
