//! An upstream's answer that is no success, as an error: what the codec reads in it, and what no API says: redirects and web pages.

use http::header;

use crate::dialect::Codec;
use crate::error::Error;
use crate::provider::http::HttpResponse;

/// The most bytes read of an error answer.
const LARGEST: usize = 64 << 10;

/// Reads an answer whose status is no success.
pub(super) async fn read(codec: &dyn Codec, answer: HttpResponse) -> Error {
    let (status, media) = (answer.status, answer.media_type());
    if status.is_redirection() {
        return redirected(&answer);
    }
    let headers = answer.headers;
    let body = answer.body.prefix(LARGEST).await;
    let error = codec.decode_error(status, &headers, &body);
    if !is_page(&media, &body) {
        return if error.status().is_some() { error } else { error.with_status(status) };
    }
    // A proxy's or a gateway's page: its words are markup, its status still says what happened.
    let said = Error::new(error.kind(), format!("HTTP {status}, with a web page instead of an API's error"))
        .with_status(status)
        .with_hint("check base_url: it may name a web site, or a proxy stands in between");
    match error.retry_after() {
        Some(after) => said.with_retry_after(after),
        None => said,
    }
}

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
