//! Telling a provider where a call stands in somebody's distributed trace, in W3C's two headers. Where that comes from, and when nobody is told, is the router's business.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::trace::TraceContext;

/// Says where a call stands in somebody's trace.
pub(super) fn in_trace(headers: &mut HeaderMap, trace: Option<&TraceContext>) {
    const PARENT: HeaderName = HeaderName::from_static("traceparent");
    const STATE: HeaderName = HeaderName::from_static("tracestate");
    let Some(trace) = trace else { return };
    let said = [(PARENT, Some(trace.to_string())), (STATE, trace.state.as_deref().map(str::to_owned))];
    for (name, value) in said {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
}
