//! A [`Request`] of any origin as a body of this dialect. The conversation in it is written by `history.rs`; the way back is `request.rs`.
//!
//! A request that came in this very dialect goes on as it is: what a target changes stands in the path.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::dialect::gemini::generation::Generation;
use crate::dialect::gemini::{head, history, schema, tools};
use crate::dialect::json::Writer;
use crate::dialect::{Dialect, FieldPath};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::request::{RawJson, Request, ResponseFormat, Tool};

const OURS: Dialect = Dialect::Gemini;

/// Writes a body from the domain, and names in `dropped` what it cannot say.
pub(super) fn encode(call: &Call, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let request = &*call.request;
    let generation = Generation::of(head::model_of(call)?);
    let mut body = Body { to: Writer::with_capacity(1024), generation, dropped };
    body.to.open(b'{');
    history::encode(request, generation, &mut body.to, body.dropped)?;
    body.tools(&request.tools)?;
    body.choice(request);
    body.config(request)?;
    body.rest(request);
    body.to.close(b'}');
    Ok(Bytes::from(body.to.finish()))
}

/// What came in this dialect and has no place in the domain.
fn extra<'a>(request: &'a Request, name: &str) -> Option<&'a RawJson> {
    request.extra.get(&OURS)?.get(name)
}

struct Body<'a> {
    to: Writer,
    generation: Generation,
    dropped: &'a mut Vec<FieldPath>,
}

