//! `POST /api/v0/ai/llm/generate`: a prompt in, its text out, whole or as it comes.
//!
//! With `"stream": true` the answer is a stream of server-sent events. Each carries deltas in the native dialect, `data: {"v":1,"deltas":[…]}`; the last one,
//! `event: done`, carries what the whole answer would, but for its text. A failure after the head is `event: error` with the body that the error would have had.
//! A stream that ends without one of these two was cut. How requests become answers is `chat.rs`'s business.

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use bytes::BytesMut;
use http::request::Parts;
use llm_router::delta::{Delta, Event, FinishReason};
use llm_router::dialect::{Encoder, native, sse};
use llm_router::error::{Error, Result};
use llm_router::ids::{ProviderId, RequestId};
use llm_router::request::{Hold, Request, Resume};
use llm_router::response::Folder;
use llm_router::router::Op;
use llm_router::router::resolve::Door;
use llm_router::trace::{CacheStatus, Trace};
use llm_router::usage::Usage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::{Inner, Server};
use crate::door::Caller;
use crate::error::Refused;
use crate::{body, chat, early, error, riders};

/// What is asked. A field that is `null` is not sent to the provider; one that is missing has the original's default. Unknown fields are ignored.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Generate {
    /// The prompt.
    pub(crate) prompt: String,
    /// The model: a route, `provider/model`, or, with `provider`, that provider's own name for it.
    #[serde(default)]
    pub(crate) model_name: Option<String>,
    /// The same by the name that other APIs have for it. Both at once are refused where they differ.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// The provider; `auto` is the same as none.
    #[serde(default)]
    pub(crate) provider: Option<String>,
    /// The most tokens of the answer.
    #[serde(default = "default_tokens")]
    #[schemars(range(min = 1))]
    pub(crate) max_tokens: Option<u32>,
    /// Randomness.
    #[serde(default = "default_temperature")]
    #[schemars(range(min = 0))]
    pub(crate) temperature: Option<f64>,
    /// Seconds until the first text.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 0.001, max = 86_400))]
    pub(crate) timeout: Option<f64>,
    /// Whether the answer comes as a stream of server-sent events.
    #[serde(default)]
    pub(crate) stream: bool,
    /// When the answer is given out: from its first content on, or when it is complete.
    #[serde(default)]
    pub(crate) hold: Option<HoldWord>,
    /// Whether somebody else goes on with an answer that breaks off.
    #[serde(default)]
    pub(crate) resume: Option<ResumeWord>,
}

/// When an answer is given out.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldWord {
    Content,
    Whole,
}

/// What becomes of an answer that breaks off.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResumeWord {
    Off,
    Continue,
    Restart,
}

#[allow(clippy::unnecessary_wraps)]
fn default_tokens() -> Option<u32> {
    Some(256)
}

#[allow(clippy::unnecessary_wraps)]
fn default_temperature() -> Option<f64> {
    Some(0.7)
}

#[allow(clippy::unnecessary_wraps)]
fn default_timeout() -> Option<f64> {
    Some(120.0)
}

impl Generate {
    /// As the router takes it.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the field whose value makes no sense.
    pub(crate) fn into_request(self) -> Result<Request> {
        let mut request = Request::new(self.prompt);
        request.model = one_model(self.model_name, self.model)?;
        let provider = self.provider.filter(|id| !id.trim().is_empty());
        let provider = provider.map(ProviderId::new).transpose()?;
        request.provider = provider.filter(|id| *id != "auto");
        if self.max_tokens == Some(0) {
            return Err(Error::invalid("max_tokens: it is 0").with_hint("ask for at least one token"));
        }
        request.sampling.max_tokens = self.max_tokens;
        if let Some(temperature) = self.temperature.filter(|temperature| *temperature < 0.0) {
            return Err(Error::invalid(format!("temperature: {temperature} is negative")));
        }
        request.sampling.temperature = self.temperature;
        request.timeout = self.timeout.map(|timeout| riders::seconds("timeout", timeout)).transpose()?;
        request.stream = self.stream;
        request.riders.hold = self.hold.map(|hold| match hold {
            HoldWord::Content => Hold::Content,
            HoldWord::Whole => Hold::Whole,
        });
        request.riders.resume = self.resume.map(|resume| match resume {
            ResumeWord::Off => Resume::Off,
            ResumeWord::Continue => Resume::Continue,
            ResumeWord::Restart => Resume::Restart,
        });
        Ok(request)
    }
}

