//! What a request brings from another dialect that the target's dialect has no word for: mostly it is dropped by name, but some of it must not be lost.
//!
//! Every codec asks [`fit`] before it writes a request. What a dialect refuses of the domain itself is decided in its own `body.rs`, which tools may be left out in
//! `hosted.rs`.

use serde_json::Value;

use crate::dialect::{Dialect, FieldPath, hosted};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::{BlockBody, Request};

/// Fields of other dialects without which the answer would be another, and why.
const NEEDED: &[(Dialect, &str, &str)] = &[
    (
        Dialect::OpenaiResponses,
        "previous_response_id",
        "the answer it names is not known here, so the conversation would be lost",
    ),
    (Dialect::OpenaiResponses, "conversation", "the conversation it names is kept by another provider"),
    (Dialect::OpenaiResponses, "prompt", "the prompt it names is kept by another provider"),
    (Dialect::OpenaiResponses, "tool_choice", "this choice of tools cannot be said to this provider"),
    (Dialect::OpenaiChat, "tool_choice", "this choice of tools cannot be said to this provider"),
    (Dialect::OpenaiChat, "functions", "tools of before tools had ids cannot be said to this provider"),
];

/// Ends of the kinds of another dialect's blocks that hold what tools gave back, or what stands for something kept elsewhere.
const NEEDED_KINDS: &[&str] = &["_output", "_response", "item_reference", "compaction"];

/// Refuses what a request brings from other dialects than `ours` and must not be lost.
///
/// # Errors
/// `caller_unsupported` naming the field.
fn refuse(request: &Request, ours: Dialect) -> Result<()> {
    for (dialect, field, why) in NEEDED.iter().filter(|(dialect, ..)| *dialect != ours) {
        if request.extra.get(dialect).is_some_and(|extra| extra.contains_key(*field)) {
            return Err(Error::unsupported(format!("{field}: {why}")));
        }
    }
    for (at, message) in request.messages.iter().enumerate() {
        for block in &message.content {
            if let BlockBody::Provider { dialect, kind, .. } = &block.body
                && *dialect != ours
                && NEEDED_KINDS.iter().any(|end| kind.ends_with(end))
            {
                return Err(Error::unsupported(format!("messages[{at}]: {kind:?} means something only to {dialect}")));
            }
        }
    }
    Ok(())
}

/// The call as a codec of `ours` can say it: without tools that run at somebody else's provider, whose names are added to `dropped`. `None` is the call as it is.
///
/// # Errors
/// As [`refuse`] and [`hosted::left_out`].
pub(crate) fn fit(call: &Call, ours: Dialect, dropped: &mut Vec<FieldPath>) -> Result<Option<Call>> {
    refuse(&call.request, ours)?;
    let fitted = hosted::left_out(&call.request, Some(ours))?;
    Ok(fitted.map(|(request, names)| {
        dropped.extend(names);
        call.asking(request)
    }))
}

/// Whether a field of another dialect is only the handle of an item, which says nothing to anybody else and is not worth naming.
pub(crate) fn is_handle(dialect: Dialect, name: &str, value: &Value) -> bool {
    let item = || value.as_object().is_some_and(|item| item.keys().all(|field| field == "id"));
    dialect == Dialect::OpenaiResponses && (name == "id" || (name == "item" && item()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::openai_responses::OpenaiResponses;
    use crate::dialect::{Codec, RequestHead};

    fn refused(body: &str) -> Option<String> {
        let request = OpenaiResponses.decode_request(&RequestHead::post("/"), body.as_bytes()).unwrap();
        assert!(refuse(&request, Dialect::OpenaiResponses).is_ok());
        refuse(&request, Dialect::OpenaiChat).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn what_must_not_be_lost_is_named() {
        for (body, says) in [
            (r#"{"input":"x","previous_response_id":"resp_1"}"#, "previous_response_id"),
            (r#"{"prompt":{"id":"pmpt_1"}}"#, "prompt"),
            (r#"{"input":"x","tool_choice":{"type":"web_search"}}"#, "tool_choice"),
            (r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#, "item_reference"),
            (r#"{"input":[{"type":"custom_tool_call_output","call_id":"c","output":"1"}]}"#, "custom_tool_call_output"),
        ] {
            let error = refused(body).unwrap();
            assert!(error.contains(says), "{body}: {error}");
        }
        assert_eq!(refused(r#"{"input":"x","store":true,"truncation":"auto","tool_choice":"auto"}"#), None);
    }
}
