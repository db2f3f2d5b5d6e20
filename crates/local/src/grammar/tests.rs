//! Grammars, their limits and what they match.
#![allow(clippy::unwrap_used)]

mod limits;
mod matcher;

use serde_json::json;

use super::*;
use matcher::Grammar;

/// The grammar of a schema must let through the first texts and hold back the others.
#[track_caller]
fn holds(schema: Value, fits: &[&str], others: &[&str]) {
    let text = from_schema(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let grammar = Grammar::new(&text);
    for fitting in fits {
        assert!(grammar.accepts(fitting), "{schema} should take {fitting}:\n{text}");
    }
    for other in others {
        assert!(!grammar.accepts(other), "{schema} should not take {other}:\n{text}");
    }
}

#[test]
fn types() {
    holds(
        json!({"type": "string"}),
        &[r#""""#, r#""a é 😀""#, r#""\n\"\\\u00e9\/""#],
        &["a", r#"""#, "\"a\nb\"", r#""\x""#, r#""\ud800""#],
    );
    holds(json!({"type": "integer"}), &["0", "-1", "1234567890123456"], &["01", "1.0", "-", "1e3"]);
    holds(json!({"type": "number"}), &["0", "-1.5", "2e10", "1.25E-3"], &["01", ".5", "1.", "1e999", "NaN"]);
    holds(json!({"type": "boolean"}), &["true", "false"], &["True", "1"]);
    holds(json!({"type": ["string", "null"]}), &["null", "\"\""], &["1"]);
    holds(json!({"type": "string", "nullable": true}), &["null", "\"\""], &["1"]);
    holds(json!(true), &["null", "[1, {\"a\": [true]}]", "\"x\"", "{}"], &["", "nul"]);
    holds(json!({"title": "x", "description": "anything", "x-own": 1}), &["null", "[]"], &["{"]);
}

#[test]
fn constants() {
    holds(
        json!({"enum": ["a\"b", 1, null, {"k": [1]}, "é\n"]}),
        &[r#""a\"b""#, "1", "null", r#"{"k":[1]}"#, r#""é\n""#],
        &["2", "\"a\""],
    );
    holds(json!({"const": "x"}), &["\"x\""], &["x", "\"y\""]);
    holds(json!({"type": "string", "enum": ["a", 1]}), &["\"a\""], &["1"]);
}

#[test]
fn objects() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "null"}}, "required": ["b"]});
    holds(
        schema,
        &[
            r#"{"b":""}"#,
            r#"{ "a": 1, "b": "x", "c": null }"#,
            r#"{"b": "x", "c": null}"#,
            "{\n  \"a\": 1,\n  \"b\": \"\"\n}",
        ],
        &[
            "{}",
            r#"{"a": 1}"#,
            r#"{"b": "x", "a": 1}"#,
            r#"{"b": "x",}"#,
            r#"{"b": "x", "d": 1}"#,
            r#"{"b": "x" "c": null}"#,
            r#"{,"b": ""}"#,
        ],
    );
    let optional = json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}});
    holds(
        optional,
        &["{}", r#"{"a":null}"#, r#"{"b":null}"#, r#"{"a":null,"b":null}"#],
        &[r#"{"b":null,"a":null}"#, r#"{"a":null,}"#],
    );
    holds(json!({"type": "object"}), &["{}", r#"{"any": [1, {}]}"#], &["[]", "1"]);
    holds(
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        &["{}", r#"{"x": 1, "y": 2}"#],
        &[r#"{"x": "1"}"#],
    );
    holds(json!({"type": "object", "properties": {}, "additionalProperties": false}), &["{}", "{ }"], &[r#"{"a":1}"#]);
    holds(
        json!({"type": "object", "required": ["a"]}),
        &[r#"{"a": [1]}"#, r#"{"a": 1, "b": 2}"#],
        &["{}", r#"{"b": 2}"#],
    );
    holds(
        json!({"type": "object", "properties": {"a": false, "b": {"type": "null"}}}),
        &["{}", r#"{"b":null}"#],
        &[r#"{"a":1}"#],
    );
}

#[test]
fn other_properties_are_really_others() {
    let schema = json!({"type": "object", "properties": {"ab": {"type": "null"}, "abc": {"type": "null"}, "x\"": {"type": "null"}}, "required": ["ab"], "additionalProperties": {"type": "integer"}});
    holds(
        schema,
        &[
            r#"{"ab": null}"#,
            r#"{"ab":null,"a":1}"#,
            r#"{"ab":null,"abcd":1,"b":2,"":3}"#,
            r#"{"ab":null,"abc":null,"abd":5}"#,
        ],
        &[r#"{"ab":null,"ab":1}"#, r#"{"ab":null,"abc":1}"#, r#"{"ab":1}"#, r#"{"ab":null,"\u0061b":1}"#],
    );
}

#[test]
fn arrays() {
    let items = |more: Value| {
        let mut schema = json!({"type": "array", "items": {"type": "integer"}});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    holds(items(json!({})), &["[]", "[1]", "[ 1, 2 ,3]"], &["[1,]", "[\"a\"]", "[,1]"]);
    holds(items(json!({"minItems": 2, "maxItems": 3})), &["[1,2]", "[1,2,3]"], &["[]", "[1]", "[1,2,3,4]"]);
    holds(items(json!({"minItems": 1})), &["[1]", "[1,2,3,4]"], &["[]"]);
    holds(items(json!({"maxItems": 1})), &["[]", "[1]"], &["[1,2]"]);
    holds(items(json!({"maxItems": 0})), &["[]"], &["[1]"]);
    let pair = json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": false});
    holds(pair, &["[1, null]"], &["[1]", "[1,null,2]", "[]"]);
    let open = json!({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "integer"}, "minItems": 2, "maxItems": 3});
    holds(open, &["[null,1]", "[null,1,2]"], &["[null]", "[null,1,2,3]", "[1,2]"]);
}

#[test]
fn strings() {
    holds(
        json!({"type": "string", "minLength": 2, "maxLength": 3}),
        &[r#""ab""#, r#""abc""#, r#""\n\u00e9""#],
        &[r#""a""#, r#""abcd""#],
    );
    holds(json!({"type": "string", "format": "date"}), &["\"2024-02-29\""], &["\"24-2-9\"", "\"2024-13-01\""]);
    holds(
        json!({"type": "string", "format": "date-time"}),
        &["\"2024-02-29T23:59:59Z\"", "\"2024-02-29T00:00:00.5+02:00\""],
        &["\"2024-02-29\""],
    );
    holds(json!({"type": "string", "format": "uuid"}), &["\"123e4567-e89b-12d3-a456-426614174000\""], &["\"x\""]);
    holds(json!({"type": "string", "format": "email"}), &["\"anything\""], &[]);
}

#[test]
fn patterns() {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    holds(text("^[a-z]{2,3}-\\d+$"), &[r#""ab-1""#, r#""abc-123""#], &[r#""a-1""#, r#""ab-""#, r#""wxab-1""#]);
    holds(text("^(foo|ba[rz]?)+$"), &[r#""foo""#, r#""foobaba""#, r#""barbaz""#], &[r#""""#, r#""fo""#]);
    holds(text("b"), &[r#""b""#, r#""abc""#], &[r#""ac""#]);
    holds(text("^a"), &[r#""a""#, r#""abc""#], &[r#""ba""#]);
    holds(text("^[^\"]*$"), &[r#""ab c""#, r#""\n""#, r#""\\""#], &[r#""\"""#]);
    holds(text("^\\w+\\.\\s\\\\\"$"), &[r#""a_1. \\\"""#], &[r#""a1.\\\"""#]);
    holds(text("^[!-~]$"), &["\"#\"", r#""\"""#, r#""\\""#, r#""~""#], &[r#"" ""#, "\"\\\""]);
    holds(text("^[\\]\\-^a]$"), &[r#""]""#, r#""-""#, r#""^""#, r#""a""#], &[r#""b""#]);
    holds(text("^(?:x)(?<name>y)$|z".strip_suffix("$|z").unwrap_or_default()), &[r#""xy""#, r#""xyz""#], &[r#""zxy""#]);
    holds(text("^$"), &[r#""""#], &[r#""a""#]);
    holds(text("^\\$\\u00e9\\x41$"), &[r#""$éA""#], &[]);
    for bad in [
        "(?=a)",
        "(a)\\1",
        "\\bword",
        "a{2000}",
        "((a{100}){100})",
        "(",
        ")",
        "[",
        "a**",
        "[z-a]",
        "^a|b$x",
        "^a|b",
        "x{a}",
        "\\p{L}",
        "a\\",
        "[\\D]",
        "a^b",
    ] {
        let error = from_schema(&text(bad)).unwrap_err();
        assert!(error.to_string().contains("pattern: "), "{bad}: {error}");
    }
}

#[test]
fn bounds_of_integers() {
    let check = |low: Option<i64>, high: Option<i64>| {
        let mut schema = json!({"type": "integer"});
        if let Some(low) = low {
            schema["minimum"] = json!(low);
        }
        if let Some(high) = high {
            schema["maximum"] = json!(high);
        }
        let grammar = Grammar::new(&from_schema(&schema).unwrap());
        for number in (-1300..1300i64).chain([-100_000, 99_999, 123_456]) {
            let within = low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high);
            assert_eq!(grammar.accepts(&number.to_string()), within, "{number} in {low:?}..={high:?}");
        }
        assert!(!grammar.accepts("-0") && !grammar.accepts("00") && !grammar.accepts("01"));
    };
    for (low, high) in [
        (0, 0),
        (1, 9),
        (0, 10),
        (7, 123),
        (-5, 5),
        (-123, -7),
        (99, 101),
        (100, 1000),
        (-1000, 999),
        (10, 99),
        (-1, 0),
    ] {
        check(Some(low), Some(high));
    }
    for bound in [-100, -1, 0, 1, 15, 1000] {
        check(Some(bound), None);
        check(None, Some(bound));
    }
    holds(json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}), &["1", "2"], &["0", "3"]);
    holds(json!({"type": "integer", "minimum": 0.5, "maximum": 2.5}), &["1", "2"], &["0", "3"]);
    holds(json!({"type": "number", "minimum": 0}), &["0", "1.5"], &["-1"]);
    assert!(from_schema(&json!({"type": "integer", "minimum": 3, "maximum": 2})).is_err());
}

#[test]
fn combinations() {
    holds(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), &["1", "null"], &["\"a\""]);
    holds(json!({"oneOf": [{"const": 1}, {"const": 2}]}), &["1", "2"], &["3"]);
    let beside = json!({"type": "object", "properties": {"k": {"type": "null"}}, "required": ["k"], "anyOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}]});
    holds(beside, &[r#"{"k":null,"a":null}"#, r#"{"k":null}"#, r#"{"k":null,"b":null}"#], &[r#"{"a":null}"#]);
    let all = json!({"allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "null"}}, "required": ["b"]}], "$defs": {"A": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}}});
    holds(all, &[r#"{"b":null,"a":null}"#], &[r#"{"a":null}"#, r#"{"b":null}"#]);
    holds(
        json!({"allOf": [{"type": "integer", "minimum": 3}, {"type": "number", "maximum": 5}]}),
        &["3", "5"],
        &["2", "6", "3.5"],
    );
    holds(json!({"$ref": "#/$defs/n", "description": "x", "$defs": {"n": {"type": "null"}}}), &["null"], &["1"]);
    holds(
        json!({"properties": {"a/b": {"type": "null"}, "c": {"$ref": "#/properties/a~1b"}}}),
        &[r#"{"c":null}"#],
        &[],
    );
}

#[test]
fn recursion_becomes_recursion() {
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v", "next"], "additionalProperties": false}}});
    holds(
        tree,
        &[r#"{"v":1,"next":null}"#, r#"{"v":1,"next":{"v":2,"next":{"v":3,"next":null}}}"#],
        &[r#"{"v":1}"#, r#"{"v":1,"next":{}}"#],
    );
    let list = json!({"type": "array", "items": {"$ref": "#"}});
    holds(list, &["[]", "[[],[[]]]"], &["[1]"]);
    let wrapped =
        json!({"type": "object", "properties": {"child": {"allOf": [{"$ref": "#"}], "description": "again"}}});
    holds(wrapped, &["{}", r#"{"child":{"child":{}}}"#], &[r#"{"child":1}"#]);
}

#[test]
fn what_cannot_be_kept_is_refused_by_name() {
    for (schema, name) in [
        (json!({"not": {}}), "\"not\""),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "object", "patternProperties": {}}), "patternProperties"),
        (json!({"type": "integer", "multipleOf": 5}), "multipleOf"),
        (json!({"type": "number", "maximum": 5}), "maximum"),
        (json!({"type": "object", "minProperties": 2}), "minProperties"),
        (json!({"if": {}, "then": {}}), "\"if\""),
        (json!({"$ref": "https://example.com/s"}), "https://example.com/s"),
        (json!({"properties": {"deep": {"items": {"contains": {}}}}}), "#/properties/deep/items"),
        (json!({"type": "string", "pattern": "a", "minLength": 1}), "pattern with minLength"),
        (
            json!({"allOf": [{"properties": {"a": {"type": "null"}}}, {"properties": {"a": {"type": "string"}}}]}),
            "allOf",
        ),
    ] {
        let error = from_schema(&schema).unwrap_err();
        assert!(
            matches!(error, GrammarError::Unsupported { .. }) && error.to_string().contains(name),
            "{schema}: {error}"
        );
    }
    for schema in [
        json!({"uniqueItems": false}),
        json!({"type": "integer", "multipleOf": 1}),
        json!({"required": ["a"], "minProperties": 1}),
    ] {
        assert!(from_schema(&schema).is_ok(), "{schema}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    for (schema, place) in [
        (json!(1), "#"),
        (json!(false), "#"),
        (json!({"type": "text"}), "text"),
        (json!({"enum": []}), "enum"),
        (json!({"anyOf": []}), "anyOf"),
        (json!({"anyOf": [false]}), "nothing can fit"),
        (json!({"properties": {"a": {"type": 7}}}), "#/properties/a"),
        (json!({"$ref": "#/nowhere"}), "#/nowhere"),
        (json!({"$ref": "#"}), "back to itself"),
        (json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]}), "back to itself"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "back to itself",
        ),
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), "no type"),
        (json!({"type": "array", "minItems": 3, "maxItems": 2}), "maxItems"),
        (json!({"minLength": 3, "maxLength": 2}), "below"),
        (json!({"minLength": "3"}), "minLength"),
    ] {
        let error = from_schema(&schema).unwrap_err();
        assert!(
            matches!(error, GrammarError::Invalid { .. }) && error.to_string().contains(place),
            "{schema}: {error}"
        );
    }
}

#[test]
fn any_object_is_an_object() {
    let grammar = Grammar::new(&any_object());
    assert!(grammar.accepts(r#"{"a": [1, {"b": null}]}"#) && !grammar.accepts("[]"));
}
