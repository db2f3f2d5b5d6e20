//! How Codex fails: its typed errors in the words of the error table.
//!
//! `codexErrorInfo` is a word, or a word with the status of the service that answered; a 400 has only the body that the service wrote. The time at which a
//! used-up allowance is given anew stands in no error but in the notification before it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::rpc::Refused;
use crate::delta::FinishReason;
use crate::dialect::Codec;
use crate::dialect::openai_responses::OpenaiResponses;
use crate::error::{Error, ErrorKind};

/// Codex's words for what went wrong.
const WORDS: &[(&str, ErrorKind)] = &[
    ("contextWindowExceeded", ErrorKind::CallerContextLength),
    ("cyberPolicy", ErrorKind::CallerContentFilter),
    ("misalignmentPolicyViolation", ErrorKind::CallerContentFilter),
    ("modelNotFound", ErrorKind::CallerModelUnknown),
    ("unauthorized", ErrorKind::ProviderAuth),
    ("usageLimitExceeded", ErrorKind::ProviderQuotaExhausted),
    ("sessionBudgetExceeded", ErrorKind::ProviderQuotaExhausted),
    ("rateLimitExceeded", ErrorKind::ProviderRateLimited),
    ("serverOverloaded", ErrorKind::ProviderOverloaded),
    ("flexUnavailable", ErrorKind::ProviderOverloaded),
    ("policyCapacityUnavailable", ErrorKind::ProviderOverloaded),
    ("internalServerError", ErrorKind::ProviderServerError),
    ("badRequest", ErrorKind::ProviderRejected),
];

/// What an answer that was cut says at its end, and what that means.
const ENDS: &[(&str, FinishReason)] =
    &[("max_output_tokens", FinishReason::Length), ("content_filter", FinishReason::ContentFilter)];

/// The error of a turn.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    #[serde(default)]
    message: String,
    #[serde(default)]
    codex_error_info: Value,
    additional_details: Option<String>,
}

/// What was told of the account's limits.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reset {
    rate_limits: Windows,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Windows {
    primary: Option<Window>,
    secondary: Option<Window>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Window {
    used_percent: f64,
    /// Seconds since 1970.
    resets_at: Option<u64>,
}

impl Reset {
    /// How long until all limits that are used up are given anew.
    fn wait(&self, now: SystemTime) -> Option<Duration> {
        let windows = [&self.rate_limits.primary, &self.rate_limits.secondary].into_iter().flatten();
        let at = windows.filter(|window| window.used_percent >= 100.0).filter_map(|window| window.resets_at).max()?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Duration::from_secs(at).checked_sub(now)
    }
}

impl Failure {
    /// Why the answer ends here, where that is no failure but a limit that it ran into.
    pub(super) fn end(&self) -> Option<(FinishReason, &'static str)> {
        let (_, reason) = self.message.split_once("Incomplete response returned, reason: ")?;
        ENDS.iter().find(|(word, _)| reason.trim() == *word).map(|(word, reason)| (*reason, *word))
    }

    /// The error.
    pub(super) fn told(&self, reset: &Reset) -> Error {
        // Of a failure that it would try again the message is only the number of tries.
        let said = self.additional_details.as_deref().filter(|text| !text.is_empty()).unwrap_or(&self.message).trim();
        let message = format!("codex: {said}");
        let info = &self.codex_error_info;
        let word = info.as_str().and_then(|word| WORDS.iter().find(|(known, _)| *known == word));
        let error = match (word, status(info)) {
            (Some((_, ErrorKind::ProviderAuth)), _) => not_logged_in(&message),
            (Some((_, kind)), _) => Error::new(*kind, &message),
            (None, Some(status)) => of_service(status, &json!({"error": {"message": message}}).to_string()),
            (None, None) => match of_body(said) {
                Some(error) => error,
                None => Error::new(otherwise(info, said), &message),
            },
        };
        match error.kind() {
            ErrorKind::ProviderQuotaExhausted | ErrorKind::ProviderRateLimited => match reset.wait(SystemTime::now()) {
                Some(wait) => error.with_retry_after(wait),
                None => error,
            },
            _ => error,
        }
    }
}

/// The status of the service, where one answered.
fn status(info: &Value) -> Option<StatusCode> {
    let status = info.as_object()?.values().find_map(|inner| inner.get("httpStatusCode")?.as_u64())?;
    StatusCode::from_u16(u16::try_from(status).ok()?).ok()
}

/// The kind of a failure that no word and no status tells.
fn otherwise(info: &Value, said: &str) -> ErrorKind {
    let wire = ["httpConnectionFailed", "responseStreamConnectionFailed", "responseStreamDisconnected"];
    let unreached = wire.iter().any(|name| info.get(name).is_some());
    let cut = ["Transport error", "network error", "stream closed", "idle timeout"];
    if unreached || cut.iter().any(|words| said.contains(words)) {
        return ErrorKind::ProviderConnection;
    }
    ErrorKind::ProviderServerError
}

/// The error of a service that wrote this body.
fn of_service(status: StatusCode, body: &str) -> Error {
    let error = OpenaiResponses.decode_error(status, &HeaderMap::new(), body.as_bytes());
    match error.kind() {
        // What it refused is what Codex made of the request.
        ErrorKind::CallerInvalidRequest => error.with_kind(ErrorKind::ProviderRejected),
        ErrorKind::ProviderAuth => error.with_hint(HINT),
        _ => error,
    }
}

/// The error of a 400: Codex gives the body as it was, without its status.
fn of_body(said: &str) -> Option<Error> {
    let body: Value = serde_json::from_str(said).ok()?;
    body.as_object()?;
    Some(of_service(StatusCode::BAD_REQUEST, said))
}

/// How to log in.
const HINT: &str = "run `codex login` once, or set CODEX_API_KEY or OPENAI_API_KEY";

/// The error of one who has to log in first.
pub(super) fn not_logged_in(message: &str) -> Error {
    Error::new(ErrorKind::ProviderAuth, message).with_hint(HINT)
}

/// The error of a request that the server itself refused.
pub(super) fn refused(method: &str, refused: &Refused) -> Error {
    let message = format!("codex refused {method}: {}", refused.message.trim());
    let code = refused.data.as_ref().and_then(|data| data.get("input_error_code")?.as_str());
    match (code, refused.code) {
        (Some("input_too_large"), _) => Error::new(ErrorKind::CallerTooLarge, message).with_hint("send less at once"),
        // It does not know the method, or not these parameters.
        (None, -32602..=-32600) => Error::new(ErrorKind::ProviderRejected, message)
            .with_hint("its version may be too old or too new: see `llm-router doctor`"),
        _ => Error::new(ErrorKind::ProviderServerError, message),
    }
}