impl Body<'_> {
    fn drop(&mut self, path: impl Into<String>) {
        self.dropped.push(FieldPath(path.into()));
    }

    fn tools(&mut self, tools: &[Tool]) -> Result<()> {
        if tools.is_empty() {
            return Ok(());
        }
        self.to.key("tools");
        self.to.open(b'[');
        // Functions side by side stand in one tool, as SDKs write them.
        for run in tools.chunk_by(|a, b| !a.name.is_empty() && !b.name.is_empty()) {
            match run {
                [own] if own.name.is_empty() => {
                    let Some(whole) = own.extra.get(&OURS) else {
                        return Err(Error::unsupported(
                            "tools: a tool that runs at another provider cannot be given to this one",
                        ));
                    };
                    self.to.value(whole);
                }
                functions => {
                    self.to.open(b'{');
                    self.to.key("functionDeclarations");
                    self.to.open(b'[');
                    functions.iter().try_for_each(|tool| self.function(tool))?;
                    self.to.close(b']');
                    self.to.close(b'}');
                }
            }
        }
        self.to.close(b']');
        Ok(())
    }

    fn function(&mut self, tool: &Tool) -> Result<()> {
        let path = format!("tools.{}", tool.name);
        self.to.open(b'{');
        self.to.field("name", &tool.name);
        self.to.some("description", tool.description.as_ref());
        match &tool.parameters {
            None => {}
            Some(parameters) if self.generation.takes_json_schema() => {
                self.to.field("parametersJsonSchema", parameters);
            }
            Some(parameters) => {
                let written = schema::to_subset(&parameters.value(), &format!("{path}.parameters"), self.dropped)?;
                // Those models refuse an object without fields.
                let nothing = written.get("type") == Some(&"OBJECT".into()) && written.get("properties").is_none();
                self.to.some("parameters", Some(&written).filter(|_| !nothing));
            }
        }
        for (name, value) in tool.extra.get(&OURS).into_iter().flatten() {
            self.to.field(name, value);
        }
        self.to.close(b'}');
        if tool.strict == Some(true) {
            self.drop(format!("{path}.strict"));
        }
        for (dialect, extra) in tool.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            self.dropped.extend(extra.keys().map(|field| FieldPath(format!("{path}.{dialect}.{field}"))));
        }
        Ok(())
    }

    fn choice(&mut self, request: &Request) {
        if let Some(whole) = extra(request, "toolConfig") {
            self.to.field("toolConfig", whole);
        } else if let Some(choice) = request.tool_choice.as_ref().filter(|_| !request.tools.is_empty()) {
            self.to.key("toolConfig");
            self.to.open(b'{');
            self.to.field("functionCallingConfig", &tools::choice_json(choice));
            self.to.close(b'}');
        }
        if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
            self.drop("parallel_tool_calls");
        }
    }

    fn config(&mut self, request: &Request) -> Result<()> {
        let rest = extra(request, "generationConfig").map(RawJson::value);
        let mut rest = rest.and_then(|value| value.as_object().cloned()).unwrap_or_default();
        let sampling = &request.sampling;
        let mut config = Config(Map::new());
        config.some("temperature", sampling.temperature);
        config.some("topP", sampling.top_p);
        config.some("topK", sampling.top_k);
        config.some("candidateCount", sampling.n);
        config.some("maxOutputTokens", sampling.max_tokens);
        config.some("stopSequences", Some(&sampling.stop).filter(|stop| !stop.is_empty()));
        config.some("seed", sampling.seed);
        config.some("presencePenalty", sampling.presence_penalty);
        config.some("frequencyPenalty", sampling.frequency_penalty);
        config.some("responseLogprobs", sampling.logprobs);
        config.some("logprobs", sampling.top_logprobs);
        let modalities: Vec<String> = request.modalities.iter().map(|word| word.to_ascii_uppercase()).collect();
        config.some("responseModalities", Some(modalities).filter(|list| !list.is_empty()));
        self.format(request.response_format.as_ref(), &mut config)?;
        self.thinking(request, rest.shift_remove("thinkingConfig"), &mut config);
        config.0.extend(rest.into_iter().filter(|(name, _)| name != "thinkingConfig"));
        self.to.some("generationConfig", Some(&config.0).filter(|config| !config.is_empty()));
        let unsaid = [
            ("sampling.min_p", sampling.min_p.is_some()),
            ("sampling.repetition_penalty", sampling.repetition_penalty.is_some()),
            ("sampling.logit_bias", !sampling.logit_bias.is_empty()),
            ("user", request.user.is_some()),
            ("metadata", request.metadata.is_some()),
        ];
        self.dropped.extend(unsaid.iter().filter(|(_, said)| *said).map(|(name, _)| FieldPath::from(*name)));
        Ok(())
    }

    fn format(&mut self, format: Option<&ResponseFormat>, config: &mut Config) -> Result<()> {
        let path = "response_format.schema";
        match format {
            None => {}
            Some(ResponseFormat::Text) => config.some("responseMimeType", Some("text/plain")),
            Some(ResponseFormat::JsonObject) => config.some("responseMimeType", Some("application/json")),
            Some(ResponseFormat::JsonSchema(asked)) => {
                config.some("responseMimeType", Some("application/json"));
                if self.generation.takes_json_schema() {
                    config.some("responseJsonSchema", Some(asked.schema.value()));
                } else {
                    let written = schema::to_subset(&asked.schema.value(), path, self.dropped)?;
                    config.some("responseSchema", Some(written));
                }
                if asked.description.is_some() {
                    self.drop("response_format.description");
                }
            }
        }
        Ok(())
    }

    fn thinking(&mut self, request: &Request, rest: Option<Value>, config: &mut Config) {
        let mut thinking = rest.and_then(|rest| rest.as_object().cloned()).unwrap_or_default();
        if let Some(asked) = &request.reasoning {
            let said = self.generation.thinking(asked);
            thinking.extend(said.include.then(|| ("includeThoughts".to_owned(), true.into())));
            thinking.extend(said.budget.map(|tokens| ("thinkingBudget".to_owned(), tokens.into())));
            thinking.extend(said.level.map(|level| ("thinkingLevel".to_owned(), level.into())));
            self.dropped.extend(said.unsaid.into_iter().map(FieldPath::from));
        }
        config.some("thinkingConfig", Some(thinking).filter(|fields| !fields.is_empty()));
    }

    fn rest(&mut self, request: &Request) {
        for (dialect, fields) in &request.extra {
            for (name, value) in fields {
                match (*dialect, name.as_str()) {
                    (OURS, "toolConfig" | "generationConfig") => {}
                    (OURS, name) => self.to.field(name, value),
                    _ => self.drop(format!("{dialect}.{name}")),
                }
            }
        }
    }
}

/// `generationConfig` under construction.
struct Config(Map<String, Value>);

impl Config {
    fn some(&mut self, name: &str, value: Option<impl Serialize>) {
        // Settings always have a JSON form.
        if let Some(value) = value.and_then(|value| serde_json::to_value(value).ok()) {
            self.0.insert(name.to_owned(), value);
        }
    }
}
