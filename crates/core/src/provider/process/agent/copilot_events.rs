//! What the Copilot CLI tells of a session, as an answer: the events that its JSON output and its server have in common, and its failures as errors.
//!
//! An event is an object with a `type` and its `data`. Most of them are for its own screen; what is new in them is read over. It asks a model again by itself,
//! up to six times and with pauses of many seconds: here the first failed call of a model is the end, because the router asks again too, and goes on to the
//! next target. Only an agent that has already used its tools keeps its own patience: what it did would be done twice.

use std::collections::BTreeSet;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::Answer;
use super::failed;
use crate::delta::FinishReason;
use crate::dialect::Codec;
use crate::dialect::openai_chat::OpenaiChat;
use crate::error::{Error, ErrorKind, Result};
use crate::usage::Usage;

/// One event.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    data: Option<Box<RawValue>>,
    /// The exit status of the program, in its last line.
    #[serde(rename = "exitCode")]
    pub(super) exit_code: Option<i64>,
}

impl Event {
    /// Its data, as what they are known to be.
    ///
    /// # Errors
    /// `provider_protocol` where they are something else.
    pub(super) fn data<T: DeserializeOwned>(&self) -> Result<T> {
        let text = self.data.as_ref().map_or("{}", |data| data.get());
        serde_json::from_str(text).map_err(|error| {
            let shown: String = text.chars().take(80).collect();
            Error::protocol(format!("copilot's event {} is not understood ({error}): {shown}", self.kind))
                .with_hint("its version may be too old or too new: see `llm-router doctor`")
        })
    }
}

/// Data of the events that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Piece {
    delta_content: String,
    content: String,
    message_id: String,
    reasoning_text: Option<String>,
    model: Option<String>,
    /// Set where a helper of the agent's own speaks.
    parent_tool_call_id: Option<String>,
}

/// A call of a model that failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Failure {
    status_code: Option<u16>,
    failure_kind: String,
    error_message: Option<String>,
    source: Option<String>,
}

/// The session's own error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    error_type: String,
    error_code: Option<String>,
    message: String,
    status_code: Option<u16>,
}

/// What a call of a model used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Used {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    finish_reason: Option<String>,
    accounting: Option<Accounting>,
}

/// Which call it was: events, and the journal of a session that was taken up again, may tell of one twice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default, rename_all = "camelCase")]
struct Accounting {
    source_session_id: String,
    sequence: u64,
}

/// Calls of a session that are told apart; what comes after so many is counted as it is told.
const TOLD_APART: usize = 10_000;

/// What was heard of a session so far.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The message whose text comes in pieces.
    message: String,
    /// Whether a message before it was whole.
    between: bool,
    /// Whether thoughts came in pieces.
    thoughts: bool,
    /// Whether a tool was used.
    worked: bool,
    /// Whether it was interrupted: then what ends well is no answer.
    interrupted: bool,
    /// What the model said when it refused.
    refusal: Option<String>,
    usage: Option<Usage>,
    counted: BTreeSet<Accounting>,
    finish: Option<String>,
}

impl Session {
    /// Hears an event.
    ///
    /// # Errors
    /// What went wrong, in the words of the error table.
    pub(super) fn hear(&mut self, event: &Event, answer: &mut Answer) -> Result<()> {
        match event.kind.as_str() {
            "assistant.message_delta" => {
                let piece: Piece = event.data()?;
                if piece.parent_tool_call_id.is_none() {
                    self.begin(&piece, answer);
                    answer.text(piece.delta_content);
                }
            }
            "assistant.reasoning_delta" => {
                let piece: Piece = event.data()?;
                if piece.parent_tool_call_id.is_none() {
                    self.thoughts = true;
                    answer.thoughts(piece.delta_content);
                }
            }
            "assistant.message" => {
                let piece: Piece = event.data()?;
                if piece.parent_tool_call_id.is_none() {
                    self.whole(piece, answer);
                }
            }
            "model.call_start" => {
                let piece: Piece = event.data()?;
                if piece.parent_tool_call_id.is_none() {
                    answer.model(piece.model.as_deref().unwrap_or_default());
                }
            }
            "tool.execution_start" => self.worked = true,
            "assistant.usage" => self.used(&event.data()?),
            "model.response" => self.refusal = refusal(&event.data()?).or(self.refusal.take()),
            "model.call_failure" => {
                let failure: Failure = event.data()?;
                let ours = failure.source.as_deref().is_none_or(|source| source == "top_level");
                // What was said of this message would be said again.
                let patient = self.worked && self.message.is_empty() && !failure.is_final();
                if ours && !patient {
                    return Err(failure.error());
                }
            }
            "session.error" => return Err(event.data::<Told>()?.error()),
            "abort" => self.interrupted = true,
            _ => {}
        }
        Ok(())
    }

