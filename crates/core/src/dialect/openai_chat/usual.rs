//! The body that most requests are: texts, a model and a few numbers, read in one pass and changed in one place.
//!
//! [`read`] takes a body only if every field of it is one of these; anything else, and anything malformed, is for the patient reader in `request.rs`, which knows the other
//! fields and names what is wrong. Both must say the same of a body that both can read: the test below holds them to it. [`patch`] is to `patch.rs` what
//! [`read`] is to `request.rs`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::openai_chat::messages::Plain;
use crate::dialect::openai_chat::{MaxTokens, Quirks, turns};
use crate::provider::Call;
use crate::request::{Message, Origin, Request, Role, Usual};

/// A body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    messages: Vec<Plain>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    frequency_penalty: Option<f64>,
    #[serde(default)]
    presence_penalty: Option<f64>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    user: Option<String>,
}

/// Reads a body, if it is one of these.
pub(super) fn read(body: &[u8]) -> Option<(Request, Usual)> {
    let text = std::str::from_utf8(body).ok()?;
    let body: Body<'_> = serde_json::from_str(text).ok()?;
    let limit = match (body.max_tokens, body.max_completion_tokens) {
        (None, None) => None,
        (Some(_), None) => Some("max_tokens"),
        (None, Some(_)) => Some("max_completion_tokens"),
        (Some(_), Some(_)) => return None,
    };
    if body.messages.is_empty() || body.messages.iter().any(|message| message.role == Role::Tool) {
        return None;
    }
    let start = (body.model.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let model = start..start.checked_add(body.model.get().len())?;
    let mut request = Request { model: Some(serde_json::from_str(body.model.get()).ok()?), ..Request::default() };
    request.messages = body.messages.into_iter().map(|Plain { role, content }| Message::text(role, content)).collect();
    request.stream = body.stream;
    request.user = body.user;
    let sampling = &mut request.sampling;
    sampling.temperature = body.temperature;
    sampling.top_p = body.top_p;
    sampling.frequency_penalty = body.frequency_penalty;
    sampling.presence_penalty = body.presence_penalty;
    sampling.seed = body.seed;
    sampling.max_tokens = body.max_tokens.or(body.max_completion_tokens);
    Some((request, Usual { model, limit, stream: body.stream }))
}

/// The body of `origin` with another model's name, where that is all that this call and this server change of it.
pub(super) fn patch(call: &Call, origin: &Origin, quirks: &Quirks) -> Option<Bytes> {
    let usual = origin.usual.as_ref()?;
    let messages = &call.request.messages;
    let as_it_is = match quirks.max_tokens {
        MaxTokens::AsGiven => true,
        MaxTokens::Old => usual.limit != Some("max_completion_tokens"),
        MaxTokens::New => usual.limit != Some("max_tokens"),
    };
    let more = usual.stream
        || call.request.stream
        || !as_it_is
        || !quirks.unsupported.is_empty()
        || quirks.strict_alternation && !turns::alternates(messages)
        || quirks.no_developer_role && messages.iter().any(|message| message.role == Role::Developer);
    if more {
        return None;
    }
    let (body, model) = (&origin.body, call.model()?);
    let (before, old, after) =
        (body.get(..usual.model.start)?, body.get(usual.model.clone())?, body.get(usual.model.end..)?);
    let new = serde_json::to_vec(model).ok()?;
    if old == new {
        return Some(body.clone());
    }
    Some(Bytes::from([before, &new, after].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::openai_chat::request::patient;

    #[test]
    fn the_quick_reader_says_what_the_patient_one_says() {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#,
            r#" { "messages" : [ {"content":"a\u00e9\n","role":"system"}, {"role":"assistant","content":""} ] , "model" : "a/b" } "#,
            r#"{"model":"m","messages":[{"role":"developer","content":"x"}],"stream":true,"temperature":1,"top_p":0.5,"seed":-3,"user":"u"}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":7,"frequency_penalty":0.25,"presence_penalty":-1e-1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":7,"temperature":null,"user":null}"#,
        ] {
            let (quick, usual) = read(body.as_bytes()).unwrap();
            assert_eq!(quick, patient(body.as_bytes()).unwrap(), "{body}");
            assert!(body[usual.model].starts_with('"'));
        }
    }

    #[test]
    fn the_quick_reader_leaves_what_it_does_not_know() {
        for body in [
            "",
            "[]",
            r#"{"messages":[{"role":"user","content":"x"}]}"#,
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m","model":"m","messages":[{"role":"user","content":"x"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#,
            r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x","name":"n"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":7,"max_completion_tokens":8}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":-1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":null}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[]}"#,
        ] {
            assert!(read(body.as_bytes()).is_none(), "{body}");
        }
    }
}
