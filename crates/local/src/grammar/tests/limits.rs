//! Schemas and grammars that are made to cost, and any at all.

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::matcher::Grammar;

/// Schemas made to cost: each is refused or translated within the limit on steps, and no grammar is larger than its limit.
#[test]
fn hostile_schemas_cost_a_bounded_number_of_steps() {
    let limits = Limits::default();
    let deep =
        |levels: usize| (0..levels).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner}));
    let doubling = {
        let defs: serde_json::Map<String, Value> = (0..60).map(|n| (format!("d{n}"), json!({"type": "object", "properties": {"a": {"$ref": format!("#/$defs/d{}", n + 1)}, "b": {"allOf": [{"$ref": format!("#/$defs/d{}", n + 1)}, {"required": [format!("r{n}")]}]}}}))).chain([("d60".to_owned(), json!({"type": "null"}))]).collect();
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    let many =
        json!({"properties": (0..30_000).map(|n| (format!("p{n}"), json!({}))).collect::<serde_json::Map<_, _>>()});
    for (schema, refused) in [
        (deep(1000), true),
        (deep(40), false),
        (doubling, true),
        (many, true),
        (json!({"enum": (0..2000).collect::<Vec<_>>()}), true),
        (json!({"type": "string", "minLength": 1_000_000}), true),
        (json!({"type": "string", "maxLength": 1_000_000}), false),
        (
            json!({"type": "array", "minItems": 500, "items": {"type": "array", "minItems": 500, "items": {"type": "array", "minItems": 500}}}),
            false,
        ),
        (json!({"allOf": (0..200).map(|_| json!({"allOf": [true, true]})).collect::<Vec<_>>()}), true),
        (json!({"const": "x".repeat(300_000)}), true),
        (json!({"additionalProperties": {}, "properties": {"a".repeat(5000): {}}}), true),
        (json!({"anyOf": (0..5000).map(|n| json!({"const": n})).collect::<Vec<_>>()}), true),
    ] {
        let outcome = from_schema_within(&schema, &limits);
        let start: String = schema.to_string().chars().take(80).collect();
        assert_eq!(
            outcome.is_err(),
            refused,
            "{start}: {:?}",
            outcome.as_ref().map(|(text, steps)| (text.len(), *steps))
        );
        match outcome {
            Ok((text, steps)) => assert!(steps <= limits.steps && text.len() <= limits.output),
            Err(error) => assert!(matches!(error, GrammarError::TooLarge { .. }), "{start}: {error}"),
        }
    }
}

#[test]
fn a_callers_own_grammar_is_judged_too() {
    let limits = Limits::default();
    assert_eq!(check("root ::= \"a\" [^\\]\"]* # \"(\n", &limits), Ok(()));
    for bad in [
        "root ::= (((\"a\"{40}){40}){40})",
        "root ::= \"a\"{3000}",
        "root ::= \"a",
        "root ::= (",
        "root ::= )",
        "root ::= [a",
        "root ::= \0",
    ] {
        assert!(check(bad, &limits).is_err(), "{bad}");
    }
    assert!(check(&format!("root ::= {}\"a\"{}", "(".repeat(60), ")".repeat(60)), &limits).is_err());
    assert!(check(&"r ::= \"a\"\n".repeat(5000), &limits).is_err());
}

fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!({"type": "string"})),
        Just(json!({"type": "integer", "minimum": -3, "maximum": 40})),
        Just(json!({"enum": ["a", 1, null]})),
        Just(json!({"$ref": "#"})),
        Just(json!(true)),
        Just(json!({"type": "string", "pattern": "^[a-c]+$"})),
        Just(json!({"nullable": true, "type": "boolean"})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[a-c\"é]{1,3}", inner.clone(), 0..4).prop_map(|properties| json!({"type": "object", "properties": properties})),
            (inner.clone(), 0u8..3, 0u8..5).prop_map(|(item, least, more)| json!({"type": "array", "items": item, "minItems": least, "maxItems": least + more})),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|options| json!({"anyOf": options})),
            proptest::collection::vec(inner, 1..3).prop_map(|parts| json!({"allOf": parts})),
        ]
    })
}

proptest! {
    /// Any schema: an error, or a grammar that reads back with every rule defined.
    #[test]
    fn every_grammar_reads_back(schema in schemas()) {
        if let Ok(text) = from_schema(&schema) {
            Grammar::new(&text);
        }
    }

    #[test]
    fn no_pattern_panics(pattern in "\\PC{0,24}") {
        let _ = from_schema(&json!({"type": "string", "pattern": pattern})).map(|text| Grammar::new(&text));
    }

    #[test]
    fn integer_bounds_hold(low in -3000i64..3000, width in 0i64..3000, number in -4000i64..7000) {
        let text = from_schema(&json!({"type": "integer", "minimum": low, "maximum": low + width})).unwrap();
        prop_assert_eq!(Grammar::new(&text).accepts(&number.to_string()), (low..=low + width).contains(&number));
    }
}
