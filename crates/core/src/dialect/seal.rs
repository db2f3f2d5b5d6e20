//! Seals: what a provider puts into an answer that only itself can read, and wants back unchanged — signatures, encrypted thoughts, details of them.
//!
//! Finds them in blocks of any dialect and takes them out. Whose a seal is, and where it may go, is decided in `router/sealed.rs`.

use serde_json::Value;

use crate::request::{Block, BlockBody, RawJson};

/// Fields that hold a seal, wherever a provider puts them: beside a call, in a thought, in the result of its own search.
const FIELDS: &[&str] =
    &["signature", "thoughtSignature", "thought_signature", "encrypted_content", "encrypted_index", "reasoning_opaque"];

/// Kinds of a provider's own block that are sealed as a whole: what they hold, or name, is known where it was made and nowhere else.
const KINDS: &[&str] = &["reasoning_details", "reasoning", "redacted_thinking", "compaction"];

/// The field that holds the seal in blocks of those kinds.
const DATA: &str = "data";

/// Whether a block holds a seal, or is one.
pub(crate) fn is_sealed(block: &Block) -> bool {
    let beside = block.extra.values().flatten().any(|(name, value)| is_seal(name, value));
    beside
        || match &block.body {
            BlockBody::Reasoning { signature, redacted, .. } => signature.is_some() || *redacted,
            BlockBody::Provider { kind, raw, .. } => KINDS.contains(&kind.as_str()) || holds_seal(raw),
            BlockBody::Text { annotations, .. } => annotations.iter().any(holds_seal),
            BlockBody::ToolResult { content, .. } => content.iter().any(is_sealed),
            _ => false,
        }
}

/// Whether a field of a message, beside its blocks, is or holds a seal.
pub(crate) fn is_sealed_field(name: &str, value: &RawJson) -> bool {
    FIELDS.contains(&name) || (FIELDS.iter().any(|field| value.get().contains(field)) && holds_seal(&value.value()))
}

/// Shows each seal of a block to `found`, by its text.
pub(crate) fn each(block: &Block, found: &mut dyn FnMut(&str)) {
    for (name, value) in block.extra.values().flatten() {
        each_in(name, value, found);
    }
    match &block.body {
        BlockBody::Reasoning { signature: Some(signature), .. } => found(signature),
        BlockBody::Text { annotations, .. } => annotations.iter().for_each(|value| each_in_value(value, found)),
        BlockBody::Provider { raw, .. } => each_in_value(raw, found),
        BlockBody::ToolResult { content, .. } => content.iter().for_each(|block| each(block, found)),
        _ => {}
    }
}

/// Shows each seal of a provider's own words to `found`: of a block, of a piece of one, of a citation.
pub(crate) fn each_in_value(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| each_in(name, value, found)),
        Value::Array(list) => list.iter().for_each(|value| each_in_value(value, found)),
        _ => {}
    }
}

fn each_in(name: &str, value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) if name == DATA || FIELDS.contains(&name) => found(text),
        value => each_in_value(value, found),
    }
}

/// The block without its seals, and in `gone` the place of each in it; `None` where nothing readable is left.
pub(crate) fn opened(block: &Block, gone: &mut Vec<String>) -> Option<Block> {
    let mut block = block.clone();
    for (dialect, fields) in &mut block.extra {
        fields.retain(|name, value| {
            let seal = is_seal(name, value);
            gone.extend(seal.then(|| format!(".{dialect}.{name}")));
            !seal
        });
    }
    block.extra.retain(|_, fields| !fields.is_empty());
    match &mut block.body {
        BlockBody::Reasoning { text, signature, redacted } => {
            if *redacted || (text.is_empty() && signature.is_some()) {
                gone.push(String::new());
                return None;
            }
            gone.extend(signature.take().map(|_| ".signature".to_owned()));
        }
        BlockBody::Provider { dialect, kind, raw } if KINDS.contains(&kind.as_str()) || holds_seal(raw) => {
            gone.push(format!(".{dialect}.{kind}"));
            return None;
        }
        BlockBody::Text { annotations, .. } if annotations.iter().any(holds_seal) => {
            annotations.retain(|value| !holds_seal(value));
            gone.push(".annotations".to_owned());
        }
        BlockBody::ToolResult { content, .. } if content.iter().any(is_sealed) => {
            let inner = std::mem::take(content);
            *content = inner.iter().filter_map(|block| opened(block, gone)).collect();
        }
        _ => {}
    }
    Some(block)
}

