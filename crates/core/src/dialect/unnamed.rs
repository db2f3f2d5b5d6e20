//! Answers of servers that leave the model's name out, such as the streamed ones of llama.cpp's `/responses`: clients hear the name that was asked for.
//!
//! What is translated has it from the decoder's [`Delta::Start`](crate::delta::Delta::Start). This is for frames that are passed on as received: decoders call it
//! only where an answer began without a name, so that others are not read again.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::json::{Object, text};
use crate::dialect::splice::Splice;

/// A frame with `model` in its member `field`, which stands in the object `inside`, or in the outermost one. The frame itself where it says a name there already, or
/// has no such object.
pub(crate) fn with_model(data: Bytes, inside: Option<&str>, field: &'static str, model: &str) -> Bytes {
    named(&data, inside, field, model).unwrap_or(data)
}

fn named(data: &[u8], inside: Option<&str>, field: &'static str, model: &str) -> Option<Bytes> {
    let name = serde_json::to_string(model).ok()?;
    let outer = Object::parse(data).ok()?;
    let mut splice = Splice::new(data).ok()?;
    let Some(inside) = inside else {
        if says(outer.raw(field)) {
            return None;
        }
        splice.set(&outer, field, &name);
        return Some(splice.finish());
    };
    let object = outer.raw(inside)?;
    let inner: Object<'_> = serde_json::from_str(object.get()).ok()?;
    match inner.raw(field) {
        raw if says(raw) => return None,
        Some(raw) => splice.replace(raw, name),
        None => {
            let rest = object.get().strip_prefix('{')?;
            let comma = if inner.is_empty() { "" } else { "," };
            splice.replace(object, format!("{{\"{field}\":{name}{comma}{rest}"));
        }
    }
    Some(splice.finish())
}

fn says(raw: Option<&RawValue>) -> bool {
    raw.and_then(text).is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_put_where_there_is_none_and_nothing_else_is_touched() {
        for (data, inside, expected) in [
            (r#"{"id":1}"#, None, r#"{"id":1,"model":"a\"b"}"#),
            (r#"{"model":"", "id" : 1}"#, None, r#"{"model":"a\"b", "id" : 1}"#),
            (r#"{"model":null}"#, None, r#"{"model":"a\"b"}"#),
            (r#"{"model":"m","id":1}"#, None, r#"{"model":"m","id":1}"#),
            (r#"{"r":{"id":1}}"#, Some("r"), r#"{"r":{"model":"a\"b","id":1}}"#),
            (r#"{"r":{}}"#, Some("r"), r#"{"r":{"model":"a\"b"}}"#),
            (r#"{"r":{"model":""}, "s":2}"#, Some("r"), r#"{"r":{"model":"a\"b"}, "s":2}"#),
            (r#"{"r":{"model":"m"}}"#, Some("r"), r#"{"r":{"model":"m"}}"#),
            (r#"{"s":{}}"#, Some("r"), r#"{"s":{}}"#),
            (r#"{"r":[]}"#, Some("r"), r#"{"r":[]}"#),
            ("[DONE]", None, "[DONE]"),
        ] {
            assert_eq!(with_model(Bytes::from(data), inside, "model", "a\"b"), expected, "{data}");
        }
    }
}
