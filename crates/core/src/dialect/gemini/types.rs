//! The small words of the dialect, both ways: finish reasons, media, base 64, token counts and log probabilities.
//!
//! Nothing here knows a message or an answer; those are in `contents.rs`, `candidate.rs` and `response.rs`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::delta::FinishReason;
use crate::dialect::json::{Writer, lenient};
use crate::request::{BlockBody, Source, TokenLogprob};
use crate::usage::Usage;

/// Reasons and their words; the first word of a reason is the one written where no other is known.
const REASONS: &[(&str, FinishReason)] = &[
    ("STOP", FinishReason::Stop),
    ("MAX_TOKENS", FinishReason::Length),
    ("SAFETY", FinishReason::ContentFilter),
    ("RECITATION", FinishReason::ContentFilter),
    ("BLOCKLIST", FinishReason::ContentFilter),
    ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
    ("SPII", FinishReason::ContentFilter),
    ("MODEL_ARMOR", FinishReason::ContentFilter),
    ("IMAGE_SAFETY", FinishReason::ContentFilter),
    ("IMAGE_PROHIBITED_CONTENT", FinishReason::ContentFilter),
    ("IMAGE_RECITATION", FinishReason::ContentFilter),
    ("OTHER", FinishReason::Other),
    ("LANGUAGE", FinishReason::Other),
    ("MALFORMED_FUNCTION_CALL", FinishReason::Other),
    ("MALFORMED_RESPONSE", FinishReason::Other),
    ("UNEXPECTED_TOOL_CALL", FinishReason::Other),
    ("TOO_MANY_TOOL_CALLS", FinishReason::Other),
    ("MISSING_THOUGHT_SIGNATURE", FinishReason::Other),
    ("NO_IMAGE", FinishReason::Other),
    ("IMAGE_OTHER", FinishReason::Other),
];

/// What a word means, in an answer that holds function calls or none: the dialect has no reason of its own for calls.
pub(super) fn finish_reason(word: &str, calls: bool) -> FinishReason {
    match REASONS.iter().find(|(known, _)| *known == word) {
        Some((_, FinishReason::Stop)) if calls => FinishReason::ToolCalls,
        Some((_, reason)) => *reason,
        None => FinishReason::Other,
    }
}

/// The word for clients.
pub(super) fn finish_word(reason: FinishReason, raw: Option<&str>) -> &'static str {
    let reason = match reason {
        FinishReason::ToolCalls => FinishReason::Stop,
        FinishReason::Refusal => FinishReason::ContentFilter,
        FinishReason::Pause => FinishReason::Other,
        reason => reason,
    };
    let said = REASONS.iter().find(|(word, of)| Some(*word) == raw && *of == reason);
    said.or_else(|| REASONS.iter().find(|(_, of)| *of == reason)).map_or("OTHER", |(word, _)| word)
}

/// Base 64 in the standard alphabet with padding: Google's SDK for Python writes the other alphabet, and the server reads both.
pub(super) fn standard_base64(data: Cow<'_, str>) -> String {
    let mut data = match data.contains(['-', '_']) {
        true => data.replace('-', "+").replace('_', "/"),
        false => data.into_owned(),
    };
    while matches!(data.len() % 4, 2 | 3) {
        data.push('=');
    }
    data
}

/// A seal as clients of this dialect read it: they decode it as base 64, which another provider's need not be.
pub(super) fn wire_seal(seal: &str) -> Cow<'_, str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    match seal.len().is_multiple_of(4) && seal.bytes().all(letter) {
        true => Cow::Borrowed(seal),
        false => Cow::Owned(STANDARD.encode(seal)),
    }
}

/// Input media by its type: pictures, sounds, and all else as a document.
pub(super) fn media(mime: &str, source: Source) -> BlockBody {
    match mime.split('/').next() {
        Some("image") => BlockBody::Image { source, detail: None },
        Some("audio") => BlockBody::Audio { source },
        _ => BlockBody::File { source, name: None },
    }
}

