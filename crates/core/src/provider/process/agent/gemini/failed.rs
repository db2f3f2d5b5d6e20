//! What the Gemini CLI says when it fails, as errors of the table: the message of its `result` line, its exit status and what it wrote to standard error each
//! know a part of it.
//!
//! The message holds the answer of Google's API as it came, or only its words. The exit status is the status of that answer modulo 256, and one of its own
//! where nothing was asked. Standard error names its class of errors, which alone tells a used-up quota from a busy minute.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::super::answer::Ended;
use crate::delta::FinishReason;
use crate::dialect::gemini::Gemini;
use crate::dialect::{Codec, retry_after};
use crate::error::{Error, ErrorKind};

/// What an exit status says of the answer that Google's API gave, and Google's word for it.
const ANSWERS: &[(i32, u16, &str)] = &[
    (144, 400, "INVALID_ARGUMENT"),
    (145, 401, "UNAUTHENTICATED"),
    (147, 403, "PERMISSION_DENIED"),
    (148, 404, "NOT_FOUND"),
    (173, 429, "RESOURCE_EXHAUSTED"),
    (243, 499, "CANCELLED"),
    (244, 500, "INTERNAL"),
    (246, 502, "UNAVAILABLE"),
    (247, 503, "UNAVAILABLE"),
    (248, 504, "DEADLINE_EXCEEDED"),
    (17, 529, "UNAVAILABLE"),
];

/// Its own classes of errors, as they stand on standard error.
const CLASSES: &[(&str, ErrorKind)] = &[
    ("ModelNotFoundError", ErrorKind::CallerModelUnknown),
    ("TerminalQuotaError", ErrorKind::ProviderQuotaExhausted),
    ("ValidationRequiredError", ErrorKind::ProviderAuth),
    ("FatalAuthenticationError", ErrorKind::ProviderAuth),
];

/// Words of a message that decide, whatever the status.
const WORDS: &[(&str, ErrorKind)] = &[
    ("fetch failed", ErrorKind::ProviderConnection),
    ("terminated", ErrorKind::ProviderConnection),
    ("credit balance", ErrorKind::ProviderBilling),
    ("econnrefused", ErrorKind::ProviderConnection),
    ("enotfound", ErrorKind::ProviderConnection),
    ("etimedout", ErrorKind::ProviderConnection),
];

/// Complaints about an answer that ended, and how.
const COMPLAINTS: &[(&str, FinishReason)] =
    &[("exceeded the token limit", FinishReason::Length), ("blocked due to", FinishReason::ContentFilter)];

/// The error of whoever is not logged in.
pub(super) fn not_logged_in(what: &str) -> Error {
    Error::new(ErrorKind::ProviderAuth, what)
        .with_hint("run gemini by hand once and log in with Google, or set GEMINI_API_KEY")
}

/// How an answer ended, if that is what a complaint is about.
pub(super) fn of_complaint(text: &str) -> Option<FinishReason> {
    COMPLAINTS.iter().find(|(words, _)| text.contains(words)).map(|(_, reason)| *reason)
}

/// The error that the message of a `result` line tells.
pub(super) fn said(message: &str, ended: &Ended<'_>) -> Error {
    let whole = message.trim().trim_start_matches("[API Error: ");
    // What follows is advice of its own.
    let text = whole.split("]\n").next().unwrap_or_default().trim_end_matches(']');
    let (code, word) = ANSWERS
        .iter()
        .find(|(exit, ..)| ended.status == Some(*exit))
        .map_or((None, ""), |(_, code, word)| (Some(*code), *word));
    let body = body(whole);
    let decoded = match (&body, code) {
        (Some(body), _) => Some(decode(code, body)),
        (None, Some(code)) => {
            Some(decode(Some(code), &json!({"error": {"code": code, "message": text, "status": word}})))
        }
        (None, None) => None,
    };
    let shown = body.as_ref().and_then(|body| body["error"]["message"].as_str()).unwrap_or(text);
    let shown = format!("gemini: {shown}");
    let Some(decoded) = decoded else {
        let kind = class(ended).or_else(|| words(text)).unwrap_or(ErrorKind::ProviderServerError);
        return Error::new(kind, shown);
    };
    let kind = class(ended).or_else(|| words(text)).unwrap_or_else(|| match decoded.kind() {
        // The body was the agent's making.
        ErrorKind::CallerInvalidRequest => ErrorKind::ProviderRejected,
        // A minute's limit says when to ask again, a used-up quota that names no time is not over soon.
        ErrorKind::ProviderRateLimited
            if text.contains("exceeded your current quota") && wait(text, ended).is_none() =>
        {
            ErrorKind::ProviderQuotaExhausted
        }
        kind => kind,
    });
    let mut error = Error::new(kind, shown);
    if let Some(status) = decoded.status() {
        error = error.with_status(status);
    }
    let limited = matches!(kind, ErrorKind::ProviderQuotaExhausted | ErrorKind::ProviderRateLimited);
    if let Some(wait) = decoded.retry_after().or_else(|| wait(text, ended)).filter(|_| limited) {
        error = error.with_retry_after(wait);
    }
    match kind {
        ErrorKind::ProviderAuth => error.with_hint("check its key, or run gemini by hand once and log in anew"),
        ErrorKind::CallerModelUnknown => error.with_hint("name a model that this account may use"),
        ErrorKind::ProviderQuotaExhausted => error.with_hint("wait for the quota's reset, or use another account"),
        _ => error,
    }
}

