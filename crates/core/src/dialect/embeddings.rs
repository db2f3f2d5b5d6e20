//! The OpenAI API's `/embeddings`, both ways: what clients send and servers answer, as numbers or as base64.
//!
//! Shared by every dialect of that family. Google's way is `gemini/embed.rs`; what is embedded and how much of it is `embedding.rs`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::dialect::json::Object;
use crate::dialect::{Framing, HttpCall};
use crate::embedding::{EmbedInput, EmbedRequest, EmbedResponse, of_bytes, to_bytes};
#[cfg(feature = "schema")]
use crate::embedding::{MAX_DIMENSIONS, MAX_INPUTS};
use crate::error::{Error, Result};
use crate::usage::Usage;

/// The path of a call below a base URL.
pub const PATH: &str = "/embeddings";

/// How a client wants its vectors written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename_all = "lowercase"))]
pub enum Encoding {
    /// As lists of numbers.
    #[default]
    Float,
    /// As base64 of four bytes a number, the least significant first.
    Base64,
}

/// What a client sends, as far as it is read here; other fields pass to the provider as they are.
#[derive(Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddingsRequest"))]
pub struct Asked {
    /// A text, several texts, the tokens of a text, or those of several.
    input: Input,
    /// A route, `provider/model`, or a name that a provider lists.
    model: Option<String>,
    /// How vectors are written in the answer; as numbers where nobody says.
    encoding_format: Option<Encoding>,
    /// How many numbers a vector is to have; the model's own count where nobody says.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_DIMENSIONS)))]
    dimensions: Option<u32>,
    /// The client's own end user.
    user: Option<String>,
}

