//! The fields of a request that change its answer, under the names Python callers of the original give them.
//!
//! Only what the caller set is there. Left out is what does not change the answer: streaming, deadline, user, labels,
//! ids, riders and cache control. The object around these members is in `key.rs`.

use serde::Serialize;

use crate::cache::canonical::{CanonicalError, Object, Reason};
use crate::request::{Block, BlockBody, Message, Request, ResponseFormat, Role, Tool, ToolChoice};

/// Fields of `extra` that steer delivery, billing or the provider's own cache and leave the answer as it is.
const LEFT_OUT: &[&str] = &[
    "cache_control",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "timeout",
    "user",
];

/// The keyword arguments; `messages` says whether the conversation is among them.
pub(super) fn of(request: &Request, messages: bool) -> Result<Object<'_>, CanonicalError> {
    let mut kwargs = Object::default();
    sampling(&mut kwargs, request)?;
    reasoning(&mut kwargs, request);
    if messages {
        kwargs.source("messages", &conversation(&request.messages)?)?;
    }
    if request.prefill {
        kwargs.boolean("prefill", true);
    }
    if !request.tools.is_empty() {
        kwargs.source("tools", &tools(&request.tools)?)?;
    }
    if let Some(choice) = &request.tool_choice {
        tool_choice(&mut kwargs, choice);
    }
    if let Some(parallel) = request.parallel_tool_calls {
        kwargs.boolean("parallel_tool_calls", parallel);
    }
    if let Some(format) = &request.response_format {
        kwargs.object("response_format", response_format(format)?);
    }
    if !request.modalities.is_empty() {
        kwargs.source("modalities", &json(&request.modalities)?)?;
    }
    for (dialect, fields) in &request.extra {
        let mut kept = Object::default();
        for (name, value) in fields.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
            kept.source(name, value.get().as_bytes())?;
        }
        if !kept.is_empty() {
            kwargs.object(dialect.as_str(), kept);
        }
    }
    Ok(kwargs)
}

fn sampling(kwargs: &mut Object<'_>, request: &Request) -> Result<(), CanonicalError> {
    let sampling = &request.sampling;
    let floats = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("min_p", sampling.min_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("repetition_penalty", sampling.repetition_penalty),
    ];
    for (name, value) in floats {
        if let Some(value) = value {
            kwargs.float(name, value);
        }
    }
    let integers = [
        ("max_tokens", sampling.max_tokens.map(i64::from)),
        ("top_k", sampling.top_k.map(i64::from)),
        ("top_logprobs", sampling.top_logprobs.map(i64::from)),
        ("n", sampling.n.map(i64::from)),
        ("seed", sampling.seed),
    ];
    for (name, value) in integers {
        if let Some(value) = value {
            kwargs.integer(name, value);
        }
    }
    if let Some(logprobs) = sampling.logprobs {
        kwargs.boolean("logprobs", logprobs);
    }
    if !sampling.stop.is_empty() {
        kwargs.source("stop", &json(&sampling.stop)?)?;
    }
    if !sampling.logit_bias.is_empty() {
        let mut biases = Object::default();
        for (token, &bias) in &sampling.logit_bias {
            // Callers write whole numbers as such: the API's own examples do.
            if bias.fract() == 0.0 && bias.abs() < 1e15 {
                biases.integer(token, bias as i64);
            } else {
                biases.float(token, bias);
            }
        }
        kwargs.object("logit_bias", biases);
    }
    Ok(())
}

fn reasoning<'a>(kwargs: &mut Object<'a>, request: &'a Request) {
    let Some(reasoning) = &request.reasoning else { return };
    if let Some(effort) = &reasoning.effort {
        kwargs.string("reasoning_effort", effort);
    }
    let mut rest = Object::default();
    if let Some(tokens) = reasoning.budget_tokens {
        rest.integer("budget_tokens", tokens);
    }
    if let Some(summary) = &reasoning.summary {
        rest.string("summary", summary);
    }
    if !rest.is_empty() {
        kwargs.object("reasoning", rest);
    }
}

