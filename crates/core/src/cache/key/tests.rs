//! Golden keys worked out by a script from the definition (`tests/fixtures/keys.py`).

#![allow(clippy::unwrap_used)]

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Row {
    name: String,
    provider: ProviderId,
    model: String,
    request: Box<serde_json::value::RawValue>,
    keys: std::collections::BTreeMap<String, String>,
}

#[test]
fn keys_are_those_of_the_definition() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("../../../tests/fixtures/keys.json")).unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let request: Request = serde_json::from_str(row.request.get()).unwrap();
        let key = Key::of(&request, &row.provider, &row.model).unwrap();
        for (form, expected) in &row.keys {
            let strategy = match form.as_str() {
                "sha256" => KeyStrategy::Sha256,
                base => KeyStrategy::Cid(base.parse().unwrap()),
            };
            assert_eq!(&key.print(strategy), expected, "{}: {form}", row.name);
        }
    }
}

#[test]
fn strategies_are_read_from_settings() {
    assert_eq!(KeyStrategy::parse("sha256", "base32").unwrap(), KeyStrategy::Sha256);
    assert_eq!(KeyStrategy::parse("cid", "base36").unwrap(), KeyStrategy::Cid(Base::Base36));
    assert_eq!(KeyStrategy::parse("md5", "base32").unwrap_err().to_string(), "unknown cache key strategy \"md5\"");
    assert!(KeyStrategy::parse("cid", "base64").unwrap_err().to_string().contains("use base32, base58btc or base36"));
}

#[test]
fn json_without_a_canonical_form_is_the_callers_error() {
    let mut request = Request::new("Hello");
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    let schema = serde_json::from_str(&format!("{{\"name\":\"f\",\"parameters\":{{\"x\":\"\\ud800\",\"y\":{deep}}}}}"));
    request.tools.push(schema.unwrap());
    let error = Key::of(&request, &ProviderId::new("openai").unwrap(), "m").unwrap_err();
    assert!(error.to_string().starts_with("the request has no cache key: JSON text, byte "), "{error}");
}

#[test]
fn a_billing_header_before_the_instructions_is_not_part_of_the_key() {
    let key = |system: serde_json::Value| {
        let body = serde_json::json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
        let request: Request = serde_json::from_value(body).unwrap();
        Key::of(&request, &ProviderId::new("anthropic").unwrap(), "m").unwrap().digest()
    };
    let text = |text: &str| serde_json::json!({"type": "text", "text": text});
    let bill = |version: &str| text(&format!("x-anthropic-billing-header: cc_version={version}; cch=00000;"));
    let plain = key(serde_json::json!([text("Be brief.")]));
    assert_eq!(key(serde_json::json!([bill("2.1"), text("Be brief.")])), plain);
    assert_eq!(key(serde_json::json!([bill("2.2"), text("Be brief.")])), plain);
    assert_ne!(key(serde_json::json!([text("Be brief."), bill("2.1")])), plain);
}
