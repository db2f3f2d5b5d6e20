//! `/`: a small page to talk with whoever answers. One file without outside parts, `ui/index.html`; it asks this server's own API like any other client.
//!
//! The page holds no secret and needs no key to be read: what it asks with is entered there and kept for the tab. Its policy allows the very script and style that
//! it was built with, by their digests, and nothing from elsewhere.

use std::sync::OnceLock;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use llm_router::cache::Sha256Digest;

const PAGE: &str = include_str!("ui/index.html");

/// `GET /`.
pub(crate) async fn page() -> Response {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let policy = POLICY.get_or_init(|| HeaderValue::from_str(&policy()).unwrap_or(HeaderValue::from_static("sandbox")));
    let mut response = Response::new(PAGE.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest("script"),
        digest("style"),
    )
}

fn digest(element: &str) -> String {
    let text = PAGE.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    digest_of(text.map_or("", |(text, _)| text))
}

/// The digest of what stands in an element, as a policy writes it.
pub(crate) fn digest_of(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256Digest::of(text.as_bytes()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_outside_parts_and_writes_no_markup() {
        for word in ["http://", "https://", "src=", "innerHTML", "insertAdjacentHTML", "eval(", "style=", "onclick"] {
            assert!(!PAGE.contains(word), "{word}");
        }
        assert_eq!((PAGE.matches("<script>").count(), PAGE.matches("<style>").count()), (1, 1));
        assert!(!policy().contains("unsafe"));
    }
}
