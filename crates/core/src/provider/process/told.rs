//! What a worker says on standard error, line by line, as events of this process: a warning of the engine's child is a warning here.
//!
//! The last of it is kept for error messages as well; that is `failure.rs`'s business.

/// The longest line that is passed on; what is longer comes in pieces.
const LINE: usize = 2 << 10;

/// The lines of one program.
#[derive(Debug)]
pub(super) struct Told {
    name: String,
    line: Vec<u8>,
}

impl Told {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), line: Vec::new() }
    }

    /// Takes more of its standard error.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() >= LINE {
                self.tell();
            }
        }
    }

    fn tell(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let (name, line) = (&self.name, line.trim());
        match warning(line) {
            _ if line.is_empty() => {}
            Some(what) => tracing::warn!("{name}: {what}"),
            None => tracing::debug!("{name}: {line}"),
        }
        self.line.clear();
    }
}

/// The words of a line that calls itself a warning or an error.
fn warning(line: &str) -> Option<&str> {
    ["warning:", "error:"].iter().find_map(|word| {
        let (start, rest) = line.split_at_checked(word.len())?;
        start.eq_ignore_ascii_case(word).then(|| rest.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_known_by_their_first_word_and_bounded() {
        assert_eq!(warning("WARNING: the disk is slow"), Some("the disk is slow"));
        assert_eq!(warning("error: é"), Some("é"));
        assert_eq!((warning("no error: x"), warning("é")), (None, None));
        let mut told = Told::new("worker");
        told.push(&[b'x'; 3 * LINE]);
        told.push(b"y");
        assert_eq!(told.line, b"y");
    }
}
