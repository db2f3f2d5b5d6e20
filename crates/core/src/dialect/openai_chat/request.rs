//! A client's body as a [`Request`]. The conversation in it is read by `messages.rs`; the way back is `body.rs`.
//!
//! What has no place in the domain stays in `extra` as it came, and the whole body stays in [`Origin`].

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::json::{Object, read};
use crate::dialect::openai_chat::{messages, usual};
use crate::dialect::{Dialect, MAX_CHOICES, RequestHead};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{JsonSchema, Origin, RawJson, Reasoning, Request, ResponseFormat, Tool, ToolChoice};

const OURS: Dialect = Dialect::OpenaiChat;

/// Reads a body.
pub(super) fn decode(head: &RequestHead, body: &[u8]) -> Result<Request> {
    let (mut request, usual) = match usual::read(body) {
        Some((request, usual)) => (request, Some(usual)),
        None => (patient(body)?, None),
    };
    let body = Bytes::copy_from_slice(body);
    request.origin = Some(Arc::new(Origin { usual, ..Origin::new(OURS, head.clone(), body) }));
    Ok(request)
}

/// Reads a body field by field.
pub(super) fn patient(body: &[u8]) -> Result<Request> {
    let mut request = Request::default();
    let mut old_limit = None;
    let mut extra = indexmap::IndexMap::new();
    for (name, raw) in Object::parse(body)?.into_fields() {
        let known = raw.get() != "null" && field(&mut request, &mut old_limit, &name, raw)?;
        if !known {
            extra.insert(name.into_owned(), RawJson::from(raw));
        }
    }
    if let Some(raw) = old_limit {
        // Of the two fields for one limit the newer counts.
        match request.sampling.max_tokens {
            None => request.sampling.max_tokens = count(raw, "max_tokens")?,
            Some(_) => drop(extra.insert("max_tokens".to_owned(), RawJson::from(raw))),
        }
        if request.sampling.max_tokens.is_none() {
            extra.insert("max_tokens".to_owned(), RawJson::from(raw));
        }
    }
    if request.messages.is_empty() {
        return Err(Error::invalid("messages: it is missing"));
    }
    // A null says no more than an absent field; it only lives on in the body itself.
    extra.retain(|_, value| value.get() != "null");
    if !extra.is_empty() {
        request.extra.entry(OURS).or_default().extend(extra);
    }
    Ok(request)
}

