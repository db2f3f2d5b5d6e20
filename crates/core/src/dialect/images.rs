//! The OpenAI API's `/images/generations`, both ways.
//!
//! Fields that are nobody's but the provider's (`size`, `quality`, `response_format`) pass through as received. Who draws in a conversation is asked in its
//! own dialect instead, which is `provider/upstream/image.rs`'s business.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::dialect::json::{Object, lenient};
use crate::dialect::{Framing, HttpCall};
use crate::error::{Error, Result};
#[cfg(feature = "schema")]
use crate::image::MAX_PICTURES;
use crate::image::{ImageRequest, ImageResponse, Picture, PictureBody};
use crate::usage::Usage;

/// The path of a call below a base URL.
pub const PATH: &str = "/images/generations";

/// What a client sends, as far as it is read here; other fields pass to the provider as they are.
#[derive(Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ImagesRequest"))]
pub struct Asked {
    /// What to draw.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    prompt: String,
    /// A route, `provider/model`, or a name that a provider lists.
    model: Option<String>,
    /// How many pictures; one where nobody says.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_PICTURES)))]
    n: Option<u32>,
    /// The client's own end user.
    user: Option<String>,
}

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
    let asked = Asked {
        prompt: prompt.ok_or_else(|| Error::invalid("prompt: it is missing"))?,
        model: fields.read("", "model")?,
        n: fields.read("", "n")?,
        user: fields.read("", "user")?,
    };
    let mut request = ImageRequest::new(asked.prompt);
    (request.model, request.n, request.user) = (asked.model, asked.n, asked.user);
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

/// What a client gets.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ImagesAnswer"))]
pub struct Answer<'a> {
    /// When they were drawn, in seconds since 1970.
    created: u64,
    data: Vec<Written<'a>>,
    /// What else the provider said.
    #[serde(flatten)]
    extra: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Tokens>,
}

/// A picture: itself, or where it lies.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Image"))]
struct Written<'a> {
    /// Its bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<Cow<'a, str>>,
    /// An address that the provider keeps it at for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// The prompt that it was drawn from, where the provider changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    revised_prompt: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ImagesUsage"))]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
}

/// Writes an answer for a client. `now` is in seconds since 1970, for providers that do not say when they drew.
pub fn encode_answer(drawn: &ImageResponse, now: u64) -> Bytes {
    // What is written by a name of our own is not said twice.
    let extra = drawn.extra.iter().filter(|(name, _)| !["created", "data", "usage"].contains(&name.as_str()));
    let answer = Answer {
        created: drawn.created.unwrap_or(now),
        data: drawn.pictures.iter().map(Written::of).collect(),
        extra: extra.map(|(name, value)| (name.clone(), value.value())).collect(),
        usage: drawn.usage.map(|usage| Tokens {
            input_tokens: usage.input,
            output_tokens: usage.output,
            total_tokens: usage.total(),
        }),
    };
    Bytes::from(serde_json::to_vec(&answer).unwrap_or_default())
}

impl<'a> Written<'a> {
    fn of(picture: &'a Picture) -> Self {
        let mut written = Self { revised_prompt: picture.revised_prompt.as_deref(), ..Self::default() };
        match &picture.body {
            PictureBody::Base64 { data, .. } => written.b64_json = Some(String::from_utf8_lossy(data)),
            PictureBody::Url(url) => written.url = Some(url),
        }
        written
    }
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
