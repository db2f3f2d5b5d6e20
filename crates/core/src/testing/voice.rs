//! How each dialect says an answer, word by word, and an error: the wire forms that a fault is played in.
//!
//! Written by hand on purpose, from the fixtures that were recorded of real servers: bytes from the codecs under test would only show that these agree with themselves.

use serde_json::{Value, json};

use crate::dialect::Dialect;

/// One dialect, as a provider speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice(pub Dialect);

/// What a provider refuses a request with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 429.
    RateLimited,
    /// 500.
    ServerError,
    /// 503.
    Unavailable,
    /// The prompt is longer than the model's window.
    ContextLength,
    /// The prompt, or the answer, is not allowed.
    ContentFilter,
    /// The last message is an answer of the model's, to be continued.
    Prefill,
    /// 401: the key is none.
    Key,
}

/// The model that every answer names.
pub const MODEL: &str = "scripted-1";

impl Voice {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self(Dialect::OpenaiChat), Self(Dialect::OpenaiResponses), Self(Dialect::Anthropic), Self(Dialect::Gemini)];

    /// The dialect's name in a configuration.
    pub fn name(self) -> &'static str {
        self.0.as_str()
    }

    /// The whole answer, as one body.
    pub fn whole(self, words: &[String]) -> String {
        let (text, counts) = (words.concat(), words.len());
        let answer = match self.0 {
            Dialect::Anthropic => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": 7, "output_tokens": counts},
            }),
            Dialect::Gemini => gemini(&text, Some(counts)),
            Dialect::OpenaiResponses => responses("completed", &json!([message(&text)]), Some(counts)),
            _ => json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": counts, "total_tokens": 7 + counts},
            }),
        };
        answer.to_string()
    }

    /// What a stream begins with, before the first word.
    pub fn opening(self) -> Vec<String> {
        match self.0 {
            Dialect::Anthropic => vec![
                named(
                    "message_start",
                    &json!({"message": {
                        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [],
                        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 1},
                    }}),
                ),
                named("content_block_start", &json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
            ],
            Dialect::Gemini => Vec::new(),
            Dialect::OpenaiResponses => vec![
                named("response.created", &json!({"response": responses("in_progress", &json!([]), None)})),
                named("response.in_progress", &json!({"response": responses("in_progress", &json!([]), None)})),
                named(
                    "response.output_item.added",
                    &json!({"output_index": 0, "item": {
                        "id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": [],
                    }}),
                ),
                named(
                    "response.content_part.added",
                    &json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {
                        "type": "output_text", "text": "", "annotations": [],
                    }}),
                ),
            ],
            _ => vec![chunk(&json!({"role": "assistant", "content": ""}), None)],
        }
    }

    /// One word.
    pub fn word(self, word: &str) -> String {
        match self.0 {
            Dialect::Anthropic => {
                named("content_block_delta", &json!({"index": 0, "delta": {"type": "text_delta", "text": word}}))
            }
            Dialect::Gemini => data(&gemini(word, None)),
            Dialect::OpenaiResponses => named(
                "response.output_text.delta",
                &json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": word}),
            ),
            _ => chunk(&json!({"content": word}), None),
        }
    }

    /// What a stream ends with, after the last word.
    pub fn closing(self, words: &[String]) -> Vec<String> {
        let (text, counts) = (words.concat(), words.len());
        match self.0 {
            Dialect::Anthropic => vec![
                named("content_block_stop", &json!({"index": 0})),
                named(
                    "message_delta",
                    &json!({
                        "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": counts},
                    }),
                ),
                named("message_stop", &json!({})),
            ],
            Dialect::Gemini => vec![data(&gemini("", Some(counts)))],
            Dialect::OpenaiResponses => {
                let place = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0});
                let with = |key: &str, value: Value| {
                    let mut place = place.clone();
                    place[key] = value;
                    place
                };
                let part = json!({"type": "output_text", "text": text, "annotations": []});
                vec![
                    named("response.output_text.done", &with("text", json!(text))),
                    named("response.content_part.done", &with("part", part)),
                    named("response.output_item.done", &json!({"output_index": 0, "item": message(&text)})),
                    named(
                        "response.completed",
                        &json!({"response": responses("completed", &json!([message(&text)]), Some(counts))}),
                    ),
                ]
            }
            _ => vec![chunk(&json!({}), Some("stop")), "data: [DONE]\n\n".into()],
        }
    }

    /// An error object, as it stands in a body.
    pub fn error(self, refusal: Refusal) -> (u16, Value) {
        let (status, message) = match refusal {
            Refusal::RateLimited => (429, "Rate limit reached for requests"),
            Refusal::ServerError => (500, "The server had an error while processing your request"),
            Refusal::Unavailable => (503, "The service is temporarily unavailable"),
            Refusal::ContextLength => {
                (400, "This model's maximum context length is 8 tokens, your messages are longer")
            }
            Refusal::ContentFilter => (400, "The prompt was filtered by the content management policy"),
            Refusal::Prefill => (400, "This model does not support assistant message prefill"),
            Refusal::Key => (401, "The API key is not valid"),
        };
        if (self.0, refusal) == (Dialect::Gemini, Refusal::ContentFilter) {
            // It says so in an answer without candidates.
            return (200, json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": MODEL}));
        }
        let error = match self.0 {
            Dialect::Anthropic => {
                let (kind, message) = match refusal {
                    Refusal::RateLimited => ("rate_limit_error", message),
                    Refusal::ServerError | Refusal::Unavailable => ("api_error", message),
                    Refusal::ContextLength => ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
                    Refusal::ContentFilter => ("invalid_request_error", "Output blocked by content filtering policy"),
                    Refusal::Prefill => ("invalid_request_error", message),
                    Refusal::Key => ("authentication_error", message),
                };
                json!({"type": "error", "error": {"type": kind, "message": message}})
            }
            Dialect::Gemini => {
                let (kind, message) = match refusal {
                    Refusal::RateLimited => ("RESOURCE_EXHAUSTED", message),
                    Refusal::ServerError => ("INTERNAL", message),
                    Refusal::Unavailable => ("UNAVAILABLE", message),
                    Refusal::ContextLength => (
                        "INVALID_ARGUMENT",
                        "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                    ),
                    Refusal::ContentFilter | Refusal::Prefill => ("INVALID_ARGUMENT", message),
                    Refusal::Key => ("UNAUTHENTICATED", message),
                };
                json!({"error": {"code": status, "message": message, "status": kind}})
            }
            _ => {
                let (kind, code) = match refusal {
                    Refusal::RateLimited => ("requests", Some("rate_limit_exceeded")),
                    Refusal::ServerError | Refusal::Unavailable => ("server_error", None),
                    Refusal::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
                    Refusal::ContentFilter => ("invalid_request_error", Some("content_filter")),
                    Refusal::Prefill => ("invalid_request_error", None),
                    Refusal::Key => ("invalid_request_error", Some("invalid_api_key")),
                };
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            }
        };
        (status, error)
    }

    /// The text of the answer that a request ends with, to be continued; none where it ends with a question.
    pub fn prefill(self, body: &Value) -> Option<String> {
        let (list, role) = match self.0 {
            Dialect::Gemini => ("contents", "model"),
            Dialect::OpenaiResponses => ("input", "assistant"),
            _ => ("messages", "assistant"),
        };
        let last = body[list].as_array()?.last().filter(|last| last["role"] == role)?;
        let parts = if self.0 == Dialect::Gemini { &last["parts"] } else { &last["content"] };
        match parts {
            Value::String(text) => Some(text.clone()),
            Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
            _ => None,
        }
    }

    /// Whether a request asks for a stream.
    pub fn streamed(self, target: &str, body: &Value) -> bool {
        if self.0 == Dialect::Gemini { target.contains(":stream") } else { body["stream"] == true }
    }
}

/// An event with nothing but data.
pub(super) fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn named(name: &str, value: &Value) -> String {
    let mut event = json!({"type": name});
    if let (Some(event), Some(fields)) = (event.as_object_mut(), value.as_object()) {
        event.extend(fields.clone());
    }
    format!("event: {name}\ndata: {event}\n\n")
}

fn chunk(delta: &Value, reason: Option<&str>) -> String {
    data(&json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }))
}

/// A piece of an answer, or, with a count of tokens, its end.
fn gemini(text: &str, counts: Option<usize>) -> Value {
    let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    let mut answer = json!({"modelVersion": MODEL, "responseId": "r1"});
    if let Some(counts) = counts {
        candidate["finishReason"] = json!("STOP");
        answer["usageMetadata"] =
            json!({"promptTokenCount": 7, "candidatesTokenCount": counts, "totalTokenCount": 7 + counts});
    }
    answer["candidates"] = json!([candidate]);
    answer
}

fn message(text: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    })
}

fn responses(status: &str, output: &Value, counts: Option<usize>) -> Value {
    let usage = counts.map(|counts| json!({"input_tokens": 7, "output_tokens": counts, "total_tokens": 7 + counts}));
    json!({
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status, "model": MODEL,
        "error": null, "incomplete_details": null, "output": output, "parallel_tool_calls": true, "tool_choice": "auto",
        "tools": [], "usage": usage,
    })
}
