//! `/messages/count_tokens`: how many tokens a request would be. The request is read by `request.rs`, as any other; here are its way out and the answer.

use bytes::Bytes;

use crate::dialect::anthropic::Anthropic;
use crate::dialect::json::{Object, Writer, lenient};
use crate::dialect::splice::Splice;
use crate::dialect::{Codec, Framing, HttpCall};
use crate::error::{Error, Result};
use crate::provider::Call;

/// The path of a call below a base URL.
pub const PATH: &str = "/messages/count_tokens";

/// The fields that the endpoint takes; it refuses those of an answer's making.
const TAKEN: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "cache_control",
    "speed",
    "user_profile_id",
    "workspace_id",
    "mcp_servers",
    "context_management",
];

/// A call as a request for its count.
///
/// # Errors
/// As [`Codec::encode_request`] of this dialect.
pub fn encode_request(call: &Call) -> Result<HttpCall> {
    let mut http = Anthropic.encode_request(call)?;
    let body = {
        let fields = Object::parse(&http.body)?;
        let mut body = Splice::new(&http.body)?;
        fields.rest().filter(|(name, _)| !TAKEN.contains(name)).for_each(|(_, value)| body.remove(value));
        body.finish()
    };
    (http.path, http.body, http.framing) = (PATH.to_owned(), body, Framing::Whole);
    http.headers.insert(http::header::ACCEPT, http::HeaderValue::from_static("application/json"));
    Ok(http)
}

/// The count in an answer.
///
/// # Errors
/// `provider_protocol` when there is none.
pub fn decode_answer(body: &[u8]) -> Result<u64> {
    let count = Object::parse(body).ok().and_then(|fields| lenient(fields.get("input_tokens")));
    count.ok_or_else(|| Error::protocol("the answer holds no input_tokens"))
}

/// An answer with this count.
pub fn encode_answer(input_tokens: u64) -> Bytes {
    let mut to = Writer::with_capacity(32);
    to.open(b'{');
    to.field("input_tokens", &input_tokens);
    to.close(b'}');
    Bytes::from(to.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::RequestHead;
    use crate::ids::ProviderId;
    use crate::provider::Target;

    #[test]
    fn only_what_is_counted_is_sent() {
        let body = br#"{"model":"claude-opus-5","stream":true,"max_tokens":5,"system":"s","messages":[{"role":"user","content":"x"}],"temperature":1,"tools":[]}"#;
        let request = Anthropic.decode_request(&RequestHead::post("/v1/messages/count_tokens"), body).unwrap();
        let call = crate::dialect::testing::call(request, Target::new(ProviderId::new("p").unwrap(), None));
        let sent = encode_request(&call).unwrap();
        let wanted = r#"{"model":"claude-opus-5","system":"s","messages":[{"role":"user","content":"x"}],"tools":[]}"#;
        assert_eq!((sent.path.as_str(), &sent.body[..], sent.framing), (PATH, wanted.as_bytes(), Framing::Whole));
        assert_eq!(decode_answer(&encode_answer(2095)).unwrap(), 2095);
        assert!(decode_answer(b"{}").is_err() && decode_answer(b"<html>").is_err());
    }
}
