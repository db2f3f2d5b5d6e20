//! Tools and which of them must be called, from the wire. The way back is in `body.rs`.

use serde_json::{Map, Value, value::RawValue};

use crate::dialect::Dialect;
use crate::dialect::gemini::{contents, schema};
use crate::dialect::json::{Object, read};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::{Extra, RawJson, Tool, ToolChoice};

/// Reads `tools`: functions one by one, and each tool that runs at Google as a whole.
pub(super) fn decode(raw: &RawValue) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for (at, raw) in contents::list(raw, &"tools")?.into_iter().enumerate() {
        let path = format!("tools[{at}]");
        let mut fields = Object::of(raw, &path)?.camel()?;
        if let Some(raw) = fields.take("functionDeclarations") {
            let path = format!("{path}.functionDeclarations");
            for (at, raw) in contents::list(raw, &path)?.into_iter().enumerate() {
                tools.push(function(raw, &format!("{path}[{at}]"))?);
            }
        }
        let own = extra(fields);
        if !own.is_empty() {
            tools.push(Tool { name: String::new(), description: None, parameters: None, strict: None, extra: own });
        }
    }
    Ok(tools)
}

fn function(raw: &RawValue, path: &str) -> Result<Tool> {
    let mut fields = Object::of(raw, &path)?.camel()?;
    let name: String = fields.read(path, "name")?.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::invalid(format!("{path}.name: it is missing")));
    }
    let description = fields.read(path, "description")?;
    let parameters = match (fields.take("parametersJsonSchema"), fields.take("parameters")) {
        (Some(raw), _) => Some(RawJson::from(raw)),
        (None, Some(raw)) => {
            Some(RawJson::of(&schema::to_json_schema(&read(raw, &format_args!("{path}.parameters"))?))?)
        }
        (None, None) => None,
    };
    Ok(Tool { name, description, parameters, strict: None, extra: extra(fields) })
}

fn extra(fields: Object<'_>) -> Extra {
    let mut extra = Extra::new();
    let kept: indexmap::IndexMap<String, RawJson> =
        fields.into_extra().into_iter().filter(|(_, value)| value.get() != "null").collect();
    if !kept.is_empty() {
        extra.insert(Dialect::Gemini, kept);
    }
    extra
}

/// Reads `toolConfig`: the choice, and whether that says all of it.
pub(super) fn choice(raw: &RawValue) -> Result<(Option<ToolChoice>, bool)> {
    let mut fields = Object::of(raw, &"toolConfig")?.camel()?;
    let path = "toolConfig.functionCallingConfig";
    let Some(raw) = fields.take("functionCallingConfig") else { return Ok((None, fields.is_empty())) };
    let mut calling = Object::of(raw, &path)?.camel()?;
    let mode: Option<String> = calling.read(path, "mode")?;
    let names: Vec<String> = calling.read(path, "allowedFunctionNames")?.unwrap_or_default();
    let plain = fields.is_empty() && calling.is_empty();
    let mode = mode.as_deref().map(str::to_ascii_uppercase);
    Ok(match (mode.as_deref(), names.as_slice()) {
        (Some("AUTO"), []) => (Some(ToolChoice::Auto), plain),
        (Some("NONE"), _) => (Some(ToolChoice::None), plain),
        (Some("ANY"), []) => (Some(ToolChoice::Required), plain),
        (Some("ANY"), [name]) => (Some(ToolChoice::Tool(name.clone())), plain),
        // One of several must be called: other dialects can at least be told that some must.
        (Some("ANY"), _) => (Some(ToolChoice::Required), false),
        (Some("AUTO" | "VALIDATED"), _) => (Some(ToolChoice::Auto), false),
        (None | Some("MODE_UNSPECIFIED"), []) => (None, plain),
        (None | Some("MODE_UNSPECIFIED"), _) => (None, false),
        (Some(other), _) => {
            return Err(Error::invalid(format!("{path}.mode: {:?} is not a mode", shorten(other))));
        }
    })
}

/// A choice as `functionCallingConfig`.
pub(super) fn choice_json(choice: &ToolChoice) -> Value {
    let mode = match choice {
        ToolChoice::Auto => "AUTO",
        ToolChoice::None => "NONE",
        ToolChoice::Required | ToolChoice::Tool(_) => "ANY",
    };
    let mut config = Map::new();
    config.insert("mode".into(), mode.into());
    if let ToolChoice::Tool(name) = choice {
        config.insert("allowedFunctionNames".into(), vec![Value::from(name.as_str())].into());
    }
    config.into()
}
