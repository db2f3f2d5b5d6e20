//! What the scripted upstream says and what is asked of it, in both dialects: bytes only. `upstream.rs` sends them in time.
//!
//! Sizes are those of everyday traffic: a question and a whole answer of 0.7 to 1 KB, chunks of a few words.

use bytes::Bytes;
use serde_json::json;

use crate::clock;

/// What every answer holds: a gateway that gives something else has not passed it on.
pub(crate) const MARK: &str = "Tides follow the moon";

const TEXT: &str = "Tides follow the moon. Its pull draws the water nearest to it more strongly than the Earth, and the Earth more \
    strongly than the water on the far side, so that two bulges stand on opposite sides while the planet turns beneath them. A coast passes both in a \
    little less than twenty-five hours, which gives two high waters a day. The sun adds its share: in line with the moon it makes spring tides, at a \
    right angle to it neap tides.";

const RULES: &str = "You answer questions about the sea for visitors of a small harbour museum. Stay with what is known, name the unit of every figure, and \
    say plainly where you are not sure. Two or three sentences are enough unless a visitor asks for more. Visitors may be children: prefer short words, \
    explain each term of the trade the first time it comes up, and never talk down. If a question has nothing to do with the sea, the weather on the \
    coast, ships or the museum itself, say so kindly and offer to talk about one of those instead. Opening hours are on the board at the door and change \
    with the season, so do not state them. ";

/// A wire format, as the load and the upstream here know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// OpenAI's chat completions.
    OpenaiChat,
    /// Anthropic's messages.
    Anthropic,
}

impl Dialect {
    /// Where requests go.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::OpenaiChat => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// The body of a request.
    pub(crate) fn question(self, model: &str, stream: bool) -> String {
        let asked = "Why does the water rise and fall twice a day?";
        let mut body = match self {
            Self::OpenaiChat => json!({
                "model": model,
                "messages": [{"role": "system", "content": RULES}, {"role": "user", "content": asked}],
                "max_tokens": 300,
            }),
            Self::Anthropic => json!({
                "model": model,
                "max_tokens": 300,
                "system": RULES,
                "messages": [{"role": "user", "content": asked}],
            }),
        };
        if stream && let Some(body) = body.as_object_mut() {
            body.insert("stream".to_owned(), true.into());
        }
        body.to_string()
    }

    /// What stands in the last event of a stream.
    pub(crate) fn last(self) -> &'static str {
        match self {
            Self::OpenaiChat => "[DONE]",
            Self::Anthropic => "message_stop",
        }
    }

    /// A whole answer.
    pub(crate) fn whole(self) -> Bytes {
        let answer = match self {
            Self::OpenaiChat => json!({
                "id": "chatcmpl-5f0c2b7ad1e84c0b", "object": "chat.completion", "created": 1_790_000_000, "model": "scripted-chat",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT, "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
                "usage": chat_usage(), "system_fingerprint": "fp_scripted",
            }),
            Self::Anthropic => json!({
                "id": "msg_5f0c2b7ad1e84c0b", "type": "message", "role": "assistant", "model": "scripted-messages",
                "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": 171, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 102},
            }),
        };
        Bytes::from(answer.to_string())
    }

    /// What opens a stream, before any content: it goes out with the first chunk.
    pub(crate) fn opening(self) -> String {
        match self {
            Self::OpenaiChat => chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None),
            Self::Anthropic => {
                let message = json!({
                    "id": "msg_5f0c2b7ad1e84c0b", "type": "message", "role": "assistant", "model": "scripted-messages", "content": [],
                    "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 171, "output_tokens": 1},
                });
                event("message_start", &json!({"type": "message_start", "message": message}))
                    + &event(
                        "content_block_start",
                        &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                    )
            }
        }
    }

    /// One chunk of content, stamped with now.
    pub(crate) fn chunk(self) -> String {
        let text = clock::stamp(clock::now()) + " and the tide";
        match self {
            Self::OpenaiChat => chunk(&json!({"content": text}), None),
            Self::Anthropic => event(
                "content_block_delta",
                &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            ),
        }
    }

    /// What ends a stream; `usage` where it was asked for (Anthropic always tells).
    pub(crate) fn closing(self, usage: bool) -> String {
        match self {
            Self::OpenaiChat => {
                let mut out = chunk(&json!({}), Some("stop"));
                if usage {
                    let last = json!({
                        "id": "chatcmpl-5f0c2b7ad1e84c0b", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "scripted-chat",
                        "choices": [], "usage": chat_usage(),
                    });
                    out.push_str(&format!("data: {last}\n\n"));
                }
                out + "data: [DONE]\n\n"
            }
            Self::Anthropic => {
                event("content_block_stop", &json!({"type": "content_block_stop", "index": 0}))
                    + &event(
                        "message_delta",
                        &json!({
                            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                            "usage": {"output_tokens": 102},
                        }),
                    )
                    + &event("message_stop", &json!({"type": "message_stop"}))
            }
        }
    }
}

fn chat_usage() -> serde_json::Value {
    json!({
        "prompt_tokens": 171, "completion_tokens": 102, "total_tokens": 273,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

fn chunk(delta: &serde_json::Value, finish: Option<&str>) -> String {
    let chunk = json!({
        "id": "chatcmpl-5f0c2b7ad1e84c0b", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "scripted-chat",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
    });
    format!("data: {chunk}\n\n")
}

fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_documented() {
        for dialect in [Dialect::OpenaiChat, Dialect::Anthropic] {
            for size in [dialect.whole().len(), dialect.question("scripted-chat", true).len()] {
                assert!((700..1050).contains(&size), "{dialect:?}: {size}");
            }
        }
    }

    #[test]
    fn every_chunk_has_one_stamp_and_no_other_event_has() {
        for dialect in [Dialect::OpenaiChat, Dialect::Anthropic] {
            let stamped = |text: &str| text.lines().filter(|line| clock::find(line.as_bytes()).is_some()).count();
            assert_eq!(stamped(&dialect.chunk()), 1);
            assert_eq!(stamped(&dialect.opening()) + stamped(&dialect.closing(true)), 0);
            assert!(dialect.closing(false).contains(dialect.last()));
        }
    }
}
