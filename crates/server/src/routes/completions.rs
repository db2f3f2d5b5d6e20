//! `POST /v1/completions`, OpenAI's first API: a prompt in, its continuation out, whole or as a stream.
//!
//! A small translation onto the domain, where a prompt is a user's turn: chat models answer it, and no provider is asked for a raw continuation. What that
//! cannot mean (`suffix`, token ids, several prompts, probabilities of the prompt itself) is refused by name. The stream is `completions/encode.rs`.

mod encode;

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use http::request::Parts;
use indexmap::IndexMap;
use llm_router::dialect::MAX_CHOICES;
use llm_router::error::{Error, Result};
use llm_router::ids::RequestId;
use llm_router::request::Request;
use llm_router::router::Op;
use llm_router::router::resolve::Door;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::encode::Completed;
use self::encode::{CompletionEncoder, Style};
use crate::app::{Inner, Server};
use crate::door::Caller;
use crate::{body, chat, early, error, riders};

const PATH: &str = "/v1/completions";
/// The most alternatives of a token, as OpenAI has it.
const MOST_LOGPROBS: u32 = 5;

/// What is asked. Unknown fields are ignored.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Completion {
    /// The model: a route, `provider/model` or a name that a provider lists.
    #[serde(default)]
    model: Option<String>,
    /// The prompt: a text, or a list of one.
    prompt: Prompt,
    /// The most tokens of the answer.
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    top_k: Option<u32>,
    #[serde(default)]
    min_p: Option<f64>,
    #[serde(default)]
    frequency_penalty: Option<f64>,
    #[serde(default)]
    presence_penalty: Option<f64>,
    #[serde(default)]
    repetition_penalty: Option<f64>,
    #[serde(default)]
    seed: Option<i64>,
    /// How many answers.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16))]
    n: Option<u32>,
    /// Must not be more than `n`: candidates that nobody sees are not made.
    #[serde(default)]
    best_of: Option<u32>,
    /// Whether the prompt stands before each answer.
    #[serde(default)]
    echo: Option<bool>,
    /// Texts that end the answer.
    #[serde(default)]
    stop: Option<Stop>,
    /// How many alternatives to list for each token.
    #[serde(default)]
    #[schemars(range(max = 5))]
    logprobs: Option<u32>,
    #[serde(default)]
    logit_bias: Option<IndexMap<String, f64>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    /// Refused: no provider is asked to fill a gap.
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    List(Vec<serde_json::Value>),
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Stop {
    One(String),
    Some(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
struct StreamOptions {
    /// Whether a last chunk carries the token counts.
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Prompt {
    fn into_text(self) -> Result<String> {
        let list = match self {
            Self::Text(text) => return Ok(text),
            Self::List(list) => list,
        };
        match list.as_slice() {
            [serde_json::Value::String(text)] => Ok(text.clone()),
            [] => Err(Error::invalid("prompt: the list is empty")),
            [serde_json::Value::String(_), ..] => {
                Err(Error::unsupported("prompt: it holds several prompts").with_hint("send a request for each"))
            }
            _ => Err(Error::unsupported("prompt: token ids belong to one model's vocabulary and cannot be routed")
                .with_hint("send the prompt as text")),
        }
    }
}

impl Completion {
    /// As the router takes it, and how the answer is to be written.
    fn into_request(self) -> Result<(Request, Style)> {
        if self.suffix.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(Error::unsupported("suffix: no provider is asked to fill a gap")
                .with_hint("put what comes before and behind into the prompt, in words"));
        }
        let n = self.n.unwrap_or(1);
        if !(1..=MAX_CHOICES).contains(&n) {
            return Err(Error::invalid(format!("n: {n} is not between 1 and {MAX_CHOICES}")));
        }
        if self.best_of.is_some_and(|best_of| best_of > n) {
            return Err(Error::unsupported("best_of: candidates that nobody sees are not made")
                .with_hint("ask for as many answers by n and choose"));
        }
        if let Some(logprobs) = self.logprobs.filter(|logprobs| *logprobs > MOST_LOGPROBS) {
            return Err(Error::invalid(format!("logprobs: {logprobs} is more than {MOST_LOGPROBS}")));
        }
        let prompt = self.prompt.into_text()?;
        let echo = self.echo.unwrap_or(false);
        if echo && self.logprobs.is_some() {
            return Err(Error::unsupported("echo: probabilities of the prompt's own tokens cannot be given")
                .with_hint("leave out echo or logprobs"));
        }
        let include_usage = self.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        let stream = self.stream.unwrap_or(false);
        let style = Style { stream, include_usage, echo: echo.then(|| prompt.clone()), ..Style::default() };

        let mut request = Request::new(prompt);
        request.model = self.model;
        request.stream = stream;
        request.user = self.user;
        let sampling = &mut request.sampling;
        sampling.max_tokens = self.max_tokens;
        sampling.temperature = self.temperature;
        sampling.top_p = self.top_p;
        sampling.top_k = self.top_k;
        sampling.min_p = self.min_p;
        sampling.frequency_penalty = self.frequency_penalty;
        sampling.presence_penalty = self.presence_penalty;
        sampling.repetition_penalty = self.repetition_penalty;
        sampling.seed = self.seed;
        sampling.n = self.n;
        sampling.stop = match self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Some(stops)) => stops,
        };
        sampling.logit_bias = self.logit_bias.unwrap_or_default();
        sampling.logprobs = self.logprobs.map(|_| true);
        sampling.top_logprobs = self.logprobs.filter(|logprobs| *logprobs > 0);
        Ok((request, style))
    }
}

