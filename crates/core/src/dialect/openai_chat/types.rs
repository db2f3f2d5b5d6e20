//! The small words of the dialect, both ways: roles, finish reasons, media types, data URLs, token counts and log probabilities.
//!
//! Nothing here knows a message or an answer; those are in `messages.rs`, `stream.rs` and `response.rs`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::delta::FinishReason;
use crate::dialect::json::{Object, Writer, lenient};
use crate::request::{Role, Source, TokenLogprob};
use crate::usage::Usage;

/// Roles and their words. `function` is the word of before tools had ids.
const ROLES: &[(&str, Role)] = &[
    ("system", Role::System),
    ("developer", Role::Developer),
    ("user", Role::User),
    ("assistant", Role::Assistant),
    ("tool", Role::Tool),
    ("function", Role::Tool),
];

pub(super) fn role(word: &str) -> Option<Role> {
    ROLES.iter().find(|(known, _)| *known == word).map(|(_, role)| *role)
}

pub(super) fn role_word(role: Role) -> &'static str {
    ROLES.iter().find(|(_, known)| *known == role).map_or("user", |(word, _)| word)
}

/// Reasons and their words, the dialect's own word first; the others are those of compatible servers (Hugging Face, Together, DeepSeek, Mistral, vLLM).
const REASONS: &[(&str, FinishReason)] = &[
    ("stop", FinishReason::Stop),
    ("length", FinishReason::Length),
    ("tool_calls", FinishReason::ToolCalls),
    ("content_filter", FinishReason::ContentFilter),
    ("function_call", FinishReason::ToolCalls),
    ("eos", FinishReason::Stop),
    ("eos_token", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("end_turn", FinishReason::Stop),
    ("STOP", FinishReason::Stop),
    ("max_tokens", FinishReason::Length),
    ("model_length", FinishReason::Length),
    ("MAX_TOKENS", FinishReason::Length),
    ("tool_use", FinishReason::ToolCalls),
    ("refusal", FinishReason::Refusal),
    ("SAFETY", FinishReason::ContentFilter),
];

/// How many of [`REASONS`] the dialect's own definition has.
const OWN_REASONS: usize = 5;

pub(super) fn finish_reason(word: &str) -> FinishReason {
    REASONS.iter().find(|(known, _)| *known == word).map_or(FinishReason::Other, |(_, reason)| *reason)
}

/// The word for clients, whose SDKs know the dialect's own words only.
pub(super) fn finish_word(reason: FinishReason, raw: Option<&str>) -> &str {
    let own = REASONS.get(..OWN_REASONS).unwrap_or(REASONS);
    let said = own.iter().find(|(word, of)| Some(*word) == raw && *of == reason);
    match said.or_else(|| own.iter().find(|(_, of)| *of == reason)) {
        Some((word, _)) => word,
        None if reason == FinishReason::Refusal => "content_filter",
        None => "stop",
    }
}

/// Audio formats and their media types.
const AUDIO: &[(&str, &str)] = &[
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("mp3", "audio/mp3"),
    ("wav", "audio/x-wav"),
    ("pcm16", "audio/pcm"),
];

pub(in crate::dialect) fn audio_mime(format: &str) -> Cow<'static, str> {
    let known = AUDIO.iter().find(|(word, _)| *word == format);
    known.map_or_else(|| Cow::Owned(format!("audio/{format}")), |(_, mime)| Cow::Borrowed(*mime))
}

pub(in crate::dialect) fn audio_format(mime: &str) -> &str {
    AUDIO
        .iter()
        .find(|(_, known)| *known == mime)
        .map_or_else(|| mime.strip_prefix("audio/").unwrap_or(mime), |(word, _)| word)
}

/// A URL as a source: data URLs in base 64 are taken apart, all others stay URLs, which only the upstream may fetch.
pub(in crate::dialect) fn source(url: String) -> Source {
    let parts = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match parts {
        Some((mime, data)) => Source::Base64 { mime: mime.to_owned(), data: data.to_owned() },
        None => Source::Url(url),
    }
}

/// A source as a URL; `None` for an uploaded file, which has none.
pub(in crate::dialect) fn source_url(source: &Source) -> Option<String> {
    match source {
        Source::Base64 { mime, data } => Some(format!("data:{mime};base64,{data}")),
        Source::Url(url) => Some(url.clone()),
        _ => None,
    }
}

/// Reads token counts. Some servers write counts as floats, some leave the total out; nothing here fails.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Wire {
        prompt_tokens: Option<f64>,
        completion_tokens: Option<f64>,
        total_tokens: Option<f64>,
        prompt_tokens_details: Option<Details>,
        completion_tokens_details: Option<Details>,
        /// DeepSeek's name for the cached part.
        prompt_cache_hit_tokens: Option<f64>,
        /// Moonshot's and xAI's.
        cached_tokens: Option<f64>,
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
    let (prompt, completion) =
        (wire.prompt_tokens_details.unwrap_or_default(), wire.completion_tokens_details.unwrap_or_default());
    let mut usage = Usage::new(count(wire.prompt_tokens), count(wire.completion_tokens));
    usage.cache_read = count(prompt.cached_tokens.or(wire.prompt_cache_hit_tokens).or(wire.cached_tokens));
    usage.cache_write = count(prompt.cache_write_tokens);
    usage.input_audio = count(prompt.audio_tokens);
    usage.output_audio = count(completion.audio_tokens);
    usage.reasoning = count(completion.reasoning_tokens);
    usage.cost_micros = wire.cost.filter(|cost| *cost >= 0.0).map(|cost| (cost * 1e6).round() as u64);
    // xAI and a few others count thoughts beside the completion, not within it; their total says so.
    let beside = usage.total().saturating_add(usage.reasoning);
    if usage.reasoning > usage.output || (usage.reasoning > 0 && count(wire.total_tokens) == beside) {
        usage.output = usage.output.saturating_add(usage.reasoning);
    }
    Some(usage)
}

