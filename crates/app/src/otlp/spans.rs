//! A request's record as spans: one of the request, one of each attempt below it, with OpenTelemetry's `gen_ai.*` attributes.
//!
//! A record holds no prompt, no answer and no key; of an error only its kind goes out, since its text may quote a provider who quotes the prompt.

use std::time::Duration;

use llm_router::ids::ModelName;
use llm_router::trace::{Attempt, Span, Trace};
use llm_router::usage::Usage;
use serde_json::{Value, json};

use super::{attribute, scope};

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Providers that OpenTelemetry calls by another name.
const NAMES: [(&str, &str); 4] =
    [("azure_openai", "azure.ai.openai"), ("gemini", "gcp.gemini"), ("mistral", "mistral_ai"), ("xai", "x_ai")];

fn provider_name(id: &str) -> &str {
    NAMES.iter().find(|(own, _)| *own == id).map_or(id, |(_, theirs)| theirs)
}

/// Spans as a request to a collector.
pub(super) fn wrapped(resource: &Value, spans: Vec<Value>) -> Value {
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": scope(), "spans": spans }] }] })
}

/// The spans of a request.
pub(super) fn of(trace: &Trace) -> Vec<Value> {
    let Some(span) = &trace.span else { return Vec::new() };
    let total = trace.total.unwrap_or_default();
    let served = trace.served.as_ref();
    let mut attributes = vec![
        attribute("llm_router.request.id", trace.id.as_str()),
        attribute("llm_router.cache", trace.cache.as_str()),
        number("llm_router.attempts", trace.attempts.len() as u64),
    ];
    if let Some(served) = served {
        attributes.extend(target(trace, served.provider.as_str(), served.model.as_ref()));
        attributes.extend(served.substituted.as_deref().map(|meant| attribute("llm_router.substituted", meant)));
    } else {
        attributes.push(attribute("gen_ai.operation.name", trace.operation.name()));
    }
    attributes.extend(answered(trace));
    attributes.extend(trace.cost().map(|micros| number("llm_router.cost_micros", micros)));
    attributes.extend(trace.first_content.map(|took| seconds("llm_router.first_content_seconds", took)));
    let error = trace.error.as_ref().map(|error| error.kind().name());
    let model = served.and_then(|served| served.model.as_ref());
    let mut spans = vec![made(span, SERVER, name(trace, model), (trace.at, Duration::ZERO, total), attributes, error)];
    for attempt in &trace.attempts {
        spans.extend(attempted(trace, attempt, total));
    }
    spans.extend(trace.given_up.iter().filter_map(|attempt| given_up(trace, attempt)));
    spans
}

fn attempted(trace: &Trace, attempt: &Attempt, total: Duration) -> Option<Value> {
    let span = attempt.span.as_ref()?;
    let mut attributes = target(trace, attempt.provider.as_str(), attempt.model.as_ref());
    let began = attempt.began.unwrap_or_default();
    // The one that answers lasts as long as its answer.
    let (ended, error) = match &attempt.error {
        Some(error) => {
            attributes
                .extend(error.status().map(|status| number("http.response.status_code", u64::from(status.as_u16()))));
            (began + attempt.took.unwrap_or_default(), Some(error.kind().name()))
        }
        None => {
            attributes.extend(answered(trace));
            (total.max(began), trace.error.as_ref().map(|error| error.kind().name()))
        }
    };
    Some(made(span, CLIENT, name(trace, attempt.model.as_ref()), (trace.at, began, ended), attributes, error))
}

/// A call that nobody waited for any more: no error of whoever was asked.
fn given_up(trace: &Trace, attempt: &Attempt) -> Option<Value> {
    let mut attributes = target(trace, attempt.provider.as_str(), attempt.model.as_ref());
    attributes.push(json!({ "key": "llm_router.given_up", "value": { "boolValue": true } }));
    let began = attempt.began.unwrap_or_default();
    let times = (trace.at, began, began + attempt.took.unwrap_or_default());
    Some(made(attempt.span.as_ref()?, CLIENT, name(trace, attempt.model.as_ref()), times, attributes, None))
}

/// What was asked of whom.
fn target(trace: &Trace, provider: &str, model: Option<&ModelName>) -> Vec<Value> {
    let mut attributes = vec![
        attribute("gen_ai.operation.name", trace.operation.name()),
        attribute("gen_ai.provider.name", provider_name(provider)),
    ];
    attributes.extend(model.map(|model| attribute("gen_ai.request.model", model.as_str())));
    attributes
}

/// What came of it.
fn answered(trace: &Trace) -> Vec<Value> {
    let mut attributes = Vec::new();
    attributes.extend(trace.answered_as.as_deref().map(|model| attribute("gen_ai.response.model", model)));
    if let Some(Usage { input, output, cache_read, cache_write, reasoning, .. }) = trace.usage {
        attributes.push(number("gen_ai.usage.input_tokens", input));
        attributes.push(number("gen_ai.usage.output_tokens", output));
        let parts = [
            ("gen_ai.usage.cache_read.input_tokens", cache_read),
            ("gen_ai.usage.cache_creation.input_tokens", cache_write),
            ("gen_ai.usage.reasoning.output_tokens", reasoning),
        ];
        attributes.extend(parts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| number(name, count)));
    }
    attributes
}

fn name(trace: &Trace, model: Option<&ModelName>) -> String {
    match model {
        Some(model) => format!("{} {model}", trace.operation.name()),
        None => trace.operation.name().to_owned(),
    }
}

/// A span of the request from one time to another after its arrival.
fn made(
    span: &Span,
    kind: u8,
    name: String,
    (at, from, to): (f64, Duration, Duration),
    mut attributes: Vec<Value>,
    error: Option<&str>,
) -> Value {
    let arrived = Duration::try_from_secs_f64(at).unwrap_or_default();
    let context = &span.context;
    attributes.extend(error.map(|kind| attribute("error.type", kind)));
    let mut made = json!({
        "traceId": format!("{:032x}", context.trace),
        "spanId": format!("{:016x}", context.span),
        "flags": u8::from(context.sampled),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": (arrived + from).as_nanos().to_string(),
        "endTimeUnixNano": (arrived + to).as_nanos().to_string(),
        "attributes": attributes,
        "status": error.map_or_else(|| json!({}), |kind| json!({ "code": ERROR, "message": kind })),
    });
    if let Some(fields) = made.as_object_mut() {
        let parent = span.parent.map(|parent| format!("{parent:016x}"));
        fields.extend(parent.map(|parent| ("parentSpanId".to_owned(), parent.into())));
        fields.extend(context.state.as_deref().map(|state| ("traceState".to_owned(), state.into())));
    }
    made
}

fn number(key: &str, number: u64) -> Value {
    json!({ "key": key, "value": { "intValue": number.to_string() } })
}

fn seconds(key: &str, took: Duration) -> Value {
    json!({ "key": key, "value": { "doubleValue": took.as_secs_f64() } })
}
