//! A request that came in this dialect and goes out in it: the body as received, with only what must change spliced in.
//!
//! What must change: the model's name, whether it streams, a limit of tokens where none was given, and thoughts without a seal, which another provider's
//! answer left in the conversation and the vendor would refuse. A request of another origin is written anew in `body.rs`.

use bytes::Bytes;
use serde_json::Value;

use crate::dialect::anthropic::history::{self, Setting};
use crate::dialect::anthropic::{body, models};
use crate::dialect::json::{Object, Writer, lenient};
use crate::dialect::splice::Splice;
use crate::dialect::{FieldPath, RequestHead};
use crate::error::Result;
use crate::provider::Call;
use crate::request::{BlockBody, Origin, Request};

/// The body of `origin`, changed for `call`'s target.
pub(super) fn patch(call: &Call, origin: &Origin, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let fields = Object::parse(&origin.body)?;
    let mut body = Splice::new(&origin.body)?;
    if let Some(model) = call.model() {
        set(&mut body, &fields, "model", &Value::from(model).to_string());
    }
    let streamed = lenient::<bool>(fields.get("stream")).unwrap_or(false);
    if streamed != call.request.stream {
        set(&mut body, &fields, "stream", if call.request.stream { "true" } else { "false" });
    }
    let model = models::find(body::model_of(call).unwrap_or_default());
    if fields.get("max_tokens").is_none() {
        let budget = call.request.reasoning.as_ref().and_then(|reasoning| reasoning.budget_tokens);
        let least = budget.map_or(0, |budget| budget.saturating_add(1));
        set(&mut body, &fields, "max_tokens", &model.default_tokens.max(least).to_string());
    }
    if let Some(raw) = fields.get("messages").filter(|_| holds_unsealed(&call.request)) {
        let system = fields.raw("system");
        let mut to = Writer::with_capacity(raw.get().len() + 64);
        to.open(b'{');
        history::encode(&call.request, &mut to, Setting { model, foreign: false }, dropped)?;
        to.close(b'}');
        let written = to.finish();
        let anew = Object::parse(&written)?;
        // A model that takes no system text in the middle gets it at the front.
        for (name, old) in [("messages", Some(raw)), ("system", system)] {
            match (anew.get(name), old) {
                (Some(value), Some(old)) => body.replace(old, value.get().to_owned()),
                (Some(value), None) => body.add(name, value.get().to_owned()),
                (None, _) => {}
            }
        }
    }
    if body.is_untouched() {
        return Ok(origin.body.clone());
    }
    Ok(body.finish())
}

/// The caller's query, where it asks for the beta form of the API.
pub(super) fn query(head: &RequestHead) -> Option<String> {
    let beta = head.query.as_deref()?.split('&').find(|pair| *pair == "beta=true")?;
    Some(beta.to_owned())
}

fn set<'a>(body: &mut Splice<'a>, fields: &Object<'a>, name: &'a str, value: &str) {
    match fields.raw(name) {
        Some(raw) if raw.get() == value => {}
        Some(raw) => body.replace(raw, value.to_owned()),
        None => body.add(name, value.to_owned()),
    }
}

fn holds_unsealed(request: &Request) -> bool {
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    blocks.into_iter().any(|block| matches!(block.body, BlockBody::Reasoning { signature: None, .. }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::dialect::anthropic::Anthropic;
    use crate::dialect::{Codec, HttpCall};
    use crate::ids::ProviderId;
    use crate::provider::Target;

    fn through(head: &RequestHead, body: &str, model: Option<&str>, stream: bool) -> HttpCall {
        let mut request = Anthropic.decode_request(head, body.as_bytes()).unwrap();
        request.stream = stream;
        let model = model.map(|model| model.try_into().unwrap());
        let target = Target::new(ProviderId::new("p").unwrap(), model);
        Anthropic.encode_request(&crate::dialect::testing::call(request, target)).unwrap()
    }

    const PLAIN: &str = "{ \"temperature\":1.0, \"model\" : \"a\",\"max_tokens\": 9, \"messages\":[{\"content\":\"h\\u0069\",\"role\":\"user\"}] , \"x\":{} }";

    #[test]
    fn nothing_else_is_touched() {
        let head = RequestHead::post("/v1/messages");
        for (model, wanted) in
            [(None, PLAIN.to_owned()), (Some("a"), PLAIN.to_owned()), (Some("b"), PLAIN.replace("\"a\"", "\"b\""))]
        {
            assert_eq!(through(&head, PLAIN, model, false).body, wanted);
        }
        let streamed = PLAIN.replace("\"x\":{} }", "\"x\":{},\"stream\":true }");
        assert_eq!(through(&head, PLAIN, None, true).body, streamed);
        let unlimited = PLAIN.replace("\"max_tokens\": 9, ", "");
        let limited = unlimited.replace("\"x\":{} }", "\"x\":{},\"max_tokens\":64000 }");
        assert_eq!(through(&head, &unlimited, Some("a"), false).body, limited.replace("64000", "8192"));
        assert_eq!(
            through(&head, &unlimited, Some("claude-haiku-4-5"), false).body,
            limited.replace("\"a\"", "\"claude-haiku-4-5\"")
        );
    }

    #[test]
    fn version_betas_and_the_beta_query_go_on() {
        let mut head = RequestHead::post("/v1/messages");
        head.query = Some("x=1&beta=true".into());
        Arc::make_mut(&mut head.headers).insert("anthropic-version", "2026-10-21".parse().unwrap());
        Arc::make_mut(&mut head.headers).append("anthropic-beta", "a-1".parse().unwrap());
        Arc::make_mut(&mut head.headers).append("anthropic-beta", "b-2".parse().unwrap());
        Arc::make_mut(&mut head.headers).append("x-other", "no".parse().unwrap());
        let sent = through(&head, PLAIN, None, false);
        assert_eq!(sent.query.as_deref(), Some("beta=true"));
        assert_eq!(sent.headers["anthropic-version"], "2026-10-21");
        assert_eq!(sent.headers.get_all("anthropic-beta").iter().count(), 2);
        assert!(!sent.headers.contains_key("x-other"));
        let plain = through(&RequestHead::post("/"), PLAIN, None, false);
        assert_eq!((plain.headers["anthropic-version"].to_str().unwrap(), plain.query), ("2023-06-01", None));
    }

    #[test]
    fn thoughts_without_a_seal_are_taken_out_by_name() {
        let body = r#"{"model":"claude-opus-5","max_tokens":9,"system":"s","messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"b"}]},{"role":"user","content":"c"}]}"#;
        let sent = through(&RequestHead::post("/"), body, None, false);
        let wanted = r#"{"model":"claude-opus-5","max_tokens":9,"system":"s","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
        assert_eq!(sent.body, wanted);
        assert_eq!(sent.dropped, ["messages[2].content[0].reasoning".into()]);
    }
}