/// The messages in `native` form, without marks for the provider's prompt cache and without a client's billing header.
fn conversation(messages: &[Message]) -> Result<Vec<u8>, CanonicalError> {
    let mut told;
    let mut messages = messages;
    if messages.first().is_some_and(begins_with_bill) {
        told = messages.to_vec();
        if let Some(first) = told.first_mut() {
            first.content.remove(0);
        }
        told.retain(|message| !message.content.is_empty());
        messages = &told;
    }
    if !messages.iter().any(|message| message.content.iter().any(is_marked)) {
        return json(messages);
    }
    let mut messages = messages.to_vec();
    messages.iter_mut().flat_map(|message| &mut message.content).for_each(unmark);
    json(&messages)
}

/// How Claude Code begins its first system block: a header that tells the vendor its version and a hash of the conversation, and the model nothing.
const BILL: &str = "x-anthropic-billing-header:";

fn begins_with_bill(message: &Message) -> bool {
    message.role == Role::System
        && message.content.first().and_then(Block::as_text).is_some_and(|text| text.starts_with(BILL))
}

fn is_marked(block: &Block) -> bool {
    block.extra.values().any(|fields| fields.contains_key("cache_control"))
        || matches!(&block.body, BlockBody::ToolResult { content, .. } if content.iter().any(is_marked))
}

fn unmark(block: &mut Block) {
    for fields in block.extra.values_mut() {
        fields.remove("cache_control");
    }
    block.extra.retain(|_, fields| !fields.is_empty());
    if let BlockBody::ToolResult { content, .. } = &mut block.body {
        content.iter_mut().for_each(unmark);
    }
}

/// A list of tools as the OpenAI API writes it, which is what Python callers pass on.
fn tools(tools: &[Tool]) -> Result<Vec<u8>, CanonicalError> {
    let mut list = vec![b'['];
    for (index, tool) in tools.iter().enumerate() {
        if index > 0 {
            list.push(b',');
        }
        let mut function = Object::default();
        function.string("name", &tool.name);
        if let Some(description) = &tool.description {
            function.string("description", description);
        }
        if let Some(parameters) = &tool.parameters {
            function.source("parameters", parameters.get().as_bytes())?;
        }
        if let Some(strict) = tool.strict {
            function.boolean("strict", strict);
        }
        let mut member = Object::default();
        if !tool.name.is_empty() {
            member.string("type", "function");
            member.object("function", function);
        }
        for (dialect, fields) in &tool.extra {
            let mut kept = Object::default();
            for (name, value) in fields.iter().filter(|(name, _)| *name != "cache_control") {
                kept.source(name, value.get().as_bytes())?;
            }
            if !kept.is_empty() {
                member.object(dialect.as_str(), kept);
            }
        }
        list.append(&mut member.finish());
    }
    list.push(b']');
    Ok(list)
}

fn tool_choice(kwargs: &mut Object<'_>, choice: &ToolChoice) {
    match choice {
        ToolChoice::Auto => kwargs.string("tool_choice", "auto"),
        ToolChoice::None => kwargs.string("tool_choice", "none"),
        ToolChoice::Required => kwargs.string("tool_choice", "required"),
        ToolChoice::Tool(name) => {
            let mut function = Object::default();
            function.string("name", name);
            let mut object = Object::default();
            object.string("type", "function");
            object.object("function", function);
            kwargs.object("tool_choice", object);
        }
    }
}

fn response_format(format: &ResponseFormat) -> Result<Object<'_>, CanonicalError> {
    let mut object = Object::default();
    match format {
        ResponseFormat::Text => object.string("type", "text"),
        ResponseFormat::JsonObject => object.string("type", "json_object"),
        ResponseFormat::JsonSchema(schema) => {
            object.string("type", "json_schema");
            let mut named = Object::default();
            named.string("name", &schema.name);
            if let Some(description) = &schema.description {
                named.string("description", description);
            }
            named.source("schema", schema.schema.get().as_bytes())?;
            if let Some(strict) = schema.strict {
                named.boolean("strict", strict);
            }
            object.object("json_schema", named);
        }
    }
    Ok(object)
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, CanonicalError> {
    serde_json::to_vec(value)
        .map_err(|_| CanonicalError { at: 0, reason: Reason::Expected("a value with a JSON form") })
}
