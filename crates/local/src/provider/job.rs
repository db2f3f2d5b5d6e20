//! From a request to an engine's job: messages for the template, settings for the sampler.
//!
//! What a text model cannot be told is refused by name; what does not change the meaning is dropped by name. Next:
//! [`crate::engine::Job`].

use llm_router::dialect::{FieldPath, hosted};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::request::{Block, BlockBody, Message, RawJson, Request, ResponseFormat, Role, Sampling};
use serde_json::{Map, Value, json};

use super::calls::Offer;
use crate::engine::{Job, Prompt};
use crate::grammar::{self, GrammarError};

/// Tokens of an answer whose length nobody named.
const MAX_TOKENS: u32 = 256;

/// Temperature of an answer for which nobody named one.
const TEMPERATURE: f64 = 0.7;

/// A job without its prompt, and what the prompt is made of.
pub(super) struct Plan {
    /// For the template, in the form of `openai_chat`.
    pub(super) messages: Vec<Value>,
    /// The tools, for the template too.
    pub(super) offer: Offer,
    /// The beginning of the answer, which stands behind what the template writes.
    pub(super) prefill: Option<String>,
    /// All but the prompt.
    pub(super) job: Job,
    /// What could not be said.
    pub(super) dropped: Vec<FieldPath>,
}

/// Translates a request.
///
/// # Errors
/// `caller_unsupported` for what would change the answer's meaning if it were left out, `caller_invalid_request` for
/// what makes no sense.
pub(super) fn plan(request: &Request) -> Result<Plan> {
    if request.choices() > 1 {
        return Err(unsupported("n > 1"));
    }
    let (fitted, mut dropped) = hosted::left_out(request, None)?.unzip();
    let (request, dropped) = (fitted.as_ref().unwrap_or(request), dropped.get_or_insert_default());
    let offer = Offer::of(request)?;
    let mut messages = Vec::new();
    for said in &request.messages {
        message(said, &mut messages, dropped)?;
    }
    let prefill = if request.prefill { prefill(&mut messages) } else { None };
    if messages.is_empty() {
        return Err(Error::invalid("messages: there are none; send at least one"));
    }
    let mut job = Job::new(Prompt::Plain(String::new()));
    sampling(&request.sampling, &mut job)?;
    job.grammar = match &request.response_format {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonObject) => Some(grammar::any_object()),
        Some(ResponseFormat::JsonSchema(wanted)) => Some(schema(&wanted.schema)?),
        Some(_) => return Err(unsupported("this response format")),
    };
    if job.grammar.is_some() && prefill.is_some() {
        return Err(unsupported("the beginning of an answer together with a response_format"));
    }
    if job.grammar.is_some() && !offer.tools.is_empty() {
        return Err(unsupported("tools together with a response_format"));
    }
    if request.tools.iter().any(|tool| tool.strict == Some(true)) && !offer.forces() {
        dropped.push("tools.strict".into());
    }
    if request.parallel_tool_calls == Some(false) && !offer.forces() && !offer.tools.is_empty() {
        dropped.push("parallel_tool_calls".into());
    }
    if request.reasoning.is_some() {
        dropped.push("reasoning".into());
    }
    if request.modalities.iter().any(|kind| kind != "text") {
        dropped.push("modalities".into());
    }
    for (dialect, fields) in &request.extra {
        for (name, value) in fields {
            if !extension(name, &value.value(), &mut job)? {
                dropped.push(FieldPath(format!("extra.{dialect}.{name}")));
            }
        }
    }
    Ok(Plan { messages, offer, prefill, job, dropped: std::mem::take(dropped) })
}

/// Takes the beginning of the answer out of the conversation: its last message, where that is a text of the assistant's.
fn prefill(messages: &mut Vec<Value>) -> Option<String> {
    let last = messages.pop_if(|last| last["role"] == "assistant" && last.get("tool_calls").is_none())?;
    last["content"].as_str().map(str::to_owned)
}

fn schema(schema: &RawJson) -> Result<String> {
    grammar::from_schema(&schema.value()).map_err(|error| refused_schema("response_format", &error))
}

/// The error of a schema in `field` that no grammar can keep.
pub(super) fn refused_schema(field: &str, error: &GrammarError) -> Error {
    let kind = match error {
        GrammarError::Invalid { .. } => ErrorKind::CallerInvalidRequest,
        _ => ErrorKind::CallerUnsupported,
    };
    Error::new(kind, format!("{field}: {error}"))
}

pub(super) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::CallerUnsupported, format!("the embedded model does not take {what}"))
        .with_hint("name another provider, or leave it out")
}

