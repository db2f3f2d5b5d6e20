//! A client's body as a [`Request`]. The items in its `input` are read by `items.rs`; the way back is `body.rs`.
//!
//! What has no place in the domain stays in `extra` as it came, and the whole body stays in [`Origin`]. `previous_response_id` and `store` are among what
//! stays: they are about what a server keeps, see `state.rs`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::RequestHead;
use crate::dialect::json::{Object, read, text};
use crate::dialect::openai_responses::items;
use crate::dialect::openai_responses::types::{OURS, flat_name};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{
    Extra, JsonSchema, Message, Origin, RawJson, Reasoning, Request, ResponseFormat, Role, Tool, ToolChoice,
};

/// The entry of `include` that asks for log probabilities.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

/// Fields of `extra` that stand for a conversation kept elsewhere: with one of them there may be no messages.
pub(super) const KEPT_ELSEWHERE: &[&str] = &["previous_response_id", "conversation", "prompt"];

/// Reads a body.
pub(super) fn decode(head: &RequestHead, body: &[u8]) -> Result<Request> {
    let mut request = Request::default();
    let mut extra = indexmap::IndexMap::new();
    let mut instructions = None;
    for (name, raw) in Object::parse(body)?.into_fields() {
        if raw.get() == "null" {
            continue;
        }
        match name.as_ref() {
            "instructions" => instructions = Some(Message::text(Role::System, read::<String>(raw, &name)?)),
            _ => {
                if let Some(rest) = field(&mut request, &name, raw)? {
                    extra.insert(name.into_owned(), rest);
                }
            }
        }
    }
    if let Some(message) = instructions {
        request.messages.insert(0, message);
    }
    if request.messages.is_empty() && !KEPT_ELSEWHERE.iter().any(|name| extra.contains_key(*name)) {
        return Err(Error::invalid("input: it is missing"));
    }
    if !extra.is_empty() {
        request.extra.insert(OURS, extra);
    }
    request.origin = Some(Arc::new(Origin::new(OURS, head.clone(), Bytes::copy_from_slice(body))));
    Ok(request)
}

/// Reads one field, and gives back what of it has no place in the domain.
fn field(request: &mut Request, name: &str, raw: &RawValue) -> Result<Option<RawJson>> {
    let sampling = &mut request.sampling;
    match name {
        "model" => request.model = Some(read(raw, &name)?),
        "input" => items::decode(raw, &mut request.messages)?,
        "stream" => request.stream = read(raw, &name)?,
        "tools" => request.tools = tools(raw)?,
        "tool_choice" => match tool_choice(raw)? {
            Some(choice) => request.tool_choice = Some(choice),
            None => return Ok(Some(RawJson::from(raw))),
        },
        "parallel_tool_calls" => request.parallel_tool_calls = Some(read(raw, &name)?),
        "text" => return form(raw, request),
        "max_output_tokens" => sampling.max_tokens = Some(read(raw, &name)?),
        "temperature" => sampling.temperature = Some(read(raw, &name)?),
        "top_p" => sampling.top_p = Some(read(raw, &name)?),
        "top_logprobs" => sampling.top_logprobs = Some(read(raw, &name)?),
        "include" => return include(raw, request),
        "reasoning" => return reasoning(raw, request),
        "user" => request.user = Some(read(raw, &name)?),
        "metadata" => request.metadata = Some(RawJson::from(raw)),
        "background" if raw.get() == "true" => {
            return Err(Error::unsupported("background: this router answers only while the client waits")
                .with_hint("leave the field out, or stream the answer"));
        }
        // Read by whoever keeps answers: they must be what they should be before anything is sent.
        "previous_response_id" => drop(read::<String>(raw, &name)?),
        "store" => drop(read::<bool>(raw, &name)?),
        _ => {}
    }
    const KNOWN: &[&str] = &[
        "model",
        "input",
        "stream",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "user",
        "metadata",
    ];
    Ok((!KNOWN.contains(&name)).then(|| RawJson::from(raw)))
}

fn include(raw: &RawValue, request: &mut Request) -> Result<Option<RawJson>> {
    let mut list: Vec<String> = read(raw, &"include")?;
    let asked = list.len();
    list.retain(|entry| entry != LOGPROBS);
    if list.len() < asked {
        request.sampling.logprobs = Some(true);
    }
    (!list.is_empty()).then(|| RawJson::of(&list)).transpose()
}

fn rest(fields: Object<'_>) -> Result<Option<RawJson>> {
    let any = fields.rest().any(|(_, raw)| raw.get() != "null");
    any.then(|| RawJson::of(&fields.into_values()?)).transpose()
}

fn reasoning(raw: &RawValue, request: &mut Request) -> Result<Option<RawJson>> {
    let mut fields = Object::of(raw, &"reasoning")?;
    // `generate_summary` is the older name.
    let older = fields.read("reasoning", "generate_summary")?;
    let summary = fields.read("reasoning", "summary")?.or(older);
    let effort = fields.read("reasoning", "effort")?;
    request.reasoning = Some(Reasoning { effort, summary, budget_tokens: None });
    rest(fields)
}

