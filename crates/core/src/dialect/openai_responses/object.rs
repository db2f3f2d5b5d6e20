//! The object that stands for an answer: in the first and last events of a stream, and as a whole body. It repeats what was asked, as OpenAI's does.
//!
//! What it holds is gathered by `response.rs`; the items in its `output` are text already when they come here.

use serde_json::{Map, Value};

use crate::delta::FinishReason;
use crate::dialect::json::{Object, Writer};
use crate::dialect::openai_responses::types::{OURS, write_usage};
use crate::request::Request;
use crate::usage::Usage;

/// What is repeated of the request, and what is said where it was not asked for.
const REPEATED: &[(&str, &str)] = &[
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("store", "true"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
    ("metadata", "{}"),
];

/// Who answers, and when it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
    /// What is repeated of the request: members of an object, as text.
    repeated: String,
}

impl Head {
    pub(super) fn new(request: &Request, id: &str, model: &str, created: Option<u64>) -> Self {
        let head = Self {
            id: response_id(id),
            model: model.to_owned(),
            created: created.unwrap_or(0),
            repeated: String::new(),
        };
        Self { repeated: repeated(request), ..head }
    }
}

/// The id under which a client of this dialect knows an answer.
pub fn response_id(id: &str) -> String {
    if id.starts_with("resp_") { id.to_owned() } else { format!("resp_{id}") }
}

fn repeated(request: &Request) -> String {
    let origin = request.origin.as_ref().filter(|origin| origin.dialect == OURS);
    let asked = origin.and_then(|origin| Object::parse(&origin.body).ok()).unwrap_or_default();
    let mut to = Writer::with_capacity(640);
    for (name, default) in REPEATED {
        to.key(name);
        match asked.get(name) {
            Some(raw) => to.raw(raw.get()),
            None => to.raw(default),
        }
    }
    String::from_utf8(to.finish()).unwrap_or_default()
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status<'a> {
    InProgress,
    Completed,
    Incomplete(&'a str),
}

impl<'a> Status<'a> {
    /// The status of an answer that ended for this reason; `refused` where it holds the refusal's words.
    pub(super) fn of(reason: FinishReason, raw: Option<&'a str>, refused: bool) -> Self {
        match reason {
            FinishReason::Length => Self::Incomplete("max_output_tokens"),
            FinishReason::ContentFilter => Self::Incomplete("content_filter"),
            FinishReason::Refusal if !refused => Self::Incomplete("content_filter"),
            FinishReason::Pause => Self::Incomplete(raw.unwrap_or("pause_turn")),
            _ => Self::Completed,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
        }
    }
}

/// Writes the object. `more` is what this router did not know of the answer.
pub(super) fn write<'o>(
    head: &Head,
    status: Status<'_>,
    output: impl IntoIterator<Item = &'o str>,
    usage: Option<&Usage>,
    more: &Map<String, Value>,
    to: &mut Writer,
) {
    to.open(b'{');
    to.field("id", &head.id);
    to.field("object", "response");
    to.field("created_at", &head.created);
    to.field("status", status.word());
    to.field("error", &None::<()>);
    to.key("incomplete_details");
    match status {
        Status::Incomplete(reason) => {
            to.open(b'{');
            to.field("reason", reason);
            to.close(b'}');
        }
        _ => to.raw("null"),
    }
    to.field("model", &head.model);
    to.key("output");
    to.open(b'[');
    output.into_iter().for_each(|item| to.raw(item));
    to.close(b']');
    if !head.repeated.is_empty() {
        to.raw(&head.repeated);
    }
    to.key("usage");
    match usage {
        Some(usage) => write_usage(usage, to),
        None => to.raw("null"),
    }
    for (name, value) in more {
        to.field(name, value);
    }
    to.close(b'}');
}
