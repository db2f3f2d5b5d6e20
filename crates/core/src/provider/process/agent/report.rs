//! Reports that agents leave in files of their private homes, read when they have ended and before the home goes.
//!
//! What is in one is the reader's business; here it is found and bounded.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::memmem;

/// The most of a report that is given on.
const REPORT: u64 = 1 << 20;

/// The longest line that is looked at; a longer one is passed over.
const LINE: u64 = 256 << 10;

/// The end of a file.
pub(super) fn end(file: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(file).ok()?;
    let over = file.metadata().ok()?.len().saturating_sub(REPORT);
    file.seek(SeekFrom::Start(over)).ok()?;
    let mut bytes = Vec::new();
    file.take(REPORT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The lines that hold these words, of the file of this name in each folder of this one, however long the files are. What begins with a dot is a program's own
/// business.
pub(super) fn lines(above: &Path, name: &str, words: &str) -> Option<Vec<u8>> {
    let folders = fs::read_dir(above).ok()?.flatten().filter(|entry| entry.path().is_dir());
    let folders = folders.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let mut files: Vec<PathBuf> = folders.map(|entry| entry.path().join(name)).collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        // Half a report is better than none.
        let _ = File::open(file).and_then(|file| holding(BufReader::new(file), words.as_bytes(), &mut found));
    }
    Some(found)
}

fn holding(mut file: impl BufRead, words: &[u8], found: &mut Vec<u8>) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LINE && !line.ends_with(b"\n") {
            file.skip_until(b'\n')?;
        } else if memmem::find(&line, words).is_some() && (found.len() + line.len()) as u64 <= REPORT {
            found.extend_from_slice(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_found_however_much_stands_behind_them() {
        let above = tempfile::tempdir().unwrap();
        for (session, count) in [("a", 3), ("b", 1), (".c", 1)] {
            fs::create_dir(above.path().join(session)).unwrap();
            let long = format!("{{\"used\":{}}}\n", "x".repeat(LINE as usize));
            let text: String =
                (0..count).map(|number| format!("{{\"used\":{number}}}\n{{\"other\":1}}\n{long}")).collect();
            fs::write(above.path().join(session).join("log"), text + &"other\n".repeat(400_000)).unwrap();
        }
        let found = String::from_utf8(lines(above.path(), "log", "\"used\"").unwrap()).unwrap();
        assert_eq!(found, "{\"used\":0}\n{\"used\":1}\n{\"used\":2}\n{\"used\":0}\n");
        assert_eq!(end(&above.path().join("a/log")).unwrap().len() as u64, REPORT);
        assert!(end(&above.path().join("none")).is_none() && lines(&above.path().join("none"), "log", "x").is_none());
    }
}
