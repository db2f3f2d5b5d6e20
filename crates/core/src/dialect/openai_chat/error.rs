//! Errors of this dialect, both ways: the bodies of the servers that speak it become an [`ErrorKind`] by one table, and our errors take OpenAI's shape.
//!
//! Servers agree on little: `{"error":{…}}`, `{"error":"…"}`, `{"detail":…}`, `{"message":…}`, a list of one, a web page. What is read from all of them is a
//! message, some code words and perhaps a status; the rules then go from the most telling word to the bare status. A 400 is the caller's here; whether the
//! body was ours (`provider_rejected`) only the sender knows.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::dialect::json::Object;
use crate::dialect::retry_after;
use crate::error::{Error, ErrorKind, SameTarget};

use ErrorKind::{
    CallerContentFilter, CallerContextLength, CallerInvalidRequest, CallerModelUnknown, CallerTooLarge, ProviderAuth,
    ProviderBilling, ProviderOverloaded, ProviderProtocol, ProviderQuotaExhausted, ProviderRateLimited,
    ProviderRejected, ProviderServerError, ProviderTimeout, ProviderUnavailable,
};

/// Code words that say all: `code`, `type`, `status` or an inner code of the body, compared without case.
const WORDS: &[(&str, ErrorKind)] = &[
    ("context_length_exceeded", CallerContextLength),
    ("exceed_context_size_error", CallerContextLength),
    ("string_above_max_length", CallerContextLength),
    ("content_filter", CallerContentFilter),
    ("content_policy_violation", CallerContentFilter),
    ("responsibleaipolicyviolation", CallerContentFilter),
    ("data_inspection_failed", CallerContentFilter),
    ("moderation_blocked", CallerContentFilter),
    ("request_too_large", CallerTooLarge),
    ("insufficient_quota", ProviderQuotaExhausted),
    ("quota_exceeded", ProviderQuotaExhausted),
    ("usage_limit_reached", ProviderQuotaExhausted),
    ("billing_hard_limit_reached", ProviderBilling),
    ("billing_not_active", ProviderBilling),
    ("insufficient_balance", ProviderBilling),
    ("payment_required", ProviderBilling),
    ("invalid_api_key", ProviderAuth),
    ("api_key_invalid", ProviderAuth),
    ("invalid_authentication", ProviderAuth),
    ("invalid_authentication_error", ProviderAuth),
    ("authentication_error", ProviderAuth),
    ("unauthenticated", ProviderAuth),
    ("account_deactivated", ProviderAuth),
    ("model_not_found", CallerModelUnknown),
    ("model_not_available", CallerModelUnknown),
    ("model_decommissioned", CallerModelUnknown),
    ("deploymentnotfound", CallerModelUnknown),
    ("invalid_model", CallerModelUnknown),
    ("rate_limit_exceeded", ProviderRateLimited),
    ("rate_limit_error", ProviderRateLimited),
    ("too_many_requests", ProviderRateLimited),
    ("resource_exhausted", ProviderRateLimited),
    ("overloaded_error", ProviderOverloaded),
    ("engine_overloaded", ProviderOverloaded),
    ("unavailable_error", ProviderOverloaded),
    ("capacity_exceeded", ProviderOverloaded),
    ("slow_down", ProviderOverloaded),
    // Anthropic's, in its own dialect and in its imitation of this one.
    ("permission_error", ProviderAuth),
    ("billing_error", ProviderBilling),
    ("not_found_error", CallerModelUnknown),
    ("timeout_error", ProviderTimeout),
    ("contract_spend_limit_reached", ProviderQuotaExhausted),
    ("enforced_spend_limit_reached", ProviderQuotaExhausted),
    ("linked_organization_billing_unavailable", ProviderBilling),
    ("linked_organization_spend_limit_reached", ProviderBilling),
];

