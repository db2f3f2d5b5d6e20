//! A [`Request`] of any origin as a body of this dialect. The conversation in it is written by `history.rs`; the way back is `request.rs`.
//!
//! A request that came in this very dialect is not written anew but changed in place, see `patch.rs`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::Value;

use crate::dialect::json::Writer;
use crate::dialect::openai_chat::{MaxTokens, Quirks, ReasoningField, history};
use crate::dialect::{Dialect, FieldPath, Framing};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::{RawJson, Request, ResponseFormat, Tool, ToolChoice};

const OURS: Dialect = Dialect::OpenaiChat;

/// Refuses what the server does not take and the answer would be another without.
pub(super) fn refuse(request: &Request, quirks: &Quirks) -> Result<()> {
    for &name in quirks.unsupported {
        let needed = match name {
            "tools" => !request.tools.is_empty(),
            "n" => request.choices() > 1,
            "stop" => !request.sampling.stop.is_empty(),
            "response_format" => matches!(request.response_format, Some(ResponseFormat::JsonSchema(_))),
            "tool_choice" => matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_))),
            _ => false,
        };
        if needed {
            return Err(Error::unsupported(format!("{name}: this server does not take it")));
        }
    }
    Ok(())
}

pub(super) fn headers(framing: Framing) -> HeaderMap {
    let accept = match framing {
        Framing::Whole => "application/json",
        Framing::Stream => "text/event-stream",
    };
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::ACCEPT, HeaderValue::from_static(accept)),
    ])
}

/// Writes a body from the domain, and names in `dropped` what it cannot say.
pub(super) fn encode(call: &Call, quirks: &Quirks, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let request = &*call.request;
    let mut body = Body { to: Writer::with_capacity(1024), quirks, dropped, written: Vec::with_capacity(16) };
    body.to.open(b'{');
    body.some("model", call.model().or(request.model.as_deref()));
    body.to.key("messages");
    history::encode(&request.messages, quirks, &mut body.to, body.dropped)?;
    body.written.push("messages");
    body.settings(request)?;
    if request.stream {
        body.some("stream", Some(&true));
    }
    body.extra(request);
    body.to.close(b'}');
    Ok(Bytes::from(body.to.finish()))
}

struct Body<'a> {
    to: Writer,
    quirks: &'a Quirks,
    dropped: &'a mut Vec<FieldPath>,
    written: Vec<&'a str>,
}

impl<'a> Body<'a> {
    /// Writes a field, unless the server refuses it.
    fn some<T: Serialize + ?Sized>(&mut self, name: &'a str, value: Option<&T>) {
        let Some(value) = value else { return };
        if self.quirks.unsupported.contains(&name) {
            self.dropped.push(name.into());
        } else {
            self.to.field(name, value);
            self.written.push(name);
        }
    }

    fn settings(&mut self, request: &'a Request) -> Result<()> {
        let sampling = &request.sampling;
        let limit = match self.quirks.max_tokens {
            MaxTokens::AsGiven | MaxTokens::Old => "max_tokens",
            MaxTokens::New => "max_completion_tokens",
        };
        self.some(limit, sampling.max_tokens.as_ref());
        self.some("temperature", sampling.temperature.as_ref());
        self.some("top_p", sampling.top_p.as_ref());
        self.some("top_k", sampling.top_k.as_ref());
        self.some("min_p", sampling.min_p.as_ref());
        self.some("frequency_penalty", sampling.frequency_penalty.as_ref());
        self.some("presence_penalty", sampling.presence_penalty.as_ref());
        self.some("repetition_penalty", sampling.repetition_penalty.as_ref());
        self.some("seed", sampling.seed.as_ref());
        self.some("stop", Some(&sampling.stop).filter(|stop| !stop.is_empty()));
        self.some("logit_bias", Some(&sampling.logit_bias).filter(|bias| !bias.is_empty()));
        self.some("logprobs", sampling.logprobs.as_ref());
        self.some("top_logprobs", sampling.top_logprobs.as_ref());
        self.some("n", sampling.n.as_ref());
        if !request.tools.is_empty() {
            self.to.key("tools");
            self.to.open(b'[');
            request.tools.iter().try_for_each(|tool| self.tool(tool))?;
            self.to.close(b']');
            self.written.push("tools");
        }
        self.some("tool_choice", request.tool_choice.as_ref().map(|choice| choice_json(choice, self.quirks)).as_ref());
        self.some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
        self.format(request.response_format.as_ref());
        self.reasoning(request);
        self.some("modalities", Some(&request.modalities).filter(|list| !list.is_empty()));
        self.some("user", request.user.as_ref());
        self.some("metadata", request.metadata.as_ref());
        if request.prefill && self.quirks.told_to_continue {
            self.some("continue_final_message", Some(&true));
            self.some("add_generation_prompt", Some(&false));
        }
        Ok(())
    }

