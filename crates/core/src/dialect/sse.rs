//! Server-sent events: bytes in any split → [`Frame`]s, and back.
//!
//! The grammar is the WHATWG's (HTML standard, "Server-sent events"), with one leniency: an event that the connection's end cut off before its blank line
//! is still given, because several servers end right after `data: [DONE]`. What is inside a frame is the codecs' business. JSON lines are in `lines.rs`.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

use crate::dialect::Frame;
use crate::error::{Error, Result};

/// The largest frame taken by default: a picture in base 64 fits, a runaway upstream does not.
pub const MAX_FRAME: usize = 32 * 1024 * 1024;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// An incremental parser. It keeps at most one unfinished event, and that within its limit.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    /// The line whose end has not come yet.
    line: Vec<u8>,
    name: Option<String>,
    /// The event's data so far; `None` until a `data` field came.
    data: Option<Vec<u8>>,
    /// The last byte was a CR that ended a line: an LF right after it belongs to it.
    after_cr: bool,
    first_line: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(MAX_FRAME)
    }
}

impl Parser {
    /// A parser that takes events of `limit` bytes at most.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), name: None, data: None, after_cr: false, first_line: true }
    }

    /// Reads the next bytes and appends the events that they complete.
    ///
    /// # Errors
    /// `provider_protocol` when an event is over the limit. Nothing may be read after that.
    pub fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = memchr2(b'\n', b'\r', bytes) {
            let (head, rest) = bytes.split_at(at);
            if self.line.is_empty() {
                self.check(head.len())?;
                self.line(head, frames);
            } else {
                self.check(self.line.len() + head.len())?;
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.line(&line, frames);
                line.clear();
                self.line = line;
            }
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.check(self.line.len() + bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// The connection ended: gives the event that still waits for its blank line, if there is one.
    pub fn end(&mut self, frames: &mut Vec<Frame>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line, frames);
        }
        self.dispatch(frames);
    }

    fn check(&self, line: usize) -> Result<()> {
        if line + self.data.as_ref().map_or(0, Vec::len) <= self.limit {
            return Ok(());
        }
        Err(Error::protocol(format!("an event of the stream is larger than {} bytes", self.limit)))
    }

    fn line(&mut self, mut line: &[u8], frames: &mut Vec<Frame>) {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(frames);
        }
        let (field, value) = match memchr(b':', line) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.name = Some(String::from_utf8_lossy(value).into_owned()).filter(|name| !name.is_empty()),
            // An empty field is a comment; `id` and `retry` serve reconnecting, which no dialect does; others are ignored by the standard.
            _ => {}
        }
    }

    fn dispatch(&mut self, frames: &mut Vec<Frame>) {
        let name = self.name.take();
        if let Some(data) = self.data.take() {
            frames.push(Frame { name, data: Bytes::from(data) });
        }
    }
}

/// Writes one event. Line breaks inside `data` become several `data` lines, as the grammar wants.
pub fn write(name: Option<&str>, data: &[u8], out: &mut BytesMut) {
    out.reserve(data.len() + name.map_or(0, str::len) + 24);
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend(name.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        out.extend_from_slice(b"\n");
    }
    let mut rest = Some(data);
    while let Some(text) = rest {
        let (line, after) = match memchr2(b'\n', b'\r', text) {
            Some(at) => {
                let after = text.get(at..).unwrap_or_default();
                let after = after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default();
                (&text[..at], Some(after))
            }
            None => (text, None),
        };
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
        rest = after;
    }
    out.extend_from_slice(b"\n");
}

/// Writes a comment, which every client ignores: a sign of life.
pub fn write_ping(out: &mut BytesMut) {
    out.extend_from_slice(b": ping\n\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, &mut frames).unwrap();
        }
        parser.end(&mut frames);
        frames.into_iter().map(|frame| (frame.name, String::from_utf8(frame.data.to_vec()).unwrap())).collect()
    }

    fn data(text: &str) -> Vec<String> {
        frames(&[text.as_bytes()]).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn every_line_end_and_the_bom() {
        for text in ["data: a\n\ndata: b\n\n", "data: a\r\rdata: b\r\r", "\u{feff}data: a\r\n\r\ndata:b\r\n\r\n"] {
            assert_eq!(data(text), ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn fields_comments_and_names() {
        let text = ": ping\n\nevent: x\ndata: a\ndata:  b\ndata\nid: 7\nunknown: y\n\nevent: alone\n\ndata: c\n\n";
        assert_eq!(frames(&[text.as_bytes()]), [(Some("x".into()), "a\n b\n".into()), (None, "c".into())]);
    }

    #[test]
    fn an_event_cut_by_the_end_is_given() {
        assert_eq!(data("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
        assert_eq!(data("data: [DONE]\n"), ["[DONE]"]);
        assert_eq!(data(": only a comment"), Vec::<String>::new());
    }

    #[test]
    fn too_large_is_an_error_whole_or_in_pieces() {
        for chunk in ["data: 123456789\n", "123456789abcd", "data: 12\ndata: 34\ndata: 5678"] {
            assert!(Parser::new(12).push(chunk.as_bytes(), &mut Vec::new()).is_err(), "{chunk}");
        }
        let mut parser = Parser::new(12);
        let mut all = Vec::new();
        for _ in 0..100 {
            parser.push(b"data: 1234\n\n", &mut all).unwrap();
        }
        assert_eq!(all.len(), 100);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            text in "(data: ?[aé✓]{0,4}|event: [xy]|:c|data|\\PC{0,3}|\r|\n|\r\n|\n\n){0,24}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frames(&chunks), frames(&[bytes]));
        }

        #[test]
        fn what_is_written_is_read_back(text in "[a{}\"é\n]{0,40}", name in proptest::option::of("[a-z._]{1,8}")) {
            let mut out = BytesMut::new();
            write(name.as_deref(), text.as_bytes(), &mut out);
            write_ping(&mut out);
            prop_assert_eq!(frames(&[&out]), vec![(name, text)]);
        }
    }
}