/// Phrases of messages, all of a row's in the text, compared without case. Only asked where no word said all, but for the first two rows.
const PHRASES: &[(&[&str], ErrorKind)] = &[
    // More tokens than the account may send in a minute: waiting does not help, another target may.
    (&["request too large for"], ProviderRejected),
    (&["requests per day"], ProviderQuotaExhausted),
    (&["tokens per day"], ProviderQuotaExhausted),
    (&["free-models-per-day"], ProviderQuotaExhausted),
    (&["maximum context length"], CallerContextLength),
    (&["context length"], CallerContextLength),
    (&["context window"], CallerContextLength),
    (&["context size"], CallerContextLength),
    (&["prompt is too long"], CallerContextLength),
    (&["input is too long"], CallerContextLength),
    (&["maximum prompt length"], CallerContextLength),
    (&["max_model_len"], CallerContextLength),
    (&["token count", "exceeds the maximum"], CallerContextLength),
    (&["too large for model with", "maximum context"], CallerContextLength),
    (&["must be <=", "max_new_tokens"], CallerContextLength),
    (&["exceed context limit"], CallerContextLength),
    (&["reduce the length of the messages"], CallerContextLength),
    (&["content management policy"], CallerContentFilter),
    (&["content policy"], CallerContentFilter),
    (&["safety system"], CallerContentFilter),
    (&["inappropriate content"], CallerContentFilter),
    (&["was flagged"], CallerContentFilter),
    (&["content filtering policy"], CallerContentFilter),
    (&["exceeded your current quota"], ProviderQuotaExhausted),
    (&["insufficient balance"], ProviderBilling),
    (&["insufficient credits"], ProviderBilling),
    (&["credit balance"], ProviderBilling),
    (&["requires more credits"], ProviderBilling),
    (&["monthly included credits"], ProviderBilling),
    (&["usage limits", "regain access"], ProviderQuotaExhausted),
    (&["incorrect api key"], ProviderAuth),
    (&["invalid api key"], ProviderAuth),
    (&["api key not valid"], ProviderAuth),
    (&["no auth credentials"], ProviderAuth),
    (&["invalid username or password"], ProviderAuth),
    (&["model", "does not exist"], CallerModelUnknown),
    (&["model not exist"], CallerModelUnknown),
    (&["model", "not found"], CallerModelUnknown),
    (&["invalid model"], CallerModelUnknown),
    (&["is not a valid model"], CallerModelUnknown),
    (&["no endpoints found"], CallerModelUnknown),
    (&["model", "not supported by any provider"], CallerModelUnknown),
    (&["overloaded"], ProviderOverloaded),
    (&["at capacity"], ProviderOverloaded),
    (&["loading model"], ProviderOverloaded),
    (&["is currently loading"], ProviderOverloaded),
    (&["too many requests"], ProviderRateLimited),
    (&["rate limit"], ProviderRateLimited),
];

/// How many of [`PHRASES`] say more than any word does.
const STRONG_PHRASES: usize = 4;

/// What a bare status means; the first row that reaches it.
const STATUSES: &[(std::ops::RangeInclusive<u16>, ErrorKind)] = &[
    (300..=399, ProviderProtocol),
    (401..=401, ProviderAuth),
    (402..=402, ProviderBilling),
    (403..=403, ProviderAuth),
    (404..=405, ProviderUnavailable),
    (408..=408, ProviderTimeout),
    (409..=409, ProviderServerError),
    (413..=413, CallerTooLarge),
    (429..=429, ProviderRateLimited),
    (498..=498, ProviderOverloaded),
    (400..=499, CallerInvalidRequest),
    (503..=503, ProviderOverloaded),
    (504..=504, ProviderTimeout),
    (524..=524, ProviderTimeout),
    (529..=529, ProviderOverloaded),
];

/// The next step, where the kind suggests one.
const HINTS: &[(ErrorKind, &str)] = &[
    (ProviderAuth, "check the key of this provider"),
    (ProviderBilling, "check the balance of this provider's account"),
    (ProviderQuotaExhausted, "wait for the quota's reset, or raise it at the provider"),
    (ProviderUnavailable, "check the base URL: it usually ends in /v1"),
    (ProviderProtocol, "check the base URL: it usually ends in /v1"),
];

