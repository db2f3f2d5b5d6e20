//! The small words of the dialect, both ways: roles, token counts, names of tools in namespaces, and the seals on thoughts.
//!
//! What is alike in OpenAI's two dialects (media types, data URLs, log probabilities) is in `openai_chat/types.rs`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::Dialect;
use crate::dialect::json::{Writer, lenient};
use crate::request::Role;
use crate::usage::Usage;

pub(super) const OURS: Dialect = Dialect::OpenaiResponses;

/// Roles and their words. Results of tools are items of their own, not messages.
const ROLES: &[(&str, Role)] =
    &[("system", Role::System), ("developer", Role::Developer), ("user", Role::User), ("assistant", Role::Assistant)];

pub(super) fn role(word: &str) -> Option<Role> {
    ROLES.iter().find(|(known, _)| *known == word).map(|(_, role)| *role)
}

pub(super) fn role_word(role: Role) -> &'static str {
    ROLES.iter().find(|(_, known)| *known == role).map_or("user", |(word, _)| word)
}

/// Reads token counts; nothing here fails.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Wire {
        input_tokens: Option<f64>,
        output_tokens: Option<f64>,
        input_tokens_details: Option<Details>,
        output_tokens_details: Option<Details>,
        /// OpenRouter's: dollars.
        cost: Option<f64>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        cached_tokens: Option<f64>,
        cache_write_tokens: Option<f64>,
        audio_tokens: Option<f64>,
        reasoning_tokens: Option<f64>,
    }
    let wire: Wire = lenient(Some(raw))?;
    let count = |number: Option<f64>| number.map_or(0, |number| number.max(0.0) as u64);
    let (input, output) =
        (wire.input_tokens_details.unwrap_or_default(), wire.output_tokens_details.unwrap_or_default());
    let mut usage = Usage::new(count(wire.input_tokens), count(wire.output_tokens));
    usage.cache_read = count(input.cached_tokens);
    usage.cache_write = count(input.cache_write_tokens);
    usage.input_audio = count(input.audio_tokens);
    usage.output_audio = count(output.audio_tokens);
    usage.reasoning = count(output.reasoning_tokens);
    usage.cost_micros = wire.cost.filter(|cost| *cost >= 0.0).map(|cost| (cost * 1e6).round() as u64);
    Some(usage)
}

/// Writes token counts.
pub(super) fn write_usage(usage: &Usage, to: &mut Writer) {
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    to.open(b'{');
    to.field("input_tokens", &usage.input);
    to.key("input_tokens_details");
    to.open(b'{');
    to.field("cached_tokens", &usage.cache_read);
    to.field("cache_write_tokens", &usage.cache_write);
    to.some("audio_tokens", some(usage.input_audio).as_ref());
    to.close(b'}');
    to.field("output_tokens", &usage.output);
    to.key("output_tokens_details");
    to.open(b'{');
    to.field("reasoning_tokens", &usage.reasoning);
    to.some("audio_tokens", some(usage.output_audio).as_ref());
    to.close(b'}');
    to.field("total_tokens", &usage.total());
    to.some("cost", usage.cost_micros.map(|micros| micros as f64 / 1e6).as_ref());
    to.close(b'}');
}

/// One name for a tool in a namespace, which other dialects do not have. A tool alone in a namespace of its own name keeps it.
pub(super) fn flat_name(namespace: &str, name: &str) -> String {
    if namespace == name {
        return name.to_owned();
    }
    let separator = if namespace.ends_with('_') { "" } else { "__" };
    format!("{namespace}{separator}{name}")
}

/// What stands before thoughts' `encrypted_content` that an encoder of ours wrote: behind it is the seal as the domain has it.
pub(super) const WRAPPED: &str = "llm-router:";

/// The seal on a reasoning item as the domain has it: dialect, the item's id, what is encrypted. The dialect's name keeps it from being sent to another.
pub(super) fn seal(id: &str, encrypted: &str) -> String {
    match encrypted.strip_prefix(WRAPPED) {
        Some(seal) => seal.to_owned(),
        None => format!("{OURS}:{}:{encrypted}", if id.contains(':') { "" } else { id }),
    }
}

/// Id and encrypted content of a seal, if it is one of this dialect.
pub(super) fn unseal(signature: &str) -> Option<(&str, &str)> {
    signature.strip_prefix(OURS.as_str())?.strip_prefix(':')?.split_once(':')
}

/// A seal of any dialect as `encrypted_content` for a client, which brings it back unchanged.
pub(super) fn wrap(signature: &str) -> String {
    format!("{WRAPPED}{signature}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn seals_come_back_to_who_made_them() {
        let ours = seal("rs_1", "gAAA==");
        assert_eq!(unseal(&ours), Some(("rs_1", "gAAA==")));
        assert_eq!(seal("rs_other", &wrap(&ours)), ours);
        assert_eq!(seal("", &wrap("another dialect's")), "another dialect's");
        assert_eq!(unseal("another dialect's"), None);
        assert_eq!(unseal(&seal("odd:id", "x")), Some(("", "x")));
    }

    #[test]
    fn counts() {
        let raw = r#"{"input_tokens":36,"input_tokens_details":{"cached_tokens":8},"output_tokens":87,
            "output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}"#;
        let usage = usage(&serde_json::from_str::<Box<RawValue>>(raw).unwrap()).unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (36, 8, 87, 64));
        assert_eq!(flat_name("mcp__a__", "b"), "mcp__a__b");
        assert_eq!(flat_name("docs", "b"), "docs__b");
    }
}
