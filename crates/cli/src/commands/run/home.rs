//! Gemini CLI's home for a run: the user's own in everything but its settings.
//!
//! Where Gemini CLI logs in, and so whom it may be pointed at, stands in its settings alone; those of the system, which would go before the user's, it takes from files of root only. So the
//! run has a home of its own in which each entry of the user's is a link to it, sessions and history and login, and the settings are the user's with what must differ put into them.
//! What is written anew over a link, or beside them, is given back at the end; what is changed about the settings meanwhile is not.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::folder::Folder;
use crate::output::{self, Failure, Outcome};

/// Its folder in a home.
const FOLDER: &str = ".gemini";
/// Its settings there.
const SETTINGS: &str = "settings.json";
/// The most entries that are linked.
const MOST: usize = 1000;

/// A home that is lent for a run.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    /// The home itself.
    pub(super) path: PathBuf,
    from: PathBuf,
}

impl Lent {
    /// A home like the one at `real`, with these changes of its settings.
    pub(super) fn new(folder: &Folder, real: &Path, change: impl FnOnce(&mut Value)) -> Outcome<Self> {
        let path = folder.path().join("home");
        let (own, from) = (path.join(FOLDER), real.join(FOLDER));
        let mut settings = read(&from.join(SETTINGS))?;
        change(&mut settings);
        let lent = || -> io::Result<()> {
            fs::create_dir_all(&own)?;
            // As it makes them itself when it is first started: conversations are to be found again.
            for name in ["tmp", "history"] {
                fs::create_dir_all(from.join(name))?;
            }
            for entry in fs::read_dir(&from)?.take(MOST) {
                let entry = entry?;
                if entry.file_name() != SETTINGS {
                    symlink(entry.path(), own.join(entry.file_name()))?;
                }
            }
            fs::write(own.join(SETTINGS), settings.to_string())
        };
        lent().map_err(|error| Failure::io(&format!("a home like {}", from.display()), &error))?;
        Ok(Self { path, from })
    }

    /// Gives back what is new.
    pub(super) fn give_back(&self) {
        let given = || -> io::Result<()> {
            for entry in fs::read_dir(self.path.join(FOLDER))? {
                let entry = entry?;
                let (name, kind) = (entry.file_name(), entry.file_type()?);
                let to = self.from.join(&name);
                if name == SETTINGS || kind.is_symlink() {
                    continue;
                }
                if kind.is_file() {
                    // Beside the original, so that it changes at once and never in part.
                    let mut new = tempfile::Builder::new().prefix(".llm-router-").tempfile_in(&self.from)?;
                    io::copy(&mut fs::File::open(entry.path())?, &mut new)?;
                    new.persist(to)?;
                } else if !to.exists() {
                    fs::rename(entry.path(), to)?;
                }
            }
            Ok(())
        };
        if let Err(error) = given() {
            output::note(&format!("warning: {}: what the run changed there is not kept: {error}", self.from.display()));
        }
    }
}

/// Settings as they are in a file, which may have comments; none are an empty object.
fn read(file: &Path) -> Outcome<Value> {
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
    fn the_home_is_the_users_but_for_its_settings() {
        let user = tempfile::tempdir().unwrap();
        let real = user.path().join(FOLDER);
        fs::create_dir(&real).unwrap();
        fs::write(real.join(SETTINGS), "{\"theme\": \"dark\" /* mine */}").unwrap();
        fs::write(real.join("projects.json"), "old").unwrap();
        let folder = Folder::new(Some(&user.path().join("state"))).unwrap();
        let lent = Lent::new(&folder, user.path(), |settings| settings["added"] = json!(1)).unwrap();
        let own = lent.path.join(FOLDER);
        let settings: Value = serde_json::from_slice(&fs::read(own.join(SETTINGS)).unwrap()).unwrap();
        assert_eq!(settings, json!({"theme": "dark", "added": 1}));
        assert_eq!(fs::read_to_string(own.join("projects.json")).unwrap(), "old");
        // A session through a link, a file over a link, and new ones beside them.
        fs::write(own.join("tmp/session"), "said").unwrap();
        fs::remove_file(own.join("projects.json")).unwrap();
        fs::write(own.join("projects.json"), "new").unwrap();
        fs::write(own.join("installation_id"), "id").unwrap();
        fs::create_dir(own.join("skills")).unwrap();
        fs::write(own.join(SETTINGS), "{}").unwrap();
        lent.give_back();
        drop(folder);
        let read = |name: &str| fs::read_to_string(real.join(name)).unwrap();
        assert_eq!(
            (read("tmp/session"), read("projects.json"), read("installation_id")),
            ("said".into(), "new".into(), "id".into())
        );
        assert!(real.join("skills").is_dir() && read(SETTINGS).contains("mine") && !lent.path.exists());
    }
}
