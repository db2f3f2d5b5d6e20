//! Canonical JSON: the one spelling of a JSON text that keys and content identifiers are made of.
//!
//! The spelling is what Python's `json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`
//! prints after `json.loads(text)`: members sorted by code point, the last of equal names kept, no blanks, strings
//! unescaped except quotes, backslashes and control characters, numbers as in `number.rs`. It works on the source
//! text, because a parsed tree no longer tells `1` from `1.0` beyond 64 bits.
//!
//! What Python prints but JSON has no word for is refused: infinities (`1e999`) and unpaired surrogates.
//! The object that is hashed for a request is put together in `key.rs`.

mod number;
mod object;

use std::{borrow::Cow, fmt};

pub use number::append_float;
pub use object::Object;
use object::{Member, append_sorted};

/// How many arrays and objects may be open at once.
pub const MAX_DEPTH: usize = 128;

/// Why a text has no canonical form, and at which byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalError {
    /// Byte offset in the source text.
    pub at: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What a text can have wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Not JSON (RFC 8259): the text names what was expected.
    Expected(&'static str),
    /// The bytes are not UTF-8.
    NotUtf8,
    /// More than [`MAX_DEPTH`] nested arrays and objects.
    TooDeep,
    /// An integer of more than 4,300 digits, Python's own limit.
    TooManyDigits,
    /// A number beyond the range of a 64-bit float.
    TooLarge,
    /// A `\ud800`-style escape without its other half, which UTF-8 cannot hold.
    LoneSurrogate,
}

impl fmt::Display for CanonicalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.reason {
            Reason::Expected(what) => write!(f, "JSON text, byte {at}: expected {what}"),
            Reason::NotUtf8 => write!(f, "JSON text, byte {at}: not UTF-8"),
            Reason::TooDeep => write!(f, "JSON text, byte {at}: nested deeper than {MAX_DEPTH} levels"),
            Reason::TooManyDigits => {
                write!(f, "JSON text, byte {at}: an integer of more than {} digits", number::MAX_DIGITS)
            }
            Reason::TooLarge => write!(f, "JSON text, byte {at}: a number too large for a 64-bit float"),
            Reason::LoneSurrogate => write!(f, "JSON text, byte {at}: half of a surrogate pair"),
        }
    }
}

impl std::error::Error for CanonicalError {}

/// The canonical bytes of a JSON text.
///
/// # Errors
/// See [`Reason`].
pub fn canonical(text: &[u8]) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(text.len());
    append(&mut out, text)?;
    Ok(out)
}

/// Appends the canonical bytes of a JSON text; on an error `out` is as it was.
///
/// # Errors
/// See [`Reason`].
pub fn append(out: &mut Vec<u8>, text: &[u8]) -> Result<(), CanonicalError> {
    let before = out.len();
    let outcome = Scanner::new(text).and_then(|mut scanner| scanner.document(out));
    if outcome.is_err() {
        out.truncate(before);
    }
    outcome
}

/// Appends a string with its quotes.
pub fn append_string(out: &mut Vec<u8>, text: &str) {
    append_quoted(out, text.as_bytes());
}

fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(plain) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (run, special) = rest.split_at(plain);
        out.extend_from_slice(run);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Reads a text once, writing its canonical form as it goes.
struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    /// Where the first unpaired surrogate stood; it only matters if it survives (a later member may replace it).
    lone: Option<usize>,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t [u8]) -> Result<Self, CanonicalError> {
        match std::str::from_utf8(text) {
            Ok(_) => Ok(Self { text, at: 0, lone: None }),
            Err(error) => Err(CanonicalError { at: error.valid_up_to(), reason: Reason::NotUtf8 }),
        }
    }

    fn document(&mut self, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        let start = out.len();
        self.blanks();
        self.value(out, 0)?;
        self.blanks();
        if self.at < self.text.len() {
            return self.expected("the end of the text");
        }
        match self.lone {
            Some(at) if holds_surrogate(out.get(start..).unwrap_or_default()) => {
                Err(CanonicalError { at, reason: Reason::LoneSurrogate })
            }
            _ => Ok(()),
        }
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
        match self.peek() {
            Some(b'{') => self.object(out, depth + 1),
            Some(b'[') => self.array(out, depth + 1),
            Some(b'"') => {
                let text = self.string()?;
                append_scanned(out, &text);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let length = number::append(out, rest)
                    .map_err(|(offset, reason)| CanonicalError { at: self.at + offset, reason })?;
                self.at += length;
                Ok(())
            }
            Some(b't') => self.word(out, b"true"),
            Some(b'f') => self.word(out, b"false"),
            Some(b'n') => self.word(out, b"null"),
            _ => self.expected("a value"),
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
        self.open(depth)?;
        out.push(b'[');
        if !self.take(b']') {
            loop {
                self.blanks();
                self.value(out, depth)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return self.expected("`,` or `]`");
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
        self.open(depth)?;
        out.push(b'{');
        let start = out.len();
        let mut members = Vec::new();
        if !self.take(b'}') {
            loop {
                members.push(self.member(out, depth)?);
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return self.expected("`,` or `}`");
                }
                out.push(b',');
            }
        }
        if !members.is_sorted_by(|a: &Member<'_>, b| a.name < b.name) {
            let written = out.split_off(start);
            for member in &mut members {
                member.written = member.written.start - start..member.written.end - start;
            }
            append_sorted(out, &written, &mut members);
        }
        out.push(b'}');
        Ok(())
    }

    fn member(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<Member<'t>, CanonicalError> {
        self.blanks();
        if self.peek() != Some(b'"') {
            return self.expected("a member's name in quotes");
        }
        let start = out.len();
        let name = self.string()?;
        append_scanned(out, &name);
        if !self.take(b':') {
            return self.expected("`:`");
        }
        out.push(b':');
        self.blanks();
        self.value(out, depth)?;
        Ok(Member { name, written: start..out.len() })
    }

    /// A string without its escapes, in UTF-8 that may also hold unpaired surrogates (WTF-8).
    fn string(&mut self) -> Result<Cow<'t, [u8]>, CanonicalError> {
        self.at += 1;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(plain) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') else {
                self.at = self.text.len();
                return self.expected("a closing `\"`");
            };
            let (run, special) = rest.split_at(plain);
            self.at += plain;
            match special.first() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(run),
                        Some(mut text) => {
                            text.extend_from_slice(run);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.extend_from_slice(run);
                    self.escape(text)?;
                }
                _ => return self.expected("a control character to be escaped"),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), CanonicalError> {
        let at = self.at;
        let byte = match self.text.get(at + 1) {
            Some(b'u') => {
                self.at += 2;
                let unit = self.unit()?;
                return self.code_point(text, at, unit);
            }
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            _ => return self.expected("one of `\"\\/bfnrtu` after the backslash"),
        };
        text.push(byte);
        self.at += 2;
        Ok(())
    }

    /// Writes the code point that begins with this UTF-16 unit, reading its other half if it follows.
    fn code_point(&mut self, text: &mut Vec<u8>, at: usize, unit: u16) -> Result<(), CanonicalError> {
        if let 0xd800..=0xdbff = unit
            && self.text.get(self.at..self.at + 2) == Some(b"\\u")
        {
            let resume = self.at;
            self.at += 2;
            let low = self.unit()?;
            match char::decode_utf16([unit, low]).next() {
                Some(Ok(character)) => {
                    push_char(text, character);
                    return Ok(());
                }
                _ => self.at = resume,
            }
        }
        match char::from_u32(u32::from(unit)) {
            Some(character) => push_char(text, character),
            None => {
                self.lone.get_or_insert(at);
                let [low, high] = [unit & 0x3f, (unit >> 6) & 0x3f].map(|six| 0x80 | six as u8);
                text.extend_from_slice(&[0xed, high, low]);
            }
        }
        Ok(())
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, CanonicalError> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        let mut unit = 0;
        for &digit in digits {
            match char::from(digit).to_digit(16) {
                Some(value) => unit = unit << 4 | value as u16,
                None => return self.expected("four hexadecimal digits"),
            }
        }
        if digits.len() < 4 {
            return self.expected("four hexadecimal digits");
        }
        self.at += 4;
        Ok(unit)
    }

    fn word(&mut self, out: &mut Vec<u8>, word: &'static [u8]) -> Result<(), CanonicalError> {
        if !self.text.get(self.at..).unwrap_or_default().starts_with(word) {
            return self.expected("a value");
        }
        out.extend_from_slice(word);
        self.at += word.len();
        Ok(())
    }

    fn open(&mut self, depth: usize) -> Result<(), CanonicalError> {
        if depth > MAX_DEPTH {
            return Err(CanonicalError { at: self.at, reason: Reason::TooDeep });
        }
        self.at += 1;
        Ok(())
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips blanks and, if it comes next, the byte.
    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expected<T>(&self, what: &'static str) -> Result<T, CanonicalError> {
        Err(CanonicalError { at: self.at, reason: Reason::Expected(what) })
    }
}

/// A string that stood in the source without escapes needs none in the canonical form either.
#[expect(clippy::ptr_arg, reason = "whether it is owned says whether escapes stood in it")]
fn append_scanned(out: &mut Vec<u8>, text: &Cow<'_, [u8]>) {
    match text {
        Cow::Owned(text) => append_quoted(out, text),
        Cow::Borrowed(text) => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
}

fn push_char(text: &mut Vec<u8>, character: char) {
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn holds_surrogate(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, [0xed, 0xa0..=0xbf]))
}

#[cfg(test)]
mod tests;