/// Reads one field; `false` where it has no place in the domain, or a value that has none.
fn field<'a>(
    request: &mut Request,
    old_limit: &mut Option<&'a RawValue>,
    name: &str,
    raw: &'a RawValue,
) -> Result<bool> {
    let sampling = &mut request.sampling;
    match name {
        "model" => request.model = Some(read(raw, &name)?),
        "messages" => request.messages = messages::decode(raw)?,
        "stream" => request.stream = read(raw, &name)?,
        "tools" => request.tools = tools(raw)?,
        "tool_choice" => request.tool_choice = tool_choice(raw)?,
        "parallel_tool_calls" => request.parallel_tool_calls = Some(read(raw, &name)?),
        "response_format" => request.response_format = response_format(raw)?,
        "max_tokens" => *old_limit = Some(raw),
        "max_completion_tokens" => sampling.max_tokens = count(raw, name)?,
        "temperature" => sampling.temperature = Some(read(raw, &name)?),
        "top_p" => sampling.top_p = Some(read(raw, &name)?),
        "top_k" => sampling.top_k = count(raw, name)?,
        "min_p" => sampling.min_p = Some(read(raw, &name)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(read(raw, &name)?),
        "presence_penalty" => sampling.presence_penalty = Some(read(raw, &name)?),
        "repetition_penalty" => sampling.repetition_penalty = Some(read(raw, &name)?),
        "seed" => sampling.seed = Some(read(raw, &name)?),
        "stop" if raw.get().starts_with('"') => sampling.stop = vec![read(raw, &name)?],
        "stop" => sampling.stop = read(raw, &name)?,
        "logit_bias" => sampling.logit_bias = read(raw, &name)?,
        "logprobs" => sampling.logprobs = Some(read(raw, &name)?),
        "top_logprobs" => sampling.top_logprobs = count(raw, name)?,
        "n" => sampling.n = Some(choices(raw)?),
        "reasoning_effort" => effort(request).effort = Some(read(raw, &name)?),
        "reasoning" => return reasoning(raw, request),
        "modalities" => request.modalities = read(raw, &name)?,
        "user" => request.user = Some(read(raw, &name)?),
        "metadata" => request.metadata = Some(RawJson::from(raw)),
        _ => return Ok(false),
    }
    // Words that are valid but have no place (a grammar as format, -1 for no limit) leave their field unset and stay in `extra`.
    Ok(match name {
        "tool_choice" => request.tool_choice.is_some(),
        "response_format" => request.response_format.is_some(),
        "max_completion_tokens" => request.sampling.max_tokens.is_some(),
        "top_k" => request.sampling.top_k.is_some(),
        _ => true,
    })
}

/// A count. `None` for a negative one, by which several servers mean "no limit".
fn count(raw: &RawValue, name: &str) -> Result<Option<u32>> {
    let number: f64 = read(raw, &name)?;
    match number {
        _ if number < 0.0 => Ok(None),
        _ if number.fract() == 0.0 && number <= f64::from(u32::MAX) => Ok(Some(number as u32)),
        _ => Err(Error::invalid(format!("{name}: {number} is not a count"))),
    }
}

fn choices(raw: &RawValue) -> Result<u32> {
    match read::<u32>(raw, &"n")? {
        n @ 1..=MAX_CHOICES => Ok(n),
        n => Err(Error::invalid(format!("n: {n} is not between 1 and {MAX_CHOICES}"))),
    }
}

fn effort(request: &mut Request) -> &mut Reasoning {
    request.reasoning.get_or_insert_default()
}

/// OpenRouter's object. What of it has no place stays in `extra` as a smaller object.
fn reasoning(raw: &RawValue, request: &mut Request) -> Result<bool> {
    let mut fields = Object::of(raw, &"reasoning")?;
    let path = "reasoning";
    let reasoning = effort(request);
    if let Some(word) = fields.read(path, "effort")? {
        reasoning.effort = Some(word);
    }
    reasoning.budget_tokens = fields.read(path, "max_tokens")?;
    reasoning.summary = fields.read(path, "summary")?;
    if !fields.is_empty() {
        let rest = RawJson::of(&fields.into_values()?)?;
        request.extra.entry(OURS).or_default().insert("reasoning".to_owned(), rest);
    }
    Ok(true)
}

fn tools(raw: &RawValue) -> Result<Vec<Tool>> {
    let list: Vec<&RawValue> = read(raw, &"tools")?;
    list.into_iter().enumerate().map(|(at, raw)| tool(raw, &format!("tools[{at}]"))).collect()
}

fn tool(raw: &RawValue, path: &str) -> Result<Tool> {
    let mut fields = Object::of(raw, &path)?;
    let kind: Option<String> = fields.read(path, "type")?;
    if kind.as_deref().is_some_and(|kind| kind != "function") {
        // A tool that runs at the provider: all of it is its own.
        let extra = messages::extra(Object::of(raw, &path)?);
        return Ok(Tool { name: String::new(), description: None, parameters: None, strict: None, extra });
    }
    let path = format!("{path}.function");
    let Some(raw) = fields.take("function") else { return Err(Error::invalid(format!("{path}: it is missing"))) };
    let mut function = Object::of(raw, &path)?;
    let name: String = function.read(&path, "name")?.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::invalid(format!("{path}.name: it is missing")));
    }
    let description = function.read(&path, "description")?;
    let parameters = function.take("parameters").map(RawJson::from);
    let strict = function.read(&path, "strict")?;
    let mut extra = messages::extra(fields);
    if !function.is_empty() {
        let rest = RawJson::of(&function.into_values()?)?;
        extra.entry(OURS).or_default().insert("function".to_owned(), rest);
    }
    Ok(Tool { name, description, parameters, strict, extra })
}

/// `None` for a choice that the domain cannot say, such as a list of allowed tools.
fn tool_choice(raw: &RawValue) -> Result<Option<ToolChoice>> {
    if !raw.get().starts_with('"') {
        let mut fields = Object::of(raw, &"tool_choice")?;
        let kind: Option<String> = fields.read("tool_choice", "type")?;
        let function = fields.read::<Object<'_>>("tool_choice", "function")?;
        return match (kind.as_deref(), function) {
            (Some("function"), Some(mut function)) => {
                Ok(function.read("tool_choice.function", "name")?.map(ToolChoice::Tool))
            }
            _ => Ok(None),
        };
    }
    Ok(match read::<String>(raw, &"tool_choice")?.as_str() {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        "required" | "any" => Some(ToolChoice::Required),
        other => return Err(Error::invalid(format!("tool_choice: {:?} is not a choice", shorten(other)))),
    })
}

/// `None` for a format that the domain cannot say, such as a grammar.
fn response_format(raw: &RawValue) -> Result<Option<ResponseFormat>> {
    let mut fields = Object::of(raw, &"response_format")?;
    let kind: Option<String> = fields.read("response_format", "type")?;
    match kind.as_deref() {
        Some("text") if fields.is_empty() => return Ok(Some(ResponseFormat::Text)),
        Some("json_object") if fields.is_empty() => return Ok(Some(ResponseFormat::JsonObject)),
        Some("json_schema") => {}
        // llama.cpp and Together take a schema beside `json_object`: theirs alone.
        _ => return Ok(None),
    }
    let path = "response_format.json_schema";
    let Some(mut schema) = fields.read::<Object<'_>>("response_format", "json_schema")? else { return Ok(None) };
    let Some(text) = schema.take("schema") else { return Err(Error::invalid(format!("{path}.schema: it is missing"))) };
    let described = JsonSchema {
        name: schema.read(path, "name")?.unwrap_or_default(),
        description: schema.read(path, "description")?,
        schema: RawJson::from(text),
        strict: schema.read(path, "strict")?,
    };
    Ok((schema.is_empty() && fields.is_empty()).then_some(ResponseFormat::JsonSchema(described)))
}
