//! Reading and writing JSON objects field by field, for the codecs of foreign dialects.
//!
//! [`Object`] keeps every field as the text it came in, in order, so that what a codec does not know can be given back; its readers name the path of
//! what they refuse. [`Writer`] is the way back. Changing a body in place is `splice.rs`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::Serialize;
use serde_json::value::RawValue;

use crate::dialect::MAX_JSON_DEPTH;
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::request::RawJson;

/// A JSON object as read: fields in order, each value still text. A field given twice is refused, since two readers may disagree on which one counts.
#[derive(Debug, Default)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Up to so many fields are compared one by one, which is faster than hashing; a hostile object with more is hashed.
const FEW: usize = 32;

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
                let mut many = HashSet::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if fields.len() == FEW {
                        many.extend(fields.iter().map(|(known, _)| known.clone()));
                    }
                    let twice = match fields.len() {
                        ..FEW => fields.iter().any(|(known, _)| *known == name),
                        FEW.. => !many.insert(name.clone()),
                    };
                    if twice {
                        return Err(A::Error::custom(format!("the field {:?} is given twice", shorten(&name))));
                    }
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }
        from.deserialize_map(Fields)
    }
}

/// A text, borrowed where it holds no escapes.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Words)
    }
}

impl<'a> Object<'a> {
    /// Reads a whole body.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self> {
        check_depth(body)?;
        // Checked for UTF-8 once and fast; read as bytes, each string would be checked for itself.
        let body = std::str::from_utf8(body)
            .map_err(|error| Error::invalid(format!("the body is not a JSON object: it is not UTF-8: {error}")))?;
        serde_json::from_str(body).map_err(|error| Error::invalid(format!("the body is not a JSON object: {error}")))
    }

    /// Reads the value of a field that must be an object.
    pub(crate) fn of(value: &'a RawValue, path: &dyn fmt::Display) -> Result<Self> {
        read(value, path)
    }

    /// The same fields with names like `field_name` as `fieldName`: Google's servers read both.
    ///
    /// # Errors
    /// `caller_invalid_request` where a field is given under both names.
    pub(crate) fn camel(mut self) -> Result<Self> {
        if self.0.iter().all(|(name, _)| !name.contains('_')) {
            return Ok(self);
        }
        let mut known = HashSet::new();
        for (name, _) in &mut self.0 {
            if name.contains('_') {
                *name = Cow::Owned(camel(name));
            }
            if !known.insert(name.clone()) {
                return Err(Error::invalid(format!("the field {:?} is given twice", shorten(name))));
            }
        }
        Ok(self)
    }

    /// The field's text, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.raw(name).filter(|value| value.get() != "null")
    }

    /// The field's text, null included.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Takes a field out; null counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        // The order of what stays is kept: it becomes `extra`.
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1).filter(|value| value.get() != "null")
    }

    /// Takes a field out and reads it. `path` is where the object stands, "" at the top.
    pub(crate) fn read<T: Deserialize<'a>>(&mut self, path: &str, name: &str) -> Result<Option<T>> {
        self.take(name).map(|value| read(value, &Path(path, name))).transpose()
    }

    /// Every field, nulls included.
    pub(crate) fn into_fields(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.0.into_iter()
    }

    /// Everything still there, nulls included.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything still there, to be kept as it came.
    pub(crate) fn into_extra(self) -> IndexMap<String, RawJson> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value.into())).collect()
    }

    /// Everything still there, parsed.
    pub(crate) fn into_values(self) -> Result<serde_json::Map<String, serde_json::Value>> {
        self.0.into_iter().map(|(name, value)| Ok((name.clone().into_owned(), read(value, &name)?))).collect()
    }
}

/// `field_name` as `fieldName`; a leading `_` stays.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' if !out.is_empty() => upper = true,
            c if std::mem::take(&mut upper) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    out
}

/// A field inside an object, for messages.
struct Path<'a>(&'a str, &'a str);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path("", name) => f.write_str(name),
            Path(path, name) => write!(f, "{path}.{name}"),
        }
    }
}

/// Reads a value, or says which field could not be read.
pub(crate) fn read<'a, T: Deserialize<'a>>(value: &'a RawValue, path: &dyn fmt::Display) -> Result<T> {
    serde_json::from_str(value.get()).map_err(|error| {
        let reason = error.to_string();
        // The position would be counted inside the field; the field's name says more.
        let reason = reason.split(" at line ").next().unwrap_or_default();
        Error::invalid(format!("{}: {reason}", shorten(&path.to_string())))
    })
}