/// Answers a request.
pub(crate) async fn complete(State(server): State<Server>, request: HttpRequest) -> Response {
    let (head, body) = request.into_parts();
    let id = chat::id_of(&server, &head);
    let refuse = |error: &Error| error::at_path(PATH, error, Some(&id));
    match body::read(body, &head.headers, &server.0.options).await {
        Ok(body) => answer(&server.0, &id, &head, &body).await.unwrap_or_else(|error| refuse(&error)),
        Err((error, rest)) => early::answer(refuse(&error), rest),
    }
}

async fn answer(server: &Arc<Inner>, id: &RequestId, head: &Parts, body: &[u8]) -> Result<Response> {
    let (mut request, mut style) = body::parse::<Completion>(body)?.into_request()?;
    let caller: Caller = head.extensions.get().cloned().unwrap_or_default();
    riders::read(&head.headers, &caller, &mut request)?;
    let now = server.router.deps().clock.now().duration_since(SystemTime::UNIX_EPOCH);
    style.created = now.map_or(0, |since| since.as_secs());
    style.id = format!("cmpl-{}", id.as_str().trim_start_matches("req_"));
    let encoder = Box::new(CompletionEncoder::new(style));
    let broken = head.extensions.get().cloned();
    let op = Op::new(request, Door::CompatibleApi).for_client(caller.name).of_team(caller.team).within(caller.holder);
    let op = op.under(riders::context(&head.headers));
    chat::respond(server, id, Box::new(op), encoder, broken).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_prompt_cannot_mean_is_refused_by_name() {
        for (body, name) in [
            (r#"{"prompt":"a","suffix":"b"}"#, "suffix"),
            (r#"{"prompt":["a","b"]}"#, "prompt"),
            (r#"{"prompt":[1,2]}"#, "prompt"),
            (r#"{"prompt":[]}"#, "prompt"),
            (r#"{}"#, "prompt"),
            (r#"{"prompt":"a","n":0}"#, "n:"),
            (r#"{"prompt":"a","best_of":3}"#, "best_of"),
            (r#"{"prompt":"a","logprobs":6}"#, "logprobs"),
            (r#"{"prompt":"a","logprobs":1,"echo":true}"#, "echo"),
            (r#"{"prompt":"a","temperature":"hot"}"#, "temperature"),
        ] {
            let refused = body::parse::<Completion>(body.as_bytes()).and_then(Completion::into_request).unwrap_err();
            assert!(refused.message().contains(name), "{body}: {refused}");
        }
    }

    #[test]
    fn the_rest_is_a_users_turn() {
        let body = br#"{"model":"m","prompt":["a"],"stop":"x","logprobs":2,"n":2,"best_of":2,"stream_options":null}"#;
        let (request, style) = body::parse::<Completion>(body).unwrap().into_request().unwrap();
        assert_eq!(request.plain_prompt(), Some("a"));
        assert_eq!((request.sampling.stop.as_slice(), request.sampling.top_logprobs), (&["x".to_owned()][..], Some(2)));
        assert!(!style.stream && style.echo.is_none());
    }
}
