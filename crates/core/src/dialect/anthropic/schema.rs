//! JSON Schemas as the vendor takes them for answers: every object closed, and only the keywords that its grammar knows.
//!
//! What it does not know is taken out, told to the model in the description, and named as dropped, since nothing enforces it any more. A schema that fits
//! already goes out as the caller wrote it.

use serde_json::{Map, Value};

use crate::dialect::FieldPath;

/// Keywords that are taken as they are.
const KEPT: &[&str] = &[
    "type",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    "properties",
    "required",
    "items",
    "description",
    "title",
    "default",
];

/// Keywords that say nothing about the answer.
const SILENT: &[&str] = &["$schema", "$id", "$comment"];

/// Formats of texts that are enforced.
const FORMATS: &[&str] = &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// A schema that the vendor takes.
pub(super) fn fit(schema: Value, path: &str, dropped: &mut Vec<FieldPath>) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let mut fitting = Map::new();
    let mut lost: Vec<(String, Value)> = Vec::new();
    let is_object = fields.get("type").is_some_and(names_object) || fields.contains_key("properties");
    for (name, value) in fields {
        let at = format!("{path}.{name}");
        match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(inner)) => {
                let inner = inner.into_iter().map(|(key, one)| {
                    let fitted = fit(one, &format!("{at}.{key}"), dropped);
                    (key, fitted)
                });
                fitting.insert(name, Value::Object(inner.collect()));
            }
            ("items", value) => {
                fitting.insert(name, fit(value, &at, dropped));
            }
            ("anyOf" | "allOf" | "oneOf", Value::Array(list)) => {
                let list =
                    list.into_iter().enumerate().map(|(place, one)| fit(one, &format!("{at}[{place}]"), dropped));
                let name = if name == "oneOf" { "anyOf".to_owned() } else { name };
                fitting.insert(name, list.collect());
            }
            ("additionalProperties", Value::Bool(false)) => {}
            ("minItems", value) if value == 0 || value == 1 => {
                fitting.insert(name, value);
            }
            ("format", Value::String(word)) if FORMATS.contains(&word.as_str()) => {
                fitting.insert(name, word.into());
            }
            (word, value) if KEPT.contains(&word) => {
                fitting.insert(name, value);
            }
            (word, _) if SILENT.contains(&word) => {}
            (_, value) => {
                dropped.push(FieldPath(at));
                lost.push((name, value));
            }
        }
    }
    if is_object {
        fitting.insert("additionalProperties".to_owned(), false.into());
    }
    if !lost.is_empty() {
        let told: Vec<String> = lost.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let told = format!("{{{}}}", told.join(", "));
        let described = match fitting.get("description").and_then(Value::as_str) {
            Some(text) => format!("{text}\n\n{told}"),
            None => told,
        };
        fitting.insert("description".to_owned(), described.into());
    }
    Value::Object(fitting)
}

fn names_object(kind: &Value) -> bool {
    kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_stays() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string", "format": "date"}, "b": {"$ref": "#/$defs/B"}},
            "required": ["a"], "additionalProperties": false, "$defs": {"B": {"enum": ["x"]}}});
        let mut dropped = Vec::new();
        assert_eq!(fit(schema.clone(), "s", &mut dropped), schema);
        assert!(dropped.is_empty());
    }

    #[test]
    fn what_is_not_enforced_is_told_and_named() {
        let schema = json!({"$schema": "x", "type": "object", "properties": {
            "age": {"type": "integer", "minimum": 1, "maximum": 9, "description": "years"},
            "tags": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]}}}});
        let mut dropped = Vec::new();
        let fitted = fit(schema, "s", &mut dropped);
        assert_eq!(
            fitted,
            json!({"type": "object", "properties": {
                "age": {"type": "integer", "description": "years\n\n{minimum: 1, maximum: 9}"},
                "tags": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]},
                    "description": "{maxItems: 3}"}}, "additionalProperties": false})
        );
        let names: Vec<String> = dropped.into_iter().map(|path| path.0).collect();
        assert_eq!(names, ["s.properties.age.minimum", "s.properties.age.maximum", "s.properties.tags.maxItems"]);
    }
}
