//! Objects in canonical form: put together from pieces, and their members in order.
//!
//! A key's object is built here without a tree of values in between; texts that are JSON already go through
//! `canonical.rs`.

use std::{borrow::Cow, ops::Range};

use super::{CanonicalError, append, append_float, append_string};

/// An object put together member by member, in any order; of equal names the last is kept.
///
/// ```
/// use llm_router::cache::canonical::Object;
///
/// let mut object = Object::default();
/// object.string("model", "m");
/// object.float("temperature", 0.0);
/// object.integer("max_tokens", 16);
/// assert_eq!(object.finish(), br#"{"max_tokens":16,"model":"m","temperature":0.0}"#);
/// ```
#[derive(Debug, Default)]
pub struct Object<'a> {
    bytes: Vec<u8>,
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Makes room for `bytes` of members at once.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), members: Vec::new() }
    }

    /// A string member.
    pub fn string(&mut self, name: &'a str, value: &str) {
        self.member(name, |out| append_string(out, value));
    }

    /// An integer member.
    pub fn integer(&mut self, name: &'a str, value: impl Into<i128>) {
        let value = value.into();
        self.member(name, |out| out.extend_from_slice(value.to_string().as_bytes()));
    }

    /// A float member: `0` is printed as `0.0`. Infinities and not-a-number, which JSON lacks, become `null`.
    pub fn float(&mut self, name: &'a str, value: f64) {
        self.member(name, |out| append_float(out, value));
    }

    /// A boolean member.
    pub fn boolean(&mut self, name: &'a str, value: bool) {
        self.member(name, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
    }

    /// A member given as JSON source text.
    ///
    /// # Errors
    /// See `Reason`; the member is then left out.
    pub fn source(&mut self, name: &'a str, text: &[u8]) -> Result<(), CanonicalError> {
        let before = self.bytes.len();
        let mut outcome = Ok(());
        self.member(name, |out| outcome = append(out, text));
        if outcome.is_err() {
            self.bytes.truncate(before);
            self.members.pop();
        }
        outcome
    }

    /// A member that is itself an object.
    pub fn object(&mut self, name: &'a str, value: Object<'_>) {
        self.member(name, |out| value.append_to(out));
    }

    /// Whether no member was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The canonical bytes of the object.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.members.len() + 2);
        self.append_to(&mut out);
        out
    }

    fn append_to(mut self, out: &mut Vec<u8>) {
        out.push(b'{');
        append_sorted(out, &self.bytes, &mut self.members);
        out.push(b'}');
    }

    fn member(&mut self, name: &'a str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        append_string(&mut self.bytes, name);
        self.bytes.push(b':');
        write(&mut self.bytes);
        self.members.push(Member { name: Cow::Borrowed(name.as_bytes()), written: start..self.bytes.len() });
    }
}

/// A member already written somewhere, and the unescaped name it is sorted by.
#[derive(Debug)]
pub(super) struct Member<'t> {
    pub(super) name: Cow<'t, [u8]>,
    pub(super) written: Range<usize>,
}

/// Appends the members, sorted, from the bytes they were written to; UTF-8 sorts bytewise as its code points do.
pub(super) fn append_sorted(out: &mut Vec<u8>, bytes: &[u8], members: &mut [Member<'_>]) {
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let mut first = true;
    let mut rest = members.iter().peekable();
    while let Some(member) = rest.next() {
        if rest.peek().is_some_and(|next| next.name == member.name) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(bytes.get(member.written.clone()).unwrap_or_default());
    }
}
