//! The OpenAI API's `/images/generations`, both ways.
//!
//! Fields that are nobody's but the provider's (`size`, `quality`, `response_format`) pass through as received. Who draws in a conversation is asked in its
//! own dialect instead, which is `provider/upstream/image.rs`'s business.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dialect::json::{Object, lenient};
use crate::dialect::{Framing, HttpCall};
use crate::error::{Error, Result};
use crate::image::{ImageRequest, ImageResponse, Picture, PictureBody};
use crate::usage::Usage;

/// The path of a call below a base URL.
pub const PATH: &str = "/images/generations";

/// Reads a client's request.
///
/// # Errors
/// `caller_invalid_request` naming the field; `caller_unsupported` for pictures in pieces.
pub fn decode_request(body: &[u8]) -> Result<ImageRequest> {
    let mut fields = Object::parse(body)?;
    if fields.read::<bool>("", "stream")? == Some(true) {
        return Err(Error::unsupported("stream: pictures come whole here").with_hint("leave `stream` out"));
    }
    let prompt: Option<String> = fields.read("", "prompt")?;
    let mut request = ImageRequest::new(prompt.ok_or_else(|| Error::invalid("prompt: it is missing"))?);
    request.model = fields.read("", "model")?;
    request.n = fields.read("", "n")?;
    request.user = fields.read("", "user")?;
    request.extra = fields.into_extra();
    request.check()?;
    Ok(request)
}

/// A request to an upstream.
pub fn encode_request(ask: &ImageRequest, model: Option<&str>) -> HttpCall {
    let mut body = Map::new();
    if let Some(model) = model {
        body.insert("model".to_owned(), json!(model));
    }
    body.insert("prompt".to_owned(), json!(ask.prompt));
    if let Some(n) = ask.n {
        body.insert("n".to_owned(), json!(n));
    }
    if let Some(user) = &ask.user {
        body.insert("user".to_owned(), json!(user));
    }
    for (name, value) in &ask.extra {
        body.entry(name.clone()).or_insert_with(|| value.value());
    }
    HttpCall {
        path: PATH.to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from(Value::from(body).to_string()),
        dropped: Vec::new(),
        framing: Framing::Whole,
    }
}

/// Reads an upstream's answer.
///
/// # Errors
/// `provider_protocol` for one that cannot be read.
pub fn decode_answer(body: &[u8]) -> Result<ImageResponse> {
    #[derive(Deserialize)]
    struct Drawn {
        b64_json: Option<String>,
        url: Option<String>,
        revised_prompt: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tokens {
        input_tokens: u64,
        output_tokens: u64,
    }
    let bad = |why: &str| Error::protocol(format!("its pictures cannot be read: {why}"));
    let mut fields = Object::parse(body).map_err(|error| bad(error.message()))?;
    let data = fields.take("data").ok_or_else(|| bad("there is no data"))?;
    let drawn: Vec<Drawn> = serde_json::from_str(data.get()).map_err(|error| bad(&error.to_string()))?;
    let picture = |Drawn { b64_json, url, revised_prompt }: Drawn| {
        let body = match (b64_json, url) {
            (Some(data), _) => PictureBody::Base64 { data: Bytes::from(data), mime: None },
            (None, Some(url)) => PictureBody::Url(url),
            (None, None) => return Err(bad("a picture is neither b64_json nor url")),
        };
        Ok(Picture { revised_prompt, ..Picture::new(body) })
    };
    let mut answer = ImageResponse::new(drawn.into_iter().map(picture).collect::<Result<_>>()?);
    answer.created = lenient(fields.take("created"));
    answer.model = lenient(fields.take("model"));
    let usage: Option<Tokens> = lenient(fields.take("usage"));
    answer.usage = usage.map(|usage| Usage::new(usage.input_tokens, usage.output_tokens));
    answer.extra = fields.into_extra();
    Ok(answer)
}

/// Writes an answer for a client. `now` is in seconds since 1970, for providers that do not say when they drew.
pub fn encode_answer(drawn: &ImageResponse, now: u64) -> Bytes {
    let picture = |picture: &Picture| {
        let mut one = Map::new();
        match &picture.body {
            PictureBody::Base64 { data, .. } => one.insert("b64_json".to_owned(), json!(String::from_utf8_lossy(data))),
            PictureBody::Url(url) => one.insert("url".to_owned(), json!(url)),
        };
        if let Some(revised) = &picture.revised_prompt {
            one.insert("revised_prompt".to_owned(), json!(revised));
        }
        Value::from(one)
    };
    let mut body = Map::new();
    body.insert("created".to_owned(), json!(drawn.created.unwrap_or(now)));
    body.insert("data".to_owned(), drawn.pictures.iter().map(picture).collect());
    for (name, value) in &drawn.extra {
        body.entry(name.clone()).or_insert_with(|| value.value());
    }
    if let Some(usage) = &drawn.usage {
        let (input, output, total) = (usage.input, usage.output, usage.total());
        body.insert("usage".to_owned(), json!({"input_tokens": input, "output_tokens": output, "total_tokens": total}));
    }
    Bytes::from(Value::from(body).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_passes_through_with_the_targets_model() {
        let body = br#"{"model":"a/b","prompt":"a cat","n":2,"size":"512x512","response_format":"b64_json"}"#;
        let request = decode_request(body).unwrap();
        assert_eq!((request.model.as_deref(), request.count()), (Some("a/b"), 2));
        let sent = encode_request(&request, Some("b"));
        assert_eq!(
            &sent.body[..],
            br#"{"model":"b","prompt":"a cat","n":2,"size":"512x512","response_format":"b64_json"}"#
        );
        for bad in [&b"{}"[..], br#"{"prompt":""}"#, br#"{"prompt":"a","n":99}"#, br#"{"prompt":"a","stream":true}"#] {
            assert!(decode_request(bad).is_err());
        }
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let body = br#"{"created":7,"data":[{"b64_json":"AAAA","revised_prompt":"p"},{"url":"https://h/x"}],"size":"512x512","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}"#;
        let drawn = decode_answer(body).unwrap();
        assert_eq!((drawn.pictures.len(), drawn.usage.unwrap().total()), (2, 3));
        assert_eq!(decode_answer(&encode_answer(&drawn, 9)).unwrap(), drawn);
        assert!(decode_answer(b"{\"data\":[{}]}").is_err() && decode_answer(b"<html>").is_err());
    }
}
