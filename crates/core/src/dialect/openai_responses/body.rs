//! A [`Request`] of any origin as a body of this dialect. The conversation in it is written by `history.rs`; the way back is `request.rs`.
//!
//! A request that came in this very dialect is not written anew but changed in place, see `patch.rs`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::dialect::FieldPath;
use crate::dialect::json::Writer;
use crate::dialect::openai_responses::history;
use crate::dialect::openai_responses::request::{KEPT_ELSEWHERE, LOGPROBS};
use crate::dialect::openai_responses::types::{OURS, unseal};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::{Block, BlockBody, Message, RawJson, Request, ResponseFormat, Role, Tool, ToolChoice};

/// The entry of `include` that asks for sealed thoughts.
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// Refuses what the dialect cannot say and the answer would be another without.
pub(super) fn refuse(request: &Request) -> Result<()> {
    let refused = [
        ("n", request.choices() > 1, "this dialect gives one answer"),
        ("stop", !request.sampling.stop.is_empty(), "this dialect has no stop texts"),
    ];
    match refused.iter().find(|(_, needed, _)| *needed) {
        Some((name, _, why)) => Err(Error::unsupported(format!("{name}: {why}"))),
        None => Ok(()),
    }
}

/// Writes a body from the domain, and names in `dropped` what it cannot say.
pub(super) fn encode(call: &Call, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let request = &*call.request;
    let mut body = Body { to: Writer::with_capacity(1024), dropped, request, ours: request.extra.get(&OURS) };
    body.to.open(b'{');
    body.to.some("model", call.model().or(request.model.as_deref()));
    let (instructions, rest) = instructions(&request.messages);
    body.to.some("instructions", instructions);
    body.to.key("input");
    let said = history::encode(rest, request.messages.len() - rest.len(), &mut body.to, body.dropped)?;
    if !said && instructions.is_none() && !KEPT_ELSEWHERE.iter().any(|name| body.given(name).is_some()) {
        return Err(Error::unsupported("messages: nothing of them can be said in this dialect"));
    }
    body.tools()?;
    body.settings();
    if request.stream {
        body.to.field("stream", &true);
    }
    body.extra();
    body.to.close(b'}');
    Ok(Bytes::from(body.to.finish()))
}

/// The first system message, where it is a plain text, and the messages after it.
fn instructions(messages: &[Message]) -> (Option<&str>, &[Message]) {
    if let [Message { role: Role::System, content, name: None, extra }, rest @ ..] = messages
        && extra.is_empty()
        && let [Block { body: BlockBody::Text { text, .. }, extra }] = content.as_slice()
        && extra.is_empty()
    {
        return (Some(text), rest);
    }
    (None, messages)
}

struct Body<'a> {
    to: Writer,
    dropped: &'a mut Vec<FieldPath>,
    request: &'a Request,
    /// What the request holds of this dialect.
    ours: Option<&'a indexmap::IndexMap<String, RawJson>>,
}

