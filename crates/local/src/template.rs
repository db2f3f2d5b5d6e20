//! Turns a conversation into the prompt text a model was trained on, by the model's own chat template: Jinja, as the `transformers`
//! library runs it. It knows no tokens; special tokens are text here.
//!
//! A template comes out of a model file, so it is hostile until proven otherwise, and what runs it is written for that: the tree's depth
//! is bounded (`template/parser.rs`), no value is lazy or holds itself (`value.rs`), and every node, item and byte is paid for out of one
//! budget before it costs time or memory (`meter.rs`). `run.rs` walks the tree; read it next.
//!
//! Messages and tools are JSON in the form `transformers` passes them, which is the form of `openai_chat` but for one thing: a tool
//! call's arguments are an object. [`Template::render`] takes either.

mod calendar;
mod filters;
mod format;
mod json;
mod lexer;
mod meter;
mod methods;
mod operators;
mod parser;
mod predicates;
mod run;
mod syntax;
mod text;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::meter::Stop;
use self::run::Settings;

/// The template of a model that brings none: ChatML, which most small models know and the others can follow.
pub const CHATML: &str = "{%- for message in messages -%}\
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' -}}\
{%- endfor -%}\
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

/// How much a template may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest template, in bytes.
    pub source: usize,
    /// Work for one rendering: about one unit an instruction and one per 64 bytes made, so that it bounds time and memory alike.
    pub steps: u64,
    /// The longest prompt, in bytes.
    pub output: usize,
}

impl Default for Limits {
    /// 256 KiB of template, a million steps (64 MiB, some tenths of a second), 16 MiB of prompt.
    fn default() -> Self {
        Self { source: 256 << 10, steps: 1_000_000, output: 16 << 20 }
    }
}

/// What a template is given.
#[derive(Debug, Clone, Default)]
pub struct Input<'a> {
    /// The conversation: objects with `role`, `content`, `tool_calls`, `tool_call_id`, `name`.
    pub messages: &'a [Value],
    /// The tools: objects `{"type": "function", "function": {"name", "description", "parameters"}}`.
    pub tools: &'a [Value],
    /// End with what opens the model's turn.
    pub add_generation_prompt: bool,
    /// The text of the token a prompt begins with; empty where the model has none, or where the tokenizer adds it itself.
    pub bos_token: &'a str,
    /// The text of the token an answer ends with.
    pub eos_token: &'a str,
    /// Now, in seconds since 1970, UTC: for templates that write the date.
    pub now: i64,
    /// More variables, as `enable_thinking` (`chat_template_kwargs`).
    pub extra: Option<&'a Map<String, Value>>,
}