/// Adds a turn to the messages: one message, or one for each result that it brings.
fn message(said: &Message, messages: &mut Vec<Value>, dropped: &mut Vec<FieldPath>) -> Result<()> {
    let role = match said.role {
        // Local models know no third authority.
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        _ => return Err(unsupported("this role")),
    };
    let mut calls = Vec::new();
    let mut rest = Vec::new();
    for block in &said.content {
        match &block.body {
            BlockBody::ToolCall { id, name, arguments } => calls.push(json!({
                "id": id, "type": "function", "function": { "name": name, "arguments": arguments },
            })),
            BlockBody::ToolResult { call_id, content, is_error } => {
                if *is_error {
                    dropped.push("messages.is_error".into());
                }
                let mut fields = Map::new();
                fields.insert("role".into(), json!("tool"));
                fields.insert("tool_call_id".into(), json!(call_id));
                // Some families name the tool instead of the call.
                if let Some(name) = called(messages, call_id) {
                    fields.insert("name".into(), name);
                }
                fields.insert("content".into(), json!(text(content)?));
                messages.push(fields.into());
            }
            _ => rest.push(block),
        }
    }
    if said.role == Role::Tool {
        return if rest.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid("messages: a tool's turn holds results only"))
        };
    }
    let results_only = rest.is_empty() && calls.is_empty() && !said.content.is_empty();
    if results_only {
        return Ok(());
    }
    let mut fields = Map::new();
    fields.insert("role".into(), json!(role));
    fields.insert("content".into(), json!(text(rest)?));
    if !calls.is_empty() {
        fields.insert("tool_calls".into(), calls.into());
    }
    messages.push(fields.into());
    Ok(())
}

/// The name of the tool that a call in earlier messages called.
fn called(messages: &[Value], call: &str) -> Option<Value> {
    let calls = messages.iter().rev().filter_map(|message| message.get("tool_calls")?.as_array()).flatten();
    let found = calls.into_iter().find(|made| made.get("id").and_then(Value::as_str) == Some(call))?;
    found.get("function")?.get("name").cloned()
}

/// The text of blocks that are text.
fn text<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Result<String> {
    let mut content = String::new();
    for block in blocks {
        match &block.body {
            BlockBody::Text { text, .. } | BlockBody::Refusal { text } => content.push_str(text),
            // A model that thinks starts its thoughts anew each turn.
            BlockBody::Reasoning { .. } => {}
            BlockBody::Image { .. } => return Err(unsupported("images")),
            BlockBody::Audio { .. } => return Err(unsupported("audio")),
            BlockBody::File { .. } => return Err(unsupported("files")),
            _ => return Err(unsupported("content other than text")),
        }
    }
    if content.contains('\0') {
        return Err(Error::invalid("messages: a text holds a NUL, which no model was trained on; leave it out"));
    }
    Ok(content)
}

fn sampling(from: &Sampling, job: &mut Job) -> Result<()> {
    let to = &mut job.sampling;
    to.temperature = single(from.temperature.unwrap_or(TEMPERATURE));
    to.top_p = from.top_p.map_or(to.top_p, single);
    to.top_k = from.top_k.map_or(to.top_k, size);
    to.min_p = from.min_p.map_or(to.min_p, single);
    to.repeat_penalty = from.repetition_penalty.map_or(to.repeat_penalty, single);
    to.frequency_penalty = from.frequency_penalty.map_or(0.0, single);
    to.presence_penalty = from.presence_penalty.map_or(0.0, single);
    to.seed = from.seed.map(i64::cast_unsigned);
    to.logit_bias = from
        .logit_bias
        .iter()
        .map(|(token, bias)| match token.parse() {
            Ok(token) => Ok((token, single(*bias))),
            Err(_) => Err(Error::invalid(format!("logit_bias: {token:?} is no token number"))),
        })
        .collect::<Result<_>>()?;
    if from.logprobs == Some(true) || from.top_logprobs.is_some() {
        to.logprobs = Some(size(from.top_logprobs.unwrap_or(0)));
    }
    job.max_tokens = Some(size(from.max_tokens.unwrap_or(MAX_TOKENS)));
    job.stop.clone_from(&from.stop);
    Ok(())
}

