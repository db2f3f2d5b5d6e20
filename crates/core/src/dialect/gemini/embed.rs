//! `:embedContent` and `:batchEmbedContents`: one text or many, both ways.
//!
//! An upstream is always asked for a batch, which takes one text as well. The OpenAI API's way is `../embeddings.rs`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::dialect::gemini::head;
use crate::dialect::json::check_depth;
use crate::dialect::{Framing, HttpCall, RequestHead};
use crate::embedding::{EmbedInput, EmbedRequest, EmbedResponse};
#[cfg(feature = "schema")]
use crate::embedding::{MAX_DIMENSIONS, MAX_INPUTS};
use crate::error::{Error, Result};
use crate::provider::Call;

const VERB: &str = "batchEmbedContents";

/// Whether a client wants one vector or a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `:embedContent`
    One,
    /// `:batchEmbedContents`
    Batch,
}

/// Whether a request asks for embeddings, and in which form.
pub fn asks(head: &RequestHead) -> Option<Form> {
    match head::asked(&head.path).verb.as_str() {
        "embedContent" => Some(Form::One),
        VERB => Some(Form::Batch),
        _ => None,
    }
}

/// What a client of `:batchEmbedContents` sends. All requests are alike but for their content.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BatchEmbedContents"))]
pub struct Batch {
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_INPUTS)))]
    requests: Vec<One>,
}

/// What a client of `:embedContent` sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbedContent"))]
pub struct One {
    content: Content,
    #[serde(default, alias = "task_type")]
    task_type: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default, alias = "output_dimensionality")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_DIMENSIONS)))]
    output_dimensionality: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddedContent"))]
struct Content {
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    parts: Vec<Part>,
}

/// A part, which must be text.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbeddedPart"))]
struct Part {
    #[cfg_attr(feature = "schema", schemars(required))]
    text: Option<String>,
}

/// Reads a client's request; its path says which model.
///
/// # Errors
/// `caller_invalid_request` for what cannot be read, `caller_unsupported` for what is no text or not alike in all requests of a batch.
pub fn decode_request(head: &RequestHead, body: &[u8]) -> Result<(EmbedRequest, Form)> {
    let form = asks(head).ok_or_else(|| Error::invalid("the path asks for no embeddings"))?;
    check_depth(body)?;
    let unread = |error: serde_json::Error| Error::invalid(format!("the body: {error}"));
    let ones = match form {
        Form::One => vec![serde_json::from_slice::<One>(body).map_err(unread)?],
        Form::Batch => serde_json::from_slice::<Batch>(body).map_err(unread)?.requests,
    };
    let mut request = EmbedRequest { model: head::asked(&head.path).model, ..EmbedRequest::default() };
    for (at, One { content, task_type, title, output_dimensionality }) in ones.into_iter().enumerate() {
        let said = (task_type, title, output_dimensionality);
        if at == 0 {
            (request.task, request.title, request.dimensions) = said;
        } else if said != (request.task.clone(), request.title.clone(), request.dimensions) {
            let message = format!("requests[{at}]: it differs from the first in more than its content");
            return Err(Error::unsupported(message).with_hint("send it in a request of its own"));
        }
        let texts: Option<String> = content.parts.into_iter().map(|part| part.text).collect();
        let text = texts.ok_or_else(|| Error::unsupported(format!("requests[{at}].content: a part is no text")))?;
        request.inputs.push(EmbedInput::Text(text));
    }
    request.check()?;
    Ok((request, form))
}

