//! What was counted, as OTLP has it: the families of `llm_router::telemetry` under the names that Prometheus has for them, as sums since the process began.

use std::time::SystemTime;

use llm_router::telemetry::{Family, Kind, Point, Value as Number};
use serde_json::{Value, json};

use super::{attribute, nanos, scope};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Families as a request to a collector.
pub(super) fn of(resource: &Value, families: &[Family], began: SystemTime) -> Value {
    let times = (nanos(began), nanos(SystemTime::now()));
    let metrics: Vec<Value> =
        families.iter().filter(|family| !family.points.is_empty()).map(|f| metric(f, &times)).collect();
    json!({ "resourceMetrics": [{ "resource": resource, "scopeMetrics": [{ "scope": scope(), "metrics": metrics }] }] })
}

fn metric(family: &Family, times: &(String, String)) -> Value {
    let points: Vec<Value> = family.points.iter().map(|point| data_point(point, times)).collect();
    let unit = match family.name {
        name if name.contains("_seconds") => "s",
        name if name.contains("_dollars") => "USD",
        name if name.contains("_bytes") => "By",
        _ => "1",
    };
    let mut metric = json!({ "name": family.name, "description": family.help, "unit": unit });
    let (form, data) = match family.kind {
        Kind::Counter => {
            ("sum", json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true }))
        }
        Kind::Histogram => ("histogram", json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE })),
        _ => ("gauge", json!({ "dataPoints": points })),
    };
    if let Some(fields) = metric.as_object_mut() {
        fields.insert(form.to_owned(), data);
    }
    metric
}

fn data_point(point: &Point, (began, now): &(String, String)) -> Value {
    let attributes: Vec<Value> = point.labels.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut data = json!({ "attributes": attributes, "startTimeUnixNano": began, "timeUnixNano": now });
    let Some(fields) = data.as_object_mut() else { return data };
    match &point.value {
        Number::Count(count) => drop(fields.insert("asInt".to_owned(), count.to_string().into())),
        Number::Number(number) => drop(fields.insert("asDouble".to_owned(), (*number).into())),
        Number::Histogram(histogram) => {
            let counts: Vec<String> = histogram.counts.iter().map(u64::to_string).collect();
            let count: u64 = histogram.counts.iter().sum();
            fields.insert("count".to_owned(), count.to_string().into());
            fields.insert("sum".to_owned(), histogram.sum.into());
            fields.insert("bucketCounts".to_owned(), counts.into());
            fields.insert("explicitBounds".to_owned(), histogram.bounds.to_vec().into());
        }
        _ => {}
    }
    data
}
