//! Output in JSON: one value with the text in it, or a value in each line.

use serde_json::Value;

use super::{Piece, Reader, failed};
use crate::config::{LinesSettings, Pick};
use crate::error::{Error, Result};
use crate::usage::Usage;

/// Characters of what is not understood that an error shows.
const SHOWN: usize = 80;

/// The longest value that is read: one may take fifty times as much memory as its text.
const LONGEST: usize = 2 << 20;

/// Reads one JSON value; says nothing before its end.
#[derive(Debug)]
pub(super) struct Document {
    program: String,
    pointer: String,
    bytes: Vec<u8>,
}

impl Document {
    pub(super) fn new(program: &str, pointer: &str) -> Self {
        Self { program: program.to_owned(), pointer: pointer.to_owned(), bytes: Vec::new() }
    }
}

impl Reader for Document {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>> {
        held(&self.program, "a JSON value", &mut self.bytes, bytes)?;
        Ok(Vec::new())
    }

    fn end(&mut self) -> Result<Vec<Piece>> {
        let value = read(&self.program, &std::mem::take(&mut self.bytes))?;
        match value.pointer(&self.pointer) {
            Some(Value::String(text)) => Ok(vec![Piece::Text(text.clone())]),
            Some(value) if !value.is_null() => Ok(vec![Piece::Text(value.to_string())]),
            _ => Err(Error::protocol(format!("{} printed JSON with nothing at {}", self.program, self.pointer))
                .with_hint("set output to the JSON pointer of the answer's text")),
        }
    }
}

/// Reads a JSON value in each line.
#[derive(Debug)]
pub(super) struct Lines {
    program: String,
    settings: LinesSettings,
    /// The beginning of a line.
    partial: Vec<u8>,
    usage: Usage,
    ended: bool,
}

impl Lines {
    pub(super) fn new(program: &str, settings: &LinesSettings) -> Self {
        let settings = settings.clone();
        Self { program: program.to_owned(), settings, partial: Vec::new(), usage: Usage::default(), ended: false }
    }

    fn line(&mut self, line: &[u8], pieces: &mut Vec<Piece>) -> Result<()> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let line = read(&self.program, line)?;
        let of = |pick: &Option<Pick>| pick.as_ref()?.of(&line).map(said);
        if let Some(error) = of(&self.settings.error) {
            return Err(failed(&self.program, &error));
        }
        let text = |text: &String| !text.is_empty();
        pieces.extend(of(&self.settings.thoughts).filter(text).map(Piece::Thoughts));
        pieces.extend(of(&self.settings.text).filter(text).map(Piece::Text));
        let settings = &self.settings;
        let counts = [
            (&settings.input_tokens, &mut self.usage.input),
            (&settings.cached_tokens, &mut self.usage.cache_read),
            (&settings.output_tokens, &mut self.usage.output),
            (&settings.reasoning_tokens, &mut self.usage.reasoning),
        ];
        let mut counted = false;
        for (pick, count) in counts {
            if let Some(told) = pick.as_ref().and_then(|pick| pick.of(&line)).and_then(Value::as_u64) {
                (*count, counted) = (told, true);
            }
        }
        if counted {
            pieces.push(Piece::Usage(self.usage));
        }
        self.ended |= self.settings.end.as_ref().is_some_and(|end| end.holds(&line));
        Ok(())
    }
}

impl Reader for Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, more) = rest.split_at(at);
            rest = more.get(1..).unwrap_or_default();
            let mut whole = std::mem::take(&mut self.partial);
            held(&self.program, "a line", &mut whole, line)?;
            self.line(&whole, &mut pieces)?;
        }
        held(&self.program, "a line", &mut self.partial, rest)?;
        Ok(pieces)
    }

    fn end(&mut self) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let last = std::mem::take(&mut self.partial);
        self.line(&last, &mut pieces)?;
        if self.settings.end.is_some() && !self.ended {
            return Err(Error::protocol(format!("{} ended without the line that ends an answer", self.program))
                .with_hint("run it by hand with the same prompt to see why, or mend lines.end"));
        }
        Ok(pieces)
    }
}