/// What stands in `input`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddingsInput"))]
enum Input {
    Text(#[cfg_attr(feature = "schema", schemars(length(min = 1)))] String),
    Texts(
        #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_INPUTS), inner(length(min = 1))))]
        Vec<String>,
    ),
    Tokens(#[cfg_attr(feature = "schema", schemars(length(min = 1)))] Vec<u32>),
    TokenLists(
        #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_INPUTS), inner(length(min = 1))))]
        Vec<Vec<u32>>,
    ),
}

/// Reads a client's request.
///
/// # Errors
/// `caller_invalid_request` naming the field.
pub fn decode_request(body: &[u8]) -> Result<(EmbedRequest, Encoding)> {
    let mut fields = Object::parse(body)?;
    let input = fields.take("input").ok_or_else(|| Error::invalid("input: it is missing; send a text"))?;
    let input: Input = serde_json::from_str(input.get())
        .map_err(|_| Error::invalid("input: it is neither a text, nor texts, nor lists of tokens"))?;
    let encoding_format = match fields.read::<String>("", "encoding_format")?.as_deref() {
        None => None,
        Some("float") => Some(Encoding::Float),
        Some("base64") => Some(Encoding::Base64),
        Some(other) => {
            let shown = crate::ids::shorten(other);
            return Err(Error::invalid(format!("encoding_format: {shown:?} is neither \"float\" nor \"base64\"")));
        }
    };
    let asked = Asked {
        input,
        model: fields.read("", "model")?,
        encoding_format,
        dimensions: fields.read("", "dimensions")?,
        user: fields.read("", "user")?,
    };
    let inputs = match asked.input {
        Input::Text(text) => vec![EmbedInput::Text(text)],
        Input::Texts(texts) => texts.into_iter().map(EmbedInput::Text).collect(),
        Input::Tokens(tokens) => vec![EmbedInput::Tokens(tokens)],
        Input::TokenLists(lists) => lists.into_iter().map(EmbedInput::Tokens).collect(),
    };
    let mut request = EmbedRequest::new(inputs);
    (request.model, request.dimensions, request.user) = (asked.model, asked.dimensions, asked.user);
    request.extra = fields.into_extra();
    request.check()?;
    Ok((request, asked.encoding_format.unwrap_or_default()))
}

/// A request to an upstream. Numbers are asked for in silence: not every server of this kind knows the other way, and both are read.
///
/// # Errors
/// `router_internal` for what has no JSON form.
pub fn encode_request(ask: &EmbedRequest, model: Option<&str>) -> Result<HttpCall> {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("input".to_owned(), json!(ask.inputs));
    if let Some(dimensions) = ask.dimensions {
        body.insert("dimensions".to_owned(), json!(dimensions));
    }
    if let Some(user) = &ask.user {
        body.insert("user".to_owned(), json!(user));
    }
    for (name, value) in &ask.extra {
        body.entry(name.clone()).or_insert_with(|| value.value());
    }
    let dropped = [("task", ask.task.is_some()), ("title", ask.title.is_some())];
    Ok(HttpCall {
        path: PATH.to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from(Value::from(body).to_string()),
        dropped: dropped.into_iter().filter(|(_, said)| *said).map(|(name, _)| name.into()).collect(),
        framing: Framing::Whole,
    })
}

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Packed(String),
    Numbers(Vec<f32>),
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddingsUsage"))]
struct Tokens {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Reads an upstream's answer, whichever way its vectors are written and in whichever order they stand.
///
/// # Errors
/// `provider_protocol` for one that cannot be read.
pub fn decode_answer(body: &[u8]) -> Result<EmbedResponse> {
    let bad = |why: &str| Error::protocol(format!("its embeddings cannot be read: {why}"));
    let mut list: List = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
    list.data.sort_by_key(|entry| entry.index.unwrap_or(0));
    let numbers = |entry: Entry| match entry.embedding {
        Vector::Numbers(numbers) => Ok(numbers),
        Vector::Packed(text) => {
            let bytes = STANDARD.decode(text).map_err(|_| bad("a vector is no base64"))?;
            of_bytes(&bytes).ok_or_else(|| bad("a vector is no whole count of numbers"))
        }
    };
    let vectors = list.data.into_iter().map(numbers).collect::<Result<_>>()?;
    let made = EmbedResponse::new(list.model.unwrap_or_default(), vectors);
    Ok(match list.usage {
        Some(usage) => made.with_usage(Usage::new(usage.prompt_tokens.max(usage.total_tokens), 0)),
        None => made,
    })
}

/// What a client gets.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddingsAnswer"))]
pub struct Answer<'a> {
    #[cfg_attr(feature = "schema", schemars(extend("const" = "list")))]
    object: &'static str,
    /// A vector for each input, in their order.
    data: Vec<Written<'a>>,
    /// The model, in the provider's words.
    model: &'a str,
    usage: Tokens,
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Embedding"))]
struct Written<'a> {
    #[cfg_attr(feature = "schema", schemars(extend("const" = "embedding")))]
    object: &'static str,
    /// The place of its input.
    index: usize,
    embedding: Numbers<'a>,
}

/// A vector: numbers, or base64 of four bytes a number, the least significant first.
#[derive(Debug, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddingVector"))]
enum Numbers<'a> {
    Float(&'a [f32]),
    Base64(String),
}

/// Writes an answer for a client.
pub fn encode_answer(made: &EmbedResponse, encoding: Encoding) -> Bytes {
    let tokens = made.usage.unwrap_or_default().input;
    let whole = Answer {
        object: "list",
        data: made
            .vectors
            .iter()
            .enumerate()
            .map(|(index, vector)| {
                let embedding = match encoding {
                    Encoding::Float => Numbers::Float(vector),
                    Encoding::Base64 => Numbers::Base64(STANDARD.encode(to_bytes(vector))),
                };
                Written { object: "embedding", index, embedding }
            })
            .collect(),
        model: &made.model,
        usage: Tokens { prompt_tokens: tokens, total_tokens: tokens },
    };
    serde_json::to_vec(&whole).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(body: &Value) -> Result<(EmbedRequest, Encoding)> {
        decode_request(body.to_string().as_bytes())
    }

    #[test]
    fn every_form_of_input_is_read_and_sent_on() {
        for (input, inputs) in [
            (json!("a"), vec!["a".into()]),
            (json!(["a", "b"]), vec!["a".into(), "b".into()]),
            (json!([1, 2]), vec![EmbedInput::Tokens(vec![1, 2])]),
            (json!([[1], [2, 3]]), vec![EmbedInput::Tokens(vec![1]), EmbedInput::Tokens(vec![2, 3])]),
        ] {
            let body = json!({"input": input, "model": "m", "dimensions": 8, "encoding_format": "base64", "input_type": "query"});
            let (request, encoding) = read(&body).unwrap();
            assert_eq!((&request.inputs, encoding), (&inputs, Encoding::Base64));
            let sent: Value = serde_json::from_slice(&encode_request(&request, Some("n")).unwrap().body).unwrap();
            assert_eq!(
                (&sent["model"], &sent["dimensions"], &sent["input_type"]),
                (&json!("n"), &json!(8), &json!("query"))
            );
            assert!(sent["input"].is_array() && sent.get("encoding_format").is_none(), "{sent}");
        }
        for bad in [json!({}), json!({"input": 3}), json!({"input": []}), json!({"input": "a", "encoding_format": "x"})]
        {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_read_both_ways_and_in_their_order() {
        let made = EmbedResponse::new("m", vec![vec![0.5, -1.0], vec![0.1, 2.0]]).with_usage(Usage::new(5, 0));
        for encoding in [Encoding::Float, Encoding::Base64] {
            assert_eq!(decode_answer(&encode_answer(&made, encoding)).unwrap(), made);
        }
        let turned = json!({"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": "AACAPw=="}]});
        assert_eq!(decode_answer(turned.to_string().as_bytes()).unwrap().vectors, [[1.0], [2.0]]);
        for bad in ["<html>", "{}", r#"{"data":[{"embedding":"A"}]}"#, r#"{"data":[{"embedding":"AAA="}]}"#] {
            assert!(decode_answer(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