/// Media types by the ending of a URL, for sources that say none.
const ENDINGS: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("html", "text/html"),
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
];

/// The media type that a URL's ending promises.
pub(super) fn mime_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase();
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, mime)| *mime)
}

/// Where files live that were uploaded to Google: only its own models can read them.
const FILES: &str = "https://generativelanguage.googleapis.com/";

/// A file's address as a source.
pub(super) fn source_of_uri(uri: String) -> Source {
    if uri.starts_with(FILES) || uri.starts_with("files/") { Source::FileId(uri) } else { Source::Url(uri) }
}

/// The address of an uploaded file; `None` for an id of another provider.
pub(super) fn uri_of_file(id: &str) -> Option<String> {
    match id.starts_with("files/") {
        true => Some(format!("{FILES}v1beta/{id}")),
        false => id.starts_with(FILES).then(|| id.to_owned()),
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireUsage {
    prompt_token_count: Option<f64>,
    cached_content_token_count: Option<f64>,
    candidates_token_count: Option<f64>,
    thoughts_token_count: Option<f64>,
    tool_use_prompt_token_count: Option<f64>,
    prompt_tokens_details: Option<Vec<Modality>>,
    candidates_tokens_details: Option<Vec<Modality>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Modality {
    modality: Option<String>,
    token_count: Option<f64>,
}

/// Reads `usageMetadata`. Thoughts are counted beside the answer here, and the prompts of tools that ran at Google beside the prompt.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    let wire: WireUsage = lenient(Some(raw))?;
    let count = |number: Option<f64>| number.map_or(0, |number| number.max(0.0) as u64);
    let sound = |list: Option<Vec<Modality>>| {
        let sounds = list.into_iter().flatten().filter(|one| one.modality.as_deref() == Some("AUDIO"));
        sounds.map(|one| count(one.token_count)).fold(0, u64::saturating_add)
    };
    let thoughts = count(wire.thoughts_token_count);
    let mut usage = Usage::new(
        count(wire.prompt_token_count).saturating_add(count(wire.tool_use_prompt_token_count)),
        count(wire.candidates_token_count).saturating_add(thoughts),
    );
    usage.cache_read = count(wire.cached_content_token_count);
    usage.reasoning = thoughts;
    usage.input_audio = sound(wire.prompt_tokens_details);
    usage.output_audio = sound(wire.candidates_tokens_details);
    Some(usage)
}

/// Writes `usageMetadata`.
pub(super) fn write_usage(usage: &Usage, to: &mut Writer) {
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    let modalities = |all: u64, sound: u64| {
        let text = json!({"modality": "TEXT", "tokenCount": all.saturating_sub(sound)});
        some(sound).map(|sound| json!([text, {"modality": "AUDIO", "tokenCount": sound}]))
    };
    let answer = usage.output.saturating_sub(usage.reasoning);
    to.open(b'{');
    to.field("promptTokenCount", &usage.input);
    to.some("cachedContentTokenCount", some(usage.cache_read).as_ref());
    to.field("candidatesTokenCount", &answer);
    to.some("thoughtsTokenCount", some(usage.reasoning).as_ref());
    to.field("totalTokenCount", &usage.total());
    to.some("promptTokensDetails", modalities(usage.input, usage.input_audio).as_ref());
    to.some("candidatesTokensDetails", modalities(answer, usage.output_audio).as_ref());
    to.close(b'}');
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireToken {
    #[serde(default)]
    token: String,
    #[serde(default)]
    log_probability: Option<f64>,
}

/// What is read where a log probability is missing: minus infinity, as OpenAI writes it.
const IMPOSSIBLE: f64 = -9999.0;

impl From<WireToken> for TokenLogprob {
    fn from(wire: WireToken) -> Self {
        let logprob = wire.log_probability.unwrap_or(IMPOSSIBLE);
        Self { token: wire.token, logprob, bytes: None, top: Vec::new() }
    }
}

/// Reads `logprobsResult`: the tokens chosen, each with the likeliest ones at its place.
pub(super) fn logprobs(raw: &RawValue) -> Vec<TokenLogprob> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Wire {
        chosen_candidates: Vec<WireToken>,
        top_candidates: Vec<Top>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Top {
        candidates: Vec<WireToken>,
    }
    let Wire { chosen_candidates, top_candidates } = lenient(Some(raw)).unwrap_or_default();
    let mut tops = top_candidates.into_iter();
    let with_top = |token: WireToken| {
        let mut token = TokenLogprob::from(token);
        token.top = tops.next().unwrap_or_default().candidates.into_iter().map(TokenLogprob::from).collect();
        token
    };
    chosen_candidates.into_iter().map(with_top).collect()
}

/// Writes `logprobsResult`.
pub(super) fn logprobs_json(tokens: &[TokenLogprob]) -> Value {
    let wire = |token: &TokenLogprob| json!({"token": token.token, "logProbability": token.logprob});
    let chosen: Vec<Value> = tokens.iter().map(wire).collect();
    let mut result = json!({ "chosenCandidates": chosen });
    if tokens.iter().any(|token| !token.top.is_empty())
        && let Some(fields) = result.as_object_mut()
    {
        let tops: Vec<Value> = (tokens.iter())
            .map(|token| json!({"candidates": token.top.iter().map(wire).collect::<Vec<_>>()}))
            .collect();
        fields.insert("topCandidates".into(), tops.into());
    }
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_are_the_routers_own_and_back() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        let read = usage(&raw(
            r#"{"promptTokenCount":46,"candidatesTokenCount":51,"totalTokenCount":1136,"toolUsePromptTokenCount":476,"thoughtsTokenCount":563,
                "cachedContentTokenCount":40,"promptTokensDetails":[{"modality":"TEXT","tokenCount":40},{"modality":"AUDIO","tokenCount":6}]}"#,
        ))
        .unwrap();
        assert_eq!((read.input, read.output, read.total()), (522, 614, 1136));
        assert_eq!((read.reasoning, read.cache_read, read.input_audio), (563, 40, 6));
        let mut to = Writer::with_capacity(200);
        write_usage(&read, &mut to);
        assert_eq!(usage(&raw(&String::from_utf8(to.finish()).unwrap())).unwrap(), read);
    }

    #[test]
    fn reasons_keep_their_word() {
        assert_eq!(finish_reason("STOP", true), FinishReason::ToolCalls);
        assert_eq!(finish_word(FinishReason::ToolCalls, Some("STOP")), "STOP");
        assert_eq!(finish_word(FinishReason::ContentFilter, Some("SPII")), "SPII");
        assert_eq!(finish_word(FinishReason::Length, Some("length")), "MAX_TOKENS");
        assert_eq!(finish_word(FinishReason::Refusal, Some("refusal")), "SAFETY");
        assert_eq!(finish_reason("NEW_WORD", false), FinishReason::Other);
        assert_eq!(finish_word(FinishReason::Other, Some("NEW_WORD")), "OTHER");
    }

    #[test]
    fn base64_of_either_alphabet_is_standard() {
        assert_eq!(standard_base64("-_8".into()), "+/8=");
        assert_eq!(standard_base64("YQ".into()), "YQ==");
        assert_eq!(wire_seal("YQ=="), "YQ==");
        assert_eq!(wire_seal("seal!"), "c2VhbCE=");
    }

    #[test]
    fn media_types_by_ending() {
        assert_eq!(mime_of_url("https://a/b.PNG?x=1.pdf"), Some("image/png"));
        assert_eq!(mime_of_url("https://a.pdf/b"), None);
        assert_eq!(uri_of_file("files/x").unwrap(), "https://generativelanguage.googleapis.com/v1beta/files/x");
        assert_eq!(uri_of_file("file-1"), None);
    }
}