/// Writes token counts.
pub(super) fn write_usage(usage: &Usage, to: &mut Writer) {
    to.open(b'{');
    to.field("prompt_tokens", &usage.input);
    to.field("completion_tokens", &usage.output);
    to.field("total_tokens", &usage.total());
    to.key("prompt_tokens_details");
    to.open(b'{');
    to.field("cached_tokens", &usage.cache_read);
    to.some("cache_write_tokens", Some(&usage.cache_write).filter(|count| **count > 0));
    to.field("audio_tokens", &usage.input_audio);
    to.close(b'}');
    to.key("completion_tokens_details");
    to.open(b'{');
    to.field("reasoning_tokens", &usage.reasoning);
    to.field("audio_tokens", &usage.output_audio);
    to.close(b'}');
    to.some("cost", usage.cost_micros.map(|micros| micros as f64 / 1e6).as_ref());
    to.close(b'}');
}

#[derive(Serialize, Deserialize)]
struct WireLogprob {
    token: String,
    /// Some servers write null for minus infinity.
    logprob: Option<f64>,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<WireLogprob>>,
}

/// What is written where a log probability is minus infinity, as OpenAI does.
const IMPOSSIBLE: f64 = -9999.0;

impl From<WireLogprob> for TokenLogprob {
    fn from(wire: WireLogprob) -> Self {
        Self {
            token: wire.token,
            logprob: wire.logprob.unwrap_or(IMPOSSIBLE),
            bytes: wire.bytes,
            top: wire.top_logprobs.unwrap_or_default().into_iter().map(Self::from).collect(),
        }
    }
}

fn wire_logprob(token: &TokenLogprob, outermost: bool) -> WireLogprob {
    WireLogprob {
        token: token.token.clone(),
        logprob: Some(token.logprob),
        bytes: token.bytes.clone(),
        top_logprobs: outermost.then(|| token.top.iter().map(|token| wire_logprob(token, false)).collect()),
    }
}

/// Reads a list of tokens; one that cannot be read says nothing.
pub(in crate::dialect) fn tokens(raw: &RawValue) -> Vec<TokenLogprob> {
    lenient::<Vec<WireLogprob>>(Some(raw)).unwrap_or_default().into_iter().map(TokenLogprob::from).collect()
}

/// A list of tokens as it is written.
pub(in crate::dialect) fn wire_tokens(tokens: &[TokenLogprob]) -> impl Serialize {
    tokens.iter().map(|token| wire_logprob(token, true)).collect::<Vec<_>>()
}

/// Reads `choices[].logprobs`: those of the content and those of a refusal.
pub(super) fn logprobs(raw: &RawValue) -> (Vec<TokenLogprob>, Vec<TokenLogprob>) {
    let Some(mut wire) = serde_json::from_str::<Object<'_>>(raw.get()).ok() else { return Default::default() };
    let mut list = |name| wire.take(name).map(tokens).unwrap_or_default();
    (list("content"), list("refusal"))
}

/// Writes `choices[].logprobs` for content.
pub(super) fn write_logprobs(tokens: &[TokenLogprob], to: &mut Writer) {
    to.open(b'{');
    to.field("content", &wire_tokens(tokens));
    to.field("refusal", &None::<()>);
    to.close(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn counted(text: &str) -> Usage {
        usage(&serde_json::from_str::<Box<RawValue>>(text).unwrap()).unwrap()
    }

    #[test]
    fn counts_of_several_servers() {
        let openai = counted(
            r#"{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":16,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":1}}"#,
        );
        assert_eq!((openai.cache_read, openai.reasoning, openai.output, openai.output_audio), (16, 5, 9, 1));
        assert_eq!(counted(r#"{"prompt_tokens":3,"prompt_cache_hit_tokens":2}"#).cache_read, 2);
        let beside = counted(
            r#"{"prompt_tokens":10,"completion_tokens":4,"total_tokens":34,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        );
        assert_eq!((beside.output, beside.reasoning), (24, 20));
        assert_eq!(counted(r#"{"prompt_tokens":1.0,"completion_tokens":2,"cost":0.00123}"#).cost_micros, Some(1230));
    }

    #[test]
    fn words_for_clients_are_the_dialects_own() {
        assert_eq!(finish_word(finish_reason("eos"), Some("eos")), "stop");
        assert_eq!(finish_word(finish_reason("function_call"), Some("function_call")), "function_call");
        assert_eq!(finish_word(FinishReason::ToolCalls, None), "tool_calls");
        assert_eq!(finish_word(FinishReason::Other, Some("insufficient_system_resource")), "stop");
        assert_eq!(finish_word(FinishReason::Refusal, None), "content_filter");
    }

    #[test]
    fn data_urls_survive() {
        for url in
            ["data:image/png;base64,iVBO", "data:text/plain;charset=utf-8;base64,YQ==", "https://a/b.png", "data:,x"]
        {
            assert_eq!(source_url(&source(url.into())).unwrap(), url);
        }
        assert_eq!((&*audio_mime("mp3"), audio_format("audio/mp3")), ("audio/mpeg", "mp3"));
        assert_eq!((&*audio_mime("flac"), audio_format("audio/flac")), ("audio/flac", "flac"));
    }
}
