//! What a program prints, read as an answer's text.
//!
//! A reader takes the bytes in whatever pieces the pipe gives them and says the text as far as it is certain. The forms differ in how they find
//! the text; who calls them does not care: a form that reads JSON lines holds back an unfinished line, one that reads a whole document holds back all.

use crate::error::{Error, Result};

/// The form of a program's standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// The answer's text in UTF-8; line ends after it are not part of it.
    #[default]
    Text,
}

impl Output {
    /// A reader for one answer.
    pub(super) fn reader(self) -> Reader {
        match self {
            Self::Text => Reader::default(),
        }
    }
}

/// Reads text: whole characters only, line ends held back until something follows them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The beginning of a character, 3 bytes at most.
    partial: Vec<u8>,
    held: String,
    read: usize,
}

impl Reader {
    /// The text that `bytes` make certain.
    ///
    /// # Errors
    /// `provider_protocol` for bytes that are not UTF-8, with their place.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<String> {
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&all) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                let (text, partial) = all.split_at(error.valid_up_to());
                self.partial = partial.to_vec();
                // The prefix was found valid just above.
                std::str::from_utf8(text).unwrap_or_default()
            }
            Err(error) => return Err(not_text(self.read + error.valid_up_to())),
        };
        self.read += whole.len();
        let kept = whole.trim_end_matches(['\n', '\r']);
        if kept.is_empty() {
            self.held.push_str(whole);
            return Ok(String::new());
        }
        let mut text = std::mem::take(&mut self.held);
        text.push_str(kept);
        self.held.push_str(&whole[kept.len()..]);
        Ok(text)
    }

    /// The output is over.
    ///
    /// # Errors
    /// `provider_protocol` when it ends within a character.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.partial.is_empty() { Ok(()) } else { Err(not_text(self.read)) }
    }
}

fn not_text(at: usize) -> Error {
    Error::protocol(format!("the program's output is not UTF-8 at byte {at}"))
        .with_hint("make it print UTF-8: set LANG to C.UTF-8, or have it print text only")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_is_the_same_however_it_is_cut() {
        let whole = "é\r\nb\n\nヶ🎉\n\r\n";
        for step in 1..=whole.len() {
            let mut reader = Output::Text.reader();
            let text: String = whole.as_bytes().chunks(step).map(|piece| reader.push(piece).unwrap()).collect();
            reader.end().unwrap();
            assert_eq!(text, "é\r\nb\n\nヶ🎉", "{step}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_their_place() {
        let mut reader = Output::Text.reader();
        reader.push(b"ab").unwrap();
        assert!(reader.push(b"c\xff").unwrap_err().message().contains("byte 3"));
        let mut cut = Output::Text.reader();
        cut.push("é".as_bytes().split_at(1).0).unwrap();
        assert!(cut.end().is_err());
    }
}
