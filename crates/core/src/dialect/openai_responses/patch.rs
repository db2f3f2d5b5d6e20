//! A request that came in this dialect and goes out in it: the body as received, with only what must change spliced in.
//!
//! What must change: the model's name, whether it streams, and thoughts that an encoder of ours sealed on the way to the client: their makers get them as
//! they made them, and nobody else does. A request of another origin is written anew in `body.rs`.

use bytes::Bytes;
use serde_json::Value;

use crate::dialect::FieldPath;
use crate::dialect::json::{Object, Writer, lenient};
use crate::dialect::openai_responses::history;
use crate::dialect::openai_responses::types::WRAPPED;
use crate::dialect::splice::Splice;
use crate::error::Result;
use crate::provider::Call;
use crate::request::Origin;

/// The body of `origin`, changed for `call`'s target.
pub(super) fn patch(call: &Call, origin: &Origin, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let fields = Object::parse(&origin.body)?;
    let mut body = Splice::new(&origin.body)?;
    if let Some(model) = call.model() {
        body.set(&fields, "model", &Value::from(model).to_string());
    }
    let stream = call.request.stream;
    if lenient::<bool>(fields.get("stream")).unwrap_or(false) != stream {
        body.set(&fields, "stream", if stream { "true" } else { "false" });
    }
    if let Some(raw) = fields.raw("stream_options").filter(|_| !stream) {
        // Servers refuse the field beside a whole answer.
        body.remove(raw);
    }
    if let Some(raw) = fields.get("input").filter(|raw| raw.get().contains(WRAPPED)) {
        let messages = &call.request.messages;
        let first = usize::from(fields.get("instructions").is_some());
        let mut to = Writer::with_capacity(raw.get().len());
        history::encode(messages.get(first..).unwrap_or_default(), first, &mut to, dropped)?;
        body.replace(raw, String::from_utf8(to.finish()).unwrap_or_default());
    }
    if body.is_untouched() {
        return Ok(origin.body.clone());
    }
    Ok(body.finish())
}