/// Reads a text without copying where it holds no escapes.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Reads a value where a wrong type only means that it says nothing: for the answers of upstreams.
pub(crate) fn lenient<T: DeserializeOwned>(value: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// Refuses nesting deeper than [`MAX_JSON_DEPTH`], before anything recursive sees it.
///
/// # Errors
/// `caller_invalid_request`.
pub(crate) fn check_depth(body: &[u8]) -> Result<()> {
    // Without so many brackets nothing can be so deep. Counted in pieces whose sum fits a byte, the compiler does it many bytes at a time.
    let brackets = |piece: &[u8]| piece.iter().fold(0u8, |sum, byte| sum + u8::from(matches!(byte, b'{' | b'[')));
    if body.chunks(255).map(|piece| usize::from(brackets(piece))).sum::<usize>() <= MAX_JSON_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for &byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_JSON_DEPTH {
                    return Err(Error::invalid(format!("the JSON is nested deeper than {MAX_JSON_DEPTH} levels")));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Writes JSON piece by piece into a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    /// Whether the next member or element needs a comma before it.
    comma: bool,
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity), comma: false }
    }

    /// Begins an object or array: `{` or `[`.
    pub(crate) fn open(&mut self, bracket: u8) {
        self.separate();
        self.out.push(bracket);
        self.comma = false;
    }

    /// Ends an object or array.
    pub(crate) fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.comma = true;
    }

    /// Whether the object or array that is open holds something already.
    pub(crate) fn holds_some(&self) -> bool {
        self.comma
    }

    /// Begins a member.
    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        write_json(&mut self.out, name);
        self.out.push(b':');
        self.comma = false;
    }

    /// A value: an element of an array, or after [`Writer::key`].
    pub(crate) fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        self.separate();
        write_json(&mut self.out, value);
        self.comma = true;
    }

    /// A value that is JSON text already.
    pub(crate) fn raw(&mut self, text: &str) {
        self.separate();
        self.out.extend_from_slice(text.as_bytes());
        self.comma = true;
    }

    /// A member with its value.
    pub(crate) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.key(name);
        self.value(value);
    }

    /// A member whose value is JSON text already.
    pub(crate) fn member(&mut self, name: &str, text: &str) {
        self.key(name);
        self.raw(text);
    }

    /// A member, where there is a value.
    pub(crate) fn some(&mut self, name: &str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// What was written.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = false;
    }
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = out.len();
    // Domain values always have a JSON form; should one not, null keeps the text valid.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_keep_their_order_and_text() {
        let mut object = Object::parse(br#"{"b":1.0,"a":null,"\u0063":[1, 2],"d":"x"}"#).unwrap();
        assert_eq!(object.read::<String>("", "d").unwrap().unwrap(), "x");
        assert!(object.get("a").is_none());
        let rest: Vec<_> = object.rest().map(|(name, value)| (name.to_owned(), value.get())).collect();
        assert_eq!(rest, [("b".into(), "1.0"), ("a".into(), "null"), ("c".into(), "[1, 2]")]);
    }

    #[test]
    fn refusals_name_the_field() {
        let twice = Object::parse(br#"{"model":"a","model":"b"}"#).unwrap_err();
        assert!(twice.message().contains("\"model\" is given twice"), "{twice}");
        let many = |last: &str| {
            let fields: String = (0..100).map(|n| format!("\"f{n}\":1,")).collect();
            Object::parse(format!("{{{fields}\"{last}\":1}}").as_bytes()).map(|_| ())
        };
        assert!(many("last").is_ok() && many("f3").is_err() && many("f77").is_err());
        let mut object = Object::parse(br#"{"n":"x"}"#).unwrap();
        let error = object.read::<u32>("messages[2]", "n").unwrap_err();
        assert!(error.message().starts_with("messages[2].n: invalid type"), "{error}");
        assert!(Object::parse(b"[]").is_err() && Object::parse(b"").is_err() && Object::parse(b"{} x").is_err());
    }

    #[test]
    fn names_of_both_cases_are_one_name() {
        let object = Object::parse(br#"{"a_bc":1,"aB":2,"_x":3}"#).unwrap().camel().unwrap();
        let names: Vec<_> = object.rest().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["aBc", "aB", "_x"]);
        assert!(Object::parse(br#"{"a_b":1,"aB":2}"#).unwrap().camel().is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check_depth(nest(128).as_bytes()).is_ok());
        assert!(check_depth(nest(129).as_bytes()).is_err());
        assert!(check_depth(format!("\"\\\"{}\"", "[".repeat(500)).as_bytes()).is_ok());
    }

    #[test]
    fn writes_what_it_is_told() {
        let mut writer = Writer::with_capacity(64);
        writer.open(b'{');
        writer.field("a", &1);
        writer.key("b");
        writer.open(b'[');
        writer.raw("{\"x\": 1}");
        writer.value("y");
        writer.close(b']');
        writer.some("c", None::<&str>);
        writer.close(b'}');
        assert_eq!(writer.finish(), br#"{"a":1,"b":[{"x": 1},"y"]}"#);
    }
}
