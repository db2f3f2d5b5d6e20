//! Tools on their way to a model and back: their form for the template, and the grammar that makes the model call one.
//!
//! How calls are found in the answer is [`crate::tools`]'s business; what becomes of them, `provider/stream.rs`'s.

use llm_router::error::{Error, ErrorKind, Result};
use llm_router::request::{Request, Tool, ToolChoice};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::job::{refused_schema, unsupported};
use crate::grammar;
use crate::tools::Form;

/// The letters and digits of a call's id.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Letters in a call's id: Mistral's templates refuse any other number.
const ID_LENGTH: usize = 9;

/// What a request says about tools.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// The tools that may be called, in the form of `openai_chat`.
    pub(super) tools: Vec<Value>,
    /// Those of them that one must be of, where one must be called.
    forced: Vec<Value>,
}

impl Offer {
    /// Reads the tools and the choice among them.
    ///
    /// # Errors
    /// `caller_unsupported` for a tool that runs at a provider, `caller_invalid_request` for a choice that is not among them.
    pub(super) fn of(request: &Request) -> Result<Self> {
        if request.tools.is_empty() || request.tool_choice == Some(ToolChoice::None) {
            return match &request.tool_choice {
                Some(ToolChoice::Required | ToolChoice::Tool(_)) => {
                    Err(Error::invalid("tool_choice: a call is asked for, and there are no tools"))
                }
                _ => Ok(Self::default()),
            };
        }
        let tools = request.tools.iter().map(told).collect::<Result<Vec<_>>>()?;
        let forced = match &request.tool_choice {
            None | Some(ToolChoice::Auto | ToolChoice::None) => Vec::new(),
            Some(ToolChoice::Required) => tools.clone(),
            Some(ToolChoice::Tool(wanted)) => {
                let named = tools.iter().find(|tool| name(tool) == Some(wanted));
                vec![named.cloned().ok_or_else(|| Error::invalid(format!("tool_choice: no tool is called {wanted}")))?]
            }
            Some(_) => return Err(unsupported("this tool_choice")),
        };
        Ok(Self { tools, forced })
    }

    /// Whether a tool must be called.
    pub(super) fn forces(&self) -> bool {
        !self.forced.is_empty()
    }

    /// The grammar of an answer that is one call in `form`, where one must be made.
    ///
    /// # Errors
    /// `caller_unsupported` for a schema that no grammar can keep.
    pub(super) fn grammar(&self, form: Form) -> Result<Option<String>> {
        if self.forced.is_empty() {
            return Ok(None);
        }
        let (before, arguments, after) = match form {
            Form::Hermes => ("<tool_call>\\n", "arguments", "\\n</tool_call>"),
            Form::Mistral => ("[TOOL_CALLS][", "arguments", "]"),
            Form::Llama => ("", "parameters", ""),
            Form::None => return Err(unsupported("a tool_choice: its way of calling tools is not known")),
        };
        let calls: Vec<_> = self.forced.iter().enumerate().map(|(at, tool)| call_schema(tool, arguments, at)).collect();
        let rules =
            grammar::from_schema(&json!({ "anyOf": calls })).map_err(|error| refused_schema("tools", &error))?;
        // The translator names its rules itself, and never with a leading capital.
        let rules: String = rules
            .lines()
            .map(|line| match line.strip_prefix("root ") {
                Some(rest) => format!("Call {rest}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        Ok(Some(format!("{rules}root ::= \"{before}\" Call \"{after}\"\n")))
    }
}

/// A tool as templates expect it.
fn told(tool: &Tool) -> Result<Value> {
    if tool.name.is_empty() {
        return Err(unsupported("tools that run at a provider"));
    }
    let mut function = Map::new();
    function.insert("name".into(), json!(tool.name));
    function.insert("description".into(), json!(tool.description.as_deref().unwrap_or_default()));
    // Templates read `parameters.properties` without asking.
    let parameters =
        tool.parameters.as_ref().map_or_else(|| json!({ "type": "object", "properties": {} }), |raw| raw.value());
    function.insert("parameters".into(), parameters);
    Ok(json!({ "type": "function", "function": function }))
}

fn name(tool: &Value) -> Option<&str> {
    tool.get("function")?.get("name")?.as_str()
}

