//! A client's body as a [`Request`]. The conversation in it is read by `messages.rs`; the way back is `body.rs`.
//!
//! What has no place in the domain stays in `extra` as it came, and the whole body stays in [`Origin`]. A body for `/messages/count_tokens` is read here
//! too: it is the same but for the limit of tokens, which is required of clients by the vendor and by nobody here.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};

use crate::dialect::anthropic::messages;
use crate::dialect::json::{Object, read};
use crate::dialect::{Dialect, RequestHead};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{Extra, JsonSchema, Message, Origin, RawJson, Request, ResponseFormat, Tool, ToolChoice};

const OURS: Dialect = Dialect::Anthropic;

/// Reads a body.
pub(super) fn decode(head: &RequestHead, body: &[u8]) -> Result<Request> {
    let mut reading = Reading::default();
    for (name, raw) in Object::parse(body)?.into_fields() {
        // A null says no more than an absent field; it only lives on in the body itself.
        if raw.get() != "null" && !reading.field(&name, raw)? {
            reading.extra.insert(name.into_owned(), RawJson::from(raw));
        }
    }
    let mut request = reading.finish()?;
    request.origin = Some(Arc::new(Origin::new(OURS, head.clone(), Bytes::copy_from_slice(body))));
    Ok(request)
}

/// A request under construction, with what can only be placed when every field was seen.
#[derive(Default)]
struct Reading<'a> {
    request: Request,
    system: Option<Message>,
    thinking: Option<&'a RawValue>,
    effort: Option<String>,
    /// What is left of `output_config`.
    output: Map<String, Value>,
    extra: indexmap::IndexMap<String, RawJson>,
}

