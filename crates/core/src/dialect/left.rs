//! What was left out between a client and a provider of another dialect, as an answer tells it: what of the request could not be said to the provider, and what of
//! the answer cannot be said to the client. Who went on with an answer that broke off is told in the same place.
//!
//! A client that looks finds the names of both in the header `x-llm-router-dropped`. The head of a stream goes out before the answer is known, so its last event of
//! counts names them again, under [`FIELD`]. Encoders keep a [`Left`]; what becomes of a request's tools is `hosted.rs`.

use serde_json::{Value, json};

use crate::delta::BlockKind;
use crate::dialect::FieldPath;
use crate::trace::Trace;

/// The field of a stream's end that is ours.
pub(crate) const FIELD: &str = "llm_router";

/// The most names of each side: the rest is as lost, and the client has enough to know it.
const MOST: usize = 64;

/// What was left out, by name.
#[derive(Debug, Default)]
pub(crate) struct Left {
    of_request: Vec<FieldPath>,
    of_answer: Vec<FieldPath>,
    resumed: Option<String>,
}

impl Left {
    /// Notes what could not be said to the provider, and who answered instead of whom.
    pub(crate) fn note_request(&mut self, trace: &Trace) {
        self.resumed = trace.resumed_by();
        self.of_request.extend(trace.dropped.iter().take(MOST).cloned());
    }

    /// Notes a block of the answer that the client's dialect has no word for.
    pub(crate) fn note_block(&mut self, kind: &BlockKind) {
        let name = match kind {
            BlockKind::Media { mime } => format!("answer.{mime}"),
            BlockKind::Provider { dialect, kind } => format!("answer.{dialect}.{kind}"),
            BlockKind::Text => "answer.text".to_owned(),
            BlockKind::Refusal => "answer.refusal".to_owned(),
            BlockKind::Reasoning { .. } => "answer.reasoning".to_owned(),
            BlockKind::ToolCall { name, .. } => format!("answer.tool_calls.{name}"),
        };
        let name = FieldPath(name);
        if self.of_answer.len() < MOST && !self.of_answer.contains(&name) {
            self.of_answer.push(name);
        }
    }

    /// What of the answer was left out so far.
    pub(crate) fn of_answer(&self) -> &[FieldPath] {
        &self.of_answer
    }

    /// Both sides, for a stream's end; `None` where nothing was left out, and one provider gave the answer.
    pub(crate) fn told(&self) -> Option<Value> {
        let names: Vec<&str> = self.of_request.iter().chain(&self.of_answer).map(|field| field.0.as_str()).collect();
        let dropped = (!names.is_empty()).then(|| ("dropped".to_owned(), json!(names)));
        let resumed = self.resumed.as_ref().map(|by| ("resumed".to_owned(), json!(by)));
        let told: serde_json::Map<String, Value> = dropped.into_iter().chain(resumed).collect();
        (!told.is_empty()).then_some(Value::Object(told))
    }
}