/// Adds to what is held until it is whole.
///
/// # Errors
/// `provider_protocol` for more than is read; nothing is held then.
fn held(program: &str, what: &str, held: &mut Vec<u8>, more: &[u8]) -> Result<()> {
    if held.len() + more.len() > LONGEST {
        *held = Vec::new();
        return Err(Error::protocol(format!("{program} printed {what} of more than {LONGEST} bytes"))
            .with_hint("make it print less at once: the answer's text without what it was made from"));
    }
    held.extend_from_slice(more);
    Ok(())
}

/// A value as text.
fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(program: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        let shown: String = String::from_utf8_lossy(bytes).trim().chars().take(SHOWN).collect();
        Error::protocol(format!("{program} printed what is no JSON ({error}): {shown}"))
            .with_hint("set output to the form that the program prints")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Condition;

    fn lines() -> Lines {
        let pick = |text: &str| Some(Pick::parse(text).unwrap());
        let settings = LinesSettings {
            text: pick("/text where /type=text"),
            thoughts: pick("/text where /type=thought"),
            error: pick("/error/message"),
            end: Some(Condition::parse("/type=done").unwrap()),
            input_tokens: pick("/usage/in"),
            output_tokens: pick("/usage/out"),
            ..LinesSettings::default()
        };
        Lines::new("it", &settings)
    }

    const WHOLE: &str = "{\"type\":\"thought\",\"text\":\"hm\"}\r\n\n{\"type\":\"text\",\"text\":\"é \"}\n{\"type\":\"other\"}\n\
                         {\"type\":\"text\",\"text\":\"b\"}\n{\"type\":\"done\",\"usage\":{\"in\":3,\"out\":2}}";

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        for step in 1..=WHOLE.len() {
            let mut reader = lines();
            let mut pieces: Vec<_> =
                WHOLE.as_bytes().chunks(step).flat_map(|piece| reader.push(piece).unwrap()).collect();
            pieces.extend(reader.end().unwrap());
            let text = |text: &str| Piece::Text(text.into());
            let wanted = [Piece::Thoughts("hm".into()), text("é "), text("b"), Piece::Usage(Usage::new(3, 2))];
            assert_eq!(pieces, wanted, "{step}");
        }
    }

    #[test]
    fn what_goes_wrong_in_lines_is_told() {
        let error = |text: &str| lines().push(text.as_bytes()).unwrap_err();
        let told = error("{\"error\":{\"message\":\"usage limit reached, try again in 2 minutes\"}}\n");
        assert_eq!(told.kind().name(), "provider_quota_exhausted");
        assert_eq!(told.retry_after().unwrap().as_secs(), 120);
        assert!(error("half {\n").message().contains("no JSON"));
        let mut cut = lines();
        cut.push(b"{\"type\":\"text\",\"text\":\"a\"}\n").unwrap();
        assert!(cut.end().unwrap_err().message().contains("ends an answer"));
    }

    #[test]
    fn what_is_held_until_it_is_whole_is_bounded() {
        let piece = [b' '; 64 << 10];
        let readers: [Box<dyn Reader>; 2] = [Box::new(Document::new("it", "/a")), Box::new(lines())];
        for mut reader in readers {
            let mut pieces = (0..).map(|_| reader.push(&piece));
            assert_eq!(pieces.by_ref().take_while(Result::is_ok).count(), LONGEST / piece.len());
        }
        let mut ends = lines();
        let error = ends.push(&[b"x".repeat(LONGEST + 1), b"\n".to_vec()].concat()).unwrap_err();
        assert!(error.message().contains("2097152"), "{error}");
    }

    #[test]
    fn a_document_is_read_at_its_end() {
        let of = |text: &str, pointer: &str| {
            let mut reader = Document::new("it", pointer);
            assert!(reader.push(text.as_bytes()).unwrap().is_empty());
            reader.end()
        };
        assert_eq!(of("{\"a\":[{\"b\":\"x\"}]}\n", "/a/0/b").unwrap(), [Piece::Text("x".into())]);
        assert_eq!(of("{\"a\":[1]}", "/a").unwrap(), [Piece::Text("[1]".into())]);
        for (text, said) in [("{\"a\":null}", "nothing at /a"), ("{", "no JSON"), ("", "no JSON"), ("{}{}", "no JSON")]
        {
            assert!(of(text, "/a").unwrap_err().message().contains(said), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(of(&deep, "/a").is_err());
    }
}