/// The error of a program that ended without a word on its standard output.
pub(super) fn unsaid(ended: &Ended<'_>) -> Option<Error> {
    let said = ended.stderr.trim();
    let first = said.lines().next().unwrap_or_default();
    Some(match ended.status? {
        41 => not_logged_in(&format!("gemini: {}", shown(said, "nobody is logged in"))),
        42 => Error::invalid(format!("gemini: {}", shown(said, "nothing is asked"))),
        52 => {
            Error::new(ErrorKind::ProviderUnavailable, format!("gemini: {}", shown(said, "its settings are not right")))
                .with_hint("see /etc/gemini-cli/settings.json and what its variables name")
        }
        55 => Error::new(
            ErrorKind::ProviderUnavailable,
            format!("gemini: {}", shown(said, "it does not trust its folder")),
        )
        .with_hint("this version of it wants another word of trust: install the newest one"),
        1 if said.contains("Unknown argument") => {
            let what = said.lines().find(|line| line.contains("Unknown argument")).unwrap_or(first);
            Error::new(ErrorKind::ProviderUnavailable, format!("this gemini is too old or too new: {what}"))
                .with_hint("install the newest one with: npm install -g @google/gemini-cli")
        }
        127 if said.contains("node") => {
            Error::new(ErrorKind::ProviderUnavailable, format!("gemini needs Node.js, which is not there: {first}"))
                .with_hint("install Node.js 20 or newer, and see that its folder is in PATH")
        }
        1 if said.contains("SyntaxError") || said.contains("ERR_UNKNOWN_BUILTIN_MODULE") => {
            Error::new(ErrorKind::ProviderUnavailable, format!("gemini cannot run on this Node.js: {first}"))
                .with_hint("install Node.js 20 or newer")
        }
        _ => return None,
    })
}

/// What was said, or else this.
fn shown<'a>(said: &'a str, otherwise: &'a str) -> &'a str {
    if said.is_empty() { otherwise } else { said }
}

/// The answer of the API, where the message has it whole.
fn body(text: &str) -> Option<Value> {
    let (at, _) = text.match_indices('{').next()?;
    let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
    values.next()?.ok().filter(|body| body["error"]["code"].is_u64())
}

fn decode(status: Option<u16>, body: &Value) -> Error {
    let code = status.or_else(|| u16::try_from(body["error"]["code"].as_u64()?).ok());
    let status = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Gemini.decode_error(status, &HeaderMap::new(), body.to_string().as_bytes())
}

fn class(ended: &Ended<'_>) -> Option<ErrorKind> {
    let known = CLASSES.iter().find(|(name, _)| ended.stderr.contains(name)).map(|(_, kind)| *kind);
    // The end of what it prints of such an error, where its beginning is lost.
    known.or_else(|| ended.stderr.contains("code: 404\n").then_some(ErrorKind::CallerModelUnknown))
}

fn words(text: &str) -> Option<ErrorKind> {
    let lower = text.to_lowercase();
    WORDS.iter().find(|(words, _)| lower.contains(words)).map(|(_, kind)| *kind)
}

/// When it may be asked again: as the message says, or as it prints of the error.
fn wait(text: &str, ended: &Ended<'_>) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = || {
        let (_, rest) = ended.stderr.rsplit_once("retryDelayMs: ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Duration::from_millis(digits.parse().ok()?))
    };
    retry_after::told(text, now).or_else(millis)
}
