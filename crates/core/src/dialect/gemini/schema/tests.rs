//! Schemas both ways, and what is named or refused on the way.
#![allow(clippy::unwrap_used)]
use super::*;

fn subset(schema: Value) -> (Value, Vec<String>) {
    let mut dropped = Vec::new();
    let written = to_subset(&schema, "p", &mut dropped).unwrap();
    (written, dropped.into_iter().map(|path| path.0).collect())
}

#[test]
fn references_are_put_in_place() {
    let (written, dropped) = subset(json!({
        "$defs": {"City": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        "type": "object", "additionalProperties": false,
        "properties": {"home": {"$ref": "#/$defs/City", "description": "where"}, "all": {"type": "array", "items": {"$ref": "#/$defs/City"}}},
    }));
    let city = json!({"type": "OBJECT", "properties": {"name": {"type": "STRING"}}, "required": ["name"]});
    let mut home = city.clone();
    home["description"] = "where".into();
    assert_eq!(
        written,
        json!({"type": "OBJECT", "properties": {"home": home, "all": {"type": "ARRAY", "items": city}}})
    );
    assert!(dropped.is_empty());
}

#[test]
fn null_const_and_alternatives_are_said_otherwise() {
    let (written, dropped) = subset(json!({"type": "object", "properties": {
        "a": {"type": ["string", "null"]},
        "b": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]},
        "c": {"const": "x"},
        "d": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "e": {"enum": ["x", null]},
        "f": {"allOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"properties": {"y": true}, "required": ["y"]}]},
        "g": {"type": ["string", "integer"]},
    }}));
    assert_eq!(
        written["properties"],
        json!({
            "a": {"type": "STRING", "nullable": true},
            "b": {"nullable": true, "type": "INTEGER", "minimum": 1},
            "c": {"type": "STRING", "enum": ["x"]},
            "d": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]},
            "e": {"type": "STRING", "nullable": true, "enum": ["x"]},
            "f": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}, "y": {}}, "required": ["y"]},
            "g": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
        })
    );
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn what_cannot_be_said_is_named() {
    let (_, dropped) = subset(json!({"type": "object", "additionalProperties": {"type": "string"}, "properties": {
        "a": {"type": "integer", "enum": [1, 2], "multipleOf": 2}, "b": {"type": "string", "format": "email"},
        "c": {"type": "number", "exclusiveMaximum": 1.5}, "d": {"type": "array", "prefixItems": [], "uniqueItems": true}}}));
    assert_eq!(
        dropped,
        [
            "p.additionalProperties",
            "p.a.enum",
            "p.a.multipleOf",
            "p.b.format",
            "p.c.exclusiveMaximum",
            "p.d.prefixItems",
            "p.d.uniqueItems"
        ]
    );
}

#[test]
fn what_would_be_another_schema_is_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"$defs": {"N": {"properties": {"next": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"}),
        json!({"$ref": "https://example.com/x"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"properties": {"a": false}}),
        json!({"allOf": [{"type": "string"}, {"type": "number"}]}),
        json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "allOf": [{"$ref": "#/$defs/a"}]}),
    ] {
        let error = to_subset(&schema, "p", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind().name(), "caller_unsupported", "{schema}: {error}");
    }
    let wide: Value = (0..14).fold(json!({"type": "string"}), |inner, _| json!({"anyOf": [inner, inner]}));
    assert!(to_subset(&wide, "p", &mut Vec::new()).is_err());
}

#[test]
fn the_subset_is_read_as_json_schema() {
    let read = to_json_schema(&json!({
        "type": "OBJECT", "property_ordering": ["a"], "properties": {
            "a": {"type": "STRING", "format": "enum", "enum": ["x"], "nullable": true}, "type": {"type": "ARRAY", "min_items": "2", "items": {"type": "NUMBER"}}},
        "required": ["a"]}));
    assert_eq!(
        read,
        json!({"type": "object", "properties": {
        "a": {"type": ["string", "null"], "enum": ["x", null]}, "type": {"type": "array", "minItems": 2, "items": {"type": "number"}}},
        "required": ["a"]})
    );
}
