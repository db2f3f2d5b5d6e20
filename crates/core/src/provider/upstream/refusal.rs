//! An upstream's answer that is no success, as an error: what the codec reads in it, and what no API says: redirects, web pages, a bare status.

use http::{StatusCode, header};
use serde::de::IgnoredAny;

use crate::dialect::Codec;
use crate::error::{Error, ErrorKind};
use crate::ids::ModelName;
use crate::provider::http::{HttpResponse, Seconds};

/// The most bytes read of an error answer.
const LARGEST: usize = 64 << 10;

/// The most characters shown of a body that is no API's.
const SHOWN: usize = 300;

/// Reads an answer whose status is no success. `model` is the one asked for, where one was.
pub(super) async fn read(codec: &dyn Codec, answer: HttpResponse, model: Option<&ModelName>) -> Error {
    let (status, media) = (answer.status, answer.media_type().into_owned());
    if status.is_redirection() {
        return redirected(&answer);
    }
    let headers = answer.headers;
    let body = answer.body.prefix(LARGEST).await;
    let error = codec.decode_error(status, &headers, &body);
    let said = if is_page(&media, &body) {
        // A proxy's or a gateway's page: its words are markup, its status still says what happened.
        Error::new(error.kind(), format!("HTTP {status}, with a web page instead of an API's error"))
            .with_hint("check base_url: it may name a web site, or a proxy stands in between")
    } else if serde_json::from_slice::<IgnoredAny>(&body).is_err() {
        bare(&error, status, &body, model)
    } else {
        return if error.status().is_some() { error } else { error.with_status(status) };
    };
    let said = said.with_status(status);
    match error.retry_after() {
        Some(after) => said.with_retry_after(after),
        None => said,
    }
}

/// An answer that says nothing but its status, or something that is no API's: what was asked for, what came, and what to do.
fn bare(error: &Error, status: StatusCode, body: &[u8], model: Option<&ModelName>) -> Error {
    let model = model.map(|model| format!(" for the model {model}")).unwrap_or_default();
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let text: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN).collect();
    let words = if text.is_empty() { ", without a reason".to_owned() } else { format!(": {text}") };
    let said = Error::new(error.kind(), format!("HTTP {}{reason}{model}{words}", status.as_u16()));
    match (error.hint(), error.retry_after()) {
        (_, Some(after)) => said.with_hint(format!("ask again in {}, or name another provider", Seconds(after))),
        (Some(hint), None) => said.with_hint(hint),
        (None, None) => match NEXT_STEPS.iter().find(|(kind, _)| *kind == error.kind()) {
            Some((_, step)) => said.with_hint(*step),
            None => said,
        },
    }
}

/// What to do where the upstream does not say it.
const NEXT_STEPS: &[(ErrorKind, &str)] = &[
    (
        ErrorKind::CallerInvalidRequest,
        "leave options out one by one, or try another model: the provider does not say which it refuses",
    ),
    (ErrorKind::CallerTooLarge, "send less: the provider's limit is lower than this request"),
    (ErrorKind::CallerModelUnknown, "check the model's name: `llm-router models` lists those that are known"),
    (
        ErrorKind::ProviderAuth,
        "check the key of this provider: `llm-router config show --origin` says where it comes from",
    ),
    (ErrorKind::ProviderBilling, "check the balance of this provider's account"),
    (ErrorKind::ProviderRateLimited, "wait a little and ask again, or name another provider"),
    (ErrorKind::ProviderQuotaExhausted, "wait for the quota's reset, or name another provider"),
    (ErrorKind::ProviderOverloaded, "ask again in a moment, or name another provider"),
    (ErrorKind::ProviderUnavailable, "check base_url and the model's name: there is nothing at this address"),
    (ErrorKind::ProviderServerError, "ask again; where it stays so, see the provider's status page"),
    (ErrorKind::ProviderTimeout, "ask again, or ask for a shorter answer"),
    (ErrorKind::ProviderProtocol, "check base_url: what answers there is not the API that it should be"),
];

/// Whether a body is a web page.
pub(super) fn is_page(media: &str, body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let is_tag = |tag: &[u8]| start.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag));
    media == "text/html" || is_tag(b"<!doctype") || is_tag(b"<html")
}

/// A redirect is not followed: it would carry the prompt and the key to another address.
fn redirected(answer: &HttpResponse) -> Error {
    let location = answer.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = location.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let to = host.map_or("another path of the same host".to_owned(), |host| format!("the host {host}"));
    Error::protocol(format!("HTTP {}: it redirects to {to}, and redirects are not followed", answer.status))
        .with_status(answer.status)
        .with_hint("if that is right, set base_url to the new address")
}