    fn tool(&mut self, tool: &Tool) -> Result<()> {
        let ours = tool.extra.get(&OURS);
        if tool.name.is_empty() {
            let Some(whole) = ours else {
                return Err(Error::unsupported(
                    "tools: a tool that runs at another provider cannot be given to this one",
                ));
            };
            self.to.value(whole);
            return Ok(());
        }
        self.to.open(b'{');
        self.to.field("type", "function");
        self.to.key("function");
        self.to.open(b'{');
        self.to.field("name", &tool.name);
        self.to.some("description", tool.description.as_ref());
        self.to.some("parameters", tool.parameters.as_ref());
        self.to.some("strict", tool.strict.as_ref());
        let of_function = ours.and_then(|extra| extra.get("function")).map(RawJson::value);
        for (name, value) in of_function.as_ref().and_then(Value::as_object).into_iter().flatten() {
            self.to.field(name, value);
        }
        self.to.close(b'}');
        for (name, value) in ours.into_iter().flatten().filter(|(name, _)| *name != "function") {
            self.to.field(name, value);
        }
        self.to.close(b'}');
        for (dialect, extra) in tool.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            let name = |field: &String| FieldPath(format!("tools.{}.{dialect}.{field}", tool.name));
            self.dropped.extend(extra.keys().map(name));
        }
        Ok(())
    }

    fn format(&mut self, format: Option<&'a ResponseFormat>) {
        let Some(format) = format else { return };
        if self.quirks.unsupported.contains(&"response_format") {
            return self.dropped.push("response_format".into());
        }
        self.written.push("response_format");
        self.to.key("response_format");
        self.to.open(b'{');
        match format {
            ResponseFormat::Text => self.to.field("type", "text"),
            ResponseFormat::JsonObject => self.to.field("type", "json_object"),
            ResponseFormat::JsonSchema(schema) => {
                self.to.field("type", "json_schema");
                self.to.key("json_schema");
                self.to.open(b'{');
                // The dialect wants a name; other dialects have none.
                self.to.field("name", if schema.name.is_empty() { "answer" } else { &schema.name });
                self.to.some("description", schema.description.as_ref());
                self.to.field("schema", &schema.schema);
                self.to.some("strict", schema.strict.as_ref());
                self.to.close(b'}');
            }
        }
        self.to.close(b'}');
    }

    fn reasoning(&mut self, request: &'a Request) {
        let rest = request.extra.get(&OURS).and_then(|extra| extra.get("reasoning"));
        let Some(reasoning) = &request.reasoning else { return };
        self.written.push("reasoning");
        let object = match self.quirks.reasoning {
            ReasoningField::Unsupported => return self.dropped.push("reasoning".into()),
            ReasoningField::Effort => false,
            ReasoningField::Object => true,
            ReasoningField::AsGiven => {
                reasoning.budget_tokens.is_some() || reasoning.summary.is_some() || rest.is_some()
            }
        };
        if !object {
            self.some("reasoning_effort", reasoning.effort.as_ref());
            let unsaid = [
                ("reasoning.budget_tokens", reasoning.budget_tokens.is_some()),
                ("reasoning.summary", reasoning.summary.is_some()),
                ("openai_chat.reasoning", rest.is_some()),
            ];
            self.dropped.extend(unsaid.iter().filter(|(_, said)| *said).map(|(name, _)| FieldPath::from(*name)));
            return;
        }
        let mut fields = serde_json::Map::new();
        fields.extend(reasoning.effort.clone().map(|word| ("effort".to_owned(), word.into())));
        fields.extend(reasoning.budget_tokens.map(|tokens| ("max_tokens".to_owned(), tokens.into())));
        fields.extend(reasoning.summary.clone().map(|word| ("summary".to_owned(), word.into())));
        if let Some(Value::Object(rest)) = rest.map(RawJson::value) {
            fields.extend(rest);
        }
        self.some("reasoning", Some(&fields));
    }

    fn extra(&mut self, request: &'a Request) {
        let counts = request.stream && !self.quirks.no_stream_options;
        for (dialect, fields) in &request.extra {
            for (name, value) in fields {
                match (*dialect, name.as_str()) {
                    // Asked for by this codec itself, below.
                    (OURS, "stream_options") if counts || !request.stream => {}
                    (OURS, name) if self.written.contains(&name) => {}
                    (OURS, name) => self.some(name, Some(value)),
                    _ => self.dropped.push(FieldPath(format!("{dialect}.{name}"))),
                }
            }
        }
        if counts {
            let given = request.extra.get(&OURS).and_then(|extra| extra.get("stream_options")).map(RawJson::value);
            let mut options = given.and_then(|value| value.as_object().cloned()).unwrap_or_default();
            options.insert("include_usage".into(), true.into());
            self.some("stream_options", Some(&options));
        }
    }
}

fn choice_json(choice: &ToolChoice, quirks: &Quirks) -> Value {
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Required if quirks.tool_choice_any => "any".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => serde_json::json!({"type": "function", "function": {"name": name}}),
        ToolChoice::Auto => "auto".into(),
    }
}