/// Settings that llama.cpp's own server takes beyond the OpenAI API's. Whether `name` is one.
fn extension(name: &str, value: &Value, job: &mut Job) -> Result<bool> {
    let wrong = |kind: &str| Error::invalid(format!("{name}: {value} is no {kind}"));
    match name {
        "grammar" => job.grammar = Some(value.as_str().ok_or_else(|| wrong("text"))?.to_owned()),
        "typical_p" => job.sampling.typical_p = single(value.as_f64().ok_or_else(|| wrong("number"))?),
        "repeat_last_n" => {
            let count = value.as_u64().ok_or_else(|| wrong("count"))?;
            job.sampling.repeat_window = usize::try_from(count).unwrap_or(usize::MAX);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Sampling needs no more than 24 bits of a setting.
#[allow(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}

fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use llm_router::dialect::Dialect;
    use llm_router::request::{Block, Source, Tool};

    use super::*;

    #[test]
    fn messages_keep_order_and_words() {
        let mut request = Request::new("two");
        request.messages.insert(0, Message::text(Role::Developer, "one"));
        request.messages.push(Message::assistant(vec![Block::text("th"), Block::text("ree")]));
        let expected = json!([
            { "role": "system", "content": "one" },
            { "role": "user", "content": "two" },
            { "role": "assistant", "content": "three" },
        ]);
        assert_eq!(Value::from(plan(&request).unwrap().messages), expected);
    }

    #[test]
    fn calls_and_results_keep_their_names() {
        let call = BlockBody::ToolCall { id: "c1".into(), name: "add".into(), arguments: "{\"a\":1}".into() };
        let result = |id: &str| BlockBody::ToolResult {
            call_id: id.into(),
            content: vec![Block::text("2")],
            is_error: id == "c2",
        };
        let mut request = Request::new("1+1?");
        request.messages.push(Message::assistant(vec![Block::text("Let me see."), call.into()]));
        let results = vec![result("c1").into(), result("c2").into()];
        request.messages.push(Message { role: Role::Tool, content: results, ..Message::user("") });
        let plan = plan(&request).unwrap();
        let expected = json!([
            { "role": "user", "content": "1+1?" },
            { "role": "assistant", "content": "Let me see.", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "add", "arguments": "{\"a\":1}" } },
            ] },
            { "role": "tool", "tool_call_id": "c1", "name": "add", "content": "2" },
            { "role": "tool", "tool_call_id": "c2", "content": "2" },
        ]);
        assert_eq!(Value::from(plan.messages), expected);
        assert_eq!(plan.dropped.iter().map(ToString::to_string).collect::<Vec<_>>(), ["messages.is_error"]);
    }

    #[test]
    fn settings_arrive_and_the_rest_has_defaults() {
        let job = plan(&Request::new("x")).unwrap().job;
        assert_eq!((job.sampling.temperature, job.max_tokens, job.sampling.logprobs), (0.7, Some(256), None));
        let mut request = Request::new("x");
        request.sampling.temperature = Some(0.0);
        request.sampling.max_tokens = Some(7);
        request.sampling.seed = Some(-1);
        request.sampling.stop = vec!["end".into()];
        request.sampling.logit_bias.insert("5".into(), -100.0);
        request.sampling.top_logprobs = Some(3);
        let job = plan(&request).unwrap().job;
        assert_eq!((job.sampling.temperature, job.max_tokens, job.sampling.seed), (0.0, Some(7), Some(u64::MAX)));
        assert_eq!((job.sampling.logit_bias, job.sampling.logprobs), (vec![(5, -100.0)], Some(3)));
        assert_eq!(job.stop, ["end"]);
    }

    #[test]
    fn what_a_text_model_cannot_be_told_is_refused() {
        let image = BlockBody::Image { source: Source::Url("https://example.org/a.png".into()), detail: None };
        let mut pictures = Request::new("look");
        pictures.messages.push(Message { content: vec![image.into()], ..Message::user("") });
        let mut several = Request::new("x");
        several.sampling.n = Some(2);
        let mut both = Request::new("x");
        both.tools.push(serde_json::from_value::<Tool>(json!({ "name": "f" })).unwrap());
        both.response_format = Some(ResponseFormat::JsonObject);
        for (request, what) in [(pictures, "images"), (several, "n > 1"), (both, "response_format")] {
            let error = plan(&request).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CallerUnsupported);
            assert!(error.message().contains(what), "{error}");
        }
    }

    #[test]
    fn unknown_extras_are_dropped_by_name_and_known_ones_obeyed() {
        let mut request = Request::new("x");
        let fields = request.extra.entry(Dialect::OpenaiChat).or_default();
        fields.insert("grammar".into(), RawJson::parse("\"root ::= \\\"a\\\"\"").unwrap());
        fields.insert("service_tier".into(), RawJson::parse("\"auto\"").unwrap());
        let plan = plan(&request).unwrap();
        assert_eq!(plan.job.grammar.as_deref(), Some("root ::= \"a\""));
        assert_eq!(
            plan.dropped.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["extra.openai_chat.service_tier"]
        );
    }

    #[test]
    fn senseless_input_is_named() {
        let mut request = Request::new("x");
        request.sampling.logit_bias.insert("five".into(), 1.0);
        assert!(plan(&request).map(|_| ()).unwrap_err().message().contains("five"));
        assert!(plan(&Request::new("a\0b")).map(|_| ()).unwrap_err().message().contains("NUL"));
        assert!(plan(&Request::default()).is_err());
    }

    #[test]
    fn a_tool_that_runs_at_a_provider_is_left_out_by_name() {
        use llm_router::dialect::{Dialect, RequestHead, codec};
        let asked = |choice: &str| {
            let body = format!(r#"{{"input":"x","tools":[{{"type":"web_search"}}],"tool_choice":"{choice}"}}"#);
            codec(Dialect::OpenaiResponses).decode_request(&RequestHead::post("/"), body.as_bytes()).unwrap()
        };
        let plan = plan(&asked("auto")).unwrap();
        assert!(plan.offer.tools.is_empty() && plan.dropped.contains(&"tools.web_search".into()), "{:?}", plan.dropped);
        assert!(super::plan(&asked("required")).map(|_| ()).unwrap_err().message().contains("web_search"));
    }
}