impl<'a> Reading<'a> {
    /// Reads one field; `false` where it has no place in the domain, or a value that has none.
    fn field(&mut self, name: &str, raw: &'a RawValue) -> Result<bool> {
        let Request { sampling, .. } = &mut self.request;
        match name {
            "model" => self.request.model = Some(read(raw, &name)?),
            "messages" => self.request.messages = messages::decode(raw)?,
            "system" => self.system = Some(messages::system(raw)?),
            "stream" => self.request.stream = read(raw, &name)?,
            "max_tokens" => sampling.max_tokens = Some(read(raw, &name)?),
            "temperature" => sampling.temperature = Some(read(raw, &name)?),
            "top_p" => sampling.top_p = Some(read(raw, &name)?),
            "top_k" => sampling.top_k = Some(read(raw, &name)?),
            "stop_sequences" => sampling.stop = read(raw, &name)?,
            "tools" => self.request.tools = tools(raw)?,
            "tool_choice" => return self.tool_choice(raw),
            "thinking" => self.thinking = Some(raw),
            "output_config" => self.output_config(raw)?,
            // The field of before `output_config`, under its beta.
            "output_format" if self.request.response_format.is_none() => {
                self.request.response_format = format(raw, name)?;
                return Ok(self.request.response_format.is_some());
            }
            "metadata" => {
                let mut fields = Object::of(raw, &name)?;
                self.request.user = fields.read(name, "user_id")?;
                if !fields.is_empty() {
                    self.extra.insert(name.to_owned(), RawJson::of(&fields.into_values()?)?);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn tool_choice(&mut self, raw: &RawValue) -> Result<bool> {
        let path = "tool_choice";
        let mut fields = Object::of(raw, &path)?;
        let kind: Option<String> = fields.read(path, "type")?;
        let name: Option<String> = fields.read(path, "name")?;
        let choice = match (kind.as_deref(), name) {
            (Some("auto"), _) => ToolChoice::Auto,
            (Some("any"), _) => ToolChoice::Required,
            (Some("none"), _) => ToolChoice::None,
            (Some("tool"), Some(name)) => ToolChoice::Tool(name),
            (Some("tool"), None) => return Err(Error::invalid("tool_choice.name: it is missing")),
            (Some(other), _) => {
                return Err(Error::invalid(format!("tool_choice.type: {:?} is not a choice", shorten(other))));
            }
            (None, _) => return Err(Error::invalid("tool_choice.type: it is missing")),
        };
        let alone: Option<bool> = fields.read(path, "disable_parallel_tool_use")?;
        self.request.tool_choice = Some(choice);
        self.request.parallel_tool_calls = alone.map(|alone| !alone);
        Ok(true)
    }

    fn output_config(&mut self, raw: &RawValue) -> Result<()> {
        let path = "output_config";
        let mut fields = Object::of(raw, &path)?;
        self.effort = fields.read(path, "effort")?;
        if let Some(raw) = fields.take("format") {
            self.request.response_format = format(raw, "output_config.format")?;
            if self.request.response_format.is_none() {
                self.output.insert("format".to_owned(), read(raw, &"output_config.format")?);
            }
        }
        let rest = fields.into_values()?;
        self.output.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
        Ok(())
    }

    /// Thoughts: a budget alone and an effort beside thoughts have words in the domain; whatever else is said of them stays here too, as it was said.
    fn reasoning(&mut self) -> Result<()> {
        let mut plain = true;
        let mut off = false;
        if let Some(raw) = self.thinking {
            let mut fields = Object::of(raw, &"thinking")?;
            let kind: Option<String> = fields.read("thinking", "type")?;
            off = kind.as_deref() == Some("disabled");
            let budget: Option<u32> = fields.read("thinking", "budget_tokens")?;
            plain = kind.as_deref() == Some("enabled") && budget.is_some() && fields.is_empty();
            if budget.is_some() {
                self.request.reasoning.get_or_insert_default().budget_tokens = budget;
            }
        }
        if let (false, Some(raw)) = (plain, self.thinking) {
            self.extra.insert("thinking".to_owned(), RawJson::from(raw));
        }
        if let Some(word) = self.effort.take() {
            // The domain's words end before `max`; and an effort alone asks for no thoughts in this dialect, while it does in the domain.
            if word == "max" || self.thinking.is_none() {
                self.output.insert("effort".to_owned(), word.clone().into());
            }
            let word = if word == "max" { "xhigh".to_owned() } else { word };
            self.request.reasoning.get_or_insert_default().effort = Some(word);
        } else if off {
            self.request.reasoning.get_or_insert_default().effort = Some("none".to_owned());
        }
        if !self.output.is_empty() {
            self.extra.insert("output_config".to_owned(), RawJson::of(&self.output)?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Request> {
        if self.request.messages.is_empty() {
            return Err(Error::invalid("messages: it is missing"));
        }
        self.reasoning()?;
        if let Some(system) = self.system.filter(|system| !system.content.is_empty()) {
            self.request.messages.insert(0, system);
        }
        if !self.extra.is_empty() {
            self.request.extra.insert(OURS, self.extra);
        }
        Ok(self.request)
    }
}

fn tools(raw: &RawValue) -> Result<Vec<Tool>> {
    let list: Vec<&RawValue> = read(raw, &"tools")?;
    list.into_iter().enumerate().map(|(at, raw)| tool(raw, &format!("tools[{at}]"))).collect()
}

fn tool(raw: &RawValue, path: &str) -> Result<Tool> {
    let mut fields = Object::of(raw, &path)?;
    let kind: Option<String> = fields.read(path, "type")?;
    if kind.is_some_and(|kind| kind != "custom") {
        // A tool that runs at the provider, or whose arguments only the provider describes: all of it is its own.
        let extra = extra(Object::of(raw, &path)?);
        return Ok(Tool { name: String::new(), description: None, parameters: None, strict: None, extra });
    }
    let name: String = fields.read(path, "name")?.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::invalid(format!("{path}.name: it is missing")));
    }
    Ok(Tool {
        name,
        description: fields.read(path, "description")?,
        parameters: fields.take("input_schema").map(RawJson::from),
        strict: fields.read(path, "strict")?,
        extra: extra(fields),
    })
}

fn extra(fields: Object<'_>) -> Extra {
    let mut given = fields.into_extra();
    given.retain(|_, value| value.get() != "null");
    let mut extra = Extra::new();
    if !given.is_empty() {
        extra.insert(OURS, given);
    }
    extra
}

/// `None` for a format that the domain cannot say.
fn format(raw: &RawValue, path: &str) -> Result<Option<ResponseFormat>> {
    let mut fields = Object::of(raw, &path)?;
    let kind: Option<String> = fields.read(path, "type")?;
    if kind.as_deref() != Some("json_schema") {
        return Ok(None);
    }
    let Some(schema) = fields.take("schema") else {
        return Err(Error::invalid(format!("{path}.schema: it is missing")));
    };
    let name = fields.read(path, "name")?.unwrap_or_default();
    let format = JsonSchema { name, description: None, schema: RawJson::from(schema), strict: None };
    Ok(fields.is_empty().then_some(ResponseFormat::JsonSchema(format)))
}
