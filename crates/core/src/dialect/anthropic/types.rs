//! The small words of the dialect, both ways: stop reasons, sources of media and token counts.
//!
//! Nothing here knows a message or an answer; those are in `messages.rs`, `stream.rs` and `response.rs`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json, value::RawValue};

use crate::delta::FinishReason;
use crate::dialect::json::{Object, Writer, lenient};
use crate::error::{Error, Result};
use crate::request::Source;
use crate::usage::Usage;

/// Reasons and their words; the first word of a reason is the one written.
const REASONS: &[(&str, FinishReason)] = &[
    ("end_turn", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("max_tokens", FinishReason::Length),
    ("model_context_window_exceeded", FinishReason::Length),
    ("tool_use", FinishReason::ToolCalls),
    ("pause_turn", FinishReason::Pause),
    ("refusal", FinishReason::Refusal),
];

pub(super) fn finish_reason(word: &str) -> FinishReason {
    REASONS.iter().find(|(known, _)| *known == word).map_or(FinishReason::Other, |(_, reason)| *reason)
}

/// The word for clients, whose SDKs know the dialect's own words only. Some servers of other dialects say that they stopped when they called a tool.
pub(super) fn finish_word(reason: FinishReason, raw: Option<&str>, called: bool) -> &'static str {
    let said = REASONS.iter().find(|(word, of)| Some(*word) == raw && *of == reason);
    match said.or_else(|| REASONS.iter().find(|(_, of)| *of == reason)) {
        Some((_, FinishReason::Stop)) if called && said.is_none() => "tool_use",
        Some((word, _)) => word,
        None if reason == FinishReason::ContentFilter => "refusal",
        None if called => "tool_use",
        None => "end_turn",
    }
}

/// Types of citations that this dialect has; those of others have no place in it.
const CITATIONS: &[&str] = &[
    "char_location",
    "page_location",
    "content_block_location",
    "web_search_result_location",
    "search_result_location",
];

pub(super) fn is_citation(note: &Value) -> bool {
    note.get("type").and_then(Value::as_str).is_some_and(|kind| CITATIONS.contains(&kind))
}

/// Reads a `source`. `None` for one that the domain cannot say.
///
/// # Errors
/// `caller_invalid_request` naming the field.
pub(super) fn source(raw: &RawValue, path: &str) -> Result<Option<Source>> {
    let path = format!("{path}.source");
    let mut fields = Object::of(raw, &path)?;
    let missing = |name: &str| Error::invalid(format!("{path}.{name}: it is missing"));
    let kind: String = fields.read(&path, "type")?.ok_or_else(|| missing("type"))?;
    let source = match kind.as_str() {
        "base64" | "text" => {
            let mime: Option<String> = fields.read(&path, "media_type")?;
            let data: String = fields.read(&path, "data")?.ok_or_else(|| missing("data"))?;
            match kind.as_str() {
                "base64" => Source::Base64 { mime: mime.ok_or_else(|| missing("media_type"))?, data },
                _ => plain_text(&data),
            }
        }
        "url" => Source::Url(fields.read(&path, "url")?.ok_or_else(|| missing("url"))?),
        "file" => Source::FileId(fields.read(&path, "file_id")?.ok_or_else(|| missing("file_id"))?),
        _ => return Ok(None),
    };
    Ok(fields.is_empty().then_some(source))
}

/// The media type of texts among documents.
const TEXT: &str = "text/plain";

/// A text as a document.
pub(super) fn plain_text(text: &str) -> Source {
    Source::Base64 { mime: TEXT.to_owned(), data: STANDARD.encode(text) }
}

