//! JSON lines, the framing of `native`, and [`Framer`], which cuts a stream of any dialect into frames. Server-sent events are in `sse.rs`.

use bytes::Bytes;
use memchr::memchr;

use crate::dialect::{Dialect, Frame, sse};
use crate::error::{Error, Result};

/// An incremental splitter at line ends. Empty lines say nothing and give no frame.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    line: Vec<u8>,
}

impl Lines {
    /// A splitter that takes lines of `limit` bytes at most.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new() }
    }

    /// Reads the next bytes and appends the lines that they complete.
    ///
    /// # Errors
    /// `provider_protocol` when a line is over the limit. Nothing may be read after that.
    pub fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        while let Some(at) = memchr(b'\n', bytes) {
            let (head, rest) = bytes.split_at(at);
            self.extend(head)?;
            self.end(frames);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.extend(bytes)
    }

    /// The stream ended: gives the line that still waits for its end, if there is one.
    pub fn end(&mut self, frames: &mut Vec<Frame>) {
        let line = std::mem::take(&mut self.line);
        if !line.trim_ascii().is_empty() {
            frames.push(Frame { name: None, data: Bytes::from(line) });
        }
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        if self.line.len() + bytes.len() > self.limit {
            return Err(Error::protocol(format!("a line of the stream is longer than {} bytes", self.limit)));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

/// Cuts the bytes of a streamed answer into frames: lines for `native`, server-sent events for every other dialect.
#[derive(Debug)]
pub enum Framer {
    /// Server-sent events.
    Sse(sse::Parser),
    /// JSON lines.
    Lines(Lines),
}

impl Framer {
    /// The framer of a dialect, for frames of `limit` bytes at most ([`sse::MAX_FRAME`] is a good one).
    pub fn new(dialect: Dialect, limit: usize) -> Self {
        match dialect {
            Dialect::Native => Self::Lines(Lines::new(limit)),
            _ => Self::Sse(sse::Parser::new(limit)),
        }
    }

    /// Reads the next bytes and appends the frames that they complete.
    ///
    /// # Errors
    /// `provider_protocol` when a frame is over the limit. Nothing may be read after that.
    pub fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        match self {
            Self::Sse(parser) => parser.push(bytes, frames),
            Self::Lines(lines) => lines.push(bytes, frames),
        }
    }

    /// The stream ended: gives the frame that still waits for its end, if there is one.
    pub fn end(&mut self, frames: &mut Vec<Frame>) {
        match self {
            Self::Sse(parser) => parser.end(frames),
            Self::Lines(lines) => lines.end(frames),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Bytes> {
        let (mut framer, mut frames) = (Framer::new(Dialect::Native, 64), Vec::new());
        chunks.iter().for_each(|chunk| framer.push(chunk, &mut frames).unwrap());
        framer.end(&mut frames);
        frames.into_iter().map(|frame| frame.data).collect()
    }

    #[test]
    fn lines_are_bounded_and_blank_ones_skipped() {
        assert_eq!(lines(&[b"{}\n\r\n\n[]\r", b"\n1"]), ["{}", "[]\r", "1"]);
        assert!(Lines::new(3).push(b"1234", &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(text in "[ab\n\r]{0,30}", cut in any::<prop::sample::Index>()) {
            let (a, b) = text.as_bytes().split_at(cut.index(text.len() + 1));
            prop_assert_eq!(lines(&[a, b]), lines(&[text.as_bytes()]));
        }
    }
}
