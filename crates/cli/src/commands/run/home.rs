//! Gemini CLI's home for a run: the user's own in everything but its settings.
//!
//! Where Gemini CLI logs in, and so whom it may be pointed at, stands in its settings alone; those of the system, which would go before the user's, it takes from files of root only. So the
//! run has a home of its own in which each entry of the user's is a link to it, sessions and history and login, and the settings are the user's with what must differ put into them.
//! What is written anew over a link, or beside them, is given back at the end (`back.rs`); what is changed about the settings meanwhile is not.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::folder::Folder;
use crate::output::{Failure, Outcome};

/// Its folder in a home.
pub(super) const FOLDER: &str = ".gemini";
/// Its settings there.
pub(super) const SETTINGS: &str = "settings.json";
/// The name of the home in the folder of a run.
pub(super) const HOME: &str = "home";
/// The most entries that are linked.
const MOST: usize = 1000;

/// A home that is lent for a run.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    /// The home itself.
    pub(super) path: PathBuf,
    /// The user's own folder, where it really is.
    pub(super) from: PathBuf,
    /// What the user's entries were when they were lent.
    pub(super) before: HashMap<OsString, Stamp>,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([u64; 3], [i64; 2]);

impl Stamp {
    /// That of the file to which a path leads, where there is one.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self([about.dev(), about.ino(), about.len()], [about.mtime(), about.mtime_nsec()]))
    }
}

impl Lent {
    /// A home like the one at `real`, with these changes of its settings.
    pub(super) fn new(folder: &Folder, real: &Path, change: impl FnOnce(&mut Value)) -> Outcome<Self> {
        let path = folder.path().join(HOME);
        let (own, from) = (path.join(FOLDER), real.join(FOLDER));
        let mut settings = read(&from.join(SETTINGS))?;
        change(&mut settings);
        let failed = |error: io::Error| Failure::io(&format!("a home like {}", from.display()), &error);
        let lent = || -> io::Result<Option<Self>> {
            fs::create_dir_all(&own)?;
            // As it makes them itself when it is first started: conversations are to be found again.
            for name in ["tmp", "history"] {
                fs::create_dir_all(from.join(name))?;
            }
            let from = fs::canonicalize(&from)?;
            let mut before = HashMap::new();
            for (at, entry) in fs::read_dir(&from)?.enumerate() {
                let entry = entry?;
                if at == MOST {
                    return Ok(None);
                }
                if entry.file_name() != SETTINGS {
                    symlink(entry.path(), own.join(entry.file_name()))?;
                    before.extend(Stamp::of(&entry.path()).map(|stamp| (entry.file_name(), stamp)));
                }
            }
            fs::write(own.join(SETTINGS), settings.to_string())?;
            Ok(Some(Self { path: path.clone(), from, before }))
        };
        lent().map_err(failed)?.ok_or_else(|| {
            Failure::usage(
                format!("{}: it has more than {MOST} entries, which are the most that a run links to", from.display()),
                "move those away that Gemini CLI does not need",
            )
        })
    }
}

/// Settings as they are in a file, which may have comments; none are an empty object.
pub(super) fn read(file: &Path) -> Outcome<Value> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(json!({})),
        Err(error) => return Err(Failure::io(&file.display().to_string(), &error)),
    };
    match serde_json::from_str(&without_comments(&text)) {
        Ok(Value::Object(settings)) => Ok(Value::Object(settings)),
        Ok(_) => Err(Failure::usage(format!("{}: it is no JSON object", file.display()), "mend the agent's settings")),
        Err(error) => Err(Failure::usage(format!("{}: {error}", file.display()), "mend the agent's settings")),
    }
}

/// JSON without the comments that its readers here allow. Lines stay where they are.
fn without_comments(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let mut escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                let length = end.map_or(rest.len(), |(at, _)| at + 1);
                out.push_str(&rest[..length]);
                length
            }
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => {
                let length = rest[2..].find("*/").map_or(rest.len(), |end| end + 4);
                out.extend(rest[..length].chars().filter(|c| *c == '\n'));
                length
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn comments_are_left_out_and_strings_are_not_touched() {
        let text = "{ // one\n \"a\": \"http://x/*y*/\\\"//\", /* two\n three */ \"b\": 1 }";
        let read: Value = serde_json::from_str(&without_comments(text)).unwrap();
        assert_eq!(read, json!({"a": "http://x/*y*/\"//", "b": 1}));
        assert_eq!(without_comments(text).lines().count(), text.lines().count());
        for odd in ["\"", "\"\\", "/", "/*", "//", "é/*é*/é", "\"é"] {
            without_comments(odd);
        }
    }

    #[test]
    fn a_folder_with_too_much_in_it_is_refused_before_anything_is_made_of_it() {
        let user = tempfile::tempdir().unwrap();
        let real = user.path().join(FOLDER);
        fs::create_dir(&real).unwrap();
        (0..MOST).for_each(|number| fs::write(real.join(format!("{number}")), "").unwrap());
        let folder = Folder::new(Some(&user.path().join("state"))).unwrap();
        let Err(Failure::Usage(error)) = Lent::new(&folder, user.path(), |_| {}) else { panic!() };
        assert!(error.message().contains("1000 entries") && error.message().contains(FOLDER), "{error}");
    }
}