    /// Text of a message begins, or goes on.
    fn begin(&mut self, piece: &Piece, answer: &mut Answer) {
        answer.model(piece.model.as_deref().unwrap_or_default());
        if self.message == piece.message_id {
            return;
        }
        piece.message_id.clone_into(&mut self.message);
        // After a limit it asks the model to go on where it stopped: that is no new message, and the one before was not whole.
        if std::mem::take(&mut self.between) {
            answer.text("\n\n");
        }
    }

    fn whole(&mut self, piece: Piece, answer: &mut Answer) {
        answer.model(piece.model.as_deref().unwrap_or_default());
        let streamed = self.message == piece.message_id;
        if !streamed && !self.thoughts {
            answer.thoughts(piece.reasoning_text.clone().unwrap_or_default());
        }
        if !streamed && !piece.content.is_empty() {
            self.begin(&piece, answer);
            answer.text(piece.content);
        }
        self.between |= !std::mem::take(&mut self.message).is_empty();
    }

    /// Adds what a call of a model used, once; the last one's end is the answer's.
    pub(super) fn used(&mut self, used: &Used) {
        if let Some(call) = &used.accounting
            && (self.counted.contains(call) || self.counted.len() < TOLD_APART && !self.counted.insert(call.clone()))
        {
            return;
        }
        let usage = self.usage.get_or_insert_default();
        usage.input += used.input_tokens;
        usage.output += used.output_tokens;
        usage.cache_read += used.cache_read_tokens;
        usage.cache_write += used.cache_write_tokens;
        usage.reasoning += used.reasoning_tokens;
        self.finish.clone_from(&used.finish_reason);
    }

    /// The session has nothing more to do.
    ///
    /// # Errors
    /// `provider_protocol` where nothing was said, or it was interrupted.
    pub(super) fn over(&mut self, answer: &mut Answer) -> Result<()> {
        if self.interrupted {
            return Err(Error::protocol("copilot was interrupted before its answer was whole"));
        }
        if let Some(usage) = self.usage.take() {
            answer.usage(usage);
        }
        let raw = self.finish.take();
        let reason = match (raw.as_deref(), &self.refusal) {
            (_, Some(_)) => FinishReason::Refusal,
            (Some("length"), _) => FinishReason::Length,
            (Some("content_filter"), _) => FinishReason::ContentFilter,
            _ => FinishReason::Stop,
        };
        if let Some(refusal) = self.refusal.take().filter(|_| !answer.has_begun()) {
            answer.text(refusal);
        }
        if !answer.has_begun() && reason == FinishReason::Stop {
            return Err(Error::protocol("copilot ended well and gave no answer")
                .with_hint("ask again, or run it by hand with the same prompt to see why"));
        }
        answer.finish(reason, raw);
        Ok(())
    }

    /// Whether the model refused in words of its own: the session calls that an error, for it has nothing to show.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }
}

/// What a model said when it refused, as its answer came to the session.
fn refusal(data: &Value) -> Option<String> {
    data["response"]["refusal"].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Statuses after which no second try of its own would help.
const FINAL: &[u16] = &[400, 401, 402, 403, 404, 413, 422];

impl Failure {
    fn is_final(&self) -> bool {
        self.status_code.is_some_and(|status| FINAL.contains(&status))
    }

    fn error(&self) -> Error {
        let said = self.error_message.as_deref().unwrap_or("the call of the model failed");
        // The body's error where there was one, else a text in quotes.
        let said = serde_json::from_str(said).unwrap_or_else(|_| Value::from(said));
        match (self.status_code.and_then(|code| StatusCode::from_u16(code).ok()), &said) {
            (Some(status), _) => of_status(status, &said),
            (None, Value::String(text)) if self.failure_kind == "transport" => {
                Error::connection(format!("copilot: {text}"))
                    .with_hint("see whether this machine reaches the model's address")
            }
            (None, said) => failed("copilot", text(said), ErrorKind::ProviderServerError),
        }
    }
}

/// The words of a body's error.
fn text(said: &Value) -> &str {
    said.as_str().or_else(|| said["message"].as_str()).unwrap_or("the call of the model failed")
}

/// Codes of Copilot's own service that the wire does not know.
const CODES: &[(&str, ErrorKind)] = &[
    ("session_quota_exceeded", ErrorKind::ProviderQuotaExhausted),
    // A limit of a week is a quota, whatever it is called.
    ("user_weekly_rate_limited", ErrorKind::ProviderQuotaExhausted),
    ("billing_not_configured", ErrorKind::ProviderBilling),
];

/// The error that a status and a body tell, read as the wire's own codec reads them.
fn of_status(status: StatusCode, said: &Value) -> Error {
    let body = match said {
        Value::Object(_) => json!({"error": said}),
        other => json!({"error": {"message": text(other)}}),
    };
    let decoded = OpenaiChat::default().decode_error(status, &HeaderMap::new(), body.to_string().as_bytes());
    let message = format!("copilot: {}", text(said));
    let code = said["code"].as_str().unwrap_or_default();
    let coded = CODES.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind);
    let kind = match coded.unwrap_or(decoded.kind()) {
        ErrorKind::ProviderAuth => return not_logged_in(&message).with_status(status),
        // The body was the agent's making; but for what its words say of the account behind it.
        ErrorKind::CallerInvalidRequest | ErrorKind::ProviderRejected => of_account(text(said)),
        kind => kind,
    };
    let error = Error::new(kind, message).with_status(status);
    match (decoded.retry_after(), kind) {
        (Some(wait), _) => error.with_retry_after(wait),
        (None, ErrorKind::CallerModelUnknown) => error.with_hint("name a model that this account may use"),
        _ => error,
    }
}

