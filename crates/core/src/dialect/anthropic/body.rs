//! A [`Request`] of any origin as a body of this dialect. The conversation in it is written by `history.rs`; the way back is `request.rs`.
//!
//! A request that came in this very dialect is not written anew but changed in place, see `patch.rs`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::dialect::anthropic::history::{self, CACHE_MARK, Setting};
use crate::dialect::anthropic::models::{self, Choosing};
use crate::dialect::anthropic::{BETA_HEADER, VERSION, VERSION_HEADER, reasoning, schema};
use crate::dialect::json::Writer;
use crate::dialect::{Dialect, FieldPath, Framing};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::{Origin, RawJson, Request, ResponseFormat, Tool, ToolChoice};

const OURS: Dialect = Dialect::Anthropic;

/// The headers of a call. Version and betas are the caller's where it speaks this dialect.
pub(super) fn headers(origin: Option<&Origin>, framing: Framing) -> HeaderMap {
    let accept = match framing {
        Framing::Whole => "application/json",
        Framing::Stream => "text/event-stream",
    };
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::ACCEPT, HeaderValue::from_static(accept)),
        (HeaderName::from_static(VERSION_HEADER), HeaderValue::from_static(VERSION)),
    ]);
    let Some(origin) = origin.filter(|origin| origin.dialect == OURS) else { return headers };
    if let Some(version) = origin.head.headers.get(VERSION_HEADER) {
        headers.insert(VERSION_HEADER, version.clone());
    }
    for beta in origin.head.headers.get_all(BETA_HEADER) {
        headers.append(BETA_HEADER, beta.clone());
    }
    headers
}

/// The name of the model that a call asks for.
pub(super) fn model_of(call: &Call) -> Option<&str> {
    call.model().or(call.request.model.as_deref())
}

/// Writes a body from the domain, and names in `dropped` what it cannot say.
pub(super) fn encode(call: &Call, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let request = &*call.request;
    if request.choices() > 1 {
        return Err(Error::unsupported("n: this dialect gives one answer to a request"));
    }
    let model = models::find(model_of(call).unwrap_or_default());
    let foreign = request.origin.as_ref().is_some_and(|origin| origin.dialect != OURS);
    let setting = Setting { model, foreign };
    let mut body = Body { to: Writer::with_capacity(1024), dropped, setting, written: Vec::with_capacity(16) };
    body.to.open(b'{');
    body.some("model", model_of(call));
    let limit = request.sampling.max_tokens.map(|limit| limit.min(model.most_tokens));
    let thoughts = body.thoughts(request, limit);
    let least = thoughts.budget.map_or(0, |budget| budget.saturating_add(1));
    body.some("max_tokens", Some(&limit.unwrap_or(model.default_tokens.max(least))));
    history::encode(request, &mut body.to, setting, body.dropped)?;
    body.written.extend(["messages", "system"]);
    body.tools(request)?;
    body.tool_choice(request)?;
    body.output(request, &thoughts)?;
    body.sampling(request, &thoughts)?;
    body.metadata(request);
    body.some("stream", request.stream.then_some(&true));
    body.extra(request);
    body.to.close(b'}');
    Ok(Bytes::from(body.to.finish()))
}

struct Body<'a> {
    to: Writer,
    dropped: &'a mut Vec<FieldPath>,
    setting: Setting,
    written: Vec<&'a str>,
}

/// A field of this dialect that the request brought along.
fn own<'a>(request: &'a Request, name: &str) -> Option<&'a RawJson> {
    request.extra.get(&OURS)?.get(name)
}

impl<'a> Body<'a> {
    fn some<T: Serialize + ?Sized>(&mut self, name: &'a str, value: Option<&T>) {
        if let Some(value) = value {
            self.to.field(name, value);
            self.written.push(name);
        }
    }

    fn drop(&mut self, name: &str, said: bool) {
        if said {
            self.dropped.push(name.into());
        }
    }