/// The text that a document of a textual media type holds.
pub(super) fn text_of(mime: &str, data: &str) -> Option<String> {
    const TEXTUAL: &[&str] = &["application/json", "application/xml", "application/yaml"];
    let kind = mime.split(';').next().unwrap_or(mime).trim();
    if !kind.starts_with("text/") && !TEXTUAL.contains(&kind) {
        return None;
    }
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// Writes a `source` member.
pub(super) fn write_source(source: &Source, to: &mut Writer) {
    to.key("source");
    to.open(b'{');
    match source {
        Source::Base64 { mime, data } => match text_of(mime, data) {
            Some(text) => {
                to.field("type", "text");
                to.field("media_type", TEXT);
                to.field("data", &text);
            }
            None => {
                to.field("type", "base64");
                to.field("media_type", mime);
                to.field("data", data);
            }
        },
        Source::Url(url) => {
            to.field("type", "url");
            to.field("url", url);
        }
        Source::FileId(id) => {
            to.field("type", "file");
            to.field("file_id", id);
        }
    }
    to.close(b'}');
}

/// An id as the vendor takes it: it refuses what is not a letter, digit, `_` or `-`, which other providers put into theirs.
pub(super) fn call_id(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match id.chars().all(fits) {
        true => Cow::Borrowed(id),
        false => Cow::Owned(id.chars().map(|c| if fits(c) { c } else { '_' }).collect()),
    }
}

/// Token counts as the dialect counts them: cached parts beside the input, not within it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

impl Counts {
    /// Reads `usage`: what it does not say stays as it was, since a stream gives most of it only at its beginning. Gives back what is not known of it.
    pub(super) fn read(&mut self, raw: &RawValue) -> Map<String, Value> {
        let Ok(fields) = serde_json::from_str::<Object<'_>>(raw.get()) else { return Map::new() };
        let mut rest = Map::new();
        let mut passes: Vec<&RawValue> = Vec::new();
        for (name, raw) in fields.into_fields() {
            let place = match &*name {
                "input_tokens" => &mut self.input,
                "cache_read_input_tokens" => &mut self.cache_read,
                "cache_creation_input_tokens" => &mut self.cache_write,
                "output_tokens" => &mut self.output,
                "output_tokens_details" => {
                    let details: Option<Object<'_>> = serde_json::from_str(raw.get()).ok();
                    if let Some(tokens) = details.as_ref().and_then(|details| details.get("thinking_tokens")) {
                        set(&mut self.reasoning, tokens);
                    }
                    continue;
                }
                // Where a turn took several passes, the other fields count only the last one.
                "iterations" => {
                    passes = serde_json::from_str(raw.get()).unwrap_or_default();
                    rest.extend(lenient(Some(raw)).map(|value: Value| (name.into_owned(), value)));
                    continue;
                }
                _ => {
                    let value: Option<Value> = lenient(Some(raw)).filter(|value: &Value| !value.is_null());
                    rest.extend(value.map(|value| (name.into_owned(), value)));
                    continue;
                }
            };
            set(place, raw);
        }
        if !passes.is_empty() {
            let reasoning = self.reasoning;
            *self = passes.into_iter().fold(Self::default(), |sum, pass| {
                let mut counts = Self::default();
                counts.read(pass);
                sum.plus(counts)
            });
            self.reasoning = self.reasoning.max(reasoning);
        }
        rest
    }

    fn plus(self, more: Self) -> Self {
        Self {
            input: self.input.saturating_add(more.input),
            cache_read: self.cache_read.saturating_add(more.cache_read),
            cache_write: self.cache_write.saturating_add(more.cache_write),
            output: self.output.saturating_add(more.output),
            reasoning: self.reasoning.saturating_add(more.reasoning),
        }
    }

    /// The counts as the domain has them.
    pub(super) fn usage(&self) -> Usage {
        let input = self.input.saturating_add(self.cache_read).saturating_add(self.cache_write);
        let mut usage = Usage::new(input, self.output);
        (usage.cache_read, usage.cache_write, usage.reasoning) = (self.cache_read, self.cache_write, self.reasoning);
        usage
    }
}

/// Counts only grow; a zero after a count is a server that has nothing new to say.
fn set(place: &mut u64, raw: &RawValue) {
    if let Some(number) = lenient::<f64>(Some(raw)).filter(|number| *number > 0.0) {
        *place = number as u64;
    }
}

/// Token counts as a `usage` object, with what is not known of it.
pub(super) fn usage_json(usage: Option<&Usage>, rest: Option<&Value>) -> Value {
    let usage = usage.copied().unwrap_or_default();
    let mut whole = json!({
        "input_tokens": usage.input.saturating_sub(usage.cache_read).saturating_sub(usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    });
    if let Some(fields) = whole.as_object_mut() {
        if usage.reasoning > 0 {
            fields.insert("output_tokens_details".into(), json!({"thinking_tokens": usage.reasoning}));
        }
        fields.extend(rest.and_then(Value::as_object).cloned().unwrap_or_default());
    }
    whole
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn counts_of_a_stream_complete_each_other() {
        let mut counts = Counts::default();
        let rest = counts.read(&raw(
            r#"{"input_tokens":3,"cache_creation_input_tokens":2,"cache_read_input_tokens":10,"output_tokens":1,"service_tier":"standard","x":null}"#,
        ));
        assert_eq!(Value::from(rest), json!({"service_tier": "standard"}));
        counts.read(&raw(r#"{"output_tokens":20,"output_tokens_details":{"thinking_tokens":12}}"#));
        let usage = counts.usage();
        assert_eq!((usage.input, usage.output), (15, 20));
        assert_eq!((usage.cache_read, usage.cache_write, usage.reasoning), (10, 2, 12));
        let again = usage_json(Some(&usage), None);
        assert_eq!(again["input_tokens"], 3);
        assert_eq!(again["output_tokens_details"]["thinking_tokens"], 12);
    }

    #[test]
    fn reasons_have_words_of_this_dialect() {
        for (word, reason) in REASONS {
            assert_eq!(finish_reason(word), *reason);
            assert_eq!(finish_word(*reason, Some(word), false), *word);
        }
        assert_eq!(finish_word(FinishReason::Stop, Some("stop"), true), "tool_use");
        assert_eq!(finish_word(FinishReason::Stop, Some("end_turn"), true), "end_turn");
        assert_eq!(finish_word(FinishReason::ContentFilter, None, false), "refusal");
        assert_eq!(finish_word(FinishReason::Other, Some("x"), false), "end_turn");
    }

    #[test]
    fn sources_survive() {
        for text in [
            r#"{"type":"base64","media_type":"image/png","data":"iVBO"}"#,
            r#"{"type":"url","url":"https://example.com/a.pdf"}"#,
            r#"{"type":"file","file_id":"file_1"}"#,
            r#"{"type":"text","media_type":"text/plain","data":"naïve\n"}"#,
        ] {
            let mut to = Writer::with_capacity(64);
            write_source(&source(&raw(text), "x").unwrap().unwrap(), &mut to);
            assert_eq!(String::from_utf8(to.finish()).unwrap(), format!("\"source\":{text}"));
        }
        assert!(source(&raw(r#"{"type":"content","content":"x"}"#), "x").unwrap().is_none());
        assert_eq!(call_id("functions.weather:0"), "functions_weather_0");
    }
}