impl<'a> Body<'a> {
    fn given(&self, name: &str) -> Option<&'a RawJson> {
        self.ours.and_then(|ours| ours.get(name))
    }

    /// The fields of an object that this dialect alone knows more of.
    fn given_object(&self, name: &str) -> Map<String, Value> {
        self.given(name).and_then(|raw| raw.value().as_object().cloned()).unwrap_or_default()
    }

    fn unsaid<T>(&mut self, name: &str, value: Option<T>) {
        self.dropped.extend(value.map(|_| FieldPath::from(name)));
    }

    fn settings(&mut self) {
        let request = self.request;
        let sampling = &request.sampling;
        self.to.some("max_output_tokens", sampling.max_tokens.as_ref());
        self.to.some("temperature", sampling.temperature.as_ref());
        self.to.some("top_p", sampling.top_p.as_ref());
        self.to.some("top_logprobs", sampling.top_logprobs.as_ref());
        self.form();
        self.reasoning();
        self.include();
        self.to.some("user", request.user.as_ref());
        self.to.some("metadata", request.metadata.as_ref());
        // The default is to keep the answer; nobody but a client of this dialect can have meant that.
        match self.given("store") {
            Some(store) => self.to.field("store", store),
            None => self.to.field("store", &false),
        }
        self.unsaid("top_k", sampling.top_k);
        self.unsaid("min_p", sampling.min_p);
        self.unsaid("frequency_penalty", sampling.frequency_penalty);
        self.unsaid("presence_penalty", sampling.presence_penalty);
        self.unsaid("repetition_penalty", sampling.repetition_penalty);
        self.unsaid("seed", sampling.seed);
        self.unsaid("logit_bias", Some(()).filter(|()| !sampling.logit_bias.is_empty()));
        self.unsaid("modalities", Some(()).filter(|()| request.modalities.iter().any(|kind| kind != "text")));
    }

    fn form(&mut self) {
        let mut text = Map::new();
        let format = self.request.response_format.as_ref().map(|format| match format {
            ResponseFormat::Text => json!({"type": "text"}),
            ResponseFormat::JsonObject => json!({"type": "json_object"}),
            ResponseFormat::JsonSchema(_) => Value::Null,
        });
        text.extend(format.map(|format| ("format".to_owned(), format)));
        text.extend(self.given_object("text"));
        if text.is_empty() {
            return;
        }
        self.to.key("text");
        self.to.open(b'{');
        for (name, value) in &text {
            match (&self.request.response_format, name.as_str()) {
                (Some(ResponseFormat::JsonSchema(schema)), "format") if value.is_null() => {
                    self.to.key("format");
                    self.to.open(b'{');
                    self.to.field("type", "json_schema");
                    // The dialect wants a name; other dialects have none.
                    self.to.field("name", if schema.name.is_empty() { "answer" } else { &schema.name });
                    self.to.some("description", schema.description.as_ref());
                    self.to.field("schema", &schema.schema);
                    self.to.some("strict", schema.strict.as_ref());
                    self.to.close(b'}');
                }
                _ => self.to.field(name, value),
            }
        }
        self.to.close(b'}');
    }

    fn reasoning(&mut self) {
        let Some(reasoning) = &self.request.reasoning else { return };
        let mut fields = Map::new();
        fields.extend(reasoning.effort.clone().map(|word| ("effort".to_owned(), word.into())));
        fields.extend(reasoning.summary.clone().map(|word| ("summary".to_owned(), word.into())));
        fields.extend(self.given_object("reasoning"));
        self.unsaid("reasoning.budget_tokens", reasoning.budget_tokens);
        if !fields.is_empty() || self.ours.is_some() {
            self.to.field("reasoning", &fields);
        }
    }

    /// Log probabilities and sealed thoughts come only where they are asked for.
    fn include(&mut self) {
        let request = self.request;
        let mut list = Vec::new();
        if request.sampling.logprobs == Some(true) {
            list.push(Value::from(LOGPROBS));
        }
        list.extend(self.given("include").and_then(|raw| raw.value().as_array().cloned()).into_iter().flatten());
        // What is not kept at the server must come back from here, or the next turn has lost its thoughts. Models that do not think refuse the entry.
        let thinks = request.reasoning.as_ref().is_some_and(|said| said.effort.as_deref() != Some("none"));
        if self.ours.is_none() && (thinks || has_our_thoughts(request)) {
            list.push(Value::from(ENCRYPTED));
        }
        if !list.is_empty() {
            self.to.field("include", &list);
        }
    }

    fn tools(&mut self) -> Result<()> {
        let request = self.request;
        if !request.tools.is_empty() {
            self.to.key("tools");
            self.to.open(b'[');
            let mut tools = request.tools.as_slice();
            while let [tool, rest @ ..] = tools {
                tools = match namespace_of(tool) {
                    Some(namespace) => self.namespace(tools, namespace)?,
                    None => {
                        self.tool(tool, false)?;
                        rest
                    }
                };
            }
            self.to.close(b']');
        }
        let choice = request.tool_choice.as_ref().map(|choice| match choice {
            ToolChoice::None => json!("none"),
            ToolChoice::Required => json!("required"),
            ToolChoice::Tool(name) => json!({"type": "function", "name": name}),
            ToolChoice::Auto => json!("auto"),
        });
        self.to.some("tool_choice", choice.as_ref());
        self.to.some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
        Ok(())
    }

    /// Writes the functions of one namespace, and gives back those after it.
    fn namespace<'t>(&mut self, tools: &'t [Tool], namespace: &RawJson) -> Result<&'t [Tool]> {
        let inside = tools.iter().take_while(|tool| namespace_of(tool) == Some(namespace)).count();
        let (inside, rest) = tools.split_at_checked(inside).unwrap_or((tools, &[]));
        self.to.open(b'{');
        self.to.field("type", "namespace");
        for (name, value) in namespace.value().as_object().into_iter().flatten() {
            self.to.field(name, value);
        }
        self.to.key("tools");
        self.to.open(b'[');
        inside.iter().try_for_each(|tool| self.tool(tool, true))?;
        self.to.close(b']');
        self.to.close(b'}');
        Ok(rest)
    }

    fn tool(&mut self, tool: &Tool, inside: bool) -> Result<()> {
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
        match ours.and_then(|ours| ours.get("name")).filter(|_| inside) {
            Some(bare) => self.to.field("name", bare),
            None => self.to.field("name", &tool.name),
        }
        self.to.some("description", tool.description.as_ref());
        self.to.field("parameters", &tool.parameters);
        // Absent means `true` to this dialect alone.
        self.to.field("strict", &tool.strict.unwrap_or(false));
        for (name, value) in
            ours.into_iter().flatten().filter(|(name, _)| !["name", "namespace"].contains(&name.as_str()))
        {
            self.to.field(name, value);
        }
        self.to.close(b'}');
        for (dialect, extra) in tool.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            let name = |field: &String| FieldPath(format!("tools.{}.{dialect}.{field}", tool.name));
            self.dropped.extend(extra.keys().map(name));
        }
        Ok(())
    }

    fn extra(&mut self) {
        const WRITTEN: &[&str] = &["text", "reasoning", "include", "store"];
        for (dialect, fields) in &self.request.extra {
            for (name, value) in fields {
                match (*dialect, name.as_str()) {
                    (OURS, name) if WRITTEN.contains(&name) => {}
                    // Servers refuse the field beside a whole answer.
                    (OURS, "stream_options") if !self.request.stream => {}
                    (OURS, name) => self.to.field(name, value),
                    _ => self.dropped.push(FieldPath(format!("{dialect}.{name}"))),
                }
            }
        }
    }
}

fn namespace_of(tool: &Tool) -> Option<&RawJson> {
    tool.extra.get(&OURS)?.get("namespace").filter(|_| !tool.name.is_empty())
}

/// Whether the conversation holds thoughts that this dialect sealed.
fn has_our_thoughts(request: &Request) -> bool {
    let mut blocks = request.messages.iter().flat_map(|message| &message.content);
    blocks.any(|block| {
        matches!(&block.body, BlockBody::Reasoning { signature: Some(seal), .. } if unseal(seal).is_some_and(|(_, sealed)| !sealed.is_empty()))
    })
}
