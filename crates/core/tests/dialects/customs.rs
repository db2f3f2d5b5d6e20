//! In what the dialects differ where a law is checked, a row each: how one is asked, what goes without saying in it, how its streams end.
//!
//! A difference stands here with its reason, never as the name of a fixture in a test. The rows are in the file of each dialect.

use llm_router::dialect::{Dialect, Frame, Framing, RequestHead, codec};
use llm_router::request::Request;
use llm_router::response::Response;
use serde_json::{Value, json};

use crate::support::head;
use crate::{anthropic, gemini, openai_chat, openai_responses};

/// What is particular to a dialect.
pub(crate) struct Customs {
    /// Where requests go that were recorded without their path.
    pub(crate) path: &'static str,
    /// Fields that are added to a body that is passed on.
    pub(crate) added: &'static [&'static str],
    /// Puts aside, in a request and in what it became when it was written anew and read, what this dialect says where nothing was said.
    pub(crate) settle: fn(&mut Request, &mut Request),
    /// An answer as it comes back from having been written in this dialect.
    pub(crate) comes_back: fn(Response) -> Response,
    /// What an answer says, whole or streamed, whatever it was cut into.
    pub(crate) meaning: fn(&Response) -> String,
    /// Where in a stream the frame stands that says the answer is whole.
    pub(crate) end: fn(&[Frame]) -> usize,
    /// The frames of a stream as a client gets them: what comes after the end is nobody's, and what clients need and the server left out is there.
    pub(crate) passed: fn(Vec<Frame>) -> Vec<Frame>,
}

/// The row of a dialect.
pub(crate) fn customs(dialect: Dialect) -> &'static Customs {
    match dialect {
        Dialect::OpenaiChat => &openai_chat::CUSTOMS,
        Dialect::OpenaiResponses => &openai_responses::CUSTOMS,
        Dialect::Anthropic => &anthropic::CUSTOMS,
        Dialect::Gemini => &gemini::CUSTOMS,
        other => panic!("{other} is our own: native.rs"),
    }
}

/// The head of a small request.
pub(crate) fn head_of(dialect: Dialect, framing: Framing) -> RequestHead {
    match (dialect, framing) {
        (Dialect::Gemini, Framing::Stream) => head("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        (Dialect::Gemini, Framing::Whole) => head("/v1beta/models/gemini-2.5-flash:generateContent"),
        (other, _) => head(customs(other).path),
    }
}

/// A client of this dialect that wants to be told everything: counts, thoughts and seals.
pub(crate) fn asking(dialect: Dialect, framing: Framing) -> Request {
    let stream = framing == Framing::Stream;
    let user = json!([{"role": "user", "content": "x"}]);
    let body = match dialect {
        Dialect::OpenaiChat if stream => {
            json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "messages": user})
        }
        Dialect::OpenaiChat => json!({"model": "m", "messages": user}),
        Dialect::OpenaiResponses => {
            json!({"model": "m", "stream": stream, "store": false, "include": ["reasoning.encrypted_content"], "input": "x"})
        }
        Dialect::Anthropic => json!({"model": "m", "stream": stream, "max_tokens": 9, "messages": user}),
        _ => {
            json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"thinkingConfig": {"includeThoughts": true}}})
        }
    };
    codec(dialect).decode_request(&head_of(dialect, framing), body.to_string().as_bytes()).unwrap()
}

/// A frame's data; null where it is no JSON.
pub(crate) fn json(frame: &Frame) -> Value {
    serde_json::from_slice(&frame.data).unwrap_or_default()
}