fn of_account(said: &str) -> ErrorKind {
    let lower = said.to_lowercase();
    let billing = ["credit balance", "billing", "payment required"].iter().any(|words| lower.contains(words));
    if billing { ErrorKind::ProviderBilling } else { ErrorKind::ProviderRejected }
}

/// Words of the session's own errors and of its last ones on standard error, and what they mean.
const WORDS: &[(&str, ErrorKind)] = &[
    ("prompt budget", ErrorKind::CallerContextLength),
    ("prompt as too long", ErrorKind::CallerContextLength),
    ("no github oauth token", ErrorKind::ProviderAuth),
    ("no authentication information", ErrorKind::ProviderAuth),
    ("authentication failed", ErrorKind::ProviderAuth),
    ("is not available", ErrorKind::CallerModelUnknown),
    ("no response was returned", ErrorKind::ProviderProtocol),
];

impl Told {
    fn error(&self) -> Error {
        let code = self.error_code.as_deref().unwrap_or_default();
        let kind = match (self.error_type.as_str(), code) {
            (_, code) if CODES.iter().any(|(known, _)| *known == code) => {
                CODES.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
            }
            ("quota", _) => Some(ErrorKind::ProviderQuotaExhausted),
            ("rate_limit", _) => Some(ErrorKind::ProviderRateLimited),
            ("context_limit", _) => Some(ErrorKind::CallerContextLength),
            ("authentication" | "authorization" | "policy", _) => Some(ErrorKind::ProviderAuth),
            _ => None,
        };
        let status = self.status_code.and_then(|code| StatusCode::from_u16(code).ok());
        let error = match (kind, status) {
            (None, Some(status)) => of_status(status, &json!({"message": self.message, "code": self.error_code})),
            (kind, _) => said(&self.message, kind),
        };
        status.map_or(error.clone(), |status| error.with_status(status))
    }
}

/// The error that words of its own tell.
pub(super) fn said(message: &str, kind: Option<ErrorKind>) -> Error {
    let lower = message.to_lowercase();
    // The name stands in the words: whatever it holds, it is the name that is wrong.
    let unknown = lower.starts_with("model \"") && lower.contains("is not available");
    let kind = kind.or(unknown.then_some(ErrorKind::CallerModelUnknown));
    let known = kind.or_else(|| WORDS.iter().find(|(words, _)| lower.contains(words)).map(|(_, kind)| *kind));
    match known {
        Some(ErrorKind::ProviderAuth) => not_logged_in(&format!("copilot: {message}")),
        Some(kind @ (ErrorKind::ProviderQuotaExhausted | ErrorKind::ProviderRateLimited)) => {
            // Its words name the time; what kind it is was told.
            failed("copilot", message, kind).with_kind(kind)
        }
        Some(kind) => Error::new(kind, format!("copilot: {message}")),
        None => failed("copilot", message, ErrorKind::ProviderServerError),
    }
}

/// The error of whoever may not ask.
pub(super) fn not_logged_in(message: &str) -> Error {
    Error::new(ErrorKind::ProviderAuth, message).with_hint(
        "run `copilot login` once, set COPILOT_GITHUB_TOKEN, or check the key in COPILOT_PROVIDER_API_KEY if you bring your own",
    )
}
