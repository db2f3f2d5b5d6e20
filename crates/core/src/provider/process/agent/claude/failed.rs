//! How `claude -p` says that it failed, in the words of the error table.
//!
//! A failed request ends with a line `assistant` that names the error's class, and a `result` with its text. `result.subtype` stays `success` on errors of the API:
//! `is_error` tells. Older programs name no class; then status and words decide.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Deserialize;

use super::super::super::failure;
use super::lines::Last;
use crate::error::{Error, ErrorKind};

/// What an `assistant` line says of an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    /// Its class.
    pub(super) error: Option<String>,
    /// What exactly, for some of them.
    api_error: Option<String>,
    api_error_status: Option<u16>,
}

/// What is left of an account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Limit {
    #[serde(default)]
    status: String,
    /// Seconds since 1970.
    #[serde(default)]
    resets_at: Option<u64>,
}

/// Classes, and what each is where neither status nor words say more.
const CLASSES: &[(&str, ErrorKind)] = &[
    ("authentication_failed", ErrorKind::ProviderAuth),
    ("oauth_org_not_allowed", ErrorKind::ProviderAuth),
    ("account_on_hold", ErrorKind::ProviderAuth),
    ("verification_required", ErrorKind::ProviderAuth),
    ("cloud_credential_error", ErrorKind::ProviderAuth),
    ("billing_error", ErrorKind::ProviderBilling),
    ("overloaded", ErrorKind::ProviderOverloaded),
    ("model_not_found", ErrorKind::CallerModelUnknown),
];

/// The error of a run that ended with this `result`.
pub(super) fn error(last: &Last, failure: Option<&Failure>, limit: Option<&Limit>) -> Error {
    let now = SystemTime::now();
    let errors = last.errors.iter().flatten();
    let errors: Vec<String> =
        errors.map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned)).collect();
    let said = match last.result.as_deref().map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ if !errors.is_empty() => errors.join("; "),
        _ => last.subtype.clone(),
    };
    let message = format!("claude: {said}");
    let status = last.api_error_status.or(failure.and_then(|failure| failure.api_error_status));
    let with_status = |error: Error| match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => error.with_status(status),
        None => error,
    };
    let class = failure.and_then(|failure| failure.error.as_deref()).unwrap_or_default();
    let detail = failure.and_then(|failure| failure.api_error.as_deref()).unwrap_or_default();
    let too_long = last.terminal_reason.as_deref() == Some("prompt_too_long");
    if too_long || said.starts_with("Prompt is too long") {
        return with_status(Error::new(ErrorKind::CallerContextLength, message).with_hint("send less of it"));
    }
    if let Some(kind) = match last.subtype.as_str() {
        // It was made to stop: a model without tools called for one, or never gave an answer that fits.
        "error_max_turns" | "error_max_structured_output_retries" => Some(ErrorKind::ProviderProtocol),
        _ => None,
    } {
        return Error::new(kind, message);
    }
    let rejected = limit.filter(|limit| limit.status == "rejected");
    if detail == "usage_limit_reached" || (rejected.is_some() && class == "rate_limit") {
        let error = failure::of_words("claude", &said, ErrorKind::ProviderQuotaExhausted, &message, now);
        let error = match error.kind() {
            ErrorKind::ProviderQuotaExhausted => error,
            _ => Error::new(ErrorKind::ProviderQuotaExhausted, &message),
        };
        return with_status(match rejected.and_then(|limit| until(limit, now)) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        });
    }
    let known = CLASSES.iter().find(|(known, _)| *known == class).map(|(_, kind)| *kind);
    let kind = known.or_else(|| of_status(status)).or_else(|| of_connection(detail, &said));
    with_status(match kind {
        Some(ErrorKind::ProviderAuth) => Error::new(ErrorKind::ProviderAuth, message)
            .with_hint("run claude by hand once and log in, or set ANTHROPIC_API_KEY"),
        // Words say whether it is a quota.
        Some(ErrorKind::ProviderRateLimited) | None => {
            let otherwise = kind.unwrap_or(ErrorKind::ProviderServerError);
            failure::of_words("claude", &said, otherwise, &message, now)
        }
        Some(kind) => Error::new(kind, message),
    })
}

fn of_status(status: Option<u16>) -> Option<ErrorKind> {
    Some(match status? {
        401 | 403 => ErrorKind::ProviderAuth,
        402 => ErrorKind::ProviderBilling,
        404 => ErrorKind::CallerModelUnknown,
        408 | 504 => ErrorKind::ProviderTimeout,
        413 => ErrorKind::CallerTooLarge,
        429 => ErrorKind::ProviderRateLimited,
        // Its body is not the caller's.
        400..=499 => ErrorKind::ProviderRejected,
        503 | 529 => ErrorKind::ProviderOverloaded,
        500.. => ErrorKind::ProviderServerError,
        _ => return None,
    })
}

fn of_connection(detail: &str, said: &str) -> Option<ErrorKind> {
    const WORDS: &[&str] =
        &["econnrefused", "econnreset", "enotfound", "unable to connect", "connection error", "connection lost"];
    let said = said.to_lowercase();
    let broken = detail == "connection_failed" || WORDS.iter().any(|word| said.contains(word));
    broken.then_some(ErrorKind::ProviderConnection)
}

fn until(limit: &Limit, now: SystemTime) -> Option<Duration> {
    // A moment that no account has would be believed for ever.
    const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 31);
    let resets = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(limit.resets_at?))?;
    Some(resets.duration_since(now).unwrap_or_default().min(LONGEST))
}

/// The error of a program that ended before it listened, where its last words tell.
pub(super) fn unheard(stderr: &str) -> Option<Error> {
    if stderr.contains("unknown option") {
        return Some(
            Error::unavailable(format!("this claude is too old or too new for this router: {stderr}"))
                .with_hint("install another version: npm install -g @anthropic-ai/claude-code"),
        );
    }
    if stderr.contains("cannot be used with root") {
        return Some(Error::unavailable(format!("claude: {stderr}")).with_hint(
            "run the router as another user, name another permission_mode, or set IS_SANDBOX=1 where nothing can be harmed",
        ));
    }
    None
}

/// The error of a form that it does not take.
pub(super) fn unformed() -> Error {
    Error::unsupported("claude does not take the form that was asked for: it is not a valid JSON Schema")
        .with_hint("mend the schema")
}

/// The error of an answer that was to have a form and has none.
pub(super) fn formless() -> Error {
    Error::protocol("claude gave no answer in the form that was asked for")
        .with_hint("say in the prompt what the form is for, or ask a larger model")
}

/// The error of a run that ended well and said nothing.
pub(super) fn speechless() -> Error {
    Error::protocol("claude ended well and gave no answer").with_hint("run it by hand with the same prompt to see why")
}
