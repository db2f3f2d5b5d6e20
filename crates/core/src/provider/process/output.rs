//! What a program prints, read as the pieces of an answer.
//!
//! A reader takes the bytes in whatever pieces the pipe gives them and says what is certain. The forms differ in how they find the text; who calls them does
//! not care: one that reads JSON lines holds back an unfinished line, one that reads a whole document holds back all (`output/json.rs`).

mod json;

use std::time::SystemTime;

use self::json::{Document, Lines};
use super::failure;
use crate::config::{LinesSettings, OutputForm, ProviderSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::usage::Usage;

/// The form of a program's standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// The answer's text in UTF-8; line ends after it are not part of it.
    #[default]
    Text,
    /// One JSON value, in which the text stands at this pointer.
    Json(String),
    /// JSON lines, read by these settings.
    Lines(Box<LinesSettings>),
}

impl Output {
    /// The form that a provider's settings name.
    ///
    /// # Errors
    /// `caller_invalid_request` for lines of which nothing is text, and for settings of lines where the output has none.
    pub fn of(settings: &ProviderSettings) -> Result<Self> {
        let lines = &settings.lines;
        match &settings.output {
            OutputForm::Lines if lines.text.is_none() => {
                Err(Error::invalid("the output is lines of JSON, and nothing in them is text")
                    .with_hint("set lines.text, such as \"/text\", beside output"))
            }
            OutputForm::Lines => Ok(Self::Lines(Box::new(lines.clone()))),
            _ if *lines != LinesSettings::default() => {
                Err(Error::invalid("what the lines of an output are is set, and the output is not lines")
                    .with_hint("set output = \"lines\" beside it"))
            }
            OutputForm::Json(pointer) => Ok(Self::Json(pointer.clone())),
            OutputForm::Text => Ok(Self::Text),
        }
    }

    /// A reader for one answer of the program of this name.
    pub(super) fn reader(&self, program: &str) -> Box<dyn Reader> {
        match self {
            Self::Text => Box::new(Text::default()),
            Self::Json(pointer) => Box::new(Document::new(program, pointer)),
            Self::Lines(settings) => Box::new(Lines::new(program, settings)),
        }
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text.
    Text(String),
    /// Thoughts.
    Thoughts(String),
    /// Token counts so far.
    Usage(Usage),
}

/// Reads what one program prints in answer to one request.
pub(super) trait Reader: Send {
    /// What `bytes` make certain.
    ///
    /// # Errors
    /// `provider_protocol` for what is not in the form; what the program says went wrong, where the form can tell.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>>;

    /// The output is over, and the program ended well.
    ///
    /// # Errors
    /// `provider_protocol` where it ends too early.
    fn end(&mut self) -> Result<Vec<Piece>>;
}

/// Reads text: whole characters only, line ends held back until something follows them.
#[derive(Debug, Default)]
struct Text {
    /// The beginning of a character, 3 bytes at most.
    partial: Vec<u8>,
    held: String,
    read: usize,
}

impl Text {
    /// The text that `bytes` make certain.
    ///
    /// # Errors
    /// `provider_protocol` for bytes that are not UTF-8, with their place.
    fn text(&mut self, bytes: &[u8]) -> Result<String> {
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
}

impl Reader for Text {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>> {
        let text = self.text(bytes)?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(Piece::Text).into_iter().collect())
    }

    fn end(&mut self) -> Result<Vec<Piece>> {
        if self.partial.is_empty() { Ok(Vec::new()) } else { Err(not_text(self.read)) }
    }
}

fn not_text(at: usize) -> Error {
    Error::protocol(format!("the program's output is not UTF-8 at byte {at}"))
        .with_hint("make it print UTF-8: set LANG to C.UTF-8, or have it print text only")
}

/// The error of a program that says in its output what went wrong.
fn failed(program: &str, said: &str) -> Error {
    let said = failure::shortened(said, &[]);
    let message = format!("{program}: {said}");
    failure::of_words(program, &said, ErrorKind::ProviderServerError, &message, SystemTime::now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_is_the_same_however_it_is_cut() {
        let whole = "é\r\nb\n\nヶ🎉\n\r\n";
        for step in 1..=whole.len() {
            let mut reader = Text::default();
            let text: String = whole.as_bytes().chunks(step).map(|piece| reader.text(piece).unwrap()).collect();
            assert!(reader.end().unwrap().is_empty());
            assert_eq!(text, "é\r\nb\n\nヶ🎉", "{step}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_their_place() {
        let mut reader = Output::Text.reader("it");
        reader.push(b"ab").unwrap();
        assert!(reader.push(b"c\xff").unwrap_err().message().contains("byte 3"));
        let mut cut = Output::Text.reader("it");
        cut.push("é".as_bytes().split_at(1).0).unwrap();
        assert!(cut.end().is_err());
    }
}