fn is_seal(name: &str, value: &Value) -> bool {
    (FIELDS.contains(&name) && !value.is_null()) || holds_seal(value)
}

fn holds_seal(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| is_seal(name, value)),
        Value::Array(list) => list.iter().any(holds_seal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn block(value: Value) -> Block {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn seals_are_found_and_taken_out_and_what_can_be_read_stays() {
        let details =
            json!([{"type": "reasoning.encrypted", "data": "D"}, {"type": "reasoning.text", "signature": "S"}]);
        let cases = [
            (json!({"type": "reasoning", "text": "hm", "signature": "A"}), vec!["A"], vec![".signature"], true),
            (json!({"type": "reasoning", "signature": "B", "redacted": true}), vec!["B"], vec![""], false),
            (
                json!({"type": "provider", "dialect": "openai_chat", "kind": "reasoning_details", "raw": details}),
                vec!["D", "S"],
                vec![".openai_chat.reasoning_details"],
                false,
            ),
            (
                json!({"type": "provider", "dialect": "anthropic", "kind": "web_search_tool_result", "raw": {"content": [{"encrypted_content": "E"}]}}),
                vec!["E"],
                vec![".anthropic.web_search_tool_result"],
                false,
            ),
            (
                json!({"type": "text", "text": "a", "annotations": [{"url": "u"}, {"encrypted_index": "I"}]}),
                vec!["I"],
                vec![".annotations"],
                true,
            ),
            (
                json!({"type": "tool_call", "id": "1", "name": "f", "arguments": "{}", "extra": {"gemini": {"thoughtSignature": "T", "x": 1}}}),
                vec!["T"],
                vec![".gemini.thoughtSignature"],
                true,
            ),
            (
                json!({"type": "tool_call", "id": "1", "name": "f", "arguments": "{}", "extra": {"openai_chat": {"extra_content": {"google": {"thought_signature": "U"}}}}}),
                vec!["U"],
                vec![".openai_chat.extra_content"],
                true,
            ),
        ];
        for (value, seals, names, stays) in cases {
            let sealed = block(value);
            assert!(is_sealed(&sealed), "{sealed:?}");
            let mut found = Vec::new();
            each(&sealed, &mut |seal| found.push(seal.to_owned()));
            assert_eq!(found, seals);
            let mut gone = Vec::new();
            let left = opened(&sealed, &mut gone);
            assert_eq!((gone.iter().map(String::as_str).collect(), left.is_some()), (names, stays), "{sealed:?}");
            assert!(!left.is_some_and(|block| is_sealed(&block)));
        }
    }

    #[test]
    fn fields_of_a_message_may_be_sealed_too() {
        for (name, text, sealed) in [
            ("reasoning_opaque", "\"x\"", true),
            ("thinking_blocks", r#"[{"thinking": "hm", "signature": "S"}]"#, true),
            ("note", "\"of a signature\"", false),
            ("refusal", "null", false),
        ] {
            assert_eq!(is_sealed_field(name, &RawJson::parse(text).unwrap()), sealed, "{name}");
        }
    }

    #[test]
    fn what_is_no_seal_stays() {
        for open in [
            json!({"type": "text", "text": "signature"}),
            json!({"type": "reasoning", "text": "hm"}),
            json!({"type": "provider", "dialect": "openai_chat", "kind": "audio", "raw": {"id": "a", "data": "x"}}),
            json!({"type": "text", "text": "a", "extra": {"anthropic": {"cache_control": {"type": "ephemeral"}}}}),
        ] {
            assert!(!is_sealed(&block(open.clone())), "{open}");
        }
    }
}
