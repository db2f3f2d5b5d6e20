//! A client's path and body as a [`Request`]. The conversation is read by `contents.rs`, tools by `tools.rs`; the way back is `body.rs`.
//!
//! What has no place in the domain stays in `extra`, under its name in camelCase, and the whole body stays in [`Origin`].

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};

use crate::dialect::gemini::{contents, head, schema, tools};
use crate::dialect::json::{Object, read};
use crate::dialect::{Dialect, MAX_CHOICES, RequestHead};
use crate::error::{Error, Result};
use crate::request::{JsonSchema, Message, Origin, RawJson, Reasoning, Request, ResponseFormat, Role};

const OURS: Dialect = Dialect::Gemini;

/// Reads a request.
pub(super) fn decode(head: &RequestHead, body: &[u8]) -> Result<Request> {
    let asked = head::asked(&head.path);
    let mut fields = Object::parse(body)?.camel()?;
    // A count may be asked of the contents alone, or of a whole request inside.
    if let Some(raw) = fields.take("generateContentRequest") {
        fields = Object::of(raw, &"generateContentRequest")?.camel()?;
    }
    let mut request = Request { model: asked.model.clone(), stream: asked.streams(), ..Request::default() };
    let mut system = None;
    let mut extra = indexmap::IndexMap::new();
    for (name, raw) in fields.into_fields() {
        if raw.get() == "null" {
            continue;
        }
        match name.as_ref() {
            "model" => {
                let named: String = read(raw, &name)?;
                request.model.get_or_insert_with(|| head::short_name(&named).to_owned());
            }
            "contents" => request.messages = contents::decode(raw)?,
            "systemInstruction" => system = Some(contents::system(raw)?),
            "tools" => request.tools = tools::decode(raw)?,
            "toolConfig" => {
                let (choice, whole) = tools::choice(raw)?;
                request.tool_choice = choice;
                if !whole {
                    extra.insert(name.into_owned(), RawJson::from(raw));
                }
            }
            "generationConfig" => {
                let rest = config(raw, &mut request)?;
                if !rest.is_empty() {
                    extra.insert(name.into_owned(), RawJson::of(&rest)?);
                }
            }
            _ => drop(extra.insert(name.into_owned(), RawJson::from(raw))),
        }
    }
    if request.messages.is_empty() {
        return Err(Error::invalid("contents: it is missing"));
    }
    if let Some(content) = system.filter(|content| !content.is_empty()) {
        request.messages.insert(0, Message { role: Role::System, content, name: None, extra: Default::default() });
    }
    if !extra.is_empty() {
        request.extra.insert(OURS, extra);
    }
    request.origin = Some(Arc::new(Origin::new(OURS, head.clone(), Bytes::copy_from_slice(body))));
    Ok(request)
}

/// Reads `generationConfig`, and gives back what of it has no place.
fn config(raw: &RawValue, request: &mut Request) -> Result<Map<String, Value>> {
    let path = "generationConfig";
    let mut fields = Object::of(raw, &path)?.camel()?;
    format(&mut fields, request)?;
    let sampling = &mut request.sampling;
    sampling.temperature = fields.read(path, "temperature")?;
    sampling.top_p = fields.read(path, "topP")?;
    sampling.top_k = count(&mut fields, "topK")?;
    sampling.max_tokens = count(&mut fields, "maxOutputTokens")?;
    sampling.seed = fields.read(path, "seed")?;
    sampling.presence_penalty = fields.read(path, "presencePenalty")?;
    sampling.frequency_penalty = fields.read(path, "frequencyPenalty")?;
    sampling.stop = fields.read(path, "stopSequences")?.unwrap_or_default();
    sampling.logprobs = fields.read(path, "responseLogprobs")?;
    sampling.top_logprobs = count(&mut fields, "logprobs")?;
    sampling.n = count(&mut fields, "candidateCount")?;
    if let Some(n) = sampling.n.filter(|n| !(1..=MAX_CHOICES).contains(n)) {
        return Err(Error::invalid(format!("{path}.candidateCount: {n} is not between 1 and {MAX_CHOICES}")));
    }
    let modalities: Vec<String> = fields.read(path, "responseModalities")?.unwrap_or_default();
    request.modalities = modalities.iter().map(|word| word.to_ascii_lowercase()).collect();
    let thinking = match fields.take("thinkingConfig") {
        Some(raw) => thinking(raw, request)?,
        None => Map::new(),
    };
    let mut rest = fields.into_values()?;
    rest.retain(|_, value| !value.is_null());
    if !thinking.is_empty() {
        rest.insert("thinkingConfig".into(), thinking.into());
    }
    Ok(rest)
}