/// The schema of a call of one tool, which is the alternative number `at` of a whole schema.
fn call_schema(tool: &Value, arguments: &str, at: usize) -> Value {
    let mut parameters =
        tool.get("function").and_then(|function| function.get("parameters")).cloned().unwrap_or_default();
    relocate(&mut parameters, &format!("#/anyOf/{at}/properties/{arguments}"));
    // No arguments means none, not any.
    let none = parameters.get("properties").and_then(Value::as_object).is_some_and(Map::is_empty);
    if let Some(fields) = parameters.as_object_mut().filter(|_| none) {
        fields.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    let mut properties = Map::new();
    properties.insert("name".into(), json!({ "const": name(tool) }));
    properties.insert(arguments.into(), parameters);
    json!({ "type": "object", "properties": properties, "required": ["name", arguments] })
}

/// Lets the references of a schema point to the same places after it became a part of another one. Values that only look like a
/// reference (in a `const`, say) are a schema's data and stay.
fn relocate(schema: &mut Value, to: &str) {
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    match value {
                        Value::String(target) if key == "$ref" && target.starts_with('#') => {
                            target.replace_range(..1, to)
                        }
                        _ if matches!(key.as_str(), "const" | "enum" | "default" | "examples") => {}
                        _ => open.push(value),
                    }
                }
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

/// The id of a call to which the model gave none: the same answer's same call has the same one.
pub(super) fn id(answer: &str, at: u32) -> String {
    let digest = Sha256::new().chain_update(answer).chain_update(at.to_le_bytes()).finalize();
    let digit = |byte: &u8| DIGITS.get(usize::from(*byte) % DIGITS.len()).copied().map_or('0', char::from);
    digest.iter().take(ID_LENGTH).map(digit).collect()
}

/// The error of a model whose template has no place for tools, or that calls them in a way nobody here can read.
pub(super) fn unknown_form() -> Error {
    Error::new(
        ErrorKind::CallerUnsupported,
        "the embedded model does not take tools: it was not trained to call them, or in a form that is not known here",
    )
    .with_hint("choose a model that calls tools as Qwen, Hermes, Mistral or Llama 3 do, or name another provider")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(choice: &str) -> Request {
        let mut request = Request::new("x");
        request.tools = serde_json::from_value(json!([
            { "name": "time" },
            { "name": "weather", "description": "Says it.", "parameters": {
                "type": "object", "properties": { "where": { "$ref": "#/$defs/place" } }, "required": ["where"],
                "$defs": { "place": { "type": "string", "enum": ["Bonn", "Köln"] } },
            } },
        ]))
        .unwrap();
        request.tool_choice = serde_json::from_str(choice).unwrap();
        request
    }

    #[test]
    fn tools_are_told_as_templates_expect_them() {
        let offer = Offer::of(&request("null")).unwrap();
        assert_eq!(
            offer.tools[0],
            json!({ "type": "function", "function": { "name": "time", "description": "", "parameters": { "type": "object", "properties": {} } } })
        );
        assert!(!offer.forces() && offer.grammar(Form::Hermes).unwrap().is_none());
        assert!(Offer::of(&request("\"none\"")).unwrap().tools.is_empty());
    }

    #[test]
    fn a_forced_call_has_a_grammar_in_each_form() {
        for form in [Form::Hermes, Form::Mistral, Form::Llama] {
            let all = Offer::of(&request("\"required\"")).unwrap().grammar(form).unwrap().unwrap();
            let one = Offer::of(&request("{\"tool\":\"weather\"}")).unwrap().grammar(form).unwrap().unwrap();
            assert!(all.contains("time") && all.contains("weather") && all.contains("Köln"), "{all}");
            assert!(!one.contains("time") && one.contains("weather"), "{one}");
            assert_eq!(one.matches("root ::=").count(), 1, "{one}");
        }
        let error = Offer::of(&request("\"required\"")).unwrap().grammar(Form::None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerUnsupported);
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let error = Offer::of(&request("{\"tool\":\"other\"}")).unwrap_err();
        assert!(error.kind() == ErrorKind::CallerInvalidRequest && error.message().contains("other"), "{error}");
        let mut none = Request::new("x");
        none.tool_choice = Some(ToolChoice::Required);
        assert_eq!(Offer::of(&none).unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
        let mut elsewhere = request("null");
        elsewhere.tools[0].name.clear();
        assert_eq!(Offer::of(&elsewhere).unwrap_err().kind(), ErrorKind::CallerUnsupported);
    }

    #[test]
    fn ids_are_short_steady_and_different() {
        assert_eq!(id("a", 0), id("a", 0));
        assert!(id("a", 0) != id("a", 1) && id("a", 0) != id("b", 0));
        assert!(id("a", 0).len() == 9 && id("a", 0).chars().all(|letter| letter.is_ascii_alphanumeric()));
    }
}
