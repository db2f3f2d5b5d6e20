//! Changing a JSON body in place: what must change is replaced, and every other byte stays as it was received.
//!
//! The edits are byte ranges into the body, found through the slices that [`Object`] borrows from it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::json::Object;
use crate::error::{Error, Result};

/// A body that is about to be changed.
#[derive(Debug)]
pub(crate) struct Splice<'a> {
    body: &'a str,
    edits: Vec<(Range<usize>, Cow<'a, str>)>,
    /// Where removed members began that were the last of their object: the comma before them goes too.
    last_members: Vec<usize>,
    /// Members to be added at the end of the outermost object.
    added: Vec<(&'a str, String)>,
}

impl<'a> Splice<'a> {
    /// A body that is one JSON object.
    ///
    /// # Errors
    /// `caller_invalid_request` when it is not UTF-8.
    pub(crate) fn new(body: &'a [u8]) -> Result<Self> {
        let body = std::str::from_utf8(body).map_err(|_| Error::invalid("the body is not UTF-8"))?;
        Ok(Self { body, edits: Vec::new(), last_members: Vec::new(), added: Vec::new() })
    }

    /// Replaces a value that was borrowed from this body.
    pub(crate) fn replace(&mut self, value: &'a RawValue, with: impl Into<Cow<'a, str>>) {
        if let Some(range) = self.range(value) {
            self.edits.push((range, with.into()));
        }
    }

    /// Renames the member that holds a value.
    pub(crate) fn rename(&mut self, value: &'a RawValue, to: &str) {
        if let Some(key) = self.key(value) {
            self.edits.push((key, format!("\"{to}\"").into()));
        }
    }

    /// Removes the member that holds a value, with the comma that belonged to it.
    pub(crate) fn remove(&mut self, value: &'a RawValue) {
        let (Some(key), Some(range)) = (self.key(value), self.range(value)) else { return };
        let after = self.skip_blank(range.end);
        let comma = self.body.as_bytes().get(after) == Some(&b',');
        let end = if comma { self.skip_blank(after + 1) } else { range.end };
        self.edits.push((key.start..end, "".into()));
        if !comma {
            self.last_members.push(key.start);
        }
    }

    /// Gives a member of the outermost object, read as `fields`, this value: in its place, or at the end.
    pub(crate) fn set(&mut self, fields: &Object<'a>, name: &'a str, value: &str) {
        match fields.raw(name) {
            Some(raw) if raw.get() == value => {}
            Some(raw) => self.replace(raw, value.to_owned()),
            None => self.add(name, value.to_owned()),
        }
    }

    /// Adds a member at the end of the outermost object.
    pub(crate) fn add(&mut self, name: &'a str, value: String) {
        self.added.push((name, value));
    }

    /// Whether nothing will change.
    pub(crate) fn is_untouched(&self) -> bool {
        self.edits.is_empty() && self.added.is_empty()
    }

    /// The changed body.
    pub(crate) fn finish(mut self) -> Bytes {
        self.edits.sort_by_key(|(range, _)| range.start);
        for start in std::mem::take(&mut self.last_members) {
            if let Some(comma) = self.comma_before(start) {
                self.edits.push((comma..start, "".into()));
            }
        }
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut out = String::with_capacity(self.body.len() + 128);
        let mut at = 0;
        for (range, with) in &self.edits {
            // Ranges may overlap where members side by side are removed: what is gone is gone.
            out.push_str(self.body.get(at..range.start.max(at)).unwrap_or_default());
            out.push_str(with);
            at = at.max(range.end);
        }
        out.push_str(self.body.get(at..).unwrap_or_default());
        if !self.added.is_empty() {
            let end = out.rfind('}').unwrap_or(out.len());
            let tail = out.split_off(end);
            let inside = out.trim_end().len();
            let blank = out.split_off(inside);
            for (name, value) in &self.added {
                if !out.ends_with('{') {
                    out.push(',');
                }
                out.push_str(&format!("\"{name}\":{value}"));
            }
            out.push_str(&blank);
            out.push_str(&tail);
        }
        Bytes::from(out)
    }

    /// The comma before a member, across blanks and members that are removed as well.
    fn comma_before(&self, start: usize) -> Option<usize> {
        let mut at = start;
        loop {
            let before = self.body.get(..at)?.trim_end().len();
            let removed =
                |(range, with): &&(Range<usize>, Cow<'_, str>)| with.is_empty() && range.contains(&(before - 1));
            match self.body.as_bytes().get(before.checked_sub(1)?)? {
                _ if self.edits.iter().any(|edit| removed(&edit)) => {
                    at = self.edits.iter().find(removed).map(|(range, _)| range.start)?;
                }
                b',' => return Some(before - 1),
                _ => return None,
            }
        }
    }

    fn skip_blank(&self, from: usize) -> usize {
        let blanks = self.body.as_bytes().iter().skip(from).take_while(|byte| byte.is_ascii_whitespace()).count();
        from + blanks
    }

    /// Where a borrowed value stands in the body.
    fn range(&self, value: &RawValue) -> Option<Range<usize>> {
        let start = (value.get().as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        let range = start..start.checked_add(value.get().len())?;
        self.body.get(range.clone()).is_some().then_some(range)
    }

    /// Where the key of the member that holds a value stands, quotes included.
    fn key(&self, value: &RawValue) -> Option<Range<usize>> {
        let before = self.body.get(..self.range(value)?.start)?;
        let key = before.trim_end().strip_suffix(':')?.trim_end();
        let bytes = key.as_bytes();
        // A quote after an odd number of backslashes is part of the key.
        let opening = (0..bytes.len().checked_sub(1)?).rev().find(|&at| {
            bytes.get(at) == Some(&b'"') && bytes.get(..at).is_some_and(|b| backslashes(b).is_multiple_of(2))
        })?;
        Some(opening..key.len())
    }
}

fn backslashes(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|&&byte| byte == b'\\').count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn edit<'a>(body: &'a str, change: impl FnOnce(&mut Splice<'a>, &Object<'a>)) -> String {
        let object = Object::parse(body.as_bytes()).unwrap();
        let mut splice = Splice::new(body.as_bytes()).unwrap();
        change(&mut splice, &object);
        String::from_utf8(splice.finish().to_vec()).unwrap()
    }

    #[test]
    fn only_what_must_change_changes() {
        let body = "{ \"b\" : 1.50,\n  \"model\":\"x\" , \"z\":[ 1 ] }";
        let changed = edit(body, |splice, object| {
            splice.replace(object.get("model").unwrap(), "\"yy\"");
            splice.rename(object.get("z").unwrap(), "zz");
            splice.add("new", "true".into());
        });
        assert_eq!(changed, "{ \"b\" : 1.50,\n  \"model\":\"yy\" , \"zz\":[ 1 ],\"new\":true }");
        assert_eq!(edit(body, |_, _| {}), body);
    }

    #[test]
    fn members_go_with_their_comma() {
        let body = r#"{"a":1, "b":2, "c" : 3 }"#;
        for (gone, left) in [
            (&["a"][..], r#"{"b":2, "c" : 3 }"#),
            (&["b"], r#"{"a":1, "c" : 3 }"#),
            (&["c"], r#"{"a":1, "b":2 }"#),
            (&["a", "b"], r#"{"c" : 3 }"#),
            (&["b", "c"], r#"{"a":1 }"#),
            (&["a", "b", "c"], r#"{ }"#),
        ] {
            let cut =
                edit(body, |splice, object| gone.iter().for_each(|name| splice.remove(object.get(name).unwrap())));
            assert_eq!(cut, left, "{gone:?}");
            assert!(Object::parse(cut.as_bytes()).is_ok());
        }
    }

    #[test]
    fn odd_keys_and_an_empty_object() {
        let body = r#"{"q\"uo\\te":1,"x":2}"#;
        let cut = edit(body, |splice, object| splice.remove(object.get("q\"uo\\te").unwrap()));
        assert_eq!(cut, r#"{"x":2}"#);
        assert_eq!(edit("{}", |splice, _| splice.add("a", "1".into())), r#"{"a":1}"#);
    }
}