/// A count, which some clients write as a float.
fn count(fields: &mut Object<'_>, name: &str) -> Result<Option<u32>> {
    let path = "generationConfig";
    match fields.read::<f64>(path, name)? {
        None => Ok(None),
        Some(number) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) => {
            Ok(Some(number as u32))
        }
        Some(number) => Err(Error::invalid(format!("{path}.{name}: {number} is not a count"))),
    }
}

/// The form of the text: a media type, and a schema in one of two grammars.
fn format(fields: &mut Object<'_>, request: &mut Request) -> Result<()> {
    let path = "generationConfig";
    let mime: Option<String> = fields.get("responseMimeType").map(|raw| read(raw, &"responseMimeType")).transpose()?;
    let named = |schema: RawJson| JsonSchema { name: String::new(), description: None, schema, strict: None };
    let format = match mime.as_deref() {
        Some("application/json") => {
            let json = fields.take("responseJsonSchema").or_else(|| fields.take("_responseJsonSchema"));
            match (json, fields.take("responseSchema")) {
                (Some(raw), _) => ResponseFormat::JsonSchema(named(RawJson::from(raw))),
                (None, Some(raw)) => {
                    let schema = schema::to_json_schema(&read(raw, &format_args!("{path}.responseSchema"))?);
                    ResponseFormat::JsonSchema(named(RawJson::of(&schema)?))
                }
                (None, None) => ResponseFormat::JsonObject,
            }
        }
        Some("text/plain") => ResponseFormat::Text,
        // One word of a list, or a type that this router does not know: left as it came.
        _ => return Ok(()),
    };
    fields.take("responseMimeType");
    request.response_format = Some(format);
    Ok(())
}

/// Reads `thinkingConfig`, and gives back what of it has no place.
fn thinking(raw: &RawValue, request: &mut Request) -> Result<Map<String, Value>> {
    let path = "generationConfig.thinkingConfig";
    let fields = Object::of(raw, &path)?.camel()?;
    let mut reasoning = Reasoning::default();
    let mut rest = Map::new();
    for (name, value) in fields.into_values()? {
        match (name.as_str(), &value) {
            ("includeThoughts", Value::Bool(true)) => reasoning.summary = Some("auto".into()),
            // What is not said is not included.
            ("includeThoughts", Value::Bool(false)) | (_, Value::Null) => {}
            ("thinkingBudget", Value::Number(tokens)) if tokens.as_u64() == Some(0) => {
                reasoning.effort = Some("none".into());
            }
            ("thinkingBudget", Value::Number(tokens)) => match tokens.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(tokens) => reasoning.budget_tokens = Some(tokens),
                // -1: as much as the model likes.
                None => drop(rest.insert(name, value)),
            },
            ("thinkingLevel", Value::String(level)) if !level.ends_with("_UNSPECIFIED") => {
                reasoning.effort = Some(level.to_ascii_lowercase());
            }
            ("includeThoughts" | "thinkingBudget" | "thinkingLevel", _) => {
                return Err(Error::invalid(format!("{path}.{name}: {value} cannot be read")));
            }
            _ => drop(rest.insert(name, value)),
        }
    }
    if reasoning != Reasoning::default() {
        request.reasoning = Some(reasoning);
    }
    Ok(rest)
}