/// Why there is no prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// The text is no template. The model file is at fault.
    Invalid(String),
    /// The template itself refused the conversation (`raise_exception`); its words. The caller is at fault.
    Refused(String),
    /// The conversation has tools, calls or results, and the template passes over them.
    ToolsIgnored,
    /// The template failed on this conversation: a type it did not expect.
    Failed(String),
    /// It used up its steps or wrote too much.
    Exhausted(&'static str),
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TemplateError::Invalid(why) => {
                write!(
                    out,
                    "the model's chat template cannot be read: {why}; give another with the option chat_template, or choose another model"
                )
            }
            TemplateError::Refused(why) => write!(out, "the model's chat template refuses these messages: {why}"),
            TemplateError::ToolsIgnored => {
                write!(out, "the model's chat template has no place for tools; choose a model trained for them")
            }
            TemplateError::Failed(why) => write!(
                out,
                "the model's chat template failed on these messages: {why}; try plain text messages, or another model"
            ),
            TemplateError::Exhausted(what) => write!(
                out,
                "the model's chat template used up its {what}; shorten the messages, or choose another model"
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

/// A chat template, parsed. Cheap to render, costs about a millisecond to make.
#[derive(Debug)]
pub struct Template {
    body: Vec<syntax::Node>,
    limits: Limits,
}

/// Renders once: the model's template, or [`CHATML`].
///
/// # Errors
/// As [`Template::new`] and [`Template::render`].
pub fn render(source: Option<&str>, input: &Input<'_>) -> Result<String, TemplateError> {
    Template::new(source.unwrap_or(CHATML), Limits::default())?.render(input)
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError::Invalid`] with the line, [`TemplateError::Exhausted`] if it is too long.
    pub fn new(source: &str, limits: Limits) -> Result<Self, TemplateError> {
        if source.len() > limits.source {
            return Err(TemplateError::Exhausted("length"));
        }
        let body = parser::parse(source)
            .map_err(|error| TemplateError::Invalid(format!("{} (line {})", error.what, error.line)))?;
        Ok(Self { body, limits })
    }

    /// The prompt for a conversation. Where the template cannot take the conversation as it is, it is said in other words before giving
    /// up: calls' arguments as JSON text instead of an object, the system message as the beginning of the first user message.
    ///
    /// # Errors
    /// The first failure if no wording works; [`TemplateError::ToolsIgnored`] if the prompt would lack the tools or the calls.
    pub fn render(&self, input: &Input<'_>) -> Result<String, TemplateError> {
        let objects: Vec<Value> = input.messages.iter().map(with_object_arguments).collect();
        let first = self.complete(&Input { messages: &objects, ..input.clone() });
        let Err(error @ (TemplateError::Refused(_) | TemplateError::Failed(_) | TemplateError::ToolsIgnored)) = first
        else {
            return first;
        };
        let texts: Vec<Value> = objects.iter().map(with_text_arguments).collect();
        let wordings = [(texts != objects).then_some(texts), folded_system(&objects)];
        for messages in wordings.into_iter().flatten() {
            if let Ok(prompt) = self.complete(&Input { messages: &messages, ..input.clone() }) {
                return Ok(prompt);
            }
        }
        Err(error)
    }

    /// Renders, and checks that what matters is in the prompt.
    fn complete(&self, input: &Input<'_>) -> Result<String, TemplateError> {
        let prompt = self.apply(input)?;
        let names = |list: &[Value]| -> Vec<String> {
            list.iter().filter_map(|tool| Some(tool.get("function")?.get("name")?.as_str()?.to_owned())).collect()
        };
        let calls = input
            .messages
            .iter()
            .filter_map(|message| message.get("tool_calls")?.as_array())
            .flat_map(|calls| names(calls));
        if names(input.tools).into_iter().chain(calls).all(|name| prompt.contains(&name)) {
            Ok(prompt)
        } else {
            Err(TemplateError::ToolsIgnored)
        }
    }

    /// Runs the template on exactly this input, as `transformers` would.
    ///
    /// # Errors
    /// What the template raises, and the limits.
    pub fn apply(&self, input: &Input<'_>) -> Result<String, TemplateError> {
        let mut variables: HashMap<Arc<str>, value::Value> = HashMap::new();
        let mut set = |name: &str, value: &Value| -> Result<(), Stop> {
            variables.insert(Arc::from(name), value::Value::from_json(value)?);
            Ok(())
        };
        let mut given = || {
            for (name, value) in input.extra.into_iter().flatten() {
                set(name, value)?;
            }
            set("messages", &input.messages.iter().map(as_passed).collect())?;
            // transformers passes none where there are no tools, and templates ask for exactly that.
            set("tools", &if input.tools.is_empty() { Value::Null } else { Value::from(input.tools.to_vec()) })?;
            set("documents", &Value::Null)?;
            set("add_generation_prompt", &json!(input.add_generation_prompt))?;
            set("bos_token", &json!(input.bos_token))?;
            set("eos_token", &json!(input.eos_token))
        };
        let Limits { steps, output, .. } = self.limits;
        let settings = Settings { steps, output, now: input.now };
        let ended = given().and_then(|()| on_own_stack(|| run::run(&self.body, variables, settings)));
        ended.map_err(|stop| match stop {
            Stop::Exhausted(what) => TemplateError::Exhausted(what),
            Stop::Raised(words) => TemplateError::Refused(words),
            Stop::Failed(what, None) => TemplateError::Failed(what),
            Stop::Failed(what, Some(line)) => TemplateError::Failed(format!("{what} (line {line})")),
        })
    }
}

/// Runs on a thread whose stack is known, whatever the caller has left of its own, and waits for it.
fn on_own_stack(work: impl FnOnce() -> Result<String, Stop> + Send) -> Result<String, Stop> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat-template".to_owned()).stack_size(run::STACK);
        let ended = thread.spawn_scoped(scope, work).map(|thread| thread.join());
        match ended {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Stop::failed("it ended early")),
            Err(error) => Err(Stop::failed(format!("no thread to run it on: {error}"))),
        }
    })
}

/// A message as `transformers` passes it on: without the keys that hold nothing, and its reasoning under each name that templates read.
fn as_passed(message: &Value) -> Value {
    let Some(fields) = message.as_object() else {
        return message.clone();
    };
    let mut passed: Map<String, Value> =
        fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(reasoning) =
        ["reasoning_content", "thinking", "reasoning"].into_iter().find_map(|key| passed.get(key)).cloned()
    {
        passed.entry("thinking").or_insert_with(|| reasoning.clone());
        passed.insert("reasoning_content".to_owned(), reasoning);
    }
    Value::Object(passed)
}

/// Changes each tool call's arguments.
fn with_arguments(message: &Value, change: impl Fn(&Value) -> Option<Value>) -> Value {
    let mut message = message.clone();
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        if let Some(arguments) = call.get_mut("function").and_then(|function| function.get_mut("arguments"))
            && let Some(changed) = change(arguments)
        {
            *arguments = changed;
        }
    }
    message
}

fn with_object_arguments(message: &Value) -> Value {
    with_arguments(message, |arguments| serde_json::from_str(arguments.as_str()?).ok().filter(Value::is_object))
}

fn with_text_arguments(message: &Value) -> Value {
    with_arguments(message, |arguments| arguments.is_object().then(|| Value::String(arguments.to_string())))
}

/// The system message said by the user: for models that were trained without a system role.
fn folded_system(messages: &[Value]) -> Option<Vec<Value>> {
    let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
    let (system, rest) = messages.split_first()?;
    if !matches!(role(system)?.as_str(), "system" | "developer") {
        return None;
    }
    let mut rest = rest.to_vec();
    let first = rest.iter_mut().find(|message| role(message).as_deref() == Some("user"))?;
    let text = format!("{}\n\n{}", system.get("content")?.as_str()?, first.get("content")?.as_str()?);
    first.as_object_mut()?.insert("content".to_owned(), Value::String(text));
    Some(rest)
}

#[cfg(test)]
mod tests;