/// A request to an upstream.
///
/// # Errors
/// `caller_unsupported` for tokens, which it does not take; `caller_invalid_request` for a model's name that is none.
pub fn encode_request(call: &Call, ask: &EmbedRequest) -> Result<HttpCall> {
    let model = head::model_of(call)?;
    let one = |input: &EmbedInput| {
        let EmbedInput::Text(text) = input else {
            return Err(
                Error::unsupported("input: this provider takes texts, and no tokens").with_hint("send the text")
            );
        };
        let mut one = Map::new();
        one.insert("model".to_owned(), json!(head::full_name(model)));
        one.insert("content".to_owned(), json!({"parts": [{"text": text}]}));
        for (name, value) in [("taskType", &ask.task), ("title", &ask.title)] {
            if let Some(value) = value {
                one.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(count) = ask.dimensions {
            one.insert("outputDimensionality".to_owned(), json!(count));
        }
        Ok(Value::from(one))
    };
    let requests = ask.inputs.iter().map(one).collect::<Result<Vec<_>>>()?;
    let user = ask.user.as_ref().map(|_| "user".into());
    Ok(HttpCall {
        path: head::path(model, VERB)?,
        query: None,
        headers: head::headers(Framing::Whole),
        body: Bytes::from(json!({ "requests": requests }).to_string()),
        dropped: user.into_iter().chain(ask.extra.keys().map(|name| name.as_str().into())).collect(),
        framing: Framing::Whole,
    })
}

/// Reads an upstream's answer. It counts no tokens.
///
/// # Errors
/// `provider_protocol` for one that cannot be read.
pub fn decode_answer(body: &[u8]) -> Result<EmbedResponse> {
    #[derive(Deserialize)]
    struct List {
        embeddings: Vec<Values>,
    }
    #[derive(Deserialize)]
    struct Values {
        values: Vec<f32>,
    }
    let list: List = serde_json::from_slice(body)
        .map_err(|error| Error::protocol(format!("its embeddings cannot be read: {error}")))?;
    Ok(EmbedResponse::new("", list.embeddings.into_iter().map(|one| one.values).collect()))
}

/// What a client of `:embedContent` gets.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EmbedContentAnswer"))]
pub struct Embedded<'a> {
    embedding: Numbers<'a>,
}

/// What a client of `:batchEmbedContents` gets.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BatchEmbedContentsAnswer"))]
pub struct AllEmbedded<'a> {
    /// A vector for each request, in their order.
    embeddings: Vec<Numbers<'a>>,
}

#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ContentEmbedding"))]
struct Numbers<'a> {
    values: &'a [f32],
}

/// Writes an answer for a client.
pub fn encode_answer(made: &EmbedResponse, form: Form) -> Bytes {
    let mut all = made.vectors.iter().map(|values| Numbers { values });
    let written = match form {
        Form::One => serde_json::to_vec(&Embedded { embedding: all.next().unwrap_or_default() }),
        Form::Batch => serde_json::to_vec(&AllEmbedded { embeddings: all.collect() }),
    };
    written.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::{ModelName, ProviderId};
    use crate::provider::Target;
    use crate::request::Request;

    #[test]
    fn one_and_many_are_read_and_sent_on_as_a_batch() {
        let head = RequestHead::post("/v1beta/models/a/b:batchEmbedContents");
        let one = |text: &str| json!({"model": "models/x", "content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2});
        let body = json!({"requests": [one("x"), one("y")]}).to_string();
        let (request, form) = decode_request(&head, body.as_bytes()).unwrap();
        assert_eq!((request.model.as_deref(), form, request.inputs.len()), (Some("a/b"), Form::Batch, 2));
        let target = Target::new(ProviderId::new("p").unwrap(), Some(ModelName::new("e-1").unwrap()));
        let call = crate::dialect::testing::call(Request::new("x"), target);
        let sent = encode_request(&call, &request).unwrap();
        assert_eq!(sent.path, "/models/e-1:batchEmbedContents");
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(sent["requests"][1]["content"]["parts"][0]["text"], "y");
        assert_eq!(
            (&sent["requests"][0]["model"], &sent["requests"][0]["outputDimensionality"]),
            (&json!("models/e-1"), &json!(2))
        );
        let head = RequestHead::post("/v1beta/models/m:embedContent");
        let (request, form) = decode_request(&head, one("z").to_string().as_bytes()).unwrap();
        assert_eq!((form, request.inputs), (Form::One, vec!["z".into()]));
        let tokens = EmbedRequest::new([EmbedInput::Tokens(vec![1])]);
        assert!(encode_request(&call, &tokens).is_err());
        assert!(decode_request(&head, br#"{"content":{"parts":[{"inlineData":{}}]}}"#).is_err());
    }

    #[test]
    fn answers_are_read_and_written() {
        let made = EmbedResponse::new("", vec![vec![0.5], vec![1.5]]);
        assert_eq!(decode_answer(&encode_answer(&made, Form::Batch)).unwrap(), made);
        assert_eq!(&encode_answer(&made, Form::One)[..], br#"{"embedding":{"values":[0.5]}}"#);
        assert!(decode_answer(b"{}").is_err());
    }
}