/// What a body says, whatever its shape.
#[derive(Debug, Default)]
struct Said {
    message: String,
    words: Vec<String>,
    status: Option<u16>,
}

/// An upstream's answer with an error status.
pub(in crate::dialect) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let said = read(body);
    let code = match status.is_success() {
        true => said.status.unwrap_or(0),
        false => status.as_u16(),
    };
    let mut kind = kind(&said, code);
    kind = match (retry_after::should_retry(headers), kind) {
        (Some(false), ProviderRateLimited) => ProviderQuotaExhausted,
        (Some(false), _) if kind.row().same == SameTarget::Retry => ProviderUnavailable,
        (Some(true), CallerInvalidRequest | ProviderUnavailable) => ProviderServerError,
        _ => kind,
    };
    let message = match (said.message.trim(), body.trim_ascii()) {
        ("", []) => format!("HTTP {code} without a body"),
        ("", body) if is_page(body) => format!("HTTP {code} with a web page{}", title(body)),
        ("", body) => format!("HTTP {code}: {}", excerpt(body)),
        (message, _) => message.to_owned(),
    };
    let mut error = Error::new(kind, message);
    if let Some((_, hint)) = HINTS.iter().find(|(of, _)| *of == kind) {
        error = error.with_hint(*hint);
    }
    if let Ok(status) = StatusCode::from_u16(code) {
        error = error.with_status(status);
    }
    match retry_after::retry_after(headers, &said.message) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// An error where an answer should be: in the middle of a stream, or as a body with status 200.
pub(in crate::dialect) fn in_answer(data: &[u8]) -> Error {
    decode(StatusCode::OK, &HeaderMap::new(), data)
}

/// Whether an object without choices is an error of a server that does not use the field `error`.
pub(in crate::dialect) fn is_error(fields: &Object<'_>) -> bool {
    let object = fields.get("object").is_some_and(|object| object.get() == "\"error\"");
    object || fields.get("detail").is_some() || (fields.get("message").is_some() && fields.get("id").is_none())
}

/// Whether a body is a web page: a proxy, a login, a wrong base URL.
pub(in crate::dialect) fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

fn kind(said: &Said, status: u16) -> ErrorKind {
    let text = said.message.to_lowercase();
    let phrase = |rows: &[(&[&str], ErrorKind)]| {
        rows.iter().find(|(needles, _)| needles.iter().all(|needle| text.contains(needle))).map(|(_, kind)| *kind)
    };
    let word = || {
        said.words.iter().find_map(|word| {
            let named = ErrorKind::ALL.iter().filter(|kind| kind.name().starts_with("provider_"));
            let ours = named.map(|kind| (kind.name(), *kind));
            WORDS.iter().copied().chain(ours).find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, kind)| kind)
        })
    };
    let (strong, weak) = PHRASES.split_at(STRONG_PHRASES);
    // A refused key may come with any words about models and limits.
    let by_text = || phrase(weak).filter(|_| status != 401);
    let by_status = || STATUSES.iter().find(|(range, _)| range.contains(&status)).map(|(_, kind)| *kind);
    phrase(strong).or_else(word).or_else(by_text).or_else(by_status).unwrap_or(ProviderServerError)
}

