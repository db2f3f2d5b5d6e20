//! `:countTokens`: how many tokens a request has, without an answer. Both ways, as the codec is for answers.
//!
//! Reading such a request is [`Codec::decode_request`](crate::dialect::Codec::decode_request): path and body say what is asked.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::dialect::gemini::{body, head};
use crate::dialect::json::{Object, Writer};
use crate::dialect::{Dialect, Framing, HttpCall, RequestHead, foreign};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::Origin;

const VERB: &str = "countTokens";

/// Whether a request only asks for a count.
pub fn asks(head: &RequestHead) -> bool {
    head::asked(&head.path).verb == VERB
}

/// Whether a request's body is one of a count, which no answer can be made from.
pub(super) fn is_count(origin: &Origin) -> bool {
    asks(&origin.head)
}

/// A call as the HTTP request that counts it: instructions and tools are counted as well.
///
/// # Errors
/// As [`Codec::encode_request`](crate::dialect::Codec::encode_request).
pub fn encode_request(call: &Call) -> Result<HttpCall> {
    let model = head::model_of(call)?;
    let mut dropped = Vec::new();
    let fitted = foreign::fit(call, Dialect::Gemini, &mut dropped)?;
    let call = fitted.as_ref().unwrap_or(call);
    let ours = call.request.origin.as_ref().filter(|origin| origin.dialect == Dialect::Gemini);
    let body = match ours {
        Some(origin) if is_count(origin) => origin.body.clone(),
        // The body as received, unless it names a model itself.
        Some(origin) if Object::parse(&origin.body)?.raw("model").is_none() => inside(model, &origin.body)?,
        _ => inside(model, &body::encode(call, &mut dropped)?)?,
    };
    let path = head::path(model, VERB)?;
    Ok(HttpCall { path, query: None, headers: head::headers(Framing::Whole), body, dropped, framing: Framing::Whole })
}

/// A request for an answer as one for its count.
fn inside(model: &str, body: &[u8]) -> Result<Bytes> {
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid("the body is not UTF-8"))?.trim();
    // It is an object with one member at least, `contents`: the model's name goes before it.
    let members = text.strip_prefix('{').unwrap_or(text);
    let mut to = Writer::with_capacity(body.len() + 64);
    to.open(b'{');
    to.key("generateContentRequest");
    to.open(b'{');
    to.field("model", &head::full_name(model));
    to.raw(members);
    to.close(b'}');
    Ok(Bytes::from(to.finish()))
}

/// The count that an upstream answered.
///
/// # Errors
/// `provider_protocol` when there is none.
pub fn decode(body: &[u8]) -> Result<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Counted {
        total_tokens: u64,
    }
    let counted: Counted = serde_json::from_slice(body)
        .map_err(|error| Error::protocol(format!("the count of tokens cannot be read: {error}")))?;
    Ok(counted.total_tokens)
}

/// A count for clients.
pub fn encode(tokens: u64) -> Bytes {
    Bytes::from(json!({ "totalTokens": tokens }).to_string())
}
