//! Python's own output is the reference (`tests/fixtures/canonical.py`); properties cover what it did not try.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn prints_what_python_prints() {
    let rows: Vec<(String, Option<String>)> =
        serde_json::from_str(include_str!("../../../tests/fixtures/canonical.json")).unwrap();
    assert!(rows.len() > 700);
    for (text, expected) in rows {
        let printed = canonical(text.as_bytes()).ok().map(|bytes| hex(&bytes));
        assert_eq!(printed, expected, "{text}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    let reason = |text: &str| canonical(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(reason("[1,]"), "JSON text, byte 3: expected a value");
    assert_eq!(reason("{\"a\" 1}"), "JSON text, byte 5: expected `:`");
    assert_eq!(reason("1e999"), "JSON text, byte 0: a number too large for a 64-bit float");
    assert_eq!(reason("[\"\\ud800\"]"), "JSON text, byte 2: half of a surrogate pair");
    assert_eq!(reason(&"[".repeat(129)), "JSON text, byte 128: nested deeper than 128 levels");
    assert_eq!(canonical(b"\"\xff\"").unwrap_err(), CanonicalError { at: 1, reason: Reason::NotUtf8 });
}

#[test]
fn an_error_leaves_the_output_alone() {
    let mut out = b"before".to_vec();
    append(&mut out, b"[1,2,{\"a\":").unwrap_err();
    assert_eq!(out, b"before");
    let mut object = Object::default();
    object.source("bad", b"[1").unwrap_err();
    object.source("good", b"[1]").unwrap();
    assert_eq!(object.finish(), b"{\"good\":[1]}");
}

#[test]
fn an_object_is_the_same_from_pieces_and_from_text() {
    let mut inner = Object::default();
    inner.float("temperature", 0.0);
    inner.float("min_p", 1e-5);
    inner.integer("seed", u64::MAX);
    inner.source("stop", b"[ \"\\n\", \"END\" ]").unwrap();
    inner.boolean("logprobs", true);
    let mut object = Object::with_capacity(64);
    object.string("type", "x");
    object.string("prompt", "a\u{0}\"b\\\n\u{7f}é");
    object.object("kwargs", inner);
    object.string("type", "llm_response");
    let text = r#"{"type":"llm_response","prompt":"a\u0000\"b\\\n\u007fé",
        "kwargs":{"temperature":0.0,"min_p":0.00001,"seed":18446744073709551615,"stop":["\n","END"],"logprobs":true}}"#;
    assert_eq!(object.finish(), canonical(text.as_bytes()).unwrap());
    assert!(Object::default().is_empty());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::vec((".{0,6}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn a_whole_number_has_no_negative_zero() {
    assert_eq!(canonical(b"[-0, -0.0]").unwrap(), b"[0,-0.0]");
}

/// The whole number `-0` is 0 in Python and here, and a float for serde_json.
fn without_signs_of_zero(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Number(number) if number.as_f64() == Some(0.0) => 0.into(),
        serde_json::Value::Array(items) => items.into_iter().map(without_signs_of_zero).collect(),
        serde_json::Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, without_signs_of_zero(value))).collect()
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = canonical(&bytes);
    }

    #[test]
    fn any_text_of_json_characters_is_read_as_serde_json_reads_it(text in r#"[\[\]{}:,"\\u0-9eE.\-+ tnd]{0,24}"#) {
        let ours = canonical(text.as_bytes());
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => {
                let ours = ours.expect("serde_json accepts it");
                let ours = serde_json::from_slice::<serde_json::Value>(&ours).unwrap();
                prop_assert_eq!(without_signs_of_zero(ours), without_signs_of_zero(value));
            }
            Err(error) => prop_assert!(ours.is_err(), "{error}"),
        }
    }

    #[test]
    fn the_meaning_stays_and_a_second_pass_changes_nothing(value in any_json()) {
        let text = serde_json::to_vec_pretty(&value).unwrap();
        let once = canonical(&text).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&once).unwrap(), &value);
        prop_assert_eq!(canonical(&once).unwrap(), once);
    }

    #[test]
    fn a_float_reads_back_as_itself(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let mut out = Vec::new();
        append_float(&mut out, value);
        let text = String::from_utf8(out).unwrap();
        if value.is_finite() {
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        } else {
            prop_assert_eq!(text, "null");
        }
    }
}