/// The model that is asked for, whichever field names it.
fn one_model(model_name: Option<String>, model: Option<String>) -> Result<Option<String>> {
    let given = |name: Option<String>| name.filter(|name| !name.trim().is_empty());
    match (given(model_name), given(model)) {
        (Some(name), Some(other)) if name != other => {
            let short = |name: &str| name.chars().take(64).collect::<String>();
            let message = format!("model_name and model: they are two, {:?} and {:?}", short(&name), short(&other));
            Err(Error::invalid(message).with_hint("give one of the fields; they mean the same"))
        }
        (name, other) => Ok(name.or(other)),
    }
}

/// Answers a request.
pub(crate) async fn generate(State(server): State<Server>, request: HttpRequest) -> Response {
    let (head, body) = request.into_parts();
    let id = chat::id_of(&server, &head);
    match body::read(body, &head.headers, &server.0.options).await {
        Ok(body) => answer(&server.0, &id, &head, &body).await.unwrap_or_else(|error| error::native(&error, Some(&id))),
        Err((error, rest)) => early::answer(error::native(&error, Some(&id)), rest),
    }
}

async fn answer(server: &Arc<Inner>, id: &RequestId, head: &Parts, body: &[u8]) -> Result<Response> {
    let mut request = body::parse::<Generate>(body)?.into_request()?;
    let caller: Caller = head.extensions.get().cloned().unwrap_or_default();
    riders::read(&head.headers, &caller, &mut request)?;
    let encoder = Box::new(GenerateEncoder::new(request.stream));
    let broken = head.extensions.get().cloned();
    let op = Op::new(request, Door::NativeApi).for_client(caller.name).of_team(caller.team).within(caller.holder);
    let op = op.under(riders::context(&head.headers));
    chat::respond(server, id, Box::new(op), encoder, broken).await
}

/// An answer, or the end of a streamed one, where `text` is missing.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Generated {
    /// What was generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The provider that answered.
    pub(crate) provider: Option<String>,
    /// The model that answered.
    pub(crate) model: Option<String>,
    /// Whether the answer was stored before.
    pub(crate) cached: bool,
    /// Token counts, where the provider reports them.
    pub(crate) usage: Option<Tokens>,
    /// What it cost in micro-dollars, all calls to providers together, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost_micros: Option<u64>,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`, `refusal`, `pause`, `other`.
    pub(crate) finish_reason: Option<String>,
    /// The request's id, for `llm-router explain` and the logs.
    pub(crate) request_id: String,
    /// How many calls to providers it took, failed ones included.
    pub(crate) attempts: usize,
    /// The key under which the answer is stored, where the cache is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The target that should have answered, where another one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) substituted: Option<String>,
    /// The targets that went on with the answer where it broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<String>,
    /// What could not be said to the provider, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped: Vec<String>,
}

/// Token counts. The parts are contained in the sums.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Tokens {
    /// Of the prompt.
    input: u64,
    /// Of the answer.
    output: u64,
    /// Both.
    total: u64,
    /// Of `input`: read from the provider's own cache.
    cache_read: u64,
    /// Of `input`: written to the provider's own cache.
    cache_write: u64,
    /// Of `output`: thoughts.
    reasoning: u64,
    /// Whether these are an estimate.
    estimated: bool,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        let Usage { input, output, cache_read, cache_write, reasoning, estimated, .. } = usage;
        Self { input, output, total: usage.total(), cache_read, cache_write, reasoning, estimated }
    }
}