fn read(body: &[u8]) -> Said {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        // Plain text is a message of its own; a page is not.
        let message = if is_page(body) { String::new() } else { excerpt(body) };
        return Said { message, ..Said::default() };
    };
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let inner = match (value.get("error"), value.get("errors").or_else(|| value.get("fault"))) {
        (Some(inner @ (Value::Object(_) | Value::Array(_))), _) => inner,
        (_, Some(Value::Array(list))) => list.first().unwrap_or(value),
        (_, Some(inner @ Value::Object(_))) => inner,
        _ => value,
    };
    let mut said = Said { message: message(inner), ..Said::default() };
    if let Some(raw) = inner.pointer("/metadata/raw").and_then(Value::as_str) {
        // OpenRouter's own message says little; the words of the provider behind it are here.
        said.message.push_str(": ");
        said.message.push_str(raw);
    }
    let codes = ["code", "type", "status"].iter().flat_map(|name| [inner.get(name), value.get(name)]);
    let reasons =
        inner.get("details").and_then(Value::as_array).into_iter().flatten().map(|detail| detail.get("reason"));
    let inner_codes = ["/details/error_code", "/innererror/code"].map(|path| inner.pointer(path));
    for code in inner_codes.into_iter().chain(codes).chain(reasons).flatten() {
        match code {
            Value::String(word) => said.words.push(word.clone()),
            number => said.status = said.status.or_else(|| u16::try_from(number.as_u64()?).ok()),
        }
    }
    said.status = said.status.filter(|status| (400..=599).contains(status));
    said
}

/// The words of an error, wherever they stand.
fn message(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(message).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => {
            let named = ["message", "detail", "error", "msg", "faultstring"].iter().find_map(|name| fields.get(*name));
            let text = named.map(message).unwrap_or_default();
            match fields.get("loc").and_then(Value::as_array) {
                Some(path) => {
                    let path: Vec<String> =
                        path.iter().map(|part| part.as_str().map_or(part.to_string(), str::to_owned)).collect();
                    format!("{}: {text}", path.join("."))
                }
                None => text,
            }
        }
        _ => String::new(),
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or(body)).trim().to_owned()
}

fn title(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(page.get(..page.len().min(4096)).unwrap_or(page)).into_owned();
    let title = page.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    title.map(|(title, _)| format!(" ({})", title.trim())).unwrap_or_default()
}

/// Type and code for clients, in OpenAI's words where it has some; every other kind is its own code.
const SHAPES: &[(ErrorKind, &str, &str)] = &[
    (CallerTooLarge, "invalid_request_error", "request_too_large"),
    (CallerModelUnknown, "invalid_request_error", "model_not_found"),
    (CallerContextLength, "invalid_request_error", "context_length_exceeded"),
    (CallerContentFilter, "invalid_request_error", "content_filter"),
    (ErrorKind::PolicyUnauthenticated, "authentication_error", "invalid_api_key"),
    (ErrorKind::PolicyForbidden, "permission_error", "permission_denied"),
    (ErrorKind::PolicyRateLimited, "rate_limit_error", "rate_limit_exceeded"),
    (ErrorKind::PolicyBudgetExceeded, "insufficient_quota", "insufficient_quota"),
    (ProviderRateLimited, "rate_limit_error", "rate_limit_exceeded"),
    (ProviderQuotaExhausted, "insufficient_quota", "insufficient_quota"),
];

/// An error as this dialect writes it, in a body or in the middle of a stream.
pub(in crate::dialect) fn encode(error: &Error) -> Bytes {
    Bytes::from(json!({"error": described(error)}).to_string())
}

/// What OpenAI's dialects say of an error: message, type, param and code.
pub(in crate::dialect) fn described(error: &Error) -> Value {
    let kind = error.kind();
    let generic = match kind.http_status().is_client_error() {
        true => "invalid_request_error",
        false => "server_error",
    };
    let shape = SHAPES.iter().find(|(of, ..)| *of == kind);
    let (class, code) = shape.map_or((generic, kind.name()), |(_, class, code)| (class, code));
    let message = match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    json!({"message": message, "type": class, "param": null, "code": code})
}

/// What is said of a frame or body that is no JSON object.
pub(in crate::dialect) fn unreadable(data: &[u8], error: &Error) -> Error {
    if data.is_empty() {
        return Error::protocol("the answer is empty");
    }
    if is_page(data) {
        return Error::protocol("the upstream answered with a web page instead of JSON")
            .with_hint("check the base URL: it usually ends in /v1");
    }
    let head = String::from_utf8_lossy(data.get(..data.len().min(120)).unwrap_or(data)).into_owned();
    Error::protocol(format!("the answer cannot be read: {}; it begins {head:?}", error.message()))
}