/// `text`: the form of the answer, and what else is said of it. A form that the domain cannot say stays where it was.
fn form(raw: &RawValue, request: &mut Request) -> Result<Option<RawJson>> {
    let mut fields = Object::of(raw, &"text")?;
    let Some(format) = fields.get("format") else { return rest(fields) };
    let path = "text.format";
    let mut schema = Object::of(format, &path)?;
    let kind: Option<String> = schema.read(path, "type")?;
    request.response_format = match kind.as_deref() {
        Some("text") if schema.is_empty() => Some(ResponseFormat::Text),
        Some("json_object") if schema.is_empty() => Some(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let Some(text) = schema.take("schema") else {
                return Err(Error::invalid(format!("{path}.schema: it is missing")));
            };
            let described = JsonSchema {
                name: schema.read(path, "name")?.unwrap_or_default(),
                description: schema.read(path, "description")?,
                schema: RawJson::from(text),
                strict: schema.read(path, "strict")?,
            };
            schema.is_empty().then_some(ResponseFormat::JsonSchema(described))
        }
        Some(_) => None,
        None => return Err(Error::invalid(format!("{path}.type: it is missing"))),
    };
    if request.response_format.is_some() {
        fields.take("format");
    }
    rest(fields)
}

fn tools(raw: &RawValue) -> Result<Vec<Tool>> {
    let list: Vec<&RawValue> = read(raw, &"tools")?;
    let mut tools = Vec::with_capacity(list.len());
    for (at, raw) in list.into_iter().enumerate() {
        let path = format!("tools[{at}]");
        let mut fields = Object::of(raw, &path)?;
        match fields.read::<String>(&path, "type")?.as_deref() {
            Some("function") => tools.push(function(fields, &path, None)?),
            Some("namespace") => match namespace(fields, &path)? {
                Some(inside) => tools.extend(inside),
                None => tools.push(own(raw, &path)?),
            },
            // A tool that runs at the provider, or one whose input is no JSON: all of it is this dialect's.
            Some(_) => tools.push(own(raw, &path)?),
            None => return Err(Error::invalid(format!("{path}.type: it is missing"))),
        }
    }
    Ok(tools)
}

fn own(raw: &RawValue, path: &str) -> Result<Tool> {
    let extra = Extra::from([(OURS, Object::of(raw, &path)?.into_extra())]);
    Ok(Tool { name: String::new(), description: None, parameters: None, strict: None, extra })
}

fn function(mut fields: Object<'_>, path: &str, namespace: Option<&RawJson>) -> Result<Tool> {
    let name: String = fields.read(path, "name")?.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::invalid(format!("{path}.name: it is missing")));
    }
    let description = fields.read(path, "description")?;
    let parameters = fields.take("parameters").map(RawJson::from);
    let strict = fields.read(path, "strict")?;
    let mut extra = fields.into_extra();
    extra.retain(|_, value| value.get() != "null");
    let mut flat = None;
    if let Some(namespace) = namespace {
        flat = namespace.value().get("name").and_then(|of| of.as_str()).map(|of| flat_name(of, &name));
        extra.insert("name".to_owned(), RawJson::of(&name)?);
        extra.insert("namespace".to_owned(), namespace.clone());
    }
    let extra = if extra.is_empty() { Extra::new() } else { Extra::from([(OURS, extra)]) };
    Ok(Tool { name: flat.unwrap_or(name), description, parameters, strict, extra })
}

/// The functions of a namespace, each under one name of its own; `None` where it holds anything else.
fn namespace(mut fields: Object<'_>, path: &str) -> Result<Option<Vec<Tool>>> {
    let Some(raw) = fields.take("tools") else { return Ok(None) };
    if fields.get("name").and_then(text).is_none_or(|name| name.is_empty()) {
        return Err(Error::invalid(format!("{path}.name: it is missing")));
    }
    let around = RawJson::of(&fields.into_values()?)?;
    let path = format!("{path}.tools");
    let mut tools = Vec::new();
    for (at, raw) in read::<Vec<&RawValue>>(raw, &path)?.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let mut fields = Object::of(raw, &path)?;
        if fields.read::<String>(&path, "type")?.as_deref() != Some("function") {
            return Ok(None);
        }
        tools.push(function(fields, &path, Some(&around))?);
    }
    Ok((!tools.is_empty()).then_some(tools))
}

/// `None` for a choice that the domain cannot say, such as a list of allowed tools.
fn tool_choice(raw: &RawValue) -> Result<Option<ToolChoice>> {
    if !raw.get().starts_with('"') {
        let mut fields = Object::of(raw, &"tool_choice")?;
        let kind: Option<String> = fields.read("tool_choice", "type")?;
        let name: Option<String> = fields.read("tool_choice", "name")?;
        return Ok(name.filter(|_| kind.as_deref() == Some("function") && fields.is_empty()).map(ToolChoice::Tool));
    }
    Ok(match read::<String>(raw, &"tool_choice")?.as_str() {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        "required" => Some(ToolChoice::Required),
        other => return Err(Error::invalid(format!("tool_choice: {:?} is not a choice", shorten(other)))),
    })
}