impl Generated {
    /// What is known of an answer besides its text.
    pub(crate) fn of(trace: &Trace) -> Self {
        let served = trace.served.as_ref();
        Self {
            text: None,
            provider: served.map(|served| served.provider.to_string()),
            model: served.and_then(|served| served.model.as_ref()).map(ToString::to_string),
            cached: trace.cache == CacheStatus::Hit,
            usage: trace.usage.map(Tokens::from),
            cost_micros: trace.cost(),
            finish_reason: None,
            request_id: trace.id.to_string(),
            attempts: trace.attempts.len(),
            key: trace.key.clone(),
            substituted: served.and_then(|served| served.substituted.clone()),
            resumed: trace.resumed_by(),
            dropped: trace.dropped.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A finish reason as one word.
pub(crate) fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause",
        _ => "other",
    }
}

/// Writes answers of this API.
struct GenerateEncoder {
    stream: bool,
    folder: Folder,
    about: Generated,
}

impl GenerateEncoder {
    fn new(stream: bool) -> Self {
        Self { stream, folder: Folder::default(), about: Generated::default() }
    }
}

impl Encoder for GenerateEncoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        for delta in &event.deltas {
            match delta {
                Delta::Start { model, .. } => {
                    // What the provider calls it, where the plan knew no name.
                    self.about.model.get_or_insert_with(|| model.clone());
                }
                Delta::Finish { choice: 0, reason, .. } => {
                    self.about.finish_reason = Some(finish_word(*reason).to_owned());
                }
                _ => {}
            }
            if !self.stream {
                self.folder.push(delta);
            }
        }
        let ended = matches!(event.deltas.last(), Some(Delta::End));
        if self.stream && !event.deltas.is_empty() {
            sse::write(None, native::write_line(&event.deltas)?.trim_ascii_end(), out);
        }
        if !ended {
            return Ok(());
        }
        let mut about = std::mem::take(&mut self.about);
        if !self.stream {
            let response = std::mem::take(&mut self.folder).finish()?;
            about.text = Some(response.text());
        }
        let text = serde_json::to_vec(&about).map_err(|error| Error::internal(error.to_string()))?;
        if self.stream {
            sse::write(Some("done"), &text, out);
        } else {
            out.extend_from_slice(&text);
        }
        Ok(())
    }

    fn about(&mut self, trace: &Trace) {
        let (model, finish_reason) = (self.about.model.take(), self.about.finish_reason.take());
        self.about = Generated { finish_reason, ..Generated::of(trace) };
        self.about.model = self.about.model.take().or(model).filter(|name| !name.is_empty());
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        let text = serde_json::to_vec(&Refused::of(error)).unwrap_or_default();
        if self.stream {
            sse::write(Some("error"), &text, out);
        } else {
            out.extend_from_slice(&text);
        }
    }

    fn ping(&mut self, out: &mut BytesMut) {
        sse::write_ping(out);
    }

    fn content_type(&self) -> &'static str {
        if self.stream { "text/event-stream" } else { "application/json" }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn asked(body: &str) -> Result<Request> {
        body::parse::<Generate>(body.as_bytes())?.into_request()
    }

    #[test]
    fn what_is_missing_has_the_originals_default_and_null_is_left_out() {
        let request = asked(r#"{"prompt":"hi","provider":"auto","unknown":1}"#).unwrap();
        assert_eq!((request.sampling.max_tokens, request.sampling.temperature), (Some(256), Some(0.7)));
        assert_eq!((request.timeout, request.provider), (Some(Duration::from_secs(120)), None));
        let request = asked(r#"{"prompt":"hi","max_tokens":null,"temperature":null,"timeout":null}"#).unwrap();
        assert_eq!((request.sampling.max_tokens, request.sampling.temperature, request.timeout), (None, None, None));
    }

    #[test]
    fn a_model_is_named_by_either_field() {
        for (fields, model) in [
            (r#""model":"a""#, Some("a")),
            (r#""model_name":"a""#, Some("a")),
            (r#""model":"a","model_name":"a""#, Some("a")),
            (r#""model":"a","model_name":"""#, Some("a")),
            (r#""model":null"#, None),
        ] {
            let request = asked(&format!(r#"{{"prompt":"hi",{fields}}}"#)).unwrap();
            assert_eq!(request.model.as_deref(), model, "{fields}");
        }
    }

    #[test]
    fn refusals_name_the_field() {
        for (body, name) in [
            (r#"{}"#, "prompt"),
            (r#"{"prompt":1}"#, "prompt"),
            (r#"{"prompt":"x","max_tokens":0}"#, "max_tokens"),
            (r#"{"prompt":"x","max_tokens":-1}"#, "max_tokens"),
            (r#"{"prompt":"x","temperature":-0.5}"#, "temperature"),
            (r#"{"prompt":"x","timeout":0}"#, "timeout"),
            (r#"{"prompt":"x","timeout":1e300}"#, "timeout"),
            (r#"{"prompt":"x","provider":"a b"}"#, "a b"),
            (r#"{"prompt":"x"} x"#, "the body"),
            ("[]", "the body"),
            (r#"{"prompt":"x","model":"a","model_name":"b"}"#, "model_name and model"),
        ] {
            let error = asked(body).unwrap_err();
            assert!(error.message().contains(name), "{body}: {error}");
        }
    }
}
