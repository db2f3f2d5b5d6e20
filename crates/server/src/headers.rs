//! The headers that answers carry besides HTTP's own. Made once: a name that is a text is looked up among all names that HTTP knows each time it is set.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The request's id, also in the access log and for `explain`.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same where Anthropic's clients look for it.
pub(crate) const ANTHROPIC_ID: HeaderName = HeaderName::from_static("request-id");
/// Who answered.
pub(crate) const PROVIDER: HeaderName = HeaderName::from_static("x-llm-router-provider");
/// With which model.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-llm-router-model");
/// The target that was meant, where another one answered.
pub(crate) const SUBSTITUTED: HeaderName = HeaderName::from_static("x-llm-router-substituted");
/// Who went on with the answer where it broke off.
pub(crate) const RESUMED: HeaderName = HeaderName::from_static("x-llm-router-resumed");
/// How many attempts it took.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-llm-router-attempts");
/// What the cache did.
pub(crate) const CACHE: HeaderName = HeaderName::from_static("x-llm-router-cache");
/// What the answer cost, in dollars; where it is known when the head goes out.
pub(crate) const COST: HeaderName = HeaderName::from_static("x-llm-router-cost");
/// The cache key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-llm-router-key");
/// What could not be said to the target that answered, by name.
pub(crate) const DROPPED: HeaderName = HeaderName::from_static("x-llm-router-dropped");
/// What held instead of limits that several replicas share, where nobody counted them.
pub(crate) const LIMITS: HeaderName = HeaderName::from_static("x-llm-router-limits");
/// Set where a count is an estimate.
pub(crate) const ESTIMATED: HeaderName = HeaderName::from_static("x-llm-router-estimated");
/// Tells proxies to pass pieces on as they come.
pub(crate) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Sets a header to a text, as far as it can be said in one.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
