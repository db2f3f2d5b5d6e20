//! The bounded reader under the GGUF parser: nothing is read past the file's end or past the header's limit, and no length is believed
//! before it is compared with what is left. It knows bytes and strings; `metadata.rs` knows what they mean.

use std::io::Read;

use super::{GgufError, Reason, Result};

/// The largest header read, in bytes. The largest real ones (a quarter of a million tokens and their merges) hold under 30 MB.
pub(super) const MAX_HEADER: u64 = 256 << 20;
/// The longest single string, in bytes: some files carry a whole `tokenizer.json`.
pub(super) const MAX_STRING: u64 = 64 << 20;

/// A reader that knows its position and the file's length.
pub(super) struct Source<R> {
    inner: R,
    at: u64,
    length: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R, length: u64) -> Self {
        Self { inner, at: 0, length }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the whole file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Fails unless `count` more bytes are in the file and within the header's limit.
    pub(super) fn expect(&self, count: u64, what: &str) -> Result<()> {
        let left = self.length.saturating_sub(self.at);
        if count > left {
            return Err(GgufError::new(
                Reason::Truncated,
                format!("{what} needs {count} bytes at offset {} and the file has {left} more", self.at),
            ));
        }
        if count > MAX_HEADER.saturating_sub(self.at) {
            return Err(GgufError::new(Reason::TooLarge, format!("{what} goes beyond {MAX_HEADER} bytes of header")));
        }
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<()> {
        self.expect(bytes.len() as u64, what)?;
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => GgufError::new(Reason::Truncated, format!("it ended inside {what}")),
            _ => GgufError::new(Reason::Unreadable, format!("reading {what}: {error}")),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A count of things, refused above `limit`.
    pub(super) fn count(&mut self, what: &str, limit: u64) -> Result<u64> {
        let count = self.u64(&format!("the number of {what}"))?;
        if count > limit {
            return Err(GgufError::new(Reason::TooLarge, format!("it claims {count} {what}; {limit} are allowed")));
        }
        Ok(count)
    }

    /// A length-prefixed string's bytes, at most `limit` of them.
    pub(super) fn string(&mut self, what: &str, limit: u64) -> Result<Vec<u8>> {
        let length = self.u64(what)?;
        self.expect(length, what)?;
        if length > limit {
            return Err(GgufError::new(Reason::TooLarge, format!("{what} claims {length} bytes; {limit} are allowed")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// A length-prefixed string that must be UTF-8. It ends at a NUL, as it will for llama.cpp, whose reader hands out C strings.
    pub(super) fn text(&mut self, what: &str, limit: u64) -> Result<String> {
        let mut bytes = self.string(what, limit)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        String::from_utf8(bytes).map_err(|_| GgufError::new(Reason::Inconsistent, format!("{what} is not UTF-8")))
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64, what: &str) -> Result<()> {
        self.expect(count, what)?;
        let mut sink = [0; 4096];
        while count > 0 {
            let now = count.min(sink.len() as u64) as usize;
            let Some(part) = sink.get_mut(..now) else {
                break;
            };
            self.fill(part, what)?;
            count -= now as u64;
        }
        Ok(())
    }
}
