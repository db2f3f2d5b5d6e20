//! What was left out between a client and a provider of another dialect, as an answer tells it: what of the request could not be said to the provider, and what of
//! the answer cannot be said to the client. Who went on with an answer that broke off, and what it cost, is told in the same place.
//!
//! A client that looks finds the names of both in the header `x-llm-router-dropped`. The head of a stream goes out before the answer is known, so its last event of
//! counts names them again, under [`FIELD`], with what else headers say only of a whole answer. Encoders keep a [`Left`]; what becomes of a request's tools is `hosted.rs`.

use serde_json::{Value, json};

use crate::delta::BlockKind;
use crate::dialect::FieldPath;
use crate::trace::Trace;
use crate::usage::Usage;

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
    cost: Option<u64>,
}

impl Left {
    /// Notes what could not be said to the provider, who answered instead of whom, and what it cost.
    pub(crate) fn note_request(&mut self, trace: &Trace) {
        (self.resumed, self.cost) = (trace.resumed_by(), trace.cost());
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

    /// Counts with what the answer cost, where whoever gave it did not say.
    pub(crate) fn priced(&self, usage: Usage) -> Usage {
        Usage { cost_micros: usage.cost_micros.or(self.cost), ..usage }
    }

    /// What of the answer was left out so far.
    pub(crate) fn of_answer(&self) -> &[FieldPath] {
        &self.of_answer
    }

    /// Both sides, for a stream's end, with the cost in dollars where it is known; `None` where there is nothing to tell.
    pub(crate) fn told(&self) -> Option<Value> {
        let names: Vec<&str> = self.of_request.iter().chain(&self.of_answer).map(|field| field.0.as_str()).collect();
        let dropped = (!names.is_empty()).then(|| ("dropped".to_owned(), json!(names)));
        let resumed = self.resumed.as_ref().map(|by| ("resumed".to_owned(), json!(by)));
        #[allow(clippy::cast_precision_loss)]
        let cost = self.cost.map(|micros| ("cost".to_owned(), json!(micros as f64 / 1e6)));
        let told: serde_json::Map<String, Value> = dropped.into_iter().chain(resumed).chain(cost).collect();
        (!told.is_empty()).then_some(Value::Object(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RequestId;

    #[test]
    fn what_an_answer_cost_is_told_in_dollars_and_only_where_it_is_known() {
        let mut trace = Trace::new(RequestId::from_parts(0, 0), std::time::SystemTime::UNIX_EPOCH);
        let told = |trace: &Trace| {
            let mut left = Left::default();
            left.note_request(trace);
            (left.told(), left.priced(Usage::new(1, 2)).cost_micros)
        };
        assert_eq!(told(&trace), (None, None));
        trace.cost_micros = Some(1_230);
        assert_eq!(told(&trace), (Some(json!({ "cost": 0.00123 })), Some(1_230)));
        trace.unpriced = 1;
        assert_eq!(told(&trace), (None, None), "a part of it is not the cost");
        // What the provider says it charged is its own.
        let mut left = Left { cost: Some(5), ..Left::default() };
        let mut usage = Usage::new(1, 2);
        usage.cost_micros = Some(7);
        assert_eq!(left.priced(usage).cost_micros, Some(7));
        left.cost = None;
        assert_eq!(left.told(), None);
    }
}