    /// What is said of thoughts. Where the caller said it in this dialect's words, those are written and nothing is made of them.
    fn thoughts(&mut self, request: &Request, limit: Option<u32>) -> reasoning::Plan {
        let effort = own(request, "output_config").is_some_and(|output| output.value().get("effort").is_some());
        if let Some(thinking) = own(request, "thinking") {
            let word = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref());
            let effort = word.and_then(reasoning::own_word);
            return reasoning::Plan { thinking: Some(thinking.value()), effort, budget: None };
        }
        if effort && request.reasoning.as_ref().is_none_or(|reasoning| reasoning.budget_tokens.is_none()) {
            return reasoning::Plan::default();
        }
        reasoning::plan(request, self.setting, limit, self.dropped)
    }

    fn tools(&mut self, request: &'a Request) -> Result<()> {
        if request.tools.is_empty() {
            return Ok(());
        }
        self.to.key("tools");
        self.to.open(b'[');
        request.tools.iter().try_for_each(|tool| self.tool(tool))?;
        self.to.close(b']');
        self.written.push("tools");
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
        self.to.field("name", &tool.name);
        self.to.some("description", tool.description.as_ref());
        self.to.key("input_schema");
        match &tool.parameters {
            Some(schema) if schema.get().contains("\"type\"") => self.to.value(schema),
            // The vendor wants an object, and said so.
            schema => {
                let mut whole = json!({"type": "object"});
                let said = schema.as_ref().map(RawJson::value);
                if let (Some(fields), Some(Value::Object(said))) = (whole.as_object_mut(), said) {
                    fields.extend(said);
                }
                self.to.value(&whole);
            }
        }
        match tool.strict {
            Some(strict) if self.setting.model.schema => self.to.field("strict", &strict),
            strict => self.drop(&format!("tools.{}.strict", tool.name), strict == Some(true)),
        }
        for (name, value) in ours.into_iter().flatten() {
            self.to.field(name, value);
        }
        if ours.is_none_or(|fields| !fields.contains_key(CACHE_MARK)) {
            self.to.some(CACHE_MARK, tool.extra.values().find_map(|fields| fields.get(CACHE_MARK)));
        }
        self.to.close(b'}');
        for (dialect, extra) in tool.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            let name = |field: &String| FieldPath(format!("tools.{}.{dialect}.{field}", tool.name));
            self.dropped.extend(extra.keys().filter(|field| *field != CACHE_MARK).map(name));
        }
        Ok(())
    }

    fn tool_choice(&mut self, request: &Request) -> Result<()> {
        let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
        if forced && !self.setting.model.forced {
            return Err(Error::unsupported("tool_choice: this model cannot be made to call a tool"));
        }
        let alone = request.parallel_tool_calls.map(|parallel| !parallel);
        let mut choice = match &request.tool_choice {
            Some(ToolChoice::None) if request.tools.is_empty() => return Ok(()),
            Some(ToolChoice::Auto) | None if request.tools.is_empty() => return Ok(()),
            Some(ToolChoice::None) => json!({"type": "none"}),
            Some(ToolChoice::Required) => json!({"type": "any"}),
            Some(ToolChoice::Tool(name)) => json!({"type": "tool", "name": name}),
            Some(ToolChoice::Auto) => json!({"type": "auto"}),
            None if alone == Some(true) => json!({"type": "auto"}),
            None => return Ok(()),
        };
        if let (Some(alone), false) = (alone, choice["type"] == "none") {
            choice["disable_parallel_tool_use"] = alone.into();
        }
        self.some("tool_choice", Some(&choice));
        Ok(())
    }

    /// `thinking` and `output_config`.
    fn output(&mut self, request: &Request, thoughts: &reasoning::Plan) -> Result<()> {
        self.some("thinking", thoughts.thinking.as_ref());
        let mut output = Map::new();
        output.extend(thoughts.effort.map(|word| ("effort".to_owned(), word.into())));
        match &request.response_format {
            Some(ResponseFormat::JsonSchema(_)) if !self.setting.model.schema => {
                return Err(Error::unsupported("response_format: this model cannot be held to a JSON Schema"));
            }
            Some(ResponseFormat::JsonSchema(format)) => {
                let schema = schema::fit(format.schema.value(), "response_format.schema", self.dropped);
                output.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema}));
                self.drop("response_format.description", format.description.is_some());
            }
            Some(ResponseFormat::JsonObject) => self.drop("response_format", true),
            Some(ResponseFormat::Text) | None => {}
        }
        if let Some(Value::Object(rest)) = own(request, "output_config").map(RawJson::value) {
            output.extend(rest);
        }
        self.some("output_config", Some(&output).filter(|fields| !fields.is_empty()));
        Ok(())
    }

    fn sampling(&mut self, request: &'a Request, thoughts: &reasoning::Plan) -> Result<()> {
        let sampling = &request.sampling;
        // A budget fixes how tokens are chosen; so do the models of `Choosing::Fixed`.
        let fixed = self.setting.model.choosing == Choosing::Fixed;
        let free = !fixed && !thoughts.thinks();
        // The value that is the vendor's default is taken by all of them.
        match sampling.temperature {
            Some(value) if free || value == 1.0 => {
                self.some("temperature", Some(&value.min(1.0)));
                self.drop("temperature", value > 1.0);
            }
            given => self.drop("temperature", given.is_some()),
        }
        let either = self.setting.model.choosing == Choosing::Either && sampling.temperature.is_some();
        let wide = sampling.top_p.is_some_and(|value| value >= 0.95);
        match sampling.top_p {
            Some(_) if !fixed && !either && (free || wide) => self.some("top_p", sampling.top_p.as_ref()),
            given => self.drop("top_p", given.is_some_and(|value| value < 1.0)),
        }
        match sampling.top_k {
            Some(_) if free => self.some("top_k", sampling.top_k.as_ref()),
            given => self.drop("top_k", given.is_some()),
        }
        if let Some(stop) = sampling.stop.iter().find(|stop| stop.trim().is_empty()) {
            return Err(Error::unsupported(format!("stop: {stop:?} is only blank, which this dialect does not take")));
        }
        self.some("stop_sequences", Some(&sampling.stop).filter(|stop| !stop.is_empty()));
        let penal = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
        self.drop("min_p", penal(sampling.min_p));
        self.drop("frequency_penalty", penal(sampling.frequency_penalty));
        self.drop("presence_penalty", penal(sampling.presence_penalty));
        self.drop("repetition_penalty", sampling.repetition_penalty.is_some_and(|penalty| penalty != 1.0));
        self.drop("seed", sampling.seed.is_some());
        self.drop("logit_bias", !sampling.logit_bias.is_empty());
        self.drop("logprobs", sampling.logprobs == Some(true));
        self.drop("top_logprobs", sampling.top_logprobs.is_some_and(|count| count > 0));
        self.drop("modalities", request.modalities.iter().any(|kind| kind != "text"));
        Ok(())
    }

    fn metadata(&mut self, request: &Request) {
        let mut metadata = own(request, "metadata").map(RawJson::value).unwrap_or_else(|| json!({}));
        if let (Some(user), Some(fields)) = (&request.user, metadata.as_object_mut()) {
            fields.insert("user_id".to_owned(), user.clone().into());
        }
        self.some(
            "metadata",
            Some(&metadata).filter(|fields| fields.as_object().is_some_and(|fields| !fields.is_empty())),
        );
        self.drop("metadata", request.metadata.is_some());
    }

    fn extra(&mut self, request: &'a Request) {
        for (dialect, fields) in &request.extra {
            for (name, value) in fields {
                match *dialect {
                    OURS if self.written.contains(&name.as_str()) => {}
                    OURS => self.some(name, Some(value)),
                    // Counts are given in this dialect, asked for or not.
                    Dialect::OpenaiChat if name == "stream_options" => {}
                    _ => self.dropped.push(FieldPath(format!("{dialect}.{name}"))),
                }
            }
        }
    }
}
